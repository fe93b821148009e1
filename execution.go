package stint

import (
	"slices"
	"strings"
	"time"
)

// Request asks for one execution.
type Request struct {
	Name           string              `json:"name,omitempty"`
	Program        Program             `json:"program"`
	Inputs         []string            `json:"inputs,omitempty"`       // locations: URLs, globs, or range:FIRST..LAST
	NamedInputs    map[string][]string `json:"named_inputs,omitempty"` // instead of Inputs, for a program whose inputs have names
	Output         string              `json:"output,omitempty"`       // location; empty: system storage
	Params         map[string]string   `json:"params,omitempty"`
	Environment    map[string]string   `json:"environment,omitempty"`
	Nodes          int                 `json:"nodes,omitempty"`       // at most so many nodes; 0: all
	Slots          int                 `json:"slots,omitempty"`       // at most so many operations at once on one node; 0: all its slots
	SubsetSize     int64               `json:"subset_size,omitempty"` // bytes, or values of a range; 0: chosen
	Partitions     int                 `json:"partitions,omitempty"`  // of shuffles that leave it open; 0: chosen
	Compression    string              `json:"compression,omitempty"` // "none": bytes as they are; "": by suffix, see CodecOf
	Overwrite      bool                `json:"overwrite,omitempty"`
	Attempts       int                 `json:"attempts,omitempty"`         // of one operation before the execution fails; 0: as the program says
	Backoff        int64               `json:"backoff_millis,omitempty"`   // as in ErrorPolicy; 0: as the program says
	SkipBadRecords float64             `json:"skip_bad_records,omitempty"` // as in ErrorPolicy; 0: as the program says; negative: none
	Key            string              `json:"key,omitempty"`              // idempotency key; the same key gives the same execution
	Replication    int                 `json:"replication,omitempty"`      // nodes that keep each intermediate output that is needed; 0: 1
	Save           SaveMode            `json:"save,omitempty"`             // empty: on-suspend
	Reuse          ExecutionID         `json:"reuse,omitempty"`            // an earlier execution: of its completed operations those that are the same are not performed again
	Keep           int64               `json:"keep_seconds,omitempty"`     // how long nodes keep intermediate output for reuse after the end; 0: a day; negative: not at all
	// CompleteErrors says that an operation that fails for good does not end the
	// execution: as much as possible is completed without it. Nil: as the program says.
	CompleteErrors *bool `json:"complete_as_much_as_possible,omitempty"`
}

// SaveMode says when intermediate output goes to long-term storage.
type SaveMode string

// The modes of saving.
const (
	SaveOnSuspend  SaveMode = "on-suspend" // when the execution is suspended, what is still needed then
	SaveContinuous SaveMode = "continuous" // in the background, as operations complete
)

// ExecutionStatus is the state of an execution as people see it.
type ExecutionStatus string

// The statuses of an execution.
const (
	Queued          ExecutionStatus = "queued"
	InProgress      ExecutionStatus = "in progress"
	Suspending      ExecutionStatus = "suspending"
	Suspended       ExecutionStatus = "suspended"
	Resuming        ExecutionStatus = "resuming"
	Completed       ExecutionStatus = "completed"
	CompletedErrors ExecutionStatus = "completed (errors)"
	ExecutionFailed ExecutionStatus = "failed"
	Terminating     ExecutionStatus = "terminating"
	Terminated      ExecutionStatus = "terminated"
)

// ExecutionStatuses lists every status, in the order of a life.
func ExecutionStatuses() []ExecutionStatus {
	return []ExecutionStatus{Queued, InProgress, Suspending, Suspended, Resuming, Completed, CompletedErrors, ExecutionFailed, Terminating, Terminated}
}

// Final reports whether the status never changes again.
func (s ExecutionStatus) Final() bool {
	switch s {
	case Completed, CompletedErrors, ExecutionFailed, Terminated:
		return true
	case Queued, InProgress, Suspending, Suspended, Resuming, Terminating:
		return false
	}
	return false
}

// Execution is the document about one execution: what `stint show --json` prints.
type Execution struct {
	ID         ExecutionID                 `json:"id"`
	Name       string                      `json:"name"`
	Program    string                      `json:"program"` // name@blake3:digest
	Status     ExecutionStatus             `json:"status"`
	Waiting    string                      `json:"waiting,omitempty"` // why it waits, if it does
	Submitted  time.Time                   `json:"submitted"`
	Stints     []Stint                     `json:"stints"`
	Operations OperationCounts             `json:"operations"`
	Stages     []StageReport               `json:"stages"`
	Progress   float64                     `json:"progress"` // 0 to 1
	Expected   *time.Time                  `json:"expected_completion"`
	Elapsed    float64                     `json:"elapsed_seconds"`
	Nodes      []NodeID                    `json:"nodes"`
	Inputs     []string                    `json:"inputs"`            // of a program whose inputs have names: name=location
	Skipped    int64                       `json:"skipped,omitempty"` // objects of the input left out because their names begin with . or _
	Output     OutputReport                `json:"output"`
	Counters   map[string]map[string]int64 `json:"counters"`
	Receipts   []Receipt                   `json:"receipts"`
	Missing    []Missing                   `json:"missing"`
	Failures   []Failure                   `json:"failures,omitempty"` // the latest attempts that failed, at most 20
	Causes     []Cause                     `json:"causes,omitempty"`   // of all attempts that failed, grouped, the most frequent first, at most 50
	Error      *Error                      `json:"error"`
	Version    uint64                      `json:"version"`    // of the record this document was made from
	Generation uint64                      `json:"generation"` // of the ownership in long-term storage; 0: nothing was saved yet
	Saved      SavedReport                 `json:"saved"`
	Held       []string                    `json:"suspended_jobs,omitempty"` // jobs that were suspended by themselves
	ResumeAt   *time.Time                  `json:"resume_at,omitempty"`      // when a suspended execution resumes by itself
}

// Reason says for people why an execution failed: its error, and the last line that
// the operation wrote to standard error whose failure that is.
func (x *Execution) Reason() string {
	if x.Error == nil {
		return ""
	}
	text := x.Error.Error()
	for _, f := range slices.Backward(x.Failures) {
		if f.Error == nil || f.Stage < 0 || f.Stage >= len(x.Stages) {
			continue
		}
		// The error names the operation and ends as that of the failure does.
		named := "operation " + string(MakeOperationID(x.Stages[f.Stage].Name, f.Op)) + " "
		if line := f.LastLine(); line != "" && !strings.HasSuffix(text, line) && strings.HasPrefix(text, named) && strings.HasSuffix(text, f.Error.Error()) {
			return text + ": " + line
		}
	}
	return text
}

// Cause is a group of attempts that failed for the same reason.
type Cause struct {
	Stage    string      `json:"stage"`
	Code     Code        `json:"code"`
	Message  string      `json:"message"` // of the first; others differ in numbers and quoted text at most
	Attempts int64       `json:"attempts"`
	First    OperationID `json:"first"` // operation of the first such attempt
	Nodes    []NodeID    `json:"nodes"` // on which they failed, at most 20
}

// SavedReport says what of an execution's intermediate output lies in long-term
// storage.
type SavedReport struct {
	Location   string `json:"location,omitempty"` // storage, to be named by resume --from
	Operations int64  `json:"operations"`
	Bytes      int64  `json:"bytes"`
}

// Durability says what would be lost with each node.
type Durability struct {
	Execution   ExecutionID `json:"execution"`
	Replication int         `json:"replication"` // in force: what was asked for, or fewer for want of nodes
	Saved       int64       `json:"saved"`       // operations whose output is in long-term storage
	Nodes       []NodeRisk  `json:"nodes"`
}

// NodeRisk is what would be performed again if one node died now: completed
// operations whose needed output is nowhere else, and what is in progress there.
type NodeRisk struct {
	Node        NodeID  `json:"node"`
	Operations  int64   `json:"operations"`
	CoreSeconds float64 `json:"core_seconds"`
}

// Stint is a span of an execution between a start or resume and the next stop.
type Stint struct {
	Start time.Time  `json:"start"`
	End   *time.Time `json:"end"`
}

// OperationCounts says how many operations are in each state. Total is the sum
// of the states; operations whose output was lost count as waiting.
type OperationCounts struct {
	Total      int64 `json:"total"`
	Completed  int64 `json:"completed"`
	InProgress int64 `json:"in_progress"`
	Queued     int64 `json:"queued"`
	Waiting    int64 `json:"waiting"`
	Failed     int64 `json:"failed"`
	Reused     int64 `json:"reused"`
	Performed  int64 `json:"performed"` // attempts begun, over all stints
}

// Add adds the counts of o.
func (c *OperationCounts) Add(o OperationCounts) {
	c.Total += o.Total
	c.Completed += o.Completed
	c.InProgress += o.InProgress
	c.Queued += o.Queued
	c.Waiting += o.Waiting
	c.Failed += o.Failed
	c.Reused += o.Reused
	c.Performed += o.Performed
}

// StageReport is the part of the document about one stage.
type StageReport struct {
	Name       string          `json:"name"`
	Operations OperationCounts `json:"operations"`
	BytesIn    int64           `json:"bytes_in"`
	BytesOut   int64           `json:"bytes_out"`
	RecordsIn  int64           `json:"records_in"`
	RecordsOut int64           `json:"records_out"`
	BadRecords int64           `json:"bad_records,omitempty"` // left out, because the program fails on them
}

// OutputReport says where the result lies and how large it is.
type OutputReport struct {
	Location string `json:"location"`
	Parts    int    `json:"parts"`
	Bytes    int64  `json:"bytes"`
}

// Receipt says what a suspend kept and what it cost.
type Receipt struct {
	At             time.Time `json:"at"`
	Kind           string    `json:"kind"`
	OperationsKept int64     `json:"operations_kept"`
	SavedBytes     int64     `json:"saved_bytes"`
	WorkLost       float64   `json:"work_lost_core_seconds"`
}

// Missing names an operation without which an execution completed, and why.
type Missing struct {
	Operation OperationID `json:"operation"`
	Error     *Error      `json:"error"`
}

// OperationStatus is the state of an operation as people see it.
type OperationStatus string

// The statuses of an operation.
const (
	OpWaiting    OperationStatus = "waiting"
	OpQueued     OperationStatus = "queued"
	OpInProgress OperationStatus = "in progress"
	OpCompleted  OperationStatus = "completed"
	OpFailed     OperationStatus = "failed"
	OpLost       OperationStatus = "lost"
)

// Operation is the document about one operation.
type Operation struct {
	ID       OperationID     `json:"id"`
	Job      string          `json:"job"` // "" while it waits
	Stage    string          `json:"stage"`
	Node     NodeID          `json:"node"`
	Status   OperationStatus `json:"status"`
	Attempts int             `json:"attempts"`
	Input    []string        `json:"input"`
	Output   []string        `json:"output"`
	Copies   []string        `json:"copies"`
	Start    *time.Time      `json:"start"`
	End      *time.Time      `json:"end"`
	Error    *Error          `json:"error"`
}

// Node is the document about one computing node.
type Node struct {
	ID          NodeID      `json:"id"`
	Name        string      `json:"name"`
	Incarnation Incarnation `json:"incarnation"`
	Status      NodeStatus  `json:"status"`
	Slots       int         `json:"slots"`
	Memory      int64       `json:"memory,omitempty"` // bytes; 0: not known
	Address     string      `json:"address"`          // where peers fetch blocks: host:port
	By          *time.Time  `json:"evacuate_by,omitempty"`
	Since       time.Time   `json:"since"`
	Seen        time.Time   `json:"seen"`
}

// NodeStatus is what the service knows of a node.
type NodeStatus string

// The statuses of a node.
const (
	NodeReady    NodeStatus = "ready"    // it has a session
	NodeAway     NodeStatus = "away"     // silent: its blocks are unreachable, its unfinished work may be done elsewhere
	NodeLost     NodeStatus = "lost"     // its folder is gone, or it stayed away too long: its blocks are gone
	NodeDraining NodeStatus = "draining" // ready, but gets nothing new; what only it holds is copied away
	NodeDrained  NodeStatus = "drained"  // nothing is performed there and it holds the only copy of nothing
)
