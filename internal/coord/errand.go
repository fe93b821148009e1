package coord

import (
	"fmt"
	"slices"

	"stint"
	"stint/internal/plan"
)

func (s *State) result(d *Delta, now int64, r *stint.ErrandResult) {
	if s.landed(d, now, r) {
		return
	}
	want := s.errand()
	if want == nil || want.ID != r.ID {
		return
	}
	s.recorded = ""
	if s.putBack(want.Kind, r.Error) {
		s.errandTries++
		s.errandAt, s.errandErr = now+errandWait(s.errandTries), r.Error
		return
	}
	s.errandAt, s.errandErr, s.errandTries = 0, nil, 0
	switch want.Kind {
	case stint.ErrandCommit:
		if r.Error != nil {
			s.stop(d, now, stint.ExecutionFailed, r.Error)
			return
		}
		status := stint.Completed
		var err *stint.Error
		if s.endsWithErrors() {
			status, err = stint.CompletedErrors, s.tooBad()
		}
		s.cancelAll(d)
		s.record(d, Record{At: now, Status: &StatusRecord{Status: status, Error: err, Bytes: r.Bytes, Settled: true}})
		s.forgetAll(d, now)
	case stint.ErrandRecord:
		if r.Error != nil { // somebody else has claimed it: what is saved and staged is theirs to clear
			s.cancelAll(d)
			s.record(d, Record{At: now, Status: &StatusRecord{Status: stint.ExecutionFailed, Error: r.Error, Settled: true}})
			s.forgetAll(d, now)
			return
		}
		s.cancelAll(d)
		s.record(d, Record{At: now, Status: &StatusRecord{Status: stint.Suspended}})
		s.forgetAll(d, now)
		s.callMute(d)
	case stint.ErrandClear:
		status := s.status
		if status == stint.Terminating {
			status = stint.Terminated
		}
		s.record(d, Record{At: now, Status: &StatusRecord{Status: status, Error: s.err, Settled: true}})
	case stint.ErrandList, stint.ErrandProbe, stint.ErrandLog, stint.ErrandSave, stint.ErrandCopy, stint.ErrandVerify, stint.ErrandInventory, stint.ErrandAdopt, stint.ErrandCompare:
	}
}

// putBack reports whether an errand is to be tried again after an error. A
// record is, whatever keeps it from being written, unless it is another's.
func (*State) putBack(kind stint.ErrandKind, err *stint.Error) bool {
	if err == nil {
		return false
	}
	if kind == stint.ErrandRecord {
		return err.Code != stint.Conflict
	}
	return err.Code == stint.Unavailable || err.Code == stint.Unknown
}

// terminate ends an execution because somebody wants it. The record of that decides:
// from then on the result of a commit that is under way is not heard, and the errand
// that clears takes back what it has done, whenever it does it. It is not begun again
// by another node if the one that does it dies.
func (s *State) terminate(d *Delta, now int64) {
	if s.status.Final() || s.status == stint.Terminating {
		return
	}
	if e := s.errand(); e != nil && e.Kind == stint.ErrandCommit {
		d.Cancel = append(d.Cancel, e.ID)
	}
	s.stop(d, now, stint.Terminating, nil)
}

// stop ends the work of an execution: nothing is dispatched from here on. One that
// was brought here and has not gone on ends under the claim that brought it: whoever
// had it before is told of the end.
func (s *State) stop(d *Delta, now int64, status stint.ExecutionStatus, err *stint.Error) {
	s.cancelAll(d)
	s.record(d, Record{At: now, Status: &StatusRecord{Status: status, Error: err, Generation: s.claimed}})
	s.errandAt, s.errandErr, s.errandTries = 0, nil, 0
	s.forgetAll(d, now)
	s.dispatch(d)
}

// errandWait returns how long an errand waits that could not be run so many times in
// a row: a storage that refuses is not asked by everybody all the time.
func errandWait(tries int) int64 { return min(int64(errandPause)<<min(tries-1, 16), backoffMost) }

// endElsewhere ends an execution as it was ended by the service that resumed it,
// which has cleared what there was to be cleared.
func (s *State) endElsewhere(d *Delta, now int64, e *stint.Ended) {
	var err *stint.Error
	if e.Status == stint.ExecutionFailed {
		err = stint.AsError(e.Refusal(s.ID()))
	}
	s.cancelAll(d)
	s.record(d, Record{At: now, Status: &StatusRecord{Status: e.Status, Error: err, Bytes: e.Bytes, Parts: e.Parts, Settled: true}})
	s.forgetAll(d, now)
}

func (s *State) forgetAll(d *Delta, now int64) {
	for i := range s.nodes {
		d.Messages = append(d.Messages, Message{Node: s.nodes[i].id, Forget: s.forgetting(now)})
	}
}

// forgetting says what a node may keep of the execution.
func (s *State) forgetting(now int64) *Forget {
	return &Forget{Keep: s.keepUntil(now), Discard: s.status == stint.Terminated || s.status == stint.Terminating}
}

// keepUntil returns until when nodes keep output as a cache: for some time after
// the end, unless it was terminated; 0 if not at all.
func (s *State) keepUntil(now int64) int64 {
	if !s.status.Final() || s.status == stint.Terminated || s.request.Keep < 0 || len(s.stints) == 0 {
		return 0
	}
	keep := int64(dayMillis)
	if s.request.Keep > 0 {
		keep = s.request.Keep * 1000
	}
	if until := s.stints[len(s.stints)-1].end + keep; until > now {
		return until
	}
	return 0
}

// advance takes the steps that follow from the state alone.
func (s *State) advance(d *Delta, now int64) {
	if s.errandAt > 0 && now >= s.errandAt {
		s.errandAt = 0
		if s.status != stint.Suspending && !s.endsWithErrors() { // those look for themselves
			s.dispatch(d)
		}
	}
	if s.status != stint.InProgress && s.status != stint.Suspending {
		return
	}
	if s.fatal != nil {
		s.stop(d, now, stint.ExecutionFailed, s.fatal)
		return
	}
	if s.allDone() {
		if s.endsWithErrors() {
			s.cancelStranded(d)
		} else {
			s.cancelAll(d) // nobody needs it any more: it would come when the rest is removed
		}
		if s.status == stint.Suspending {
			s.cancelAll(d)
			s.record(d, Record{At: now, Status: &StatusRecord{Status: stint.InProgress, Nodes: s.mostNodes, Slots: s.mostSlots}})
		}
		if s.endsWithErrors() {
			s.saveForRetry(d, now)
		} else if len(d.Records) > 0 {
			s.dispatch(d)
		}
		return
	}
	s.evacuate(d, now)
	s.overdue(d, now)
	s.doChores(d, now)
	if s.status == stint.Suspending {
		s.stopping(d, now)
	}
	if len(d.Records) > 0 {
		s.dropRead(d)
	}
}

// allDone reports whether everything has ended that is performed for its own sake.
func (s *State) allDone() bool {
	return !slices.ContainsFunc(s.ends, func(k int) bool { return !s.complete(k) })
}

// findEnds returns the stages that no operation reads: the last, and those whose
// readers have none, because an input is empty. They are performed all the same,
// for what they do and count.
func (s *State) findEnds() (ends []int) {
	for k := range s.stages {
		if !slices.ContainsFunc(s.plan.Readers(k), func(r plan.Reader) bool { return len(s.stages[r.Stage].ops) > 0 }) {
			ends = append(ends, k)
		}
	}
	return ends
}

func (s *State) dispatch(d *Delta) {
	if e := s.errand(); e != nil {
		d.Errands = append(d.Errands, Dispatch{Errand: *e})
	}
}

// errand returns the errand that the state as a whole calls for now, or nil.
func (s *State) errand() *stint.Errand {
	e := &stint.Errand{Execution: s.ID(), Storage: s.home, Generation: s.generation, Stint: len(s.stints)}
	switch {
	case s.settled:
		return nil
	case s.endsWithErrors() && s.recorded != s.commitID() && !s.savedForRetry():
		return nil // once it is under way, its result counts
	case s.status == stint.InProgress && s.allDone():
		e.ID, e.Kind = s.commitID(), stint.ErrandCommit
		e.Output, e.Overwrite, e.Program, e.Parts = s.request.Output, s.request.Overwrite, s.programName(), s.parts
		e.Ended, e.Keep = stint.Completed, s.request.Keep
		if s.endsWithErrors() {
			e.Parts, e.Missing = s.StagedParts(), s.lacking()
		}
	case s.stopped():
		e.ID, e.Kind = fmt.Sprintf("%s/record-%d-%d", s.ID(), s.generation, s.version), stint.ErrandRecord
	case s.over():
		e.ID, e.Kind, e.Output = fmt.Sprintf("%s/clear", s.ID()), stint.ErrandClear, s.request.Output
		if e.Ended, e.Keep = s.status, s.request.Keep; s.status == stint.Terminating {
			e.Ended = stint.Terminated
		}
		if s.status != stint.Terminating || !s.allDone() { // it was not committed: what stands there is of whom this record is a copy
			e.Stint = 0
		}
	default:
		return nil
	}
	return e
}

// commitID names the commit of this stint: what an earlier one committed, whose result
// comes late, is not the output that a retry has made.
func (s *State) commitID() string { return fmt.Sprintf("%s/commit-%d", s.ID(), len(s.stints)) }

// wake returns when the time alone lets something be done.
func (s *State) wake(now int64) int64 {
	at := s.errandAt
	earlier := func(t int64) {
		if t > now && (at == 0 || t < at) {
			at = t
		}
	}
	if s.status != stint.InProgress && s.status != stint.Suspending {
		return at
	}
	if s.status == stint.InProgress {
		for _, k := range s.retries {
			e := s.exceptions[k]
			earlier(e.notBefore)
			earlier(e.notBefore + avoidFor)
		}
	}
	earlier(s.pause)
	for _, f := range s.flights {
		earlier(f.until)
	}
	if s.chores != nil {
		earlier(s.chores.again)
	}
	for i := range s.nodes {
		s.wakeNode(uint16(i), earlier)
	}
	return at
}

// wakeNode says when a node is to have stopped, or be given up, or evacuated.
func (s *State) wakeNode(i uint16, earlier func(int64)) {
	n := &s.nodes[i]
	if s.status == stint.Suspending {
		earlier(s.stopDeadline(i))
		return
	}
	a := s.draining[n.id]
	for _, id := range n.jobs {
		if by := s.jobs[id].stopBy; by > 0 {
			earlier(by + stopGrace)
		} else if a.By > 0 {
			earlier(a.By - evacuateAhead)
		}
	}
}
