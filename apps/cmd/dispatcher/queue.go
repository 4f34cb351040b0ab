package main

import (
	"errors"
	"fmt"
	"os"

	"headroom.dev/apps/internal/command"
	"headroom.dev/apps/internal/redisqueue"
)

// queueOptions say where the queue is.
type queueOptions struct {
	Redis     string          `required:"" env:"REDIS" placeholder:"URL" help:"Redis, as redis://[user:password@]host:port[/db], or rediss:// for TLS. Passwords are better given in the environment, which other users of the machine can't see: REDIS_PASSWORD, and REDIS_SENTINEL_PASSWORD for sentinels."`
	RedisMode redisqueue.Mode `env:"REDIS_MODE" default:"standalone" enum:"standalone,sentinel,cluster" help:"What --redis leads to: standalone; sentinel, with ?master_name=NAME&addr=HOST:PORT for each more; cluster, with ?addr=HOST:PORT for each more."`
	RedisCA   string          `name:"redis-ca" env:"REDIS_CA" placeholder:"FILE" help:"PEM file of the authority that Redis' certificate is from. Default: the system's."`
	RedisCert string          `env:"REDIS_CERT" placeholder:"FILE" help:"PEM file of this program's certificate, where Redis asks for one."`
	RedisKey  string          `env:"REDIS_KEY" placeholder:"FILE" help:"PEM file of its key."`
}

// settings are the names by which who called the program knows a connection's
// settings.
var settings = map[string]string{
	"URL": "--redis", "Mode": "--redis-mode", "SentinelPassword": "REDIS_SENTINEL_PASSWORD",
	"CAFile": "--redis-ca", "CertFile": "--redis-cert", "KeyFile": "--redis-key",
}

// queue prepares the queue.
func (o *queueOptions) queue(config redisqueue.Config) (*redisqueue.Queue, error) {
	config.Connection = redisqueue.Connection{
		URL: o.Redis, Mode: o.RedisMode, Password: os.Getenv("REDIS_PASSWORD"), SentinelPassword: os.Getenv("REDIS_SENTINEL_PASSWORD"),
		CAFile: o.RedisCA, CertFile: o.RedisCert, KeyFile: o.RedisKey,
	}
	queue, err := redisqueue.New(config)
	if invalid, ok := errors.AsType[*redisqueue.InvalidError](err); ok {
		return nil, command.AsUsage(fmt.Errorf("%s %s", settings[invalid.Setting], invalid.Problem))
	}
	return queue, err
}
