// Command probe serves, in a pod, what a test asks about the cluster from
// inside: it resolves a service's name and calls the service.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const credentials = "/var/run/secrets/kubernetes.io/serviceaccount/"

func main() {
	http.HandleFunc("/name", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, os.Getenv("HOSTNAME"))
	})
	http.HandleFunc("/resolve", func(w http.ResponseWriter, r *http.Request) {
		addresses, err := net.DefaultResolver.LookupHost(r.Context(), r.FormValue("host"))
		answer(w, fmt.Sprint(addresses), err)
	})
	http.HandleFunc("/get", func(w http.ResponseWriter, r *http.Request) {
		text, err := get(r.FormValue("url"))
		answer(w, text, err)
	})
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: time.Second}
	if err := server.ListenAndServe(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answer(w http.ResponseWriter, text string, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	_, _ = io.WriteString(w, text)
}

// get asks each time over a new connection, so that each may reach another pod.
func get(url string) (string, error) {
	roots := x509.NewCertPool()
	authority, err := os.ReadFile(credentials + "ca.crt")
	if err != nil {
		return "", err
	}
	roots.AppendCertsFromPEM(authority)
	token, err := os.ReadFile(credentials + "token")
	if err != nil {
		return "", err
	}
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	if request.URL.Scheme == "https" {
		request.Header.Set("Authorization", "Bearer "+string(token))
	}
	reply, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = reply.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(reply.Body, 1<<16))
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", reply.Status, text)
	}
	return string(text), err
}
