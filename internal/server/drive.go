package server

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/failpoint"
	"stint/internal/link"
	"stint/internal/store"
)

const (
	mostBatched   = 256  // inputs taken in before a commit
	snapshotEvery = 2000 // records
)

// input is what a drive is told: an event, a question, or a question about what
// an event led to. Released is called after everything that led to the answer is
// committed; it runs in the drive's goroutine and must not block.
type input struct {
	event    *coord.Event
	wish     bool // the event is somebody's wish: if it cannot be done now, released is told why
	reload   bool // the record was changed by somebody else than the drive: it is read again
	ask      func(*coord.State)
	released func(error)
	placed   bool // a decision of the scheduler
}

// drive owns one live execution.
type drive struct {
	server *Server
	id     stint.ExecutionID
	inbox  chan input
	gone   chan struct{} // closed when nothing is taken from the inbox any more
	over   bool          // why: the execution is settled; otherwise the server stops. Set before gone is closed
	entry  store.Entry
	state  *coord.State // nil: the record could not be read yet
	revive *coord.Event // takes up an execution that was settled; nil once that is recorded
	greet  []attachment // nodes that attached before the state was read, and hold nothing of it

	next      flight  // what was decided and is not being committed yet
	flying    *flight // what is being committed; nil: nothing
	committed chan error
	results   *mailbox         // of its errands
	errands   map[string]bool  // ids of those under way
	written   chan struct{}    // closed when its latest record is written, or was not to be; nil: none was begun
	held      []coord.Dispatch // errands that wait for that
	wake      int64
	ahead     int64         // of the server's clock: that of an earlier owner was
	saved     bool          // the record has a snapshot with every chunk
	stale     bool          // the demands are to be published even if they are the same
	reload    bool          // the record is to be read again
	trouble   error         // why there is no state; nil: it was not read yet
	unsaved   int           // records since the last snapshot
	taken     int           // decisions of the scheduler that were acted on
	looked    time.Time     // when the state was asked which nodes are drained
	foreign   atomic.Uint64 // generation that a copy of this record has claimed; 0: none is known
	public    published
	recorded  recorded
}

// flight is what goes out together with one commit.
type flight struct {
	after    uint64
	records  []coord.Record
	messages []coord.Message
	errands  []coord.Dispatch
	cancel   []string              // ids of errands
	drained  map[stint.NodeID]bool // see [published]
	released []func(error)
	final    bool
}

func newDrive(s *Server, id stint.ExecutionID) *drive {
	return &drive{
		server: s, id: id, inbox: make(chan input, inboxLength), gone: make(chan struct{}),
	}
}

// adopt makes a state the drive's own and drops whatever waited on another.
func (d *drive) adopt(entry store.Entry, state *coord.State, saved bool) {
	d.drop()
	d.recorded.forget()
	d.entry, d.state, d.saved = entry, state, saved
	d.next = flight{after: state.Version()}
	d.committed = make(chan error, 1)
	d.results, d.errands = newMailbox(), make(map[string]bool)
}

// drop gives up the state and everything that waits for a commit.
func (d *drive) drop() {
	for _, f := range []*flight{d.flying, &d.next} {
		if f == nil {
			continue
		}
		for _, released := range f.released {
			released(stint.Errorf(stint.Unknown, "execution %s: the outcome of a commit is unknown; ask again", d.id))
		}
	}
	if d.results != nil {
		d.server.fleet.cancelAll(d.results)
	}
	d.state, d.flying, d.next, d.errands, d.held, d.unsaved, d.wake, d.reload = nil, nil, flight{}, nil, nil, 0, 0, false
}

// post puts an input into the inbox, or says that nothing is taken from it any
// more. What was posted in that very moment is refused in either way.
func (d *drive) post(ctx context.Context, in input) error {
	select {
	case d.inbox <- in:
	case <-d.gone:
		return d.closed()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-d.gone:
		return d.closed()
	default:
		return nil
	}
}

// closed says why nothing is taken from the inbox: NotFound if the execution is
// settled and its record is all there is.
func (d *drive) closed() error {
	if d.over {
		return stint.Errorf(stint.NotFound, "execution %s is not live", d.id)
	}
	return stint.Errorf(stint.Unavailable, "execution %s: the server is stopping", d.id)
}

// refuse answers an input that no state takes in. What nodes report they send
// again in their next session, what a caller asks for is not done.
func (d *drive) refuse(in input) {
	if in.placed {
		d.taken++
	}
	if in.reload {
		d.recorded.forget()
	}
	if in.released != nil {
		in.released(&stint.Error{Code: stint.Unavailable, Message: fmt.Sprintf("execution %s: its record cannot be used now; see the server's log", d.id), Err: &noState{d.trouble}})
	}
}

// noState says why an execution has no state in memory.
type noState struct{ why error }

func (e *noState) Error() string {
	if e.why == nil {
		return "it is being read"
	}
	return strings.Join(strings.Fields(e.why.Error()), " ")
}

func (e *noState) Unwrap() error { return e.why }

// errDropped says that a commit did not succeed and the state is not to be used.
var errDropped = errors.New("commit refused or unknown")

// errReload says that the record was changed under the state.
var errReload = errors.New("the record was changed")

// panicked says that an execution did something to the drive that no execution
// should do. Its text is for users: what it was is for the log alone.
type panicked struct {
	value any
	stack []byte
}

func (*panicked) Error() string { return "a fault of Stint's own" }

// logged is an error as the log has it.
func logged(err error) error {
	if p, ok := errors.AsType[*panicked](err); ok {
		return fmt.Errorf("%w: %v\n%s", err, p.value, p.stack)
	}
	return err
}

// guard runs the drive, and makes a panic an error of this execution alone.
func (d *drive) guard(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &panicked{value: r, stack: debug.Stack()}
		}
	}()
	return d.run(ctx)
}

// run drives the state until the execution is settled (nil) or the state must
// be dropped (an error), or ctx ends.
func (d *drive) run(ctx context.Context) error {
	d.ahead = 0
	d.ahead = max(d.state.Latest()-d.millis(), 0)
	d.take(d.state.Resume(d.millis()))
	if d.revive != nil {
		d.step(input{event: d.revive})
	}
	for _, a := range d.greet {
		d.step(input{event: a.event(stint.Holding{Execution: d.id})})
	}
	d.greet = nil
	for _, g := range d.server.fleet.lost() { // it may have been told so and not have recorded it
		d.step(input{event: g.event()})
	}
	for _, id := range d.state.Nodes() { // one that was removed, or is of another service, never comes back
		if !d.server.fleet.knows(id) {
			d.step(input{event: goneNode{id: id, lost: true}.event()})
		}
	}
	for _, ask := range d.server.fleet.draining() {
		d.step(input{event: &coord.Event{Drain: &ask}})
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		d.publish()
		if err := d.commit(ctx); err != nil {
			return err
		}
		if d.flying == nil && d.state.Settled() {
			return nil
		}
		if d.wake > 0 {
			timer.Reset(time.Duration(d.wake-d.millis()) * time.Millisecond)
		}
		var written chan struct{} // nil: nobody waits
		if len(d.held) > 0 {
			written = d.written
		}
		select {
		case <-written:
			d.letGo()
		case in := <-d.inbox:
			d.step(in)
			d.takeWaiting()
			if d.reload {
				return errReload
			}
		case err := <-d.committed:
			if err := d.land(err); err != nil {
				return err
			}
		case <-d.results.came:
			for _, r := range d.results.take() {
				delete(d.errands, r.ID)
				d.clearTheWay(&r)
				d.step(input{event: &coord.Event{Result: &r}})
			}
		case <-timer.C:
			d.wake = 0
			d.step(input{event: &coord.Event{}})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// takeWaiting takes in what else is in the inbox.
func (d *drive) takeWaiting() {
	for range mostBatched {
		if d.reload {
			return // what comes behind is for the state that will be read
		}
		select {
		case in := <-d.inbox:
			d.step(in)
		default:
			return
		}
	}
}

func (d *drive) step(in input) {
	if in.placed {
		d.taken++
	}
	d.reload = d.reload || in.reload
	if in.event != nil {
		in.event.At = d.millis()
		if in.wish {
			if err := d.state.Refusal(*in.event); err != nil {
				in.released(err)
				return
			}
		}
	}
	if in.released != nil { // first: whatever becomes of it, somebody waits
		d.next.released = append(d.next.released, in.released)
	}
	if in.event != nil {
		d.stale = d.stale || *in.event == coord.Event{At: in.event.At}
		d.take(d.state.Step(*in.event))
	}
	if in.ask != nil {
		in.ask(d.state)
	}
}

// take adds to what was decided. An errand that was decided and is cancelled before
// it went out never does.
func (d *drive) take(delta coord.Delta) {
	d.next.errands = slices.DeleteFunc(d.next.errands, func(e coord.Dispatch) bool { return slices.Contains(delta.Cancel, e.Errand.ID) })
	d.next.records = append(d.next.records, delta.Records...)
	d.next.messages = append(d.next.messages, delta.Messages...)
	d.next.errands = append(d.next.errands, delta.Errands...)
	d.next.cancel = append(d.next.cancel, delta.Cancel...)
	d.wake = delta.Wake
}

// commit sends off what was decided, if nothing is in flight. What needs no
// commit, and waits for none, is released at once.
func (d *drive) commit(ctx context.Context) error {
	if d.flying != nil {
		return nil
	}
	f := d.next
	f.drained = d.drained()
	if len(f.records) == 0 {
		d.next = flight{after: f.after}
		d.release(&f)
		return nil
	}
	d.unsaved += len(f.records)
	batch := store.Batch{
		Execution: d.id, Epoch: d.state.Epoch(), After: f.after, Records: f.records,
		Status: d.state.Status(), Settled: d.state.Settled(), Revive: d.revive != nil,
	}
	if f.final = batch.Settled; f.final || d.unsaved >= snapshotEvery {
		pack := d.state.SnapshotAll
		if d.saved {
			pack = d.state.Snapshot
		}
		snap, doc := pack(), d.state.Document(d.millis())
		batch.Snapshot, batch.Document = &snap, &doc
		d.saved, d.unsaved = true, 0
	}
	if err := d.server.DB.Commit(ctx, batch, d.committed); err != nil {
		return errors.Join(errDropped, err)
	}
	d.flying = &f
	d.next = flight{after: f.after + uint64(len(f.records))}
	return nil
}

// land takes in the outcome of the commit in flight.
func (d *drive) land(err error) error {
	if err != nil {
		return errors.Join(errDropped, err)
	}
	f := d.flying
	d.flying, d.revive = nil, nil
	d.release(f)
	d.public.notify()
	return nil
}

// release lets out what waited for a commit.
func (d *drive) release(f *flight) {
	failpoint.Reach("journal.before-messages")
	for _, m := range f.messages {
		if m.Reattach {
			d.server.fleet.closeSession(m.Node, "a report is missing")
			continue
		}
		d.server.fleet.send(m.Node, d.id, d.linkMessages(m))
	}
	failpoint.Reach("journal.before-errands")
	for _, id := range f.cancel {
		delete(d.errands, id)
		d.server.fleet.cancelErrand(id)
	}
	for _, e := range f.errands {
		if !d.errands[e.Errand.ID] {
			d.errands[e.Errand.ID] = true
			d.dispatch(e)
		}
	}
	d.public.showDrained(f.drained)
	failpoint.Reach("journal.before-answers")
	for _, released := range f.released {
		released(nil)
	}
}

// linkMessages puts a message into the link's words. A grant is preceded by the
// spec, which the fleet leaves out if the session has it.
func (d *drive) linkMessages(m coord.Message) []link.ServerMessage {
	switch {
	case m.Grant != nil:
		spec := d.state.Spec()
		return []link.ServerMessage{{Spec: &spec}, {Grant: m.Grant}}
	case m.Retract != nil:
		return []link.ServerMessage{{Retract: m.Retract}}
	case m.Resend != nil:
		return []link.ServerMessage{{Resend: &link.Resend{Execution: d.id, Ops: m.Resend}}}
	case m.Ack != nil:
		return []link.ServerMessage{{Ack: &link.Ack{Execution: d.id, Seq: m.Ack.Seq, Incarnation: m.Ack.Incarnation}}}
	case m.Forget != nil:
		return []link.ServerMessage{{Forget: &link.Forget{Execution: d.id, Keep: m.Forget.Keep, Discard: m.Forget.Discard}}}
	case m.Suspend != nil:
		return []link.ServerMessage{{Suspend: m.Suspend}}
	case len(m.Drop) > 0:
		return []link.ServerMessage{{Drop: &link.Drop{Execution: d.id, Ops: m.Drop}}}
	}
	return nil
}

// dispatch has an errand run: by a node, but for those that are the server's own. One
// that removes what is saved waits for a record that is on its way.
func (d *drive) dispatch(e coord.Dispatch) {
	kind := e.Errand.Kind
	if kind == stint.ErrandRecord {
		d.record(e.Errand)
		return
	}
	if ends := kind == stint.ErrandCommit || kind == stint.ErrandClear; ends && d.isRecording() {
		d.held = append(d.held, e)
		return
	}
	d.server.fleet.submitErrand(e.Errand, e.Node, d.results)
}

// isRecording reports whether a record is on its way to storage.
func (d *drive) isRecording() bool {
	if d.written == nil {
		return false
	}
	select {
	case <-d.written:
		return false
	default:
		return true
	}
}

// letGo submits the errands that have waited for a record and are still wanted.
func (d *drive) letGo() {
	for _, e := range d.held {
		if d.errands[e.Errand.ID] {
			d.server.fleet.submitErrand(e.Errand, e.Node, d.results)
		}
	}
	d.held = nil
}

// record has the server write the record of a suspend.
func (d *drive) record(e stint.Errand) {
	record := d.makeRecord(e)
	results, before, written := d.results, d.written, make(chan struct{})
	d.written = written
	d.server.spawn(func(ctx context.Context) error {
		defer close(written)
		if before != nil { // the record of an earlier state must not take the place of this one
			<-before
		}
		result := d.server.writeRecord(ctx, e, record)
		if result.Error != nil && result.Error.Code == stint.Unavailable { // it is tried again
			d.tryWithdrawal(ctx, e.Generation)
		}
		d.removeUnwanted(ctx, e, result)
		if over := d.server.refusedByEnd(ctx, e, result); over != nil {
			_ = d.post(ctx, input{event: &coord.Event{Ended: over}}) // a drive that is gone begins again
			return nil
		}
		failpoint.Reach("suspend.before-result")
		results.put(result)
		return nil
	})
}

// clearTheWay takes back a claim of this service that came to nothing and kept a
// node from an errand, which is tried again. One that a copy of this record has made
// stays, and the errand is refused.
func (d *drive) clearTheWay(r *stint.ErrandResult) {
	if r.Claimed == 0 || d.state == nil {
		return
	}
	if d.foreign.CompareAndSwap(r.Claimed, 0) { // it is looked at anew if it is in the way once more
		r.Error = stint.Errorf(stint.Conflict, "owned_elsewhere: execution %s is owned in generation %d by a service with a copy of this one's record, this was asked for in generation %d", d.id, r.Claimed, d.state.Generation())
		return
	}
	generation := d.state.Generation()
	d.server.spawn(func(ctx context.Context) error {
		d.tryWithdrawal(ctx, generation)
		return nil
	})
}

func (d *drive) tryWithdrawal(ctx context.Context, generation uint64) {
	if err := d.withdrawUnused(ctx, generation); err != nil {
		d.server.Logger.WarnContext(ctx, "unused claim not withdrawn", "execution", string(d.id), "err", err)
	}
}

// removeUnwanted removes a record that was on its way when its suspend was taken
// back: nobody else would before the execution's end.
func (d *drive) removeUnwanted(ctx context.Context, e stint.Errand, written stint.ErrandResult) {
	if written.Error != nil || d.public.current() != stint.InProgress { // shown before it has any effect
		return
	}
	failpoint.Reach("unwanted.before-removing-record")
	h, err := d.server.openHome(ctx, e.Storage)
	if err == nil {
		err = h.storage.Delete(ctx, recordKey(d.id, max(e.Generation, 1)))
	}
	if err != nil {
		d.server.Logger.WarnContext(ctx, "record not removed", "execution", string(d.id), "err", err)
	}
}
