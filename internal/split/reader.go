package split

import (
	"bytes"
	"errors"
	"io"
	"math"

	"stint"
)

// MaxRecord is the default limit of the length of a record, in bytes, without
// the LF that ends it.
const MaxRecord = 64 << 20

const (
	bufferSize = 512 << 10 // fits into the second-level cache, so that counting costs little beside reading
	probeSize  = 4 << 10   // first read behind the end of a piece, where mostly one line is wanted
)

// Input is a piece and the file of its object.
type Input struct {
	Piece stint.Piece
	File  io.ReaderAt
}

// Reader reads the records of pieces, one piece after the other. It is an
// [io.Reader] and an [io.WriterTo]; WriteTo is the faster. Not safe for
// concurrent use. An error is final.
//
// Errors: [stint.Invalid] for a record longer than the limit, with the URL and the
// offset at which it begins, for an object that is shorter than listed, and for a
// piece that is none; [stint.Unavailable] if reading fails.
type Reader struct {
	inputs  []Input
	kind    stint.Split
	limit   int64
	cur     cursor
	buf     []byte
	left    []byte // of buf: not yet delivered by Read
	records int64
	bytes   int64
	err     error
}

// cursor is the state of reading one piece. All offsets count from the object's start.
type cursor struct {
	in     Input
	open   bool
	seek   bool  // the first record has not been found yet
	pos    int64 // next byte to read
	end    int64 // end of the piece, at most size
	size   int64 // end of the object
	record int64 // where the record that spans pos begins
	ahead  int64 // length of the next read behind end
}

// NewReader returns a reader of the pieces' records. The empty kind is lines. A
// limit of 0 is [MaxRecord]; for files it has no meaning.
func NewReader(inputs []Input, kind stint.Split, limit int64) *Reader {
	if limit <= 0 {
		limit = MaxRecord
	}
	if kind == "" {
		kind = stint.SplitLines
	}
	return &Reader{inputs: inputs, kind: kind, limit: limit}
}

// Records returns the number of records read so far; all of them at [io.EOF].
func (r *Reader) Records() int64 { return r.records }

// Bytes returns how many bytes of the input these records take; an LF that was
// added is not counted.
func (r *Reader) Bytes() int64 { return r.bytes }

// Read implements [io.Reader]. Into a p of at least 64 KiB bytes are read directly.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.left) == 0 {
		const direct = 64 << 10
		if len(p) >= direct && r.limit >= direct {
			data, err := r.next(p[:min(int64(len(p)), r.limit, bufferSize)])
			return copy(p, data), err // moves only bytes of a piece's first buffer
		}
		data, err := r.next(r.buffer())
		if err != nil {
			return 0, err
		}
		r.left = data
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// WriteTo implements [io.WriterTo].
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	return writeChunks(w, func() ([]byte, error) {
		if data := r.left; len(data) > 0 {
			r.left = nil
			return data, nil
		}
		return r.next(r.buffer())
	})
}

// writeChunks writes what next returns until next returns [io.EOF].
func writeChunks(w io.Writer, next func() ([]byte, error)) (int64, error) {
	var total int64
	for {
		data, err := next()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(data)
		total += int64(n)
		if err == nil && n < len(data) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, err
		}
	}
}

func (r *Reader) buffer() []byte {
	if r.buf == nil {
		r.buf = make([]byte, r.bufferLength())
	}
	return r.buf
}

// bufferLength is less than bufferSize if there is not so much to read.
func (r *Reader) bufferLength() int64 {
	n := int64(probeSize)
	for _, in := range r.inputs {
		if in.Piece.Length < 0 || in.Piece.Length > bufferSize || n > bufferSize {
			n = bufferSize
			break
		}
		n += in.Piece.Length
	}
	return min(n, bufferSize, r.limit)
}

// next returns the next bytes to deliver, at least one, as a part of buf.
func (r *Reader) next(buf []byte) ([]byte, error) {
	for r.err == nil {
		var data []byte
		switch {
		case !r.cur.open && len(r.inputs) == 0:
			r.err = io.EOF
		case !r.cur.open:
			r.err = r.openPiece()
		case r.kind == stint.SplitFiles:
			data, r.err = r.nextBytes(buf)
		default:
			data, r.err = r.nextLines(buf)
		}
		if len(data) > 0 && r.err == nil {
			return data, nil
		}
	}
	return nil, r.err
}

func (r *Reader) openPiece() error {
	in := r.inputs[0]
	r.inputs = r.inputs[1:]
	p := in.Piece
	if p.Offset < 0 || p.Length < 0 || p.Offset > math.MaxInt64-p.Length || p.Object.Size < 0 {
		return stint.Errorf(stint.Invalid, "piece of %s: offset %d, length %d of %d bytes", p.Object.URL, p.Offset, p.Length, p.Object.Size)
	}
	size := p.Object.Size
	c := cursor{in: in, open: true, pos: p.Offset, record: p.Offset, size: size, end: min(p.Offset+p.Length, size), ahead: probeSize}
	switch r.kind {
	case stint.SplitLines:
		if c.pos >= c.end {
			c.open = false
		} else if c.pos > 0 {
			c.seek = true
			c.pos--
		}
	case stint.SplitFiles:
		if p.Offset != 0 || p.Length != size {
			return stint.Errorf(stint.Invalid, "piece of %s: files are read whole, not %d bytes at %d of %d", p.Object.URL, p.Length, p.Offset, size)
		}
		r.records++
		c.open = size > 0
	case stint.SplitRange:
		fallthrough
	default:
		return stint.Errorf(stint.Invalid, "piece of %s: split %.20q has no pieces; expected lines or files", p.Object.URL, string(r.kind))
	}
	r.cur = c
	return nil
}

func (r *Reader) nextBytes(buf []byte) ([]byte, error) {
	c := &r.cur
	data := buf[:min(int64(len(buf)), c.size-c.pos)]
	if err := c.read(data); err != nil {
		return nil, err
	}
	c.pos += int64(len(data))
	c.open = c.pos < c.size
	r.bytes += int64(len(data))
	return data, nil
}

// nextLines may return nothing and have made progress.
func (r *Reader) nextLines(buf []byte) ([]byte, error) {
	c := &r.cur
	if c.seek {
		return r.seekRecord(buf)
	}
	if c.pos == c.size { // a last line without LF
		c.open = false
		r.records++
		return append(buf[:0], '\n'), nil
	}
	data := buf[:c.want(len(buf))]
	if err := c.read(data); err != nil {
		return nil, err
	}
	return r.deliver(data)
}

// want returns how much to read at pos: up to the end of the piece, then little
// by little more.
func (c *cursor) want(room int) int64 {
	if c.pos < c.end {
		return min(int64(room), c.end-c.pos)
	}
	n := min(int64(room), c.ahead, c.size-c.pos)
	c.ahead = min(2*c.ahead, bufferSize)
	return n
}

// seekRecord looks for the first record that begins in the piece, from the byte before it.
func (r *Reader) seekRecord(buf []byte) ([]byte, error) {
	c := &r.cur
	data := buf[:min(int64(len(buf)), c.end-c.pos)]
	if err := c.read(data); err != nil {
		return nil, err
	}
	// An LF that is the last byte of the piece ends what another piece delivers.
	last := c.end - 1 - c.pos
	i := bytes.IndexByte(data[:min(int64(len(data)), last)], '\n')
	if i < 0 {
		c.pos += int64(len(data))
		c.open = c.pos < c.end
		return nil, nil
	}
	c.seek = false
	c.pos += int64(i) + 1
	c.record = c.pos
	return r.deliver(data[i+1:])
}

// deliver accounts for data, which was read at pos, and cuts it at the end of
// the last record of the piece.
func (r *Reader) deliver(data []byte) ([]byte, error) {
	c := &r.cur
	if after := c.end - 1 - c.pos; after < int64(len(data)) {
		if i := bytes.IndexByte(data[max(after, 0):], '\n'); i >= 0 {
			data = data[:max(after, 0)+int64(i)+1]
			c.open = false
		}
	}
	n := int64(bytes.Count(data, newline))
	if err := r.checkLength(data, n); err != nil {
		return nil, err
	}
	c.pos += int64(len(data))
	r.bytes += int64(len(data))
	r.records += n
	if c.pos == c.size && data[len(data)-1] == '\n' {
		c.open = false
	}
	return data, nil
}

var newline = []byte{'\n'} //nolint:gochecknoglobals // constant; a slice made on the spot would escape

// checkLength finds a record that is too long. One that begins and ends in data
// is not, since data is no longer than the limit; so only the first and the last
// line end matter.
func (r *Reader) checkLength(data []byte, lines int64) error {
	c := &r.cur
	known := c.pos + int64(len(data)) // end of the record that began before data, as far as it is known
	if lines > 0 {
		known = c.pos + int64(bytes.IndexByte(data, '\n'))
	}
	if known-c.record > r.limit {
		return stint.Errorf(stint.Invalid, "record too long: the record at byte %d of %s is longer than %d bytes", c.record, c.in.Piece.Object.URL, r.limit)
	}
	if lines > 0 {
		c.record = c.pos + int64(bytes.LastIndexByte(data, '\n')) + 1
	}
	return nil
}

// read fills data from pos.
func (c *cursor) read(data []byte) error {
	o := c.in.Piece.Object
	n, err := c.in.File.ReadAt(data, c.pos)
	switch {
	case n == len(data):
		return nil
	case err == nil, errors.Is(err, io.EOF):
		return stint.Errorf(stint.Invalid, "input changed: %s has %d bytes now, had %d; submit again", o.URL, c.pos+int64(n), o.Size)
	}
	return stint.Errorf(stint.Unavailable, "read %s at byte %d: %w", o.URL, c.pos, err)
}
