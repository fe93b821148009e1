package stint

// Spec is what a node must know of an execution to perform its operations. It
// is sent to a node once, before the first grant.
type Spec struct {
	Execution   ExecutionID       `json:"execution"`
	Program     Program           `json:"program"`
	Params      map[string]string `json:"params,omitempty"`
	Environment map[string]string `json:"environment,omitempty"`
	Stages      []StageSpec       `json:"stages"`
	Output      string            `json:"output"`      // location of the output folder
	Compression string            `json:"compression"` // as in Request
	Slots       int               `json:"slots"`       // at most so many at once on one node; 0: the node's slots
}

// StageSpec is a stage as the plan made it: one of the program's, or a gather
// that the plan put behind a last stage to assemble its parts.
type StageSpec struct {
	Stage
	Operations uint32    `json:"operations"`
	Partitions uint32    `json:"partitions"`         // of the output: of the shuffle that reads it; 1 otherwise
	Sorted     bool      `json:"sorted"`             // the output is records sorted by (partition, key); otherwise bytes as written
	Part       bool      `json:"part"`               // every operation writes one part of the execution's output
	Values     *Values   `json:"values,omitempty"`   // a first stage over a generated range, see ValuesOf
	Each       int64     `json:"each,omitempty"`     // values of one operation
	PerPart    int64     `json:"per_part,omitempty"` // values of one part, which no operation crosses; 0: no parts
	Gather     GatherMap `json:"gather,omitempty"`   // for a Gather edge
}

// ValuesOf returns the values of operation op of a stage over a generated range.
func (s StageSpec) ValuesOf(op uint32) Values {
	first, end := int64(op)*s.Each, s.Values.Count
	if s.PerPart > 0 {
		ops := (s.PerPart + s.Each - 1) / s.Each // of one part
		part := int64(op) / ops
		first = part*s.PerPart + int64(op)%ops*s.Each
		end = min(end, (part+1)*s.PerPart)
	}
	return Values{First: s.Values.First + first, Count: min(s.Each, end-first)}
}

// GatherMap maps the operations of a gathering stage to the runs of operations
// they read: operation i reads Starts[i] … Starts[i+1]-1. Its length is one
// more than the number of operations.
type GatherMap []uint32

// Grant gives one node, in one incarnation, the right to perform a run of
// operations of one stage, each once. It is the start ticket: a grant that
// comes late or twice starts nothing.
type Grant struct {
	Execution   ExecutionID `json:"execution"`
	Job         JobID       `json:"job"`
	Stage       int         `json:"stage"`
	Ops         Range       `json:"ops"`
	Attempt     int         `json:"attempt"` // number of this attempt, from 1; the same for all operations of the job
	Epoch       Epoch       `json:"epoch"`
	Incarnation Incarnation `json:"incarnation"`
	Subsets     []Subset    `json:"subsets,omitempty"` // of a first stage over objects: one per operation
	Sources     []Source    `json:"sources,omitempty"` // of a later stage: where the output of the stage before lies
}

// Source says which operations' output a node holds. A node has one Source in a
// grant.
type Source struct {
	Node    NodeID  `json:"node"`
	Address string  `json:"address"` // host:port of the node's data plane
	Ops     []Range `json:"ops"`     // sorted
}

// Retract asks a node to give back operations of a job that it has not begun,
// from the end of the job. The node's answer is in [Report.Returned]; only that
// makes them available to others.
type Retract struct {
	Execution ExecutionID `json:"execution"`
	Job       JobID       `json:"job"`
	Count     int         `json:"count"` // at most so many
}

// Report is what a node tells of one execution since its last report. Reports
// of one (execution, node, incarnation) are numbered from 1 without gaps; one
// with a number that was seen is the same report sent again.
type Report struct {
	Execution   ExecutionID   `json:"execution"`
	Node        NodeID        `json:"node"`
	Incarnation Incarnation   `json:"incarnation"`
	Seq         uint64        `json:"seq"`
	Begun       []Begun       `json:"begun,omitempty"`
	Done        []Done        `json:"done,omitempty"`
	Failures    []Failure     `json:"failures,omitempty"`
	Returned    []Returned    `json:"returned,omitempty"`
	Messages    []StatusText  `json:"messages,omitempty"` // latest reporter:status of operations in progress
	Verified    *Verification `json:"verified,omitempty"` // blocks found bad
}

// Begun says that attempts of a run of operations of a job have begun.
type Begun struct {
	Job JobID `json:"job"`
	Ops Range `json:"ops"`
}

// Done says that operations of a job have completed and that their output is written.
type Done struct {
	Job      JobID          `json:"job"`
	Stage    int            `json:"stage"`
	Ops      []OpDone       `json:"ops"`
	Counters []CounterDelta `json:"counters,omitempty"`
	Parts    []Part         `json:"parts,omitempty"` // of a stage that writes parts: one per operation
}

// OpDone is one completed operation. Times are milliseconds since 1970 UTC.
type OpDone struct {
	_struct    struct{} `codec:",toarray"` //nolint:unused // tells the encoder to write an array
	Op         uint32
	Start, End int64
	BytesIn    int64
	BytesOut   int64
	RecordsIn  int64
	RecordsOut int64
}

// CounterDelta is what one completed operation added to one counter.
type CounterDelta struct {
	Op    uint32 `json:"op"`
	Group string `json:"group"`
	Name  string `json:"name"`
	Value int64  `json:"value"`
}

// Part is one file of the output as an attempt staged it, synced to disk.
type Part struct {
	Op    uint32 `json:"op"`   // also the part's number
	Name  string `json:"name"` // of the staged file, below the execution's staging folder
	Bytes int64  `json:"bytes"`
	Sum   uint64 `json:"sum"` // XXH3-64 of its bytes
}

// Failure says that an attempt ended without completing its operation.
type Failure struct {
	Job     JobID    `json:"job"`
	Stage   int      `json:"stage"`
	Op      uint32   `json:"op"`
	Attempt int      `json:"attempt"`
	Node    NodeID   `json:"node,omitempty"`
	Start   int64    `json:"start"` // milliseconds since 1970 UTC
	End     int64    `json:"end"`
	Error   *Error   `json:"error"`             // Failed: the program; Lost: its input or this worker; Unavailable: this node cannot now; Invalid: no retry can mend it
	Exit    int      `json:"exit,omitempty"`    // exit code of a command
	Signal  string   `json:"signal,omitempty"`  // that ended it
	Stderr  string   `json:"stderr,omitempty"`  // its tail, at most 64 KiB
	Sources []NodeID `json:"sources,omitempty"` // nodes whose blocks could not be had, with Lost
}

// Returned says that a node gives back operations of a job unperformed.
type Returned struct {
	Job JobID   `json:"job"`
	Ops []Range `json:"ops"`
}

// StatusText is the latest reporter:status line of an operation in progress.
type StatusText struct {
	Job  JobID  `json:"job"`
	Op   uint32 `json:"op"`
	Text string `json:"text"`
}

// Verification names operations whose output this node no longer has whole.
type Verification struct {
	Lost []StageOps `json:"lost"`
}

// StageOps is a set of operations of one stage.
type StageOps struct {
	Stage int     `json:"stage"`
	Ops   []Range `json:"ops"`
}

// Holding is what a node that attaches has of one execution.
type Holding struct {
	Execution ExecutionID `json:"execution"`
	Jobs      []JobID     `json:"jobs,omitempty"`      // jobs accepted in this incarnation, finished or not
	Completed []StageOps  `json:"completed,omitempty"` // operations in this node's log as completed with their output whole
	Begun     []Begun     `json:"begun,omitempty"`     // attempts in the log of earlier incarnations that did not complete
	LastSeq   uint64      `json:"last_seq"`            // number of the last report made, acknowledged or not
}

// ErrandKind is the kind of an [Errand].
type ErrandKind string

// The errands.
const (
	ErrandList   ErrandKind = "list"   // list the inputs, write the listing to system storage
	ErrandProbe  ErrandKind = "probe"  // is the output location writable, and free
	ErrandCommit ErrandKind = "commit" // give the chosen parts their names, manifest and _SUCCESS last
	ErrandClear  ErrandKind = "clear"  // remove what is staged below the output location
	ErrandLog    ErrandKind = "log"    // the kept stderr of operations
)

// Errand is something a node does for the service that is not an operation. It
// may be sent again, to the same or another node, and does no harm then.
type Errand struct {
	ID        string      `json:"id"`
	Kind      ErrandKind  `json:"kind"`
	Execution ExecutionID `json:"execution"`
	Inputs    []string    `json:"inputs,omitempty"` // list
	Output    string      `json:"output,omitempty"` // probe, commit, clear; list: must lie apart from the inputs, unless empty
	Overwrite bool        `json:"overwrite,omitempty"`
	Program   string      `json:"program,omitempty"` // commit: for the manifest
	Parts     []Part      `json:"parts,omitempty"`   // commit
	Operation OperationID `json:"operation,omitempty"`
}

// ErrandResult is the outcome of an errand: done if Error is nil, otherwise
// refused with a code. No result at all means unknown: the errand is sent again.
type ErrandResult struct {
	ID      string `json:"id"`
	Error   *Error `json:"error,omitempty"`
	Objects int64  `json:"objects,omitempty"` // list: how many
	Digest  Digest `json:"digest"`            // list: of the listing's blob in system storage
	Bytes   int64  `json:"bytes,omitempty"`   // commit: of the whole output
	Text    string `json:"text,omitempty"`    // log
}
