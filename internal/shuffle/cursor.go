package shuffle

import (
	"errors"
	"io"

	"github.com/zeebo/xxh3"
)

// cursor walks through a run.
type cursor struct {
	prefix          uint64 // of key; lastPrefix behind the last record
	key, value, raw []byte // of the record it stands at
	buf             []byte // what was read; from pos on, what was not walked through
	pos             int
	r               io.ReaderAt
	offset, left    int64 // what was not read
	edge            int
	order           uint32
	begun           bool   // something is in sum
	want            uint64 // checksum, 0 for none
	sum             *xxh3.Hasher
}

// reset makes c stand before the first record of a run and read through buf.
func (c *cursor) reset(run Run, buf []byte) {
	*c = cursor{buf: buf[:0], r: run.R, offset: run.Offset, left: run.Length, edge: run.Edge, order: run.Order, want: run.Sum, sum: c.sum}
}

// next goes to the next record if it was read already.
func (c *cursor) next() bool {
	b := c.buf[c.pos:]
	h, err := readHeader(b)
	if err != nil || h.size() > len(b) {
		return false
	}
	key, value := h.slice(b)
	prefix := prefixOf(key)
	if prefix < c.prefix {
		return false
	}
	c.prefix, c.key, c.value, c.raw = prefix, key, value, b[:h.size()]
	c.pos += h.size()
	return true
}

// slow goes to the next record, reading more, or behind the last.
func (c *cursor) slow() error {
	for {
		b := c.buf[c.pos:]
		if len(b) == 0 && c.left == 0 {
			c.prefix, c.key, c.value, c.raw = lastPrefix, nil, nil, nil
			return nil
		}
		h, err := readHeader(b)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if err == nil && h.size() <= len(b) {
			if c.next() {
				return nil
			}
			return corrupt("keys are out of order")
		}
		need := max(h.size(), len(b)+1)
		if int64(need-len(b)) > c.left {
			return corrupt("the last record is cut short")
		}
		if err := c.fill(need); err != nil {
			return err
		}
	}
}

// fill reads on until buf has at least need bytes that were not walked through.
func (c *cursor) fill(need int) error {
	rest := c.buf[c.pos:]
	if cap(c.buf) < need {
		c.buf = make([]byte, need) // a record longer than a buffer's share
	}
	n := copy(c.buf[:cap(c.buf)], rest)
	fresh := c.buf[n:min(int64(cap(c.buf)), int64(n)+c.left)]
	c.buf, c.pos = c.buf[:n+len(fresh)], 0
	got, err := c.r.ReadAt(fresh, c.offset)
	if got < len(fresh) {
		if err == nil || errors.Is(err, io.EOF) {
			return corrupt("%d bytes at %d: %d are missing", len(fresh), c.offset, len(fresh)-got)
		}
		return err
	}
	c.offset += int64(len(fresh))
	c.left -= int64(len(fresh))
	return c.check(fresh)
}

// check takes bytes into the checksum and compares it at the end of the run.
func (c *cursor) check(fresh []byte) error {
	if c.want == 0 {
		return nil
	}
	if c.left > 0 || c.begun {
		c.stream(fresh)
	}
	if c.left > 0 {
		return nil
	}
	var got uint64
	if c.begun {
		got = c.sum.Sum64()
	} else { // the whole run at once, as most are
		got = xxh3.Hash(fresh)
	}
	if got != c.want {
		return corrupt("checksum is %016x, not %016x", got, c.want)
	}
	return nil
}

func (c *cursor) stream(fresh []byte) {
	if c.sum == nil {
		c.sum = xxh3.New()
	}
	if !c.begun {
		c.sum.Reset()
		c.begun = true
	}
	_, _ = c.sum.Write(fresh) // never fails
}
