package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"filippo.io/age"

	"stint"
)

// maxSealed is how long what is sealed may be, in bytes: secrets, not data.
const maxSealed = 1 << 20

// Seal encrypts what a service keeps and must not be read in its record: with a
// key in a file of its own. Safe for concurrent use.
type Seal struct{ key *age.X25519Identity }

// OpenSeal reads the key in the file at path, or makes it where there is none. The
// error is [stint.Invalid] if others may read the file, or if it is no key.
func OpenSeal(path string) (*Seal, error) {
	b, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeSeal(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open key of secrets: %w", err)
	}
	key, err := age.ParseX25519Identity(strings.TrimSpace(string(b)))
	if err != nil { // its text may hold a part of the key
		return nil, stint.Errorf(stint.Invalid, "open key of secrets: %s is not a key", path)
	}
	return &Seal{key: key}, nil
}

func makeSeal(path string) (*Seal, error) {
	key, err := age.GenerateX25519Identity()
	if err == nil {
		err = writeSecret(path, []byte(key.String()+"\n"))
	}
	if err != nil {
		return nil, fmt.Errorf("make key of secrets: %w", err)
	}
	return &Seal{key: key}, nil
}

// Close encrypts.
func (s *Seal) Close(secret []byte) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, s.key.Recipient())
	if err == nil {
		_, err = w.Write(secret)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return sealed.Bytes(), nil
}

// Open decrypts. The error is [stint.Invalid] for what another key encrypted, and
// for what was altered.
func (s *Seal) Open(sealed []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), s.key)
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "cannot_decrypt: it was encrypted with another key: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(r, maxSealed))
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "cannot_decrypt: it was altered: %w", err)
	}
	return b, nil
}
