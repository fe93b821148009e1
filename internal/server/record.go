package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/blake3"

	"stint"
	"stint/internal/coord"
	"stint/internal/plan"
	"stint/internal/wire"
)

// The record of a suspended execution in long-term storage:
//
//	"stintrec"                  8 bytes
//	number of the format        uint32, little-endian, as all numbers here
//	summary                     a frame of package wire
//	length of the body          uint64
//	BLAKE3-256 of the body      32 bytes
//	body                        a value of package wire
const (
	recordMagic  = "stintrec"
	recordFormat = 1
	maxRecord    = 4 << 30 // bytes
)

// savedRecord is all that a fresh service needs of an execution, but for blobs
// that it names by their digests: the listing and the program's files.
type savedRecord struct {
	summary  summary
	body     recordBody
	standsOn []string // keys of what it cannot do without; not in the record
}

// summary is what a list shows of a saved execution.
type summary struct {
	Execution  stint.ExecutionID     `json:"execution"`
	Name       string                `json:"name"`
	Program    string                `json:"program"`
	Generation uint64                `json:"generation"`
	Written    int64                 `json:"written"` // milliseconds since 1970
	Operations stint.OperationCounts `json:"operations"`
	Storage    string                `json:"storage"` // where the record was written, as its writer called it
}

type recordBody struct {
	Created  int64          `json:"created"`
	Request  stint.Request  `json:"request"`
	Choice   plan.Choice    `json:"choice"`
	Listing  stint.Digest   `json:"listing"`
	Snapshot coord.Snapshot `json:"snapshot"` // of the state as it was about to be suspended
}

func (r savedRecord) encode() ([]byte, error) {
	body, err := wire.Marshal(r.body)
	if err != nil {
		return nil, err
	}
	b := binary.LittleEndian.AppendUint32([]byte(recordMagic), recordFormat)
	if b, err = wire.AppendFrame(b, r.summary); err != nil {
		return nil, err
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(len(body)))
	digest := blake3.Sum256(body)
	return append(append(b, digest[:]...), body...), nil
}

// readSummary reads a record up to its summary.
func readSummary(r io.Reader) (summary, error) {
	var s summary
	var head [len(recordMagic) + 4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return s, tooShort(err)
	}
	if string(head[:len(recordMagic)]) != recordMagic {
		return s, stint.Errorf(stint.Invalid, "it is altered: it does not begin as the record of an execution")
	}
	if format := binary.LittleEndian.Uint32(head[len(recordMagic):]); format != recordFormat {
		return s, stint.Errorf(stint.Invalid, "it has format %d, this version of Stint knows format %d: use a newer one", format, recordFormat)
	}
	_, err := wire.ReadFrame(r, &s)
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return s, tooShort(err)
	case errors.Is(err, wire.ErrTorn):
		return s, stint.Errorf(stint.Invalid, "it is altered")
	}
	return s, err
}

func tooShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return stint.Errorf(stint.Invalid, "it is truncated")
	}
	return err
}

// decodeRecord reads what [savedRecord.encode] made and refuses anything else.
func decodeRecord(b []byte) (savedRecord, error) {
	var r savedRecord
	in := bytes.NewReader(b)
	var err error
	if r.summary, err = readSummary(in); err != nil {
		return r, err
	}
	var head [8 + len(stint.Digest{})]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return r, tooShort(err)
	}
	body := b[len(b)-in.Len():]
	size := binary.LittleEndian.Uint64(head[:8])
	switch {
	case uint64(len(body)) < size:
		return r, stint.Errorf(stint.Invalid, "it is truncated: %d bytes of %d are missing", size-uint64(len(body)), size)
	case uint64(len(body)) > size:
		return r, stint.Errorf(stint.Invalid, "it is altered: %d bytes follow its end", uint64(len(body))-size)
	case blake3.Sum256(body) != stint.Digest(head[8:]):
		return r, stint.Errorf(stint.Invalid, "it is altered: its digest is not the one that was written")
	}
	if err := wire.Unmarshal(body, &r.body); err != nil {
		return r, fmt.Errorf("it makes no sense: %w", err)
	}
	return r, nil
}
