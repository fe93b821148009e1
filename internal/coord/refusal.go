package coord

import (
	"slices"

	"stint"
)

// Refusal says why an event cannot be done now, naming the status and what is
// allowed; nil if it can. A Step of an event that is refused does nothing.
func (s *State) Refusal(ev Event) error {
	switch {
	case ev.Suspend != nil:
		return s.refuseSuspend(ev.Suspend)
	case ev.Resume != nil:
		return s.refuseResume(ev.Resume)
	case ev.Move != nil:
		return s.refuseMove(ev.At, ev.Move)
	case ev.Retry && s.status != stint.CompletedErrors:
		return s.conflict("only one that completed with errors can be retried")
	case ev.Retry && !slices.ContainsFunc(s.stages, func(st stage) bool { return len(st.failed) > 0 }):
		return s.conflict("no operation failed, it left out too many records; it can be submitted again when the program takes them")
	case ev.Ended != nil && s.status != stint.Suspended && s.status != stint.Suspending:
		return s.conflict("only one that is suspended can have ended elsewhere")
	case ev.Schedule != nil && s.status != stint.Suspended && s.status != stint.Suspending:
		return s.conflict("only one that is suspended can resume at a time")
	}
	return nil
}

func (s *State) conflict(allowed string) error {
	return stint.Errorf(stint.Conflict, "execution %s is %s: %s", s.ID(), s.status, allowed)
}

func (s *State) refuseSuspend(a *SuspendAsk) error {
	if len(a.Jobs) > 0 {
		return s.refuseJobs(a.Jobs, "only jobs of one in progress can be suspended")
	}
	if s.status == stint.Suspended && s.next.At > 0 {
		return nil // it is not to resume by itself after all
	}
	if s.status != stint.InProgress && s.status != stint.Suspending {
		return s.conflict("only one in progress can be suspended")
	}
	if s.status == stint.InProgress && s.allDone() {
		return stint.Errorf(stint.Conflict, "execution %s has completed all its operations and commits its output: there is nothing left to suspend", s.ID())
	}
	return nil
}

func (s *State) refuseJobs(jobs []stint.JobID, allowed string) error {
	if s.status != stint.InProgress {
		return s.conflict(allowed)
	}
	for _, id := range jobs {
		switch {
		case s.jobs[id] != nil, s.heldJob(id) != nil:
		case s.lastJob == 0:
			return stint.Errorf(stint.NotFound, "execution %s has no job %s: it has none yet", s.ID(), id)
		case id == 0 || id > s.lastJob:
			return stint.Errorf(stint.NotFound, "execution %s has no job %s: the latest is %s", s.ID(), id, s.lastJob)
		default:
			return stint.Errorf(stint.Conflict, "job %s of execution %s has ended: only a job in progress can be suspended or moved", id, s.ID())
		}
	}
	return nil
}

func (s *State) refuseResume(a *ResumeAsk) error {
	switch {
	case len(a.Jobs) > 0:
		if s.status != stint.InProgress {
			return s.conflict("only jobs of one in progress can be resumed by themselves")
		}
		for _, id := range a.Jobs {
			if s.heldJob(id) == nil {
				return stint.Errorf(stint.Conflict, "job %s of execution %s is not suspended", id, s.ID())
			}
		}
		return nil
	case s.status == stint.Suspending:
		return nil
	case s.status != stint.Suspended:
		return s.conflict("only one that is suspended can be resumed")
	case a.Generation <= s.generation:
		return stint.Errorf(stint.Conflict, "owned_elsewhere: execution %s is suspended in generation %d: it is resumed by who claims a higher one", s.ID(), s.generation)
	}
	return nil
}

func (s *State) refuseMove(now int64, a *MoveAsk) error {
	if err := s.refuseJobs(a.Jobs, "only jobs of one in progress can be moved"); err != nil {
		return err
	}
	for _, id := range a.Jobs {
		j := s.jobs[id]
		if j == nil || s.heldJob(id) != nil {
			return stint.Errorf(stint.Conflict, "job %s of execution %s is suspended: only a job in progress can be moved", id, s.ID())
		}
		if !s.another(now, j.node) {
			return stint.Errorf(stint.Conflict, "job %s of execution %s cannot move from node %s: no other node is ready", id, s.ID(), s.nodes[j.node].id)
		}
	}
	return nil
}
