package sim

import (
	"fmt"
	"slices"

	"stint"
)

// slot is one worker: it performs what it is handed, one after the other, and
// writes what it does into its log before the agent hears of it.
type slot struct {
	agent   *agentProcess
	log     *slotLog
	read    int // records of the log that the ledger has
	queue   []*order
	current *order
	life    int // counts the workers that were here
}

const (
	ahead    = 2 // operations that a worker has in hand
	patience = 5 * second
)

// prepare makes an operation ready: it finds what it reads.
func (a *agentProcess) prepare(o *order) {
	w := a.world
	a.preparing = append(a.preparing, o)
	stage := &o.plan.Spec.Stages[o.grant.Stage]
	a.restore(o)
	if stage.Input.Kind == stint.FromInput && len(stage.Beside) == 0 {
		a.later(w.between(10, millisecond), "prepared", func() { a.prepared(o, [][]content{{inputOf(o.grant, stage, o.op)}}) })
		return
	}
	a.fetch(o, w.now+patience)
}

// restore unpacks the checkpoint that an interrupted attempt has left.
func (a *agentProcess) restore(o *order) {
	w := a.world
	for _, c := range o.grant.Checkpoints {
		if c.Op != o.op {
			continue
		}
		saved, there := w.storage.objects[c.Key].(*checkpoint)
		if r := w.runOf(o.execution); !there && !r.cleared && r.owns(a.machine.service) {
			w.breaks("checkpoint", "%s of operation %d is not there", c.Key, o.op)
			return
		}
		if there {
			o.progress = saved.progress
			w.count(checkpointRestored)
		}
	}
}

// leave takes an order off those that are being prepared.
func (a *agentProcess) leave(o *order) {
	a.preparing = slices.DeleteFunc(a.preparing, func(other *order) bool { return other == o })
}

// fetch reads what an operation needs of other stages from where the grant says
// it lies, and tries again for a while where nobody answers.
func (a *agentProcess) fetch(o *order, deadline int64) {
	w := a.world
	a.later(w.between(100, 20*millisecond), "fetch", func() {
		w.passes(fetching, a.machine.service, a.machine)
		inputs, lost, silent := a.gather(o)
		switch {
		case lost == "" || silent != nil && w.now >= deadline:
		case silent != nil:
			a.later(300*millisecond, "fetch", func() { a.fetch(o, deadline) })
			return
		}
		if lost == "" {
			a.prepared(o, inputs)
			return
		}
		a.leave(o)
		a.ledger.Fail(o.execution, stint.Failure{Job: o.grant.Job, Op: o.op, Start: a.millis(), End: a.millis(), Error: stint.Errorf(stint.Lost, "%s", lost), Silent: nodesOf(silent)})
		a.flush()
		a.pump()
	})
}

// nodesOf lists the nodes among sources.
func nodesOf(sources []*stint.Source) (list []stint.NodeID) {
	for _, src := range sources {
		if src.Pack == nil && !slices.Contains(list, src.Node) {
			list = append(list, src.Node)
		}
	}
	return list
}

// gather collects the inputs: lost says what is missing, silent who did not answer.
// Copies that cannot be used are reported.
func (a *agentProcess) gather(o *order) (inputs [][]content, lost string, silent []*stint.Source) {
	for _, e := range o.plan.into[o.grant.Stage] {
		if e.from < 0 {
			inputs = append(inputs, []content{inputOf(o.grant, &o.plan.Spec.Stages[e.to], o.op)})
			continue
		}
		sources, missing := o.grant.Sources, o.grant.Missing
		if e.place > 0 {
			sources, missing = o.grant.Beside[e.place-1].Sources, o.grant.Beside[e.place-1].Missing
		}
		var list []content
		reads := o.plan.read(&e, o.op)
		for n := reads.From; n < reads.To; n++ {
			if stint.RangesContain(missing, n) {
				a.world.count(didWithout)
				continue
			}
			c, found, mute := a.search(sources, blockKey{o.execution, e.from, n}, func(bad stint.BadCopy) {
				bad.Job = o.grant.Job
				a.ledger.Bad(o.execution, bad)
			})
			switch {
			case found == noAnswer:
				silent, lost = append(silent, mute...), "no answer"
			case found == notThere && lost == "":
				lost = fmt.Sprintf("%d of stage %d is not there", n, e.from)
			}
			a.checkReused(o, sources, e.from, n, c, found)
			list = append(list, c)
		}
		inputs = append(inputs, list)
	}
	return inputs, lost, silent
}

// finding is what became of a search for a block.
type finding int

const (
	found finding = iota
	notThere
	noAnswer // of at least one that may have it
)

// search reads a block from the first of its sources that has it whole; silent are
// those that did not answer.
func (a *agentProcess) search(sources []stint.Source, key blockKey, bad func(stint.BadCopy)) (c content, how finding, silent []*stint.Source) {
	worst := notThere
	for i := range sources {
		src := &sources[i]
		if !stint.RangesContain(src.Ops, key.op) {
			continue
		}
		b, answered := a.ask(src, nameAt(src, key))
		switch {
		case !answered:
			worst, silent = noAnswer, append(silent, src)
		case b.whole():
			return b.content, found, nil
		default:
			copyOf := stint.BadCopy{Node: src.Node, Stage: key.stage, Ops: []stint.Range{{From: key.op, To: key.op + 1}}}
			if src.Pack != nil {
				copyOf.Pack = src.Pack.Key
			}
			a.world.count(badCopyFound)
			bad(copyOf)
		}
	}
	return content{}, worst, silent
}

// ask asks one source for a block.
func (a *agentProcess) ask(src *stint.Source, key blockKey) (b *block, answered bool) {
	w := a.world
	if w.happens(readFailed) {
		return nil, false
	}
	if w.happens(readDamaged) {
		return &block{rotten: true}, true
	}
	if src.Pack != nil {
		if max(w.storage.refuses, w.storage.denies) > w.now {
			w.felt()
			return nil, false
		}
		w.count(packRead)
		p, there := w.storage.objects[src.Pack.Key].(*pack)
		if !there || p.stage != key.stage {
			return nil, true
		}
		return p.blocks[key.op], true
	}
	peer := a.machine
	if src.Node != a.machine.folder.node {
		peer = a.machine.service.machineAt(src.Address)
	}
	if peer == nil || peer.agent == nil || peer.folder.node != src.Node || peer != a.machine && (peer.pausedUntil > w.now || a.machine.peerUp[peer.index] > w.now) {
		return nil, false
	}
	w.passes(serving, a.machine.service, peer)
	if b = peer.folder.blocks[key]; b == nil || b.torn {
		peer.agent.missed(key)
	}
	return b, true
}

// missed tells the server that a block was asked for here that is not here.
func (a *agentProcess) missed(key blockKey) {
	if slices.Contains(a.ledger.Executions(), key.execution) {
		a.ledger.Lost(key.execution, addOp(nil, key.stage, key.op))
		a.flush()
	}
}

// prepared queues an order that is ready.
func (a *agentProcess) prepared(o *order, inputs [][]content) {
	a.leave(o)
	o.inputs = inputs
	if handed, begun := a.ledger.Outstanding(o.execution, o.grant.Job, o.op); handed && !begun {
		a.ready = append(a.ready, o)
	}
	a.pump()
}

// next hands the slot what is ready, and has it begin if it is idle.
func (s *slot) next() {
	a := s.agent
	for len(a.ready) > 0 && len(s.queue) < ahead {
		s.queue = append(s.queue, a.ready[0])
		a.ready = a.ready[1:]
	}
	if s.current == nil && len(s.queue) > 0 {
		s.begin()
	}
}

// begin begins the next operation of the queue.
func (s *slot) begin() {
	a, o := s.agent, s.queue[0]
	w := a.world
	if !s.write(o, logRecord{begun: true, grant: o.grant, op: o.op}) {
		a.killWorker(slices.Index(a.slots, s))
		return
	}
	s.queue, s.current = s.queue[1:], o
	w.books.begins(a, o)
	w.passes(performing, a.machine.service, a.machine)
	life := s.life
	took := int64(float64(w.runOf(o.execution).duration(w)) * a.machine.slow * (1 - o.progress))
	o.began, o.takes = w.now, took
	a.later(took, "end", func() {
		if s.life == life && s.current == o {
			s.end(o, took)
		}
	})
	s.tellSoon()
}

// write appends to the slot's log, which is another for another execution.
// It reports false if it finds no room: what there is of the record is not whole, and
// nothing is written behind it.
func (s *slot) write(o *order, r logRecord) bool {
	if s.log == nil || s.log.execution != o.execution {
		s.deliver()
		s.log, s.read = &slotLog{execution: o.execution}, 0
		s.agent.machine.folder.logs = append(s.agent.machine.folder.logs, s.log)
	}
	w := s.agent.world
	if s.agent.machine.fullUntil > w.now && w.happens(writeTorn) {
		s.log.damage(len(s.log.records))
		return false
	}
	s.log.records = append(s.log.records, r)
	if w.chance(0.02) {
		s.log.synced, s.log.named = len(s.log.records), true
	}
	return true
}

// end ends an attempt: its output is written, and the log says so.
func (s *slot) end(o *order, took int64) {
	a, w := s.agent, s.agent.world
	r := w.runOf(o.execution)
	now := a.millis()
	record := logRecord{grant: o.grant, op: o.op}
	fault := r.outcome(a, o)
	if fault == nil && o.plan.Spec.Stages[o.grant.Stage].Part && w.happens(syncFailed) {
		fault = stint.Errorf(stint.Unavailable, "sync failed")
	}
	if fault != nil {
		record.failed = &stint.Failure{Job: o.grant.Job, Op: o.op, Start: now - took/millisecond, End: now, Error: fault}
	} else {
		record.done = r.doneBy(o, now-took/millisecond, now)
		out := o.perform()
		if o.plan.Spec.Stages[o.grant.Stage].Part {
			record.part = &stint.Part{
				Op: o.op, Bytes: record.done.BytesOut, Sum: out.sum(),
				Name: fmt.Sprintf("part-%05d.%d-%d-%s", o.op, o.grant.Job, a.incarnation, a.machine.folder.node),
			}
			r.staged[record.part.Name] = out
			w.passes(staging, a.machine.service, a.machine)
		} else {
			a.machine.folder.write(blockKey{o.execution, o.grant.Stage, o.op}, out)
			w.passes(writing, a.machine.service, a.machine)
		}
	}
	if !s.write(o, record) {
		a.killWorker(slices.Index(a.slots, s))
		return
	}
	s.current = nil
	if len(s.queue) > 0 {
		s.begin()
	}
	s.tellSoon()
}

// tellSoon has the agent hear of what the log has.
func (s *slot) tellSoon() {
	s.agent.later(s.agent.world.between(100, 6*millisecond), "told", func() {
		s.deliver()
		s.agent.flush()
		s.agent.pump()
	})
}

// deliver enters what the log holds in addition into the ledger.
func (s *slot) deliver() {
	if s.log == nil {
		return
	}
	l, x := s.agent.ledger, s.log.execution
	for ; s.read < len(s.log.records); s.read++ {
		switch r := s.log.records[s.read]; {
		case r.begun:
			l.Begun(x, stint.Begun{Job: r.grant.Job, Ops: stint.Range{From: r.op, To: r.op + 1}})
		case r.done != nil:
			l.Done(x, r.grant.Job, *r.done, countersOf(r.op), r.part)
		case r.failed != nil:
			l.Fail(x, *r.failed)
		}
	}
}

// killWorker ends a slot's worker: the agent reads its log, the operation in
// progress is lost, those behind it are handed out again.
func (a *agentProcess) killWorker(i int) {
	s, w := a.slots[i], a.world
	s.life++
	current, queue := s.current, s.queue
	s.current, s.queue = nil, nil
	s.retell()
	if current != nil {
		a.lose(current.execution, current.grant.Job, current.op)
	}
	for _, o := range queue {
		a.ledger.PutBack(o.execution, o.grant.Job, stint.Range{From: o.op, To: o.op + 1})
	}
	a.flush()
	a.later(w.between(millisecond, 50*millisecond), "worker", a.pump)
}

// retell enters what the log of a worker that ended holds in addition, as far as it
// can be read. The next one has a log of its own.
func (s *slot) retell() {
	if s.log == nil {
		return
	}
	a, log := s.agent, s.log
	all := log.records
	untold := all[max(min(s.read, len(all)), len(log.readable())):]
	log.records = log.readable()
	s.deliver()
	for _, r := range untold {
		if r.done != nil || r.failed != nil {
			a.lose(log.execution, r.grant.Job, r.op)
		}
	}
	s.log, s.read = nil, 0
}

// lose fails an operation whose worker was killed. That it began nobody will ever say,
// if the log that said so cannot be read.
func (a *agentProcess) lose(x stint.ExecutionID, id stint.JobID, op uint32) {
	if handed, begun := a.ledger.Outstanding(x, id, op); handed && !begun {
		a.bookOf(x).attempts[attempt{uint32(id), op}] = true
	}
	a.ledger.Fail(x, stint.Failure{Job: id, Op: op, Start: a.millis(), End: a.millis(), Error: stint.Errorf(stint.Lost, "worker killed")})
}

// forget ends what the slot has of an execution.
func (s *slot) forget(x stint.ExecutionID) {
	if s.current != nil && s.current.execution == x {
		s.life++
		s.current = nil
	}
	s.queue = slices.DeleteFunc(s.queue, func(o *order) bool { return o.execution == x })
	if s.log != nil && s.log.execution == x {
		s.log, s.read = nil, 0
	}
}
