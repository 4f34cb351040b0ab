package pki

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func authorities() []Authority {
	return []Authority{{Name: "ca", Leaves: []Leaf{
		{Name: "server", User: "kube-apiserver", Hosts: []string{"kubernetes.default.svc", "10.96.0.1"}},
		{Name: "admin", User: "admin", Groups: []string{"system:masters"}},
	}}}
}

func ensure(t *testing.T, dir string, now time.Time, want []Authority) bool {
	t.Helper()
	renewed, err := Ensure(dir, now, want)
	if err != nil {
		t.Fatal(err)
	}
	return renewed
}

func certificate(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	held, err := load(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	return held.cert
}

func TestALeafVerifiesForItsHostsAndNoOther(t *testing.T) {
	dir := t.TempDir()
	ensure(t, dir, start, authorities())
	roots := x509.NewCertPool()
	roots.AddCert(certificate(t, dir, "ca"))
	for host, accepted := range map[string]bool{"kubernetes.default.svc": true, "10.96.0.1": true, "10.96.0.2": false, "example.org": false} {
		_, err := certificate(t, dir, "server").Verify(x509.VerifyOptions{
			DNSName: host, Roots: roots, CurrentTime: start.Add(time.Hour),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if (err == nil) != accepted {
			t.Errorf("%s: accepted = %t (%v), want %t", host, err == nil, err, accepted)
		}
	}
	admin := certificate(t, dir, "admin").Subject
	if admin.CommonName != "admin" || len(admin.Organization) != 1 || admin.Organization[0] != "system:masters" {
		t.Errorf("admin's subject is %v", admin)
	}
}

func TestCertificatesAreIssuedAnewWhen(t *testing.T) {
	otherHost := authorities()
	otherHost[0].Leaves[0].Hosts = []string{"kubernetes.default.svc", "10.96.0.9"}
	cases := []struct {
		name   string
		later  time.Duration
		spoil  func(dir string) error
		want   []Authority
		anew   []string
		remain []string
	}{
		{name: "nothing changed: none", remain: []string{"ca", "server", "admin"}},
		{name: "31 days are left: none", later: validity - renewal - 24*time.Hour, remain: []string{"ca", "server", "admin"}},
		{name: "29 days are left: all", later: validity - renewal + 24*time.Hour, anew: []string{"ca", "server", "admin"}},
		{name: "a host changed: that one", want: otherHost, anew: []string{"server"}, remain: []string{"ca", "admin"}},
		{name: "one is gone: that one", spoil: func(dir string) error { return os.Remove(filepath.Join(dir, "admin.crt")) }, anew: []string{"admin"}, remain: []string{"ca", "server"}},
		{name: "one is half written: that one", spoil: func(dir string) error { return os.Truncate(filepath.Join(dir, "server.crt"), 40) }, anew: []string{"server"}, remain: []string{"ca", "admin"}},
		{name: "the authority's key is gone: all", spoil: func(dir string) error { return os.Remove(filepath.Join(dir, "ca.key")) }, anew: []string{"ca", "server", "admin"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			ensure(t, dir, start, authorities())
			serials := map[string]string{}
			for _, name := range []string{"ca", "server", "admin"} {
				serials[name] = certificate(t, dir, name).SerialNumber.String()
			}
			if c.spoil != nil {
				if err := c.spoil(dir); err != nil {
					t.Fatal(err)
				}
			}
			want := c.want
			if want == nil {
				want = authorities()
			}
			if got := ensure(t, dir, start.Add(c.later), want); got != (len(c.anew) > 0) {
				t.Errorf("renewed = %t", got)
			}
			for _, name := range c.anew {
				if certificate(t, dir, name).SerialNumber.String() == serials[name] {
					t.Errorf("%s is still the old one", name)
				}
			}
			for _, name := range c.remain {
				if certificate(t, dir, name).SerialNumber.String() != serials[name] {
					t.Errorf("%s was issued anew", name)
				}
			}
		})
	}
}

func TestKeysAreReadableByTheOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	ensure(t, dir, start, authorities())
	if err := EnsureKey(dir, "sa"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.key", "server.key", "admin.key", "sa.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
}

func TestTheTokenKeyStays(t *testing.T) {
	dir := t.TempDir()
	var keys [2][]byte
	for i := range keys {
		if err := EnsureKey(dir, "sa"); err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(filepath.Join(dir, "sa.key"))
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = key
	}
	if string(keys[0]) != string(keys[1]) {
		t.Error("the second run replaced the key")
	}
}
