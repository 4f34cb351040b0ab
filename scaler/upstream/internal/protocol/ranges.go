package protocol

import "fmt"

type number interface{ ~int | ~int32 | ~float64 }

func defaultTo[T number](value *T, otherwise T) {
	if *value == 0 {
		*value = otherwise
	}
}

// within allows both ends.
func within[T number](path string, value, low, high T) error {
	if value < low || value > high {
		return fmt.Errorf("%s is %v: must be from %v to %v", path, value, low, high)
	}
	return nil
}

// between allows neither end.
func between[T number](path string, value, low, high T) error {
	if value <= low || value >= high {
		return fmt.Errorf("%s is %v: must be above %v and below %v", path, value, low, high)
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
