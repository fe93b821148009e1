package sim

import (
	"slices"

	"stint"
	"stint/internal/agent"
	"stint/internal/coord"
)

// agentProcess is one life of an agent: its ledger, its slots, its session.
type agentProcess struct {
	world       *world
	machine     *machine
	incarnation stint.Incarnation
	ledger      *agent.Ledger
	slots       []*slot
	ready       []*order
	preparing   []*order
	session     *session // nil: none
	dead        bool
	flushing    bool
	errands     []string                  // ids of those in progress
	forgot      map[stint.ExecutionID]int // how often each execution was forgotten
	forgets     int                       // how often something was forgotten
	results     []*stint.ErrandResult
	forgotten   map[stint.ExecutionID]bool
	specs       map[stint.ExecutionID]*planned
}

// order is an operation on its way to a slot.
type order struct {
	execution stint.ExecutionID
	plan      *planned
	grant     *stint.Grant
	op        uint32
	inputs    [][]content // by edge
	progress  float64     // of an earlier attempt, from its checkpoint
	began     int64
	takes     int64
}

// later has something happen while the process lives, after its pauses.
func (a *agentProcess) later(d int64, name string, do func()) {
	w := a.world
	w.after(d, name, func() {
		switch {
		case a.dead:
		case a.machine.pausedUntil > w.now:
			a.later(a.machine.pausedUntil-w.now, name, do)
		default:
			do()
		}
	})
}

// dial tries to reach the server until it does.
func (a *agentProcess) dial() {
	w := a.world
	a.later(w.between(millisecond, 300*millisecond), "dial", func() {
		if a.session != nil {
			return
		}
		server := a.machine.service.server
		if server == nil || server.paused > w.now || max(a.machine.linkUp, a.machine.upCut, a.machine.downCut) > w.now {
			a.dial()
			return
		}
		s := &session{world: w, server: server, agent: a}
		a.session = s
		holdings := a.ledger.Holdings()
		a.checkCopies(holdings)
		s.sendUp(toServer{hello: &hello{node: a.machine.document(), holdings: holdings}})
		for _, x := range a.ledger.Executions() {
			for _, r := range a.ledger.Unacked(x, 0) {
				s.sendUp(toServer{report: r})
			}
		}
		a.sendResults()
		a.tell()
	})
}

// checkCopies checks that copies that are kept here are announced.
func (a *agentProcess) checkCopies(holdings []stint.Holding) {
	for _, h := range holdings {
		for _, key := range a.machine.folder.copies {
			if key.execution == h.Execution && !a.world.runOf(h.Execution).retried && a.machine.folder.blocks[key].whole() && !hasOp(h.Copies, key.stage, key.op) {
				a.world.breaks("copies", "%s does not announce its copy of operation %d of stage %d", a.machine.folder.node, key.op, key.stage)
			}
		}
	}
}

func (a *agentProcess) detached(s *session) {
	if a.session == s && !a.dead {
		a.session = nil
		a.dial()
	}
}

// arrived takes in what the server said.
func (a *agentProcess) arrived(m toAgent) {
	x := m.execution

	switch msg := m.message; {
	case m.errand != nil:
		a.run(*m.errand)
	case msg.Grant != nil:
		if ok, _ := a.ledger.Accept(*msg.Grant); ok {
			delete(a.forgotten, x)
			a.world.passes(starting, a.machine.service, a.machine)
			a.specs[x] = m.spec
			a.machine.folder.reopen(x)
		} else {
			a.world.count(grantRepeated)
		}
	case msg.Retract != nil:
		if back := a.retract(*msg.Retract); len(back.Ops) > 0 {
			a.world.count(retracted)
		}
	case msg.Resend != nil:
		a.resend(x, msg.Resend)
	case msg.Ack != nil:
		a.world.books.checkAck(a.bookOf(x), a.machine.folder.node, msg.Ack)
		a.ledger.Acked(x, msg.Ack.Seq, msg.Ack.Incarnation)
	case msg.Suspend != nil:
		a.suspend(msg.Suspend)
	case len(msg.Drop) > 0:
		a.drop(x, msg.Drop)
	case msg.Forget != nil:
		a.forget(x, msg.Forget)
	}
	a.pump()
	a.flush()
}

// resend reports completions again, as the logs have them.
func (a *agentProcess) resend(x stint.ExecutionID, missed []stint.StageOps) {
	a.later(a.world.between(0, 3*millisecond), "again", func() {
		var list []stint.Done
		for _, s := range missed {
			for _, r := range s.Ops {
				for op := r.From; op < r.To; op++ {
					if d, ok := a.machine.folder.completion(x, s.Stage, op); ok {
						list = append(list, d)
					}
				}
			}
		}
		if !a.forgotten[x] {
			a.ledger.Again(x, missed, list)
		}
		a.flush()
	})
}

// completion finds the last completion of an operation in the logs.
func (f *folder) completion(x stint.ExecutionID, stage int, op uint32) (d stint.Done, found bool) {
	for _, log := range f.logs {
		for _, r := range log.readable() {
			if log.execution != x || r.done == nil || r.grant.Stage != stage || r.op != op {
				continue
			}
			d, found = stint.Done{Job: r.grant.Job, Stage: stage, Ops: []stint.OpDone{*r.done}, Counters: countersOf(op)}, true
			if r.part != nil {
				d.Parts = []stint.Part{*r.part}
			}
		}
	}
	return d, found
}

// forget stops everything of an execution, and removes it but for blocks that are
// to be kept.
func (a *agentProcess) forget(x stint.ExecutionID, f *coord.Forget) {
	a.forgotten[x] = true
	a.forgot[x]++
	a.forgets++
	a.world.passes(collecting, a.machine.service, a.machine)
	a.ledger.Forget(x)
	a.ready = slices.DeleteFunc(a.ready, func(o *order) bool { return o.execution == x })
	for _, s := range a.slots {
		s.forget(x)
	}
	a.settle(x, f)
}

// flush sends what there is to tell, a little later.
func (a *agentProcess) flush() {
	if a.flushing {
		return
	}
	a.flushing = true
	a.later(a.world.between(millisecond, 8*millisecond), "flush", func() {
		a.flushing = false
		a.tell()
	})
}

func (a *agentProcess) tell() {
	if a.session == nil {
		return
	}
	for _, x := range a.ledger.Executions() {
		for {
			r, ok := a.ledger.Report(x)
			if !ok {
				break
			}
			if r.Done != nil {
				a.world.passes(reporting, a.machine.service, a.machine)
			}
			a.session.sendUp(toServer{report: r})
			if a.world.happens(messageRepeated) {
				a.session.sendUp(toServer{report: r})
			}
		}
	}
}

// retract gives back operations of a job that have not begun, those too that are
// ready or that a worker has in hand, from the end.
func (a *agentProcess) retract(r stint.Retract) stint.Returned {
	back := func(list []*order) []*order {
		for i := len(list) - 1; i >= 0 && a.ledger.WaitingIn(r.Execution, r.Job) < r.Count; i-- {
			if o := list[i]; o.execution == r.Execution && o.grant.Job == r.Job {
				a.ledger.PutBack(r.Execution, r.Job, stint.Range{From: o.op, To: o.op + 1})
				list = slices.Delete(list, i, i+1)
			}
		}
		return list
	}
	a.ready = back(a.ready)
	for _, s := range a.slots {
		s.queue = back(s.queue)
	}
	return a.ledger.Retract(r)
}

// pump hands out operations as long as there is room for them.
func (a *agentProcess) pump() {
	if a.machine.fullUntil > a.world.now {
		a.later(a.machine.fullUntil-a.world.now, "room", a.pump)
		return
	}
	for len(a.ready)+len(a.preparing) < 2*len(a.slots) {
		x, ok := a.ledger.Turn(func(stint.ExecutionID) bool { return true })
		if !ok {
			break
		}
		r, ok := a.ledger.Next(x, 1+a.world.rng.IntN(3))
		if !ok {
			break
		}
		for op := r.Ops.From; op < r.Ops.To; op++ {
			a.prepare(&order{execution: x, plan: a.specs[x], grant: r.Grant, op: op})
		}
	}
	for _, s := range a.slots {
		s.next()
	}
}
