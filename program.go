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
// in which every stage comes after the stages it reads from, and the files they
// use. Exactly one stage, the last, is read by no other: it leaves the output.
type Program struct {
	Name        string            `json:"name"`
	Type        ProgramType       `json:"type,omitempty"`
	Description string            `json:"description,omitempty"` // one line for people
	Stages      []Stage           `json:"stages"`
	Files       []ProgramFile     `json:"files,omitempty"`
	Inputs      []string          `json:"inputs,omitempty"` // names of its inputs; empty: one, without a name
	Params      []Param           `json:"params,omitempty"` // that it takes; see OpenParams
	OpenParams  bool              `json:"open_params,omitempty"`
	Environment map[string]string `json:"environment,omitempty"` // of its processes; that of the request goes above it
	OnError     ErrorPolicy       `json:"on_error,omitzero"`     // where the request leaves it open
}

// Param is a parameter that a program takes.
type Param struct {
	Name        string    `json:"name"`
	Type        ParamType `json:"type,omitempty"` // empty: text
	Default     string    `json:"default,omitempty"`
	Required    bool      `json:"required,omitempty"`
	Values      []string  `json:"values,omitempty"` // those that are allowed; empty: all of the type
	Description string    `json:"description,omitempty"`
}

// ParamType is what a parameter's value must look like.
type ParamType string

// The types of parameters.
const (
	TextParam    ParamType = "text"
	IntegerParam ParamType = "integer" // decimal, 64 bits
	NumberParam  ParamType = "number"  // finite
	FlagParam    ParamType = "flag"    // true or false
	SizeParam    ParamType = "size"    // as [ParseSize] takes it
)

// ErrorPolicy says what becomes of operations that fail.
type ErrorPolicy struct {
	Attempts       int     `json:"attempts,omitempty"`         // of one operation; 0: 4
	Backoff        int64   `json:"backoff_millis,omitempty"`   // before the second attempt, doubled for each further one; 0: 200
	SkipBadRecords float64 `json:"skip_bad_records,omitempty"` // share of a stage's records, 0 to 1, that may be left out because the program fails on them
	CompleteErrors bool    `json:"complete_as_much_as_possible,omitempty"`
}

// Resources says what one operation of a stage takes of its node: it decides how
// many are performed at once, and how much is sorted in memory. A process that
// takes more is not ended.
type Resources struct {
	Memory int64 `json:"memory,omitempty"` // bytes; 0: a slot's share of the node's
	Slots  int   `json:"slots,omitempty"`  // 0: 1
}

// ProgramFile is a file that is put into the working directory of every
// operation under its name; its bytes lie in system storage under the digest.
type ProgramFile struct {
	Name   string `json:"name"` // a relative path with slashes, below the working directory
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"`
	Mode   uint32 `json:"mode"` // permission bits
}

// Stage is a step of a program. Its operations are those of Input: one for each
// subset, partition, or operation it reads; what it reads beside that is in Beside.
type Stage struct {
	Name    string  `json:"name"`
	Action  Action  `json:"action"`
	Combine *Action `json:"combine,omitempty"` // performed on the output of one operation before it leaves the node
	Input   Edge    `json:"input"`
	// Beside are further edges: a [Shuffle] beside a shuffle makes a join, whose
	// records come by key, for each key in the order of the edges; the output of a
	// [Broadcast] is there for every operation as a file.
	Beside []Edge `json:"beside,omitempty"`
	// NoOutput says that the stage's operations are performed for their effects
	// alone: they leave neither blocks nor parts.
	NoOutput    bool              `json:"no_output,omitempty"`
	Streaming   *Streaming        `json:"streaming,omitempty"`   // how a command reads and writes records; nil: mode lines
	Environment map[string]string `json:"environment,omitempty"` // above the program's, below the request's
	Resources   Resources         `json:"resources,omitzero"`
	Files       []string          `json:"files,omitempty"` // names of the program's files that it uses; empty: all
}

// Edges returns Input and what is beside it, in order.
func (s *Stage) Edges() []Edge {
	return append([]Edge{s.Input}, s.Beside...)
}

// Action is what an operation performs: exactly one of Command, Native and SDK.
type Action struct {
	Command []string `json:"command,omitempty"` // argument vector; no shell; a process for each operation
	Native  string   `json:"native,omitempty"`  // name of a built-in operator
	SDK     []string `json:"sdk,omitempty"`     // argument vector of a process that speaks frames and performs many operations
}

// EdgeKind says how the output of one stage becomes the input of the next.
type EdgeKind string

// The edges that exist.
const (
	FromInput EdgeKind = "input"      // subsets of the execution's input
	Shuffle   EdgeKind = "shuffle"    // every operation reads one partition of all operations of From, sorted by key
	Gather    EdgeKind = "gather"     // every operation reads a run of operations of From, one after the other, unchanged; a program's gather is one operation that reads all
	OneToOne  EdgeKind = "one-to-one" // every operation reads the one of From that has its number
	Broadcast EdgeKind = "broadcast"  // every operation is given all output of From as a file; only beside another edge
)

// Edge is where a stage's input comes from.
type Edge struct {
	Kind        EdgeKind     `json:"kind"`
	From        string       `json:"from,omitempty"`        // name of an earlier stage; of FromInput: of one of the program's inputs, empty if they have no names
	Partitions  int          `json:"partitions,omitempty"`  // of a shuffle; 0: chosen from the listing
	Partitioner *Partitioner `json:"partitioner,omitempty"` // of a shuffle; nil: by hash of the key
	Split       Split        `json:"split,omitempty"`       // of FromInput; empty: lines
	Count       int64        `json:"count,omitempty"`       // of SplitCount: lines of one operation
	Delimiter   string       `json:"delimiter,omitempty"`   // of FromInput: what ends a record, as text that [Unescape] takes; empty: LF
}

// Partitioner says which partition of a shuffle a key belongs to. All shuffles
// that read one stage have the same.
type Partitioner struct {
	Kind      PartitionKind `json:"kind"`
	Fields    string        `json:"fields,omitempty"`    // of FieldPartition: options as of Hadoop's KeyFieldBasedPartitioner, -k1,2; empty: the whole key, as text
	Separator string        `json:"separator,omitempty"` // of FieldPartition: between the fields of a key; empty: TAB
	From      string        `json:"from,omitempty"`      // of RangePartition: stage that the shuffled stage reads as a broadcast, and that leaves the least key of each partition but the first, sorted, one a line
}

// PartitionKind is the kind of a [Partitioner].
type PartitionKind string

// The kinds of partitioners.
const (
	HashPartition  PartitionKind = "hash"
	FieldPartition PartitionKind = "fields"
	RangePartition PartitionKind = "range"
)

// Streaming says how a command reads and writes records. Every field may be
// empty. Names in comments are Hadoop's properties.
type Streaming struct {
	Mode           StreamMode `json:"mode,omitempty"`            // empty: lines
	Separator      string     `json:"separator,omitempty"`       // ends the key in what it writes; empty: TAB (stream.map.output.field.separator, stream.reduce…)
	KeyFields      int        `json:"key_fields,omitempty"`      // that make the key in what it writes; 0: 1 (stream.num.map.output.key.fields, stream.num.reduce…)
	InputSeparator string     `json:"input_separator,omitempty"` // between key and value in what it reads; empty: TAB (stream.map.input.field.separator, stream.reduce…)
	Offsets        bool       `json:"offsets,omitempty"`         // of a stage that reads the input: a line is preceded by its offset and the separator
	// OutputSeparator is between key and value in parts; empty: TAB
	// (mapreduce.output.textoutputformat.separator).
	OutputSeparator string `json:"output_separator,omitempty"`
	ReporterPrefix  string `json:"reporter_prefix,omitempty"` // of messages on stderr; empty: "reporter:" (stream.stderr.reporter.prefix)
	IgnoreExit      bool   `json:"ignore_exit,omitempty"`     // another exit code than 0 is no failure (stream.non.zero.exit.is.failure=false)
	MustConsume     bool   `json:"must_consume,omitempty"`    // ending before all input was read is a failure (stream.minRecWrittenToEnableSkip_ unset)
}

// StreamMode is the convention of a command's lines.
type StreamMode string

// The modes of streaming.
const (
	StreamLines  StreamMode = "lines"  // lines are kept as they were written; LF alone ends one
	StreamHadoop StreamMode = "hadoop" // byte for byte as Hadoop Streaming does
)

// Split is how an input is separated into subsets.
type Split string

// The ways to separate an input.
const (
	SplitLines Split = "lines" // by byte ranges at record boundaries; LF ends a record, a CR before it stays
	SplitFiles Split = "files" // whole objects, never cut: an object is a record
	SplitCount Split = "count" // by so many lines
	SplitRange Split = "range" // generated: the numbers of a range, one a line
)
