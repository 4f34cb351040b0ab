package config

import (
	"context"
	"time"
)

// watchEvery is the time between two looks at the file. Kubernetes itself takes
// up to a minute to bring a changed ConfigMap into a pod.
const watchEvery = 2 * time.Second

// Watch looks at the file at path until the context is done. It calls changed
// with each valid Config that says something else than the one before, the first
// of which is `from`, and with an error as [Load] has it when the file becomes
// bad, or bad in another way: what was valid then stays in force, and is told
// once more when the file is good again. It looks at the content, not at times
// or events, so that a ConfigMap volume, which swaps a symbolic link, is nothing
// special.
func Watch(ctx context.Context, path string, from Config, changed func(Config, error)) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	failed := "" // how the last look failed
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		c, err := Load(path)
		switch {
		case err != nil && err.Error() == failed:
		case err != nil:
			failed = err.Error()
			changed(Config{}, err)
		case failed != "" || !c.Equal(from):
			failed, from = "", c
			changed(c, nil)
		}
	}
}
