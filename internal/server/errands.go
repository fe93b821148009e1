package server

import (
	"maps"
	"sync"
	"time"

	"stint"
	"stint/internal/link"
)

// mailbox takes in the results that somebody waits for, any number at once.
type mailbox struct {
	mu      sync.Mutex
	results []stint.ErrandResult
	came    chan struct{} // room for one
}

func newMailbox() *mailbox { return &mailbox{came: make(chan struct{}, 1)} }

func (m *mailbox) put(r stint.ErrandResult) {
	m.mu.Lock()
	m.results = append(m.results, r)
	m.mu.Unlock()
	signal(m.came)
}

// take empties the mailbox.
func (m *mailbox) take() []stint.ErrandResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.results
	m.results = nil
	return out
}

// errandUnderWay is an errand whose result is awaited.
type errandUnderWay struct {
	errand  stint.Errand
	target  stint.NodeID  // "": any
	session *link.Session // of the node that runs it; nil: none
	until   time.Time     // when another node is asked, too
	wait    time.Duration // for the answer of the node that was asked last
	reply   *mailbox
}

// submitErrand has a node run an errand, the target if one is named; the result
// is put into the mailbox. The errand moves on to another node if its node leaves
// or does not answer for long, or waits until the target is back. An errand with
// the same id takes its place.
func (f *fleet) submitErrand(e stint.Errand, target stint.NodeID, reply *mailbox) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := &errandUnderWay{errand: e, target: target, reply: reply}
	f.errands[e.ID] = u
	f.dispatchErrand(u)
}

// dispatchErrand sends an errand to the next node in turn. f.mu is held; Send
// only queues.
func (f *fleet) dispatchErrand(u *errandUnderWay) {
	members := f.sorted()
	f.turn++
	for i := range members {
		m := members[(f.turn+i)%len(members)]
		if m.session == nil || m.session == u.session || u.target != "" && m.doc.ID != u.target {
			continue
		}
		if m.session.Send(link.ServerMessage{Errand: &u.errand}) == nil {
			u.session = m.session
			u.wait = max(2*u.wait, f.askAfter)
			u.until = time.Now().Add(u.wait)
			return
		}
	}
}

// askOthers gives errands that any node could do, and whose node has not answered
// for long, to another node, too, which has twice as long. Of an errand that is
// done twice, the first result counts.
func (f *fleet) askOthers(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.errands {
		if u.target == "" && u.session != nil && now.After(u.until) {
			f.dispatchErrand(u)
		}
	}
}

// dispatchWaiting gives the errands that wait for a node to one.
func (f *fleet) dispatchWaiting() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.errands {
		if u.session == nil {
			f.dispatchErrand(u)
		}
	}
}

// errandDone takes in a result.
func (f *fleet) errandDone(r stint.ErrandResult) {
	f.mu.Lock()
	u := f.errands[r.ID]
	delete(f.errands, r.ID)
	f.mu.Unlock()
	if u != nil {
		u.reply.put(r)
	}
}

// unattended reports whether an errand that any node could do is with none.
func (f *fleet) unattended(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.errands[id]
	return u != nil && u.target == "" && u.session == nil
}

func (f *fleet) cancelErrand(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.errands, id)
}

// cancelAll gives up every errand whose result would go into a mailbox.
func (f *fleet) cancelAll(reply *mailbox) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropErrands(reply)
}

func (f *fleet) dropErrands(reply *mailbox) {
	maps.DeleteFunc(f.errands, func(_ string, u *errandUnderWay) bool { return u.reply == reply })
}
