package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"stint"
)

const nodeID = stint.NodeID("n-aaaaaaaaaaaa")

func newCA(t *testing.T) *CA {
	t.Helper()
	ca, err := LoadOrCreateCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// join makes a node of the cluster and returns its identity and folder.
func join(t *testing.T, ca *CA, id stint.NodeID) (*NodeIdentity, string) {
	t.Helper()
	key, csr, err := NewNodeRequest("node-1")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.SignNode(csr, id)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := SaveNode(dir, key, cert, ca.PEM()); err != nil {
		t.Fatal(err)
	}
	n, err := LoadNode(dir)
	if err != nil {
		t.Fatal(err)
	}
	return n, dir
}

func TestTheCASurvivesARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := LoadOrCreateCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateCA(dir)
	if err != nil || string(again.PEM()) != string(first.PEM()) {
		t.Fatal("another CA after a restart", err)
	}
	fi, err := os.Stat(filepath.Join(dir, "ca.key"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Error(fi.Mode(), err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	again, err = LoadOrCreateCA(dir) // as after a crash between the two files
	if err != nil || again.Pin() != first.Pin() {
		t.Error("another pin for the same key", err)
	}
}

func TestABrokenCAIsRefused(t *testing.T) {
	t.Parallel()
	breaks := map[string]func(dir string) error{
		"there is no key":        func(dir string) error { return os.Remove(filepath.Join(dir, "ca.key")) },
		"others can read":        func(dir string) error { return os.Chmod(filepath.Join(dir, "ca.key"), 0o644) },
		"PEM block":              func(dir string) error { return os.WriteFile(filepath.Join(dir, "ca.key"), []byte("x"), 0o600) },
		"expected one PEM block": func(dir string) error { return os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("x"), 0o600) },
		"do not belong together": func(dir string) error {
			_, b, err := makeKey()
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "ca.key"), b, 0o600))
		},
	}
	for name, change := range breaks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if _, err := LoadOrCreateCA(dir); err != nil {
				t.Fatal(err)
			}
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			_, err := LoadOrCreateCA(dir)
			if err == nil || (name != "there is no key" && !strings.Contains(err.Error(), name)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTheServerChoosesWhatANodesCertificateSays(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	_, csr, err := NewNodeRequest("anything I like")
	if err != nil {
		t.Fatal(err)
	}
	b, err := ca.SignNode(csr, nodeID)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := parseCertificate(b)
	if err != nil {
		t.Fatal(err)
	}
	if cert.IsCA || cert.Subject.CommonName != string(nodeID) || len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.EmailAddresses) != 0 ||
		len(cert.URIs) != 1 || cert.URIs[0].String() != "stint://node/n-aaaaaaaaaaaa" || len(cert.ExtKeyUsage) != 2 || cert.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("signed %+v", cert)
	}
	if d := time.Until(cert.NotAfter); d > nodeLifetime || d < nodeLifetime-time.Hour {
		t.Errorf("lives for %v", d)
	}
	_, err = ca.SignNode(csr, "n-1")
	wantError(t, err, stint.Invalid, "n-1")
}

func TestCertificateRequestsThatAskForMoreAreRefused(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	isCA := pkix.Extension{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}
	tests := []struct {
		name    string
		key     crypto.Signer
		request x509.CertificateRequest
		text    string
	}{
		{"CA:TRUE", p256, x509.CertificateRequest{ExtraExtensions: []pkix.Extension{isCA}}, "asks for extensions"},
		{"host", p256, x509.CertificateRequest{DNSNames: []string{"localhost"}}, "asks for names"},
		{"address", p256, x509.CertificateRequest{IPAddresses: []net.IP{{127, 0, 0, 1}}}, "asks for names"},
		{"another node", p256, x509.CertificateRequest{URIs: []*url.URL{nodeURI("n-bbbbbbbbbbbb")}}, "asks for names"},
		{"RSA", weak, x509.CertificateRequest{}, "neither ECDSA nor Ed25519"},
		{"P-224", p224, x509.CertificateRequest{}, "not on P-256 or P-384"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			der, err := x509.CreateCertificateRequest(rand.Reader, &test.request, test.key)
			if err != nil {
				t.Fatal(err)
			}
			_, err = ca.SignNode(pem.EncodeToMemory(&pem.Block{Type: requestBlock, Bytes: der}), nodeID)
			wantError(t, err, stint.Invalid, test.text)
			der[len(der)-1] ^= 1 // of the signature
			_, err = ca.SignNode(pem.EncodeToMemory(&pem.Block{Type: requestBlock, Bytes: der}), nodeID)
			wantError(t, err, stint.Invalid, "signature is wrong")
		})
	}
	for _, text := range []string{"", "x", string(ca.PEM())} {
		_, err := ca.SignNode([]byte(text), nodeID)
		wantError(t, err, stint.Invalid, "PEM block")
	}
}

func FuzzSignNode(f *testing.F) {
	ca, err := LoadOrCreateCA(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	_, csr, err := NewNodeRequest("n")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(csr)
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		signed, err := ca.SignNode(b, nodeID)
		if err != nil {
			return
		}
		if cert, err := parseCertificate(signed); err != nil || cert.IsCA || cert.Subject.CommonName != string(nodeID) {
			t.Error(cert, err)
		}
	})
}

// handshake connects two configurations and returns what the server saw and the
// errors of both ends.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	clientDone := make(chan error, 1)
	go func() { clientDone <- greet(t, l.Addr().String(), client) }()
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := tls.Server(raw, server)
	if err = s.HandshakeContext(t.Context()); err == nil {
		_, err = s.Write([]byte{1})
	}
	err = errors.Join(err, <-clientDone)
	_ = s.Close()
	return s.ConnectionState(), err
}

func greet(t *testing.T, address string, config *tls.Config) error {
	t.Helper()
	raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	c := tls.Client(raw, config)
	if err := c.HandshakeContext(t.Context()); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1)) // where TLS 1.3 tells a client that it is refused
	return err
}

func TestWhoMayTalkToWhom(t *testing.T) {
	t.Parallel()
	ca, foreign := newCA(t), newCA(t)
	server, err := ca.ServerTLS([]string{"localhost", "127.0.0.1", "::1"})
	if err != nil {
		t.Fatal(err)
	}
	node, _ := join(t, ca, nodeID)
	peer, _ := join(t, ca, "n-bbbbbbbbbbbb")
	stranger, _ := join(t, foreign, nodeID)
	user, err := Credentials{CA: string(ca.PEM())}.TLS()
	if err != nil {
		t.Fatal(err)
	}
	pinned := func(pin string) *tls.Config {
		c, err := PinnedTLS(pin)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := user.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	tests := []struct {
		name           string
		server, client *tls.Config
		serverName     string
		node           stint.NodeID // PeerNode of the client, "" if it has none
		text           string       // of the error; "": it works
	}{
		{"user to server", server, user, "localhost", "", ""},
		{"user to server by address", server, user, "127.0.0.1", "", ""},
		{"user to another host", server, user, "stint.example", "", "not stint.example"},
		{"user to a foreign server", mustServer(t, foreign), user, "localhost", "", "unknown authority"},
		{"TLS 1.2", server, old, "localhost", "", "protocol version"},
		{"node to server", server, node.LinkTLS(), "localhost", nodeID, ""},
		{"foreign node to server", server, withRoots(stranger.LinkTLS(), ca), "localhost", "", "unknown authority"},
		{"node to a node that plays the server", peer.ServeTLS(), node.LinkTLS(), "localhost", "", "not valid for any names"},
		{"node to node", peer.ServeTLS(), node.PeerTLS(), "", nodeID, ""},
		{"node to a foreign node", stranger.ServeTLS(), node.PeerTLS(), "", "", "unknown authority"},
		{"node to the server as if a node", server, node.PeerTLS(), "localhost", "", "not a node's"},
		{"user to node", peer.ServeTLS(), withoutHost(user), "", "", "certificate required"},
		{"pinned", server, pinned(ca.Pin()), "localhost", "", ""},
		{"pinned, by address", server, pinned(ca.Pin()), "127.0.0.1", "", ""},
		{"pinned, another host", server, pinned(ca.Pin()), "stint.example", "", "not stint.example"},
		{"pinned to another CA", server, pinned(foreign.Pin()), "localhost", "", "not the one with the public key"},
		{"pinned, a node plays the server", optional(peer.ServeTLS()), pinned(ca.Pin()), "", "", "not the server's"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client := test.client.Clone()
			client.ServerName = test.serverName
			cs, err := handshake(t, test.server, client)
			if test.text != "" {
				if err == nil || !strings.Contains(err.Error(), test.text) {
					t.Errorf("got %v, want %q", err, test.text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			id, err := PeerNode(&cs)
			if id != test.node || (err == nil) != (test.node != "") {
				t.Errorf("peer %q %v", id, err)
			}
		})
	}
	if _, err := PeerNode(nil); stint.CodeOf(err) != stint.Denied {
		t.Error("without TLS:", err)
	}
}

func mustServer(t *testing.T, ca *CA) *tls.Config {
	t.Helper()
	c, err := ca.ServerTLS([]string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func withRoots(c *tls.Config, ca *CA) *tls.Config {
	c.RootCAs = ca.pool()
	return c
}

func withoutHost(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.InsecureSkipVerify = true
	return c
}

func optional(c *tls.Config) *tls.Config {
	c.ClientAuth, c.VerifyConnection = tls.NoClientCert, nil
	return c
}

func TestTheServersCertificateIsRenewedAtHalfItsLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := mustServer(t, newCA(t))
		first, err := c.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(serverLifetime/2 - time.Second)
		if same, err := c.GetCertificate(nil); err != nil || same != first {
			t.Error("renewed early", err)
		}
		time.Sleep(time.Second)
		second, err := c.GetCertificate(nil)
		if err != nil || second == first || time.Until(second.Leaf.NotAfter) < serverLifetime-time.Hour {
			t.Error("not renewed", err)
		}
	})
}

func TestServerCertificateNeedsAHost(t *testing.T) {
	t.Parallel()
	_, err := newCA(t).ServerTLS(nil)
	wantError(t, err, stint.Invalid, "without hosts")
}

func TestPinHasOneSpelling(t *testing.T) {
	t.Parallel()
	pin := newCA(t).Pin()
	for _, bad := range []string{"", pin[7:], strings.ToUpper(pin), pin + "0", pin[:len(pin)-1], "sha256:" + strings.ToUpper(pin[7:])} {
		if _, err := PinnedTLS(bad); bad != pin && stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestNodeIdentityIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := LoadNode(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Error("not joined yet:", err)
	}
	ca := newCA(t)
	key, _, err := NewNodeRequest("other")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(dir string) error
		text   string
	}{
		{"key lost", func(dir string) error { return os.Remove(filepath.Join(dir, nodeKeyFile)) }, "there is a certificate, but"},
		{"CA lost", func(dir string) error { return os.Remove(filepath.Join(dir, nodeCAFile)) }, "there is a certificate, but"},
		{"another key", func(dir string) error { return os.WriteFile(filepath.Join(dir, nodeKeyFile), key, 0o600) }, "certificate and key"},
		{"key for all to read", func(dir string) error { return os.Chmod(filepath.Join(dir, nodeKeyFile), 0o644) }, "chmod 600"},
		{"another CA", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, nodeCAFile), newCA(t).PEM(), 0o600)
		}, "unknown authority"},
		{"no certificate in the file", func(dir string) error { return os.WriteFile(filepath.Join(dir, nodeCertFile), []byte("x"), 0o600) }, "certificate and key"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, dir := join(t, ca, nodeID)
			if err := test.change(dir); err != nil {
				t.Fatal(err)
			}
			_, err := LoadNode(dir)
			wantError(t, err, stint.Invalid, test.text)
			if errors.Is(err, os.ErrNotExist) {
				t.Error("looks as if it had never joined")
			}
		})
	}
}

func TestAnExpiredNodeIsToldSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, dir := join(t, newCA(t), nodeID)
		time.Sleep(nodeLifetime + time.Second)
		_, err := LoadNode(dir)
		wantError(t, err, stint.Denied, "expired at 2000-12-31")
	})
}
