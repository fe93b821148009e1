package sim

import (
	"fmt"
	"slices"

	"stint"
)

// suspend stops work: what has not begun is given back, what is in progress may
// go on until the grace period ends.
func (a *agentProcess) suspend(m *stint.Suspend) {
	w, x := a.world, m.Execution
	concerns := func(o *order) bool {
		return o.execution == x && (len(m.Jobs) == 0 || slices.Contains(m.Jobs, o.grant.Job))
	}
	back := func(list []*order) []*order {
		return slices.DeleteFunc(list, func(o *order) bool {
			if concerns(o) {
				a.ledger.PutBack(x, o.grant.Job, stint.Range{From: o.op, To: o.op + 1})
			}
			return concerns(o)
		})
	}
	a.ready = back(a.ready)
	back(slices.Clone(a.preparing)) // they notice when they are prepared
	for _, s := range a.slots {
		s.queue = back(s.queue)
	}
	for _, id := range m.Jobs {
		a.ledger.Retract(stint.Retract{Execution: x, Job: id, Count: a.ledger.WaitingIn(x, id)})
	}
	if len(m.Jobs) == 0 {
		a.ledger.GiveUp(x)
	}
	for _, s := range a.slots {
		if s.current != nil && concerns(s.current) {
			s.stop(s.current, m.Grace*millisecond)
		}
	}
	w.count(nodeAskedToStop)
}

// stop gives an operation in progress time to end or to save itself.
func (s *slot) stop(o *order, grace int64) {
	w, life := s.agent.world, s.life
	if w.runOf(o.execution).saves {
		grace = w.between(grace/10, grace) // it hears the signal
	}
	s.agent.later(grace, "grace", func() {
		if s.life == life && s.current == o {
			s.interrupt(o)
		}
	})
}

// interrupt ends the operation in progress: what it saved of itself goes to
// long-term storage.
func (s *slot) interrupt(o *order) {
	a, w := s.agent, s.agent.world
	s.life++
	s.current = nil
	s.deliver()
	w.count(interrupted)
	w.passes(saving, a.machine.service, a.machine)
	end := stint.Interrupted{Job: o.grant.Job, Op: o.op, Start: a.millis() - (w.now-o.began)/millisecond, End: a.millis()}
	tell := func() {
		a.ledger.Interrupted(o.execution, end)
		a.flush()
		a.pump()
	}
	if len(s.queue) > 0 {
		s.begin()
	}
	if !w.runOf(o.execution).saves {
		a.later(w.between(10, millisecond), "told", tell)
		return
	}
	key := fmt.Sprintf("%scheckpoint-%d-%d-%d-%d", savedPrefix(o.execution), o.grant.Stage, o.op, o.grant.Job, a.incarnation)
	saved := &checkpoint{progress: min(0.9, o.progress+(1-o.progress)*float64(w.now-o.began)/float64(o.takes+1))}
	w.storage.write(func() *stint.Error {
		w.storage.objects[key] = saved
		return nil
	}, func(err *stint.Error) {
		if a.dead {
			return
		}
		if err == nil {
			end.Checkpoint = &stint.Checkpoint{Op: o.op, Key: key, Bytes: 10}
			w.count(checkpointSaved)
		} else {
			end.Note = err.Error()
		}
		tell()
	})
}
