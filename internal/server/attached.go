package server

import (
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/link"
)

// attachment is a node and the number of the session it attached by.
type attachment struct {
	node    stint.Node
	session uint64
}

func (a attachment) event(h stint.Holding) *coord.Event {
	return &coord.Event{Attach: &coord.Attach{Node: a.node, Holding: h, Session: a.session}}
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
		return attachment{}, nil, stint.Errorf(stint.Conflict, "%w", &stint.StaleIncarnation{Node: doc.ID, Known: old.doc.Incarnation, Own: doc.Incarnation})
	}
	var drain *coord.DrainAsk
	if old != nil {
		doc.Since, drain = old.doc.Since, old.drain
	}
	if old != nil && old.session != nil {
		old.session.Close(stint.Errorf(stint.Conflict, "node %s has attached again", doc.ID))
	}
	f.sessions++
	f.nodes[doc.ID] = &member{doc: doc, number: f.sessions, session: s, specs: make(map[stint.ExecutionID]bool), drain: drain}
	f.sentAway = nil
	close(f.arrived)
	f.arrived = make(chan struct{})
	drives := make([]*drive, 0, len(f.drives))
	for _, d := range f.drives {
		drives = append(drives, d)
	}
	return attachment{doc, f.sessions}, drives, nil
}

// sendAway notes that the record cannot take in a node that has come, and reports
// whether that is news.
func (f *fleet) sendAway(err error) (news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news = f.sentAway == nil
	f.sentAway, f.sentAt = err, time.Now()
	return news
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
