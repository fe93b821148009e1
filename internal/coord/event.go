package coord

import "stint"

// Event is something that happened. At is the time in milliseconds since 1970;
// exactly one other field is set, or none: then only time has passed.
type Event struct {
	At        int64
	Attach    *Attach
	Report    *stint.Report
	Assign    *Assign
	Retract   *RetractAsk
	Gone      *Gone
	Result    *stint.ErrandResult
	Terminate bool
	Begin     bool // the first event after New
	Suspend   *SuspendAsk
	Resume    *ResumeAsk
	Schedule  *ScheduleAsk
	Move      *MoveAsk
	Drain     *DrainAsk
	Ended     *stint.Ended // elsewhere, where it was resumed
	Retry     bool         // failed operations, and those that did without them, are to be performed after all
}

// Attach says that a node has a session with this server. Sessions are numbered
// by the server that has them, later ones higher.
type Attach struct {
	Node    stint.Node
	Holding stint.Holding
	Session uint64
}

// Assign is the scheduler's wish that a node gets more operations of a stage.
// It names the incarnation it was decided for.
type Assign struct {
	Node        stint.NodeID
	Incarnation stint.Incarnation
	Stage       int
	Count       int
}

// RetractAsk is the scheduler's wish that a node gives operations back.
type RetractAsk struct {
	Node  stint.NodeID
	Stage int
	Count int
}

// Gone says that a node is away or, with Lost, that its blocks are gone too. It
// was decided after the node's session of that number had ended, and says
// nothing of later ones.
type Gone struct {
	Node    stint.NodeID `json:"node"`
	Lost    bool         `json:"lost"`
	Session uint64       `json:"session,omitempty"`
	LostAt  int64        `json:"lost_at,omitempty"` // when it will be taken for lost if it stays away; 0: not known
}

// SuspendAsk is somebody's wish that an execution stops, or, with Jobs, that
// those of its jobs stop and are held back.
type SuspendAsk struct {
	Grace int64 // milliseconds that operations in progress are given
	Jobs  []stint.JobID
	By    string // who asked, for the receipt
}

// ResumeAsk says that an execution goes on: it was suspended, all it resumes
// from is there, and Generation is claimed for it. While it is still suspending
// no generation is claimed and Generation is 0. With Jobs, only jobs that were
// suspended by themselves are released.
type ResumeAsk struct {
	Generation uint64
	Nodes      int // at most so many; 0: as it was asked for
	Slots      int // at once on one node; 0: as it was asked for
	Jobs       []stint.JobID
	// What was found missing or altered, and is to be made again.
	Bad             []stint.BadCopy
	LostCheckpoints []string // keys
	LostParts       []uint32 // numbers
}

// ScheduleAsk says when a suspended execution resumes by itself.
type ScheduleAsk struct {
	At    int64 // milliseconds since 1970; 0: not by itself
	Nodes int   // as in [ResumeAsk]
	Slots int
	// Generation was claimed to bring the execution here, where it stays suspended; 0: it was here.
	Generation uint64
}

// MoveAsk is somebody's wish that jobs go on on other nodes.
type MoveAsk struct {
	Jobs  []stint.JobID
	Grace int64 // milliseconds that operations in progress are given
}

// DrainAsk says that a node is to get nothing new and that what only it holds
// is to be copied away; with Undo that it is an ordinary node again. It is not
// recorded: the server says it again to a state that it loads.
type DrainAsk struct {
	Node stint.NodeID
	By   int64 // when it will be gone, in milliseconds since 1970: what is in progress is interrupted in time; 0: not known
	Undo bool
}
