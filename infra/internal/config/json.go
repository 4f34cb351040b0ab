package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// decode reads a list or a map, which the engine hands over as JSON. It tells
// whether there was one.
func (r *reader) decode(key, shape string, into any) bool {
	text, ok := r.lookup(key)
	if !ok {
		return false
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		r.fail(key, fmt.Sprintf("is %.80q", text), fmt.Sprintf("must be %s: %s", shape, inJSONsWords(err)))
		return false
	}
	return true
}

// inJSONsWords leaves out how Go calls what was expected.
func inJSONsWords(err error) string {
	var mismatch *json.UnmarshalTypeError
	switch {
	case !errors.As(err, &mismatch):
		return err.Error()
	case mismatch.Field == "":
		return "found a JSON " + mismatch.Value
	default:
		return fmt.Sprintf("found a JSON %s as %s", mismatch.Value, mismatch.Field)
	}
}

// scalar is a text that may look like a number or a boolean: true in YAML, or
// in `pulumi config set --path`, is then meant as the text "true".
type scalar string

// UnmarshalJSON takes everything but null, lists and maps.
func (s *scalar) UnmarshalJSON(content []byte) error {
	switch content[0] {
	case '"':
		return json.Unmarshal(content, (*string)(s))
	case '{', '[', 'n':
		return errors.New("each value must be a text")
	}
	*s = scalar(content)
	return nil
}

// textMap reads a map of texts; an empty one is nil.
func (r *reader) textMap(key string) map[string]string {
	var written map[string]scalar
	if !r.decode(key, "a map of texts", &written) || len(written) == 0 {
		return nil
	}
	texts := map[string]string{}
	for name, value := range written {
		texts[name] = string(value)
	}
	return texts
}

// textList reads a list of texts; an empty one is nil.
func (r *reader) textList(key string) []string {
	var written []scalar
	if !r.decode(key, "a list of texts", &written) {
		return nil
	}
	var texts []string
	for _, value := range written {
		texts = append(texts, string(value))
	}
	return texts
}

// integerList reads a list of whole numbers.
func (r *reader) integerList(key string, fallback []int) []int {
	var written []int
	if !r.decode(key, "a list of whole numbers", &written) {
		return fallback
	}
	return written
}

// item is the key of a list's element, and field that of a map's.
func item(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }
func field(key, name string) string { return fmt.Sprintf("%s[%q]", key, name) }
