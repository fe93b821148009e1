package server

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	"stint"
	"stint/internal/coord"
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
	state  *coord.State  // nil: the record could not be read yet

	next      flight  // what was decided and is not being committed yet
	flying    *flight // what is being committed; nil: nothing
	committed chan error
	results   chan stint.ErrandResult
	errand    string // id of the errand under way
	wake      int64
	saved     bool // the record has a snapshot with every chunk
	stale     bool // the demands are to be published even if they are the same
	unsaved   int  // records since the last snapshot
	taken     int  // decisions of the scheduler that were acted on
	public    published
}

// flight is what goes out together with one commit.
type flight struct {
	after    uint64
	records  []coord.Record
	messages []coord.Message
	errand   *stint.Errand
	released []func(error)
	final    bool
}

// published is what others read of a drive without asking it.
type published struct {
	mu      sync.Mutex
	demands []coord.Demand
	version uint64 // of the demands; a decision is made once on each
	taken   int    // decisions that the demands take into account
	watch   map[chan struct{}]bool
}

func newDrive(s *Server, id stint.ExecutionID) *drive {
	return &drive{
		server: s, id: id, inbox: make(chan input, inboxLength), gone: make(chan struct{}),
	}
}

// adopt makes a state the drive's own and drops whatever waited on another.
func (d *drive) adopt(state *coord.State, saved bool) {
	d.drop()
	d.state, d.saved = state, saved
	d.next = flight{after: state.Version()}
	d.committed = make(chan error, 1)
	d.results = make(chan stint.ErrandResult, 4)
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
	d.state, d.flying, d.next, d.errand, d.unsaved, d.wake = nil, nil, flight{}, "", 0, 0
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
	if in.released != nil {
		in.released(stint.Errorf(stint.Unavailable, "execution %s: its record cannot be read now; see the server's log", d.id))
	}
}

// errDropped says that a commit did not succeed and the state is not to be used.
var errDropped = errors.New("commit refused or unknown")

// run drives the state until the execution is settled (nil) or the state must
// be dropped (an error), or ctx ends.
func (d *drive) run(ctx context.Context) error {
	d.take(d.state.Resume(nowMillis()))
	for _, g := range d.server.fleet.lost() { // it may have been told so and not have recorded it
		d.step(input{event: g.event()})
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
			timer.Reset(time.Until(time.UnixMilli(d.wake)))
		}
		select {
		case in := <-d.inbox:
			d.step(in)
			d.drain()
		case err := <-d.committed:
			if err := d.land(err); err != nil {
				return err
			}
		case r := <-d.results:
			d.errand = ""
			d.step(input{event: &coord.Event{Result: &r}})
		case <-timer.C:
			d.wake = 0
			d.step(input{event: &coord.Event{}})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *drive) drain() {
	for range mostBatched {
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
	if in.event != nil {
		in.event.At = nowMillis()
		d.stale = d.stale || *in.event == coord.Event{At: in.event.At}
		d.take(d.state.Step(*in.event))
	}
	if in.ask != nil {
		in.ask(d.state)
	}
	if in.released != nil {
		d.next.released = append(d.next.released, in.released)
	}
}

func (d *drive) take(delta coord.Delta) {
	d.next.records = append(d.next.records, delta.Records...)
	d.next.messages = append(d.next.messages, delta.Messages...)
	if delta.Errand != nil {
		d.next.errand = delta.Errand
	}
	d.wake = delta.Wake
}

// commit sends off what was decided, if nothing is in flight. What needs no
// commit, and waits for none, is released at once.
func (d *drive) commit(ctx context.Context) error {
	if d.flying != nil {
		return nil
	}
	f := d.next
	if len(f.records) == 0 {
		d.next = flight{after: f.after}
		d.release(&f)
		return nil
	}
	d.unsaved += len(f.records)
	batch := store.Batch{
		Execution: d.id, Epoch: d.state.Epoch(), After: f.after, Records: f.records,
		Status: d.state.Status(), Settled: d.state.Settled(),
	}
	if f.final = batch.Settled; f.final || d.unsaved >= snapshotEvery {
		pack := d.state.SnapshotAll
		if d.saved {
			pack = d.state.Snapshot
		}
		snap, doc := pack(), d.state.Document(nowMillis())
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
	d.flying = nil
	d.release(f)
	d.public.notify()
	return nil
}

// release lets out what waited for a commit.
func (d *drive) release(f *flight) {
	for _, m := range f.messages {
		if m.Reattach {
			d.server.fleet.closeSession(m.Node, "a report is missing")
			continue
		}
		d.server.fleet.send(m.Node, d.id, d.linkMessages(m))
	}
	if f.errand != nil && f.errand.ID != d.errand {
		d.errand = f.errand.ID
		d.server.fleet.submitErrand(*f.errand, "", d.results)
	}
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
	case m.Forget:
		return []link.ServerMessage{{Forget: &link.Forget{Execution: d.id}}}
	}
	return nil
}

// publish shows the scheduler what the execution wants now.
func (d *drive) publish() {
	demands := d.state.Demands(nowMillis())
	p := &d.public
	p.mu.Lock()
	changed := d.stale || !reflect.DeepEqual(p.demands, demands)
	if changed {
		p.demands = demands
		p.version++
	}
	p.taken = d.taken
	p.mu.Unlock()
	d.stale = false
	if changed {
		d.server.want()
	}
}

// want wakes the scheduler.
func (s *Server) want() { signal(s.wanted) }

// signal leaves a word in a channel with room for one, unless one is there.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *published) notify() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.watch {
		signal(c)
	}
}

func (p *published) subscribe() (c chan struct{}, cancel func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watch == nil {
		p.watch = make(map[chan struct{}]bool)
	}
	c = make(chan struct{}, 1)
	p.watch[c] = true
	return c, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watch, c)
	}
}
