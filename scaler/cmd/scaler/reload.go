package main

import (
	"log/slog"
	"reflect"
	"strings"
	"time"

	"headroom.dev/scaler/internal/config"
	"headroom.dev/scaler/internal/control"
)

// reloader takes over what changes in the config file while the scaler runs.
type reloader struct {
	started config.Config // with which the process was, for what takes a restart
	running config.Config
	loop    *control.Loop
	metrics *control.Metrics
	log     *slog.Logger
}

// take takes over a config, or stays with the one before where err says why the
// file can't be used. Only one goroutine may call it.
func (r *reloader) take(c config.Config, err error) {
	var settings control.Settings
	if err == nil {
		settings, err = settingsOf(c)
	}
	if err != nil {
		r.metrics.ConfigFailed()
		r.log.Error("the config file is not used, going on with the config before", "problems", strings.Split(err.Error(), "\n"))
		return
	}
	changed := changes("", reflect.ValueOf(r.running), reflect.ValueOf(c))
	r.running = c
	r.loop.Configure(settings)
	r.metrics.ConfigLoaded(time.Now())
	r.log.Info("the config file was reloaded", "changed", changed)
	if keys := config.Restart(r.started, c); len(keys) > 0 {
		r.log.Warn("some of what changed takes effect when the scaler is started again", "keys", keys)
	}
}
