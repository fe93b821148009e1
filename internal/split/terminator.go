package split

import (
	"bytes"
	"errors"
	"io"
)

// terminator finds the ends of records.
type terminator interface {
	// find looks in data, from a byte on, for what ends a record. It returns where
	// that begins and where the next record does. Not ok: there is none, and what
	// lies before scanned need not be looked at again when more has come. last says
	// that no more will come.
	find(data []byte, from int, last bool) (end, after, scanned int, ok bool)

	// moved says that data is not what it was.
	moved()

	// anchor returns an offset from which to look for the ends of records so that
	// every record that begins at offset at or later is found: at most at, and not 0.
	anchor(f io.ReaderAt, at int64) (int64, error)
}

// delimiter ends records by a fixed text. Where occurrences overlap, the first
// counts, and what it overlaps does not.
type delimiter struct {
	text     []byte
	overlaps bool // it can overlap itself
}

func (d *delimiter) find(data []byte, from int, _ bool) (end, after, scanned int, ok bool) {
	i := bytes.Index(data[from:], d.text)
	if i < 0 {
		return 0, 0, max(from, len(data)-len(d.text)+1), false
	}
	return from + i, from + i + len(d.text), 0, true
}

func (*delimiter) moved() {}

// anchorWindow is how much is read before a piece at first to find where to begin;
// then more and more, up to bufferSize.
const anchorWindow = 256

// anchor goes back to where no occurrence can reach over from before. That is at
// once where occurrences cannot overlap.
func (d *delimiter) anchor(f io.ReaderAt, at int64) (int64, error) {
	n := int64(len(d.text))
	at = max(at-n, 0)
	for window := int64(anchorWindow); d.overlaps && at > 0; window = min(2*window, bufferSize) {
		from := max(at-max(window, 4*n), 0)
		data := make([]byte, at+n-1-from)
		if got, err := f.ReadAt(data, from); got < len(data) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		free := d.free(data, at-from)
		at = from + free
		if from == 0 || free >= n-1 { // else one may reach over it from before
			break
		}
	}
	return at, nil
}

// free returns the last place up to at which no occurrence reaches over.
func (d *delimiter) free(data []byte, at int64) int64 {
	n := int64(len(d.text))
	for at > 0 {
		i := int64(bytes.LastIndex(data[:at+n-1], d.text))
		if i < 0 || i <= at-n {
			break
		}
		at = i
	}
	return at
}

// lineEnds ends records by LF, by CR and by CR LF. The next of both bytes are
// remembered: a file may have only the one or the other.
type lineEnds struct{ lf, cr int }

func (l *lineEnds) find(data []byte, from int, last bool) (end, after, scanned int, ok bool) {
	if l.lf < from {
		l.lf = indexFrom(data, from, '\n')
	}
	if l.cr < from {
		l.cr = indexFrom(data, from, '\r')
	}
	switch next := l.cr + 1; {
	case l.lf < l.cr:
		return l.lf, l.lf + 1, 0, true
	case l.cr == len(data):
		return 0, 0, len(data), false
	case next < len(data) && data[next] == '\n':
		return l.cr, next + 1, 0, true
	case next < len(data) || last:
		return l.cr, next, 0, true
	}
	return 0, 0, l.cr, false // whether LF follows is not known
}

func (l *lineEnds) moved() { l.lf, l.cr = -1, -1 }

func (*lineEnds) anchor(_ io.ReaderAt, at int64) (int64, error) { return at - 1, nil }

// indexFrom returns where b is in data from a byte on, len(data) if nowhere.
func indexFrom(data []byte, from int, b byte) int {
	if i := bytes.IndexByte(data[from:], b); i >= 0 {
		return from + i
	}
	return len(data)
}
