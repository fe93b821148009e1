package split

import (
	"io"
	"math"
	"strconv"

	"stint"
)

// ValuesReader reads a generated range, one number a line. It is an [io.Reader]
// and an [io.WriterTo]. Not safe for concurrent use.
type ValuesReader struct {
	next    int64
	count   int64 // numbers to come
	buf     []byte
	left    []byte // of buf: not yet delivered by Read
	records int64
	bytes   int64
	err     error
}

const valuesBuffer = 32 << 10

// NewValues returns a reader of the numbers v.First … v.First+v.Count-1. Reading
// fails as [stint.Invalid] if that is not a run of int64.
func NewValues(v stint.Values) *ValuesReader {
	r := &ValuesReader{next: v.First, count: v.Count}
	if v.Count < 0 || (v.Count > 0 && v.First > math.MaxInt64-(v.Count-1)) {
		r.err = stint.Errorf(stint.Invalid, "range of %d numbers from %d: not within the 64-bit whole numbers", v.Count, v.First)
	}
	return r
}

// Records returns how many numbers were read so far.
func (r *ValuesReader) Records() int64 { return r.records }

// Bytes returns the length of their lines.
func (r *ValuesReader) Bytes() int64 { return r.bytes }

// Read implements [io.Reader].
func (r *ValuesReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.left) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// WriteTo implements [io.WriterTo].
func (r *ValuesReader) WriteTo(w io.Writer) (int64, error) {
	return writeChunks(w, func() ([]byte, error) {
		if len(r.left) == 0 {
			if err := r.fill(); err != nil {
				return nil, err
			}
		}
		data := r.left
		r.left = nil
		return data, nil
	})
}

// fill replaces left by the next lines.
func (r *ValuesReader) fill() error {
	r.left = nil
	if r.err != nil {
		return r.err
	}
	if r.count == 0 {
		return io.EOF
	}
	const longest = len("-9223372036854775808\n")
	if r.buf == nil {
		r.buf = make([]byte, 0, min(valuesBuffer, r.count*int64(longest)))
	}
	b := r.buf[:0]
	for r.count > 0 && len(b)+longest <= cap(b) {
		b = append(strconv.AppendInt(b, r.next, 10), '\n')
		r.next++ // may wrap behind the last number, which is not used then
		r.count--
		r.records++
	}
	r.bytes += int64(len(b))
	r.left = b
	return nil
}
