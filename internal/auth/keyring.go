package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"stint"
)

const (
	keyringFormat = 1
	maxTokens     = 10_000
	maxTokenName  = 80
	keepVoid      = 90 * 24 * time.Hour // tokens that are no longer good are remembered, so that refusals can say why
)

// Identity is who a token speaks for.
type Identity struct {
	ID      string    `json:"id"` // of the token, for listing and revoking; not secret
	Kind    Kind      `json:"kind"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
}

// Keyring holds the tokens of a service in one file. Safe for concurrent use;
// one process at a time may have the file open.
type Keyring struct {
	path   string
	mu     sync.Mutex
	tokens []tokenRecord
}

// tokenRecord is a token in the file.
type tokenRecord struct {
	Identity
	Hash string    `json:"sha256"`        // hexadecimal
	Void time.Time `json:"void,omitzero"` // when it was revoked or used up; zero: it is good
}

type keyringFile struct {
	Format int           `json:"format"`
	Tokens []tokenRecord `json:"tokens"`
}

// OpenKeyring reads the file at path. One that does not exist is an empty
// keyring. The error is Invalid if others may read the file, or if it is not a keyring.
func OpenKeyring(path string) (*Keyring, error) {
	k := &Keyring{path: path}
	b, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open keyring: %w", err)
	}
	f, err := parseKeyring(b)
	if err != nil {
		return nil, fmt.Errorf("open keyring %s: %w", path, err)
	}
	k.tokens = f.Tokens
	return k, nil
}

func parseKeyring(b []byte) (keyringFile, error) {
	var f keyringFile
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return keyringFile{}, stint.Errorf(stint.Invalid, "not a keyring: %w", err)
	}
	if f.Format != keyringFormat {
		return keyringFile{}, stint.Errorf(stint.Invalid, "format %d; this version reads %d", f.Format, keyringFormat)
	}
	for i, t := range f.Tokens {
		if hash, err := hex.DecodeString(t.Hash); err != nil || len(hash) != sha256.Size {
			return keyringFile{}, stint.Errorf(stint.Invalid, "token %d: sha256: expected 64 hexadecimal digits", i)
		}
	}
	return f, nil
}

// Create makes a token and returns its text, which is kept nowhere. name is for
// people: 1 to 80 printable ASCII characters. It is good for lifetime; 0: until
// it is revoked or used up.
func (k *Keyring) Create(kind Kind, name string, lifetime time.Duration) (string, Identity, error) {
	if kind != User && kind != Join {
		return "", Identity{}, stint.Errorf(stint.Invalid, "kind %.80q: expected user or join", string(kind))
	}
	if name == "" || !printable(name) {
		return "", Identity{}, stint.Errorf(stint.Invalid, "name %.80q: expected 1 to %d printable ASCII characters", name, maxTokenName)
	}
	if lifetime < 0 {
		return "", Identity{}, stint.Errorf(stint.Invalid, "lifetime %v: expected 0 or more", lifetime)
	}
	var random [secretBytes + 8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", Identity{}, fmt.Errorf("create token: %w", err)
	}
	text := tokenText(kind, random[:secretBytes])
	now := time.Now().UTC()
	who := Identity{ID: "t-" + hex.EncodeToString(random[secretBytes:]), Kind: kind, Name: name, Created: now}
	if lifetime > 0 {
		who.Expires = now.Add(lifetime)
	}
	hash := sha256.Sum256([]byte(text))
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.keep(tokenRecord{Identity: who, Hash: hex.EncodeToString(hash[:])}, now); err != nil {
		return "", Identity{}, err
	}
	return text, who, nil
}

func printable(s string) bool {
	return len(s) <= maxTokenName && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// keep adds a token and forgets those that are void for long. k.mu is held.
func (k *Keyring) keep(t tokenRecord, now time.Time) error {
	tokens := slices.DeleteFunc(slices.Clone(k.tokens), func(t tokenRecord) bool {
		return (!t.Void.IsZero() && now.Sub(t.Void) > keepVoid) || (!t.Expires.IsZero() && now.Sub(t.Expires) > keepVoid)
	})
	if len(tokens) >= maxTokens {
		return stint.Errorf(stint.Conflict, "there are %d tokens, which is the limit: revoke some", len(tokens))
	}
	return k.write(append(tokens, t))
}

// write makes tokens the content of the file and of the keyring. k.mu is held.
func (k *Keyring) write(tokens []tokenRecord) error {
	b, err := json.MarshalIndent(keyringFile{Format: keyringFormat, Tokens: tokens}, "", "  ")
	if err != nil {
		return fmt.Errorf("write keyring: %w", err)
	}
	if err := writeSecret(k.path, append(b, '\n')); err != nil {
		return fmt.Errorf("write keyring: %w", err)
	}
	k.tokens = tokens
	return nil
}

// Verify returns whom a token's text speaks for. The error is Denied: unknown,
// expired or revoked. Of a join token it does not say which.
func (k *Keyring) Verify(text string) (Identity, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i, err := k.find(text)
	if err != nil {
		return Identity{}, err
	}
	return k.tokens[i].Identity, nil
}

// Redeem verifies a join token and uses it up: of many callers with the same
// text, one succeeds.
func (k *Keyring) Redeem(text string) (Identity, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i, err := k.find(text)
	if err != nil {
		return Identity{}, err
	}
	who := k.tokens[i].Identity
	if who.Kind != Join {
		return Identity{}, &refusal{http.StatusForbidden, "wrong_principal", "this token is not for joining"}
	}
	if err := k.void(i); err != nil {
		return Identity{}, err
	}
	return who, nil
}

// find returns the index of the good token with that text. k.mu is held.
func (k *Keyring) find(text string) (int, error) {
	kind, hash, ok := parseToken(text)
	if !ok {
		return 0, unknownToken(kind)
	}
	want := []byte(hex.EncodeToString(hash[:]))
	found := -1
	for i := range k.tokens { // all of them, so that the time says nothing
		if subtle.ConstantTimeCompare(want, []byte(k.tokens[i].Hash)) == 1 {
			found = i
		}
	}
	if found < 0 || k.tokens[found].Kind != kind {
		return 0, unknownToken(kind)
	}
	t := k.tokens[found]
	expired := !t.Expires.IsZero() && !time.Now().Before(t.Expires)
	switch {
	case kind == Join && (expired || !t.Void.IsZero()):
		return 0, unknownToken(kind)
	case !t.Void.IsZero():
		return 0, &refusal{http.StatusUnauthorized, "token_revoked", "this token was revoked at " + t.Void.Format(time.RFC3339)}
	case expired:
		return 0, &refusal{http.StatusUnauthorized, "token_expired", "this token expired at " + t.Expires.Format(time.RFC3339) + "; create a new one"}
	}
	return found, nil
}

// Revoke voids a token at once. One that is void already stays so.
func (k *Keyring) Revoke(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.tokens, func(t tokenRecord) bool { return t.ID == id })
	if i < 0 {
		return stint.Errorf(stint.NotFound, "token %.80q: there is none", id)
	}
	if !k.tokens[i].Void.IsZero() {
		return nil
	}
	return k.void(i)
}

func (k *Keyring) void(i int) error {
	tokens := slices.Clone(k.tokens)
	tokens[i].Void = time.Now().UTC()
	return k.write(tokens)
}

// List returns the tokens that are good, in the order in which they were created.
func (k *Keyring) List() []Identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	var list []Identity
	for _, t := range k.tokens {
		if t.Void.IsZero() && (t.Expires.IsZero() || now.Before(t.Expires)) {
			list = append(list, t.Identity)
		}
	}
	return list
}
