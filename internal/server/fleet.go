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
	"stint/internal/object"
	"stint/internal/sched"
)

// fleet is who is there: nodes and their sessions, live executions, errands
// under way. The mutex guards maps alone and is held for no call that waits.
type fleet struct {
	awayAfter, lostAfter time.Duration

	mu       sync.Mutex
	sessions uint64 // attached so far
	nodes    map[stint.NodeID]*member
	drives   map[stint.ExecutionID]*drive
	errands  map[string]*errandUnderWay
	outputs  map[string]stint.ExecutionID // location to who writes there
	turn     int                          // whose turn it is to run an errand
	arrived  chan struct{}                // closed, and renewed, when a node attaches
	closed   bool                         // nobody attaches any more
}

// member is a node as this server knows it.
type member struct {
	doc     stint.Node
	number  uint64        // of its latest session; 0: none since this server began
	session *link.Session // nil: none
	specs   map[stint.ExecutionID]bool
	silent  time.Time // since when there is no session
	told    bool      // that it is lost: to every drive
}

// attachment is a node and the number of the session it attached by.
type attachment struct {
	node    stint.Node
	session uint64
}

func (a attachment) event(h stint.Holding) *coord.Event {
	return &coord.Event{Attach: &coord.Attach{Node: a.node, Holding: h, Session: a.session}}
}

// goneNode is a node that has been silent for too long since a session ended.
type goneNode struct {
	id      stint.NodeID
	lost    bool
	session uint64
}

func (g goneNode) event() *coord.Event {
	return &coord.Event{Gone: &coord.Gone{Node: g.id, Lost: g.lost, Session: g.session}}
}

func (f *fleet) init(awayAfter, lostAfter time.Duration) {
	f.awayAfter, f.lostAfter = cmp.Or(awayAfter, DefaultAwayAfter), cmp.Or(lostAfter, DefaultLostAfter)
	f.nodes = make(map[stint.NodeID]*member)
	f.drives = make(map[stint.ExecutionID]*drive)
	f.errands = make(map[string]*errandUnderWay)
	f.outputs = make(map[string]stint.ExecutionID)
	f.arrived = make(chan struct{})
}

// remember takes in the nodes of the record; they are silent from now on. Which
// are lost, drives find out when they begin.
func (f *fleet) remember(nodes []stint.Node, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range nodes {
		if n.Status == stint.NodeReady {
			n.Status = stint.NodeAway
		}
		f.nodes[n.ID] = &member{doc: n, silent: now, told: n.Status == stint.NodeLost}
	}
}

// add makes a drive known and returns the nodes that have a session.
func (f *fleet) add(d *drive) []attachment {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drives[d.id] = d
	var out []attachment
	for _, m := range f.sorted() {
		if m.session != nil {
			out = append(out, attachment{m.doc, m.number})
		}
	}
	return out
}

// reserve gives an output location to an execution that is not over, and returns
// who has it: another, if it was given away already.
func (f *fleet) reserve(location string, id stint.ExecutionID) stint.ExecutionID {
	if canonical, err := object.ParseLocation(location); err == nil {
		location = canonical
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if holder, taken := f.outputs[location]; taken {
		return holder
	}
	f.outputs[location] = id
	return id
}

// free gives back what an execution reserved.
func (f *fleet) free(id stint.ExecutionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.release(id)
}

func (f *fleet) release(id stint.ExecutionID) {
	maps.DeleteFunc(f.outputs, func(_ string, holder stint.ExecutionID) bool { return holder == id })
}

// removeDrive makes a drive unknown: its execution is settled.
func (f *fleet) removeDrive(d *drive) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.drives, d.id)
	f.release(d.id)
	for id, u := range f.errands {
		if u.reply == d.results {
			delete(f.errands, id)
		}
	}
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

func (f *fleet) readyNodes() []sched.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []sched.Node
	for _, m := range f.sorted() {
		if m.session != nil {
			out = append(out, sched.Node{ID: m.doc.ID, Incarnation: m.doc.Incarnation, Slots: m.doc.Slots})
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
		out = append(out, n)
	}
	return out
}

// attach puts a session in the place of the node's earlier one. The error is a
// refusal: a newer incarnation of the node is there, or the server is stopping.
func (f *fleet) attach(doc stint.Node, s *link.Session) (attachment, []*drive, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return attachment{}, nil, errStopping()
	}
	old := f.nodes[doc.ID]
	if old != nil && old.doc.Incarnation > doc.Incarnation {
		return attachment{}, nil, stint.Errorf(stint.Conflict, "stale_incarnation: node %s has started %d times; this is its start %d", doc.ID, old.doc.Incarnation, doc.Incarnation)
	}
	if old != nil {
		doc.Since = old.doc.Since
	}
	if old != nil && old.session != nil {
		old.session.Close(stint.Errorf(stint.Conflict, "node %s has attached again", doc.ID))
	}
	f.sessions++
	f.nodes[doc.ID] = &member{doc: doc, number: f.sessions, session: s, specs: make(map[stint.ExecutionID]bool)}
	close(f.arrived)
	f.arrived = make(chan struct{})
	drives := make([]*drive, 0, len(f.drives))
	for _, d := range f.drives {
		drives = append(drives, d)
	}
	return attachment{doc, f.sessions}, drives, nil
}

// detach notes that a session ended, unless a newer one has taken its place.
func (f *fleet) detach(id stint.NodeID, s *link.Session, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.nodes[id]; m != nil && m.session == s {
		m.session, m.silent = nil, now
		if m.doc.Status != stint.NodeLost {
			m.doc.Status = stint.NodeAway
		}
	}
	for _, u := range f.errands {
		if u.session == s {
			u.session = nil
			f.dispatchErrand(u)
		}
	}
}

// close ends all sessions and lets nobody attach any more.
func (f *fleet) close() {
	f.mu.Lock()
	f.closed = true
	close(f.arrived)
	f.mu.Unlock()
	f.closeSessions("the server is stopping")
}

func errStopping() error { return stint.Errorf(stint.Unavailable, "the server is stopping") }

// closeSessions has all nodes attach anew.
func (f *fleet) closeSessions(why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.nodes {
		if m.session != nil {
			m.session.Close(stint.Errorf(stint.Unavailable, "%s", why))
		}
	}
}

// closeSession has a node attach anew.
func (f *fleet) closeSession(id stint.NodeID, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.nodes[id]; m != nil && m.session != nil {
		m.session.Close(stint.Errorf(stint.Unavailable, "%s", why))
	}
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
			out = append(out, goneNode{id: m.doc.ID, lost: lost, session: m.number})
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

// send gives a node messages about an execution, if it has a session: what it
// misses, it is told when it attaches. A spec goes out once per session.
func (f *fleet) send(id stint.NodeID, x stint.ExecutionID, messages []link.ServerMessage) {
	f.mu.Lock()
	m := f.nodes[id]
	var session *link.Session
	known := false
	if m != nil && m.session != nil {
		session, known = m.session, m.specs[x]
		for _, msg := range messages {
			switch {
			case msg.Spec != nil:
				m.specs[x] = true
			case msg.Forget != nil:
				delete(m.specs, x)
			}
		}
	}
	f.mu.Unlock()
	if session == nil {
		return
	}
	for _, msg := range messages {
		if msg.Spec != nil && known {
			continue
		}
		if err := session.Send(msg); err != nil {
			session.Close(err) // it attaches again and is told what it misses
			return
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
			return stint.Errorf(stint.Unavailable, "no node is ready; see stint node list")
		}
	}
}
