// Package page is the page on which people follow what the scaler decides. It is
// one file, which asks nobody but the scaler for anything.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
)

var (
	//go:embed page.html
	layout []byte
	//go:embed page.css
	style []byte
	//go:embed page.js
	script []byte
)

// whole is the page with its style and script in it, and allowed the policy under
// which a browser takes exactly these.
var whole, allowed = assemble()

func assemble() (text []byte, csp string) {
	hash := func(part []byte) string {
		sum := sha256.Sum256(part)
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	text = bytes.Replace(layout, []byte("{{style}}"), style, 1)
	text = bytes.Replace(text, []byte("{{script}}"), script, 1)
	return text, "default-src 'none'; style-src " + hash(style) + "; script-src " + hash(script) +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// Serve answers with the page.
func Serve(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", allowed)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(whole) // a caller that is gone needs no answer
}
