package dispatchtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificates are an authority's, for a day: a server's for chosen hosts, and a
// client's.
type Certificates struct {
	// CAFile holds the authority's own.
	CAFile string
	// CertFile and KeyFile are the client's.
	CertFile, KeyFile string

	serverCert, serverKey string
}

// NewCertificates makes an authority with certificates for a server at hosts,
// which are names or IP addresses.
func NewCertificates(t testing.TB, hosts ...string) *Certificates {
	t.Helper()
	folder := t.TempDir()
	c := &Certificates{
		CAFile: filepath.Join(folder, "ca.pem"), CertFile: filepath.Join(folder, "client.pem"), KeyFile: filepath.Join(folder, "client.key"),
		serverCert: filepath.Join(folder, "server.pem"), serverKey: filepath.Join(folder, "server.key"),
	}
	authority := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority in " + folder}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey := newKey(t)
	signed(t, authority, authority, authorityKey, authorityKey, c.CAFile)

	// A server is also a client, of its master and of the cluster's other nodes.
	server := &x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, host)
		}
	}
	client := &x509.Certificate{
		Subject: pkix.Name{CommonName: "client"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, one := range []struct {
		certificate *x509.Certificate
		cert, key   string
	}{{server, c.serverCert, c.serverKey}, {client, c.CertFile, c.KeyFile}} {
		key := newKey(t)
		signed(t, one.certificate, authority, key, authorityKey, one.cert)
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		writePEM(t, one.key, "PRIVATE KEY", der)
	}
	return c
}

// scheme is the URLs' scheme with these certificates; nil has one too.
func (c *Certificates) scheme() string {
	if c == nil {
		return "redis"
	}
	return "rediss"
}

// client is a client's TLS, which takes any server.
func (c *Certificates) client(t testing.TB) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signed(t testing.TB, certificate, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey, file string) {
	t.Helper()
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	certificate.SerialNumber = number
	certificate.NotBefore, certificate.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, certificate, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, file, "CERTIFICATE", der)
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
