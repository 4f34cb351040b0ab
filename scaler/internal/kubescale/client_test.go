package kubescale

import (
	"strings"
	"testing"
)

func TestWithoutAKubeconfigOutsideAPod(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := Connect(""); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("%v, want an error that names the flag", err)
	}
	if _, err := Connect("/no/such/file"); err == nil || !strings.Contains(err.Error(), "/no/such/file") {
		t.Errorf("%v, want an error that names the file", err)
	}
}
