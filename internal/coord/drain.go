package coord

import (
	"slices"

	"stint"
)

const (
	evacuateAhead = 30_000 // before a node will be gone: what is in progress there is interrupted
	evacuateGrace = 10_000
)

func (s *State) isDraining(i uint16) bool {
	if len(s.draining) == 0 {
		return false
	}
	_, yes := s.draining[s.nodes[i].id]
	return yes
}

// drain has a node get nothing new, and give back what it has not begun.
func (s *State) drain(d *Delta, a *DrainAsk) {
	s.chores = nil
	if a.Undo {
		delete(s.draining, a.Node)
		return
	}
	if s.draining == nil {
		s.draining = make(map[stint.NodeID]DrainAsk)
	}
	s.draining[a.Node] = *a
	if i, known := s.nodeIndex(a.Node); known && s.status == stint.InProgress {
		s.giveBackQueued(d, i)
	}
}

// giveBackQueued asks a node for all that it has not begun.
func (s *State) giveBackQueued(d *Delta, i uint16) {
	n := &s.nodes[i]
	if n.status != nodeReady || n.queued == 0 {
		return
	}
	for _, id := range n.jobs {
		s.jobs[id].asked = true
		d.Messages = append(d.Messages, Message{Node: n.id, Retract: &stint.Retract{Execution: s.ID(), Job: id, Count: wholeJob}})
	}
}

// evacuate interrupts what is in progress on nodes that will soon be gone.
func (s *State) evacuate(d *Delta, now int64) {
	if len(s.draining) == 0 {
		return
	}
	for i := range s.nodes {
		n := &s.nodes[i]
		a, draining := s.draining[n.id]
		if !draining || a.By == 0 || now < a.By-evacuateAhead {
			continue
		}
		var jobs []stint.JobID
		for _, id := range n.jobs {
			if s.jobs[id].stopBy == 0 {
				jobs = append(jobs, id)
			}
		}
		if jobs != nil {
			s.record(d, Record{At: now, Hold: &HoldRecord{Jobs: jobs, StopBy: now + evacuateGrace, Move: true}})
			s.tellStop(d, now, uint16(i))
		}
	}
}

// Drained reports whether a node has nothing to do for the execution and holds
// the only copy of nothing that it needs.
func (s *State) Drained(id stint.NodeID) bool {
	i, known := s.nodeIndex(id)
	if !known || s.status.Final() || s.status == stint.Suspended || s.status == stint.Terminating {
		return true
	}
	n := &s.nodes[i]
	if n.queued+n.begun > 0 || slices.ContainsFunc(s.flights, func(f flight) bool { return f.node == i }) {
		return false
	}
	for k := range s.stages {
		if st := &s.stages[k]; (st.heldOn(i) > 0 || len(st.copiesOn(i)) > 0) && !s.spared(k, i) {
			return false
		}
	}
	return true
}

// spared reports whether all that node i holds of a stage and that is needed is
// elsewhere too.
func (s *State) spared(k int, i uint16) bool {
	kept := s.goodCopies(k)
	st := &s.stages[k]
	for n := range st.ops {
		o := &st.ops[n]
		if o.state != done || o.saved || kept[n] > 0 || !s.needed(k, uint32(n)) {
			continue
		}
		if !o.gone && o.node != i && s.good(o.node) {
			continue
		}
		if !o.gone && o.node == i || st.copyOn(i, uint32(n)) {
			return false
		}
	}
	return true
}
