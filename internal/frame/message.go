package frame

import (
	"encoding/binary"
	"encoding/json"
	"unicode/utf8"
)

// Role is what a program does in an operation.
type Role string

// The roles.
const (
	Map     Role = "map"
	Combine Role = "combine"
	Reduce  Role = "reduce"
)

// Begin is the payload of a begin frame, as JSON.
type Begin struct {
	Number     uint32            `json:"number"` // of the operation in this conversation, from 1; done and failed repeat it
	Execution  string            `json:"execution"`
	Stage      string            `json:"stage"`
	Operation  string            `json:"operation"`
	Attempt    int               `json:"attempt"` // from 1
	Role       Role              `json:"role"`
	Params     map[string]string `json:"params"`
	Input      Input             `json:"input"`     // of a stage that reads the execution's input
	Partition  uint32            `json:"partition"` // of combine and reduce
	Partitions uint32            `json:"partitions"`
	Broadcast  map[string]string `json:"broadcast"`  // by stage: the file with its output
	Checkpoint string            `json:"checkpoint"` // folder in which the program may save itself; empty: none
	Gather     int64             `json:"gather"`     // bytes of its output in which the program may combine records before it writes them; 0: it does not
}

// Input says where the first of an operation's records come from.
type Input struct {
	URL    string `json:"url"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
}

// AppendBegin appends a begin frame.
func AppendBegin(dst []byte, b *Begin) ([]byte, error) {
	payload, err := json.Marshal(b)
	return AppendFrame(dst, BeginOperation, payload), err
}

// ParseBegin reads the payload of a begin frame.
func ParseBegin(payload []byte) (*Begin, error) {
	b := &Begin{}
	if err := json.Unmarshal(payload, b); err != nil {
		return nil, broken("begin: %v", err)
	}
	return b, nil
}

// AppendEnd appends an end frame behind so many records.
func AppendEnd(dst []byte, records int64) []byte {
	return AppendFrame(dst, EndOfInput, binary.LittleEndian.AppendUint64(nil, uint64(records)))
}

// ParseEnd reads the payload of an end frame.
func ParseEnd(payload []byte) (records int64, err error) {
	if len(payload) != 8 {
		return 0, broken("an end frame of %d bytes; expected 8", len(payload))
	}
	return int64(binary.LittleEndian.Uint64(payload)), nil
}

// Counter is the payload of a counter frame, as JSON.
type Counter struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	Add   int64  `json:"add"`
}

// AppendCounter appends a counter frame.
func AppendCounter(dst []byte, c Counter) ([]byte, error) {
	payload, err := json.Marshal(c)
	return AppendFrame(dst, CounterUpdate, payload), err
}

// ParseCounter reads the payload of a counter frame.
func ParseCounter(payload []byte) (Counter, error) {
	var c Counter
	if err := json.Unmarshal(payload, &c); err != nil {
		return c, broken("counter: %v", err)
	}
	return c, nil
}

// MaxBad is how much of a bad record is kept, and at most of its reason.
const MaxBad = 4 << 10

// Bad is the payload of a bad frame.
type Bad struct {
	Number int64  // of the record in the operation's input, from 0; of a group, of its first
	Count  int64  // records that are left out: 1, or those of the group
	Reason string // why the program fails on it
	Record []byte // its first bytes
}

// AppendBad appends a bad frame. What is longer than it may be is cut.
func AppendBad(dst []byte, b Bad) []byte {
	reason := cut(b.Reason)
	head := binary.LittleEndian.AppendUint64(nil, uint64(b.Number))
	head = binary.LittleEndian.AppendUint64(head, uint64(b.Count))
	head = binary.LittleEndian.AppendUint32(head, uint32(len(reason)))
	return AppendFrame(dst, BadRecord, head, []byte(reason), b.Record[:min(len(b.Record), MaxBad)])
}

// ParseBad reads the payload of a bad frame.
func ParseBad(payload []byte) (Bad, error) {
	if len(payload) < 20 {
		return Bad{}, broken("a bad frame of %d bytes; expected at least 20", len(payload))
	}
	n := int64(binary.LittleEndian.Uint32(payload[16:]))
	rest := payload[20:]
	if n > int64(len(rest)) {
		return Bad{}, broken("a bad frame with a reason of %d bytes has %d", n, len(rest))
	}
	record := rest[n:]
	b := Bad{
		Number: int64(binary.LittleEndian.Uint64(payload)), Count: int64(binary.LittleEndian.Uint64(payload[8:])),
		Reason: cut(string(rest[:n])), Record: record[:min(len(record), MaxBad)],
	}
	if b.Number < 0 || b.Count < 1 {
		return Bad{}, broken("a bad frame of %d records from %d on", b.Count, b.Number)
	}
	return b, nil
}

// cut returns the beginning of a text, whole characters of it.
func cut(s string) string {
	if len(s) <= MaxBad {
		return s
	}
	n := MaxBad
	for n > MaxBad-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Completion is the payload of a done frame.
type Completion struct {
	Number  uint32 // of the operation
	Records int64  // that were written
	Once    bool   // no two of them have the same key, so there is nothing to combine
}

// AppendDone appends a done frame of an operation.
func AppendDone(dst []byte, c Completion) []byte {
	payload := binary.LittleEndian.AppendUint32(nil, c.Number)
	payload = binary.LittleEndian.AppendUint64(payload, uint64(c.Records))
	if c.Once {
		payload = append(payload, 1)
	}
	return AppendFrame(dst, Done, payload)
}

// ParseDone reads the payload of a done frame.
func ParseDone(payload []byte) (Completion, error) {
	if len(payload) != 12 && (len(payload) != 13 || payload[12] != 1) {
		return Completion{}, broken("a done frame of %d bytes; expected 12, or 13 with 1 behind them", len(payload))
	}
	return Completion{
		Number: binary.LittleEndian.Uint32(payload), Records: int64(binary.LittleEndian.Uint64(payload[4:])), Once: len(payload) == 13,
	}, nil
}

// AppendFailed appends a failed frame of an operation.
func AppendFailed(dst []byte, number uint32, reason string) []byte {
	return AppendFrame(dst, Failed, binary.LittleEndian.AppendUint32(nil, number), []byte(cut(reason)))
}

// ParseFailed reads the payload of a failed frame.
func ParseFailed(payload []byte) (number uint32, reason string, err error) {
	if len(payload) < 4 {
		return 0, "", broken("a failed frame of %d bytes; expected at least 4", len(payload))
	}
	return binary.LittleEndian.Uint32(payload), cut(string(payload[4:])), nil
}
