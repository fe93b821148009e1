package coord

import (
	"cmp"
	"slices"

	"stint"
)

// heldJob is a job that was suspended by itself: what it did not complete is not
// performed before it is resumed. It stays so when the job has ended.
type heldJob struct {
	id    stint.JobID
	stage int
	ops   []stint.Range // given back by the node
}

// movedJob is a job that is to go on elsewhere, and what it completed is to be
// on another node too.
type movedJob struct {
	id   stint.JobID
	node uint16 // where it was
}

// avoidance is a set of operations that are not to be performed on a node while
// there is another.
type avoidance struct {
	node uint16
	ops  []stint.Range
}

func (s *State) applyHold(r *HoldRecord) {
	s.chores = nil
	for _, id := range r.Jobs {
		j := s.jobs[id]
		switch {
		case r.Release:
			s.letGo(id)
		case j == nil:
		case r.Move:
			j.stopBy, j.moving = r.StopBy, true
			s.moved = append(s.moved, movedJob{id: id, node: j.node})
		default:
			j.stopBy = r.StopBy
			if at, found := s.findHeld(id); !found {
				s.held = slices.Insert(s.held, at, heldJob{id: id, stage: j.stage})
			}
		}
	}
}

// letGo ends the suspension of a job.
func (s *State) letGo(id stint.JobID) {
	at, found := s.findHeld(id)
	if !found {
		return
	}
	h := s.held[at]
	s.held = slices.Delete(s.held, at, at+1)
	for _, r := range h.ops {
		for n := r.From; n < r.To; n++ {
			if s.stages[h.stage].ops[n].state == pending {
				s.release(h.stage, n)
			}
		}
	}
}

func (s *State) findHeld(id stint.JobID) (int, bool) {
	return slices.BinarySearchFunc(s.held, id, func(h heldJob, id stint.JobID) int { return cmp.Compare(h.id, id) })
}

// heldJob returns the job of that number if it was suspended by itself, or nil.
func (s *State) heldJob(id stint.JobID) *heldJob {
	if at, found := s.findHeld(id); found {
		return &s.held[at]
	}
	return nil
}

// heldBack reports whether an operation is of a job that was suspended by itself.
func (s *State) heldBack(k int, n uint32) bool {
	for i := range s.held {
		if s.held[i].stage == k && stint.RangesContain(s.held[i].ops, n) {
			return true
		}
	}
	return false
}

func (s *State) movedFrom(id stint.JobID) (node uint16, moved bool) {
	for _, m := range s.moved {
		if m.id == id {
			return m.node, true
		}
	}
	return 0, false
}

// leave makes an operation pending that was a job's. It is to be released then.
func (s *State) leave(j *job, id stint.JobID, n uint32) {
	s.setState(j.stage, n, pending)
	s.stages[j.stage].ops[n].job = 0
	if h := s.heldJob(id); h != nil {
		h.ops = stint.AddToRanges(h.ops, n)
	} else if j.moving {
		s.stages[j.stage].avoid(j.node, n)
	}
}

func (st *stage) avoid(node uint16, n uint32) {
	at := slices.IndexFunc(st.avoided, func(a avoidance) bool { return a.node == node })
	if at < 0 {
		at = len(st.avoided)
		st.avoided = append(st.avoided, avoidance{node: node})
	}
	st.avoided[at].ops = stint.AddToRanges(st.avoided[at].ops, n)
}

// meet forgets for operations that were granted where they were not to be performed.
func (st *stage) meet(ops stint.Range) {
	for i := range st.avoided {
		st.avoided[i].ops = stint.SubtractRange(st.avoided[i].ops, ops)
	}
	st.avoided = slices.DeleteFunc(st.avoided, func(a avoidance) bool { return len(a.ops) == 0 })
}

// avoidedBy returns the operations of a stage that node i is not to perform now.
func (s *State) avoidedBy(st *stage, i uint16, now int64) []stint.Range {
	at := slices.IndexFunc(st.avoided, func(a avoidance) bool { return a.node == i })
	if at < 0 || !s.another(now, i) {
		return nil
	}
	return st.avoided[at].ops
}

// move has jobs go on on other nodes.
func (s *State) move(d *Delta, now int64, a *MoveAsk) {
	s.record(d, Record{At: now, Hold: &HoldRecord{Jobs: a.Jobs, StopBy: now + max(a.Grace, 0), Move: true}})
	s.tellStopped(d, now, a.Jobs)
}

// tellStopped has the nodes of jobs stop them.
func (s *State) tellStopped(d *Delta, now int64, jobs []stint.JobID) {
	var nodes []uint16
	for _, id := range jobs {
		if j := s.jobs[id]; j != nil && !slices.Contains(nodes, j.node) {
			nodes = append(nodes, j.node)
		}
	}
	for _, i := range nodes {
		s.tellStop(d, now, i)
	}
}
