package agent

import (
	"slices"
	"time"

	"stint"
	"stint/internal/worker"
)

// seat decides which slot serves which execution, and starts and ends workers
// accordingly.
func (l *loop) seat(now time.Time) {
	seats := make([]seat, len(l.slots))
	for i, s := range l.slots {
		seats[i] = seat{execution: s.execution, queued: len(s.queue), rested: now.Sub(s.since) >= quantum}
	}
	for i, answer := range seating(seats, l.demands(now)) {
		s := l.slots[i]
		s.drain = answer.drain
		if answer.execution != s.execution {
			s.leave()
			s.execution, s.since, s.pace = answer.execution, now, pace{}
			l.executions[answer.execution].seated = now
		}
		e := l.executions[s.execution]
		if s.process == nil && e != nil && l.waiting(e) > 0 && !now.Before(e.retryAt) {
			l.startWorker(i, e)
		}
	}
}

// demands returns what executions could use, those first whose turn is longest ago.
func (l *loop) demands(now time.Time) []demand {
	list := l.each()
	slices.SortStableFunc(list, func(a, b *execution) int { return a.seated.Compare(b.seated) })
	var demands []demand
	for _, e := range list {
		n := l.waiting(e)
		if e.spec == nil || n == 0 || now.Before(e.retryAt) {
			continue
		}
		if e.files != provided {
			l.provide(e)
			continue
		}
		limit := e.spec.Slots
		if limit <= 0 {
			limit = len(l.slots)
		}
		limit = min(limit, max(len(l.slots)/l.weightNext(e), 1))
		demands = append(demands, demand{execution: e.id, waiting: n, limit: limit})
	}
	return demands
}

// leave ends the slot's worker, which has nothing in hand.
func (s *slot) leave() {
	if s.process != nil {
		s.process.finish()
	}
	s.execution, s.ready = "", false
}

func (l *loop) startWorker(i int, e *execution) {
	s := l.slots[i]
	s.process = &process{
		execution: e.id, slot: i, command: l.agent.WorkerCommand, store: l.store, spawner: l.spawner, post: l.post, put: l.putPart(e.spec),
		setup: worker.Setup{
			Spec: *e.spec, Slot: i, Memory: l.agent.Memory, Slots: l.agent.Slots,
			Dir: l.folder.work(e.id, slotName(i)), Files: l.folder.work(e.id, "files"), Checkpoints: l.checkpoints(e.id),
		},
		orders: make(chan batch, maxDepth+maxStops+1),
	}
	s.ready, s.told, s.segment, s.rotate, s.queue, s.pace = false, 0, 0, false, nil, pace{}
	s.stops = make(map[stint.JobID]time.Time)
	e.task(s.process.run)
}

// feed hands ready orders to workers that have room.
func (l *loop) feed(now time.Time) {
	l.checkReserved()
	for _, s := range l.slots {
		e := l.executions[s.execution]
		if e == nil || !s.ready || s.drain || l.reserved != "" && l.reserved != e.id {
			continue
		}
		for len(e.ready) > 0 && len(s.process.orders) < maxDepth {
			stage := e.ready[0].grant.Stage
			if len(s.queue) == 0 {
				if !l.admit(e, stage) {
					break
				}
				s.pace.begin(stage, now)
				s.weight = l.weight(e, stage)
			}
			n := s.pace.room(len(s.queue))
			if n <= 0 || stage != s.pace.stage {
				break
			}
			s.hand(e, min(n, maxBatch))
		}
	}
}

// recall has workers give back what they have not begun where one operation has
// turned out to take long: it can go to another slot, or back to the server.
func (l *loop) recall(now time.Time) {
	for _, s := range l.slots {
		if s.process == nil || !s.ready || len(s.queue) < 2 || !s.pace.tooLong(now) {
			continue
		}
		if s.recall() {
			s.pace.slowed(now)
		}
	}
}

// recall tells a worker to give back what it has not begun of each job, and reports
// whether it could be told of all.
func (s *slot) recall() bool {
	told := make(map[stint.JobID]bool)
	for _, h := range s.queue {
		if told[h.job] {
			continue
		}
		told[h.job] = true
		select {
		case s.process.orders <- batch{stop: &worker.Stop{Job: h.job, Waiting: true}}:
		default: // it takes nothing at all: it is told when it does
			return false
		}
	}
	return true
}

// hand gives a worker at most limit ready orders of one job.
func (s *slot) hand(e *execution, limit int) {
	g := e.ready[0].grant
	b := batch{rotate: s.rotate, perform: worker.Perform{Job: g.Job, Stage: g.Stage, Attempt: g.Attempt}}
	if s.rotate {
		s.rotate, s.segment = false, 0
	}
	n := 0
	for n < limit && n < len(e.ready) && e.ready[n].grant == g {
		o := e.ready[n]
		b.perform.Orders = append(b.perform.Orders, o.wire)
		b.files = append(b.files, o.files...)
		b.own = append(b.own, o.own...)
		if o.release != nil {
			b.release = append(b.release, o.release)
		}
		s.queue = append(s.queue, handed{g.Job, o.wire.Op})
		n++
	}
	e.ready = slices.Delete(e.ready, 0, n)
	s.process.orders <- b // has room for as many as a worker may have in hand
}

// ended takes an operation out of a slot's hands: the first of them as a rule.
func (s *slot) ended(h handed) {
	if len(s.queue) > 0 && s.queue[0] == h {
		s.queue = s.queue[1:]
	} else if i := slices.Index(s.queue, h); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
}
