package stint

import (
	"fmt"
	"math"
	"time"
)

// DefaultGrace is how long operations in progress may go on when they are asked
// to stop and nobody says how long.
const DefaultGrace = 10 * time.Second

const maxGrace = 24 * time.Hour

// SuspendRequest asks for an execution, or some of its jobs, to be suspended.
type SuspendRequest struct {
	Grace *float64 `json:"grace_seconds,omitempty"` // for operations in progress to complete or to save themselves; nil: [DefaultGrace]
	Jobs  []string `json:"jobs,omitempty"`          // as j-12; empty: the whole execution
}

// MoveRequest asks for a job to stop where it is and to go on elsewhere.
type MoveRequest struct {
	Job   string   `json:"job"`
	Grace *float64 `json:"grace_seconds,omitempty"` // as in [SuspendRequest]
}

// ParseGrace reads a grace period in seconds; nil is [DefaultGrace].
func ParseGrace(seconds *float64) (time.Duration, error) {
	if seconds == nil {
		return DefaultGrace, nil
	}
	if math.IsNaN(*seconds) || *seconds < 0 || *seconds > maxGrace.Seconds() {
		return 0, Errorf(Invalid, "grace period %v: expected 0 to %.0f seconds", *seconds, maxGrace.Seconds())
	}
	return time.Duration(math.Round(*seconds*1000)) * time.Millisecond, nil
}

// ResumeRequest asks for a suspended execution to go on.
type ResumeRequest struct {
	Nodes int       `json:"nodes,omitempty"` // at most so many from now on; 0: all
	Slots int       `json:"slots,omitempty"` // at most so many operations at once on one node; 0: all its slots
	At    time.Time `json:"at,omitzero"`     // when; zero: now
	From  string    `json:"from,omitempty"`  // storage that holds the saved state; empty: this service's own execution
	// Redo accepts that completed operations are performed again: those whose saved
	// output is missing, and those whose input or program has changed.
	Redo bool `json:"redo,omitempty"`
	// TakeOver takes an execution from a service that has resumed it and did not
	// suspend it again: it goes on from its latest saved state.
	TakeOver bool     `json:"take_over,omitempty"`
	DryRun   bool     `json:"dry_run,omitempty"` // says what would happen, and changes nothing
	Jobs     []string `json:"jobs,omitempty"`    // jobs that were suspended by themselves; empty: the whole execution
}

// Resumption says what a resume does, or, in a dry run, would do.
type Resumption struct {
	Execution Execution `json:"execution"`
	Reused    int64     `json:"reused"`  // completed operations that are not performed again
	Redone    []Redone  `json:"redone"`  // completed operations that are
	Changes   []Change  `json:"changes"` // of the input, at most 1000; those that only touched it come last
	Changed   int64     `json:"changed"` // how many objects of the input are missing, added, or have another content
	Touched   int64     `json:"touched"` // how many have another version and the same content, which is no change
	Faults    []string  `json:"faults"`  // what of the saved state is missing or altered, at most 1000
}

// Redone says how many completed operations of a stage are performed again, and why.
type Redone struct {
	Stage      string `json:"stage"`
	Operations int64  `json:"operations"`
	Reason     string `json:"reason"`
}

// DrainRequest asks for a node to get nothing new and to give away what only it holds.
type DrainRequest struct {
	By   time.Time `json:"by,omitzero"` // what is in progress is interrupted in time for this; zero: it may end
	Undo bool      `json:"undo,omitempty"`
}

// SavedExecution is an execution that can be resumed from a storage.
type SavedExecution struct {
	ID         ExecutionID     `json:"id"`
	Name       string          `json:"name"`
	Program    string          `json:"program"`
	Generation uint64          `json:"generation"`      // of the latest record
	Suspended  time.Time       `json:"suspended"`       // when that was written
	Operations OperationCounts `json:"operations"`      // as of then
	Owner      *Owner          `json:"owner,omitempty"` // who has resumed it since and not suspended it again
	Error      *Error          `json:"error,omitempty"` // why it cannot be resumed from this storage
}

// Owner is who may write to an execution's saved state and output: it has
// claimed the generation in long-term storage.
type Owner struct {
	Generation uint64    `json:"generation"`
	Service    string    `json:"service"` // random, of one data folder and its copies
	Address    string    `json:"address"`
	At         time.Time `json:"at"`
	// Word is random, of this claim: the record of the service that has made it knows
	// it, and a copy of that record does not. Empty: nothing is known of copies.
	Word string `json:"word,omitempty"`
}

// Ended says how an execution has ended in which several services had a part. It
// stays in place of its saved state for a while, for those of them that know only
// that they have suspended it.
type Ended struct {
	Status     ExecutionStatus `json:"status"`
	Generation uint64          `json:"generation"` // of the owner under whom it ended
	Service    string          `json:"service"`    // of that owner, as Address
	Address    string          `json:"address"`
	At         time.Time       `json:"at"`
	Until      time.Time       `json:"until"`  // when this may be removed
	Output     string          `json:"output"` // location
	Parts      int             `json:"parts"`  // of the output, with completed
	Bytes      int64           `json:"bytes"`
}

// Refusal refuses whatever is to be done with the execution.
func (e Ended) Refusal(x ExecutionID) error {
	where := ""
	if e.Status == Completed {
		where = fmt.Sprintf("; its output is at %.200s", e.Output)
	}
	was := "was " + string(e.Status)
	if e.Status == ExecutionFailed {
		was = "failed for good when it was owned"
	}
	return Errorf(Conflict, "ended_elsewhere: execution %s %s by service %.40s on %.80s at %s%s", x, was, e.Service, e.Address, e.At.Format(time.RFC3339), where)
}

// PlanReport says how a request would be executed.
type PlanReport struct {
	Objects    int64       `json:"objects"`
	Skipped    int64       `json:"skipped,omitempty"` // objects left out because of their names
	Bytes      int64       `json:"bytes"`
	Values     int64       `json:"values,omitempty"`     // of a generated range
	Compressed int64       `json:"compressed,omitempty"` // of the objects: none of them is cut
	Largest    *Object     `json:"largest,omitempty"`    // object
	SubsetSize int64       `json:"subset_size"`          // bytes, or values, of one subset at most; objects that are not cut may be larger
	Subsets    int64       `json:"subsets"`
	Operations int64       `json:"operations"`
	Partitions int64       `json:"partitions"` // of the widest shuffle; 0: none
	Parts      int64       `json:"parts"`
	Output     string      `json:"output"` // location; empty: system storage
	Stages     []StagePlan `json:"stages"`
	Reused     int64       `json:"reused"` // completed operations of the earlier execution that would not be performed again
}

// StagePlan is the part of a [PlanReport] about one stage.
type StagePlan struct {
	Name       string   `json:"name"`
	Reads      []string `json:"reads"` // each as "input", "input left", "shuffle of map", "broadcast of ranges"
	Operations int64    `json:"operations"`
	Partitions int64    `json:"partitions"`
	Reused     int64    `json:"reused"`
}
