// Package wire turns Go values into bytes and back: what crosses the link, what
// a worker and its agent say to each other, what the journal keeps and what a
// slot's log holds. Values are MessagePack (msgpack.org), structs as maps under
// their JSON names unless they say "toarray", maps sorted by key, so that equal
// values have equal bytes. Decoding is bounded and refuses trailing bytes.
//
// A frame is a value on disk or in a stream: length and CRC-32C as little-endian
// uint32, then the value. A frame that is cut short or altered is found.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"reflect"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// MaxFrame is the length of the longest value that a frame may hold, in bytes.
const MaxFrame = 64 << 20

// ErrTorn says that a frame is incomplete or altered: nothing after it can be
// trusted. It is what the end of a log looks like after a crash.
var ErrTorn = errors.New("torn frame")

const frameHeader = 8

func handle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.Canonical = true
	h.ErrorIfNoField = false // a newer peer may say more than we know
	h.ErrorIfNoArrayExpand = true
	h.WriteExt = true
	h.RawToString = true
	h.MaxInitLen = 1 << 16
	h.MapType = reflect.TypeFor[map[string]any]()
	return h
}

var msgpack = handle() //nolint:gochecknoglobals // immutable after initialisation; building it costs more than a small message

// Marshal returns the bytes of v.
func Marshal(v any) ([]byte, error) {
	var b []byte
	if err := codec.NewEncoderBytes(&b, msgpack).Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

// Unmarshal reads into v, a pointer, what [Marshal] made.
func Unmarshal(b []byte, v any) error {
	d := codec.NewDecoderBytes(b, msgpack)
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	if n := d.NumBytesRead(); n != len(b) {
		return fmt.Errorf("decode %T: %d bytes of %d left over", v, len(b)-n, len(b))
	}
	return nil
}

// AppendFrame appends a frame that holds v to dst.
func AppendFrame(dst []byte, v any) ([]byte, error) {
	b, err := Marshal(v)
	if err != nil {
		return dst, err
	}
	if len(b) > MaxFrame {
		return dst, fmt.Errorf("encode %T: %d bytes; a frame holds at most %d", v, len(b), MaxFrame)
	}
	var h [frameHeader]byte
	binary.LittleEndian.PutUint32(h[:4], uint32(len(b)))
	binary.LittleEndian.PutUint32(h[4:], checksum(b))
	return append(append(dst, h[:]...), b...), nil
}

// ReadFrame reads one frame into v and returns its length on disk. The error is
// io.EOF at the end of the stream and wraps [ErrTorn] where the frame is not whole.
// Any other error of reading says nothing of what is there and is returned as it is.
func ReadFrame(r io.Reader, v any) (int, error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, tornIfShort(err)
	}
	n := binary.LittleEndian.Uint32(h[:4])
	if n > MaxFrame {
		return 0, fmt.Errorf("%w: length %d", ErrTorn, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, tornIfShort(unexpected(err))
	}
	if checksum(b) != binary.LittleEndian.Uint32(h[4:]) {
		return 0, fmt.Errorf("%w: checksum", ErrTorn)
	}
	return frameHeader + int(n), Unmarshal(b, v)
}

// unexpected is an error of reading on in the middle of a frame, where the end of
// the stream is none.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// tornIfShort tells a frame that is cut short from a disk or a stream that cannot
// be read.
func tornIfShort(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrTorn, err)
	}
	return err
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
