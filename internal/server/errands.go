package server

import (
	"stint"
	"stint/internal/link"
)

// errandUnderWay is an errand whose result is awaited.
type errandUnderWay struct {
	errand  stint.Errand
	target  stint.NodeID  // "": any
	session *link.Session // of the node that runs it; nil: none
	reply   chan<- stint.ErrandResult
}

// submitErrand has a node run an errand; the result is sent on reply, which
// must have room for it. The errand moves on to another node if its node leaves
// and waits if there is none. An errand with the same id takes its place.
func (f *fleet) submitErrand(e stint.Errand, target stint.NodeID, reply chan<- stint.ErrandResult) {
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
		if m.session == nil || u.target != "" && m.doc.ID != u.target {
			continue
		}
		if m.session.Send(link.ServerMessage{Errand: &u.errand}) == nil {
			u.session = m.session
			return
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
	if u == nil {
		return
	}
	select {
	case u.reply <- r:
	default: // an earlier result of the same errand is still there
	}
}

func (f *fleet) cancelErrand(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.errands, id)
}
