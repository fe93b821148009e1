package fsck

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"stint"
	"stint/internal/auth"
)

func (l *look) sealPath() string { return filepath.Join(l.check.Data, "server", "secrets.key") }

// openKeys looks at the keys or, if only some executions are looked at, opens the one
// that they may need.
func (l *look) openKeys() {
	if l.only == nil {
		l.lookAtKeys()
	} else if _, err := os.Stat(l.sealPath()); err == nil && l.check.Data != "" {
		l.seal, _ = auth.OpenSeal(l.sealPath()) // without it credentials are missed
	}
}

// lookAtKeys looks at the secrets of the service and of the agents: who may read
// them, and whether they are what they should be.
func (l *look) lookAtKeys() {
	for _, dir := range l.agents {
		l.lookAtNodeKeys(dir)
	}
	if l.check.Data == "" {
		return
	}
	server := filepath.Join(l.check.Data, "server")
	l.lookAtAuthority(server)
	l.lookAtSecret(filepath.Join(server, "keyring.json"), func(path string) error { _, err := auth.OpenKeyring(path); return err })
	l.lookAtSecret(filepath.Join(server, "cursor.key"), nil)
	l.lookAtSecret(filepath.Join(l.check.Data, "credentials"), func(path string) error { _, err := auth.ReadCredentials(path); return err })
	l.lookAtSecret(filepath.Join(l.check.Data, "join"), nil)
	l.lookAtSecret(l.sealPath(), func(path string) error {
		var err error
		l.seal, err = auth.OpenSeal(path)
		return err
	})
}

// lookAtSecret looks at a file that its owner alone may read; one that is not there
// was never made. It reports whether it is as it should be.
func (l *look) lookAtSecret(path string, read func(path string) error) bool {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false
	case err != nil:
		l.blind(path, err)
		return false
	case info.Mode().Perm()&0o077 != 0:
		l.find(KeyExposed, "", path, "%s has mode %04o: others can read it", path, info.Mode().Perm())
		return false
	case read == nil:
		return true
	}
	if err := read(path); errors.Is(err, fs.ErrPermission) {
		l.blind(path, err)
		return false
	} else if err != nil {
		l.find(KeyDamaged, "", path, "%s is not what it should be: %s", path, withoutSecrets(err))
		return false
	}
	return true
}

// withoutSecrets keeps of an error of reading a secret what cannot hold a part of it.
func withoutSecrets(err error) string {
	if code := stint.CodeOf(err); code != stint.Internal {
		return "it is " + string(code)
	}
	return "it cannot be read"
}

// lookAtAuthority looks at the certificate authority of the service.
func (l *look) lookAtAuthority(dir string) {
	cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	_, certErr := os.Stat(cert)
	_, keyErr := os.Stat(key)
	switch {
	case errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist):
		return
	case errors.Is(keyErr, fs.ErrNotExist):
		l.find(KeyMissing, "", key, "%s is there without its key", cert)
		return
	case errors.Is(certErr, fs.ErrNotExist):
		return // it is made again for the key
	}
	if l.lookAtSecret(key, func(string) error { _, err := auth.LoadOrCreateCA(dir); return err }) {
		l.lookAtCertificate(cert)
	}
}

// lookAtNodeKeys looks at the identity of a node, if it has joined.
func (l *look) lookAtNodeKeys(dir string) {
	cert, key := filepath.Join(dir, "node.pem"), filepath.Join(dir, "node.key")
	if _, err := os.Stat(cert); err != nil {
		return // it has not joined
	}
	if _, err := os.Stat(key); errors.Is(err, fs.ErrNotExist) {
		l.find(KeyMissing, "", key, "%s is there without its key", cert)
		return
	}
	if !l.lookAtCertificate(cert) {
		return
	}
	l.lookAtSecret(key, func(string) error { _, err := auth.LoadNode(dir); return err })
}

// lookAtCertificate reports whether a certificate can be read and is good.
func (l *look) lookAtCertificate(path string) bool {
	b, err := os.ReadFile(path)
	if err != nil {
		l.blind(path, err)
		return false
	}
	var c *x509.Certificate
	if block, _ := pem.Decode(b); block != nil {
		c, _ = x509.ParseCertificate(block.Bytes)
	}
	if c == nil {
		l.find(KeyDamaged, "", path, "%s is not a certificate", path)
		return false
	}
	if time.Now().After(c.NotAfter) {
		l.find(CertificateExpired, "", path, "%s has expired at %s", path, c.NotAfter.Format(time.RFC3339))
		return false
	}
	return true
}
