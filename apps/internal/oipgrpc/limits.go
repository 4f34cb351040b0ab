package oipgrpc

import (
	"context"
	"math"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"headroom.dev/apps/internal/oipgrpc/inferencepb"
)

// What a field may have on the wire, in all of a request to infer, so that no
// request takes more than a few times its own size in memory.
const (
	// maxItems is for items: an empty one is 2 bytes on the wire and may be more
	// than 100 in memory.
	maxItems = 64
	// maxVarints is for the bytes of integers, each of which may be 8 in memory: as
	// many as maxItems of the longest have.
	maxVarints = maxItems * 10
)

// limits has a limit for each field that a request to infer may have. The first
// stands for the request itself.
type limits []limit

type limit struct {
	// path names the field.
	path         string
	items, bytes int
	// elsewhere tells, where it is set, who takes more.
	elsewhere string
	// fields are, for a message, its fields' places among the limits.
	fields map[protowire.Number]int
}

func newLimits(maxBody int64) limits {
	all := limits{{}}
	var add func(of int, message protoreflect.MessageDescriptor)
	add = func(of int, message protoreflect.MessageDescriptor) {
		numbers := map[protowire.Number]int{}
		all[of].fields = numbers
		for i := range message.Fields().Len() {
			field := message.Fields().Get(i)
			l := limit{path: string(field.Name()), items: maxItems, bytes: math.MaxInt}
			if of > 0 {
				l.path = all[of].path + "." + l.path
			}
			switch field.Kind() {
			case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Uint32Kind, protoreflect.Uint64Kind:
				l.bytes = maxVarints
			}
			// The elements of a tensor: there may be an item for each.
			switch field.FullName() {
			case "inference.InferTensorContents.fp32_contents":
				l.items = math.MaxInt
			case "inference.InferTensorContents.uint_contents":
				// A byte on the wire may be 4 in memory.
				l.items, l.bytes, l.elsewhere = math.MaxInt, int(maxBody/4), "; send more in raw_input_contents"
			}
			numbers[field.Number()] = len(all)
			all = append(all, l)
			if inner := field.Message(); inner != nil {
				add(len(all)-1, inner)
			}
		}
	}
	add(0, (*inferencepb.ModelInferRequest)(nil).ProtoReflect().Descriptor())
	return all
}

// sum is what a request has of a field.
type sum struct{ items, bytes int }

// check looks at a request to infer before there is more of it than its bytes. An
// error is an *oip.Error.
func (all limits) check(message []byte) error {
	sums := make([]sum, len(all))
	all.add(sums, 0, message)
	for i, l := range all[1:] {
		switch has := sums[i+1]; {
		case has.items > l.items:
			return bad("%s: has %d items; allowed: up to %d", l.path, has.items, l.items)
		case has.bytes > l.bytes:
			return bad("%s: has %d bytes; allowed: up to %d%s", l.path, has.bytes, l.bytes, l.elsewhere)
		}
	}
	return nil
}

// add adds up what there is in a message. It ends where the message can't be read,
// which is also as far as proto.Unmarshal gets.
func (all limits) add(sums []sum, of int, message []byte) {
	for len(message) > 0 {
		number, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return
		}
		size := protowire.ConsumeFieldValue(number, kind, message[tag:])
		if size < 0 {
			return
		}
		value := message[tag : tag+size]
		message = message[tag+size:]
		field, known := all[of].fields[number]
		if !known {
			continue // kept as the bytes that it is
		}
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		sums[field].items++
		sums[field].bytes += len(value)
		// Only messages: to look into the elements of a tensor would take time for nothing.
		if kind == protowire.BytesType && all[field].fields != nil {
			all.add(sums, field, value)
		}
	}
}

// received is a request to infer as the codec leaves it: where it is refused, the
// message is empty.
type received struct {
	message *inferencepb.ModelInferRequest
	refused error
}

// codec is gRPC's own, which checks a request to infer before it decodes it.
type codec struct {
	encoding.CodecV2
	limits limits
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	request, ok := v.(*received)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	if request.refused = c.limits.check(whole.ReadOnlyData()); request.refused != nil {
		return nil
	}
	return c.CodecV2.Unmarshal(mem.BufferSlice{whole}, request.message)
}

// description describes the protocol's service with a handler of its own for
// ModelInfer. The generated one would answer what the codec refuses with Internal,
// and before the interceptors, which count.
func description() *grpc.ServiceDesc {
	d := inferencepb.GRPCInferenceService_ServiceDesc
	d.Methods = slices.Clone(d.Methods)
	i := slices.IndexFunc(d.Methods, func(m grpc.MethodDesc) bool { return m.MethodName == "ModelInfer" })
	// There is always an interceptor: recovery.
	d.Methods[i].Handler = func(server any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		request := received{message: new(inferencepb.ModelInferRequest)}
		if err := decode(&request); err != nil {
			return nil, err
		}
		info := &grpc.UnaryServerInfo{Server: server, FullMethod: inferencepb.GRPCInferenceService_ModelInfer_FullMethodName}
		return interceptor(ctx, request.message, info, func(ctx context.Context, in any) (any, error) {
			if request.refused != nil {
				return nil, asStatus(request.refused)
			}
			return server.(inferencepb.GRPCInferenceServiceServer).ModelInfer(ctx, in.(*inferencepb.ModelInferRequest))
		})
	}
	return &d
}
