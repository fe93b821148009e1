package shuffle

import "encoding/binary"

// A prefix stands for a key in sorting and merging: its first prefixLen bytes,
// padded with zeros, and in the lowest byte how many of them there are, or
// longKey if the key has more. Prefixes are in the order of their keys; keys of
// equal prefixes are equal, unless they are longer.
const (
	prefixLen = 7
	longKey   = prefixLen + 1
)

// lastPrefix is behind that of every key.
const lastPrefix = ^uint64(0)

func prefixOf(key []byte) uint64 {
	n := len(key)
	switch {
	case n > prefixLen:
		return binary.BigEndian.Uint64(key)&^0xff | longKey
	case n >= 4: // two overlapping halves
		v := uint64(binary.BigEndian.Uint32(key))<<(8*(n-4)) | uint64(binary.BigEndian.Uint32(key[n-4:]))
		return v<<(64-8*n) | uint64(n)
	case n >= 2:
		v := uint64(binary.BigEndian.Uint16(key))<<(8*(n-2)) | uint64(binary.BigEndian.Uint16(key[n-2:]))
		return v<<(64-8*n) | uint64(n)
	case n == 1:
		return uint64(key[0])<<56 | 1
	}
	return 0
}

func isLong(prefix uint64) bool { return prefix&0xff == longKey }
