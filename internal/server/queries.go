package server

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/store"
)

// ask has the drive take in an event, or nothing, and returns the document
// once all that was decided up to then is committed.
func (d *drive) ask(ctx context.Context, ev *coord.Event) (stint.Execution, error) {
	return question(ctx, d, input{event: ev}, d.document)
}

// wish is [drive.ask] for an event that somebody wishes: if it cannot be done now
// the error says why, and nothing has changed.
func (d *drive) wish(ctx context.Context, ev *coord.Event) (stint.Execution, error) {
	return question(ctx, d, input{event: ev, wish: true}, d.document)
}

func (d *drive) document(st *coord.State) stint.Execution {
	doc := d.server.documentOf(st, d.millis())
	doc.Waiting = d.server.waitingForRoom(&doc, st.Spec().Stages)
	if len(d.held) > 0 {
		doc.Waiting = "for the record of its suspend, which is on its way to " + cmp.Or(d.held[0].Errand.Storage, d.server.StorageURL)
	}
	return d.public.explain(doc)
}

// documentOf makes the document about an execution as of a time. A state does not
// know what its service's own storage is called.
func (s *Server) documentOf(st *coord.State, now int64) stint.Execution {
	doc := st.Document(now)
	if doc.Saved.Location == "" && doc.Generation > 0 {
		doc.Saved.Location = s.StorageURL
	}
	return doc
}

// question has the drive take in an event, or nothing, then look at its state,
// and returns what look saw when that is committed. look runs in the drive's
// goroutine, maybe when nobody waits for it any more.
func question[T any](ctx context.Context, d *drive, in input, look func(*coord.State) T) (T, error) {
	var seen, nothing T
	done := make(chan error, 1)
	in.ask = func(st *coord.State) { seen = look(st) }
	in.released = func(err error) {
		if in.event == nil && stint.CodeOf(err) == stint.Unknown { // a question changes nothing
			err = stint.Errorf(stint.Unavailable, "%w", err)
		}
		done <- err
	}
	if err := d.post(ctx, in); err != nil {
		return nothing, err
	}
	select {
	case err := <-done:
		return seen, err
	case <-d.gone:
		select {
		case err := <-done:
			return seen, err
		default:
			return nothing, d.closed()
		}
	case <-ctx.Done():
		return nothing, ctx.Err()
	}
}

// Show returns the document of an execution.
func (s *Server) Show(ctx context.Context, id stint.ExecutionID) (stint.Execution, error) {
	if d := s.fleet.drive(id); d != nil {
		doc, err := d.ask(ctx, nil)
		if why, without := errors.AsType[*noState](err); without {
			doc, err = s.recordedOf(ctx, d, why, err)
		}
		if err == nil {
			err = s.checkOwner(ctx)
		}
		if stint.CodeOf(err) != stint.NotFound {
			return doc, err
		}
	}
	state, err := s.settled(ctx, id)
	if err != nil {
		return stint.Execution{}, err
	}
	return s.documentOf(state, s.millisOf(state)), nil
}

// recorded is the state of a live execution as the record has it, while none is in
// memory: to read it once is enough until something is committed.
type recorded struct {
	mu      sync.Mutex
	version uint64
	state   *coord.State // nil: it was not read
}

func (r *recorded) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = nil
}

func (r *recorded) keep(state *coord.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.version, r.state = state.Version(), state
}

// at has look look at the state if it is of this version.
func (r *recorded) at(version uint64, look func(*coord.State)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == nil || r.version != version {
		return false
	}
	look(r.state)
	return true
}

// recordedOf returns the document about a live execution as it is recorded, while its
// state is not in memory: what is committed can be read though nothing can be written.
func (s *Server) recordedOf(ctx context.Context, d *drive, why *noState, refusal error) (stint.Execution, error) {
	var doc stint.Execution
	look := func(st *coord.State) { doc = s.documentOf(st, s.millisOf(st)) }
	version, err := s.DB.Version(ctx, d.id)
	if err != nil {
		return stint.Execution{}, refusal
	}
	if !d.recorded.at(version, look) {
		state, err := s.settled(ctx, d.id)
		if err != nil {
			return stint.Execution{}, refusal
		}
		look(state)
		d.recorded.keep(state)
	}
	if !doc.Status.Final() {
		doc.Waiting = "for its record, which cannot be used now: " + why.Error()
	}
	return doc, nil
}

// checkOwner refuses an answer from memory if another server has taken over the
// record: that one may have shown what came later.
func (s *Server) checkOwner(ctx context.Context) error {
	epoch, err := s.DB.Epoch(ctx)
	if err != nil {
		return err
	}
	if epoch != s.epoch {
		return &stint.Error{Code: stint.Unavailable, Err: errFenced, Message: errFenced.Error()}
	}
	return nil
}

// settled reads an execution that is not live from the record.
func (s *Server) settled(ctx context.Context, id stint.ExecutionID) (*coord.State, error) {
	loaded, err := s.DB.Load(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.restore(ctx, loaded)
}

// List returns at most f.Limit executions, newest first, and the cursor of the
// next page, 0 if there is none.
func (s *Server) List(ctx context.Context, f stint.ExecutionFilter) ([]stint.Execution, uint64, error) {
	listed, err := s.DB.List(ctx, store.Filter{Search: strings.TrimSpace(f.Search), Status: f.Status, Before: f.Cursor, Limit: f.Limit + 1})
	if err != nil {
		return nil, 0, err
	}
	var next uint64
	if len(listed) > f.Limit {
		listed = listed[:f.Limit]
		next = listed[f.Limit-1].Number
	}
	out := make([]stint.Execution, 0, len(listed))
	for _, l := range listed {
		if l.Settled && l.Document != nil {
			out = append(out, *l.Document)
			continue
		}
		doc, err := s.Show(ctx, l.ID)
		if ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		if err != nil {
			doc = unreadable(l, err)
		}
		out = append(out, doc)
	}
	return out, next, nil
}

// unreadable is the document about an execution of which no more is known than
// that it is there: one record that cannot be read hides no others.
func unreadable(l store.Listed, err error) stint.Execution {
	return stint.Execution{
		ID: l.ID, Name: l.Name, Program: l.Program, Status: l.Status, Submitted: time.UnixMilli(l.Created).UTC(),
		Stints: []stint.Stint{}, Stages: []stint.StageReport{}, Nodes: []stint.NodeID{}, Inputs: []string{},
		Counters: map[string]map[string]int64{}, Receipts: []stint.Receipt{}, Missing: []stint.Missing{},
		Error: stint.Errorf(stint.CodeOf(err), "the record of execution %s cannot be read now; see the server's log", l.ID),
	}
}

// Operations returns at most f.Limit operations of an execution and the next
// cursor, 0 at the end.
func (s *Server) Operations(ctx context.Context, id stint.ExecutionID, f stint.OperationFilter) ([]stint.Operation, uint64, error) {
	look := func(st *coord.State) page { return operations(st, f) }
	if d := s.fleet.drive(id); d != nil {
		p, err := question(ctx, d, input{}, look)
		if stint.CodeOf(err) != stint.NotFound {
			return p.operations, p.next, err
		}
	}
	state, err := s.settled(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	p := look(state)
	return p.operations, p.next, nil
}

// page is a page of a list of operations.
type page struct {
	operations []stint.Operation
	next       uint64
}

// operations walks the stages from the cursor on. The cursor is one more than
// the place of the last operation returned, counted over all stages.
func operations(st *coord.State, f stint.OperationFilter) page {
	out := []stint.Operation{}
	place := uint64(0)
	for k, stage := range st.Stages() {
		if f.Stage != "" && f.Stage != stage.Name {
			place += uint64(stage.Operations)
			continue
		}
		for n := range stage.Operations {
			place++
			if place <= f.Cursor {
				continue
			}
			if len(out) == f.Limit {
				return page{out, place - 1}
			}
			if op := st.Operation(k, n); f.Status == "" || op.Status == f.Status {
				out = append(out, op)
			}
		}
	}
	return page{out, 0}
}

// Watch yields documents of versions above after, in order, the current one
// first, and ends after a final one, after an error, or with ctx. While its
// consumer is slow documents are left out, but never the latest.
func (s *Server) Watch(ctx context.Context, id stint.ExecutionID, after uint64) iter.Seq2[stint.Execution, error] {
	return func(yield func(stint.Execution, error) bool) {
		changed, over, cancel := s.subscribe(id)
		defer cancel()
		for {
			doc, err := s.Show(ctx, id)
			if err != nil {
				yield(doc, err)
				return
			}
			final := doc.Status.Final()
			if (doc.Version > after || final) && !yield(doc, nil) {
				return
			}
			if after = max(after, doc.Version); final {
				return
			}
			if !pause(ctx, changed, over) {
				return
			}
		}
	}
}

// pause waits for a change, and a little longer, so that a busy execution does
// not drown its watchers. The change with which it is over is not held back.
func pause(ctx context.Context, changed <-chan struct{}, over func() bool) bool {
	least := time.NewTimer(watchEvery)
	defer least.Stop()
	refresh := time.NewTimer(time.Second)
	defer refresh.Stop()
	for rested, moved := false, false; !rested || !moved; {
		select {
		case <-changed:
			if moved = true; over() {
				return true
			}
		case <-refresh.C:
			moved = true
		case <-least.C:
			rested = true
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// subscribe returns a channel that tells of changes of an execution, and a function
// that reports whether it is over.
func (s *Server) subscribe(id stint.ExecutionID) (changed <-chan struct{}, over func() bool, cancel func()) {
	d := s.fleet.drive(id)
	if d == nil {
		return nil, func() bool { return true }, func() {}
	}
	changed, cancel = d.public.subscribe()
	return changed, func() bool { return d.public.current().Final() }, cancel
}

// Terminate ends an execution for good. It returns when that is committed; the
// clearing of its data goes on.
func (s *Server) Terminate(ctx context.Context, id stint.ExecutionID) (stint.Execution, error) {
	if d := s.fleet.drive(id); d != nil {
		release, err := s.prepareTerminate(ctx, d)
		if err != nil {
			return stint.Execution{}, err
		}
		defer release()
		doc, err := d.ask(ctx, &coord.Event{Terminate: true})
		if err != nil && stint.CodeOf(err) != stint.NotFound {
			return doc, err
		}
		if err == nil && (doc.Status == stint.Terminating || doc.Status == stint.Terminated) {
			return doc, nil
		}
	}
	doc, err := s.Show(ctx, id)
	if err != nil {
		return doc, err
	}
	if doc.Status == stint.Terminated {
		return doc, nil
	}
	return doc, stint.Errorf(stint.Conflict, "already_final: execution %s is %s", id, doc.Status)
}

// Nodes returns every node that was ever here.
func (s *Server) Nodes(context.Context) []stint.Node { return s.fleet.documents(time.Now().UTC()) }
