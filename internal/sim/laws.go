package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"stint"
	"stint/internal/coord"
	"stint/internal/wire"
)

// begins checks and notes that an attempt begins.
func (b *books) begins(a *agentProcess, o *order) {
	e := a.bookOf(o.execution)
	node := a.machine.folder.node
	g, committed := e.jobs[o.grant.Job]
	if !committed || g.Node != node || g.Incarnation != a.incarnation || o.op < g.Ops.From || o.op >= g.Ops.To {
		b.world.breaks("begin", "operation %d began in %s on %s in incarnation %d without a grant", o.op, o.grant.Job, node, a.incarnation)
	}
	key := attempt{uint32(o.grant.Job), o.op}
	if _, before := e.attempts[key]; before {
		b.world.breaks("begin", "operation %d began twice in %s on %s", o.op, o.grant.Job, node)
	}
	e.attempts[key] = false
	b.world.note("begin", uint64(o.grant.Job), uint64(o.op))
}

// checkReleased checks that what leaves the server is committed.
func (b *books) checkReleased(d *drive, f *flight) {
	r := d.row
	if f.after+uint64(len(f.records)) > r.version {
		b.world.breaks("ack", "version %d left the server; %d is committed", f.after+uint64(len(f.records)), r.version)
	}
	e := r.book
	for _, m := range f.messages {
		if n := e.node(m.Node); m.Ack != nil && !e.stopped() && !n.gap && (m.Ack.Incarnation > n.incarnation || m.Ack.Incarnation == n.incarnation && m.Ack.Seq > n.seq) {
			b.world.breaks("ack", "an acknowledgement of report %d of incarnation %d of %s left the server; committed is %d of %d", m.Ack.Seq, m.Ack.Incarnation, m.Node, n.seq, n.incarnation)
		}
		b.checkMessage(e, f, &m)
		if m.Grant == nil {
			continue
		}
		b.checkGrant(e, m.Grant)
		if _, committed := e.jobs[m.Grant.Job]; !committed {
			b.world.breaks("ack", "%s left the server uncommitted", m.Grant.Job)
		}
	}
	stale := r.epoch != d.state.Epoch() // a server that does not know yet that its time is over repeats what was right then
	for _, d := range f.errands {
		if d.Errand.Storage != r.home {
			b.world.breaks("saved", "%s of %s is done in %q; the saved state is in %q", d.Errand.Kind, e.run.id, d.Errand.Storage, r.home)
		}
		if d.Errand.Kind != stint.ErrandCommit {
			continue
		}
		if stale {
			continue
		}
		for _, p := range d.Errand.Parts {
			if want := e.ops[len(e.ops)-1][p.Op].part; p.Name != want {
				b.world.breaks("output", "part %d is to be %q; the completion that counts staged %q", p.Op, p.Name, want)
			}
		}
	}
}

// checkAck checks that a report that an agent may drop is committed.
func (b *books) checkAck(e *book, id stint.NodeID, ack *coord.Ack) {
	n := e.node(id)
	if e.stopped() || n.gap || ack.Incarnation < n.incarnation {
		return
	}
	if ack.Incarnation > n.incarnation || ack.Seq > n.seq {
		b.world.breaks("ack", "report %d of incarnation %d of %s was acknowledged; committed is %d of %d", ack.Seq, ack.Incarnation, id, n.seq, n.incarnation)
	}
}

// toldPeople checks a document that was shown.
func (b *books) toldPeople(e *book, doc *stint.Execution) {
	if doc.Version > e.version {
		b.world.breaks("ack", "version %d of %s was shown; %d is committed", doc.Version, doc.ID, e.version)
	}
	retried := e.run.retried && e.told.status == stint.CompletedErrors
	if doc.Version < e.told.version || e.told.status.Final() && doc.Status != e.told.status && !retried {
		b.world.breaks("final", "%s was shown as %s in version %d after %s in %d", doc.ID, doc.Status, doc.Version, e.told.status, e.told.version)
	}
	e.told = told{version: doc.Version, status: doc.Status}
}

// compare checks a state that is all committed against the books.
func (b *books) compare(r *row, s *coord.State) {
	e := r.book
	if s.Version() != e.version {
		return
	}
	doc := s.Document(b.world.millis())
	for k, st := range doc.Stages {
		var done, out, failed int64
		for n := range e.ops[k] {
			switch o := &e.ops[k][n]; {
			case o.done:
				done++
			case o.gaveUp:
				failed++
			case o.job != 0 || o.taken:
				out++
			}
		}
		c := st.Operations
		if c.Completed != done || c.Queued+c.InProgress != out {
			b.world.breaks("books", "stage %s: %d completed and %d out; the records say %d and %d", st.Name, c.Completed, c.Queued+c.InProgress, done, out)
		}
		if c.Failed != failed {
			b.world.breaks("errors", "stage %s: %d operations failed; the records say %d", st.Name, c.Failed, failed)
		}
		if c.Total != c.Completed+c.InProgress+c.Queued+c.Waiting+c.Failed {
			b.world.breaks("books", "stage %s: counts %+v", st.Name, c)
		}
		if !e.stopped() && c.Performed != e.performed[k] {
			b.world.breaks("attempts", "stage %s: %d performed; the records tell of %d", st.Name, c.Performed, e.performed[k])
		}
	}
	b.compareRisks(e, s)
	if moves := doc.Operations.InProgress+doc.Operations.Queued > 0; !moves && !doc.Status.Final() && doc.Status != stint.Queued && doc.Waiting == "" {
		b.world.breaks("waits", "%s is %s, does nothing, and does not say what it waits for", doc.ID, doc.Status)
	}
	for _, fault := range s.Faults() {
		b.world.breaks("faults", "%s contradicts itself: %s", s.ID(), fault)
	}
	b.compareErrors(e, &doc)
}

// compareRisks checks what a state says would be lost with each node.
func (b *books) compareRisks(e *book, s *coord.State) {
	if e.stopped() {
		return
	}
	risks, said := e.risks(), make(map[stint.NodeID]int64)
	for _, ops := range e.ops {
		for i := range ops {
			if o := &ops[i]; o.begun && o.job != 0 {
				risks[o.node]++
			}
		}
	}
	for _, r := range s.Durability(b.world.millis()).Nodes {
		if r.Operations > 0 {
			said[r.Node] = r.Operations
		}
	}
	if !maps.Equal(risks, said) {
		b.world.breaks("books", "with each node %v operations would be lost; the records say %v", said, risks)
	}
}

// checkEnd checks what must hold when everything is over.
func (w *world) checkEnd() {
	for _, e := range w.books.all {
		r := e.row
		state, _ := e.service.store.load(r, r.epoch)
		doc := state.Document(w.millis())
		if rests := doc.Status == stint.Suspended && (e.run.left || !e.run.owns(e.service)); !rests && (!r.settled || !doc.Status.Final()) {
			w.breaks("live", "%s is %s, %q, %+v; attempts %d", doc.ID, doc.Status, doc.Waiting, doc.Operations, len(e.attempts))
			return
		}
		w.checkFold(r, &doc)
		w.books.compare(r, state)
		w.checkOutcome(e, &doc)
	}
	w.checkSaved()
	w.checkLeftovers()
}

func (w *world) checkFold(r *row, doc *stint.Execution) {
	folded := coord.New(r.plan.Plan, r.request, r.epoch, r.created)
	if r.origin != nil {
		var snap coord.Snapshot
		w.must(wire.Unmarshal(r.origin, &snap))
		var err error
		folded, err = coord.Restore(r.plan.Plan, r.request, r.epoch, snap)
		w.must(err)
	}
	b, err := wire.Marshal(r.history)
	w.must(err)
	var written []coord.Record
	w.must(wire.Unmarshal(b, &written))
	for _, rec := range written {
		folded.Apply(rec)
	}
	again := folded.Document(w.millis())
	if a, b := fmt.Sprintf("%+v", summary(doc)), fmt.Sprintf("%+v", summary(&again)); a != b {
		w.breaks("fold", "the record as it is read says %s; its fold says %s", a, b)
	}
}

// summary is what of a document can be compared as text.
func summary(x *stint.Execution) any {
	return []any{x.ID, x.Status, x.Version, x.Operations, x.Stages, x.Nodes, x.Output, x.Counters, len(x.Failures), x.Error, len(x.Stints)}
}

// checkOutcome checks how an execution ended.
func (w *world) checkOutcome(e *book, doc *stint.Execution) {
	r := e.run
	if e.terminated && doc.Status != stint.Terminated {
		w.breaks("final", "%s was acknowledged as terminated and is %s", r.id, doc.Status)
	}
	switch doc.Status {
	case stint.Completed:
		w.checkOutput(e)
		w.checkSums(e, doc)
		w.checkRecords(e, doc)
	case stint.CompletedErrors:
		w.checkPartial(e, doc)
		w.checkSums(e, doc)
	case stint.ExecutionFailed:
		w.count(failedRuns)
		if doc.Error.Code == stint.Conflict && !r.owns(e.service) {
			return // it was fenced off
		}
		w.checkBlame(e, doc.Error)
	case stint.Terminated:
		w.count(terminatedRuns)
	case stint.Suspended:
		return
	case stint.Queued, stint.InProgress, stint.Suspending, stint.Resuming, stint.Terminating:
		w.breaks("final", "%s ended as %s", r.id, doc.Status)
	}
	ofNow := !r.partial || r.turn.stint == len(doc.Stints) // not what an earlier stint had to do without something
	if r.committed && ofNow && doc.Status != stint.Completed && doc.Status != stint.CompletedErrors && r.owns(e.service) {
		w.breaks("output", "%s is %s and has an output", r.id, doc.Status)
	}
}

func (w *world) checkOutput(e *book) {
	r := e.run
	var got []content
	for _, n := range sortedKeys(r.output) {
		got = append(got, r.output[n])
	}
	want, cut := e.plan.model()
	if cut {
		got, want = []content{joined(got)}, []content{joined(want)}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.breaks("output", "%s wrote %v; one machine writes %v", r.id, got, want)
	}
}

// checkSums checks that every operation that was performed was counted once.
func (w *world) checkSums(e *book, doc *stint.Execution) {
	for k := range e.plan.Spec.Stages {
		want, got := e.sums[k], doc.Stages[k]
		if got.BytesIn != want.BytesIn || got.BytesOut != want.BytesOut || got.RecordsIn != want.RecordsIn || got.RecordsOut != want.RecordsOut || got.BadRecords != want.BadRecords {
			w.breaks("counters", "stage %s: %+v, want %+v", got.Name, got, want)
		}
	}
	got := doc.Counters["sim"]
	if got["operations"] != e.numbers[0] || got["numbers"] != e.numbers[1] {
		w.breaks("counters", "%v, want %v", got, e.numbers)
	}
}

// checkLeftovers checks that nodes have nothing of executions that are over.
func (w *world) checkLeftovers() {
	for _, m := range w.machines {
		if m.remains == neverBack || m.remains == staysCut {
			continue // nobody can tell it that all is over
		}
		if m.agent == nil || m.agent.session == nil {
			w.breaks("live", "machine %d is not attached", m.index)
			return
		}
		if h := m.agent.ledger.Holdings(); len(h) > 0 || m.agent.ledger.Owed() != 0 {
			w.breaks("live", "node %s still has %+v and owes %d", m.folder.node, h, m.agent.ledger.Owed())
		}
		w.checkCache(m)
	}
}

// checkSaved checks that nothing is left in long-term storage of executions that
// are over. What was under way when the rest was removed may come later, but not a
// record or a claim of the service that has removed it.
func (w *world) checkSaved() {
	for _, r := range w.runs {
		for _, key := range sortedKeys(w.storage.objects) {
			if !strings.HasPrefix(key, savedPrefix(r.id)) || r.left {
				continue
			}
			if by := w.storage.writer(key); r.cleared && by != nil && by == r.endedBy {
				w.breaks("saved", "%s came when all that was saved of %s was removed", key, r.id)
			}
			if !r.cleared && !w.mayRetry(r) {
				w.breaks("saved", "%s is over, and %s is still there", r.id, key)
			}
			w.count(leftBehind)
		}
	}
}

// mayRetry reports whether somebody may still ask for a retry.
func (w *world) mayRetry(r *run) bool {
	return r.partial && slices.ContainsFunc(w.books.all, func(e *book) bool { return e.run == r && e.status == stint.CompletedErrors })
}
