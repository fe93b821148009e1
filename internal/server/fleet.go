package server

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/link"
	"stint/internal/sched"
	"stint/internal/store"
)

// fleet is who is there: nodes and their sessions, live executions, errands
// under way. The mutex guards maps alone and is held for no call that waits.
type fleet struct {
	awayAfter, lostAfter time.Duration
	askAfter             time.Duration

	mu       sync.Mutex
	sessions uint64 // attached so far
	nodes    map[stint.NodeID]*member
	drives   map[stint.ExecutionID]*drive
	errands  map[string]*errandUnderWay
	outputs  map[string]stint.ExecutionID // location to who writes there
	turn     int                          // whose turn it is to run an errand
	drains   []coord.DrainAsk             // of the nodes that are to be drained; replaced, never changed
	kept     map[stint.ExecutionID]int64  // until when nodes keep blocks of executions that have ended, in ms since 1970
	arrived  chan struct{}                // closed, and renewed, when a node attaches
	sentAway error                        // why the record could not take in the node that came last; nil: it could
	sentAt   time.Time                    // when that was
	closed   bool                         // nobody attaches any more
	seized   map[stint.ExecutionID]bool   // being resumed: one request at a time
}

// member is a node as this server knows it.
type member struct {
	doc     stint.Node
	number  uint64        // of its latest session; 0: none since this server began
	session *link.Session // nil: none
	specs   map[stint.ExecutionID]bool
	silent  time.Time       // since when there is no session
	told    bool            // that it is lost: to every drive
	drain   *coord.DrainAsk // nil: it is not to be drained
}

// goneNode is a node that has been silent for too long since a session ended.
type goneNode struct {
	id      stint.NodeID
	lost    bool
	lostAt  time.Time // or will be, if it stays away
	session uint64
}

func (g goneNode) event() *coord.Event {
	gone := &coord.Gone{Node: g.id, Lost: g.lost, Session: g.session}
	if !g.lost {
		gone.LostAt = g.lostAt.UnixMilli()
	}
	return &coord.Event{Gone: gone}
}

func (f *fleet) init(awayAfter, lostAfter time.Duration) {
	f.awayAfter, f.lostAfter = cmp.Or(awayAfter, DefaultAwayAfter), cmp.Or(lostAfter, DefaultLostAfter)
	f.nodes = make(map[stint.NodeID]*member)
	f.drives = make(map[stint.ExecutionID]*drive)
	f.errands = make(map[string]*errandUnderWay)
	f.outputs = make(map[string]stint.ExecutionID)
	f.arrived = make(chan struct{})
	f.kept = make(map[stint.ExecutionID]int64)
	f.seized = make(map[stint.ExecutionID]bool)
}

// remember takes in the nodes of the record; they are silent from now on. Which
// are lost or to be drained, drives find out when they begin.
func (f *fleet) remember(nodes []store.KnownNode, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range nodes {
		if n.Status == stint.NodeReady {
			n.Status = stint.NodeAway
		}
		m := &member{doc: n.Node, silent: now, told: n.Status == stint.NodeLost}
		if n.Draining {
			m.drain = &coord.DrainAsk{Node: n.ID, By: n.By}
		}
		f.nodes[n.ID] = m
	}
	f.noteDrains()
}

// add makes a drive known and returns the nodes that have a session.
func (f *fleet) add(d *drive) []attachment {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drives[d.id] = d
	return f.attachments()
}

// attached returns the nodes that have a session.
func (f *fleet) attached() []attachment {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.attachments()
}

func (f *fleet) attachments() []attachment {
	var out []attachment
	for _, m := range f.sorted() {
		if m.session != nil {
			out = append(out, attachment{m.doc, m.number})
		}
	}
	return out
}

// removeDrive makes a drive unknown: its execution is settled, and nodes keep its
// blocks until a time.
func (f *fleet) removeDrive(d *drive, keep, now int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.kept, func(_ stint.ExecutionID, until int64) bool { return until <= now })
	delete(f.kept, d.id) // it may have ended before, and have been retried
	if keep > now {
		f.kept[d.id] = keep
	}
	if f.drives[d.id] == d {
		delete(f.drives, d.id)
		f.release(d.id)
	}
	f.dropErrands(d.results)
	for _, m := range f.nodes {
		delete(m.specs, d.id)
	}
}

func (f *fleet) sorted() []*member {
	out := make([]*member, 0, len(f.nodes))
	for _, m := range f.nodes {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *member) int { return cmp.Compare(a.doc.ID, b.doc.ID) })
	return out
}

func (f *fleet) drive(id stint.ExecutionID) *drive {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.drives[id]
}

// forget is what a node is told that still has to do with an execution that is not live.
func (f *fleet) forget(id stint.ExecutionID) link.ServerMessage {
	f.mu.Lock()
	defer f.mu.Unlock()
	return link.ServerMessage{Forget: &link.Forget{Execution: id, Keep: f.kept[id]}}
}

func (f *fleet) liveDrives() []*drive {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*drive, 0, len(f.drives))
	for _, d := range f.drives {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b *drive) int { return cmp.Compare(a.id, b.id) })
	return out
}

// working counts the live executions that are not suspended.
func (f *fleet) working() int {
	n := 0
	for _, d := range f.liveDrives() {
		if d.public.current() != stint.Suspended {
			n++
		}
	}
	return n
}

func (f *fleet) readyNodes() []sched.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []sched.Node
	for _, m := range f.sorted() {
		if m.session != nil && m.drain == nil {
			out = append(out, sched.Node{ID: m.doc.ID, Incarnation: m.doc.Incarnation, Slots: m.doc.Slots, Memory: m.doc.Memory})
		}
	}
	return out
}

// ready reports whether a node has a session and is not lost for good.
func (f *fleet) ready(id stint.NodeID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.nodes[id]
	return m != nil && m.session != nil && m.doc.Status == stint.NodeReady
}

// lost returns the nodes that are lost.
func (f *fleet) lost() []goneNode {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []goneNode
	for _, m := range f.sorted() {
		if m.doc.Status == stint.NodeLost {
			out = append(out, goneNode{id: m.doc.ID, lost: true, session: m.number})
		}
	}
	return out
}

func (f *fleet) documents(now time.Time) []stint.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []stint.Node{}
	for _, m := range f.sorted() {
		n := m.doc
		if n.Seen = m.silent; m.session != nil {
			n.Seen = now
		}
		f.showDrain(&n, m)
		out = append(out, n)
	}
	return out
}

// silent returns the nodes that have been silent for long enough to be away, in
// every round, which the state machines do not mind; and once, those that are lost.
func (f *fleet) silent(now time.Time) []goneNode {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []goneNode
	for _, m := range f.sorted() {
		lost := m.doc.Status == stint.NodeLost
		if m.told || m.session != nil && !lost {
			continue
		}
		since := now.Sub(m.silent)
		if lost = lost || since >= f.lostAfter; lost {
			m.doc.Status, m.told = stint.NodeLost, true
		}
		if lost || since >= f.awayAfter {
			out = append(out, goneNode{id: m.doc.ID, lost: lost, lostAt: m.silent.Add(f.lostAfter), session: m.number})
		}
	}
	return out
}

// markLost notes that nodes are lost for good.
func (f *fleet) markLost(ids []stint.NodeID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if m := f.nodes[id]; m != nil {
			m.doc.Status = stint.NodeLost
			if m.session != nil {
				m.session.Close(stint.Errorf(stint.Conflict, "another node has joined under the name %q", m.doc.Name))
			}
		}
	}
}

// awaitNode waits until some node has a session.
func (f *fleet) awaitNode(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, nodeWait)
	defer cancel()
	for {
		f.mu.Lock()
		arrived, some, closed := f.arrived, false, f.closed
		for _, m := range f.nodes {
			some = some || m.session != nil
		}
		f.mu.Unlock()
		switch {
		case closed:
			return errStopping()
		case some:
			return nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return f.noNode()
		}
	}
}

// noNode is the refusal of what needs some node. If nodes come, which they do at least
// every half minute, and the record cannot take them in, that is the reason, and
// looking at nodes would not help.
func (f *fleet) noNode() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sentAway != nil && time.Since(f.sentAt) < 2*nodeWait {
		return stint.Errorf(stint.Unavailable, "no node is ready: %w", f.sentAway)
	}
	return stint.Errorf(stint.Unavailable, "no node is ready; see stint node list")
}
