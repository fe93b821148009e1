package shuffle

import (
	"bytes"
	"io"
)

// Groups walks through sorted records key by key:
//
//	g := shuffle.NewGroups(src)
//	for {
//		key, err := g.Next()
//		if err == io.EOF { break }
//		…
//		for {
//			value, err := g.Value()
//			if err == io.EOF { break }
//			…
//		}
//	}
//
// Not for concurrent use.
type Groups struct {
	src     Source
	key     []byte // of the group; own copy
	nextKey []byte // of the record read ahead; nil: none
	next    []byte // its value
	ahead   bool   // a record is read ahead
	inside  bool   // it, or the next of the source, may belong to the group
	taken   int64  // values that were returned or gone past, of all groups
	err     error
}

// NewGroups returns the groups of a source whose equal keys follow each other.
func NewGroups(src Source) *Groups { return &Groups{src: src} }

// Next goes to the next key, past the values of this one that were not read.
// The key is valid until the next call of Next. [io.EOF] after the last.
func (g *Groups) Next() ([]byte, error) {
	for g.inside {
		if _, err := g.Value(); err != nil && err != io.EOF { //nolint:errorlint // Source returns io.EOF itself
			return nil, err
		}
	}
	if !g.ahead && !g.read() {
		return nil, g.err
	}
	g.key = append(g.key[:0], g.nextKey...)
	g.inside = true
	return g.key, nil
}

// Value returns the next value of the key, nil if it is absent, or [io.EOF]
// after the key's last. It is valid until the next call of Value or Next.
func (g *Groups) Value() ([]byte, error) {
	if !g.inside {
		return nil, io.EOF
	}
	if !g.ahead && !g.read() {
		g.inside = false
		return nil, g.err
	}
	if !bytes.Equal(g.nextKey, g.key) {
		g.inside = false
		return nil, io.EOF
	}
	g.ahead = false
	g.taken++
	return g.next, nil
}

// Taken returns how many values were returned or gone past, of all groups: behind
// Next, the number of the group's first record, from 0.
func (g *Groups) Taken() int64 { return g.taken }

func (g *Groups) read() bool {
	if g.err != nil {
		return false
	}
	g.nextKey, g.next, g.err = g.src.Next()
	g.ahead = g.err == nil
	return g.ahead
}
