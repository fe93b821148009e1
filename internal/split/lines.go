package split

import (
	"bytes"
	"io"

	"stint"
)

// linePiece is lines that end with LF, delivered as they lie in the object. All
// offsets count from the object's beginning.
type linePiece struct {
	reader *Reader
	in     Input
	seek   bool  // the first record has not been found yet
	pos    int64 // next byte to read
	end    int64 // end of the piece, at most size
	size   int64 // end of the object
	ahead  int64 // length of the next read behind end
	lines  lineLengths
}

func newLinePiece(r *Reader, in Input) *linePiece {
	p := in.Piece
	l := &linePiece{reader: r, in: in, pos: p.Offset, size: p.Object.Size, end: min(p.Offset+p.Length, p.Object.Size), ahead: probeSize}
	l.lines = lineLengths{url: p.Object.URL, limit: r.format.Limit, record: p.Offset}
	if l.pos > 0 {
		l.seek = true
		l.pos--
	}
	return l
}

// next may return nothing and have made progress.
func (l *linePiece) next(buf []byte) ([]byte, error) {
	if l.seek {
		return l.seekRecord(buf)
	}
	if l.pos == l.size { // a last line without LF
		l.reader.records++
		return append(buf[:0], '\n'), io.EOF
	}
	data := buf[:l.want(len(buf))]
	if err := l.in.read(data, l.pos); err != nil {
		return nil, err
	}
	return l.deliver(data)
}

// want returns how much to read at pos: up to the end of the piece, then little
// by little more.
func (l *linePiece) want(room int) int64 {
	if l.pos < l.end {
		return min(int64(room), l.end-l.pos)
	}
	n := min(int64(room), l.ahead, l.size-l.pos)
	l.ahead = min(2*l.ahead, bufferSize)
	return n
}

// seekRecord looks for the first record that begins in the piece, from the byte before it.
func (l *linePiece) seekRecord(buf []byte) ([]byte, error) {
	data := buf[:min(int64(len(buf)), l.end-l.pos)]
	if err := l.in.read(data, l.pos); err != nil {
		return nil, err
	}
	// An LF that is the last byte of the piece ends what another piece delivers.
	last := l.end - 1 - l.pos
	i := bytes.IndexByte(data[:min(int64(len(data)), last)], '\n')
	if i < 0 {
		l.pos += int64(len(data))
		if l.pos < l.end {
			return nil, nil
		}
		return nil, io.EOF
	}
	l.seek = false
	l.pos += int64(i) + 1
	l.lines.record = l.pos
	return l.deliver(data[i+1:])
}

// deliver accounts for data, which was read at pos, and cuts it at the end of
// the last record of the piece.
func (l *linePiece) deliver(data []byte) ([]byte, error) {
	var end error
	if after := l.end - 1 - l.pos; after < int64(len(data)) {
		if i := bytes.IndexByte(data[max(after, 0):], '\n'); i >= 0 {
			data = data[:max(after, 0)+int64(i)+1]
			end = io.EOF
		}
	}
	n := int64(bytes.Count(data, newline))
	if err := l.lines.check(l.pos, data, n); err != nil {
		return nil, err
	}
	l.pos += int64(len(data))
	l.reader.bytes += int64(len(data))
	l.reader.records += n
	if l.pos == l.size && data[len(data)-1] == '\n' {
		end = io.EOF
	}
	return data, end
}

var newline = []byte{'\n'} //nolint:gochecknoglobals // constant; a slice made on the spot would escape

// lineLengths finds lines that are too long.
type lineLengths struct {
	url    string
	limit  int64
	record int64 // where the record begins that spans the next byte
}

// check looks at data, which lies at pos and has so many line ends. A record that
// begins and ends in data is not too long, since data is no longer than the limit;
// so only the first and the last line end matter.
func (l *lineLengths) check(pos int64, data []byte, lines int64) error {
	known := pos + int64(len(data)) // end of the record that began before data, as far as it is known
	if lines > 0 {
		known = pos + int64(bytes.IndexByte(data, '\n'))
	}
	if known-l.record > l.limit {
		return tooLong(l.url, l.record, l.limit)
	}
	if lines > 0 {
		l.record = pos + int64(bytes.LastIndexByte(data, '\n')) + 1
	}
	return nil
}

func tooLong(url string, at, limit int64) error {
	return stint.Errorf(stint.Invalid, "record too long: the record at byte %d of %s is longer than %d bytes", at, url, limit)
}
