package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"stint"
	"stint/internal/failpoint"
)

// Lifetimes of certificates.
const (
	caLifetime     = 10 * 365 * 24 * time.Hour
	serverLifetime = 90 * 24 * time.Hour
	nodeLifetime   = 365 * 24 * time.Hour
	backdate       = time.Hour // before now, for machines whose clock is late
)

// CA is the certificate authority of one cluster. Safe for concurrent use.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// LoadOrCreateCA reads ca.pem and ca.key in dir, which exists, or creates them. A
// certificate that is missing is made again for the key, with the same pin; a key
// that is missing beside its certificate is an error, as are a key that others may
// read, and two that do not belong together.
func LoadOrCreateCA(dir string) (*CA, error) {
	certPath, keyPath := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	certPEM, err := os.ReadFile(certPath)
	if errors.Is(err, fs.ErrNotExist) {
		return createCA(certPath, keyPath)
	}
	if err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	key, err := loadKey(keyPath)
	if err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("load CA: %s: %w", certPath, err)
	}
	if !cert.IsCA || !samePublicKey(cert.PublicKey, key.Public()) {
		return nil, stint.Errorf(stint.Invalid, "load CA: %s and %s do not belong together", certPath, keyPath)
	}
	return &CA{cert: cert, key: key}, nil
}

func createCA(certPath, keyPath string) (*CA, error) {
	key, err := loadOrMakeKey(keyPath) // the key is there after a crash between the two files
	if err != nil {
		return nil, fmt.Errorf("create CA: %w", err)
	}
	template, err := newTemplate("stint cluster CA", caLifetime)
	if err != nil {
		return nil, fmt.Errorf("create CA: %w", err)
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("create CA: %w", err)
	}
	failpoint.Reach("ca.after-key-before-certificate")
	if err := writeSecret(certPath, encodeBlock(certBlock, der)); err != nil {
		return nil, fmt.Errorf("create CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("create CA: %w", err)
	}
	return &CA{cert: cert, key: key}, nil
}

func newTemplate(name string, lifetime time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}, nil
}

// PEM returns the CA's certificate.
func (ca *CA) PEM() []byte { return encodeBlock(certBlock, ca.cert.Raw) }

// Pin returns the SHA-256 of the CA's public key: "sha256:" and 64 hexadecimal digits.
func (ca *CA) Pin() string { return pinOf(ca.cert) }

func pinOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (ca *CA) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// ServerTLS returns the configuration of the port for the API and the link. The
// certificate is for hosts (names and addresses, at least one); it is made in
// memory and renewed at half its life. Client certificates are verified if given.
func (ca *CA) ServerTLS(hosts []string) (*tls.Config, error) {
	if len(hosts) == 0 {
		return nil, stint.Errorf(stint.Invalid, "server certificate without hosts")
	}
	s := &serverCertificate{ca: ca, hosts: hosts}
	if _, err := s.get(nil); err != nil {
		return nil, err
	}
	return &tls.Config{
		GetCertificate: s.get, MinVersion: tls.VersionTLS13,
		ClientCAs: ca.pool(), ClientAuth: tls.VerifyClientCertIfGiven,
	}, nil
}

// serverCertificate is the current certificate of a server.
type serverCertificate struct {
	ca    *CA
	hosts []string
	mu    sync.Mutex
	cert  *tls.Certificate
}

func (s *serverCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cert != nil && time.Until(s.cert.Leaf.NotAfter) > serverLifetime/2 {
		return s.cert, nil
	}
	cert, err := s.ca.signServer(s.hosts)
	if err != nil {
		return nil, fmt.Errorf("make server certificate: %w", err)
	}
	s.cert = cert
	return cert, nil
}

func (ca *CA) signServer(hosts []string) (*tls.Certificate, error) {
	template, err := newTemplate("stint server", serverLifetime)
	if err != nil {
		return nil, err
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	key, _, err := makeKey()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// SignNode signs the certificate request (PEM) of the node that is to be called
// id. Only the request's public key is used; a request that asks for names or
// uses, or has a weak key, is Invalid, and the error lists what is wrong.
func (ca *CA) SignNode(csrPEM []byte, id stint.NodeID) ([]byte, error) {
	if _, err := stint.ParseNodeID(string(id)); err != nil {
		return nil, err
	}
	der, err := onlyBlock(csrPEM, requestBlock)
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "bad_request: certificate request: %w", err)
	}
	if faults := requestFaults(csr); len(faults) > 0 {
		return nil, stint.Errorf(stint.Invalid, "bad_request: certificate request: %s", strings.Join(faults, ", "))
	}
	template, err := newTemplate(string(id), nodeLifetime)
	if err != nil {
		return nil, fmt.Errorf("sign node %s: %w", id, err)
	}
	template.URIs = []*url.URL{nodeURI(id)}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	signed, err := x509.CreateCertificate(rand.Reader, template, ca.cert, csr.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign node %s: %w", id, err)
	}
	return encodeBlock(certBlock, signed), nil
}

// requestFaults lists what a request must not have.
func requestFaults(csr *x509.CertificateRequest) []string {
	var faults []string
	if csr.CheckSignature() != nil {
		faults = append(faults, "signature is wrong")
	}
	switch key := csr.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			faults = append(faults, "key is not on P-256 or P-384")
		}
	case ed25519.PublicKey:
	default:
		faults = append(faults, "key is neither ECDSA nor Ed25519")
	}
	if n := len(csr.DNSNames) + len(csr.IPAddresses) + len(csr.EmailAddresses) + len(csr.URIs); n > 0 {
		faults = append(faults, "asks for names, which the server chooses")
	}
	if len(csr.Extensions) > 0 {
		faults = append(faults, "asks for extensions, which the server chooses")
	}
	return faults
}
