package shuffle

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"
)

// entry stands for a record while it is sorted: the prefix of what remains of
// its key at the depth looked at, and where it is.
type entry struct {
	prefix, ref uint64
}

// From these lengths on, a better method is worth its beginning.
const (
	quickFrom = 24 // below: insertion
	radixFrom = 96 // below: comparison
	tiesFrom  = 12 // of equal prefixes; below: comparison of keys
)

// sorter sorts entries by key, and those of equal keys by ref. Entries that it
// is given are in the order of their refs.
type sorter struct {
	arena *arena
	spare []entry // as long as the longest list
}

// sort sorts entries whose keys are equal in their first depth bytes.
//
// Records are looked at only where prefixes do not decide, and then once for
// the next bytes of all keys concerned instead of once in every comparison.
func (s *sorter) sort(list []entry, depth int) {
	if len(list) < 2 {
		return
	}
	s.byPrefix(list)
	for list[0].prefix == list[len(list)-1].prefix { // a long common beginning
		if !isLong(list[0].prefix) {
			return
		}
		depth += prefixLen
		s.load(list, depth)
		s.byPrefix(list)
	}
	for i, j := 0, 1; i < len(list); i, j = j, j+1 {
		for j < len(list) && list[j].prefix == list[i].prefix {
			j++
		}
		if j-i > 1 && isLong(list[i].prefix) {
			s.ties(list[i:j], depth+prefixLen)
		}
	}
}

func (s *sorter) ties(list []entry, depth int) {
	if len(list) >= tiesFrom {
		s.load(list, depth)
		s.sort(list, depth)
		return
	}
	for i := 1; i < len(list); i++ {
		e := list[i]
		key := s.arena.key(e.ref)[depth:]
		j := i
		for ; j > 0 && bytes.Compare(s.arena.key(list[j-1].ref)[depth:], key) > 0; j-- {
			list[j] = list[j-1]
		}
		list[j] = e
	}
}

// load makes the prefixes those of the keys from depth on.
func (s *sorter) load(list []entry, depth int) {
	for i := range list {
		list[i].prefix = prefixOf(s.arena.key(list[i].ref)[depth:])
	}
}

// byPrefix sorts by prefix and keeps the order of equal ones.
func (s *sorter) byPrefix(list []entry) {
	switch {
	case len(list) < quickFrom:
		insertion(list)
	case len(list) < radixFrom:
		slices.SortFunc(list, func(a, b entry) int {
			if a.prefix != b.prefix {
				return cmp.Compare(a.prefix, b.prefix)
			}
			return cmp.Compare(a.ref, b.ref)
		})
	default:
		s.radix(list)
	}
}

func insertion(list []entry) {
	for i := 1; i < len(list); i++ {
		e := list[i]
		j := i
		for ; j > 0 && list[j-1].prefix > e.prefix; j-- {
			list[j] = list[j-1]
		}
		list[j] = e
	}
}

// radix distributes the list by the highest byte in which its prefixes differ
// and sorts what has equal bytes there in turn.
func (s *sorter) radix(list []entry) {
	differ, sorted := compareAll(list)
	if sorted {
		return
	}
	shift := uint(bits.Len64(differ)-1) &^ 7
	var ends [256]uint32
	for i := range list {
		ends[uint8(list[i].prefix>>shift)]++
	}
	sum := uint32(0)
	for i, n := range ends {
		ends[i] = sum
		sum += n
	}
	spare := s.spare[:len(list)]
	for _, e := range list {
		b := uint8(e.prefix >> shift)
		spare[ends[b]] = e
		ends[b]++
	}
	copy(list, spare)
	if shift == 0 {
		return
	}
	start := uint32(0)
	for _, end := range ends {
		if end-start > 1 {
			s.byPrefix(list[start:end])
		}
		start = end
	}
}

// compareAll returns the bits in which any prefixes differ, and whether the list is in order.
func compareAll(list []entry) (differ uint64, sorted bool) {
	sorted = true
	last := list[0].prefix
	for i := range list {
		p := list[i].prefix
		differ |= p ^ list[0].prefix
		sorted = sorted && p >= last
		last = p
	}
	return differ, sorted
}

// byPartition sorts by partition and keeps the order within each.
func (s *sorter) byPartition(list []entry, partitions uint32) {
	ends := make([]uint32, partitions)
	for i := range list {
		ends[partitionOf(list[i].ref)]++
	}
	sum := uint32(0)
	for i, n := range ends {
		ends[i] = sum
		sum += n
	}
	spare := s.spare[:len(list)]
	for _, e := range list {
		p := partitionOf(e.ref)
		spare[ends[p]] = e
		ends[p]++
	}
	copy(list, spare)
}
