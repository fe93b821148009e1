package frame

import (
	"encoding/binary"
	"fmt"
)

// The longest key and value of a record, in bytes, and how many a frame of
// records holds about.
const (
	MaxKey    = 16 << 20
	MaxValue  = 64 << 20
	BatchSize = 256 << 10
)

// Batch collects records for a frame. The zero value is empty and ready to use.
type Batch struct {
	count  int
	keys   []byte // lengths
	values []byte // lengths plus one
	edges  []byte
	bytes  []byte
	joined bool
}

// Add adds a record and copies it. A nil value is absent. The record is of the
// number before+1 in what is said of one that is too long.
func (b *Batch) Add(before int64, key, value []byte) error {
	if err := checkLengths(before, len(key), len(value)); err != nil {
		return err
	}
	b.keys = binary.LittleEndian.AppendUint32(b.keys, uint32(len(key)))
	code := uint32(0)
	if value != nil {
		code = uint32(len(value)) + 1
	}
	b.values = binary.LittleEndian.AppendUint32(b.values, code)
	b.bytes = append(append(b.bytes, key...), value...)
	b.count++
	return nil
}

// AddOf adds a record of an edge. The records of a batch have either all an edge,
// or none.
func (b *Batch) AddOf(edge int, before int64, key, value []byte) error {
	if edge < 0 || edge > 255 {
		return broken("record %d: edge %d; expected 0 to 255", before+1, edge)
	}
	if err := b.Add(before, key, value); err != nil {
		return err
	}
	b.joined = true
	b.edges = append(b.edges, byte(edge))
	return nil
}

// Len returns how many records were added, Full whether they are a frame.
func (b *Batch) Len() int { return b.count }

// Full reports whether the batch has a frame's length.
func (b *Batch) Full() bool { return len(b.bytes)+len(b.keys)+len(b.values) >= BatchSize }

// FullSince reports whether what was added since the mark was taken has a frame's
// length. A batch that was emptied since is compared with a mark of none.
func (b *Batch) FullSince(m Mark) bool {
	return len(b.bytes)-m.bytes+8*(b.count-m.count) >= BatchSize
}

// Mark is a state of a batch to which it can return.
type Mark struct{ count, edges, bytes int }

// Mark returns the present state.
func (b *Batch) Mark() Mark { return Mark{count: b.count, edges: len(b.edges), bytes: len(b.bytes)} }

// Return drops what was added since the mark was taken. It reports false if the
// batch was emptied meanwhile, and does nothing then.
func (b *Batch) Return(m Mark) bool {
	if m.count > b.count {
		return false
	}
	b.count, b.edges, b.bytes = m.count, b.edges[:m.edges], b.bytes[:m.bytes]
	b.keys, b.values = b.keys[:4*m.count], b.values[:4*m.count]
	return true
}

// Records returns what was added, as parts of the batch: it is valid until the
// batch is changed.
func (b *Batch) Records() Records {
	return Records{keys: b.keys, values: b.values, edges: b.edges, bytes: b.bytes}
}

// Reset empties the batch.
func (b *Batch) Reset() {
	b.count, b.joined = 0, false
	b.keys, b.values, b.edges, b.bytes = b.keys[:0], b.values[:0], b.edges[:0], b.bytes[:0]
}

// AppendFrame appends the records' frame to dst and empties the batch.
func (b *Batch) AppendFrame(dst []byte) []byte {
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], uint32(b.count))
	if b.joined {
		head[4] = 1
	}
	dst = AppendFrame(dst, RecordBatch, head[:], b.keys, b.values, b.edges, b.bytes)
	b.Reset()
	return dst
}

func checkLengths(before int64, key, value int) error {
	switch {
	case key > MaxKey:
		return fmt.Errorf("key_too_long: record %d: a key of %d bytes: limit %d MiB", before+1, key, MaxKey>>20)
	case value > MaxValue:
		return fmt.Errorf("record_too_long: record %d: a value of %d bytes: limit %d MiB", before+1, value, MaxValue>>20)
	}
	return nil
}

// Records is the decoded payload of a records frame.
type Records struct {
	keys, values, edges, bytes []byte
}

// ParseRecords reads the payload of a records frame, before which so many
// records came. What it returns is parts of the payload.
func ParseRecords(payload []byte, before int64) (Records, error) {
	if len(payload) < 8 {
		return Records{}, broken("a records frame of %d bytes; expected at least 8", len(payload))
	}
	n, flag := int64(binary.LittleEndian.Uint32(payload)), binary.LittleEndian.Uint32(payload[4:])
	rest := payload[8:]
	if flag > 1 {
		return Records{}, broken("the edges of a records frame are %d; expected 0 or 1", flag)
	}
	columns := n * (8 + int64(flag))
	if columns > int64(len(rest)) {
		return Records{}, broken("%d records in a frame of %d bytes", n, len(payload))
	}
	r := Records{
		keys: rest[:4*n], values: rest[4*n : 8*n], edges: rest[8*n : columns], bytes: rest[columns:],
	}
	return r, r.check(before)
}

// check says whether the lengths are those of the bytes, and none is too long.
func (r *Records) check(before int64) error {
	total := 0
	for i := range r.Len() {
		key, value := int(binary.LittleEndian.Uint32(r.keys[4*i:])), max(int(binary.LittleEndian.Uint32(r.values[4*i:]))-1, 0)
		if err := checkLengths(before+int64(i), key, value); err != nil {
			return err
		}
		total += key + value
	}
	if total != len(r.bytes) {
		return broken("a records frame has %d bytes; its lengths are of %d", len(r.bytes), total)
	}
	return nil
}

// Len returns how many records are left.
func (r *Records) Len() int { return len(r.keys) / 4 }

// Next returns the next record, false after the last. A nil value is absent.
// Records that came by no edge have edge 0.
func (r *Records) Next() (key, value []byte, edge int, ok bool) {
	if len(r.keys) == 0 {
		return nil, nil, 0, false
	}
	k, v := binary.LittleEndian.Uint32(r.keys), binary.LittleEndian.Uint32(r.values)
	r.keys, r.values = r.keys[4:], r.values[4:]
	key, r.bytes = r.bytes[:k:k], r.bytes[k:]
	if v > 0 {
		value, r.bytes = r.bytes[:v-1:v-1], r.bytes[v-1:]
	}
	if len(r.edges) > 0 {
		edge, r.edges = int(r.edges[0]), r.edges[1:]
	}
	return key, value, edge, true
}
