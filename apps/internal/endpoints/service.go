// Package endpoints finds the model server replicas: as the ready addresses of
// a Kubernetes Service, as a fixed list that it probes, or as a list in a file. It
// is the only package that knows Kubernetes.
package endpoints

import (
	"errors"
	"strings"
)

// Service is a Kubernetes Service and one of its ports.
type Service struct {
	// Namespace and Name name it.
	Namespace, Name string
	// Port is the port's name.
	Port string
}

// ParseService reads NAMESPACE/NAME.
func ParseService(text string) (Service, error) {
	namespace, name, ok := strings.Cut(text, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return Service{}, errors.New("is not NAMESPACE/SERVICE")
	}
	return Service{Namespace: namespace, Name: name}, nil
}
