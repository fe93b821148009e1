package coord

import (
	"fmt"

	"stint"
)

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
}

// Record is one journaled change. At is in milliseconds since 1970; exactly one
// other field is set.
type Record struct {
	At     int64         `json:"at"`
	Attach *AttachRecord `json:"attach,omitempty"`
	Grant  *GrantRecord  `json:"grant,omitempty"`
	Report *stint.Report `json:"report,omitempty"`
	Gone   *Gone         `json:"gone,omitempty"`
	Status *StatusRecord `json:"status,omitempty"`
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
	Settled bool                  `json:"settled,omitempty"`
}

// Message is what one node is to be told. Exactly one field beside Node is set.
type Message struct {
	Node    stint.NodeID
	Grant   *stint.Grant
	Retract *stint.Retract
	Resend  []stint.StageOps
	Ack     *Ack
	Forget  bool
	// Reattach says that the node's session is to be closed, so that it attaches
	// anew and says what it has: it was believed gone, or a report is missing.
	Reattach bool
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
	Errand   *stint.Errand // to be repeated, at any node, until its result is an event
	Wake     int64         // when to step with the time alone, in ms since 1970; 0: no need
}

// Step takes an event in.
func (s *State) Step(ev Event) Delta {
	d := &Delta{}
	switch {
	case ev.Begin:
		s.begin(d, ev.At)
	case ev.Attach != nil:
		s.attach(d, ev.At, ev.Attach)
	case ev.Report != nil:
		s.report(d, ev.At, ev.Report)
	case ev.Assign != nil:
		s.assign(d, ev.At, ev.Assign)
	case ev.Retract != nil:
		s.retract(d, ev.Retract)
	case ev.Gone != nil:
		s.gone(d, ev.At, ev.Gone)
	case ev.Result != nil:
		s.result(d, ev.At, ev.Result)
	case ev.Terminate:
		if !s.status.Final() && s.status != stint.Terminating {
			s.stop(d, ev.At, stint.Terminating, nil)
		}
	}
	s.advance(d, ev.At)
	d.Wake = s.wake(ev.At)
	return *d
}

func (s *State) begin(d *Delta, now int64) {
	if s.status == stint.Queued {
		s.record(d, Record{At: now, Status: &StatusRecord{Status: stint.InProgress}})
	}
}

// Resume begins an execution whose beginning was not recorded, and returns what
// must be sent again by a new owner: errands under way. Nodes are told what they
// miss when they attach; until then nothing is known of them.
func (s *State) Resume(now int64) Delta {
	d := &Delta{}
	for i := range s.nodes {
		if s.nodes[i].status != nodeLost {
			s.nodes[i].status = nodeUnseen
		}
	}
	s.begin(d, now)
	s.advance(d, now)
	if d.Errand == nil {
		d.Errand = s.errand()
	}
	d.Wake = s.wake(now)
	return *d
}

func (s *State) record(d *Delta, r Record) {
	s.Apply(r)
	d.Records = append(d.Records, r)
}

func (s *State) attach(d *Delta, now int64, a *Attach) {
	id := a.Node.ID
	if s.status.Final() || s.status == stint.Terminating {
		d.Messages = append(d.Messages, Message{Node: id, Forget: true})
		return
	}
	i, known := s.nodeIndex(id)
	if known && (a.Node.Incarnation < s.nodes[i].incarnation || a.Session < s.nodes[i].session) {
		return // an older session, or one of an older process; the newer one is what counts
	}
	fresh := !known || s.nodes[i].incarnation != a.Node.Incarnation || s.nodes[i].status == nodeLost
	if fresh || s.nodes[i].address != a.Node.Address || s.nodes[i].slots != a.Node.Slots {
		holding := a.Holding
		holding.Jobs = nil
		if !fresh {
			holding = stint.Holding{Execution: s.ID()}
		}
		s.record(d, Record{At: now, Attach: &AttachRecord{Node: a.Node, Holding: holding}})
		i, _ = s.nodeIndex(id)
	}
	s.nodes[i].status, s.nodes[i].called, s.nodes[i].session = nodeReady, false, a.Session
	s.reconcile(d, i, a.Holding)
}

// takenOver lists the operations that a node announced as completed and whose
// reports it must send.
func (s *State) takenOver(i uint16) []stint.StageOps {
	var out []stint.StageOps
	for k := range s.stages {
		var ops []stint.Range
		for n := range s.stages[k].ops {
			o := &s.stages[k].ops[n]
			if o.state == granted && o.job == 0 && o.node == i {
				ops = stint.AddToRanges(ops, uint32(n))
			}
		}
		if ops != nil {
			out = append(out, stint.StageOps{Stage: k, Ops: ops})
		}
	}
	return out
}

// reconcile sends a node that attached the grants it has not seen, takes back
// those that were voided while it was away, and asks for the reports of what it
// completed and we do not have recorded.
func (s *State) reconcile(d *Delta, i uint16, h stint.Holding) {
	seen := make(map[stint.JobID]bool, len(h.Jobs))
	for _, id := range h.Jobs {
		seen[id] = true
		if j := s.jobs[id]; j == nil || j.node != i {
			d.Messages = append(d.Messages, Message{Node: s.nodes[i].id, Retract: &stint.Retract{Execution: s.ID(), Job: id, Count: wholeJob}})
		}
	}
	for _, id := range s.nodes[i].jobs {
		s.jobs[id].asked = false
		if !seen[id] {
			d.Messages = append(d.Messages, Message{Node: s.nodes[i].id, Grant: s.grant(id)})
		}
	}
	if missing := s.takenOver(i); len(missing) > 0 {
		d.Messages = append(d.Messages, Message{Node: s.nodes[i].id, Resend: missing})
	}
}

// wholeJob is a count that no job reaches: all of it.
const wholeJob = 1 << 30

func (s *State) report(d *Delta, now int64, r *stint.Report) {
	i, known := s.nodeIndex(r.Node)
	if !known || r.Incarnation != s.nodes[i].incarnation {
		return // of an older incarnation, or before it attached: it will be sent again or is void
	}
	n := &s.nodes[i]
	if n.status != nodeReady || r.Seq > n.lastSeq+1 {
		s.reattach(d, i) // it says then what it has, and sends again what is not acknowledged
		return
	}
	if r.Seq == n.lastSeq+1 {
		if s.status.Final() || s.status == stint.Terminating {
			n.lastSeq = r.Seq
		} else {
			s.record(d, Record{At: now, Report: r})
		}
	}
	d.Messages = append(d.Messages, Message{Node: r.Node, Ack: &Ack{Incarnation: r.Incarnation, Seq: r.Seq}})
}

// reattach has a node attach anew, once. One that is unseen will do so anyway.
func (s *State) reattach(d *Delta, i uint16) {
	if n := &s.nodes[i]; n.status != nodeUnseen && !n.called {
		n.called = true
		d.Messages = append(d.Messages, Message{Node: n.id, Reattach: true})
	}
}

func (s *State) gone(d *Delta, now int64, g *Gone) {
	i, known := s.nodeIndex(g.Node)
	if !known || s.nodes[i].status == nodeLost || !g.Lost && s.nodes[i].status == nodeAway {
		return
	}
	if s.status.Final() || s.status == stint.Terminating || g.Session < s.nodes[i].session {
		return
	}
	s.record(d, Record{At: now, Gone: g})
}

func (s *State) result(d *Delta, now int64, r *stint.ErrandResult) {
	want := s.errand()
	if want == nil || want.ID != r.ID {
		return
	}
	if c := stint.CodeOf(errorOrNil(r.Error)); c == stint.Unavailable || c == stint.Unknown {
		s.errandAt, s.errandErr = now+errandPause, r.Error
		return
	}
	s.errandAt, s.errandErr = 0, nil
	switch want.Kind {
	case stint.ErrandCommit:
		if r.Error == nil {
			s.record(d, Record{At: now, Status: &StatusRecord{Status: stint.Completed, Bytes: r.Bytes, Settled: true}})
			s.forgetAll(d)
			return
		}
		s.stop(d, now, stint.ExecutionFailed, r.Error)
	case stint.ErrandClear:
		status := s.status
		if status == stint.Terminating {
			status = stint.Terminated
		}
		s.record(d, Record{At: now, Status: &StatusRecord{Status: status, Error: s.err, Settled: true}})
	case stint.ErrandList, stint.ErrandProbe, stint.ErrandLog:
	}
}

func errorOrNil(e *stint.Error) error {
	if e == nil {
		return nil
	}
	return e
}

// stop ends the work of an execution: nothing is dispatched from here on.
func (s *State) stop(d *Delta, now int64, status stint.ExecutionStatus, err *stint.Error) {
	s.record(d, Record{At: now, Status: &StatusRecord{Status: status, Error: err}})
	s.forgetAll(d)
	d.Errand = s.errand()
}

func (s *State) forgetAll(d *Delta) {
	for i := range s.nodes {
		d.Messages = append(d.Messages, Message{Node: s.nodes[i].id, Forget: true})
	}
}

// advance takes the steps that follow from the state alone.
func (s *State) advance(d *Delta, now int64) {
	if s.errandAt > 0 && now >= s.errandAt {
		s.errandAt = 0
		d.Errand = s.errand()
	}
	if s.status != stint.InProgress {
		return
	}
	if s.fatal != nil {
		s.stop(d, now, stint.ExecutionFailed, s.fatal)
		return
	}
	if s.allDone() && len(d.Records) > 0 {
		d.Errand = s.errand()
	}
}

func (s *State) allDone() bool {
	for i := range s.stages {
		if last := i == len(s.stages)-1; last && !s.complete(i) {
			return false
		}
	}
	return true
}

// errand returns the errand that the state calls for now, or nil.
func (s *State) errand() *stint.Errand {
	switch {
	case s.settled:
		return nil
	case s.status == stint.InProgress && s.allDone():
		return &stint.Errand{
			ID: fmt.Sprintf("%s/commit", s.ID()), Kind: stint.ErrandCommit, Execution: s.ID(),
			Output: s.request.Output, Overwrite: s.request.Overwrite, Program: s.programName(), Parts: s.parts,
		}
	case s.status.Final(), s.status == stint.Terminating:
		return &stint.Errand{ID: fmt.Sprintf("%s/clear", s.ID()), Kind: stint.ErrandClear, Execution: s.ID(), Output: s.request.Output}
	}
	return nil
}

// wake returns when the next retry may begin.
func (s *State) wake(now int64) int64 {
	at := s.errandAt
	if s.status != stint.InProgress {
		return at
	}
	for _, k := range s.retries {
		e := s.exceptions[k]
		for _, t := range [2]int64{e.notBefore, e.notBefore + avoidFor} {
			if t > now && (at == 0 || t < at) {
				at = t
			}
		}
	}
	return at
}
