package native

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"strconv"

	"stint"
	"stint/internal/shuffle"
)

const (
	chunkSize = 256 << 10
	maxWord   = shuffle.MaxKey
	pad       = 16 // bytes of white space behind a chunk, so that loads of 8 bytes stay inside
)

// wordcount counts the words of its input.
func wordcount(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	s, err := settle("wordcount", wordcountParams(), a.Params)
	if err != nil {
		return err
	}
	fold := s.flag("fold")
	return emitTo(out, func(sink shuffle.Sink) error {
		t := newTable()
		err := eachChunk(ctx, in, func(chunk []byte) error {
			if fold {
				lowerASCII(chunk)
			}
			t.count(chunk)
			if t.full() {
				return t.emit(sink)
			}
			return nil
		})
		if err != nil {
			return err
		}
		return t.emit(sink)
	})
}

// eachChunk calls each with the input in pieces that end where a word ends;
// behind every piece lie pad bytes of white space that each may read.
func eachChunk(ctx context.Context, in io.Reader, each func([]byte) error) error {
	buf := make([]byte, chunkSize)
	var n int // bytes in buf
	for {
		if err := stopped(ctx); err != nil {
			return err
		}
		if len(buf)-pad-n < chunkSize/4 {
			buf = doubled(buf)
		}
		m, err := in.Read(buf[n : len(buf)-pad])
		n += m
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return err
		}
		end := n
		if !last {
			end = lastSpace(buf[n-m:n]) + n - m
			if end < n-m {
				if n > maxWord {
					return stint.Errorf(stint.Failed, "wordcount: a word of more than %d bytes, which begins %.40q", maxWord, buf[:40])
				}
				continue
			}
		}
		var rest [pad]byte
		copy(rest[:], buf[end:])
		for i := range pad {
			buf[end+i] = ' '
		}
		if err := each(buf[: end : end+pad]); err != nil || last {
			return err
		}
		copy(buf[end:], rest[:])
		n = copy(buf, buf[end:n])
	}
}

// doubled returns a buffer of twice the length with the same beginning.
func doubled(buf []byte) []byte {
	larger := make([]byte, 2*len(buf))
	copy(larger, buf)
	return larger
}

// lastSpace returns the index of the last white space of b, -1 if there is none.
func lastSpace(b []byte) int {
	return bytes.LastIndexAny(b, " \t\n\v\f\r")
}

const (
	ones = 0x0101010101010101
	high = 0x8080808080808080
)

// spaces returns a word with bit 7 set in each byte of x that is ASCII white
// space: 9 to 13, and 32.
func spaces(x uint64) uint64 {
	low := x &^ high
	return (low+(0x80-9)*ones)&^(low+(0x80-14)*ones)&^x&high |
		^((low^0x20*ones)+0x7f*ones)&^x&high
}

// lowerASCII turns the letters A to Z into a to z.
func lowerASCII(b []byte) {
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		low := x &^ high
		upper := (low + (0x80-'A')*ones) &^ (low + (0x80-'Z'-1)*ones) &^ x & high
		binary.LittleEndian.PutUint64(b, x|upper>>2)
		b = b[8:]
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
}

// table counts words. Entries lie in an open-addressed array; a word of up to 8
// bytes is its entry's head, a longer one has the rest of it in the arena.
type table struct {
	entries []entry // a power of two of them
	used    int
	arena   []byte
}

// entry is a word and how often it came. count 0: free.
type entry struct {
	head   uint64 // the first 8 bytes, little-endian, filled up with zeros
	count  uint64
	length uint32
	rest   uint32 // where the bytes behind the first 8 begin in the arena
}

const (
	firstEntries = 1 << 12
	maxEntries   = 1 << 20 // 24 MiB
	maxArena     = 64 << 20
)

func newTable() *table { return &table{entries: make([]entry, firstEntries)} }

func (t *table) full() bool { return t.used >= maxEntries/2 || len(t.arena) >= maxArena }

// count counts the words of b, behind which there is white space to read.
func (t *table) count(b []byte) {
	padded := b[:len(b)+pad]
	for i := 0; i < len(b); {
		x := binary.LittleEndian.Uint64(padded[i : i+8])
		m := spaces(x)
		if m&0x80 != 0 {
			i += bits.TrailingZeros64(^m&high) >> 3
			continue
		}
		if m != 0 {
			n := bits.TrailingZeros64(m) >> 3
			t.addShort(x&(1<<(8*n)-1), uint32(n))
			i += n + 1
			continue
		}
		n, h := 8, mix(x, 8)
		for {
			y := binary.LittleEndian.Uint64(padded[i+n : i+n+8])
			m := spaces(y)
			if m != 0 {
				k := bits.TrailingZeros64(m) >> 3
				h = mix(h, y&(1<<(8*k)-1))
				n += k
				break
			}
			h = mix(h, y)
			n += 8
		}
		t.addLong(x, padded[i+8:i+n], h)
		i += n + 1
	}
}

// mix is one round of a hash that need only spread well: a table lives for one
// operation and holds its own input's words.
func mix(h, x uint64) uint64 {
	hi, lo := bits.Mul64(h^0x9e3779b97f4a7c15, x^0xe7037ed1a0b428db)
	return hi ^ lo
}

func (t *table) addShort(head uint64, length uint32) {
	mask := uint64(len(t.entries) - 1)
	for i := mix(head, uint64(length)) & mask; ; i = (i + 1) & mask {
		e := &t.entries[i]
		if e.head == head && e.length == length && e.count != 0 {
			e.count++
			return
		}
		if e.count == 0 {
			*e = entry{head: head, count: 1, length: length}
			t.grow()
			return
		}
	}
}

func (t *table) addLong(head uint64, rest []byte, h uint64) {
	mask := uint64(len(t.entries) - 1)
	length := uint32(len(rest) + 8)
	for i := h & mask; ; i = (i + 1) & mask {
		e := &t.entries[i]
		if e.head == head && e.length == length && e.count != 0 && string(t.arena[e.rest:e.rest+length-8]) == string(rest) {
			e.count++
			return
		}
		if e.count == 0 {
			*e = entry{head: head, count: 1, length: length, rest: uint32(len(t.arena))}
			t.arena = append(t.arena, rest...)
			t.grow()
			return
		}
	}
}

// grow makes room after an entry was taken: the array stays at most half full.
func (t *table) grow() {
	if t.used++; t.used*2 <= len(t.entries) {
		return
	}
	old := t.entries
	t.entries = make([]entry, 2*len(old))
	mask := uint64(len(t.entries) - 1)
	for _, e := range old {
		if e.count == 0 {
			continue
		}
		i := t.hash(e) & mask
		for t.entries[i].count != 0 {
			i = (i + 1) & mask
		}
		t.entries[i] = e
	}
}

// hash computes again what count computed when it met the word.
func (t *table) hash(e entry) uint64 {
	if e.length <= 7 {
		return mix(e.head, uint64(e.length))
	}
	h := mix(e.head, 8)
	rest := t.arena[e.rest : e.rest+e.length-8]
	for len(rest) >= 8 {
		h = mix(h, binary.LittleEndian.Uint64(rest))
		rest = rest[8:]
	}
	var last [8]byte
	copy(last[:], rest)
	return mix(h, binary.LittleEndian.Uint64(last[:]))
}

// emit gives all words to the sink and empties the table.
func (t *table) emit(sink shuffle.Sink) error {
	var word, number []byte
	for _, e := range t.entries {
		if e.count == 0 {
			continue
		}
		word = binary.LittleEndian.AppendUint64(word[:0], e.head)[:min(e.length, 8)]
		if e.length > 8 {
			word = append(word, t.arena[e.rest:e.rest+e.length-8]...)
		}
		number = strconv.AppendUint(number[:0], e.count, 10)
		if err := sink.Emit(word, number); err != nil {
			return err
		}
	}
	clear(t.entries)
	t.used, t.arena = 0, t.arena[:0]
	return nil
}
