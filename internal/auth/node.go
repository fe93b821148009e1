package auth

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"stint"
	"stint/internal/failpoint"
)

// nodeURI is the name of a node in its certificate.
func nodeURI(id stint.NodeID) *url.URL {
	return &url.URL{Scheme: "stint", Host: "node", Path: "/" + string(id)}
}

// nodeOf returns the node that a certificate names.
func nodeOf(cert *x509.Certificate) (stint.NodeID, error) {
	if len(cert.URIs) == 1 {
		if text, ok := strings.CutPrefix(cert.URIs[0].String(), "stint://node/"); ok {
			if id, err := stint.ParseNodeID(text); err == nil {
				return id, nil
			}
		}
	}
	return "", stint.Errorf(stint.Denied, "wrong_principal: the certificate of %.80q is not a node's", cert.Subject.CommonName)
}

// PeerNode returns the node that the verified client certificate of a connection
// names. The error is Denied: no TLS, no certificate, or not a node's.
func PeerNode(cs *tls.ConnectionState) (stint.NodeID, error) {
	if cs == nil || len(cs.VerifiedChains) == 0 {
		return "", stint.Errorf(stint.Denied, "no_credential: connect with a node's certificate")
	}
	return nodeOf(cs.PeerCertificates[0])
}

// NewNodeRequest makes a node's key and its certificate request, both PEM. name
// is for people.
func NewNodeRequest(name string) (keyPEM, csrPEM []byte, err error) {
	key, keyPEM, err := makeKey()
	if err != nil {
		return nil, nil, fmt.Errorf("make node key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate request: %w", err)
	}
	return keyPEM, encodeBlock(requestBlock, der), nil
}

// NodeIdentity is a node's certificate and key, and the CA that it trusts.
type NodeIdentity struct {
	Node    stint.NodeID
	Expires time.Time
	cert    tls.Certificate
	roots   *x509.CertPool
}

const (
	nodeCertFile = "node.pem"
	nodeKeyFile  = "node.key"
	nodeCAFile   = "ca.pem"
)

// SaveNode checks that the three belong together and writes them into dir, which
// exists, with mode 0600; the certificate last, so that it is there only if all is.
func SaveNode(dir string, keyPEM, certPEM, caPEM []byte) error {
	if _, err := makeNode(keyPEM, certPEM, caPEM); err != nil {
		return fmt.Errorf("save node identity: %w", err)
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{{nodeKeyFile, keyPEM}, {nodeCAFile, caPEM}, {nodeCertFile, certPEM}} {
		failpoint.Reach("identity.before-file")
		if err := writeSecret(filepath.Join(dir, f.name), f.content); err != nil {
			return fmt.Errorf("save node identity: %w", err)
		}
	}
	return nil
}

// LoadNode reads what [SaveNode] wrote. The error wraps fs.ErrNotExist if the
// node of dir has not joined yet, is Denied if its certificate has expired, and
// Invalid if the files are not what they should be.
func LoadNode(dir string) (*NodeIdentity, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, nodeCertFile))
	if err != nil {
		return nil, fmt.Errorf("load node identity: %w", err)
	}
	keyPEM, err := readSecret(filepath.Join(dir, nodeKeyFile))
	if err != nil {
		return nil, fmt.Errorf("load node identity: %w", besideCertificate(err))
	}
	caPEM, err := os.ReadFile(filepath.Join(dir, nodeCAFile))
	if err != nil {
		return nil, fmt.Errorf("load node identity: %w", besideCertificate(err))
	}
	n, err := makeNode(keyPEM, certPEM, caPEM)
	if err != nil {
		return nil, fmt.Errorf("load node identity in %s: %w", dir, err)
	}
	return n, nil
}

// besideCertificate keeps a lost key from being taken for a node that never
// joined: joining again would give the folder another name.
func besideCertificate(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return stint.Errorf(stint.Invalid, "there is a certificate, but: %s", err.Error())
	}
	return err
}

func makeNode(keyPEM, certPEM, caPEM []byte) (*NodeIdentity, error) {
	roots, err := poolOf(caPEM)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "certificate and key: %w", err)
	}
	id, err := nodeOf(pair.Leaf)
	if err != nil {
		return nil, err
	}
	if !time.Now().Before(pair.Leaf.NotAfter) {
		return nil, stint.Errorf(stint.Denied, "the certificate of node %s expired at %s: remove %s and join again",
			id, pair.Leaf.NotAfter.Format(time.RFC3339), nodeCertFile)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return nil, stint.Errorf(stint.Invalid, "certificate of node %s: %w", id, err)
	}
	return &NodeIdentity{Node: id, Expires: pair.Leaf.NotAfter, cert: pair, roots: roots}, nil
}

// LinkTLS is the configuration for dialling the server.
func (n *NodeIdentity) LinkTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{n.cert}, RootCAs: n.roots, MinVersion: tls.VersionTLS13}
}

// ServeTLS is the configuration of the node's own port: only nodes of the same
// cluster come in.
func (n *NodeIdentity) ServeTLS() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{n.cert}, MinVersion: tls.VersionTLS13,
		ClientCAs: n.roots, ClientAuth: tls.RequireAndVerifyClientCert,
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := PeerNode(&cs)
			return err
		},
	}
}

// PeerTLS is the configuration for dialling the data plane of any node of the
// same cluster. Which node answered, the caller reads in its certificate.
func (n *NodeIdentity) PeerTLS() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{n.cert}, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true, // nodes' certificates name no hosts; VerifyConnection verifies the rest
		VerifyConnection: func(cs tls.ConnectionState) error {
			leaf := cs.PeerCertificates[0]
			if _, err := nodeOf(leaf); err != nil {
				return err
			}
			_, err := leaf.Verify(x509.VerifyOptions{Roots: n.roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			return err
		},
	}
}

// PinnedTLS is the configuration for joining a cluster of which only [CA.Pin] is
// known: it accepts a server, not a node, whose certificate was signed by the CA
// with that public key.
func PinnedTLS(pin string) (*tls.Config, error) {
	digits, ok := strings.CutPrefix(pin, "sha256:")
	if b, err := hex.DecodeString(digits); !ok || err != nil || len(b) != 32 || digits != strings.ToLower(digits) {
		return nil, stint.Errorf(stint.Invalid, "pin %.80q: expected sha256: and 64 lower-case hexadecimal digits", pin)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // the CA is not known yet; VerifyConnection finds it by its pin
		VerifyConnection:   func(cs tls.ConnectionState) error { return verifyPinned(cs, pin) },
	}, nil
}

func verifyPinned(cs tls.ConnectionState, pin string) error {
	leaf := cs.PeerCertificates[0]
	if len(leaf.URIs) > 0 {
		return stint.Errorf(stint.Denied, "wrong_principal: the certificate of %.80q is not the server's", leaf.Subject.CommonName)
	}
	for _, cert := range cs.PeerCertificates[1:] {
		if !cert.IsCA || pinOf(cert) != pin {
			continue
		}
		pool := x509.NewCertPool()
		pool.AddCert(cert)
		// An address is not among what TLS calls the server's name; then any of the
		// server's certificates does.
		_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: cs.ServerName, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		return err
	}
	return stint.Errorf(stint.Denied, "the server's CA is not the one with the public key %s", pin)
}
