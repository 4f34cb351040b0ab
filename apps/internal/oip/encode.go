package oip

import (
	"encoding/binary"
	"math"
	"net/http"
	"strconv"

	"github.com/x448/float16"

	"headroom.dev/apps/internal/reply"
)

// encode writes the body of an answer and returns how many bytes of it are
// JSON: all, unless asBytes puts the elements of the output after it.
func encode(r Response, asBytes bool) (body []byte, length int, err error) {
	// No number of a tensor is longer than 16 bytes with its comma.
	capacity := len(r.Output.Data)
	if !asBytes {
		capacity = capacity / int(r.Output.Datatype.Size()) * 16
	}
	b := make([]byte, 0, capacity+1024)
	b = reply.AppendString(append(b, `{"model_name":`...), r.Model)
	if r.Version != "" {
		b = reply.AppendString(append(b, `,"model_version":`...), r.Version)
	}
	if r.ID != "" {
		b = reply.AppendString(append(b, `,"id":`...), r.ID)
	}
	b = reply.AppendString(append(b, `,"outputs":[{"name":`...), r.Output.Name)
	b = reply.AppendString(append(b, `,"datatype":`...), string(r.Output.Datatype))
	b = append(append(b, `,"shape":`...), shapeText(r.Output.Shape)...)
	if asBytes {
		b = strconv.AppendInt(append(b, `,"parameters":{"binary_data_size":`...), int64(len(r.Output.Data)), 10)
		b = append(b, `}}]}`...)
		return append(b, r.Output.Data...), len(b), nil
	}
	b, err = appendElements(append(b, `,"data":[`...), r.Output)
	b = append(b, `]}]}`...)
	return b, len(b), err
}

func appendElements(b []byte, t Tensor) ([]byte, error) {
	size := int(t.Datatype.Size())
	for at := 0; at < len(t.Data); at += size {
		if at > 0 {
			b = append(b, ',')
		}
		var v float32
		switch t.Datatype {
		case UINT8:
			v = float32(t.Data[at])
		case FP16:
			v = float16.Frombits(binary.LittleEndian.Uint16(t.Data[at:])).Float32()
		case FP32:
			v = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[at:]))
		}
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return b, &Error{Status: http.StatusInternalServerError, Message: "output " + strconv.Quote(t.Name) + " holds a value that JSON can't, " +
				strconv.FormatFloat(float64(v), 'g', -1, 32) + " at element " + strconv.Itoa(at/size) + "; ask for it as binary data"}
		}
		b = strconv.AppendFloat(b, float64(v), 'g', -1, 32)
	}
	return b, nil
}
