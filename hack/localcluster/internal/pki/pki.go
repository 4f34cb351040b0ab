// Package pki issues and renews the certificates of a local cluster.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// validity is how long a certificate holds.
	validity = 365 * 24 * time.Hour
	// renewal is how long before its end a certificate is replaced.
	renewal = 30 * 24 * time.Hour
	// skew is how far the clocks that read a new certificate may lag.
	skew = 5 * time.Minute
)

// Authority is a certificate authority and what it certifies. Its files are
// NAME.crt and NAME.key.
type Authority struct {
	// Name is the authority's common name and the stem of its files' names.
	Name string
	// Leaves are the certificates that it signs.
	Leaves []Leaf
}

// Leaf is one certificate, good for a client and for a server. Its files are
// NAME.crt and NAME.key.
type Leaf struct {
	// Name is the stem of its files' names.
	Name string
	// User is the common name: to Kubernetes, the user.
	User string
	// Groups are the organizations: to Kubernetes, the user's groups.
	Groups []string
	// Hosts are the DNS names and the addresses that it serves; none for one
	// that is only a client's.
	Hosts []string
}

// Ensure makes dir hold every certificate of the authorities, valid at now for
// 30 days or more, and reports whether it wrote any: programs that hold the old
// ones must then start again. What is missing, unreadable, about to expire,
// signed by another authority or made for another user or host is issued anew.
func Ensure(dir string, now time.Time, authorities []Authority) (renewed bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("create the certificates' directory: %w", err)
	}
	for _, authority := range authorities {
		issuer, err := load(dir, authority.Name)
		if err != nil || !fresh(issuer.cert, now) {
			renewed = true
			if issuer, err = issueAuthority(dir, authority.Name, now); err != nil {
				return renewed, err
			}
		}
		for _, leaf := range authority.Leaves {
			held, err := load(dir, leaf.Name)
			if err == nil && fresh(held.cert, now) && leaf.matches(held.cert) && held.cert.CheckSignatureFrom(issuer.cert) == nil {
				continue
			}
			renewed = true
			if err := issueLeaf(dir, leaf, issuer, now); err != nil {
				return renewed, err
			}
		}
	}
	return renewed, nil
}

// EnsureKey makes dir hold the key pair NAME.key and NAME.pub that signs
// service account tokens. It is never renewed: every token depends on it.
func EnsureKey(dir, name string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create the certificates' directory: %w", err)
	}
	key, err := loadKey(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = writeKey(dir, name)
	}
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return fmt.Errorf("encode the public key of %s: %w", name, err)
	}
	return writePEM(filepath.Join(dir, name+".pub"), "PUBLIC KEY", der, 0o644)
}

type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func fresh(cert *x509.Certificate, now time.Time) bool {
	return !now.Before(cert.NotBefore) && now.Add(renewal).Before(cert.NotAfter)
}

func (l Leaf) matches(cert *x509.Certificate) bool {
	names, addresses := l.hosts()
	return cert.Subject.CommonName == l.User &&
		slices.Equal(cert.Subject.Organization, l.Groups) &&
		slices.Equal(cert.DNSNames, names) &&
		slices.EqualFunc(cert.IPAddresses, addresses, net.IP.Equal)
}

func (l Leaf) hosts() (names []string, addresses []net.IP) {
	for _, host := range l.Hosts {
		if address := net.ParseIP(host); address != nil {
			addresses = append(addresses, address)
		} else {
			names = append(names, host)
		}
	}
	return names, addresses
}

func issueAuthority(dir, name string, now time.Time) (pair, error) {
	key, err := writeKey(dir, name)
	if err != nil {
		return pair{}, err
	}
	template, err := newTemplate(pkix.Name{CommonName: name}, now)
	if err != nil {
		return pair{}, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	return issue(dir, name, template, pair{cert: template, key: key}, key)
}

func issueLeaf(dir string, leaf Leaf, issuer pair, now time.Time) error {
	key, err := writeKey(dir, leaf.Name)
	if err != nil {
		return err
	}
	template, err := newTemplate(pkix.Name{CommonName: leaf.User, Organization: leaf.Groups}, now)
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	template.DNSNames, template.IPAddresses = leaf.hosts()
	_, err = issue(dir, leaf.Name, template, issuer, key)
	return err
}

func newTemplate(subject pkix.Name, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    now.Add(-skew),
		NotAfter:     now.Add(validity),
	}, nil
}

func issue(dir, name string, template *x509.Certificate, issuer pair, key *ecdsa.PrivateKey) (pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, &key.PublicKey, issuer.key)
	if err != nil {
		return pair{}, fmt.Errorf("sign certificate %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return pair{}, fmt.Errorf("read certificate %s back: %w", name, err)
	}
	return pair{cert: cert, key: key}, writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der, 0o644)
}

func load(dir, name string) (pair, error) {
	key, err := loadKey(dir, name)
	if err != nil {
		return pair{}, err
	}
	der, err := readPEM(filepath.Join(dir, name+".crt"), "CERTIFICATE")
	if err != nil {
		return pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return pair{}, fmt.Errorf("certificate %s: %w", name, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return pair{}, fmt.Errorf("certificate %s is not that of its key", name)
	}
	return pair{cert: cert, key: key}, nil
}

func loadKey(dir, name string) (*ecdsa.PrivateKey, error) {
	der, err := readPEM(filepath.Join(dir, name+".key"), "EC PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	return key, nil
}

func writeKey(dir, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key %s: %w", name, err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key %s: %w", name, err)
	}
	return key, writePEM(filepath.Join(dir, name+".key"), "EC PRIVATE KEY", der, 0o600)
}

func readPEM(path, kind string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s holds no %s", path, kind)
	}
	return block.Bytes, nil
}

// writePEM replaces the file in one step, so that a run killed half-way leaves
// the old one or the new one.
func writePEM(path, kind string, der []byte, mode fs.FileMode) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	partial := path + ".partial"
	if err := os.WriteFile(partial, text, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(partial, path)
}
