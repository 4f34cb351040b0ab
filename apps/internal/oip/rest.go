package oip

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"headroom.dev/apps/internal/reply"
)

// LengthHeader gives the length of the JSON at the front of a body that has
// the bytes of tensors after it.
const LengthHeader = "Inference-Header-Content-Length"

// Extensions are the protocol's extensions that the REST part has.
var Extensions = []string{"binary_tensor_data"}

// Routes adds the protocol's paths to engine. Every answer of theirs that is
// not 2xx has the body {"error": "..."}.
func Routes(engine gin.IRouter, config Config) {
	s := server{config}
	engine.GET("/v2", s.metadata)
	engine.GET("/v2/health/live", s.live)
	engine.GET("/v2/health/ready", s.ready)
	for _, model := range []string{"/v2/models/:model", "/v2/models/:model/versions/:version"} {
		engine.GET(model, s.modelMetadata)
		engine.GET(model+"/ready", s.modelReady)
		engine.POST(model+"/infer", s.infer)
	}
}

type server struct{ config Config }

func (s server) metadata(c *gin.Context) {
	c.JSON(http.StatusOK, gin.H{"name": s.config.Name, "version": s.config.Version, "extensions": Extensions})
}

func (s server) live(c *gin.Context) {
	if !s.config.Backend.Live() {
		fail(c, &Error{Status: http.StatusServiceUnavailable, Message: "the server is not live"})
		return
	}
	c.JSON(http.StatusOK, gin.H{"live": true})
}

func (s server) ready(c *gin.Context) {
	if !s.config.Backend.Ready() {
		fail(c, notReady())
		return
	}
	c.JSON(http.StatusOK, gin.H{"ready": true})
}

func (s server) modelReady(c *gin.Context) {
	model, _, err := s.config.Find(c.Param("model"), c.Param("version"))
	if err == nil && !s.config.Backend.Ready() {
		err = notReady()
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, gin.H{"name": model.Name, "ready": true})
}

func (s server) modelMetadata(c *gin.Context) {
	model, _, err := s.config.Find(c.Param("model"), c.Param("version"))
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, model)
}

func (s server) infer(c *gin.Context) {
	response, asBytes, err := s.answer(c)
	if err != nil {
		fail(c, err)
		return
	}
	body, length, err := encode(response, asBytes)
	if err != nil {
		fail(c, err)
		return
	}
	contentType := "application/json"
	if asBytes {
		contentType = "application/octet-stream"
		c.Header(LengthHeader, strconv.Itoa(length))
	}
	c.Data(http.StatusOK, contentType, body)
}

// answer also tells whether the output is wanted as bytes.
func (s server) answer(c *gin.Context) (response Response, asBytes bool, err error) {
	terms, err := s.config.Begin(c.Request.Context(), c.Request.Header)
	if err != nil {
		return Response{}, false, err
	}
	// What is refused for its URL or its headers costs no memory.
	if _, _, err := s.config.Find(c.Param("model"), c.Param("version")); err != nil {
		return Response{}, false, err
	}
	length := c.GetHeader(LengthHeader)
	if err := checkForm(c.Request.Header, length != ""); err != nil {
		return Response{}, false, err
	}
	body, release, err := s.config.Body(c.Writer, c.Request)
	if err != nil {
		return Response{}, false, err
	}
	defer release()
	request, asBytes, err := decode(body, length, c.Param("model"), c.Param("version"))
	if err != nil {
		return Response{}, false, err
	}
	response, err = s.config.Infer(c.Request.Context(), terms, request)
	return response, asBytes, err
}

// checkForm refuses bodies in a form that is not the protocol's.
func checkForm(header http.Header, withBytes bool) error {
	if encoding := header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return unsupported("Content-Encoding " + reply.Quote(encoding) + " is not supported; send the body as it is")
	}
	contentType := header.Get("Content-Type")
	if contentType == "" {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
		return unsupported("Content-Type " + reply.Quote(contentType) + " can't be read: " + err.Error())
	case mediaType == "application/json", mediaType == "application/octet-stream" && withBytes:
		return nil
	}
	return unsupported("Content-Type " + reply.Quote(mediaType) + " is not supported; allowed: application/json, application/octet-stream with " + LengthHeader + ", or none")
}

// decode makes a Request of a body; length is the value of LengthHeader, or
// empty. Every error is an *Error.
func decode(body []byte, length, model, version string) (request Request, asBytes bool, err error) {
	text, rest, err := split(body, length)
	if err != nil {
		return Request{}, false, err
	}
	d, err := parse(text)
	if err != nil {
		return Request{}, false, err
	}
	if d.model != "" && d.model != model {
		return Request{}, false, bad("model_name: %s is not the model of the URL, %s", reply.Quote(d.model), reply.Quote(model))
	}
	if d.version != "" && version != "" && d.version != version {
		return Request{}, false, bad("model_version: %s is not the version of the URL, %s", reply.Quote(d.version), reply.Quote(version))
	}
	if version == "" {
		version = d.version
	}
	request = Request{Model: model, Version: version, ID: d.id}
	for _, input := range d.inputs {
		data := func() ([]byte, error) { return input.elements(text) }
		if size := input.binarySize; size >= 0 {
			if length == "" {
				return Request{}, false, bad("%s.parameters.binary_data_size: needs the header %s", input.path, LengthHeader)
			}
			if size > int64(len(rest)) {
				return Request{}, false, bad("%s.parameters.binary_data_size: is %d; the body has %d bytes left for it", input.path, size, len(rest))
			}
			// Its end is its capacity's: whoever appends must not reach the next.
			part := rest[:size:size]
			rest = rest[size:]
			data = func() ([]byte, error) { return part, nil }
		}
		request.Inputs = append(request.Inputs, Input{TensorMetadata: input.TensorMetadata, Data: data})
	}
	if len(rest) > 0 {
		return Request{}, false, bad("the body has %d bytes after the JSON that no input's binary_data_size claims", len(rest))
	}
	asBytes = d.binaryOutput
	for _, output := range d.outputs {
		request.Outputs = append(request.Outputs, output.name)
		if output.binary != nil {
			asBytes = *output.binary
		}
	}
	return request, asBytes, nil
}

// split parts a body into JSON and the bytes after it.
func split(body []byte, length string) (text, rest []byte, err error) {
	if length == "" {
		return body, nil, nil
	}
	n, err := strconv.ParseUint(length, 10, 63)
	if err != nil || n < 1 || n > uint64(len(body)) {
		return nil, nil, bad("%s is %s; allowed: 1 to %d, the length of the body", LengthHeader, reply.Quote(length), len(body))
	}
	return body[:n], body[n:], nil
}

func unsupported(message string) *Error {
	return &Error{Status: http.StatusUnsupportedMediaType, Message: message}
}

func notReady() *Error {
	return &Error{Status: http.StatusServiceUnavailable, Message: "the server is loading its model or shutting down"}
}

// fail answers with err, an *Error or one of Config.Body.
func fail(c *gin.Context, err error) {
	refused := &Error{Status: http.StatusBadRequest, Message: err.Error()}
	var withStatus interface{ HTTPStatus() int }
	switch {
	case errors.As(err, &refused):
	case errors.As(err, &withStatus):
		refused.Status = withStatus.HTTPStatus()
		refused.RetryAfter = refused.Status == http.StatusServiceUnavailable
	}
	reply.StopReading(c)
	if refused.RetryAfter {
		reply.AskToRetry(c)
	}
	c.AbortWithStatusJSON(refused.Status, gin.H{"error": refused.Message})
}
