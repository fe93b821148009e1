package sim

import (
	"reflect"
	"slices"

	"stint"
	"stint/internal/coord"
)

// input is what a drive is told; released is called once all that was decided
// up to it is committed (true), or the state was dropped.
type input struct {
	event    *coord.Event
	refused  func(error) // the event is somebody's wish: it is told why it cannot be done now
	look     func(*coord.State)
	released func(bool)
}

// drive owns the state of one live execution.
type drive struct {
	server    *server
	id        stint.ExecutionID
	row       *row
	state     *coord.State // nil: dropped, being read again
	inbox     []input
	turning   bool
	next      flight
	flying    *flight
	errands   map[string]bool // ids of those under way
	saved     bool
	unsaved   int
	stale     bool
	demands   []coord.Demand
	published uint64
	life      int          // counts the states that were here
	gone      bool         // it is settled, and nothing is taken in any more
	revive    *coord.Event // takes up an execution that was settled; nil once that is recorded
	recording []func()     // records under way, the first of them being written
	held      []func()     // what waits until none is
	wake      int64
	ahead     int64 // of the server's clock
}

// flight is what goes out together with one commit.
type flight struct {
	after    uint64
	records  []coord.Record
	messages []coord.Message
	errands  []coord.Dispatch
	cancel   []string
	released []func(bool)
}

func (s *server) drive(r *row, state *coord.State, saved bool) *drive {
	d := &drive{server: s, id: r.plan.Spec.Execution, row: r}
	s.drives = append(s.drives, d)
	d.adopt(state, saved)
	return d
}

// adopt makes a state the drive's own, and begins to drive it.
func (d *drive) adopt(state *coord.State, saved bool) {
	d.state, d.saved, d.flying, d.errands, d.unsaved = state, saved, nil, make(map[string]bool), 0
	d.next = flight{after: state.Version()}
	d.life++
	d.ahead = max(d.state.Latest()-d.server.millis(), 0)
	d.take(d.state.Resume(d.millis()))
	if d.revive != nil {
		d.step(input{event: d.revive})
	}
	for _, ask := range d.server.service.store.drains {
		d.step(input{event: &coord.Event{Drain: &ask}})
	}
	d.publish()
	d.commit()
}

func (d *drive) post(in input) {
	d.inbox = append(d.inbox, in)
	if d.turning {
		return
	}
	d.turning = true
	s := d.server
	took := s.world.between(5, 500)
	if s.slow > s.world.now {
		took = s.world.between(5, 300*millisecond)
	}
	s.later(took, "turn", d.turn)
}

// turn takes in what is in the inbox.
func (d *drive) turn() {
	d.turning = false
	if d.server.dead || d.state == nil {
		return
	}
	inbox := d.inbox
	d.inbox = nil
	if d.gone {
		for _, in := range inbox {
			if in.released != nil {
				in.released(false)
			}
		}
		return
	}
	for _, in := range inbox {
		d.step(in)
	}
	d.publish()
	d.commit()
}

func (d *drive) step(in input) {
	if in.look != nil {
		in.look(d.state)
	}
	if in.event != nil {
		in.event.At = d.millis()
		if in.refused != nil {
			if err := d.state.Refusal(*in.event); err != nil {
				in.refused(err)
				return
			}
		}
		d.stale = d.stale || *in.event == coord.Event{At: in.event.At}
		d.take(d.state.Step(*in.event))
	}
	if in.released != nil {
		d.next.released = append(d.next.released, in.released)
	}
}

func (d *drive) take(delta coord.Delta) {
	d.next.records = append(d.next.records, delta.Records...)
	d.next.messages = append(d.next.messages, delta.Messages...)
	d.server.world.books.checkDrops(d, delta.Messages)
	d.next.errands = slices.DeleteFunc(d.next.errands, func(e coord.Dispatch) bool { return slices.Contains(delta.Cancel, e.Errand.ID) })
	d.next.errands = append(d.next.errands, delta.Errands...)
	d.next.cancel = append(d.next.cancel, delta.Cancel...)
	d.wake = delta.Wake
	if s := d.server; delta.Wake > 0 {
		s.later((delta.Wake-d.millis())*millisecond, "wake", func() { d.post(input{event: &coord.Event{}}) })
	}
}

// commit sends off what was decided, if nothing is in flight. What needs no
// commit, and waits for none, is released at once.
func (d *drive) commit() {
	if d.flying != nil || d.state == nil {
		return
	}
	f := d.next
	d.next = flight{after: f.after + uint64(len(f.records))}
	if len(f.records) == 0 {
		d.release(&f)
		return
	}
	d.unsaved += len(f.records)
	b := batch{
		row: d.row, epoch: d.state.Epoch(), after: f.after, records: f.records, settled: d.state.Settled(), revive: d.revive != nil,
	}
	if b.settled || d.unsaved >= d.server.service.store.snapshot {
		pack := d.state.SnapshotAll
		if d.saved {
			pack = d.state.Snapshot
		}
		snap := pack()
		b.snapshot, d.saved, d.unsaved = &snap, true, 0
	}
	d.flying = &f
	d.server.journal.commit(b, func(err error) {
		if d.flying == &f && !d.server.dead {
			d.land(&f, err)
		}
	})
}

// land takes in the outcome of a commit.
func (d *drive) land(f *flight, err error) {
	d.flying = nil
	if err != nil {
		d.drop(f)
		return
	}
	d.revive = nil
	d.release(f)
	if d.server.dead {
		return
	}
	if len(d.next.records) == 0 {
		d.server.world.books.compare(d.row, d.state)
		d.checkReplication()
	}
	if d.state.Settled() && len(d.next.records) == 0 {
		d.cancelAll()
		d.server.drives = slices.DeleteFunc(d.server.drives, func(o *drive) bool { return o == d })
		d.gone = true
		d.server.keep(d)
		for _, m := range d.server.members { // those too that attached in this very moment
			d.server.send(d.id, coord.Message{Node: m.doc.ID, Forget: d.server.forgetting(d.id)})
		}
		for _, released := range d.next.released {
			released(false)
		}
		return
	}
	d.commit()
}

// drop forgets the state after a commit that did not succeed, and reads it again.
func (d *drive) drop(f *flight) {
	for _, released := range append(f.released, d.next.released...) {
		released(false)
	}
	d.state, d.next = nil, flight{}
	d.cancelAll()
	d.reload(firstWait)
}

// Waits before a record is read again.
const (
	firstWait = 100 * millisecond
	mostWait  = 10 * second
)

// reload reads the record after a while, and again until it can be read. It may
// be another's by then.
func (d *drive) reload(wait int64) {
	s := d.server
	s.later(wait, "reload", func() {
		switch {
		case d.state != nil || !s.owns():
			return
		case s.service.store.isDown(), s.world.happens(recordUnread):
			d.reload(min(2*wait, mostWait))
			return
		}
		if !d.row.settled {
			d.revive = nil
		}
		state, saved := s.service.store.load(d.row, s.epoch)
		d.adopt(state, saved)
		s.closeSessions()
		if !s.dead {
			d.turn()
		}
	})
}

// cancelAll gives up every errand of the drive.
func (d *drive) cancelAll() {
	for id := range d.errands {
		d.server.cancelErrand(id)
	}
}

// release lets out what waited for a commit.
func (d *drive) release(f *flight) {
	w := d.server.world
	w.books.checkReleased(d, f)
	last := d.server.lastEffect(f)
	effect := func(do func()) {
		if d.server.dead {
			return
		}
		if last == 0 {
			d.server.killAmid()
			return
		}
		last--
		do()
	}
	for _, m := range f.messages {
		effect(func() { d.server.send(d.id, m) })
	}
	for _, id := range f.cancel {
		delete(d.errands, id)
		d.server.cancelErrand(id)
	}
	for _, e := range f.errands {
		effect(func() { d.dispatch(e) })
	}
	for _, released := range f.released {
		effect(func() { released(true) })
	}
}

// dispatch has an errand run, unless it is under way.
func (d *drive) dispatch(e coord.Dispatch) {
	if d.errands[e.Errand.ID] {
		return
	}
	d.errands[e.Errand.ID] = true
	d.server.world.count(errandIssued(e.Errand.Kind))
	life := d.life
	reply := func(r stint.ErrandResult) {
		if d.life == life && !d.server.dead {
			delete(d.errands, r.ID)
			d.post(input{event: &coord.Event{Result: &r}})
			if r.Claimed > 0 {
				d.withdrawUnused(e.Errand.Generation)
			}
		}
	}
	if e.Errand.Kind == stint.ErrandRecord {
		d.writeRecord(e.Errand, reply)
	} else {
		if e.Errand.Kind == stint.ErrandCommit {
			d.server.world.endAtCommit(d.row.book.run)
		}
		d.afterRecords(e.Errand, func() {
			if d.life == life && d.errands[e.Errand.ID] {
				d.server.submitErrand(e, reply)
			}
		})
	}
}

// checkReplication checks that output is on more than one node as soon as nothing
// that would bring it there is under way or put off.
func (d *drive) checkReplication() {
	s, w := d.state, d.server.world
	if d.row.request.Replication < 2 || s.Status() != stint.InProgress || d.wake > 0 || len(d.inbox)+len(d.errands)+len(d.next.errands) > 0 {
		return
	}
	ready := make(map[stint.NodeID]bool)
	for _, demand := range s.Demands(d.millis()) {
		for _, load := range demand.Loads {
			ready[load.Node] = !d.server.isDraining(load.Node)
		}
	}
	risks := d.row.book.risks()
	for _, id := range sortedKeys(risks) {
		if _, there := ready[id]; there && slices.ContainsFunc(sortedKeys(ready), func(other stint.NodeID) bool { return other != id && ready[other] }) {
			w.breaks("copies", "output of %d operations of %s is on %s alone, and nothing is done about it", risks[id], d.id, id)
		}
	}
}

// publish shows the scheduler what the execution wants now.
func (d *drive) publish() {
	demands := d.state.Demands(d.millis())
	if d.stale || !reflect.DeepEqual(d.demands, demands) {
		d.demands, d.stale = demands, false
		d.published++
		d.server.want()
	}
}

// ask has a person look at the document.
func (d *drive) ask() {
	var doc stint.Execution
	look := func(s *coord.State) { doc = s.Document(d.millis()) }
	d.post(input{look: look, released: func(ok bool) {
		if ok && d.server.service.store.epoch == d.server.epoch { // it looks
			d.server.world.books.toldPeople(d.row.book, &doc)
		}
	}})
}
