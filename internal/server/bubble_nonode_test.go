package server_test

import (
	"strings"
	"testing"
	"time"

	"stint"
)

// refusedFor submits and checks that it is refused for want of a node, after half a
// minute and before most has passed.
func (r *running) refusedFor(req stint.Request, most time.Duration, says string) {
	r.t.Helper()
	began := time.Now()
	_, err := r.Submit(r.t.Context(), req)
	if took := time.Since(began); took < 30*time.Second || took > most {
		r.t.Errorf("an answer after %v, want one after half a minute, and by %v", took, most)
	}
	if stint.CodeOf(err) != stint.Unavailable || !strings.HasPrefix(err.Error(), "no node is ready") || !strings.Contains(err.Error(), says) {
		r.t.Errorf("refused with %v: %v, want %q in it", stint.CodeOf(err), err, says)
	}
}

func TestBubbleASubmissionIsRefusedSoonWhenThereIsNoNode(t *testing.T) {
	t.Parallel()
	bubbles(t, 3, func(s *site) {
		r := s.serve(nil)
		r.refusedFor(s.numbers(2), 30*time.Second, "see stint node list")
	})
}

func TestBubbleASubmissionIsRefusedSoonWhenItsNodeLeaves(t *testing.T) {
	t.Parallel()
	bubbles(t, 3, func(s *site) {
		r := s.serve(nil)
		n := s.node("a")
		n.errand = func(stint.Errand) *stint.ErrandResult {
			time.AfterFunc(s.between(0, time.Minute), n.detach)
			return nil // it never answers
		}
		n.attach(r)
		r.refusedFor(s.numbers(2), 2*time.Minute, "see stint node list")
	})
}

// A node that comes back in time is given what waits for one.
func TestBubbleASubmissionOutlivesTheAbsenceOfItsNode(t *testing.T) {
	t.Parallel()
	bubbles(t, 3, func(s *site) {
		r := s.serve(nil)
		n := s.node("a")
		asked := false
		n.errand = func(e stint.Errand) *stint.ErrandResult {
			if asked {
				return n.honest(e)
			}
			asked = true
			time.AfterFunc(time.Second, n.detach)
			time.AfterFunc(s.between(2*time.Second, 29*time.Second), func() { n.attach(r) })
			return nil
		}
		n.attach(r)
		r.awaitStatus(r.submit(s.numbers(2)), stint.Completed)
	})
}

func TestBubbleARecordThatCannotTakeInNodesIsTheReasonWhyThereAreNone(t *testing.T) {
	t.Parallel()
	bubbles(t, 1, func(s *site) {
		t := s.t
		r := s.serve(nil)
		n := s.node("a")
		other := s.meddle()
		s.exec(other, "BEGIN IMMEDIATE")
		refused := make(chan error, 1)
		go func() { refused <- n.dial(r) }()
		r.refusedFor(s.numbers(2), 30*time.Second, "record_held: record "+s.record)
		if err := <-refused; stint.CodeOf(err) != stint.Unavailable {
			t.Errorf("the node is refused with %v", err)
		}
		s.exec(other, "ROLLBACK")
		at(time.Now().Add(time.Minute))
		r.refusedFor(s.numbers(2), 30*time.Second, "see stint node list") // it does not come any more
		n.attach(r)
		r.awaitStatus(r.submit(s.numbers(2)), stint.Completed)
		n.detach()
		r.refusedFor(s.numbers(2), time.Minute, "see stint node list")
	})
}
