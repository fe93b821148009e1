package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"

	"stint"
)

// Types of PEM blocks.
const (
	certBlock    = "CERTIFICATE"
	keyBlock     = "PRIVATE KEY"
	requestBlock = "CERTIFICATE REQUEST"
)

func encodeBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// onlyBlock returns the content of PEM text that is one block of that type.
func onlyBlock(b []byte, kind string) ([]byte, error) {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != kind || len(bytes.TrimSpace(rest)) > 0 {
		return nil, stint.Errorf(stint.Invalid, "expected one PEM block %q and nothing else", kind)
	}
	return block.Bytes, nil
}

// loadKey reads a private key.
func loadKey(path string) (crypto.Signer, error) {
	b, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	return parseKey(b)
}

// loadOrMakeKey reads a private key, or makes it where there is none.
func loadOrMakeKey(path string) (crypto.Signer, error) {
	key, err := loadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key, b, err := makeKey()
	if err != nil {
		return nil, err
	}
	return key, writeSecret(path, b)
}

func makeKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, encodeBlock(keyBlock, der), nil
}

func parseKey(b []byte) (crypto.Signer, error) {
	der, err := onlyBlock(b, keyBlock)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, stint.Errorf(stint.Invalid, "private key: %T cannot sign", key)
	}
	return signer, nil
}

func parseCertificate(b []byte) (*x509.Certificate, error) {
	der, err := onlyBlock(b, certBlock)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "certificate: %w", err)
	}
	return cert, nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func poolOf(caPEM []byte) (*x509.CertPool, error) {
	cert, err := parseCertificate(caPEM)
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "CA: %w", err)
	}
	if !cert.IsCA {
		return nil, stint.Errorf(stint.Invalid, "CA: the certificate of %.80q is not a CA's", cert.Subject.CommonName)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool, nil
}
