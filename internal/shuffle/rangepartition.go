package shuffle

import "bytes"

// RangePartitioner returns the [Partitioner] by ranges of keys: splitter i is the
// least key of partition i+1. A key's partition is the number of splitters that
// are not greater than it, but never beyond the last. The splitters are sorted,
// perhaps with equal ones among them, and are not to be changed.
func RangePartitioner(splitters [][]byte) Partitioner {
	s := splitterTable{keys: splitters, prefixes: make([]uint64, len(splitters))}
	for i, key := range splitters {
		s.prefixes[i] = prefixOf(key)
	}
	return s.partition
}

// splitterTable is sorted keys with their prefixes, which decide as a rule.
type splitterTable struct {
	keys     [][]byte
	prefixes []uint64
}

func (s *splitterTable) partition(key []byte, n uint32) uint32 {
	prefix := prefixOf(key)
	from := countBelow(s.prefixes, prefix)
	to := from
	if from < len(s.prefixes) && s.prefixes[from] == prefix {
		to += countBelow(s.prefixes[from:], prefix+1)
	}
	if isLong(prefix) {
		to = s.among(from, to, key[prefixLen:])
	}
	return min(uint32(to), n-1)
}

// among returns the first place in from … to whose key is greater; those between
// have the prefix of the key whose further bytes rest is.
func (s *splitterTable) among(from, to int, rest []byte) int {
	for from < to {
		middle := int(uint(from+to) / 2)
		if bytes.Compare(s.keys[middle][prefixLen:], rest) <= 0 {
			from = middle + 1
		} else {
			to = middle
		}
	}
	return from
}

// countBelow returns how many of the sorted prefixes are less than bound. The
// steps do not depend on what is found, so that nothing has to be guessed.
func countBelow(prefixes []uint64, bound uint64) int {
	base, n := 0, len(prefixes)
	for n > 0 {
		half := (n + 1) / 2
		next := base
		if prefixes[base+half-1] < bound {
			next += half
		}
		base = next
		n -= half
	}
	return base
}
