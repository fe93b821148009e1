package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"
)

// A cursor is a position (8 bytes, big-endian) and the first macLength bytes of
// an HMAC-SHA256 over the query and the position, in URL-safe base64. The MAC
// binds it to the query: a cursor that was edited or comes from another query
// is refused instead of giving a page of something else.
const (
	positionLength = 8
	macLength      = 16
)

// cursors seals and opens cursors under one key.
type cursors struct {
	key []byte
}

// seal returns the cursor for a position in the list that query names, "" for
// the end of the list.
func (c cursors) seal(position uint64, query ...string) string {
	if position == 0 {
		return ""
	}
	b := binary.BigEndian.AppendUint64(nil, position)
	return base64.RawURLEncoding.EncodeToString(append(b, c.mac(b, query)...))
}

// open returns the position that [cursors.seal] was given, 0 for "".
func (c cursors) open(text string, query ...string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil && len(b) == positionLength+macLength {
		position := binary.BigEndian.Uint64(b)
		if hmac.Equal([]byte(text), []byte(c.seal(position, query...))) {
			return position, nil
		}
	}
	return 0, refuse(http.StatusBadRequest, "bad_cursor", "cursor %.80q: not one of this list; start again without cursor", text)
}

func (c cursors) mac(position []byte, query []string) []byte {
	m := hmac.New(sha256.New, c.key)
	m.Write(position)
	m.Write([]byte(strings.Join(query, "\x00")))
	return m.Sum(nil)[:macLength]
}
