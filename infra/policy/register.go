package policy

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Mode says what becomes of a violation.
type Mode string

// The modes.
const (
	Off     Mode = "off"     // nothing is checked
	Warn    Mode = "warn"    // it is a warning
	Enforce Mode = "enforce" // it is an error: the preview fails, and up doesn't make the object
)

// Register has every resource checked that the program asks for from here on,
// also those of other components. Each violation is one line in the output of
// preview and up.
func Register(ctx *pulumi.Context, mode Mode, options Options) error {
	// Mocks have no transforms; what they record can be checked with Check.
	if mode == Off || ctx.RunningWithMocks() {
		return nil
	}
	c := &checker{ctx: ctx, mode: mode, options: options}
	if err := ctx.RegisterResourceTransform(c.transform); err != nil {
		return fmt.Errorf("registering the policy: %w", err)
	}
	return nil
}

var errBroken = errors.New("the policy is broken, as the lines above say")

type checker struct {
	ctx     *pulumi.Context
	mode    Mode
	options Options
	fail    sync.Once
}

func (c *checker) transform(ctx context.Context, args *pulumi.ResourceTransformArgs) *pulumi.ResourceTransformResult {
	if !args.Custom {
		return nil
	}
	body, _ := known(ctx, args.Props).(map[string]any)
	violations := Check(Object{Type: args.Type, Name: args.Name, Body: body}, c.options)
	if len(violations) == 0 {
		return nil
	}
	for _, v := range violations {
		say := c.ctx.Log.Warn
		if c.mode == Enforce {
			say = c.ctx.Log.Error
		}
		// A transform can't fail; where the engine takes no message, it has gone.
		_ = say(v.String(), nil)
	}
	if c.mode != Enforce {
		return nil
	}
	if c.ctx.DryRun() {
		// Everything else is looked at too before the preview fails.
		c.fail.Do(func() {
			_ = c.ctx.RegisterComponentResourceV2("headroom:policy:Violation", "policy", c.broken(), &pulumi.ResourceState{})
		})
		return nil
	}
	return &pulumi.ResourceTransformResult{Props: c.broken(), Opts: args.Opts}
}

// broken are inputs that no resource can be made of.
func (c *checker) broken() pulumi.Map {
	output, _, reject := c.ctx.NewOutput()
	reject(errBroken)
	return pulumi.Map{"policy": output}
}
