package coord

import "stint"

// Message is what one node is to be told. Exactly one field beside Node is set.
type Message struct {
	Node    stint.NodeID
	Grant   *stint.Grant
	Retract *stint.Retract
	Resend  []stint.StageOps
	Ack     *Ack
	Forget  *Forget
	Suspend *stint.Suspend
	Drop    []stint.StageOps // output that no operation will read any more
	// Reattach says that the node's session is to be closed, so that it attaches
	// anew and says what it has: it was believed gone, or a report is missing.
	Reattach bool
}

// Forget says that a node need not keep anything of the execution, except, until
// Keep, blocks as a cache for other executions.
type Forget struct {
	Keep    int64 // milliseconds since 1970; 0: it removes them at once
	Discard bool  // logs, too: it was terminated
}

// Ack says that a report is committed, or was already.
type Ack struct {
	Incarnation stint.Incarnation
	Seq         uint64
}

// Delta is what a step decided. The records are to be committed first, in
// order; then, and only then, the rest may leave the process.
type Delta struct {
	Records  []Record
	Messages []Message
	Errands  []Dispatch // each to be repeated until its result is an event or its id is in Cancel
	Cancel   []string   // ids of errands whose results are of no interest any more
	Wake     int64      // when to step with the time alone, in ms since 1970; 0: no need
}

// Dispatch is an errand and who runs it. One of the same id that is under way
// already is the same errand.
type Dispatch struct {
	Errand stint.Errand
	Node   stint.NodeID // empty: any; only this one otherwise
}
