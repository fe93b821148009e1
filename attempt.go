package stint

import (
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Attempt is one performance of an operation, as a runner sees it.
type Attempt struct {
	Execution  ExecutionID
	Stage      string
	Operation  OperationID
	Op         uint32
	Number     int // from 1
	Job        JobID
	First      bool // the stage reads the execution's input
	Last       bool // the stage writes the execution's output
	Combining  bool // the action is the stage's combine, on sorted records of its output
	Action     Action
	Combine    *Action           // of the stage, performed on what this attempt writes; nil: none
	Streaming  *Streaming        // of the stage; nil: mode lines
	Beside     map[string]string // by stage that is read as a broadcast: path of a file with all its output
	Params     map[string]string
	Environ    []string // of the process: NAME=value; a runner adds what it tells of the attempt
	Input      Piece    // the first piece of the subset; zero for later stages and values
	Split      Split    // how the execution's input is separated, if the stage reads that
	Partition  uint32   // of a later stage: the partition it reads
	Operations uint32   // of the stage
	Partitions uint32   // of the output
	Ranges     uint32   // partitions of the stage whose output is partitioned by the keys that this one leaves; 0: there is none
	Dir        string   // working directory, with the program's files in it
	Scratch    string   // folder for files without a name; empty: the system's
	Checkpoint string   // folder in which a program may save itself for the attempt after this one; empty: none
	Stderr     io.Writer
	Counters   *Counters
	Status     func(text string) // reports what the program says of itself; called in the runner's goroutine

	// Bad is told of a record that the program fails on. It returns nil if the record
	// is left out, and otherwise the error with which the attempt has to end. The
	// reason may wrap a [RecordError], which says which record it is.
	Bad func(record []byte, why error) error

	// OnStop has call called, in a goroutine of its own, once the attempt is asked
	// to end by itself; if it was already, at once. The result withdraws that and
	// reports false if call was begun. Nil: nobody asks.
	OnStop func(call func()) (withdraw func() bool)
}

// Limits of counters per attempt: what is beyond is dropped and counted.
const (
	MaxCounters    = 1000
	MaxCounterName = 256
)

// Counters are the counters of one attempt. Safe for concurrent use.
type Counters struct {
	mu      sync.Mutex
	values  map[[2]string]int64
	Dropped int64 // updates beyond the limits
}

// Add adds n to a counter.
func (c *Counters) Add(group, name string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := [2]string{group, name}
	if _, ok := c.values[key]; !ok && (len(c.values) >= MaxCounters || len(group) > MaxCounterName || len(name) > MaxCounterName) {
		c.Dropped++
		return
	}
	if c.values == nil {
		c.values = make(map[[2]string]int64)
	}
	c.values[key] += n
}

// Reset forgets all counters.
func (c *Counters) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values, c.Dropped = nil, 0
}

// Deltas returns the counters of operation op, sorted by group and name.
func (c *Counters) Deltas(op uint32) []CounterDelta {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.values) == 0 {
		return nil
	}
	keys := slices.SortedFunc(maps.Keys(c.values), func(a, b [2]string) int {
		return strings.Compare(a[0]+"\x00"+a[1], b[0]+"\x00"+b[1])
	})
	out := make([]CounterDelta, len(keys))
	for i, k := range keys {
		out[i] = CounterDelta{Op: op, Group: k[0], Name: k[1], Value: c.values[k]}
	}
	return out
}

// ParseSize reads a size: a whole number of bytes, or one with a unit B, KB,
// MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024).
func ParseSize(s string) (int64, error) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	n, err := strconv.ParseInt(s[:i], 10, 64)
	unit, ok := sizeUnit(strings.TrimSpace(s[i:]))
	if err != nil || !ok || n > (1<<62)/unit {
		return 0, Errorf(Invalid, "size %.80q: expected a whole number and a unit, as 64MiB, 1GB or 65536", s)
	}
	return n * unit, nil
}

func sizeUnit(s string) (int64, bool) {
	switch s {
	case "", "B":
		return 1, true
	case "KB", "kB":
		return 1e3, true
	case "MB":
		return 1e6, true
	case "GB":
		return 1e9, true
	case "TB":
		return 1e12, true
	case "KiB":
		return 1 << 10, true
	case "MiB":
		return 1 << 20, true
	case "GiB":
		return 1 << 30, true
	case "TiB":
		return 1 << 40, true
	}
	return 0, false
}

// RecordError says on which record a program fails.
type RecordError struct {
	Number int64 // among the operation's records, from 0
	Count  int64 // records that are left out with it, itself too: those of a group; 0: 1
	Err    error
}

// Error returns "record 4: " and the reason; people count records from 1.
func (e *RecordError) Error() string {
	return "record " + strconv.FormatInt(e.Number+1, 10) + ": " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *RecordError) Unwrap() error { return e.Err }

// ExitError says how a program's process ended when it did not end well.
type ExitError struct {
	Exit   int    // exit code, if Signal is empty
	Signal string // name of the signal that ended it, as SIGKILL
}

// Error returns "exit 3" or "killed by SIGKILL".
func (e *ExitError) Error() string {
	if e.Signal != "" {
		return "killed by " + e.Signal
	}
	return "exit " + strconv.Itoa(e.Exit)
}
