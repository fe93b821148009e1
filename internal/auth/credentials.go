package auth

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/url"

	"stint"
)

// Credentials is what a user's programs need to call a service.
type Credentials struct {
	Address string `json:"address"` // https://HOST:PORT
	Token   string `json:"token"`
	CA      string `json:"ca_pem"`
}

// Write puts a file with mode 0600 in the place of path, whole or not at all.
func (c Credentials) Write(path string) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	if err := writeSecret(path, append(b, '\n')); err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	return nil
}

// ReadCredentials reads what [Credentials.Write] wrote. The error wraps
// fs.ErrNotExist if there is no file, and is Invalid if others may read it or if
// it is something else.
func ReadCredentials(path string) (Credentials, error) {
	b, err := readSecret(path)
	if err != nil {
		return Credentials{}, fmt.Errorf("read credentials: %w", err)
	}
	c, err := parseCredentials(b)
	if err != nil {
		return Credentials{}, fmt.Errorf("read credentials %s: %w", path, err)
	}
	return c, nil
}

func parseCredentials(b []byte) (Credentials, error) {
	var c Credentials
	if err := json.Unmarshal(b, &c); err != nil {
		return Credentials{}, stint.Errorf(stint.Invalid, "not a credentials file: %w", err)
	}
	if u, err := url.Parse(c.Address); err != nil || u.Scheme != "https" || u.Host == "" {
		return Credentials{}, stint.Errorf(stint.Invalid, "address %.80q: expected https://HOST:PORT", c.Address)
	}
	if c.Token == "" {
		return Credentials{}, stint.Errorf(stint.Invalid, "token: missing")
	}
	return c, nil
}

// TLS returns a configuration that trusts the CA and nothing else.
func (c Credentials) TLS() (*tls.Config, error) {
	pool, err := poolOf([]byte(c.CA))
	if err != nil {
		return nil, err
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, nil
}
