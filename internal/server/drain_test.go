package server_test

import (
	"testing"
	"time"

	"stint"
	"stint/internal/link"
	"stint/internal/store"
)

// nodeStatus returns what the service says of a node; "": it does not know it.
func (r *running) nodeStatus(n *node) stint.NodeStatus {
	for _, doc := range r.Nodes(r.t.Context()) {
		if doc.ID == n.id() {
			return doc.Status
		}
	}
	return ""
}

func TestANodeThatIsDrainedGetsNothingNewUntilItIsUndone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	drained, other := s.node("a").attach(r), s.node("b").attach(r)
	by := time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
	doc, err := r.Drain(t.Context(), drained.id(), stint.DrainRequest{By: by})
	check(t, err)
	if doc.Status != stint.NodeDrained || doc.By == nil || !doc.By.Equal(by) {
		t.Errorf("it holds nothing and performs nothing: %+v", doc)
	}
	r.stop()
	r = s.serve(nil)
	drained.attach(r)
	other.attach(r)
	if got := r.nodeStatus(drained); got != stint.NodeDrained {
		t.Errorf("after a restart of the server it is %s", got)
	}
	r.awaitStatus(r.submit(s.numbers(40)), stint.Completed)
	drained.with(func() {
		if len(drained.begun) > 0 {
			t.Errorf("it performed %v", drained.begun)
		}
	})
	_, err = r.Drain(t.Context(), drained.id(), stint.DrainRequest{Undo: true})
	check(t, err)
	other.detach()
	r.eventually("the other is away", func() bool { return r.nodeStatus(other) == stint.NodeAway })
	r.awaitStatus(r.submit(s.numbers(41)), stint.Completed)
}

func TestANodeThatPerformsOperationsIsNotDrained(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").idle().attach(r)
	id := r.submit(s.numbers(4))
	n.await("it is granted operations", func() bool { return n.granted(id) > 0 })
	doc, err := r.Drain(t.Context(), n.id(), stint.DrainRequest{})
	check(t, err)
	if doc.Status != stint.NodeDraining {
		t.Errorf("it is %s", doc.Status)
	}
	if err := r.RemoveNode(t.Context(), n.id()); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("removed while it works: %v", err)
	}
}

func TestADrainedNodeHasGivenAwayWhatOnlyItHeld(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 10)
	other := s.node("b").idle()
	copied := make(chan struct{})
	other.errand = func(e stint.Errand) *stint.ErrandResult {
		if e.Kind == stint.ErrandCopy {
			<-copied
		}
		return other.honest(e)
	}
	other.attach(r)
	_, err := r.Drain(t.Context(), n.id(), stint.DrainRequest{})
	check(t, err)
	n.await("it gives back what it has not begun", func() bool {
		return n.was(func(m link.ServerMessage) bool { return m.Retract != nil })
	})
	if got := r.nodeStatus(n); got != stint.NodeDraining {
		t.Errorf("it is %s and holds the only copy of what is needed", got)
	}
	n.with(func() { // as a node does that is asked to give operations back
		k := n.kept[id]
		for _, g := range k.waiting {
			n.report(id, stint.Report{Returned: []stint.Returned{{Job: g.Job, Ops: []stint.Range{g.Ops}}}})
		}
		k.waiting = nil
	})
	close(copied)
	r.eventually("it is drained", func() bool { return r.nodeStatus(n) == stint.NodeDrained })
	n.detach()
	other.work()
	if doc := r.awaitStatus(id, stint.Completed); doc.Operations.Performed != 11 {
		t.Errorf("%+v", doc.Operations)
	}
}

func TestARemovedNodeIsNeverWelcomeAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	if err := r.RemoveNode(t.Context(), n.id()); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("removed while it is ready: %v", err)
	}
	_, err := r.Drain(t.Context(), n.id(), stint.DrainRequest{})
	check(t, err)
	check(t, r.RemoveNode(t.Context(), n.id()))
	n.await("its session ends", n.closed)
	if got := r.nodeStatus(n); got != "" {
		t.Errorf("it is listed as %s", got)
	}
	if err := n.dial(r); err == nil {
		t.Error("it attached again")
	}
	r.stop()
	r = s.serve(nil)
	if got := r.nodeStatus(n); got != "" {
		t.Errorf("after a restart of the server it is listed as %s", got)
	}
	for _, err := range []error{
		r.RemoveNode(t.Context(), n.id()),
		func() error { _, err := r.Drain(t.Context(), n.id(), stint.DrainRequest{}); return err }(),
	} {
		if stint.CodeOf(err) != stint.NotFound {
			t.Errorf("a node that is not there: %v", err)
		}
	}
	s.node("a").attach(r) // its name is free
}

func TestWhatARemovedNodeHeldIsPerformedAgainThoughNobodyWasTold(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 10)
	r.stop()
	n.detach()
	db, err := store.Open(t.Context(), s.record)
	check(t, err)
	epoch, err := db.Epoch(t.Context())
	check(t, err)
	check(t, db.RemoveNode(t.Context(), epoch, n.id())) // as of a server that was killed then
	check(t, db.Close())
	r = s.serve(nil)
	s.node("b").attach(r)
	if doc := r.awaitStatus(id, stint.Completed); doc.Operations.Performed != 21 {
		t.Errorf("%+v", doc.Operations)
	}
}
