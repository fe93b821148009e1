package worker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"stint"
	"stint/internal/block"
	"stint/internal/wire"
)

// Record is one record of a slot's log: exactly one field is set.
type Record struct {
	Begun  *stint.Begun   // of one operation
	Done   *DoneRecord    // what it wrote is written
	Failed *stint.Failure // its output, if it had any, is discarded

	// Interrupted is an attempt that was ended since a [Stop] asked for it. It says
	// nothing of a checkpoint: the agent looks for one.
	Interrupted *stint.Interrupted
}

// DoneRecord says that an operation completed and where its output lies. Block
// and Part are both nil if it wrote nothing and owed no part.
type DoneRecord struct {
	Job      stint.JobID
	Stage    int
	Op       stint.OpDone
	Counters []stint.CounterDelta
	Part     *stint.Part
	Block    *block.Index
	Stderr   string            // what is kept of it
	Bad      []stint.BadRecord // of the records that were left out, the first
}

// Kinds of records: the first byte of a frame's value.
const (
	kindBegun = iota + 1
	kindDone
	kindFailed
	kindInterrupted
)

// MaxRecord is the length of the longest record of a log, in bytes.
const MaxRecord = wire.MaxFrame

const frameHeader = 8

// AppendRecord appends a record to dst as it stands in a log: length and
// CRC-32C as little-endian uint32, a byte for the kind, the fields as varints
// and counted bytes. It is written by hand since a slot writes two of them for
// every operation, however short.
func AppendRecord(dst []byte, r Record) ([]byte, error) {
	start := len(dst)
	dst = append(dst, make([]byte, frameHeader)...)
	switch {
	case r.Begun != nil:
		dst = append(dst, kindBegun)
		dst = binary.AppendUvarint(dst, uint64(r.Begun.Job))
		dst = binary.AppendUvarint(dst, uint64(r.Begun.Ops.From))
		dst = binary.AppendUvarint(dst, uint64(r.Begun.Ops.To))
	case r.Done != nil:
		dst = appendDone(append(dst, kindDone), r.Done)
	case r.Failed != nil:
		b, err := wire.Marshal(r.Failed)
		if err != nil {
			return dst[:start], err
		}
		dst = append(append(dst, kindFailed), b...)
	default:
		dst = append(dst, kindInterrupted)
		dst = binary.AppendUvarint(dst, uint64(r.Interrupted.Job))
		dst = binary.AppendUvarint(dst, uint64(r.Interrupted.Op))
		dst = binary.AppendVarint(dst, r.Interrupted.Start)
		dst = binary.AppendVarint(dst, r.Interrupted.End)
	}
	value := dst[start+frameHeader:]
	if len(value) > MaxRecord {
		return dst[:start], fmt.Errorf("encode record of %d bytes: at most %d", len(value), MaxRecord)
	}
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(value)))
	binary.LittleEndian.PutUint32(dst[start+4:], checksum(value))
	return dst, nil
}

func appendDone(dst []byte, d *DoneRecord) []byte {
	dst = binary.AppendUvarint(dst, uint64(d.Job))
	dst = binary.AppendUvarint(dst, uint64(d.Stage))
	dst = binary.AppendUvarint(dst, uint64(d.Op.Op))
	for _, n := range [...]int64{d.Op.Start, d.Op.End, d.Op.BytesIn, d.Op.BytesOut, d.Op.RecordsIn, d.Op.RecordsOut} {
		dst = binary.AppendVarint(dst, n)
	}
	dst = binary.AppendUvarint(dst, uint64(len(d.Counters)))
	for _, c := range d.Counters {
		dst = binary.AppendUvarint(dst, uint64(c.Op))
		dst = appendString(appendString(dst, c.Group), c.Name)
		dst = binary.AppendVarint(dst, c.Value)
	}
	dst = appendString(dst, d.Stderr)
	dst = appendPart(dst, d.Part)
	dst = appendBlock(dst, d.Block)
	if d.Op.InputSum != 0 || d.Op.BadRecords != 0 || len(d.Bad) > 0 {
		dst = binary.LittleEndian.AppendUint64(dst, d.Op.InputSum)
	}
	if d.Op.BadRecords != 0 || len(d.Bad) > 0 {
		dst = appendBad(dst, d)
	}
	return dst
}

func appendBad(dst []byte, d *DoneRecord) []byte {
	dst = binary.AppendVarint(dst, d.Op.BadRecords)
	dst = binary.AppendUvarint(dst, uint64(len(d.Bad)))
	for _, b := range d.Bad {
		dst = appendString(appendString(binary.AppendVarint(dst, b.Number), b.Text), b.Error)
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendPart(dst []byte, p *stint.Part) []byte {
	if p == nil {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	dst = binary.AppendUvarint(dst, uint64(p.Op))
	dst = appendString(dst, p.Name)
	dst = binary.AppendVarint(dst, p.Bytes)
	return binary.LittleEndian.AppendUint64(dst, p.Sum)
}

func appendBlock(dst []byte, b *block.Index) []byte {
	if b == nil {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	dst = binary.AppendUvarint(dst, uint64(b.Segment))
	dst = binary.AppendVarint(dst, b.Offset)
	dst = binary.AppendVarint(dst, b.Length)
	dst = binary.AppendUvarint(dst, uint64(len(b.Parts)))
	for _, p := range b.Parts {
		dst = binary.AppendUvarint(dst, uint64(p.Partition))
		dst = binary.AppendVarint(dst, p.Offset)
		dst = binary.AppendVarint(dst, p.Length)
		dst = binary.AppendVarint(dst, p.Records)
		dst = binary.LittleEndian.AppendUint64(dst, p.Sum)
	}
	return dst
}

// ReadLog calls each with every record of a log, in order, until each returns
// an error, which it returns. It stops without an error where the log ends, and
// where a record is cut short or altered: what a killed worker was writing was
// never reported to anybody.
func ReadLog(r io.Reader, each func(Record) error) error {
	var buf []byte
	for {
		value, err := readFrame(r, &buf)
		if errors.Is(err, io.EOF) || errors.Is(err, wire.ErrTorn) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read slot log: %w", err)
		}
		rec, err := decodeRecord(value)
		if err != nil {
			return fmt.Errorf("read slot log: %w", err)
		}
		if err := each(rec); err != nil {
			return err
		}
	}
}

// readFrame returns the value of the next frame, in *buf, which it grows.
func readFrame(r io.Reader, buf *[]byte) ([]byte, error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, torn(err)
	}
	n := binary.LittleEndian.Uint32(h[:4])
	if n == 0 || n > MaxRecord {
		return nil, fmt.Errorf("%w: length %d", wire.ErrTorn, n)
	}
	if uint32(cap(*buf)) < n {
		*buf = make([]byte, n)
	}
	value := (*buf)[:n]
	if _, err := io.ReadFull(r, value); err != nil {
		return nil, torn(err)
	}
	if checksum(value) != binary.LittleEndian.Uint32(h[4:]) {
		return nil, fmt.Errorf("%w: checksum", wire.ErrTorn)
	}
	return value, nil
}

// torn tells an incomplete frame from a disk that cannot be read.
func torn(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", wire.ErrTorn, err)
	}
	return err
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// decodeRecord reads the value of a frame. The record shares nothing with b.
func decodeRecord(b []byte) (Record, error) {
	if len(b) == 0 {
		return Record{}, errors.New("decode record: empty")
	}
	f := fields{rest: b[1:]}
	var r Record
	switch b[0] {
	case kindBegun:
		r.Begun = &stint.Begun{Job: stint.JobID(f.uint32()), Ops: stint.Range{From: f.uint32(), To: f.uint32()}}
	case kindDone:
		r.Done = f.done()
	case kindInterrupted:
		r.Interrupted = &stint.Interrupted{Job: stint.JobID(f.uint32()), Op: f.uint32(), Start: f.varint(), End: f.varint()}
	case kindFailed:
		r.Failed = &stint.Failure{}
		return r, wire.Unmarshal(f.rest, r.Failed)
	default:
		return Record{}, fmt.Errorf("decode record: kind %d", b[0])
	}
	if f.bad || len(f.rest) != 0 {
		return Record{}, fmt.Errorf("decode record: kind %d of %d bytes is malformed", b[0], len(b))
	}
	return r, nil
}

// fields reads the fields of a record one after the other; bad says that one
// was not there or out of range, and stays.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.rest)
	if n <= 0 {
		f.bad, f.rest = true, nil
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

func (f *fields) varint() int64 {
	v := f.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (f *fields) uint32() uint32 {
	v := f.uvarint()
	f.bad = f.bad || v>>32 != 0
	return uint32(v)
}

// count reads the length of a list whose items take at least size bytes each,
// so that a false length cannot make us reserve more than what is there.
func (f *fields) count(size int) int {
	v := f.uvarint()
	if v > uint64(len(f.rest)/size) {
		f.bad = true
		return 0
	}
	return int(v)
}

func (f *fields) bytes(n int) []byte {
	if n > len(f.rest) {
		f.bad, f.rest = true, nil
		return nil
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) string() string { return string(f.bytes(f.count(1))) }

func (f *fields) sum() uint64 {
	if b := f.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// present reads the byte that says whether an optional field follows.
func (f *fields) present() bool {
	b := f.bytes(1)
	if b == nil || b[0] > 1 {
		f.bad = true
		return false
	}
	return b[0] == 1
}

func (f *fields) done() *DoneRecord {
	d := &DoneRecord{Job: stint.JobID(f.uint32()), Stage: int(f.uint32())}
	d.Op.Op = f.uint32()
	for _, p := range [...]*int64{&d.Op.Start, &d.Op.End, &d.Op.BytesIn, &d.Op.BytesOut, &d.Op.RecordsIn, &d.Op.RecordsOut} {
		*p = f.varint()
	}
	if n := f.count(4); n > 0 {
		d.Counters = make([]stint.CounterDelta, n)
		for i := range d.Counters {
			d.Counters[i] = stint.CounterDelta{Op: f.uint32(), Group: f.string(), Name: f.string(), Value: f.varint()}
		}
	}
	d.Stderr = f.string()
	if f.present() {
		d.Part = &stint.Part{Op: f.uint32(), Name: f.string(), Bytes: f.varint(), Sum: f.sum()}
	}
	if f.present() {
		d.Block = f.block()
	}
	if len(f.rest) > 0 { // known, and not of an earlier release
		d.Op.InputSum = f.sum()
	}
	if len(f.rest) > 0 {
		d.Op.BadRecords = f.varint()
		for range f.count(3) {
			d.Bad = append(d.Bad, stint.BadRecord{Number: f.varint(), Text: f.string(), Error: f.string()})
		}
	}
	return d
}

func (f *fields) block() *block.Index {
	b := &block.Index{Segment: f.uint32(), Offset: f.varint(), Length: f.varint()}
	if n := f.count(12); n > 0 {
		b.Parts = make([]block.PartIndex, n)
		for i := range b.Parts {
			b.Parts[i] = block.PartIndex{Partition: f.uint32(), Offset: f.varint(), Length: f.varint(), Records: f.varint(), Sum: f.sum()}
		}
	}
	return b
}
