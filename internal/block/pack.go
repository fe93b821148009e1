package block

import (
	"encoding/binary"
	"sort"

	"stint"
)

// A packed block is an index in fixed-width little-endian fields: segment (4
// bytes), offset (5), length (5) and number of parts (3), then the parts, each
// partition (3), offset (5), records (5) and sum (8). A part ends where the next
// one begins.
const (
	headSize = 4 + 5 + 5 + 3
	partSize = 3 + 5 + 5 + 8
	maxWide  = 1<<40 - 1 // what 5 bytes hold
	maxPart  = 1<<24 - 1
)

// check says why an index cannot be that of a block.
func (x Index) check() error {
	if x.Offset < 0 || x.Length < 0 || x.Offset > maxWide-x.Length || len(x.Parts) > maxPart {
		return stint.Errorf(stint.Invalid, "block of %d bytes at %d in %d parts: out of range", x.Length, x.Offset, len(x.Parts))
	}
	end := int64(0)
	for i, p := range x.Parts {
		if p.Offset != end || p.Length <= 0 || p.Length > x.Length-end || p.Records < 0 || p.Records > maxWide {
			return stint.Errorf(stint.Invalid, "partition %d with %d records in %d bytes at %d: out of range", p.Partition, p.Records, p.Length, p.Offset)
		}
		if p.Partition > maxPart || i > 0 && p.Partition <= x.Parts[i-1].Partition {
			return stint.Errorf(stint.Invalid, "partition %d in place %d of a block: out of order", p.Partition, i)
		}
		end += p.Length
	}
	if end != x.Length {
		return stint.Errorf(stint.Invalid, "block of %d bytes whose parts have %d", x.Length, end)
	}
	return nil
}

// appendPacked appends an index that was checked.
func appendPacked(dst []byte, x Index) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, x.Segment)
	dst = appendWide(dst, x.Offset)
	dst = appendWide(dst, x.Length)
	dst = append24(dst, uint32(len(x.Parts)))
	for _, p := range x.Parts {
		dst = append24(dst, p.Partition)
		dst = appendWide(dst, p.Offset)
		dst = appendWide(dst, p.Records)
		dst = binary.LittleEndian.AppendUint64(dst, p.Sum)
	}
	return dst
}

// packed is a packed block, and what may follow it.
type packed []byte

func (b packed) segment() uint32 { return binary.LittleEndian.Uint32(b) }
func (b packed) offset() int64   { return wide(b[4:]) }
func (b packed) length() int64   { return wide(b[9:]) }
func (b packed) parts() int      { return int(uint24(b[14:])) }
func (b packed) size() int       { return headSize + b.parts()*partSize }

func (b packed) part(i int) PartIndex {
	p := b[headSize+i*partSize:]
	x := PartIndex{
		Partition: uint24(p),
		Offset:    wide(p[3:]),
		Records:   wide(p[8:]),
		Sum:       binary.LittleEndian.Uint64(p[13:]),
	}
	end := b.length()
	if i+1 < b.parts() {
		end = wide(p[partSize+3:])
	}
	x.Length = end - x.Offset
	return x
}

// find returns one partition; ok is false if the block has no bytes in it.
func (b packed) find(partition uint32) (p PartIndex, ok bool) {
	n := b.parts()
	i := sort.Search(n, func(i int) bool { return uint24(b[headSize+i*partSize:]) >= partition })
	if i == n {
		return PartIndex{}, false
	}
	p = b.part(i)
	return p, p.Partition == partition
}

func (b packed) index() Index {
	x := Index{Segment: b.segment(), Offset: b.offset(), Length: b.length()}
	for i := range b.parts() {
		x.Parts = append(x.Parts, b.part(i))
	}
	return x
}

func append24(dst []byte, v uint32) []byte { return append(dst, byte(v), byte(v>>8), byte(v>>16)) }

func uint24(b []byte) uint32 { return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 }

func appendWide(dst []byte, v int64) []byte {
	return append(binary.LittleEndian.AppendUint32(dst, uint32(v)), byte(v>>32))
}

func wide(b []byte) int64 { return int64(binary.LittleEndian.Uint32(b)) | int64(b[4])<<32 }
