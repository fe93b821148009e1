package block

import (
	"maps"
	"slices"

	"stint"
)

// blocks are the blocks of one stage, packed: a few tens of bytes each and
// nothing for the collector to follow.
type blocks struct {
	at    map[uint32]place
	slabs [][]byte
	bytes int64 // in the segments
	dead  int   // bytes of slabs that belong to blocks no longer there
	alive int
}

// place says where a packed block lies.
type place struct{ slab, offset uint32 }

const slabSize = 64 << 10

func (s *blocks) get(op uint32) (packed, bool) {
	p, ok := s.at[op]
	if !ok {
		return nil, false
	}
	return s.slabs[p.slab][p.offset:], true
}

func (s *blocks) add(op uint32, x Index) {
	s.remove(op)
	need := headSize + len(x.Parts)*partSize
	s.put(op, need, func(dst []byte) []byte { return appendPacked(dst, x) })
	s.bytes += x.Length
}

func (s *blocks) put(op uint32, need int, pack func(dst []byte) []byte) {
	n := len(s.slabs)
	if n == 0 || cap(s.slabs[n-1])-len(s.slabs[n-1]) < need {
		size := 1 << 10
		if n > 0 {
			size = min(2*cap(s.slabs[n-1]), slabSize)
		}
		s.slabs = append(s.slabs, make([]byte, 0, max(need, size)))
		n++
	}
	slab := s.slabs[n-1]
	s.at[op] = place{uint32(n - 1), uint32(len(slab))}
	s.slabs[n-1] = pack(slab)
	s.alive += need
}

func (s *blocks) remove(op uint32) {
	b, ok := s.get(op)
	if !ok {
		return
	}
	s.bytes -= b.length()
	s.dead += b.size()
	s.alive -= b.size()
	delete(s.at, op)
	if s.dead > s.alive+slabSize {
		s.compact()
	}
}

// compact packs the blocks anew without those that are gone.
func (s *blocks) compact() {
	old := *s
	*s = blocks{at: make(map[uint32]place, len(old.at)), bytes: old.bytes}
	for op := range old.at {
		b, _ := old.get(op)
		s.put(op, b.size(), func(dst []byte) []byte { return append(dst, b[:b.size()]...) })
	}
}

// ops returns the operations in order.
func (s *blocks) ops() []uint32 { return slices.Sorted(maps.Keys(s.at)) }

func toRanges(ops []uint32) []stint.Range {
	var out []stint.Range
	for _, op := range ops {
		out = stint.AddToRanges(out, op)
	}
	return out
}
