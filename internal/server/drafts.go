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
	if !s.clearOnce(context.WithoutCancel(ctx), d) {
		s.spawn(func(ctx context.Context) error { return s.clearDraft(ctx, d) })
	}
}

// clearDraft clears what a probe left, as soon as that is possible.
func (s *Server) clearDraft(ctx context.Context, d store.Draft) error {
	for failures := 1; !s.clearOnce(ctx, d); failures++ {
		timer := time.NewTimer(link.Backoff(failures, 1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil // the next server does it
		}
	}
	return nil
}

// clearOnce reports whether nothing is left to be done about a draft.
func (s *Server) clearOnce(ctx context.Context, d store.Draft) bool {
	e := stint.Errand{ID: string(d.Execution) + "/clear", Kind: stint.ErrandClear, Execution: d.Execution, Output: d.Output}
	_, err := s.runErrand(ctx, e, "")
	if err != nil && mayPass(err) {
		return false
	}
	if err != nil {
		s.Logger.WarnContext(ctx, "staging folder left behind", "execution", string(d.Execution), "path", d.Output, "err", err)
	}
	s.forgetDraft(ctx, d)
	return true
}
