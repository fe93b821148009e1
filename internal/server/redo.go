package server

import (
	"context"
	"fmt"

	"stint"
	"stint/internal/coord"
	"stint/internal/plan"
)

// whyMissing is why operations are performed again whose saved output is not whole.
const whyMissing = "their saved output is missing or altered"

// relisted is an input that was listed anew, and the plan over it.
type relisted struct {
	digest  stint.Digest
	plan    *plan.Plan
	content func(before, now stint.Object) bool // see [coord.Adopt]
}

// relist lists an input anew that is not what it was, and finds out which of its
// objects were only touched. One that cannot be listed any more has changed, as
// it was found.
func (s *Server) relist(ctx context.Context, r *resumption, found *verdict) error {
	entry := r.was.entry
	listed, err := s.runErrand(ctx, listing(string(newID())+"/list", r.was.id, entry.Request), "")
	if code := stint.CodeOf(err); err != nil && (code == stint.NotFound || code == stint.Invalid || code == stint.Denied) {
		found.beyond = append(found.beyond, fmt.Sprintf("its input cannot be listed: %v", err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the changed input of execution %s: %w", r.was.id, err)
	}
	now, err := readListing(ctx, s.Storage, listed.Digest)
	if err != nil {
		return err
	}
	p, err := plan.Make(r.was.id, entry.Request, now, entry.Choice)
	if err != nil {
		return err
	}
	old, err := r.state(ctx)
	if err != nil {
		return err
	}
	content, err := s.content(ctx, old, p)
	if err != nil {
		return err
	}
	r.anew = &relisted{digest: listed.Digest, plan: p, content: content}
	found.compare(old.Listing(), now, content)
	return nil
}

// state loads what is to be resumed, once.
func (r *resumption) state(ctx context.Context) (*coord.State, error) {
	if r.loaded != nil {
		return r.loaded, nil
	}
	var err error
	r.loaded, err = r.load(ctx)
	return r.loaded, err
}

// redo prepares an execution to go on although something of what it stands on is
// lost, changed or touched: what depends on what is lost or changed is performed
// again. It changes nothing yet.
func (s *Server) redo(ctx context.Context, r *resumption, found verdict, ask *coord.ResumeAsk, out *stint.Resumption) error {
	if len(found.beyond) > 0 {
		return found.refusal(r.was.id)
	}
	old, err := r.state(ctx)
	if err != nil {
		return err
	}
	lost := found.lost
	now := s.millisOf(old)
	before := old.Document(now).Stages
	old.Apply(coord.Record{At: now, Bad: &lost})
	after := old.Document(now)
	out.Reused, out.Redone = after.Operations.Completed, missing(before, after.Stages)
	if r.anew == nil {
		ask.Bad, ask.LostCheckpoints, ask.LostParts = lost.Copies, lost.Checkpoints, lost.Parts
		return nil
	}
	entry := r.was.entry
	entry.Listing = r.anew.digest
	state, adoption := coord.Adopt(old, r.anew.plan, entry.Request, s.epoch, now, coord.Kept{}, r.anew.content)
	r.next = &rebased{entry: entry, state: state}
	out.Redone, out.Reused = append(out.Redone, adoption.Redone...), 0
	for _, n := range adoption.Reused {
		out.Reused += n
	}
	return nil
}

// missing counts what is not completed any more.
func missing(before, after []stint.StageReport) []stint.Redone {
	out := []stint.Redone{}
	for k := range before {
		if n := before[k].Operations.Completed - after[k].Operations.Completed; n > 0 {
			out = append(out, stint.Redone{Stage: before[k].Name, Operations: n, Reason: whyMissing})
		}
	}
	return out
}
