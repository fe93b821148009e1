package stint

import "strings"

// Spec is what a node must know of an execution to perform its operations. It
// is sent to a node once, before the first grant.
type Spec struct {
	Execution      ExecutionID       `json:"execution"`
	Program        Program           `json:"program"`
	Params         map[string]string `json:"params,omitempty"`
	Environment    map[string]string `json:"environment,omitempty"`
	Stages         []StageSpec       `json:"stages"`
	Output         string            `json:"output"`                     // location of the output folder
	Compression    string            `json:"compression"`                // as in Request
	Slots          int               `json:"slots"`                      // at most so many at once on one node; 0: the node's slots
	SkipBadRecords float64           `json:"skip_bad_records,omitempty"` // share of a stage's records that may be left out because the program fails on them, as far as one operation can tell; 0: none
}

// StageSpec is a stage as the plan made it: one of the program's, or a gather
// that the plan put behind a last stage to assemble its parts.
type StageSpec struct {
	Stage
	Operations  uint32       `json:"operations"`
	Partitions  uint32       `json:"partitions"`            // of the output: of the shuffle that reads it; 1 otherwise
	Sorted      bool         `json:"sorted"`                // the output is records sorted by (partition, key); otherwise bytes as written
	Part        bool         `json:"part"`                  // every operation writes one part of the execution's output
	Values      *Values      `json:"values,omitempty"`      // a first stage over a generated range, see ValuesOf
	Each        int64        `json:"each,omitempty"`        // values of one operation
	PerPart     int64        `json:"per_part,omitempty"`    // values of one part, which no operation crosses; 0: no parts
	Gather      GatherMap    `json:"gather,omitempty"`      // for a Gather edge
	Partitioner *Partitioner `json:"partitioner,omitempty"` // of the shuffles that read it; nil: by hash of the key
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
	Execution   ExecutionID  `json:"execution"`
	Job         JobID        `json:"job"`
	Stage       int          `json:"stage"`
	Ops         Range        `json:"ops"`
	Attempt     int          `json:"attempt"` // number of this attempt, from 1; the same for all operations of the job
	Epoch       Epoch        `json:"epoch"`
	Incarnation Incarnation  `json:"incarnation"`
	Subsets     []Subset     `json:"subsets,omitempty"`     // of a first stage over objects: one per operation
	Sources     []Source     `json:"sources,omitempty"`     // of a later stage: where the output of the stage before lies
	Missing     []Range      `json:"missing,omitempty"`     // of a later stage: operations before it that failed for good, and that it does without
	Beside      []Reading    `json:"beside,omitempty"`      // where the output of the stages lies that are read beside the input, one for each of Stage.Beside
	Checkpoints []Checkpoint `json:"checkpoints,omitempty"` // of operations of the job that were interrupted
}

// Reading says where the output of a stage lies that operations read: as in
// [Grant].
type Reading struct {
	Sources []Source `json:"sources,omitempty"`
	Missing []Range  `json:"missing,omitempty"`
}

// Source says where output of operations of one stage can be had: from a node,
// or from a pack in long-term storage. An operation may be in several sources of
// a list: the first is the best, the others are for when it fails.
type Source struct {
	Node    NodeID  `json:"node,omitempty"`
	Address string  `json:"address,omitempty"` // host:port of the node's data plane
	Pack    *Pack   `json:"pack,omitempty"`    // instead of a node
	Storage string  `json:"storage,omitempty"` // of the pack; empty: system storage
	Ops     []Range `json:"ops"`               // sorted, in the reader's own numbering
	Origin  *Origin `json:"origin,omitempty"`  // what the operations are called there, if not the same
}

// Origin says under which name output is kept that an execution took over from
// another, or from itself before its input changed: its operation Ops[0].From is
// First there, and every other is shifted by as much.
type Origin struct {
	Execution ExecutionID `json:"execution"`
	Stage     int         `json:"stage"`
	First     uint32      `json:"first"`
}

// Pack is an object of long-term storage that holds the output of operations of
// one stage: their blocks one after the other, then an index that says where
// each block and each of its partitions begins.
type Pack struct {
	Key   string  `json:"key"`
	Bytes int64   `json:"bytes"` // of the object
	Index int64   `json:"index"` // offset of the index
	Sum   uint64  `json:"sum"`   // XXH3-64 of the index; the blocks' own checksums are in it
	Stage int     `json:"stage"`
	Ops   []Range `json:"ops"` // sorted
}

// Checkpoint is the checkpoint folder of an interrupted operation, as an archive
// in long-term storage.
type Checkpoint struct {
	Op      uint32 `json:"op"`
	Key     string `json:"key"`
	Bytes   int64  `json:"bytes"`
	Sum     uint64 `json:"sum"`               // XXH3-64 of the archive
	Storage string `json:"storage,omitempty"` // empty: system storage
}

// Suspend asks a node to stop work: of some jobs of an execution, or of all. What
// has not begun is returned; what is in progress may complete, or save itself in
// its checkpoint folder, until the grace period ends, and is killed then. What
// becomes of each operation is in [Report]: Done, Failures, Interrupted, Returned.
type Suspend struct {
	Execution ExecutionID `json:"execution"`
	Jobs      []JobID     `json:"jobs,omitempty"`    // empty: all
	Grace     int64       `json:"grace"`             // milliseconds
	Storage   string      `json:"storage,omitempty"` // where checkpoints go; empty: system storage
}

// Interrupted says that an attempt was ended by a [Suspend].
type Interrupted struct {
	Job        JobID       `json:"job"`
	Op         uint32      `json:"op"`
	Start      int64       `json:"start"` // milliseconds since 1970 UTC
	End        int64       `json:"end"`
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"` // nil: its work is lost
	Note       string      `json:"note,omitempty"`       // why there is no checkpoint, if there should be one
}

// BadCopy says that a copy of output was found altered, or is not where it
// should be: on a node, or in a pack.
type BadCopy struct {
	Node  NodeID  `json:"node,omitempty"`
	Pack  string  `json:"pack,omitempty"` // its key
	Stage int     `json:"stage"`
	Ops   []Range `json:"ops"` // in the execution's own numbering; empty, with a pack: everything in it
	// Job is whose operation looked for it, in a report; 0: of none. Where operations
	// have got other numbers since that job was granted, Ops are not theirs.
	Job JobID `json:"job,omitempty"`
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
	Interrupted []Interrupted `json:"interrupted,omitempty"`
	Bad         []BadCopy     `json:"bad,omitempty"` // copies elsewhere that could not be used
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
	InputSum   uint64 // XXH3-64 of the bytes of its subset's pieces, in order; 0: not known
	BadRecords int64  // records of its input that were left out; not in RecordsIn
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
	Silent  []NodeID `json:"silent,omitempty"`  // those of Sources that did not answer: what they hold may be whole
}

// LastLine returns the last line of what the attempt wrote to standard error that
// says something, shortened.
func (f *Failure) LastLine() string {
	const most = 200 // bytes
	text := strings.TrimSpace(f.Stderr)
	line := strings.TrimSpace(text[strings.LastIndexAny(text, "\r\n")+1:])
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
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
	Latest    JobID       `json:"latest,omitempty"`    // highest number of a job in which this node's log has any completed
	Begun     []Begun     `json:"begun,omitempty"`     // attempts in the log of earlier incarnations that did not complete
	Copies    []StageOps  `json:"copies,omitempty"`    // output of operations performed elsewhere that is kept here too, whole
	LastSeq   uint64      `json:"last_seq"`            // number of the last report made, acknowledged or not
}

// ErrandKind is the kind of an [Errand].
type ErrandKind string

// The errands.
const (
	ErrandList      ErrandKind = "list"      // list the inputs, write the listing to system storage
	ErrandProbe     ErrandKind = "probe"     // is the output location writable, and free
	ErrandCommit    ErrandKind = "commit"    // give the chosen parts their names, manifest and _SUCCESS last
	ErrandClear     ErrandKind = "clear"     // remove what is staged below the output location
	ErrandLog       ErrandKind = "log"       // what is kept of attempts that have ended
	ErrandSave      ErrandKind = "save"      // write output that this node holds into packs of long-term storage
	ErrandCopy      ErrandKind = "copy"      // bring output of operations into this node's own store
	ErrandVerify    ErrandKind = "verify"    // is what an execution resumes from whole, and its input unchanged
	ErrandInventory ErrandKind = "inventory" // which output of an execution that has ended is still kept here
	ErrandAdopt     ErrandKind = "adopt"     // stage parts of an earlier output that are still what they were
	ErrandCompare   ErrandKind = "compare"   // does input that was listed anew still have the bytes that operations have read
	ErrandRecord    ErrandKind = "record"    // the server's own: write the record of an execution to long-term storage
)

// Errand is something a node does for the service that is not an operation. It
// may be sent again, to the same or another node, and does no harm then.
type Errand struct {
	ID          string              `json:"id"`
	Kind        ErrandKind          `json:"kind"`
	Execution   ExecutionID         `json:"execution"`
	Inputs      []string            `json:"inputs,omitempty"`       // list, verify
	NamedInputs map[string][]string `json:"named_inputs,omitempty"` // list, verify: instead of Inputs
	Lines       map[string]int64    `json:"lines,omitempty"`        // list, verify: by name of the input, after how many lines its objects may be cut, see Listing.Cuts
	Delimiters  map[string]string   `json:"delimiters,omitempty"`   // list: by name of the input, what ends those lines, as text that [Unescape] takes, where it is not LF
	Compression string              `json:"compression,omitempty"`  // list: as in Request
	Output      string              `json:"output,omitempty"`       // probe, commit, clear; list: must lie apart from the inputs, unless empty
	Overwrite   bool                `json:"overwrite,omitempty"`
	Program     string              `json:"program,omitempty"` // commit: for the manifest
	Parts       []Part              `json:"parts,omitempty"`   // commit; verify: staged below Output; adopt: by their numbers there, Op, named part-NNNNN in From
	Log         *LogQuery           `json:"log,omitempty"`     // log; Stage and Ops say of which operation, if of one
	Missing     []Missing           `json:"missing,omitempty"` // commit: what the output is without; then there is no _SUCCESS
	Storage     string              `json:"storage,omitempty"` // of packs, checkpoints and ownership; empty: system storage
	// Generation is the ownership under which a commit or clear is done: with a
	// higher one in storage it is refused as owned_elsewhere, or waits if the same
	// service has claimed that, see [ErrandResult.Claimed]. 0: nothing was saved.
	// Probe: of an execution that is suspended; without any claim it is over.
	Generation uint64 `json:"generation,omitempty"`
	// Stint is the number of the stint of the execution that a commit brings to its
	// end: it replaces what an earlier one has left and nothing of a later one. A clear
	// takes back what that stint has committed, if it has. 0: not said; nothing is taken
	// back.
	Stint int `json:"stint,omitempty"`
	// Ended is what a commit or clear brings the execution to, and Keep the seconds
	// that its request wants something to be kept after that, see [Ended].
	Ended       ExecutionStatus `json:"ended,omitempty"`
	Keep        int64           `json:"keep,omitempty"`
	Stage       int             `json:"stage,omitempty"`       // save, copy
	Ops         []Range         `json:"ops,omitempty"`         // save, copy
	Prefix      string          `json:"prefix,omitempty"`      // save: what the keys of packs begin with
	Sources     []Source        `json:"sources,omitempty"`     // copy
	Listing     Digest          `json:"listing"`               // verify: of the frozen listing
	Packs       []Pack          `json:"packs,omitempty"`       // verify
	Checkpoints []Checkpoint    `json:"checkpoints,omitempty"` // verify
	From        string          `json:"from,omitempty"`        // adopt: location of the earlier output
	Subsets     []Subset        `json:"subsets,omitempty"`     // compare: of objects as they are listed now
	Sums        []uint64        `json:"sums,omitempty"`        // compare: for each subset the sum of its bytes as they were read, see OpDone.InputSum
}

// ErrandResult is the outcome of an errand: done if Error is nil, otherwise
// refused with a code. No result at all means unknown: the errand is sent again.
type ErrandResult struct {
	ID      string     `json:"id"`
	Error   *Error     `json:"error,omitempty"`
	Objects int64      `json:"objects,omitempty"` // list: how many
	Digest  Digest     `json:"digest"`            // list: of the listing's blob in system storage
	Bytes   int64      `json:"bytes,omitempty"`   // commit: of the whole output
	Logs    []KeptLog  `json:"logs,omitempty"`    // log: at most MaxLogEntries, those that ended first
	Packs   []Pack     `json:"packs,omitempty"`   // save
	Ops     []Range    `json:"ops,omitempty"`     // copy: what is here now; compare: the places in Subsets of those that are equal
	Lost    []Range    `json:"lost,omitempty"`    // save: what is not here whole; copy: what could not be had
	Bad     []BadCopy  `json:"bad,omitempty"`     // copy: copies found altered; verify: packs missing or altered
	Held    []StageOps `json:"held,omitempty"`    // inventory
	Parts   []Part     `json:"parts,omitempty"`   // adopt: as staged; verify: missing or altered
	Changes []Change   `json:"changes,omitempty"` // verify: of the input, at most 1000
	Changed int64      `json:"changed,omitempty"` // verify: how many in all
	Faults  []string   `json:"faults,omitempty"`  // verify: what of the saved state is missing or altered, at most 1000, each naming the object
	// Checkpoints are the keys of those that verify found missing or altered.
	Checkpoints []string `json:"checkpoints,omitempty"`
	// Claimed is the higher generation that the execution's own service has claimed,
	// where a commit or clear is [Unavailable] for that: the service withdraws or
	// records it, and sends the errand again. 0: that is not why.
	Claimed uint64 `json:"claimed,omitempty"`
}

// ChangeKind says what became of an object since it was listed.
type ChangeKind string

// The changes of an input.
const (
	ObjectChanged ChangeKind = "changed"
	ObjectMissing ChangeKind = "missing"
	ObjectAdded   ChangeKind = "added"
	ObjectTouched ChangeKind = "touched" // another version with the same content
)

// Change is one difference between an input as it was listed and as it is now.
type Change struct {
	Kind ChangeKind `json:"kind"`
	URL  string     `json:"url"`
}
