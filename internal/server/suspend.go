package server

import (
	"context"

	"stint"
	"stint/internal/coord"
)

// Suspend stops an execution, or some of its jobs. It returns when that is
// committed; the saving of its output goes on.
func (s *Server) Suspend(ctx context.Context, id stint.ExecutionID, req stint.SuspendRequest) (stint.Execution, error) {
	grace, err := stint.ParseGrace(req.Grace)
	if err != nil {
		return stint.Execution{}, err
	}
	jobs, err := parseJobs(req.Jobs)
	if err != nil {
		return stint.Execution{}, err
	}
	if d := s.fleet.drive(id); d != nil {
		if err := s.refuseEnded(ctx, d); err != nil {
			return stint.Execution{}, err
		}
	}
	return s.wish(ctx, id, coord.Event{Suspend: &coord.SuspendAsk{Grace: grace.Milliseconds(), Jobs: jobs, By: "user"}})
}

// Move has a job stop on its node and go on on others.
func (s *Server) Move(ctx context.Context, id stint.ExecutionID, req stint.MoveRequest) (stint.Execution, error) {
	grace, err := stint.ParseGrace(req.Grace)
	if err != nil {
		return stint.Execution{}, err
	}
	jobs, err := parseJobs([]string{req.Job})
	if err != nil {
		return stint.Execution{}, err
	}
	return s.wish(ctx, id, coord.Event{Move: &coord.MoveAsk{Jobs: jobs, Grace: grace.Milliseconds()}})
}

// Durability says what would be lost with each node.
func (s *Server) Durability(ctx context.Context, id stint.ExecutionID) (stint.Durability, error) {
	if d := s.fleet.drive(id); d != nil {
		view, err := question(ctx, d, input{}, func(st *coord.State) stint.Durability { return st.Durability(d.millis()) })
		if !d.settledMeanwhile(err) {
			return view, err
		}
	}
	state, err := s.settled(ctx, id)
	if err != nil {
		return stint.Durability{}, err
	}
	return state.Durability(s.millisOf(state)), nil
}

// Retry has the operations without which an execution completed, and those that
// did without them, be performed after all.
func (s *Server) Retry(ctx context.Context, id stint.ExecutionID) (stint.Execution, error) {
	release, err := s.fleet.seize(id)
	if err != nil {
		return stint.Execution{}, err
	}
	defer release()
	doc, err := s.Show(ctx, id)
	switch {
	case err != nil:
		return doc, err
	case doc.Status != stint.CompletedErrors:
		return doc, stint.Errorf(stint.Conflict, "execution %s is %s: only one that is %s can be retried", id, doc.Status, stint.CompletedErrors)
	}
	if d := s.fleet.drive(id); d != nil { // it has just completed
		select {
		case <-d.gone:
		case <-ctx.Done():
			return doc, ctx.Err()
		}
	}
	ev := coord.Event{Retry: true}
	loaded, err := s.DB.Load(ctx, id)
	if err != nil {
		return stint.Execution{}, err
	}
	loaded.Epoch = s.epoch
	state, err := s.restore(ctx, loaded)
	if err != nil {
		return stint.Execution{}, err
	}
	if err := state.Refusal(ev); err != nil {
		return stint.Execution{}, err
	}
	if holder := s.fleet.reserve(loaded.Request.Output, id); holder != id {
		return stint.Execution{}, s.fleet.outputTaken(loaded.Request.Output, holder)
	}
	d := newDrive(s, id)
	d.adopt(loaded.Entry, state, loaded.Snapshot != nil)
	d.revive = &ev
	if err := s.start(context.WithoutCancel(ctx), d); err != nil {
		return stint.Execution{}, err
	}
	doc, err = d.ask(ctx, nil)
	if d.settledMeanwhile(err) {
		return s.Show(ctx, id)
	}
	return doc, committed(err)
}

// wish has an execution take in what somebody wishes, or says why it cannot.
func (s *Server) wish(ctx context.Context, id stint.ExecutionID, ev coord.Event) (stint.Execution, error) {
	if d := s.fleet.drive(id); d != nil {
		doc, err := d.wish(ctx, &ev)
		if !d.settledMeanwhile(err) {
			return doc, err
		}
	}
	state, err := s.settled(ctx, id)
	if err != nil {
		return stint.Execution{}, err
	}
	if err := state.Refusal(ev); err != nil {
		return stint.Execution{}, err
	}
	return stint.Execution{}, stint.Errorf(stint.Conflict, "execution %s is %s", id, state.Status())
}

// settledMeanwhile reports whether a drive did not answer because its execution
// is settled and its record is all there is.
func (d *drive) settledMeanwhile(err error) bool {
	if stint.CodeOf(err) != stint.NotFound {
		return false
	}
	select {
	case <-d.gone:
		return d.over
	default:
		return false
	}
}

func parseJobs(names []string) ([]stint.JobID, error) {
	var out []stint.JobID
	for _, name := range names {
		id, err := stint.ParseJobID(name)
		if err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, nil
}
