package block

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"syscall"

	"github.com/zeebo/xxh3"

	"stint"
)

// PackSize is the length from which a pack takes no further block, in bytes.
const PackSize = 64 << 20

// A pack ends with a footer: magic, format, stage, number of blocks, offset,
// length and XXH3-64 of the index, XXH3-64 of the footer so far.
const (
	packMagic    = "stintpak"
	packFormat   = 1
	packFooter   = len(packMagic) + 3*4 + 4*8
	maxPackIndex = 16 << 20 // bytes, from which a pack takes no further block
)

// Ref names the output of one operation.
type Ref struct {
	Execution stint.ExecutionID
	Stage     int
	Op        uint32
}

// Packing is a pack in the making: a reader of the pack's bytes. Blocks are
// verified as they pass. One that turns out not to be whole has passed already:
// it is left out of the index, and its bytes lie in the pack as if they were not
// there. Not for concurrent use.
type Packing struct {
	store *Store
	refOf func(op uint32) Ref
	limit int64
	pack  stint.Pack // Ops, Stage; the rest once the last byte is read
	rest  []stint.Range
	lost  []stint.Range
	now   *passing
	hash  *xxh3.Hasher
	at    int64 // bytes read
	index []byte
	tail  []byte // index and footer that are not read yet; nil: blocks are
	err   error  // why blocks cannot be read for now, which says nothing of them
}

// Pack begins a pack with the blocks of operations of a stage, in order, until
// it has about limit bytes. refOf says under which name the store has the block
// of an operation.
func (s *Store) Pack(stage int, ops []stint.Range, limit int64, refOf func(op uint32) Ref) *Packing {
	return &Packing{store: s, refOf: refOf, limit: limit, pack: stint.Pack{Stage: stage}, rest: slices.Clone(ops), hash: xxh3.New()}
}

// Result returns, once everything is read, what the pack consists of (all but
// its key), the operations whose blocks are not here whole, and those that the
// pack had no room for.
func (p *Packing) Result() (pack stint.Pack, lost, rest []stint.Range) { return p.pack, p.lost, p.rest }

// Read reads on in the pack. It fills b unless the pack ends. The error is that
// this node has no descriptors or no memory left to open a block.
func (p *Packing) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		switch {
		case p.tail != nil:
			c := copy(b[n:], p.tail)
			p.tail = p.tail[c:]
			if n += c; c == 0 {
				if n == 0 {
					return 0, io.EOF
				}
				return n, nil
			}
		case p.now != nil:
			c, done := p.now.read(b[n:])
			n += c
			p.at += int64(c)
			if done {
				p.passed()
			}
		default:
			if p.next(); p.err != nil {
				return n, p.err
			}
		}
	}
	return n, nil
}

// next begins the next block, or the end of the pack.
func (p *Packing) next() {
	if len(p.rest) == 0 || p.at >= p.limit || len(p.index) >= maxPackIndex {
		p.finish()
		return
	}
	op := p.rest[0].From
	if p.rest[0].From++; p.rest[0].From == p.rest[0].To {
		p.rest = p.rest[1:]
	}
	ref := p.refOf(op)
	section, idx, err := p.store.OpenWhole(ref.Execution, ref.Stage, ref.Op)
	if isShortage(err) {
		p.err = err
		return
	}
	if err != nil {
		p.lost = stint.AddToRanges(p.lost, op)
		return
	}
	idx.Segment, idx.Offset = op, p.at
	p.hash.Reset()
	p.now = &passing{op: op, index: idx, section: section, sums: sums{parts: idx.Parts, hash: p.hash}}
	if idx.Length == 0 {
		p.passed()
	}
}

// isShortage reports whether an error is of what this node will have again.
func isShortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// passed enters the block that was read.
func (p *Packing) passed() {
	if p.now.whole() {
		p.index = appendPacked(p.index, p.now.index)
		p.pack.Ops = stint.AddToRanges(p.pack.Ops, p.now.op)
	} else {
		p.lost = stint.AddToRanges(p.lost, p.now.op)
	}
	p.now = nil
}

func (p *Packing) finish() {
	p.pack.Index, p.pack.Sum = p.at, xxh3.Hash(p.index)
	p.tail = appendFooter(p.index, p.pack)
	p.pack.Bytes = p.at + int64(len(p.tail))
}

func appendFooter(index []byte, p stint.Pack) []byte {
	f := append(make([]byte, 0, packFooter), packMagic...)
	f = binary.LittleEndian.AppendUint32(f, packFormat)
	f = binary.LittleEndian.AppendUint32(f, uint32(p.Stage))
	f = binary.LittleEndian.AppendUint32(f, uint32(stint.CountRanges(p.Ops)))
	f = binary.LittleEndian.AppendUint64(f, uint64(p.Index))
	f = binary.LittleEndian.AppendUint64(f, uint64(len(index)))
	f = binary.LittleEndian.AppendUint64(f, p.Sum)
	f = binary.LittleEndian.AppendUint64(f, xxh3.Hash(f))
	return append(index, f...)
}

// passing is a block on its way into a pack.
type passing struct {
	op      uint32
	index   Index // as it will stand in the pack
	section *io.SectionReader
	taken   int64
	failed  bool
	sums    sums
}

// read reads on in the block and reports whether that was all there is to read.
func (p *passing) read(b []byte) (n int, done bool) {
	n, err := p.section.Read(b)
	p.taken += int64(n)
	p.sums.add(b[:n])
	p.failed = err != nil && p.taken < p.index.Length // whatever the cause, it cannot be had from here
	return n, p.failed || p.taken == p.index.Length
}

func (p *passing) whole() bool { return !p.failed && !p.sums.wrong }

// sums compares the bytes of a block, as they pass, with the checksums of its parts.
type sums struct {
	parts []PartIndex // not yet passed
	at    int64       // in the first of them
	hash  *xxh3.Hasher
	wrong bool
}

func (s *sums) add(b []byte) {
	for len(b) > 0 && len(s.parts) > 0 {
		part := b[:min(int64(len(b)), s.parts[0].Length-s.at)]
		s.hash.Write(part) //nolint:errcheck // a hash does not fail
		b, s.at = b[len(part):], s.at+int64(len(part))
		if s.at == s.parts[0].Length {
			s.wrong = s.wrong || s.hash.Sum64() != s.parts[0].Sum
			s.hash.Reset()
			s.parts, s.at = s.parts[1:], 0
		}
	}
}

// PackIndex says what is in a pack and where. Safe for concurrent use.
type PackIndex struct {
	entries []byte   // packed indexes; in the place of the segment stands the operation
	starts  []uint32 // where each begins
}

// ReadPackIndex reads the index of a pack from the pack's bytes. The error is
// [stint.Lost] if they are not those of this pack: cut, altered, of another one.
func ReadPackIndex(r io.ReaderAt, p stint.Pack) (*PackIndex, error) {
	length := p.Bytes - p.Index - int64(packFooter)
	if p.Index < 0 || length < 0 || length > 1<<31 {
		return nil, damaged(p, "its record says index at %d", p.Index)
	}
	b := make([]byte, length+int64(packFooter))
	if _, err := r.ReadAt(b, p.Index); errors.Is(err, io.EOF) {
		return nil, damaged(p, "it is shorter")
	} else if err != nil {
		return nil, fmt.Errorf("read index of pack %s: %w", p.Key, err)
	}
	entries := b[:length:length]
	if sum := xxh3.Hash(entries); sum != p.Sum {
		return nil, damaged(p, "checksum of the index %016x, recorded %016x", sum, p.Sum)
	}
	if string(b[length:]) != string(appendFooter(entries, p)[length:]) {
		return nil, damaged(p, "its last bytes are not those that were written")
	}
	x, err := decodePackIndex(entries, p.Index)
	if err != nil {
		return nil, damaged(p, "%s", err)
	}
	return x, nil
}

func damaged(p stint.Pack, format string, args ...any) *stint.Error {
	return stint.Errorf(stint.Lost, "pack %s of %d bytes is damaged: %s", p.Key, p.Bytes, fmt.Sprintf(format, args...))
}

// decodePackIndex checks that all blocks lie within the first end bytes.
func decodePackIndex(b []byte, end int64) (*PackIndex, error) {
	x := &PackIndex{entries: b}
	for at := 0; at < len(b); {
		e := packed(b[at:])
		if len(e) < headSize || len(e) < e.size() {
			return nil, stint.Errorf(stint.Invalid, "index ends within block %d", len(x.starts))
		}
		idx := e.index()
		if err := idx.check(); err != nil {
			return nil, err
		}
		if n := len(x.starts); n > 0 && x.op(n-1) >= idx.Segment {
			return nil, stint.Errorf(stint.Invalid, "operation %d in place %d of an index: out of order", idx.Segment, n)
		}
		if idx.Offset+idx.Length > end {
			return nil, stint.Errorf(stint.Invalid, "block of operation %d: %d bytes at %d of %d", idx.Segment, idx.Length, idx.Offset, end)
		}
		x.starts = append(x.starts, uint32(at))
		at += e.size()
	}
	return x, nil
}

func (x *PackIndex) at(i int) packed { return packed(x.entries[x.starts[i]:]) }

func (x *PackIndex) op(i int) uint32 { return x.at(i).segment() }

func (x *PackIndex) entry(op uint32) (packed, bool) {
	i := sort.Search(len(x.starts), func(i int) bool { return x.op(i) >= op })
	if i == len(x.starts) || x.op(i) != op {
		return nil, false
	}
	return x.at(i), true
}

// Ops returns the operations whose blocks are in the pack.
func (x *PackIndex) Ops() []stint.Range {
	var out []stint.Range
	for i := range x.starts {
		out = stint.AddToRanges(out, x.op(i))
	}
	return out
}

// Find returns one partition of the output of an operation, its offset counted
// from the beginning of the pack; without bytes if the block has none in that
// partition. ok is false if the pack does not have the block.
func (x *PackIndex) Find(op, partition uint32) (p PartIndex, ok bool) {
	e, ok := x.entry(op)
	if !ok {
		return PartIndex{}, false
	}
	p, found := e.find(partition)
	if !found {
		return PartIndex{Partition: partition, Offset: e.offset(), Sum: sumOfNothing}, true
	}
	p.Offset += e.offset()
	return p, true
}

// Block returns where the whole block of an operation lies in the pack, which
// counts as segment 0. ok is false if the pack does not have it.
func (x *PackIndex) Block(op uint32) (idx Index, ok bool) {
	e, ok := x.entry(op)
	if !ok {
		return Index{}, false
	}
	idx = e.index()
	idx.Segment = 0
	return idx, true
}

// Verify reads a pack from its first byte and returns the operations whose blocks
// do not have their checksums, and how many bytes of blocks it read. The error is
// of reading.
func (x *PackIndex) Verify(r io.Reader) (bad []stint.Range, bytes int64, err error) {
	list := make([]Index, len(x.starts))
	for i := range x.starts {
		list[i] = x.at(i).index()
	}
	slices.SortFunc(list, func(a, b Index) int { return cmp.Compare(a.Offset, b.Offset) })
	in, hash, at := bufio.NewReaderSize(r, 1<<20), xxh3.New(), int64(0)
	for _, idx := range list {
		for _, p := range idx.Parts {
			skip := idx.Offset + p.Offset - at
			if skip < 0 {
				return nil, bytes, stint.Errorf(stint.Lost, "blocks of a pack overlap at byte %d", at)
			}
			if _, err := in.Discard(int(skip)); err != nil {
				return nil, bytes, err
			}
			hash.Reset()
			n, err := io.CopyN(hash, in, p.Length)
			if bytes += n; err != nil {
				return nil, bytes, err
			}
			at += skip + n
			if hash.Sum64() != p.Sum {
				bad = stint.AddToRanges(bad, idx.Segment)
			}
		}
	}
	return bad, bytes, nil
}
