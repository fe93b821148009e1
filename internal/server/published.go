package server

import (
	"reflect"
	"sync"
	"time"

	"stint"
	"stint/internal/coord"
)

// published is what others read of a drive without asking it.
type published struct {
	mu      sync.Mutex
	demands []coord.Demand
	version uint64 // of the demands; a decision is made once on each
	taken   int    // decisions that the demands take into account
	watch   map[chan struct{}]bool
	status  stint.ExecutionStatus // "": the record could not be read yet
	drained map[stint.NodeID]bool // of the nodes that are to be drained: those that are, as far as this execution goes and is committed
	due     schedule
}

// publish shows the scheduler what the execution wants now, and others what they
// need not ask for.
func (d *drive) publish() {
	demands := d.state.Demands(d.millis())
	p := &d.public
	p.mu.Lock()
	p.status = d.state.Status()
	p.due.ScheduleAsk = d.state.Scheduled()
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

// drained says which of the nodes that are to be drained are, as far as this
// execution goes. The state may have to look at every operation for that: while
// it changes all the time it is asked now and then.
func (d *drive) drained() map[stint.NodeID]bool {
	asks := d.server.fleet.draining()
	if len(asks) == 0 {
		return nil
	}
	now := time.Now()
	if status := d.state.Status(); (status == stint.InProgress || status == stint.Suspending) && now.Sub(d.looked) < idleRound {
		return d.public.drained // nobody else writes it
	}
	d.looked = now
	out := make(map[stint.NodeID]bool, len(asks))
	for _, ask := range asks {
		out[ask.Node] = d.state.Drained(ask.Node)
	}
	return out
}

// showDrained shows which nodes are drained. A node that is may be taken away for
// good, so that it is shown when what it stands on is committed.
func (p *published) showDrained(drained map[stint.NodeID]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drained = drained
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

// current returns the status of an execution.
func (p *published) current() stint.ExecutionStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}
