package server

import (
	"context"
	"fmt"
	"strings"

	"stint"
	"stint/internal/coord"
	"stint/internal/failpoint"
	"stint/internal/store"
)

// resumeFrom resumes an execution from the record that its owner left in a storage.
func (s *Server) resumeFrom(ctx context.Context, id stint.ExecutionID, req stint.ResumeRequest) (stint.Resumption, error) {
	h, err := s.openHome(ctx, req.From)
	if err != nil {
		return stint.Resumption{}, err
	}
	o, err := h.ownership(ctx, id)
	if err != nil {
		return stint.Resumption{}, err
	}
	ours, err := s.made(ctx, id, o.owner)
	if err != nil {
		return stint.Resumption{}, err
	}
	live, here, err := s.standingHere(ctx, id)
	switch {
	case err != nil:
		return stint.Resumption{}, err
	case o.ended != nil && live != nil && s.isHome(ctx, here, h):
		return stint.Resumption{Execution: here.doc}, s.refuseResume(ctx, live, req, *o.ended)
	case o.ended != nil:
		return stint.Resumption{}, o.ended.Refusal(id)
	case live != nil && s.isHome(ctx, here, h) && o.record <= here.generation:
		req.From = ""
		return s.resumeHere(ctx, id, req)
	case live != nil && here.refusal != nil:
		return stint.Resumption{Execution: here.doc}, here.refusal
	case o.record == 0:
		return stint.Resumption{}, stint.Errorf(stint.NotFound, "storage %s: %w", s.name(h), noRecord(id))
	case live != nil && o.record <= here.generation:
		return stint.Resumption{Execution: here.doc}, stint.Errorf(stint.Conflict, "execution %s is suspended here in generation %d, the record in storage %s is of generation %d: resume it without --from", id, here.generation, s.name(h), o.record)
	case !o.suspended() && !ours && !req.TakeOver:
		return stint.Resumption{}, s.ownedElsewhere(h, id, o.owner)
	}
	brought, err := s.readElsewhere(ctx, h, id, o.record)
	if err != nil {
		return stint.Resumption{}, fmt.Errorf("storage %s: %w", s.name(h), err)
	}
	load := func(context.Context) (*coord.State, error) { return brought.state, nil }
	was := s.standingOf(brought.entry, brought.state, s.millisOf(brought.state))
	return s.resume(ctx, resumption{home: h, was: was, owner: o.owner, live: live, version: here.version, load: load, next: &brought}, req)
}

// standingHere returns how an execution stands in this service; no drive: it is
// not known here. One that is over here is refused.
func (s *Server) standingHere(ctx context.Context, id stint.ExecutionID) (*drive, standing, error) {
	if d := s.fleet.drive(id); d != nil {
		was, err := d.standing(ctx)
		if !d.settledMeanwhile(err) {
			return d, was, err
		}
	}
	state, err := s.settled(ctx, id)
	if stint.CodeOf(err) == stint.NotFound {
		return nil, standing{}, nil
	}
	if err != nil {
		return nil, standing{}, err
	}
	return nil, standing{}, state.Refusal(coord.Event{Resume: &coord.ResumeAsk{}})
}

// isHome reports whether a storage is the one that the saved state of an
// execution of this service lies in.
func (s *Server) isHome(ctx context.Context, was standing, h home) bool {
	theirs, err := s.openHome(ctx, was.home)
	return err == nil && theirs.url == h.url
}

// readElsewhere makes the state that a record holds, as this service would have
// it: suspended, and its nodes gone.
func (s *Server) readElsewhere(ctx context.Context, h home, id stint.ExecutionID, generation uint64) (rebased, error) {
	r, err := h.readRecord(ctx, id, generation)
	if err != nil {
		return rebased{}, err
	}
	r.move(s.name(h), h.url)
	if err := s.Validate(r.body.Request.Program, r.body.Request.Params); err != nil {
		return rebased{}, fmt.Errorf("execution %s cannot go on here: %w", id, err)
	}
	entry := store.Entry{
		ID: id, Created: r.body.Created, Epoch: s.epoch, Request: r.body.Request, Choice: r.body.Choice, Listing: r.body.Listing,
	}
	entry.Request.Key = "" // it is a key of the other service
	if entry.Digest, err = requestDigest(entry.Request); err != nil {
		return rebased{}, err
	}
	snap := r.body.Snapshot
	state, err := s.restoreFrom(ctx, h.storage, store.Loaded{Entry: entry, Version: snap.Version, Snapshot: &snap})
	if err != nil {
		return rebased{}, err
	}
	state.SetHome(h.url)
	if err := completeSuspend(state, s.millisOf(state)); err != nil {
		return rebased{}, err
	}
	return rebased{entry: entry, state: state}, nil
}

// move has a record name what lies in its storage as this service does: storage
// is what people call it, url is empty for the service's own. The output may lie
// there, checkpoints always do.
func (r *savedRecord) move(storage, url string) {
	core := &r.body.Snapshot.Core
	for i := range core.Checkpoints {
		core.Checkpoints[i].Checkpoint.Storage = url
	}
	if below, ok := strings.CutPrefix(r.body.Request.Output, r.summary.Storage+"/"); ok {
		r.body.Request.Output = storage + "/" + below
		core.Output.Location = r.body.Request.Output
	}
}

// completeSuspend takes a state from the moment when its record was written, which
// is in the record, to the one after, which is not.
func completeSuspend(state *coord.State, now int64) error {
	for _, e := range state.Resume(now).Errands {
		if e.Errand.Kind == stint.ErrandRecord {
			state.Step(coord.Event{At: now, Result: &stint.ErrandResult{ID: e.Errand.ID}})
		}
	}
	if state.Status() != stint.Suspended {
		return stint.Errorf(stint.Invalid, "the record of execution %s makes no sense: it is %s", state.ID(), state.Status())
	}
	return nil
}

func (f *fleet) knows(id stint.NodeID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[id] != nil
}

// enter makes an execution live that came from elsewhere and is not known here.
func (s *Server) enter(ctx context.Context, h home, next rebased) (stint.Execution, error) {
	if err := s.carry(ctx, h, home{storage: s.Storage}, next.entry); err != nil {
		return stint.Execution{}, err
	}
	id := next.entry.ID
	if holder := s.fleet.reserve(next.entry.Request.Output, id); holder != id {
		return stint.Execution{}, s.fleet.outputTaken(next.entry.Request.Output, holder)
	}
	begun := begunAt(next.state, s.millisOf(next.state))
	failpoint.Reach("elsewhere.after-carry-before-commit")
	if _, err := s.DB.Create(ctx, next.entry, &begun); err != nil {
		s.fleet.free(id)
		return stint.Execution{}, err
	}
	d := newDrive(s, id)
	d.adopt(next.entry, next.state, true)
	failpoint.Reach("elsewhere.after-commit-before-start")
	if err := s.start(ctx, d); err != nil {
		return stint.Execution{}, committed(err)
	}
	doc, err := s.Show(ctx, id)
	return doc, committed(err)
}

// prepareTerminate refuses the end of a suspended execution that goes on
// elsewhere, and takes back what a resume claimed that came to nothing. It keeps
// resumes away until release is called.
func (s *Server) prepareTerminate(ctx context.Context, d *drive) (release func(), err error) {
	if d.public.current() != stint.Suspended {
		return func() {}, nil
	}
	if release, err = s.fleet.seize(d.id); err != nil {
		return nil, err
	}
	if err = s.checkOwned(ctx, d); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func (s *Server) checkOwned(ctx context.Context, d *drive) error {
	was, err := d.standing(ctx)
	if err != nil {
		return err
	}
	h, err := s.openHome(ctx, was.home)
	if err != nil {
		return nil //nolint:nilerr // where nothing is, nobody else has anything; what cannot be opened now is waited for
	}
	for {
		o, err := h.ownership(ctx, d.id)
		ours, known := s.made(ctx, d.id, o.owner)
		switch {
		case known != nil:
			return known
		case err != nil:
			s.Logger.WarnContext(ctx, "storage cannot be looked at before an end", "execution", string(d.id), "err", err)
			return nil // it waits until it can be cleared, which looks at this again
		case o.ended != nil:
			return s.endForGood(ctx, d, h, *o.ended)
		case o.owner.Generation <= was.claimed:
			return nil
		case !ours:
			return s.ownedElsewhere(h, d.id, o.owner)
		}
		if err := s.withdraw(ctx, h, d.id, o.owner.Generation); err != nil {
			return err
		}
	}
}
