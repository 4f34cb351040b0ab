package config

// Defaults is the configuration of a stack that sets no key. It lacks the
// images that this project builds.
func Defaults() Config {
	c, _ := newReader(Source{}).load(nil) // no key names a file
	return c
}
