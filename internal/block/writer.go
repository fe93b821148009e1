package block

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/failpoint"
)

// SegmentSize is the length from which a segment takes no further block, in bytes.
const SegmentSize = 256 << 20

const bufferSize = 256 << 10

// segmentFile is what a writer needs of an *os.File.
type segmentFile interface {
	io.WriterAt
	Truncate(size int64) error
	Name() string
}

// Writer appends blocks to a segment, one at a time. Not for concurrent use.
type Writer struct {
	file  segmentFile
	size  int64 // end of the last committed block
	index Index // of the block begun; its last part is not finished
	end   int64 // in the file, of what was written
	buf   []byte
	open  bool // a block is begun
	part  partition
	err   error // of a write: the block cannot be committed
}

// partition is where the bytes of the last part of the index go.
type partition struct {
	w      *Writer
	from   int // in the writer's buffer, of bytes that are not in sum
	hashed bool
	sum    *xxh3.Hasher
}

// NewWriter returns a writer that appends to segment file f behind size bytes,
// the end of its last block. f must not be opened for appending (O_APPEND).
func NewWriter(f *os.File, segment uint32, size int64) *Writer { return newWriter(f, segment, size) }

func newWriter(f segmentFile, segment uint32, size int64) *Writer {
	w := &Writer{file: f, size: size, end: size}
	w.index.Segment = segment
	w.part = partition{w: w, sum: xxh3.New()}
	return w
}

// Begin begins a block. One that was neither committed nor discarded is discarded.
func (w *Writer) Begin() error {
	if w.open {
		if err := w.Discard(); err != nil {
			return err
		}
	}
	if w.buf == nil {
		w.buf = make([]byte, 0, bufferSize)
	}
	w.open = true
	w.index = Index{Segment: w.index.Segment, Offset: w.size}
	return nil
}

// Partition begins partition p of the block, which must be higher than the one
// before, and returns where its bytes go: valid until the next call of a method
// other than AddRecords. A partition without bytes is left out of the index.
func (w *Writer) Partition(p uint32) (io.Writer, error) {
	if !w.open {
		return nil, stint.Errorf(stint.Internal, "partition %d of no block", p)
	}
	w.endPartition()
	if n := len(w.index.Parts); n > 0 && w.index.Parts[n-1].Partition >= p {
		w.err = stint.Errorf(stint.Internal, "partition %d after %d", p, w.index.Parts[n-1].Partition)
		return nil, w.err
	}
	w.index.Parts = append(w.index.Parts, PartIndex{Partition: p, Offset: w.index.Length})
	w.part.from, w.part.hashed = len(w.buf), false
	return &w.part, nil
}

// AddRecords adds n to the number of records of the partition begun last.
func (w *Writer) AddRecords(n int64) {
	w.index.Parts[len(w.index.Parts)-1].Records += n
}

// Commit writes what is buffered and returns where the block lies. The bytes are
// with the operating system then: safe from the death of this process, not
// synced. After an error the block can only be discarded.
func (w *Writer) Commit() (Index, error) {
	if !w.open {
		return Index{}, stint.Errorf(stint.Internal, "commit of no block")
	}
	w.endPartition()
	if err := cmp.Or(w.flush(), failpoint.Error("block.after-write-before-log")); err != nil {
		return Index{}, err
	}
	w.open = false
	w.size = w.end
	return w.index, nil
}

// Copy appends a block that is kept elsewhere, whose parts r yields one after the
// other. The error is [stint.Lost], and nothing is appended, if their bytes do not
// have their checksums; one of r is wrapped.
func (w *Writer) Copy(parts []PartIndex, r io.Reader) (Index, error) {
	if err := w.Begin(); err != nil {
		return Index{}, err
	}
	for _, p := range parts {
		to, err := w.Partition(p.Partition)
		if err == nil {
			w.AddRecords(p.Records)
			_, err = io.CopyN(to, r, p.Length)
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return Index{}, errors.Join(fmt.Errorf("copy partition %d: %w", p.Partition, err), w.Discard())
		}
	}
	idx, err := w.Commit()
	if err != nil {
		return Index{}, errors.Join(err, w.Discard())
	}
	for i, p := range parts {
		if got := idx.Parts[i].Sum; got != p.Sum {
			w.size = idx.Offset
			return Index{}, errors.Join(stint.Errorf(stint.Lost, "partition %d: checksum %016x, recorded %016x", p.Partition, got, p.Sum), w.Discard())
		}
	}
	return idx, nil
}

// Discard drops the block begun and takes its bytes off the segment.
func (w *Writer) Discard() error {
	clean := w.end == w.size && w.err == nil
	w.open, w.err = false, nil
	w.buf, w.end = w.buf[:0], w.size // what cannot be truncated is written over by the next block
	if clean {
		return nil
	}
	if err := w.file.Truncate(w.size); err != nil {
		return fmt.Errorf("truncate segment %s to %d bytes: %w", w.file.Name(), w.size, err)
	}
	return nil
}

// Size returns the end of the last committed block, in bytes.
func (w *Writer) Size() int64 { return w.size }

// Write adds b to the partition.
func (p *partition) Write(b []byte) (int, error) {
	w := p.w
	if w.err != nil {
		return 0, w.err
	}
	if len(w.buf)+len(b) > cap(w.buf) {
		p.hash(w.buf[p.from:])
		if err := w.flush(); err != nil {
			return 0, err
		}
		p.from = 0
	}
	if len(b) > cap(w.buf) {
		p.hash(b)
		if err := w.write(b); err != nil {
			return 0, err
		}
	} else {
		w.buf = append(w.buf, b...)
	}
	w.index.Length += int64(len(b))
	w.index.Parts[len(w.index.Parts)-1].Length += int64(len(b))
	return len(b), nil
}

func (p *partition) hash(b []byte) {
	if !p.hashed {
		p.hashed = true
		p.sum.Reset()
	}
	_, _ = p.sum.Write(b) // never fails
}

// endPartition finishes the last part of the index.
func (w *Writer) endPartition() {
	n := len(w.index.Parts)
	if n == 0 {
		return
	}
	last := &w.index.Parts[n-1]
	rest := w.buf[min(w.part.from, len(w.buf)):]
	switch {
	case last.Length == 0 && n == 1:
		w.index.Parts = nil // equal blocks have equal indexes
	case last.Length == 0:
		w.index.Parts = w.index.Parts[:n-1]
	case w.part.hashed:
		w.part.hash(rest)
		last.Sum = w.part.sum.Sum64()
	default: // all of it is in the buffer: faster in one go
		last.Sum = xxh3.Hash(rest)
	}
	w.part.from = len(w.buf)
}

func (w *Writer) flush() error {
	if w.err != nil {
		return w.err
	}
	err := w.write(w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *Writer) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := w.file.WriteAt(b, w.end)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("write segment %s: %w", w.file.Name(), err)
		return w.err
	}
	w.end += int64(n)
	return nil
}
