package policy

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
)

// Body turns a resource's inputs, as the engine has them, into an Object's body.
func Body(inputs resource.PropertyMap) map[string]any {
	body, _ := plain(resource.NewProperty(inputs)).(map[string]any)
	return body
}

func plain(v resource.PropertyValue) any {
	switch {
	case v.IsSecret():
		return plain(v.SecretValue().Element)
	case v.IsComputed(), v.IsOutput() && !v.OutputValue().Known:
		return Unknown
	case v.IsOutput():
		return plain(v.OutputValue().Element)
	case v.IsObject():
		object := map[string]any{}
		for key, value := range v.ObjectValue() {
			object[string(key)] = plain(value)
		}
		return object
	case v.IsArray():
		list := make([]any, len(v.ArrayValue()))
		for i, value := range v.ArrayValue() {
			list[i] = plain(value)
		}
		return list
	default:
		return v.V
	}
}

// known is the same for inputs as a transform gets them.
func known(ctx context.Context, input any) any {
	switch v := input.(type) {
	case pulumi.Output:
		result, err := internals.UnsafeAwaitOutput(ctx, v)
		if err != nil || !result.Known {
			return Unknown
		}
		return known(ctx, result.Value)
	case pulumi.Map:
		return knownMap(ctx, v)
	case map[string]any:
		return knownMap(ctx, v)
	case pulumi.Array:
		return knownList(ctx, v)
	case []any:
		return knownList(ctx, v)
	case pulumi.Bool:
		return bool(v)
	case pulumi.String:
		return string(v)
	case pulumi.Float64:
		return float64(v)
	default:
		return v
	}
}

func knownMap[V any](ctx context.Context, values map[string]V) map[string]any {
	object := make(map[string]any, len(values))
	for key, value := range values {
		object[key] = known(ctx, value)
	}
	return object
}

func knownList[V any](ctx context.Context, values []V) []any {
	list := make([]any, len(values))
	for i, value := range values {
		list[i] = known(ctx, value)
	}
	return list
}
