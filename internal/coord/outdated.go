package coord

import (
	"slices"

	"stint"
)

// An execution whose input has changed gives its operations other numbers. What
// a node has left of it from before, in its store and in reports that were not
// sent, goes by the old ones and must not be mistaken for anything else. So a
// node is told to forget the execution when it attaches, and nothing that it says
// counts until it speaks of a job that it was granted after that.
//
// The same goes for a node that was away during a suspend or a retry and has only
// what it completed before. Of a folder that was copied and is used twice, one may be
// in the state from before a retry, and the other have performed the same operations
// since.

// isOld reports whether a node has been told, or should have been, to forget what it
// announces as completed.
func (s *State) isOld(h *stint.Holding) bool { return h.Latest > 0 && h.Latest <= s.closed }

// attachOutdated takes in a node that may have something from before the input
// changed, or from before a suspend or a retry.
func (s *State) attachOutdated(d *Delta, now int64, a *Attach) {
	id := a.Node.ID
	s.record(d, Record{At: now, Attach: &AttachRecord{Node: a.Node, Holding: stint.Holding{Execution: s.ID(), Latest: a.Holding.Latest}}})
	i, _ := s.nodeIndex(id)
	s.observe(i, nodeReady)
	s.nodes[i].called, s.nodes[i].session, s.nodes[i].since = false, a.Session, now
	delete(s.unanswered, i)
	s.cancel(d, func(f *flight) bool { return f.node == i }) // it drops without a word what it is to forget
	d.Messages = append(d.Messages, Message{Node: id, Forget: &Forget{}})
}

// startOver has a node begin with nothing, in an incarnation that may be the one
// it was in: what it was granted and has not reported, it forgets.
func (s *State) startOver(now int64, i uint16, incarnation stint.Incarnation) {
	n := &s.nodes[i]
	if n.incarnation != incarnation {
		n.incarnation, n.lastSeq = incarnation, 0
	}
	n.status, n.coolUntil, n.gap = nodeReady, 0, true
	s.void(now, i)
	s.nodes[i].voided = nil
	s.lose(i, func(int, uint32) bool { return true })
}

// upToDate reports whether a report is about jobs that the node was granted since
// it was told to forget the execution. Then it has forgotten it.
func (s *State) upToDate(i uint16, r *stint.Report) bool {
	s.nodes[i].outdated = !speaksOf(r, func(id stint.JobID) bool {
		j := s.jobs[id]
		return j != nil && j.node == i
	})
	return !s.nodes[i].outdated
}

// speaksOf reports whether a report is about one of some jobs.
func speaksOf(r *stint.Report, one func(stint.JobID) bool) bool {
	return slices.ContainsFunc(r.Begun, func(b stint.Begun) bool { return one(b.Job) }) ||
		slices.ContainsFunc(r.Done, func(d stint.Done) bool { return one(d.Job) }) ||
		slices.ContainsFunc(r.Failures, func(f stint.Failure) bool { return one(f.Job) }) ||
		slices.ContainsFunc(r.Interrupted, func(in stint.Interrupted) bool { return one(in.Job) }) ||
		slices.ContainsFunc(r.Returned, func(back stint.Returned) bool { return one(back.Job) })
}
