package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/failpoint"
)

// endedName names what stays of the saved state of an execution that has ended.
const endedName = "ended"

func endedKey(id stint.ExecutionID) string { return savedPrefix(id) + endedName }

// ended returns how an execution has ended of which nothing else is left; nil:
// nothing says so.
func (h home) ended(ctx context.Context, id stint.ExecutionID) (*stint.Ended, error) {
	key := endedKey(id)
	f, err := h.storage.Get(ctx, key)
	if stint.CodeOf(err) == stint.NotFound {
		return nil, nil //nolint:nilnil // it has not ended, as far as is known
	}
	if err != nil {
		return nil, err
	}
	b, err := readAll(f, maxOwner)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	var e stint.Ended
	if err := json.Unmarshal(b, &e); err != nil || !e.Status.Final() {
		return nil, stint.Errorf(stint.Invalid, "saved state %s is altered: it does not say how the execution has ended", key)
	}
	return &e, nil
}

// endHere brings an execution that is suspended here to the end that it has had
// elsewhere, and refuses what was asked for.
func (*Server) endHere(ctx context.Context, d *drive, e stint.Ended) error {
	refusal := e.Refusal(d.id)
	_, err := d.wish(ctx, &coord.Event{Ended: &e})
	if err != nil && !d.settledMeanwhile(err) && stint.CodeOf(err) != stint.Conflict {
		return errors.Join(refusal, err)
	}
	return refusal
}

// refuseEnded refuses what is asked of an execution that is suspended as far as
// this service knows, and has ended elsewhere. A storage that cannot be looked at
// says nothing.
func (s *Server) refuseEnded(ctx context.Context, d *drive) error {
	if d.public.current() != stint.Suspended {
		return nil
	}
	was, err := d.standing(ctx)
	if err != nil {
		return nil //nolint:nilerr // who asks finds out
	}
	h, err := s.openHome(ctx, was.home)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	if e, err := h.ended(ctx, d.id); err == nil && e != nil {
		return s.endHere(ctx, d, *e)
	}
	return nil
}

// refusedByEnd returns the end of an execution for which its record was refused;
// nil: it was not.
func (s *Server) refusedByEnd(ctx context.Context, e stint.Errand, r stint.ErrandResult) *stint.Ended {
	h, err := s.openHome(ctx, e.Storage)
	if r.Error == nil || r.Error.Code != stint.Conflict || err != nil {
		return nil
	}
	over, err := h.ended(ctx, e.Execution)
	if err != nil {
		return nil
	}
	return over
}

const (
	sweepFirst = 10 * time.Second // once what is urgent is done
	sweepRound = time.Hour
)

// watchEnded removes from the service's own storage, from time to time, what was
// kept of executions that have ended, and what came later.
func (s *Server) watchEnded(ctx context.Context) error {
	timer := time.NewTimer(sweepFirst)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.sweepEnded(ctx, time.Now()); err != nil {
			s.Logger.WarnContext(ctx, "ended executions not removed from storage", "err", err)
		}
		timer.Reset(sweepRound)
	}
}

// sweepEnded removes what was kept of executions that have ended, if its time is over,
// and what came when all that was saved of them had been removed.
func (s *Server) sweepEnded(ctx context.Context, now time.Time) error {
	h := home{storage: s.Storage}
	names, err := s.Storage.Folders(ctx, savedRoot)
	if err != nil {
		return err
	}
	var failed error
	for _, name := range names {
		id, err := stint.ParseExecutionID(name)
		if err != nil {
			continue // not ours
		}
		e, err := h.ended(ctx, id)
		switch {
		case err != nil:
		case e == nil:
			err = s.removeLate(ctx, h, id)
		case now.After(e.Until):
			failpoint.Reach("sweep.before-removing")
			err = s.Storage.DeleteAll(ctx, savedPrefix(id))
			failpoint.Reach("sweep.after-removing")
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// clearLate removes what comes to storage of an execution that has come to its end
// here, after all that was saved of it was removed: a node that was putting something
// there then, and that was stopped or out of reach, does not hear in time that nobody
// wants it any more. In the service's own storage sweepEnded finds what comes even
// later, or when this server has died.
func (s *Server) clearLate(ctx context.Context, id stint.ExecutionID, storage string) error {
	log := s.Logger.With("execution", string(id))
	_, err := s.againAndAgain(ctx, func() error {
		h, err := s.openHome(ctx, storage)
		if err != nil {
			return err
		}
		return s.removeLate(ctx, h, id)
	}, func(err error) {
		log.WarnContext(ctx, "it is not known whether something was saved after the end: it is looked at again", "err", err)
	})
	if err != nil && ctx.Err() == nil {
		log.WarnContext(ctx, "what was saved after the end is left behind", "err", err)
	}
	return nil
}

// removeLate removes what a storage has of an execution that is over here and will not
// be retried. What another service owns, or what says how it has ended, stays. So does
// what there is to go on from, of an execution that failed here: this service may have
// lost it to another, whose claim came to nothing. Any other end is of the owner.
func (s *Server) removeLate(ctx context.Context, h home, id stint.ExecutionID) error {
	o, err := s.DB.Outline(ctx, id)
	switch {
	case stint.CodeOf(err) == stint.NotFound:
		return nil // of another service, or about to be submitted
	case err != nil:
		return err
	case !o.Settled || o.Status == stint.CompletedErrors:
		return nil
	}
	owned, err := h.ownership(ctx, id)
	if err != nil {
		return err
	}
	if o.Status == stint.ExecutionFailed && owned.ended == nil && owned.record > 0 {
		return nil
	}
	if ours, err := s.made(ctx, id, owned.owner); err != nil || owned.owner.Generation > 0 && !ours {
		return err
	}
	if owned.ended != nil {
		return h.storage.DeleteAllBut(ctx, savedPrefix(id), endedName)
	}
	return h.storage.DeleteAll(ctx, savedPrefix(id))
}

// refuseResume refuses to resume what has ended elsewhere, and ends it here, too,
// unless nothing is to be changed.
func (s *Server) refuseResume(ctx context.Context, d *drive, req stint.ResumeRequest, e stint.Ended) error {
	if req.DryRun {
		return e.Refusal(d.id)
	}
	return s.endHere(ctx, d, e)
}

// endForGood is endHere for one that is to be terminated: nobody is to be told
// here any more how it has ended.
func (s *Server) endForGood(ctx context.Context, d *drive, h home, e stint.Ended) error {
	err := s.endHere(ctx, d, e)
	if doc, read := s.Show(ctx, d.id); read == nil && doc.Status == e.Status {
		err = errors.Join(err, h.storage.DeleteAll(ctx, savedPrefix(d.id)))
	}
	return err
}
