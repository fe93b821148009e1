package coord

import "stint"

// Step takes an event in.
func (s *State) Step(ev Event) Delta {
	d := &Delta{}
	if s.loaded == 0 {
		s.loaded = ev.At
	}
	switch {
	case s.Refusal(ev) != nil:
	case ev.Begin:
		s.begin(d, ev.At)
	case ev.Attach != nil:
		s.attach(d, ev.At, ev.Attach)
	case ev.Report != nil:
		s.report(d, ev.At, ev.Report)
	case ev.Assign != nil:
		s.assign(d, ev.At, ev.Assign)
	case ev.Retract != nil:
		s.retract(d, ev.At, ev.Retract)
	case ev.Gone != nil:
		s.gone(d, ev.At, ev.Gone)
	case ev.Result != nil:
		s.result(d, ev.At, ev.Result)
	case ev.Terminate:
		s.terminate(d, ev.At)
	default:
		s.asked(d, &ev)
	}
	s.advance(d, ev.At)
	d.Wake = s.wake(ev.At)
	return *d
}

// asked takes in what people want of an execution.
func (s *State) asked(d *Delta, ev *Event) {
	switch {
	case ev.Suspend != nil:
		s.suspend(d, ev.At, ev.Suspend)
	case ev.Resume != nil:
		s.goOn(d, ev.At, ev.Resume)
	case ev.Schedule != nil:
		s.record(d, Record{At: ev.At, Schedule: (*ScheduleRecord)(ev.Schedule)})
	case ev.Move != nil:
		s.move(d, ev.At, ev.Move)
	case ev.Drain != nil:
		s.drain(d, ev.Drain)
	case ev.Ended != nil:
		s.endElsewhere(d, ev.At, ev.Ended)
	case ev.Retry:
		s.record(d, Record{At: ev.At, Status: &StatusRecord{Status: stint.InProgress}})
		s.forgetAll(d, ev.At) // also what they may keep as cache: a node that dies would take it for what is made now
	}
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
	s.volatile = volatile{loaded: now}
	for i := range s.nodes {
		if s.nodes[i].status != nodeLost {
			s.nodes[i].status = nodeUnseen
		}
	}
	s.begin(d, now)
	s.advance(d, now)
	if len(d.Errands) == 0 {
		s.dispatch(d)
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
	if s.over() && s.status != stint.CompletedErrors {
		d.Messages = append(d.Messages, Message{Node: id, Forget: s.forgetting(now)})
		return
	}
	i, known := s.nodeIndex(id)
	if known && (a.Node.Incarnation < s.nodes[i].incarnation || a.Session < s.nodes[i].session) {
		return // an older session, or one of an older process; the newer one is what counts
	}
	if known && s.nodes[i].outdated || !known && s.renumbered || !s.resting() && s.isOld(&a.Holding) {
		s.attachOutdated(d, now, a)
		return
	}
	fresh := !known || s.nodes[i].incarnation != a.Node.Incarnation || s.nodes[i].status == nodeLost
	if fresh || s.nodes[i].address != a.Node.Address || s.nodes[i].slots != a.Node.Slots {
		holding := a.Holding
		holding.Jobs = nil
		if !fresh || s.resting() {
			holding = stint.Holding{Execution: s.ID()}
		}
		s.record(d, Record{At: now, Attach: &AttachRecord{Node: a.Node, Holding: holding}})
		i, _ = s.nodeIndex(id)
	}
	s.observe(i, nodeReady)
	s.nodes[i].called, s.nodes[i].session, s.nodes[i].since = false, a.Session, now
	delete(s.unanswered, i)
	if s.resting() {
		d.Messages = append(d.Messages, Message{Node: id, Forget: s.forgetting(now)})
		return
	}
	s.reconcile(d, now, i, a.Holding)
}

// observe notes whether a node can be asked.
func (s *State) observe(i uint16, status nodeStatus) {
	if s.nodes[i].status == status {
		return
	}
	s.nodes[i].status = status
	s.chores = nil
	for k := range s.stages {
		s.stages[k].sources = nil
	}
}

// resting reports whether nodes have no part in the execution now, and may get
// one again.
func (s *State) resting() bool {
	return s.status == stint.Suspended || s.status == stint.CompletedErrors
}

// over reports whether nothing is left to be done for the execution but to clear
// it away.
func (s *State) over() bool { return s.status.Final() || s.status == stint.Terminating }

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
// completed and we do not have recorded. What is not to be performed there any
// more it does not get, and is told to stop; and what it keeps in vain it is told again.
func (s *State) reconcile(d *Delta, now int64, i uint16, h stint.Holding) {
	seen := make(map[stint.JobID]bool, len(h.Jobs))
	for _, id := range h.Jobs {
		seen[id] = true
		if j := s.jobs[id]; j == nil || j.node != i {
			d.Messages = append(d.Messages, Message{Node: s.nodes[i].id, Retract: &stint.Retract{Execution: s.ID(), Job: id, Count: wholeJob}})
		}
	}
	var unsent []stint.JobID
	for _, id := range s.nodes[i].jobs {
		j := s.jobs[id]
		j.asked = false
		if !seen[id] {
			if s.status == stint.Suspending || j.stopBy > 0 || s.isDraining(i) {
				unsent = append(unsent, id)
				continue
			}
			d.Messages = append(d.Messages, Message{Node: s.nodes[i].id, Grant: s.grant(id)})
		}
	}
	if unsent != nil {
		s.record(d, Record{At: now, Void: &VoidRecord{Node: s.nodes[i].id, Jobs: unsent}})
	}
	s.tellStop(d, now, i)
	if s.status == stint.InProgress && s.isDraining(i) {
		s.giveBackQueued(d, i)
	}
	if missing := s.takenOver(i); len(missing) > 0 {
		d.Messages = append(d.Messages, Message{Node: s.nodes[i].id, Resend: missing})
	}
	s.tellDropped(d, i, &h)
}

// wholeJob is a count that no job reaches: all of it.
const wholeJob = 1 << 30

func (s *State) report(d *Delta, now int64, r *stint.Report) {
	i, known := s.nodeIndex(r.Node)
	if !known || r.Incarnation != s.nodes[i].incarnation {
		return // of an older incarnation, or before it attached: it will be sent again or is void
	}
	n := &s.nodes[i]
	if n.status != nodeReady || r.Seq > n.lastSeq+1 && !n.gap {
		s.reattach(d, i) // it says then what it has, and sends again what is not acknowledged
		return
	}
	if r.Seq > n.lastSeq && !s.resting() {
		if s.over() {
			n.lastSeq = r.Seq
		} else {
			s.record(d, Record{At: now, Report: r})
			s.dropGathered(d, r)
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
	if s.over() || g.Session < s.nodes[i].session {
		return
	}
	s.record(d, Record{At: now, Gone: g})
	s.nodes[i].since = now
}
