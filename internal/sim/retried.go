package sim

import (
	"cmp"
	"slices"

	"stint"
	"stint/internal/coord"
)

// mostLost is how many attempts of an operation may be lost to machines.
const mostLost = 20

// shapePolicy draws how an execution treats errors, and how long its output is kept
// on nodes.
func (w *world) shapePolicy(r *run) {
	if w.chance(0.35) {
		yes := true
		r.request.CompleteErrors = &yes
		r.retries = w.rng.IntN(4)
	}
	if w.chance(0.2) {
		r.request.SkipBadRecords = []float64{0.02, 0.3, 1}[w.rng.IntN(3)]
	}
	r.request.Keep = []int64{0, 0, 0, 0, -1, 3}[w.rng.IntN(6)]
	r.generous = w.chance(0.6)
}

func (r *run) completesErrors() bool { return r.request.CompleteErrors != nil }

// curse has some operations always fail, until somebody mends what makes them.
func (w *world) curse(r *run, p *planned) {
	most := 1
	if r.completesErrors() {
		most = 4
	}
	for range most {
		k := w.rng.IntN(len(p.Spec.Stages))
		if n := p.Spec.Stages[k].Operations; n > 0 {
			w.befalls(operationCursed, func() { r.cursed = append(r.cursed, attempt{uint32(k), uint32(w.rng.IntN(int(n)))}) })
		}
	}
}

// doneBy is what a completion says. Where records may be left out, how many there
// are follows from what was read.
func (r *run) doneBy(o *order, start, end int64) *stint.OpDone {
	stage := &o.plan.Spec.Stages[o.grant.Stage]
	d := doneOf(o.grant.Stage, o.op, start, end)
	if stage.Input.Kind == stint.FromInput && stage.Values == nil {
		d.InputSum = sumRead(joined(o.inputs[0]))
	}
	if r.request.SkipBadRecords > 0 {
		d.RecordsIn, d.BadRecords = recordsOf(o.inputs)
	}
	return d
}

// sumRead is the sum of the bytes that an operation reads; 0 would be none.
func sumRead(c content) uint64 { return max(c.sum(), 1) }

// recordsOf is how many records there are in what an operation reads, and how many
// others on which its program fails.
func recordsOf(inputs [][]content) (good, bad int64) {
	c := joined(inputs[0])
	all := int64(0)
	for _, p := range c.pieces {
		all += p.to - p.from
	}
	if c.text != "" {
		all += 10
	}
	switch c.sum() % 12 {
	case 0:
		bad = (all + 1) / 2
	case 1:
		bad = min(all, 1)
	}
	return all - bad, bad
}

// backoff is the wait before an attempt after n that failed, in milliseconds.
func (e *book) backoff(n int) int64 {
	first := cmp.Or(e.run.request.Backoff, 200)
	return min(first<<min(n-1, 16), max(first, 30_000))
}

// enterFailure notes that an attempt failed, and when the next may begin, if there
// is one.
func (b *books) enterFailure(e *book, at int64, k int, f *stint.Failure) {
	op, err := f.Op, f.Error
	o := &e.ops[k][op]
	o.doubted = true
	e.blamed++
	switch err.Code {
	case stint.Failed:
		o.failures++
		o.notYet = at + e.backoff(o.failures)
	case stint.Lost:
		if len(f.Silent) > 0 { // its input is there
			o.notYet = at + 2000
			return
		}
		o.lostTo++
		o.notYet = at + e.backoff(o.lostTo)
	case stint.Unavailable:
		o.notYet = at + 200
		return
	case stint.Denied:
		o.notYet = at + 2000
		return
	case stint.Invalid, stint.NotFound, stint.Conflict, stint.Canceled, stint.Unknown, stint.Internal:
		o.gaveUp = true
	}
	if o.failures >= e.run.request.Attempts || o.lostTo >= mostLost {
		o.gaveUp = true
	}
	if o.gaveUp {
		b.world.count(gaveUpOperations)
		e.mixed = e.mixed || o.everDone
		o.checkpoint, o.notYet = "", 0
	}
}

// countDone counts an operation that is completed for the first time.
func (*books) countDone(e *book, d *stint.Done, op uint32) {
	at := slices.IndexFunc(d.Ops, func(u stint.OpDone) bool { return u.Op == op })
	u, sum := &d.Ops[at], &e.sums[d.Stage]
	sum.BytesIn += u.BytesIn
	sum.BytesOut += u.BytesOut
	sum.RecordsIn += u.RecordsIn
	sum.RecordsOut += u.RecordsOut
	sum.BadRecords += u.BadRecords
	e.numbers[0]++
	e.numbers[1] += int64(op)
}

// countRead counts what an operation has read anew that was counted before, where
// records may be left out. It returns that.
func (*books) countRead(e *book, d *stint.Done, o *opEntry, op uint32) (read [2]int64) {
	if e.run.request.SkipBadRecords <= 0 {
		return read
	}
	u := &d.Ops[slices.IndexFunc(d.Ops, func(u stint.OpDone) bool { return u.Op == op })]
	read = [2]int64{u.RecordsIn, u.BadRecords}
	if o.counted {
		e.addRead(d.Stage, read, 1)
		e.addRead(d.Stage, o.read, -1)
	}
	return read
}

func (e *book) addRead(k int, read [2]int64, times int64) {
	e.sums[k].RecordsIn += times * read[0]
	e.sums[k].BadRecords += times * read[1]
}

// someFailed reports whether an operation has failed for good.
func (e *book) someFailed() bool {
	return slices.ContainsFunc(e.ops, func(ops []opEntry) bool {
		return slices.ContainsFunc(ops, func(o opEntry) bool { return o.gaveUp })
	})
}

// canRetry reports whether there is something that a retry would perform.
func (e *book) canRetry() bool { return e.status == stint.CompletedErrors && e.someFailed() }

// redoneSet says of each operation whether a retry performs it: it failed, or did
// without another that a retry performs.
func (e *book) redoneSet() [][]bool {
	if e.redoneAt == e.version && e.redone != nil {
		return e.redone
	}
	out := make([][]bool, len(e.ops))
	lacks := make([]bool, len(e.ops)) // it, or a stage that it is made of, lacks something
	for k := range e.ops {            // each after those that it reads
		out[k] = make([]bool, len(e.ops[k]))
		lacks[k] = slices.ContainsFunc(e.ops[k], func(o opEntry) bool { return o.gaveUp })
		whole := false
		for _, in := range e.plan.into[k] {
			lacks[k] = lacks[k] || in.from >= 0 && lacks[in.from]
			whole = whole || in.from >= 0 && in.kind != stint.OneToOne && in.kind != stint.Gather && lacks[in.from]
		}
		for op := range out[k] {
			out[k][op] = whole || e.ops[k][op].gaveUp || e.readsRedone(out, k, uint32(op))
		}
	}
	e.redone, e.redoneAt = out, e.version
	return out
}

// readsRedone reports whether an operation reads one that a retry performs, where
// operations have theirs.
func (e *book) readsRedone(redone [][]bool, k int, op uint32) bool {
	for i := range e.plan.into[k] {
		in := &e.plan.into[k][i]
		if in.kind != stint.OneToOne && in.kind != stint.Gather {
			continue
		}
		if r := e.plan.read(in, op); slices.Contains(redone[in.from][r.From:r.To], true) {
			return true
		}
	}
	return false
}

// isRedone reports whether a retry performs an operation.
func (e *book) isRedone(k int, op uint32) bool { return e.someFailed() && e.redoneSet()[k][op] }

// enterErrors notes that an execution is completed without something.
func (b *books) enterErrors(e *book) {
	w := b.world
	w.count(errorRuns)
	if !e.run.committed && e.run.owns(e.service) {
		w.breaks("output", "%s is completed without an output", e.run.id)
	}
	if !e.run.completesErrors() {
		w.breaks("errors", "%s completed with errors, which nobody asked for", e.run.id)
	}
	b.leaveNodes(e)
}

// enterRetry has those operations performed again that failed or did without others.
func (b *books) enterRetry(e *book) {
	b.world.count(retriedRuns)
	for _, n := range e.nodes {
		n.outdated = true
	}
	redone := e.redoneSet()
	for k := range e.ops {
		for n := range e.ops[k] {
			if o := &e.ops[k][n]; redone[k][n] {
				if o.counted {
					e.addRead(k, o.read, -1)
				}
				*o = opEntry{counted: o.counted, made: o.made}
			}
		}
	}
	b.undo(e)
	e.resumed = e.version
}

// checkMissing checks that a grant names the operations that are to be done without.
func (b *books) checkMissing(e *book, g *stint.Grant) {
	for i := range e.plan.into[g.Stage] {
		in := &e.plan.into[g.Stage][i]
		if in.from < 0 {
			continue
		}
		said := g.Missing
		if in.place > 0 {
			said = g.Beside[in.place-1].Missing
		}
		reads := stint.Range{From: e.plan.read(in, g.Ops.From).From, To: e.plan.read(in, g.Ops.To-1).To}
		for n := reads.From; n < reads.To; n++ {
			if o := &e.ops[in.from][n]; stint.RangesContain(said, n) != o.gaveUp {
				b.world.breaks("errors", "%s: that operation %d of stage %d is missing is %v; it is not", g.Job, n, in.from, !o.gaveUp)
			}
		}
	}
}

// compareErrors checks what a document says of attempts that failed.
func (b *books) compareErrors(e *book, doc *stint.Execution) {
	told := int64(0)
	for _, c := range doc.Causes {
		told += c.Attempts
	}
	if !e.stopped() && !e.run.rebased && told != e.blamed {
		b.world.breaks("errors", "%d attempts have causes; %d failed", told, e.blamed)
	}
	if !e.run.completesErrors() {
		return
	}
	var missing []stint.OperationID
	for k := range e.ops {
		for n := range e.ops[k] {
			if e.ops[k][n].gaveUp {
				missing = append(missing, stint.MakeOperationID(e.plan.Spec.Stages[k].Name, uint32(n)))
			}
		}
	}
	if !slices.EqualFunc(doc.Missing, missing, func(m stint.Missing, id stint.OperationID) bool { return m.Operation == id && m.Error != nil }) {
		b.world.breaks("errors", "%v is missing; the records say %v", doc.Missing, missing)
	}
}

// checkBlame checks that an execution that failed had a reason.
func (w *world) checkBlame(e *book, err *stint.Error) {
	blamed := func(of func(o *opEntry) bool) bool {
		return slices.ContainsFunc(e.ops, func(ops []opEntry) bool {
			return slices.ContainsFunc(ops, func(o opEntry) bool { return o.gaveUp && of(&o) })
		})
	}
	ok := false
	switch {
	case e.run.completesErrors():
	case err.Code == stint.Failed && blamed(func(o *opEntry) bool { return o.failures >= e.run.request.Attempts }):
		ok = true
	case err.Code == stint.Failed: // then more records were left out than may be
		ok = e.run.request.SkipBadRecords > 0 && (!e.run.knowsRecords() || e.tooBad())
		w.count(failedForRecords)
	case err.Code == stint.Lost:
		ok = blamed(func(o *opEntry) bool { return o.lostTo >= mostLost })
	case err.Code == stint.Invalid:
		ok = e.run.input.differs(e.plan) && blamed(func(o *opEntry) bool { return true })
		w.count(failedForInput)
	}
	if !ok {
		w.breaks("blame", "%s failed: %v", e.run.id, err)
	}
}

// knowsRecords reports whether it is known of each operation how many records it has
// read: not of those of an execution that did not count any that were left out.
func (r *run) knowsRecords() bool {
	return r.reuses == nil || r.reuses.request.SkipBadRecords > 0 && r.reuses.knowsRecords()
}

// tooBad reports whether more records of a stage are left out than may be, of all
// that there are.
func (e *book) tooBad() bool {
	good, bad := make([]int64, len(e.ops)), make([]int64, len(e.ops))
	e.plan.performAll(func(int, uint32) bool { return false }, func(k int, _ uint32, inputs [][]content) {
		g, b := recordsOf(inputs)
		good[k] += g
		bad[k] += b
	})
	for k := range good {
		if bad[k] > 0 && float64(bad[k]) > e.run.request.SkipBadRecords*float64(good[k]+bad[k]) {
			return true
		}
	}
	return false
}

// checkRecords checks that a completed execution has not left out more records than
// it may.
func (w *world) checkRecords(e *book, doc *stint.Execution) {
	if e.run.request.SkipBadRecords <= 0 || !e.run.knowsRecords() {
		return
	}
	bad := int64(0)
	for _, st := range doc.Stages {
		bad += st.BadRecords
	}
	if bad > 0 {
		w.count(recordsLeftOut)
	}
	if e.tooBad() {
		w.breaks("errors", "%s is completed, though too many records were left out", e.run.id)
	}
}

// performAll performs every operation that has not failed on one machine, each on
// exactly what it is to read.
func (p *planned) performAll(failed func(k int, op uint32) bool, look func(k int, op uint32, inputs [][]content)) [][]content {
	all := make([][]content, len(p.Spec.Stages))
	for k := range p.Spec.Stages {
		stage := &p.Spec.Stages[k]
		all[k] = make([]content, stage.Operations)
		for op := range stage.Operations {
			if failed(k, op) {
				continue
			}
			inputs := make([][]content, 0, len(p.into[k]))
			for i := range p.into[k] {
				inputs = append(inputs, p.inputsBy(&p.into[k][i], op, all, failed))
			}
			look(k, op, inputs)
			all[k][op] = perform(stage, op, inputs)
		}
	}
	return all
}

// inputsBy is what an operation reads by an edge.
func (p *planned) inputsBy(e *edge, op uint32, all [][]content, failed func(k int, op uint32) bool) []content {
	if e.from < 0 {
		var c content
		subset := p.Subset(e.to, op)
		if v := subset.Values; v != nil {
			c.pieces = []piece{{"values", v.First, v.First + v.Count}}
		}
		for _, part := range subset.Pieces {
			c.pieces = append(c.pieces, piece{contentOf(part.Object), part.Offset, part.Offset + part.Length})
		}
		return []content{c}
	}
	var list []content
	reads := p.read(e, op)
	for n := reads.From; n < reads.To; n++ {
		if !failed(e.from, n) {
			list = append(list, all[e.from][n])
		}
	}
	return list
}

// checkPartial checks the output of an execution that is completed without something.
func (w *world) checkPartial(e *book, doc *stint.Execution) {
	r := e.run
	if !r.owns(e.service) {
		return
	}
	failed := func(k int, op uint32) bool { return e.ops[k][op].gaveUp }
	if !e.someFailed() {
		if r.knowsRecords() && !e.tooBad() {
			w.breaks("errors", "%s completed with errors, and none is there: %v", r.id, doc.Error)
		}
		return
	}
	w.count(partialOutputs)
	last := len(e.ops) - 1
	want := e.plan.performAll(failed, func(int, uint32, [][]content) {})[last]
	for op := range e.ops[last] {
		got, there := r.output[uint32(op)]
		switch {
		case there == failed(last, uint32(op)):
			w.breaks("output", "%s: that part %d is there is %v", r.id, op, there)
		case e.mixed: // what was made of it before it failed is in the output
		case there && !got.equal(want[op]):
			w.breaks("output", "%s wrote %v as part %d; without what failed one machine writes %v", r.id, got, op, want[op])
		}
	}
}

// retryable reports whether an operation is missing that a retry would perform.
func retryable(missing []stint.Missing) bool {
	return slices.ContainsFunc(missing, func(m stint.Missing) bool { return m.Operation != "" })
}

// retry has a person ask for what failed to be performed after all, maybe after
// they have mended what made it fail.
func (w *world) retry(v *service, r *run) {
	at := v.store.of(r.id)
	if v.server == nil || !at.settled || r.retries == 0 || !at.book.canRetry() {
		return
	}
	if w.healed {
		r.retries = 1 // it is to come to an end
	}
	if r.retries == 1 || w.chance(0.4) {
		if len(r.cursed) > 0 {
			w.count(cursesLifted)
		}
		r.cursed = nil
	}
	v.server.retry(r, at, func(err error) {
		if err == nil {
			r.retries--
		}
	})
}

// retry takes up an execution that completed with errors.
func (s *server) retry(r *run, at *row, done func(error)) {
	if s.seized[r.id] || s.live(r.id) != nil {
		done(errUnknown)
		return
	}
	ask := coord.Event{Retry: true}
	state, saved := s.service.store.load(at, s.epoch)
	if err := state.Refusal(ask); err != nil {
		done(err)
		return
	}
	r.retried = true
	d := &drive{server: s, id: r.id, row: at, revive: &ask}
	s.drives = append(s.drives, d)
	d.adopt(state, saved)
	for _, m := range s.members {
		if m.session != nil {
			d.post(input{event: &coord.Event{Attach: &coord.Attach{Node: m.doc, Holding: stint.Holding{Execution: d.id}, Session: m.number}}})
		}
	}
	d.post(input{released: func(ok bool) {
		if ok {
			done(nil)
		} else {
			done(errUnknown)
		}
	}})
}
