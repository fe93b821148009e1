package coord

import "stint"

// Record is one journaled change. At is in milliseconds since 1970; exactly one
// other field is set.
type Record struct {
	At     int64         `json:"at"`
	Attach *AttachRecord `json:"attach,omitempty"`
	Grant  *GrantRecord  `json:"grant,omitempty"`
	Report *stint.Report `json:"report,omitempty"`
	Gone   *Gone         `json:"gone,omitempty"`
	Status *StatusRecord `json:"status,omitempty"`

	Saved    *SavedRecord    `json:"saved,omitempty"`
	Copied   *CopiedRecord   `json:"copied,omitempty"`
	Bad      *BadRecord      `json:"bad,omitempty"`
	Hold     *HoldRecord     `json:"hold,omitempty"`
	Void     *VoidRecord     `json:"void,omitempty"`
	Schedule *ScheduleRecord `json:"schedule,omitempty"`
}

// AttachRecord says that a node came, in an incarnation that is new to this
// execution or at a new address, with what it announced.
type AttachRecord struct {
	Node    stint.Node    `json:"node"`
	Holding stint.Holding `json:"holding"`
}

// GrantRecord says that a job was granted.
type GrantRecord struct {
	Job         stint.JobID       `json:"job"`
	Stage       int               `json:"stage"`
	Ops         stint.Range       `json:"ops"`
	Attempt     int               `json:"attempt"`
	Node        stint.NodeID      `json:"node"`
	Incarnation stint.Incarnation `json:"incarnation"`
}

// StatusRecord says that the execution's status changed.
type StatusRecord struct {
	Status  stint.ExecutionStatus `json:"status"`
	Error   *stint.Error          `json:"error,omitempty"`
	Bytes   int64                 `json:"bytes,omitempty"` // of the output, with completed
	Parts   int                   `json:"parts,omitempty"` // of the output, if it was completed elsewhere
	Settled bool                  `json:"settled,omitempty"`

	StopBy     int64  `json:"stop_by,omitempty"`    // with suspending, milliseconds since 1970
	By         string `json:"by,omitempty"`         // who asked
	Generation uint64 `json:"generation,omitempty"` // of the ownership from here on; 0: it does not change
	Nodes      int    `json:"nodes,omitempty"`      // with a resume: at most so many
	Slots      int    `json:"slots,omitempty"`
}

// SavedRecord says that packs are in long-term storage. Of the operations in
// them those count that are in Ops too: others were undone meanwhile.
type SavedRecord struct {
	Packs []stint.Pack  `json:"packs"`
	Ops   []stint.Range `json:"ops"`
}

// CopiedRecord says that a node keeps output of operations.
type CopiedRecord struct {
	Node  stint.NodeID  `json:"node"`
	Stage int           `json:"stage"`
	Ops   []stint.Range `json:"ops"`
}

// BadRecord says what was found missing or altered. A pack of which no operations
// are named is missing as a whole.
type BadRecord struct {
	Copies      []stint.BadCopy `json:"copies,omitempty"`
	Checkpoints []string        `json:"checkpoints,omitempty"` // keys
	Parts       []uint32        `json:"parts,omitempty"`       // numbers
}

// HoldRecord says that jobs stop where they are, to be held back or, with Move,
// to go on elsewhere; or, with Release, that they are held back no longer.
type HoldRecord struct {
	Jobs    []stint.JobID `json:"jobs"`
	StopBy  int64         `json:"stop_by,omitempty"` // milliseconds since 1970
	Move    bool          `json:"move,omitempty"`
	Release bool          `json:"release,omitempty"`
}

// VoidRecord says that jobs were taken from a node, or all it had.
type VoidRecord struct {
	Node stint.NodeID  `json:"node"`
	Jobs []stint.JobID `json:"jobs,omitempty"` // empty: all
}

// ScheduleRecord says when a suspended execution resumes by itself.
type ScheduleRecord struct {
	At    int64 `json:"at"`              // milliseconds since 1970; 0: it does not
	Nodes int   `json:"nodes,omitempty"` // it resumes on at most so many
	Slots int   `json:"slots,omitempty"`

	Generation uint64 `json:"generation,omitempty"` // claimed to bring it here; 0: nothing was
}
