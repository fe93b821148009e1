package stint

// ProgramType is the kind of work a program does; each has an execution template.
type ProgramType string

// The program types.
const (
	TextSearch  ProgramType = "text-search"
	LogAnalysis ProgramType = "log-analysis"
	Indexing    ProgramType = "indexing"
	Conversion  ProgramType = "conversion"
	Sorting     ProgramType = "sort"
	Simulation  ProgramType = "simulation"
	SQL         ProgramType = "sql"
	Learning    ProgramType = "machine-learning"
	Custom      ProgramType = "custom"
)

// Program is what is executed: stages that form an acyclic graph, in an order
// in which every stage comes after the stages it reads from, and the files they use.
type Program struct {
	Name   string        `json:"name"`
	Type   ProgramType   `json:"type,omitempty"`
	Stages []Stage       `json:"stages"`
	Files  []ProgramFile `json:"files,omitempty"`
}

// ProgramFile is a file that is put into the working directory of every
// operation under its name; its bytes lie in system storage under the digest.
type ProgramFile struct {
	Name   string `json:"name"`
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"`
	Mode   uint32 `json:"mode"` // permission bits
}

// Stage is a step of a program.
type Stage struct {
	Name    string  `json:"name"`
	Action  Action  `json:"action"`
	Combine *Action `json:"combine,omitempty"` // performed on the output of one operation before it leaves the node
	Input   Edge    `json:"input"`
	// NoOutput says that the stage's operations are performed for their effects
	// alone: they leave neither blocks nor parts.
	NoOutput bool `json:"no_output,omitempty"`
}

// Action is what an operation performs: exactly one of Command and Native.
type Action struct {
	Command []string `json:"command,omitempty"` // argument vector; no shell
	Native  string   `json:"native,omitempty"`  // name of a built-in operator
}

// EdgeKind says how the output of one stage becomes the input of the next.
type EdgeKind string

// The edges that exist.
const (
	FromInput EdgeKind = "input"   // subsets of the execution's input
	Shuffle   EdgeKind = "shuffle" // every operation reads one partition of all operations of From, sorted by key
	Gather    EdgeKind = "gather"  // every operation reads a run of operations of From, one after the other, unchanged
)

// Edge is where a stage's input comes from.
type Edge struct {
	Kind       EdgeKind `json:"kind"`
	From       string   `json:"from,omitempty"`       // name of the earlier stage; empty for FromInput
	Partitions int      `json:"partitions,omitempty"` // of a shuffle; 0: chosen from the listing
	Split      Split    `json:"split,omitempty"`      // of FromInput; empty: lines
}

// Split is how an input is separated into subsets.
type Split string

// The ways to separate an input.
const (
	SplitLines Split = "lines" // by byte ranges at record boundaries; LF ends a record, a CR before it stays
	SplitFiles Split = "files" // whole objects, never cut
	SplitRange Split = "range" // generated: the numbers of a range, one a line
)
