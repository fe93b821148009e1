package worker

import "stint"

// Message is what a worker and its agent say to each other: exactly one field
// is set. The agent sends all but Events.
type Message struct {
	Setup   *Setup        `json:"setup,omitempty"`   // first of all, once
	Segment *SegmentFiles `json:"segment,omitempty"` // with two descriptors
	Perform *Perform      `json:"perform,omitempty"` // with the descriptors of its orders
	Stop    *Stop         `json:"stop,omitempty"`
	Stored  *Stored       `json:"stored,omitempty"` // answers [Events.Staged]
	Events  *Events       `json:"events,omitempty"` // worker to agent
}

// Setup tells a worker what its slot is for. A worker serves one execution.
type Setup struct {
	Spec   stint.Spec `json:"spec"`
	Slot   int        `json:"slot"`
	Dir    string     `json:"dir"`    // of this slot alone, existing: working directories and spill files go below it
	Files  string     `json:"files"`  // folder with the program's files by name
	Memory int64      `json:"memory"` // bytes for sorting and merging; 0: 128 MiB
	Slots  int        `json:"slots"`  // of the node: they share its disk

	// Checkpoints is the folder in which programs save themselves, each operation in
	// a folder of its own, see [CheckpointDir].
	Checkpoints string `json:"checkpoints"`
}

// SegmentFiles replaces the slot's segment: later blocks go to its data file and
// later records to its log. Two descriptors come with it, in that order; the
// log is opened for appending.
type SegmentFiles struct {
	ID   uint32 `json:"id"`
	Size int64  `json:"size"` // length of the data file: where the next block begins
}

// Perform orders operations of one job, each to be performed once, in order,
// behind those ordered before.
type Perform struct {
	Job     stint.JobID `json:"job"`
	Stage   int         `json:"stage"`
	Attempt int         `json:"attempt"` // from 1
	Orders  []Order     `json:"orders"`
}

// Order is one operation to perform. Its descriptors come with the message,
// those of one order after those of the order before: the files of the subset's
// pieces one for each piece in order, or the files that Runs speak of; then the
// part file if Part is set.
type Order struct {
	_struct struct{} `codec:",toarray"` //nolint:unused // tells the encoder to write an array
	Op      uint32
	Files   int    // number of this order's descriptors
	Part    string // name of the staged part file; empty unless the stage writes parts
	Subset  stint.Subset
	Runs    []Run // of a later stage: what it reads, by ascending edge and upstream operation

	Broadcasts []Broadcast // what it reads beside that
	Upload     bool        // the part is not where the output goes: it is told when it is written, and the agent brings it there
}

// Broadcast is the output of all operations of a stage, in order, in one file,
// which stays as it is as long as the execution is known on this node.
type Broadcast struct {
	_struct struct{} `codec:",toarray"` //nolint:unused // tells the encoder to write an array
	Stage   string
	Path    string
}

// Run is the output of one upstream operation in the partition that an
// operation reads: a byte range of one of the order's files.
type Run struct {
	_struct struct{} `codec:",toarray"` //nolint:unused // tells the encoder to write an array
	File    int      // index into the order's descriptors
	Op      uint32   // the upstream operation
	Offset  int64
	Length  int64
	Records int64
	Sum     uint64 // XXH3-64 of the bytes; 0: verified already
	Edge    int    // over which of the stage's edges it is read
}

// Stop asks for the end of what is performed of a job. What waits is dropped,
// without a record, and told in [Events.Dropped]. What is in progress may complete,
// or save itself, until the grace period ends, and is ended then; if it did not
// complete it is recorded as interrupted. A later Stop can only shorten the period.
// One of what waits alone leaves what is in progress as it is.
type Stop struct {
	Job     stint.JobID `json:"job"`
	Grace   int64       `json:"grace"` // milliseconds
	Waiting bool        `json:"waiting,omitempty"`
}

// Events tells the agent what the slot's log now holds in addition, in the
// log's order, what programs said of themselves, and what was dropped before it
// began.
type Events struct {
	Records []Record
	Status  []stint.StatusText
	Dropped []stint.Returned

	// Staged is a part that is written, with its file as the only descriptor. The
	// operation does not complete before the agent has said that it is stored.
	Staged *stint.Part
}

// Stored says that a part is where the output goes, or why it cannot be brought there.
type Stored struct {
	Part  string       `json:"part"` // its name
	Error *stint.Error `json:"error,omitempty"`
}
