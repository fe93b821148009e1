package stint

import (
	"strconv"
	"strings"
	"time"
)

// LogEntry is what is kept of one attempt that has ended: what it wrote to
// standard error, shortened if it was much, and which records it left out.
type LogEntry struct {
	Operation OperationID     `json:"operation"`
	Node      NodeID          `json:"node"`
	Job       string          `json:"job"`
	Status    OperationStatus `json:"status"` // completed or failed
	Start     time.Time       `json:"start"`
	End       time.Time       `json:"end"`
	Error     *Error          `json:"error,omitempty"`
	Text      string          `json:"text"` // bytes that are not UTF-8 are replaced in JSON
	Bad       []BadRecord     `json:"bad_records,omitempty"`
}

// BadRecord is a record that an operation left out since the program fails on it.
type BadRecord struct {
	Number int64  `json:"number"` // among the operation's records, from 0, as [RecordError] counts; texts for people count from 1; -1: not known
	Text   string `json:"text"`   // its beginning, at most 4 KiB
	Error  string `json:"error"`
}

// String returns the reason, the text, and which record it is, if that is known;
// people count records from 1.
func (b BadRecord) String() string {
	number := ""
	if b.Number >= 0 {
		number = " " + strconv.FormatInt(b.Number+1, 10)
	}
	return "bad record" + number + ": " + b.Error + ": " + strconv.Quote(b.Text)
}

// KeptLog is a [LogEntry] as a node keeps it, which does not know what stages are
// called: the entry has no operation yet.
type KeptLog struct {
	Stage int      `json:"stage"`
	Op    uint32   `json:"op"`
	Entry LogEntry `json:"entry"`
}

// LogQuery says which entries are wanted.
type LogQuery struct {
	Operation OperationID `json:"operation,omitempty"` // empty: of all
	Search    string      `json:"search,omitempty"`    // occurs in the text, the error or a bad record
	Failed    bool        `json:"failed,omitempty"`    // of attempts that failed alone
	Bad       bool        `json:"bad_records,omitempty"`
	After     time.Time   `json:"after,omitzero"` // that ended later
}

// Wants reports whether an entry is one of those wanted.
func (q LogQuery) Wants(e *LogEntry) bool {
	if q.Operation != "" && e.Operation != q.Operation || q.Failed && !e.failed() || q.Bad && len(e.Bad) == 0 || !e.End.After(q.After) {
		return false
	}
	return q.Search == "" || e.mentions(q.Search)
}

// failed reports whether the attempt failed; one that was stopped did not.
func (e *LogEntry) failed() bool {
	return e.Status == OpFailed && (e.Error == nil || e.Error.Code != Canceled)
}

func (e *LogEntry) mentions(text string) bool {
	if strings.Contains(e.Text, text) || e.Error != nil && strings.Contains(e.Error.Error(), text) {
		return true
	}
	for _, b := range e.Bad {
		if strings.Contains(b.Text, text) || strings.Contains(b.Error, text) {
			return true
		}
	}
	return false
}

// Logs are the entries that a query found, in the order in which the attempts
// ended.
type Logs struct {
	Entries []LogEntry `json:"entries"`
	More    bool       `json:"more,omitempty"`    // there are further ones, that ended later than these
	Missing []NodeID   `json:"missing,omitempty"` // nodes that performed operations and cannot be asked now
}

// Bounds of what one query returns. A node's answer, which is as much and an entry
// more, fits a message of the link.
const (
	MaxLogEntries = 1000
	MaxLogBytes   = 4 << 20 // as [LogEntry.Bytes] counts
)

const logEntryBytes = 256 // of an entry, or a bad record, beside its texts

// Bytes returns about how many bytes an entry takes.
func (e *LogEntry) Bytes() int {
	n := logEntryBytes + len(e.Text)
	if e.Error != nil {
		n += len(e.Error.Message)
	}
	for _, b := range e.Bad {
		n += logEntryBytes + len(b.Text) + len(b.Error)
	}
	return n
}
