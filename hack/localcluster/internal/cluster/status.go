package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Status prints, a line each, whether every component and the cluster as a
// whole are healthy. The error says that it is not.
func (c *Cluster) Status(ctx context.Context) error {
	if err := needRoot(); err != nil {
		return err
	}
	names, results, err := c.health(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		word := "ok"
		if err := results[name]; err != nil {
			word = err.Error()
		}
		c.say("%-36s %s", name, word)
	}
	if firstError(names, results) != nil {
		return errors.New("the cluster is not healthy: run localcluster up")
	}
	return nil
}

// VerifyClean is an error that lists what is on the machine of a cluster, and
// nil after Down.
func (c *Cluster) VerifyClean() error {
	if err := needRoot(); err != nil {
		return err
	}
	left, err := c.Leftovers()
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("on this machine are:\n  %s", strings.Join(left, "\n  "))
	}
	c.say("nothing of the cluster is on this machine")
	return nil
}
