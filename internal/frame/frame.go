package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Version is the version of the format, the first byte of every frame.
const Version = 1

// HeaderSize is the length of a frame's header, MaxPayload that of the longest
// payload.
const (
	HeaderSize = 12
	MaxPayload = 96 << 20
)

// Type is what a frame says.
type Type byte

// The types of frames.
const (
	BeginOperation Type = iota + 1
	RecordBatch
	EndOfInput
	CounterUpdate
	StatusText
	BadRecord
	Done
	Failed
)

// ErrTruncated is that a stream ends inside a frame.
var ErrTruncated = errors.New("truncated_frame: the stream ends inside a frame")

// Header is a decoded header.
type Header struct {
	Type   Type
	Length int // of the payload
	sum    uint32
}

// AppendFrame appends a frame whose payload is the parts one after the other.
func AppendFrame(dst []byte, t Type, parts ...[]byte) []byte {
	start, length := len(dst), 0
	for _, p := range parts {
		length += len(p)
	}
	dst = append(dst, Version, byte(t), 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(length))
	sum := crc32.ChecksumIEEE(dst[start:])
	for _, p := range parts {
		sum = crc32.Update(sum, crc32.IEEETable, p)
	}
	dst = binary.LittleEndian.AppendUint32(dst, sum)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}

// ParseHeader reads the header that b begins with. It takes what there is of b for
// the beginning of a header, so that text is known for what it is by its first
// byte; the error is [ErrTruncated] itself if a good header is cut short.
func ParseHeader(b []byte) (Header, error) {
	if len(b) > 0 && b[0] != Version {
		return Header{}, wrongVersion(b[0])
	}
	if len(b) < HeaderSize {
		return Header{}, ErrTruncated
	}
	h := Header{Type: Type(b[1]), sum: binary.LittleEndian.Uint32(b[8:])}
	length := binary.LittleEndian.Uint32(b[4:])
	switch {
	case h.Type < BeginOperation || h.Type > Failed:
		return Header{}, broken("type %d", b[1])
	case b[2] != 0 || b[3] != 0:
		return Header{}, broken("bytes 2 and 3 of a header are %02x %02x; expected 00 00", b[2], b[3])
	case length > MaxPayload:
		return Header{}, fmt.Errorf("record_too_long: a frame of %d bytes: limit %d MiB", length, MaxPayload>>20)
	}
	h.Length = int(length)
	return h, nil
}

func wrongVersion(got byte) error {
	if got < ' ' && got != '\t' && got != '\n' && got != '\r' || got > '~' {
		return broken("expected version %d, got %d", Version, got)
	}
	return broken("expected version %d, got %d (%q): is this text output? set streaming: lines", Version, got, rune(got))
}

// broken is a stream that is not as the format says.
func broken(format string, args ...any) error {
	return errors.New("protocol_error: " + fmt.Sprintf(format, args...))
}

// check says whether the payload is the one that the header was made for.
func (h Header) check(header, payload []byte, number int64) error {
	if sum := crc32.Update(crc32.ChecksumIEEE(header[:8]), crc32.IEEETable, payload); sum != h.sum {
		return broken("frame %d checksum: %08x, expected %08x", number, sum, h.sum)
	}
	return nil
}

// Reader reads frames, one after the other. Not for concurrent use.
type Reader struct {
	r      io.Reader
	buf    []byte
	number int64
}

// NewReader returns a reader of the frames in r. It reads no further than to the
// end of a frame.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next frame, whose payload is valid until the next call.
// [io.EOF] itself after the last.
func (r *Reader) Next() (Type, []byte, error) {
	var header [HeaderSize]byte
	n, err := io.ReadFull(r.r, header[:])
	switch {
	case errors.Is(err, io.EOF):
		return 0, nil, io.EOF
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return 0, nil, err
	}
	h, err := ParseHeader(header[:n])
	if err != nil {
		return 0, nil, err
	}
	if cap(r.buf) < h.Length {
		r.buf = make([]byte, max(h.Length, BatchSize+BatchSize/2))
	}
	payload := r.buf[:h.Length]
	if _, err := io.ReadFull(r.r, payload); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = ErrTruncated
		}
		return 0, nil, err
	}
	r.number++
	return h.Type, payload, h.check(header[:], payload, r.number)
}

// Decoder takes a stream as it comes, in pieces of any length, and hands on each
// frame as soon as it is whole. Not for concurrent use.
type Decoder struct {
	Each   func(Type, []byte) error // the payload is valid until it returns
	buf    []byte
	number int64
	err    error
}

// Write takes the next bytes. Its error is that of Each, or says what of the
// stream is not as the format says; it stays.
func (d *Decoder) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	rest := p
	if len(d.buf) > 0 {
		rest = d.fill(p)
	}
	for d.err == nil && len(rest) > 0 {
		var n int
		if n, d.err = d.frame(rest); n == 0 {
			break
		}
		rest = rest[n:]
	}
	if d.err != nil {
		return 0, d.err
	}
	d.buf = append(d.buf, rest...)
	return len(p), nil
}

// fill completes the frame that was begun, and returns what lies behind it.
func (d *Decoder) fill(p []byte) []byte {
	for len(p) > 0 {
		want := HeaderSize
		if len(d.buf) >= HeaderSize {
			h, err := ParseHeader(d.buf)
			if d.err = err; err != nil {
				return nil
			}
			want += h.Length
		}
		n := min(max(want-len(d.buf), 0), len(p))
		d.buf, p = append(d.buf, p[:n]...), p[n:]
		n, d.err = d.frame(d.buf)
		if d.err != nil {
			return nil
		}
		if n > 0 {
			d.buf = d.buf[:0]
			return p
		}
	}
	return nil
}

// frame hands on the frame that b begins with, and returns how long it is: 0 if it
// is not whole.
func (d *Decoder) frame(b []byte) (int, error) {
	h, err := ParseHeader(b)
	if errors.Is(err, ErrTruncated) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	end := HeaderSize + h.Length
	if len(b) < end {
		return 0, nil
	}
	d.number++
	if err := h.check(b, b[HeaderSize:end], d.number); err != nil {
		return 0, err
	}
	return end, d.Each(h.Type, b[HeaderSize:end:end])
}

// End says whether the stream may end here: not inside a frame.
func (d *Decoder) End() error {
	switch {
	case d.err != nil:
		return d.err
	case len(d.buf) == 0:
		return nil
	case len(d.buf) < HeaderSize:
		return fmt.Errorf("%w: %d of %d bytes of a header", ErrTruncated, len(d.buf), HeaderSize)
	}
	return fmt.Errorf("%w: %d of %d bytes", ErrTruncated, len(d.buf)-HeaderSize, binary.LittleEndian.Uint32(d.buf[4:]))
}
