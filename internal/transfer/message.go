package transfer

import (
	"strconv"

	"stint"
)

// Path is where a node serves blocks, for POST.
const Path = "/v1/blocks"

// Request asks one node for one partition of the output of many operations of
// one stage, or for all of it.
type Request struct {
	Execution stint.ExecutionID `json:"execution"`
	Stage     int               `json:"stage"`
	Partition uint32            `json:"partition"`
	Whole     bool              `json:"whole,omitempty"` // all partitions instead
	Ops       []stint.Range     `json:"ops"`             // sorted; not empty, neither overlapping nor touching
	Node      stint.NodeID      `json:"node,omitempty"`  // whose certificate must answer; "": any node's
}

// Fetched says where the bytes of one operation's partition lie in what [Fetch] wrote.
type Fetched struct {
	Op      uint32
	Offset  int64 // from the first byte that Fetch wrote
	Length  int64
	Records int64
	Sum     uint64 // XXH3-64 of the bytes, verified
}

// Part is one partition of a whole block. Parts are sorted by partition and have bytes.
type Part struct {
	_struct   struct{} `codec:",toarray"` //nolint:unused // tells the encoder to write an array
	Partition uint32
	Length    int64
	Records   int64
	Sum       uint64 // XXH3-64 of the bytes
}

// DamagedError says that bytes of a whole block were refused by who keeps it,
// since they are not those that were written. It is the cause of a [stint.Error]
// with code Lost.
type DamagedError struct {
	Op  uint32
	Err error
}

// Error names the operation and what is wrong.
func (e *DamagedError) Error() string {
	return "block of operation " + strconv.FormatUint(uint64(e.Op), 10) + ": " + e.Err.Error()
}

// Unwrap returns what is wrong.
func (e *DamagedError) Unwrap() error { return e.Err }

// MissingError says that the node does not have the output of operations, or
// not whole. It is the cause of a [stint.Error] with code Lost.
type MissingError struct {
	Ops []stint.Range
}

// Error says how many are missing and which is the first.
func (e *MissingError) Error() string {
	return strconv.Itoa(stint.CountRanges(e.Ops)) + " blocks are not there, the first of operation " + strconv.FormatUint(uint64(e.Ops[0].From), 10)
}

// ChecksumError says that the bytes of an operation's partition are not those
// that were written. It is the cause of a [stint.Error] with code Lost.
type ChecksumError struct {
	Op        uint32
	Want, Got uint64
}

// Error names the operation and both sums.
func (e *ChecksumError) Error() string {
	return "block of operation " + strconv.FormatUint(uint64(e.Op), 10) + ": checksum " +
		strconv.FormatUint(e.Got, 16) + ", recorded " + strconv.FormatUint(e.Want, 16)
}

// header stands before the bytes of one operation's partition, and ends the
// answer. It is one frame of package wire.
type header struct {
	Op      uint32        `json:"op,omitempty"`
	Length  int64         `json:"length,omitempty"`
	Records int64         `json:"records,omitempty"`
	Sum     uint64        `json:"sum,omitempty"`
	Parts   []Part        `json:"parts,omitempty"`   // of a whole block: they fill Length
	End     bool          `json:"end,omitempty"`     // nothing follows; the answer is whole
	Present []stint.Range `json:"present,omitempty"` // at the end: operations whose block is here, with bytes in the partition or without
	Missing []stint.Range `json:"missing,omitempty"` // at the end: the others
}
