package shuffle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"stint"
)

// The longest key and value of a record, in bytes.
const (
	MaxKey   = 16 << 20
	MaxValue = 64 << 20
)

// Source yields records one after another.
type Source interface {
	// Next returns the next record, or [io.EOF] after the last. A nil value is
	// absent, as opposed to empty. The slices are valid until the next call.
	// After an error every call returns an error. Not for concurrent use.
	Next() (key, value []byte, err error)
}

// Sink takes records one after another.
type Sink interface { //nolint:iface // taken by runners; implemented by Writer here
	// Emit takes a record and copies what it keeps. A nil value is absent, as
	// opposed to empty. After an error nothing more should be emitted. Not for
	// concurrent use.
	Emit(key, value []byte) error
}

// AppendRecord appends the encoding of a record to dst: see the package's
// documentation. It does not check lengths.
func AppendRecord(dst, key, value []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = binary.AppendUvarint(dst, valueCode(value))
	dst = append(dst, key...)
	return append(dst, value...)
}

func valueCode(value []byte) uint64 {
	if value == nil {
		return 0
	}
	return uint64(len(value)) + 1
}

// ReadRecord decodes the record that b begins with; key and value are parts of
// b, and n is how many bytes of b it takes. The error is [io.ErrUnexpectedEOF]
// itself if b is the beginning of a longer record, and has code Lost if no
// record begins so.
func ReadRecord(b []byte) (key, value []byte, n int, err error) {
	h, err := readHeader(b)
	if err != nil {
		return nil, nil, 0, err
	}
	if h.size() > len(b) {
		return nil, nil, 0, io.ErrUnexpectedEOF
	}
	key, value = h.slice(b)
	return key, value, h.size(), nil
}

// header is a decoded record header: the header's own length, that of the key,
// and the value's length plus one, 0 for an absent value.
type header struct {
	head, key, value int
}

func (h header) size() int { return h.head + h.key + max(h.value-1, 0) }

func (h header) slice(b []byte) (key, value []byte) {
	k := h.head + h.key
	key = b[h.head:k:k]
	if h.value > 0 {
		v := k + h.value - 1
		value = b[k:v:v]
	}
	return key, value
}

func readHeader(b []byte) (header, error) {
	if len(b) >= 2 && b[0] < 0x80 && b[1] < 0x80 { // nearly always
		return header{head: 2, key: int(b[0]), value: int(b[1])}, nil
	}
	key, n := binary.Uvarint(b)
	if n == 0 && len(b) < binary.MaxVarintLen64 {
		return header{}, io.ErrUnexpectedEOF
	}
	if n <= 0 || key > MaxKey {
		return header{}, corrupt("key length %d over %d", key, MaxKey)
	}
	value, m := binary.Uvarint(b[n:])
	if m == 0 && len(b)-n < binary.MaxVarintLen64 {
		return header{}, io.ErrUnexpectedEOF
	}
	if m <= 0 || value > MaxValue+1 {
		return header{}, corrupt("value length %d over %d", value, MaxValue)
	}
	return header{head: n + m, key: int(key), value: int(value)}, nil
}

func corrupt(format string, args ...any) error {
	return &stint.Error{Code: stint.Lost, Message: "records damaged: " + fmt.Sprintf(format, args...)}
}

func tooLong(before int64, key, value []byte) error {
	if len(key) > MaxKey {
		return stint.Errorf(stint.Failed, "key_too_long: record %d of the output has a key of %d bytes, %.40q…: at most %d", before+1, len(key), key[:40], MaxKey)
	}
	return stint.Errorf(stint.Failed, "record_too_long: record %d of the output has a value of %d bytes, key %.40q: at most %d", before+1, len(value), key, MaxValue)
}

// AppendText appends the text form of a record to dst: the key, TAB and value
// unless the value is absent, LF.
func AppendText(dst, key, value []byte) []byte {
	dst = append(dst, key...)
	if value != nil {
		dst = append(dst, '\t')
		dst = append(dst, value...)
	}
	return append(dst, '\n')
}

// ParseLine splits a line, given without its LF, at its first TAB. A line
// without TAB is a key whose value is absent (nil). Key and value are parts of
// line.
func ParseLine(line []byte) (key, value []byte) {
	i := bytes.IndexByte(line, '\t')
	if i < 0 {
		return line, nil
	}
	return line[:i:i], line[i+1:]
}
