package split

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
)

// recordPiece is records that are delivered otherwise than they lie in the object:
// with an LF in place of what ends them, with their offsets, without a mark.
// Offsets count from the beginning of the object, or of what a compressed one holds.
type recordPiece struct {
	reader *Reader
	url    string
	src    io.Reader
	ends   terminator
	sized  bool // what lies in the object is delivered: bytes are counted

	first int64 // a record that begins before is another piece's
	end   int64 // likewise one that begins here or later
	seek  bool  // the first record has not been found yet

	in      []byte // of src
	base    int64  // offset of in[0]
	start   int    // of the present record, in in
	scanned int    // up to here in in nothing ends the present record
	drained bool   // src is at its end
	out     []byte // to be delivered
	rest    []byte // of out: not yet delivered
}

const outSize = 64 << 10 // records are delivered when they fill so much

// newRecordPiece returns a reader of the records of a piece of a plain object.
func newRecordPiece(r *Reader, in Input) (*recordPiece, error) {
	p := in.Piece
	c := newRecordStream(r, p.Object.URL, nil)
	c.sized, c.first, c.end, c.seek = true, p.Offset, min(p.Offset+p.Length, p.Object.Size), p.Offset > 0
	if c.seek {
		var err error
		if c.base, err = c.ends.anchor(in.File, p.Offset); err != nil {
			return nil, readError(p.Object, p.Offset, err)
		}
	}
	c.src = &section{in: in, pos: c.base, end: c.end, ahead: probeSize}
	return c, nil
}

// newRecordStream returns a reader of the records of a stream.
func newRecordStream(r *Reader, url string, src io.Reader) *recordPiece {
	c := &recordPiece{reader: r, url: url, src: src, ends: r.format.terminator(), end: math.MaxInt64, in: r.recordsIn[:0], out: r.recordsOut}
	c.ends.moved()
	return c
}

// section reads an object from pos: up to the end of the piece, then little by
// little more.
type section struct {
	in       Input
	pos, end int64
	ahead    int64
}

// Read reads on.
func (s *section) Read(p []byte) (int, error) {
	n := min(int64(len(p)), s.in.Piece.Object.Size-s.pos)
	if n == 0 {
		return 0, io.EOF
	}
	if s.pos < s.end {
		n = min(n, s.end-s.pos)
	} else {
		n = min(n, s.ahead)
		s.ahead = min(2*s.ahead, bufferSize)
	}
	err := s.in.read(p[:n], s.pos)
	if err != nil {
		return 0, err
	}
	s.pos += n
	return int(n), nil
}

// next delivers records, or parts of them.
func (c *recordPiece) next(buf []byte) ([]byte, error) {
	if len(c.rest) == 0 {
		c.out = c.out[:0]
		more, err := c.collect()
		if err != nil {
			return nil, err
		}
		c.rest = c.out
		if !more && len(c.rest) == 0 {
			c.reader.recordsIn, c.reader.recordsOut = c.in, c.out // the memory is for the next piece
			return nil, io.EOF
		}
	}
	n := copy(buf, c.rest)
	c.rest = c.rest[n:]
	return buf[:n], nil
}

// collect puts records into out; it reports whether there may be others.
func (c *recordPiece) collect() (bool, error) {
	for len(c.out) < outSize {
		if !c.seek && c.base+int64(c.start) >= c.end || c.seek && c.base+int64(c.scanned) >= c.end {
			return false, nil
		}
		end, after, scanned, ok := c.ends.find(c.in, c.scanned, c.drained)
		switch {
		case ok:
			if err := c.take(end, after); err != nil {
				return false, err
			}
		case c.drained:
			return false, c.takeLast()
		default:
			c.scanned = scanned
			if err := c.fill(); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// take ends the present record, or what lies before the first.
func (c *recordPiece) take(end, after int) error {
	if c.seek {
		c.seek = c.base+int64(after) < c.first
	} else if err := c.emit(end, after); err != nil {
		return err
	}
	c.start, c.scanned = after, after
	return nil
}

// takeLast takes a last record that nothing ends.
func (c *recordPiece) takeLast() error {
	if c.seek || c.start == len(c.in) {
		return nil
	}
	n := len(c.in)
	var err error
	if c.base != 0 || !c.reader.format.Hadoop || !bytes.Equal(c.in, byteOrderMark) { // an object of that alone is empty
		err = c.emit(n, n)
	}
	c.start, c.scanned = n, n
	return err
}

// byteOrderMark is U+FEFF in UTF-8.
var byteOrderMark = []byte("\xef\xbb\xbf") //nolint:gochecknoglobals // constant

func (c *recordPiece) emit(end, after int) error {
	at, record := c.base+int64(c.start), c.in[c.start:end]
	f := &c.reader.format
	if int64(len(record)) > f.Limit {
		return tooLong(c.url, at, f.Limit)
	}
	if f.Hadoop && at == 0 {
		record = bytes.TrimPrefix(record, byteOrderMark)
	}
	if f.Offsets != "" {
		c.out = append(strconv.AppendInt(c.out, at, 10), f.Offsets...)
	}
	c.out = append(append(c.out, record...), '\n')
	c.reader.records++
	if c.sized {
		c.reader.bytes += int64(after - c.start)
	}
	return nil
}

// fill reads more behind what is there and not done with.
func (c *recordPiece) fill() error {
	from := c.start
	if c.seek {
		from = c.scanned
	}
	limit := c.reader.format.Limit
	if int64(len(c.in)-from) > limit+int64(len(c.reader.format.Delimiter))+1 {
		return tooLong(c.url, c.base+int64(c.start), limit)
	}
	c.shift(from)
	if cap(c.in) == 0 {
		c.in = make([]byte, 0, c.reader.bufferLength())
	}
	if len(c.in) == cap(c.in) {
		c.in = append(c.in, 0)[:len(c.in)] // grows
	}
	n, err := c.src.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	if errors.Is(err, io.EOF) {
		c.drained, err = true, nil
	}
	return err
}

// shift drops what lies before.
func (c *recordPiece) shift(from int) {
	c.ends.moved()
	if from == 0 {
		return
	}
	c.in = c.in[:copy(c.in, c.in[from:])]
	c.base += int64(from)
	c.start, c.scanned = max(c.start-from, 0), c.scanned-from
}
