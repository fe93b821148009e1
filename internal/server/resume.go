package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/failpoint"
	"stint/internal/store"
)

// Resume has a suspended execution go on: one of this service, or one that
// another service left in a storage. What it resumes from is verified first; on
// any fault nothing has changed, and the Resumption that comes with the error
// lists all of them. It returns when the execution is in progress.
func (s *Server) Resume(ctx context.Context, id stint.ExecutionID, req stint.ResumeRequest) (stint.Resumption, error) {
	jobs, err := parseJobs(req.Jobs)
	switch {
	case err != nil:
		return stint.Resumption{}, err
	case req.Nodes < 0 || req.Slots < 0:
		return stint.Resumption{}, stint.Errorf(stint.Invalid, "nodes %d, slots %d: expected 0 or more", req.Nodes, req.Slots)
	case !req.At.IsZero() && req.At.Before(time.Now().AddDate(0, 0, -1)):
		return stint.Resumption{}, stint.Errorf(stint.Invalid, "at %s: expected a time to come", req.At.Format(time.RFC3339))
	case len(jobs) > 0 && (req.From != "" || !req.At.IsZero() || req.Redo || req.TakeOver || req.DryRun):
		return stint.Resumption{}, stint.Errorf(stint.Invalid, "jobs are resumed where they are and at once: no from, at, redo, take_over or dry_run")
	case len(jobs) > 0:
		doc, err := s.wish(ctx, id, coord.Event{Resume: &coord.ResumeAsk{Jobs: jobs}})
		return stint.Resumption{Execution: doc}, err
	}
	release, err := s.fleet.seize(id)
	if err != nil {
		return stint.Resumption{}, err
	}
	defer release()
	if req.From != "" {
		return s.resumeFrom(ctx, id, req)
	}
	return s.resumeHere(ctx, id, req)
}

// seize keeps others from resuming the same execution until release is called.
func (f *fleet) seize(id stint.ExecutionID) (release func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seized[id] {
		return nil, stint.Errorf(stint.Conflict, "execution %s is being resumed by another request", id)
	}
	f.seized[id] = true
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.seized, id)
	}, nil
}

// standing is what a resume must know of an execution.
type standing struct {
	id          stint.ExecutionID
	entry       store.Entry
	doc         stint.Execution
	version     uint64
	generation  uint64 // of its record
	claimed     uint64 // that it is owned in
	home        string
	packs       []stint.Pack
	checkpoints []stint.Checkpoint
	parts       []stint.Part
	refusal     error // why it cannot be resumed
}

func (s *Server) standingOf(entry store.Entry, st *coord.State, now int64) standing {
	return standing{
		id: st.ID(), entry: entry, doc: s.documentOf(st, now), version: st.Version(), generation: st.Generation(), claimed: st.Claimed(), home: st.Home(),
		packs: slices.Clone(st.Packs()), checkpoints: slices.Clone(st.Checkpoints()), parts: slices.Clone(st.StagedParts()),
		refusal: st.Refusal(coord.Event{At: now, Resume: &coord.ResumeAsk{Generation: st.Generation() + 1}}),
	}
}

func (d *drive) standing(ctx context.Context) (standing, error) {
	return question(ctx, d, input{}, func(st *coord.State) standing { return d.server.standingOf(d.entry, st, d.millis()) })
}

// resumeHere resumes an execution of this service.
func (s *Server) resumeHere(ctx context.Context, id stint.ExecutionID, req stint.ResumeRequest) (stint.Resumption, error) {
	d := s.fleet.drive(id)
	if d == nil {
		doc, err := s.wish(ctx, id, coord.Event{Resume: &coord.ResumeAsk{}})
		return stint.Resumption{Execution: doc}, err
	}
	was, err := d.standing(ctx)
	switch {
	case err != nil:
		return stint.Resumption{}, err
	case was.refusal != nil:
		return stint.Resumption{Execution: was.doc}, was.refusal
	case !req.At.IsZero():
		doc, err := d.wish(ctx, &coord.Event{Schedule: scheduleOf(req)})
		return stint.Resumption{Execution: doc}, err
	case was.doc.Status == stint.Suspending:
		return s.resumeSuspending(ctx, d, was, req)
	}
	h, err := s.openHome(ctx, was.home)
	if err != nil {
		return stint.Resumption{}, err
	}
	o, err := h.ownership(ctx, id)
	if err != nil {
		return stint.Resumption{}, err
	}
	if o.ended != nil {
		return stint.Resumption{Execution: was.doc}, s.refuseResume(ctx, d, req, *o.ended)
	}
	ours, err := s.made(ctx, id, o.owner)
	if err != nil {
		return stint.Resumption{}, err
	}
	switch elsewhere := o.owner.Generation > was.generation && !ours; {
	case elsewhere && o.record > was.generation && (o.suspended() || req.TakeOver):
		req.From = s.name(h)
		return s.resumeFrom(ctx, id, req)
	case elsewhere && !req.TakeOver:
		return stint.Resumption{Execution: was.doc}, s.ownedElsewhere(h, id, o.owner)
	}
	return s.resume(ctx, resumption{home: h, was: was, owner: o.owner, live: d, version: was.version, load: func(ctx context.Context) (*coord.State, error) {
		return s.settled(ctx, id)
	}}, req)
}

// resumeSuspending takes back a suspend that is not complete: the nodes still
// have all there is. Its record may have been written, or be on its way: from what
// lies under a claim that is higher nobody resumes unasked.
func (s *Server) resumeSuspending(ctx context.Context, d *drive, was standing, req stint.ResumeRequest) (stint.Resumption, error) {
	out := stint.Resumption{Execution: was.doc, Reused: was.doc.Operations.Completed}
	if req.DryRun {
		return out, nil
	}
	h, err := s.openHome(ctx, was.home)
	if err != nil {
		return out, err
	}
	generation, err := s.claimSuspending(ctx, h, was)
	if err != nil {
		return out, err
	}
	ctx = context.WithoutCancel(ctx)
	failpoint.Reach("suspend.after-claim-before-going-on")
	out.Execution, err = d.wish(ctx, &coord.Event{Resume: &coord.ResumeAsk{Generation: generation, Nodes: req.Nodes, Slots: req.Slots}})
	if err != nil && generation > 0 && stint.CodeOf(err) != stint.Unknown {
		err = errors.Join(err, s.withdraw(ctx, h, was.id, generation))
	}
	return out, err
}

// claimSuspending claims the generation in which an execution goes on whose
// suspend is taken back; 0: the one that it has. A storage that cannot be asked
// keeps nobody from taking back a suspend that waits for that very storage.
func (s *Server) claimSuspending(ctx context.Context, h home, was standing) (uint64, error) {
	o, err := h.ownership(ctx, was.id)
	ours, known := s.made(ctx, was.id, o.owner)
	switch {
	case known != nil:
		return 0, known
	case err != nil:
		s.Logger.WarnContext(ctx, "suspend taken back without a claim", "execution", string(was.id), "err", err)
		return 0, nil
	case o.owner.Generation > 0 && !ours:
		return 0, s.ownedElsewhere(h, was.id, o.owner)
	}
	generation := max(o.owner.Generation, was.generation) + 1
	err = s.claim(ctx, h, was.id, generation)
	if code := stint.CodeOf(err); err != nil && code != stint.Conflict && code != stint.Unknown && o.record < was.generation {
		s.Logger.WarnContext(ctx, "suspend taken back without a claim", "execution", string(was.id), "err", err)
		return 0, nil
	}
	return generation, err
}

// resumption is an execution that is being resumed.
type resumption struct {
	home    home
	was     standing
	owner   stint.Owner // of the current generation in storage
	live    *drive      // nil: it is not known here
	version uint64      // of the record here that is replaced, if it is live
	load    func(context.Context) (*coord.State, error)
	next    *rebased     // what takes the place of what is here; nil: nothing
	loaded  *coord.State // what load gave; nil: it was not asked
	anew    *relisted    // its input as it is now, if that has changed or was touched
}

// rebased is what takes the place of an execution's record when it goes on.
type rebased struct {
	entry store.Entry
	state *coord.State
}

// resume verifies what an execution stands on, claims it and has it go on.
func (s *Server) resume(ctx context.Context, r resumption, req stint.ResumeRequest) (stint.Resumption, error) {
	found, err := s.verify(ctx, r.home, r.was)
	if err == nil && found.changed > 0 {
		err = s.relist(ctx, &r, &found)
	}
	if err != nil {
		return stint.Resumption{Execution: r.was.doc}, err
	}
	out := stint.Resumption{
		Execution: r.was.doc, Reused: r.was.doc.Operations.Completed, Redone: []stint.Redone{},
		Changes: found.changes, Changed: found.changed, Touched: found.touched, Faults: found.faults[:min(len(found.faults), maxFaultsTold)],
	}
	if found.any() && !req.Redo && !req.DryRun {
		return out, found.refusal(r.was.id)
	}
	ask := coord.ResumeAsk{Nodes: req.Nodes, Slots: req.Slots}
	if found.any() || found.touched > 0 {
		err = s.redo(ctx, &r, found, &ask, &out)
	}
	if err == nil {
		err = s.probeOutput(ctx, r.was)
	}
	if err != nil || req.DryRun {
		return out, err
	}
	ask.Generation = max(r.owner.Generation, r.was.generation) + 1
	if err := s.claimRecord(ctx, r.home, r.was, ask.Generation); err != nil {
		return out, err
	}
	failpoint.Reach("resume.after-claim-before-commit")
	// From here on it is ours: that the caller has left does not matter.
	ctx = context.WithoutCancel(ctx)
	ev := coord.Event{Resume: &ask}
	if !req.At.IsZero() {
		ev = coord.Event{Schedule: scheduleOf(req)}
		ev.Schedule.Generation = ask.Generation
	}
	out.Execution, err = s.goOn(ctx, r, ev)
	failpoint.Reach("resume.before-answer")
	switch {
	case err != nil && stint.CodeOf(err) != stint.Unknown:
		err = errors.Join(err, s.withdraw(ctx, r.home, r.was.id, ask.Generation))
	case err == nil && ev.Resume != nil:
		s.Logger.InfoContext(ctx, "execution resumed", "execution", string(r.was.id), "count", out.Reused)
	}
	return out, err
}

// probeOutput refuses to go on to an end that cannot be had: an execution that is
// suspended does not keep others from filling the location of its output.
func (s *Server) probeOutput(ctx context.Context, was standing) error {
	req := was.entry.Request
	if req.Output == "" {
		return nil
	}
	probe := stint.Errand{
		ID: string(newID()) + "/probe", Kind: stint.ErrandProbe, Execution: was.id, Output: req.Output, Overwrite: req.Overwrite,
		Storage: was.home, Generation: max(was.claimed, 1),
	}
	if _, err := s.runErrand(ctx, probe, ""); err != nil {
		return fmt.Errorf("execution %s cannot leave its output: %w", was.id, err)
	}
	return nil
}

// claimRecord claims a generation of an execution whose record is there. Who brings
// an execution to its end deletes the claims with the record, and may have done so
// since the record was read.
func (s *Server) claimRecord(ctx context.Context, h home, was standing, generation uint64) error {
	if err := s.claim(ctx, h, was.id, generation); err != nil {
		return err
	}
	if err := s.hasRecord(ctx, h, was); err != nil {
		return errors.Join(err, s.withdraw(context.WithoutCancel(ctx), h, was.id, generation))
	}
	return nil
}

// hasRecord refuses to resume from a record that is gone.
func (s *Server) hasRecord(ctx context.Context, h home, was standing) error {
	key := recordKey(was.id, was.generation)
	_, err := h.storage.Stat(ctx, key)
	if stint.CodeOf(err) == stint.NotFound {
		if e, err := h.ended(ctx, was.id); err == nil && e != nil {
			return e.Refusal(was.id)
		}
		return stint.Errorf(stint.NotFound, "saved_state_gone: execution %s: there is no %s in storage %s: it has come to its end elsewhere, or its saved state was deleted; stint duplicate runs it anew",
			was.id, key, s.name(h))
	}
	return err
}

// scheduleOf returns when and how a request has an execution resume.
func scheduleOf(req stint.ResumeRequest) *coord.ScheduleAsk {
	return &coord.ScheduleAsk{At: req.At.UnixMilli(), Nodes: req.Nodes, Slots: req.Slots}
}

// goOn has a claimed execution take in that it is resumed. What takes the place
// of its record has done so before it is kept: in no moment is it the one without
// the other.
func (s *Server) goOn(ctx context.Context, r resumption, ev coord.Event) (stint.Execution, error) {
	if r.next == nil {
		return r.live.wish(ctx, &ev)
	}
	ev.At = s.millisOf(r.next.state)
	if err := r.next.state.Refusal(ev); err != nil {
		return stint.Execution{}, err
	}
	r.next.state.Step(ev)
	if r.live == nil {
		return s.enter(ctx, r.home, *r.next)
	}
	if err := s.carry(ctx, r.home, home{storage: s.Storage}, r.next.entry); err != nil {
		return stint.Execution{}, err
	}
	err := s.DB.Rebase(ctx, r.next.entry, r.version, begunAt(r.next.state, s.millisOf(r.next.state)))
	if err != nil && stint.CodeOf(err) != stint.Unknown {
		return stint.Execution{}, err
	}
	if posted := r.live.post(ctx, input{reload: true}); posted != nil || err != nil {
		return stint.Execution{}, committed(errors.Join(err, posted))
	}
	doc, err := s.Show(ctx, r.was.id)
	return doc, committed(err)
}

// committed marks an error of what follows the commit: what was asked for is done,
// or will be.
func committed(err error) error {
	if err == nil {
		return nil
	}
	return &stint.Error{Code: stint.Unknown, Err: err}
}

func begunAt(state *coord.State, now int64) store.Begun {
	doc := state.Document(now)
	return store.Begun{Status: state.Status(), Snapshot: state.SnapshotAll(), Document: &doc}
}

// verdict is what a verification found.
type verdict struct {
	changes []stint.Change // of content first
	changed int64          // in content, as far as is known
	touched int64          // in version alone
	faults  []string
	beyond  []string // faults that no operation can mend
	lost    coord.BadRecord
}

func (v verdict) any() bool { return v.changed > 0 || len(v.faults) > 0 }

// shownFaults is how many findings a message names.
const shownFaults = 5

// refusal says what was found, and what can be done about it.
func (v verdict) refusal(id stint.ExecutionID) error {
	if n := len(v.beyond); n > 0 {
		return stint.Errorf(stint.NotFound, "saved_state_damaged: execution %s: %s%s; nothing was changed; no operation can make that again: bring it back",
			id, strings.Join(v.beyond[:min(n, shownFaults)], "; "), andMore(int64(n)))
	}
	if n := len(v.faults); n > 0 {
		return stint.Errorf(stint.NotFound, "saved_state_damaged: execution %s: %s%s; nothing was changed; with --redo the operations whose output is lost are performed again",
			id, strings.Join(v.faults[:min(n, shownFaults)], "; "), andMore(int64(n)))
	}
	shown := make([]string, 0, shownFaults)
	for _, c := range v.changes[:min(int64(len(v.changes)), v.changed, shownFaults)] {
		shown = append(shown, string(c.Kind)+" "+c.URL)
	}
	return stint.Errorf(stint.Conflict, "input_changed: execution %s: %s%s; nothing was changed; with --redo the operations that depend on it are performed again",
		id, strings.Join(shown, "; "), andMore(v.changed))
}

func andMore(n int64) string {
	if n <= shownFaults {
		return ""
	}
	return fmt.Sprintf("; and %d more", n-shownFaults)
}

// Bounds of one verification errand, so that it fits a message and all faults are
// in its result.
const (
	mostVerified  = 900    // objects
	mostRanges    = 50_000 // of operations in its packs
	maxFaultsTold = 1000
)

// verify has nodes look whether all that an execution resumes from is there, and
// its input unchanged.
func (s *Server) verify(ctx context.Context, h home, was standing) (verdict, error) {
	var v verdict
	if err := s.hasRecord(ctx, h, was); err != nil {
		return v, err
	}
	if err := s.missingFiles(ctx, h, was.entry.Request.Program, &v); err != nil {
		return v, err
	}
	v.faults = append(v.faults, v.beyond...)
	if err := s.fleet.awaitNode(ctx); err != nil {
		return v, err
	}
	for i, e := range verifications(h, was) {
		e.ID = fmt.Sprintf("%s/verify/%d", newID(), i)
		r, err := s.runErrand(ctx, e, "")
		if err != nil {
			return v, fmt.Errorf("verify what execution %s resumes from: %w", was.id, err)
		}
		v.changes = append(v.changes, r.Changes...)
		v.changed += max(r.Changed, int64(len(r.Changes)))
		v.faults = append(v.faults, r.Faults...)
		if i == 0 {
			v.beyond = append(v.beyond, r.Faults...)
		}
		v.lost.Copies = append(v.lost.Copies, r.Bad...)
		v.lost.Checkpoints = append(v.lost.Checkpoints, r.Checkpoints...)
		for _, p := range r.Parts {
			v.lost.Parts = append(v.lost.Parts, p.Op)
		}
	}
	return v, nil
}

// missingFiles names the files of the program that the storage does not have.
func (*Server) missingFiles(ctx context.Context, h home, p stint.Program, v *verdict) error {
	for _, f := range p.Files {
		_, err := h.storage.Stat(ctx, fileKey(f.Digest))
		if stint.CodeOf(err) == stint.NotFound {
			v.beyond = append(v.beyond, fmt.Sprintf("program file %q is missing: %s", f.Name, fileKey(f.Digest)))
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// verifications makes the errands: the first looks at the input, each of the others
// at some of the saved state.
func verifications(h home, was standing) []stint.Errand {
	empty := stint.Errand{Kind: stint.ErrandVerify, Execution: was.id, Output: was.entry.Request.Output, Storage: h.url}
	first := empty
	list := listing("", was.id, was.entry.Request)
	first.Inputs, first.NamedInputs, first.Lines, first.Listing = list.Inputs, list.NamedInputs, list.Lines, was.entry.Listing
	out := []stint.Errand{first}
	objects, ranges := mostVerified, 0
	last := func(size int) *stint.Errand {
		if objects >= mostVerified || ranges+size > mostRanges && ranges > 0 {
			out = append(out, empty)
			objects, ranges = 0, 0
		}
		objects++
		ranges += size
		return &out[len(out)-1]
	}
	for _, p := range was.packs {
		e := last(len(p.Ops))
		e.Packs = append(e.Packs, p)
	}
	for _, c := range was.checkpoints {
		e := last(0)
		e.Checkpoints = append(e.Checkpoints, c)
	}
	for _, p := range was.parts {
		e := last(0)
		e.Parts = append(e.Parts, p)
	}
	return out
}
