package kubescale

import "sync"

// atOnce is how many pods are written at the same time.
const atOnce = 16

// each does the same with every item, several at a time, and returns when all is done.
func each[T any](items []T, do func(T)) {
	free := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for _, item := range items {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			do(item)
		})
	}
	all.Wait()
}
