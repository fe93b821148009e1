package auth

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"strings"

	"stint"
)

// Kind is what a token is for.
type Kind string

// The kinds of tokens.
const (
	User Kind = "user" // calls the API
	Join Kind = "join" // lets one node join
)

const secretBytes = 32

func base32Text() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}

// tokenText spells a token.
func tokenText(kind Kind, secret []byte) string {
	text := "stint_" + string(kind) + "_" + base32Text().EncodeToString(secret)
	return text + "_" + checkText(text)
}

func checkText(text string) string {
	return base32Text().EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(text))))
}

// parseToken reads what tokenText writes, in its one spelling, and returns the
// kind and the hash under which the token is kept.
func parseToken(text string) (Kind, [sha256.Size]byte, bool) {
	parts := strings.Split(text, "_")
	if len(parts) != 4 || parts[0] != "stint" {
		return "", [sha256.Size]byte{}, false
	}
	kind := Kind(parts[1])
	secret, err := base32Text().DecodeString(parts[2])
	ok := err == nil && len(secret) == secretBytes && (kind == User || kind == Join) && tokenText(kind, secret) == text
	return kind, sha256.Sum256([]byte(text)), ok
}

// refusal is an error with what the API answers. It is a [stint.Error] with code
// Denied to whoever asks.
type refusal struct {
	status  int
	code    string // stable, snake_case
	message string
}

// Error returns code and message.
func (r *refusal) Error() string { return r.code + ": " + r.message }

// Unwrap returns the refusal in the vocabulary's terms.
func (r *refusal) Unwrap() error { return stint.Errorf(stint.Denied, "%s", r.Error()) }

func unknownToken(kind Kind) *refusal {
	if kind == Join {
		return &refusal{http.StatusUnauthorized, "join_token_invalid", "this join token is unknown, expired or used up; create another one"}
	}
	return &refusal{http.StatusUnauthorized, "token_unknown", "this token is not known here"}
}
