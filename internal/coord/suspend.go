package coord

import (
	"fmt"
	"time"

	"stint"
)

// A suspend goes through phases that follow from the state: until nothing is
// granted or begun any more, what is in progress stops; then what is needed and
// on nodes alone is saved; then the record is written to long-term storage; then
// the execution is suspended and the nodes forget it. A loss in between puts
// operations back to pending, which does not keep it from ending.

// suspend stops an execution, or shortens the time that it has left for that. One
// that was to resume by itself does not any more.
func (s *State) suspend(d *Delta, now int64, a *SuspendAsk) {
	if len(a.Jobs) > 0 {
		s.record(d, Record{At: now, Hold: &HoldRecord{Jobs: a.Jobs, StopBy: now + max(a.Grace, 0)}})
		s.tellStopped(d, now, a.Jobs)
		return
	}
	if s.next.At > 0 {
		s.record(d, Record{At: now, Schedule: &ScheduleRecord{}})
	}
	if s.status == stint.Suspended {
		return
	}
	by := now + max(a.Grace, 0)
	if s.status == stint.Suspending && by >= s.stopBy {
		return
	}
	s.record(d, Record{At: now, Status: &StatusRecord{Status: stint.Suspending, StopBy: by, Generation: max(s.generation, 1), By: a.By}})
	s.cancel(d, func(f *flight) bool { return f.kind == stint.ErrandCopy })
	for i := range s.nodes {
		s.tellStop(d, now, uint16(i))
	}
}

// tellStop has a node stop what it was granted, or those of its jobs that are
// held back or move.
func (s *State) tellStop(d *Delta, now int64, i uint16) {
	n := &s.nodes[i]
	if n.status != nodeReady || len(n.jobs) == 0 {
		return
	}
	ask := func(by int64, jobs []stint.JobID) {
		d.Messages = append(d.Messages, Message{Node: n.id, Suspend: &stint.Suspend{
			Execution: s.ID(), Jobs: jobs, Grace: max(by-now, 0), Storage: s.home,
		}})
	}
	if s.status == stint.Suspending {
		ask(s.stopBy, nil)
		return
	}
	var jobs []stint.JobID // that are to have stopped at the same time
	for at, id := range n.jobs {
		by := s.jobs[id].stopBy
		if by > 0 {
			jobs = append(jobs, id)
		}
		if jobs != nil && (at+1 == len(n.jobs) || s.jobs[n.jobs[at+1]].stopBy != by) {
			ask(by, jobs)
			jobs = nil
		}
	}
}

// goOn takes a suspend back that is not complete, or begins the next stint of a
// suspended execution.
func (s *State) goOn(d *Delta, now int64, a *ResumeAsk) {
	if len(a.Jobs) > 0 {
		s.record(d, Record{At: now, Hold: &HoldRecord{Jobs: a.Jobs, Release: true}})
		return
	}
	if len(a.Bad) > 0 || len(a.LostCheckpoints) > 0 || len(a.LostParts) > 0 {
		s.record(d, Record{At: now, Bad: &BadRecord{Copies: a.Bad, Checkpoints: a.LostCheckpoints, Parts: a.LostParts}})
	}
	s.cancelAll(d)
	s.callMute(d)
	s.record(d, Record{At: now, Status: &StatusRecord{Status: stint.InProgress, Generation: a.Generation, Nodes: a.Nodes, Slots: a.Slots}})
}

// stopping takes a suspend through its phases.
func (s *State) stopping(d *Delta, now int64) {
	s.giveUpAway(d, now)
	if !s.stopped() {
		s.cancelRecord(d)
		return
	}
	if s.errandAt > 0 {
		return
	}
	if e := s.errand(); e.ID != s.recorded {
		s.cancelRecord(d)
		s.recorded = e.ID
		d.Errands = append(d.Errands, Dispatch{Errand: *e})
	}
}

// stopped reports whether nothing but the record is left to be saved.
func (s *State) stopped() bool {
	if s.status != stint.Suspending || s.out > 0 {
		return false
	}
	if s.chores == nil {
		s.findChores()
	}
	return s.left() == 0
}

func (s *State) cancelRecord(d *Delta) {
	if s.recorded != "" {
		d.Cancel = append(d.Cancel, s.recorded)
		s.recorded = ""
	}
}

// overdue takes from nodes what they have not stopped in time.
func (s *State) overdue(d *Delta, now int64) {
	for i := range s.nodes {
		n := &s.nodes[i]
		switch {
		case s.status == stint.Suspending && n.queued+n.begun > 0 && now >= s.stopDeadline(uint16(i)):
			s.takeBack(d, now, uint16(i), nil)
		case s.status == stint.InProgress:
			var late []stint.JobID
			for _, id := range n.jobs {
				if by := s.jobs[id].stopBy; by > 0 && now >= by+stopGrace {
					late = append(late, id)
				}
			}
			if late != nil {
				s.takeBack(d, now, uint16(i), late)
			}
		}
	}
}

// stopDeadline returns when what a node still has is taken from it while the
// execution is suspended. A node that attached late has time to say what it did,
// and one that went away late to come back.
func (s *State) stopDeadline(i uint16) int64 {
	return max(s.stopBy, s.nodes[i].since, s.loaded) + stopGrace
}

// takeBack voids jobs of a node, or all that it has.
func (s *State) takeBack(d *Delta, now int64, i uint16, jobs []stint.JobID) {
	n := &s.nodes[i]
	told := jobs
	if jobs == nil {
		told = n.jobs
	}
	for _, id := range told {
		d.Messages = append(d.Messages, Message{Node: n.id, Retract: &stint.Retract{Execution: s.ID(), Job: id, Count: wholeJob}})
	}
	s.record(d, Record{At: now, Void: &VoidRecord{Node: n.id, Jobs: jobs}})
}

// giveUpAway treats nodes as lost that are away, or do not answer, when a suspend
// needs what they alone hold, and were given time.
func (s *State) giveUpAway(d *Delta, now int64) {
	if s.out > 0 || s.chores == nil || s.chores.stuck == 0 {
		return
	}
	for i := range s.nodes {
		if n := &s.nodes[i]; (n.status == nodeAway || n.status == nodeUnseen || n.status == nodeReady && s.mute(uint16(i))) && now >= s.stopDeadline(uint16(i)) {
			s.record(d, Record{At: now, Gone: &Gone{Node: n.id, Lost: true}})
			s.chores = nil
		}
	}
}

// leaveNodes lets go of everything on nodes: they are told to forget it.
func (s *State) leaveNodes() {
	for k := range s.stages {
		st := &s.stages[k]
		st.copies, st.holds, st.avoided, st.sources = nil, nil, nil, nil
		if !s.keepsBlocks(k) {
			continue
		}
		for n := range st.ops {
			if o := &st.ops[n]; o.state == done {
				o.gone, o.renamed = true, false
				st.touch(uint32(n))
			}
		}
	}
	s.undoGone()
	for i := range s.nodes {
		s.nodes[i].gap = true
		s.nodes[i].voided = nil
	}
	s.moved, s.closed = nil, s.lastJob
}

func (s *State) applySuspended(now int64) {
	s.leaveNodes()
	kept := int64(0)
	for k := range s.stages {
		kept += int64(s.stages[k].counts[done])
	}
	s.stints[len(s.stints)-1].end = now
	s.receipts = append(s.receipts, receipt{at: now, kind: "suspend", kept: kept, bytes: s.savedReport().Bytes, lost: s.workLost})
}

// applyResumed begins a stint after a suspend.
func (s *State) applyResumed(r *StatusRecord) {
	s.mostNodes, s.mostSlots, s.next = r.Nodes, r.Slots, ScheduleAsk{}
	s.markReused()
	for len(s.held) > 0 {
		s.letGo(s.held[0].id)
	}
}

// markReused marks what was completed in earlier stints.
func (s *State) markReused() {
	for k := range s.stages {
		st := &s.stages[k]
		st.reused = st.counts[done]
		for n := range st.ops {
			if o := &st.ops[n]; o.state == done {
				o.reused = true
				st.touch(uint32(n))
			}
		}
	}
}

// receipt says what a suspend kept and what it cost.
type receipt struct {
	at          int64
	kind        string
	kept, bytes int64
	lost        float64 // milliseconds
}

func (r receipt) document() stint.Receipt {
	return stint.Receipt{At: moment(r.at), Kind: r.kind, OperationsKept: r.kept, SavedBytes: r.bytes, WorkLost: r.lost / 1000}
}

// Generation returns the ownership in long-term storage under which the
// execution is; 0 until it is first suspended.
func (s *State) Generation() uint64 { return s.generation }

// Claimed returns the generation that the execution is owned in here: that of its
// record, or a higher one under which it was brought from another service and has
// not gone on yet.
func (s *State) Claimed() uint64 { return max(s.generation, s.claimed) }

// Home returns the URL of the long-term storage that the execution's saved state
// lies in; empty is the service's own.
func (s *State) Home() string { return s.home }

// SetHome says where the saved state of an execution lies that came from another
// service's storage. It is to be called before the state is first stored.
func (s *State) SetHome(url string) { s.home = url }

// ResumeAt returns when the suspended execution resumes by itself, in
// milliseconds since 1970; 0 if it does not.
func (s *State) ResumeAt() int64 { return s.next.At }

// Scheduled returns how the suspended execution resumes by itself.
func (s *State) Scheduled() ScheduleAsk { return s.next }

// waitingToStop says in words what a suspend waits for.
func (s *State) waitingToStop() string {
	if s.out > 0 {
		nodes := 0
		for i := range s.nodes {
			if s.nodes[i].queued+s.nodes[i].begun > 0 {
				nodes++
			}
		}
		return fmt.Sprintf("until %s on %s, by %s", plural(s.out, "operation has stopped", "operations have stopped"), plural(nodes, "node", "nodes"), moment(s.stopBy).Format(time.RFC3339))
	}
	return s.waitingToSave()
}

// waitingToSave says in words how far saving has come.
func (s *State) waitingToSave() string {
	if s.chores == nil {
		s.findChores()
	}
	saved := 0
	for k := range s.stages {
		saved += s.stages[k].saved
	}
	left := s.left()
	text := fmt.Sprintf("for output to be saved: %d of %d operations", saved, saved+left)
	switch {
	case left == 0:
		return "for its record to be saved"
	case s.pauseErr != nil:
		return fmt.Sprintf("%s; tried again at %s after: %s", text, moment(s.pause).Format(time.RFC3339), s.pauseErr.Error())
	case s.chores.stuck > 0:
		return fmt.Sprintf("%s; %d are on nodes that are away", text, s.chores.stuck)
	}
	return text
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
