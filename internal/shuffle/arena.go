package shuffle

import "encoding/binary"

// Sizes of the chunks that encoded records are kept in. A record that is longer
// than maxChunk has a chunk of its own.
const (
	minChunk = 64 << 10
	maxChunk = 1 << offsetBits
)

// A ref says to which partition a record belongs and where it lies in an arena.
// Within a partition, refs are in the order of emission.
const (
	offsetBits    = 20
	chunkBits     = 24
	partitionBits = 64 - offsetBits - chunkBits
)

// arena keeps encoded records in memory that the collector does not look into.
type arena struct {
	chunks [][]byte // the first used ones hold records
	used   int
	held   int64 // bytes of all chunks
}

// grows returns how many bytes more the arena will hold for a record of n bytes.
func (a *arena) grows(n int) int64 {
	if a.used > 0 && cap(a.chunks[a.used-1])-len(a.chunks[a.used-1]) >= n {
		return 0
	}
	if a.used < len(a.chunks) && cap(a.chunks[a.used]) >= n {
		return 0
	}
	return int64(a.chunkSize(n))
}

func (a *arena) chunkSize(n int) int {
	size := minChunk
	if a.used > 0 {
		size = min(2*cap(a.chunks[a.used-1]), maxChunk)
	}
	return max(n, size)
}

// add appends a record and returns its ref.
func (a *arena) add(partition uint32, key, value []byte) uint64 {
	n := 2*binary.MaxVarintLen32 + len(key) + len(value)
	if a.grows(n) > 0 {
		size := a.chunkSize(n)
		for _, c := range a.chunks[a.used:] { // kept ones that are too small
			a.held -= int64(cap(c))
		}
		a.chunks = append(a.chunks[:a.used], make([]byte, 0, size))
		a.held += int64(size)
		a.used++
	} else if a.used == 0 || cap(a.chunks[a.used-1])-len(a.chunks[a.used-1]) < n {
		a.used++
	}
	chunk := a.used - 1
	offset := len(a.chunks[chunk])
	a.chunks[chunk] = AppendRecord(a.chunks[chunk], key, value)
	return uint64(partition)<<(chunkBits+offsetBits) | uint64(chunk)<<offsetBits | uint64(offset)
}

func partitionOf(ref uint64) uint32 { return uint32(ref >> (chunkBits + offsetBits)) }

// at returns the record's bytes and what follows them.
func (a *arena) at(ref uint64) []byte {
	return a.chunks[ref>>offsetBits&(1<<chunkBits-1)][ref&(1<<offsetBits-1):]
}

func (a *arena) key(ref uint64) []byte {
	b := a.at(ref)
	h, _ := readHeader(b) // written by add
	return b[h.head : h.head+h.key]
}

// clear drops the records and keeps ordinary chunks for others.
func (a *arena) clear() {
	kept := a.chunks[:0]
	a.held = 0
	for _, c := range a.chunks {
		if cap(c) <= maxChunk {
			kept = append(kept, c[:0])
			a.held += int64(cap(c))
		}
	}
	clear(a.chunks[len(kept):])
	a.chunks, a.used = kept, 0
}
