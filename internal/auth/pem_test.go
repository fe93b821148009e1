package auth

import (
	"testing"

	"stint"
)

// FuzzPEM: a key that is accepted can sign; what is refused is bad input.
func FuzzPEM(f *testing.F) {
	_, key, err := makeKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key)
	f.Add(append(key, key...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if key, err := parseKey(b); err != nil && stint.CodeOf(err) != stint.Invalid || err == nil && key.Public() == nil {
			t.Fatalf("%v, %v", key, err)
		}
		if c, err := parseCertificate(b); err != nil && stint.CodeOf(err) != stint.Invalid || err == nil && len(c.Raw) == 0 {
			t.Fatalf("%v, %v", c, err)
		}
	})
}
