package split

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"

	"stint"
)

// maxSamples is about how many records of one object a sample has at most.
const maxSamples = 1 << 16

// Sample calls each with records of the pieces, without what ends them, instead of
// reading all: in every object those that contain a byte whose offset is a multiple
// of stride, or of a larger number if the object is very large. Which ones those
// are depends neither on how the objects are cut nor on other objects; of a
// compressed object the offsets are those of its text. The record is valid during
// the call. Nothing may have been read before, and nothing is afterwards: Records
// and Bytes are those of the sample. Errors are those of reading, and of each.
func (r *Reader) Sample(stride int64, each func(record []byte) error) error {
	for _, in := range r.inputs {
		if err := r.samplePiece(in, stride, each); err != nil {
			return err
		}
	}
	r.inputs, r.err = nil, io.EOF
	return nil
}

func (r *Reader) samplePiece(in Input, stride int64, each func([]byte) error) error {
	for in.Piece.Object.Size/stride > maxSamples {
		stride *= 2
	}
	counted := func(record []byte) error {
		r.records++
		r.bytes += int64(len(record)) + 1
		return each(record)
	}
	if p := in.Piece; r.format.isPlainLines() && !r.format.Whole(p.Object.URL) {
		if p.Offset < 0 || p.Length < 0 || p.Offset > p.Object.Size-p.Length {
			return stint.Errorf(stint.Invalid, "piece of %s: offset %d, length %d of %d bytes", p.Object.URL, p.Offset, p.Length, p.Object.Size)
		}
		s := pieceSample{in: in, size: p.Object.Size, limit: r.format.Limit}
		return s.run(stride, counted)
	}
	return r.sampleAll(in, stride, counted)
}

// sampleAll reads a piece whole, each record behind its offset.
func (r *Reader) sampleAll(in Input, stride int64, each func([]byte) error) error {
	f := r.format
	f.Offsets = "\t"
	if f.Split == stint.SplitFiles {
		f.Split = stint.SplitLines
	}
	lines := bufio.NewReaderSize(NewReader([]Input{in}, f, r.decoders), bufferSize)
	var line []byte
	for {
		part, err := lines.ReadSlice('\n')
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		number, record, _ := bytes.Cut(line[:len(line)-1], []byte{'\t'})
		at, err := strconv.ParseInt(string(number), 10, 64)
		if err != nil {
			return stint.Errorf(stint.Internal, "offset of a record of %s: %w", in.Piece.Object.URL, err)
		}
		if (at+stride-1)/stride*stride <= at+int64(len(record)) {
			if err := each(record); err != nil {
				return err
			}
		}
		line = line[:0]
	}
}

// pieceSample looks for single records in a piece.
type pieceSample struct {
	in    Input
	size  int64 // of the object
	limit int64 // of a record
	buf   []byte
}

func (s *pieceSample) run(stride int64, each func([]byte) error) error {
	from, end := s.in.Piece.Offset, s.in.Piece.Offset+s.in.Piece.Length
	next := (from + stride - 1) / stride * stride
	for next < s.size {
		probe := min(next, end-1) // the record that has next begins in this piece only if it has this too
		if probe < from {
			return nil
		}
		begin, err := s.lineStart(from, probe)
		if err != nil {
			return err
		}
		if begin < 0 {
			next = (probe/stride + 1) * stride
			if probe == end-1 {
				return nil
			}
			continue
		}
		record, stop, err := s.record(begin, probe)
		if err != nil {
			return err
		}
		if stop > next {
			if err := each(record); err != nil {
				return err
			}
		}
		if stop >= end {
			return nil
		}
		next = max((stop+stride-1)/stride*stride, next)
	}
	return nil
}

// lineStart returns where the line that has the byte at a position begins, or -1
// if that is before the piece.
func (s *pieceSample) lineStart(from, at int64) (int64, error) {
	least := max(from-1, 0) // an LF there ends the line before the piece's first
	size := int64(probeSize)
	for high := at; high > least; size = min(2*size, bufferSize) {
		low := max(high-size, least)
		if at-low > s.limit {
			return 0, tooLong(s.in.Piece.Object.URL, low, s.limit)
		}
		b, err := s.read(low, high)
		if err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return low + int64(i) + 1, nil
		}
		high = low
	}
	if from == 0 {
		return 0, nil
	}
	return -1, nil
}

// record returns the line that begins at a position and has the byte at another,
// and where the one after it begins.
func (s *pieceSample) record(begin, at int64) (line []byte, stop int64, err error) {
	for size := int64(probeSize); ; size *= 2 {
		high := min(at+size, s.size)
		b, err := s.read(begin, high)
		if err != nil {
			return nil, 0, err
		}
		if i := bytes.IndexByte(b[at-begin:], '\n'); i >= 0 {
			n := at - begin + int64(i)
			return b[:n], begin + n + 1, nil
		}
		if high == s.size {
			return b, high, nil
		}
		if high-begin > s.limit {
			return nil, 0, tooLong(s.in.Piece.Object.URL, begin, s.limit)
		}
	}
}

// read reads the bytes from a position to another. They are valid until the next call.
func (s *pieceSample) read(from, to int64) ([]byte, error) {
	if n := int(to - from); cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	b := s.buf[:to-from]
	return b, s.in.read(b, from)
}

// Sample calls each with the lines of the numbers that are multiples of stride.
// What is said of [Reader.Sample] holds.
func (r *ValuesReader) Sample(stride int64, each func(record []byte) error) error {
	all := stint.Values{First: r.next, Count: r.count}
	if r.err != nil {
		return r.err
	}
	r.count, r.err = 0, io.EOF
	skip := -(all.First % stride)
	if skip < 0 {
		skip += stride
	}
	for i := skip; i < all.Count; i += stride {
		line := strconv.AppendInt(nil, all.First+i, 10)
		r.records++
		r.bytes += int64(len(line)) + 1
		if err := each(line); err != nil {
			return err
		}
		if i > all.Count-stride {
			return nil
		}
	}
	return nil
}
