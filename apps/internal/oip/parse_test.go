package oip

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand"
	"strconv"
	"strings"
	"testing"

	"github.com/x448/float16"
)

// The examples of the protocol's text and of the binary extension's, and
// requests that are nearly right.
var seeds = []string{
	`{"id":"42","inputs":[{"name":"input0","shape":[2,2],"datatype":"UINT8","data":[1,2,3,4]},{"name":"input1","shape":[3],"datatype":"BOOL","data":[true]}],"outputs":[{"name":"output0"}]}`,
	`{"model_name":"mymodel","inputs":[{"name":"input0","shape":[2,2],"datatype":"FP32","parameters":{"binary_data_size":16}}],"outputs":[{"name":"output0","parameters":{"binary_data":true}}]}`,
	`{"inputs":[{"data":[[1.5,-2e3],[0.1,4]],"name":"x","shape":[2,2],"datatype":"FP32"}]}`,
	`{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP16","data":[65504,1e-8]}],"parameters":{"a":{"b":[null,"\u0041"]}}}`,
	`{"inputs":[{"name":"x","shape":[0],"datatype":"FP32","data":[]}]}`,
	`{"inputs":[{"name":"x","shape":[9223372036854775807,2],"datatype":"FP32","data":[1]}]}`,
}

// What is accepted is JSON, and its numbers are those of encoding/json.
func FuzzParse(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := parse(text)
		if err != nil {
			wantRefusal(t, err)
			return
		}
		data := make([][]byte, len(d.inputs))
		for i, input := range d.inputs {
			if input.data == 0 {
				continue
			}
			if data[i], err = input.elements(text); err != nil {
				wantRefusal(t, err)
				return
			}
		}
		var same struct {
			ID     string `json:"id"`
			Inputs []struct {
				Name  string
				Shape []int64
				Data  any
			}
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&same); err != nil {
			t.Fatalf("%q is accepted; encoding/json says %v", text, err)
		}
		if same.ID != d.id || len(same.Inputs) != len(d.inputs) {
			t.Fatalf("got %+v, encoding/json has %+v", d, same)
		}
		for i, input := range d.inputs {
			if same.Inputs[i].Name != input.Name || fmt.Sprint(same.Inputs[i].Shape) != fmt.Sprint(input.Shape) {
				t.Errorf("got %+v, encoding/json has %+v", input, same.Inputs[i])
			}
			if want := flatten(nil, same.Inputs[i].Data, input.Datatype); !bytes.Equal(data[i], want) {
				t.Errorf("input %d: got %x, want %x", i, data[i], want)
			}
		}
	})
}

func flatten(b []byte, value any, datatype Datatype) []byte {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			b = flatten(b, item, datatype)
		}
	case json.Number:
		narrow, _ := strconv.ParseFloat(string(v), 32)
		wide, _ := v.Float64()
		switch datatype {
		case FP32:
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(narrow)))
		case FP16:
			b = binary.LittleEndian.AppendUint16(b, nearestHalf(wide))
		case UINT8:
			b = append(b, uint8(wide))
		}
	}
	return b
}

// nearestHalf looks for the half nearest to v, the even one of two that are.
func nearestHalf(v float64) uint16 {
	sign := uint16(0)
	if math.Signbit(v) {
		sign, v = 1<<15, -v
	}
	low, high := uint16(0), uint16(0x7bff)
	for low < high {
		middle := (low + high + 1) / 2
		if float64(float16.Frombits(middle).Float32()) <= v {
			low = middle
		} else {
			high = middle - 1
		}
	}
	below := float64(float16.Frombits(low).Float32())
	above := 65536.0
	if low < 0x7bff {
		above = float64(float16.Frombits(low + 1).Float32())
	}
	// The differences are exact or far from equal.
	if up, down := above-v, v-below; up < down || up == down && low&1 == 1 {
		low++
	}
	return sign | low
}

func TestHalvesAreTheNearest(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for range 200_000 {
		v := math.Ldexp(random.Float64()*2-1, random.Intn(45)-27)
		if random.Intn(2) == 0 {
			// Next to the middle of two halves.
			bits := uint16(random.Intn(0x7bff))
			v = (float64(float16.Frombits(bits).Float32()) + float64(float16.Frombits(bits+1).Float32())) / 2
			v = math.Float64frombits(math.Float64bits(v) + uint64(random.Intn(3)) - 1)
		}
		if got, want := half(v).Bits(), nearestHalf(v); got != want {
			t.Fatalf("half(%v) = %04x, want %04x", v, got, want)
		}
	}
}

func checkNumber(t *testing.T, text string) {
	t.Helper()
	s := &scanner{text: []byte(text)}
	var n number
	ok := s.number(&n) && s.at == len(text)
	isNumber := json.Valid([]byte(text)) && strings.Trim(text, "+-.0123456789eE") == ""
	if ok != isNumber {
		t.Fatalf("%q is a number: got %v, want %v", text, ok, isNumber)
	}
	if !ok {
		return
	}
	wide, _ := strconv.ParseFloat(text, 64)
	narrow, _ := strconv.ParseFloat(text, 32)
	if got := n.float64(); math.Float64bits(got) != math.Float64bits(wide) {
		t.Errorf("%s as float64: got %v, want %v", text, got, wide)
	}
	if got := n.float32(); math.Float32bits(got) != math.Float32bits(float32(narrow)) {
		t.Errorf("%s as float32: got %v, want %v", text, got, float32(narrow))
	}
}

// Numbers are what encoding/json takes for such, with the values of strconv.
func FuzzNumber(f *testing.F) {
	for _, seed := range []string{"0", "-0.0e-0", "1e400", "00", "1.", "1e", "0.1", "123456789012345678901", "1.0000000596046448", "9007199254740993", "1e22", "1e-22", "999999999999999999", "1000000000000000000"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { checkNumber(t, text) })
}

func TestNumbersNextToWhereRoundingTurns(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for range 200_000 {
		// The middle of two float32, with 9 to 20 digits of it.
		bits := uint32(random.Intn(0x7f000000))
		v := (float64(math.Float32frombits(bits)) + float64(math.Float32frombits(bits+1))) / 2
		if random.Intn(2) == 0 {
			// In the range of the fast way.
			fraction, _ := math.Frexp(v)
			v = math.Ldexp(fraction, random.Intn(40)-20)
		}
		checkNumber(t, strconv.FormatFloat(v, 'g', 9+random.Intn(12), 64))
	}
}

func wantRefusal(t *testing.T, err error) {
	t.Helper()
	var refused *Error
	if !errors.As(err, &refused) || refused.Status != 400 {
		t.Errorf("got %v, want an *Error of 400", err)
	}
	if len(refused.Message) > 1000 || bytes.ContainsAny([]byte(refused.Message), "\n\r") {
		t.Errorf("the message has %d bytes or several lines: %q", len(refused.Message), refused.Message)
	}
}

// Whatever the header and the sizes in the JSON say, the parts lie in the body
// and one after the other.
func FuzzBinary(f *testing.F) {
	text := seeds[1]
	f.Add([]byte(text+"0123456789abcdef"), strconv.Itoa(len(text)))
	f.Add([]byte(text+"0123456789abcdef"), "")
	f.Add([]byte(text), "9223372036854775808")
	two := `{"inputs":[{"name":"a","shape":[1],"datatype":"UINT8","parameters":{"binary_data_size":2}},{"name":"b","shape":[1],"datatype":"UINT8","parameters":{"binary_data_size":1}}]}`
	f.Add([]byte(two+"xyz"), strconv.Itoa(len(two)))
	f.Fuzz(func(t *testing.T, body []byte, length string) {
		request, _, err := decode(body, length, "mymodel", "")
		if err != nil {
			wantRefusal(t, err)
			return
		}
		d, err := parse(body)
		if length != "" {
			n, _ := strconv.Atoi(length)
			d, err = parse(body[:n])
			body = body[n:]
		}
		if err != nil {
			t.Fatalf("the JSON was accepted, and then %v", err)
		}
		for i, input := range d.inputs {
			if input.binarySize < 0 {
				continue
			}
			got, err := request.Inputs[i].Data()
			if err != nil || !bytes.Equal(got, body[:input.binarySize]) {
				t.Fatalf("input %d has %q, %v, want %q", i, got, err, body[:input.binarySize])
			}
			body = body[input.binarySize:]
		}
		if length != "" && len(body) > 0 {
			t.Errorf("%q belongs to no input", body)
		}
	})
}

func TestPartsOfABodyInTheirOrder(t *testing.T) {
	text := `{"inputs":[{"name":"a","shape":[2],"datatype":"UINT8","parameters":{"binary_data_size":2}},` +
		`{"name":"b","shape":[1],"datatype":"UINT8","data":[9]},{"name":"c","shape":[1],"datatype":"UINT8","parameters":{"binary_data_size":1}}]}`
	request, _, err := decode([]byte(text+"\x01\x02\x03"), strconv.Itoa(len(text)), "m", "")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"\x01\x02", "\x09", "\x03"} {
		if got, err := request.Inputs[i].Data(); err != nil || string(got) != want {
			t.Errorf("input %d has %x, %v, want %x", i, got, err, want)
		}
	}
}

// Every float32 and every half is read back as it was written.
func TestNumbersComeBack(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for _, datatype := range []Datatype{FP32, FP16, UINT8} {
		var data []byte
		elements := 0
		for bits := range 1 << 16 {
			switch {
			case datatype == UINT8 && bits < 256:
				data = append(data, uint8(bits))
			case datatype == FP16 && bits&0x7c00 != 0x7c00:
				data = binary.LittleEndian.AppendUint16(data, uint16(bits))
			case datatype == FP32:
				v := random.Uint32()
				if v&0x7f800000 == 0x7f800000 {
					continue
				}
				data = binary.LittleEndian.AppendUint32(data, v)
			default:
				continue
			}
			elements++
		}
		body, _, err := encode(Response{Model: "m", ID: `"<\`, Output: Tensor{Name: "x", Datatype: datatype, Shape: []int64{int64(elements)}, Data: data}}, false)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.Replace(body, []byte(`"outputs"`), []byte(`"inputs"`), 1)
		d, err := parse(body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.inputs[0].elements(body)
		if err != nil || !bytes.Equal(got, data) || d.id != `"<\` {
			t.Errorf("%s: %d bytes came back as %d, id %s, %v", datatype, len(data), len(got), d.id, err)
		}
	}
}

// The depth at which data lies is bounded too where no array of strings makes
// the scanner look closer.
func TestDepthOfData(t *testing.T) {
	deep := bytes.Repeat([]byte{'['}, 1<<20)
	text := append([]byte(`{"inputs":[{"name":"x","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"datatype":"FP32","data":`), deep...)
	text = append(text, bytes.Repeat([]byte{']'}, 1<<20)...)
	d, err := parse(append(text, "}]}"...))
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.inputs[0].elements(text)
	wantRefusal(t, err)
}

// The picture of an ImageNet model as JSON: the way that costs the most.
func BenchmarkParse(b *testing.B) {
	for _, benchmark := range []struct {
		name string
		bits int
	}{
		{"as short as a float32 can be", 32},
		{"with the digits of a float64, as Python writes a float32", 64},
	} {
		b.Run(benchmark.name, func(b *testing.B) {
			random := rand.New(rand.NewSource(1))
			text := []byte(`{"inputs":[{"name":"images","shape":[1,3,224,224],"datatype":"FP32","data":[`)
			for i := range 3 * 224 * 224 {
				if i > 0 {
					text = append(text, ',')
				}
				text = strconv.AppendFloat(text, float64(float32(random.NormFloat64())), 'g', -1, benchmark.bits)
			}
			text = append(text, "]}]}"...)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				d, err := parse(text)
				if err != nil {
					b.Fatal(err)
				}
				data, err := d.inputs[0].elements(text)
				if err != nil || len(data) != 4*3*224*224 {
					b.Fatal(fmt.Sprint(len(data), err))
				}
			}
		})
	}
}
