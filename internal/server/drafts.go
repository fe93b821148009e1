package server

import (
	"context"
	"time"

	"stint"
	"stint/internal/link"
	"stint/internal/store"
)

// probe tries what the commit of an output will do. It leaves a folder in the
// output location, so the draft is recorded before: whatever becomes of this
// server, the folder is removed if the submission never is.
func (s *Server) probe(ctx context.Context, id stint.ExecutionID, req stint.Request) error {
	d := store.Draft{Execution: id, Output: req.Output}
	if err := s.DB.SaveDraft(ctx, s.epoch, d); err != nil {
		return err
	}
	e := stint.Errand{ID: string(id) + "/probe", Kind: stint.ErrandProbe, Execution: id, Output: req.Output, Overwrite: req.Overwrite}
	_, err := s.runErrand(ctx, e, "")
	switch {
	case err == nil:
		return nil
	case mayPass(err): // nobody knows what was left
		s.spawn(func(ctx context.Context) error { return s.clearDraft(ctx, d) })
	default: // a probe that is refused leaves nothing
		s.forgetDraft(ctx, d)
	}
	return err
}

func mayPass(err error) bool {
	code := stint.CodeOf(err)
	return code == stint.Unavailable || code == stint.Unknown || code == stint.Lost
}

func (s *Server) forgetDraft(ctx context.Context, d store.Draft) {
	if err := s.DB.RemoveDraft(ctx, s.epoch, d.Execution); err != nil {
		s.Logger.WarnContext(ctx, "draft not forgotten", "execution", string(d.Execution), "path", d.Output, "err", err)
	}
}

// discard clears what a probe left for a submission that did not happen, at once
// if that is possible.
func (s *Server) discard(ctx context.Context, entry store.Entry) {
	d := store.Draft{Execution: entry.ID, Output: entry.Request.Output}
	_ = s.clearOnce(context.WithoutCancel(ctx), d) // the next one says what is wrong
	s.spawn(func(ctx context.Context) error { return s.clearDraft(ctx, d) })
}

// clearDraft clears what a probe left, as soon as that is possible, and then again,
// later and later, until a node that was silent all the while would be lost: one that
// was stopped, or whose server has died, may come to look at the location only then,
// and nobody else would remove what it leaves. That it waits is logged once.
func (s *Server) clearDraft(ctx context.Context, d store.Draft) error {
	log := s.Logger.With("execution", string(d.Execution), "path", d.Output)
	tried, err := s.againAndAgain(ctx, func() error { return s.clearOnce(ctx, d) }, func(err error) {
		log.WarnContext(ctx, "staging folder of a submission that came to nothing is not removed: nodes are asked again until one has", "err", err)
	})
	if !tried {
		return nil // the next server does it
	}
	if err != nil {
		log.WarnContext(ctx, "staging folder left behind", "err", err)
	}
	s.forgetDraft(ctx, d)
	return nil
}

// againAndAgain removes something at once, and then later and later, until a node that
// was silent all the while would be lost: what that does, it has done by then. It
// returns how it went the last time; false: ctx ended before. The first failure is told.
func (s *Server) againAndAgain(ctx context.Context, remove func() error, failed func(error)) (tried bool, err error) {
	begun, failures := time.Now(), 0
	for {
		pause := max(time.Since(begun), link.Backoff(1, 1))
		err := remove()
		if time.Since(begun) >= s.fleet.lostAfter && !mayPass(err) {
			return true, err
		}
		if err != nil {
			failures++
			pause = link.Backoff(failures, 1)
		}
		if err != nil && failures == 1 && ctx.Err() == nil {
			failed(err)
		}
		if !waited(ctx, pause) {
			return false, err
		}
	}
}

// waited reports whether a while has passed before ctx ended.
func waited(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// clearOnce clears what can be found that a draft has left.
//
// What was taken over from an execution that is reused lies in the server's own
// storage, and goes away by itself: one that has lost its record has no nodes.
func (s *Server) clearOnce(ctx context.Context, d store.Draft) error {
	if err := s.Storage.DeleteAll(ctx, savedPrefix(d.Execution)); err != nil {
		return err
	}
	e := stint.Errand{ID: string(d.Execution) + "/clear", Kind: stint.ErrandClear, Execution: d.Execution, Output: d.Output}
	_, err := s.runErrand(ctx, e, "")
	return err
}
