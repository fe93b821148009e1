package auth

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"stint"
)

func TestWhatIsSealedIsReadWithTheSameKeyOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secrets.key")
	first, err := OpenSeal(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("a secret access key")
	sealed, err := first.Close(secret)
	if err != nil || bytes.Contains(sealed, secret) {
		t.Fatalf("sealed as %q, %v", sealed, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key has mode %v, %v", info.Mode(), err)
	}
	again, err := OpenSeal(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open(sealed); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("opened as %q, %v", got, err)
	}
	other, err := OpenSeal(filepath.Join(t.TempDir(), "secrets.key"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := other.Open(sealed); stint.CodeOf(err) != stint.Invalid {
		t.Errorf("with another key opened as %q, %v", got, err)
	}
	sealed[len(sealed)-1] ^= 1
	if got, err := first.Open(sealed); stint.CodeOf(err) != stint.Invalid {
		t.Errorf("altered opened as %q, %v", got, err)
	}
}

func TestKeyOfSecretsIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		content string
		mode    os.FileMode
	}{
		"readable by others": {"AGE-SECRET-KEY-1", 0o644},
		"no key":             {"hello\n", 0o600},
		"empty":              {"", 0o600},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "secrets.key")
			if err := os.WriteFile(path, []byte(tc.content), tc.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenSeal(path); stint.CodeOf(err) != stint.Invalid {
				t.Errorf("error is %v, want invalid", err)
			}
		})
	}
}
