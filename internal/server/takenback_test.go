package server_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"stint"
	"stint/internal/server"
)

// stuckSuspend has an execution suspend that does not get to its end, as its node
// does not save.
func (r *running) stuckSuspend(n *node, id stint.ExecutionID) {
	r.t.Helper()
	n.with(func() {
		n.errand = func(e stint.Errand) *stint.ErrandResult {
			if e.Kind == stint.ErrandSave {
				return nil
			}
			return n.honest(e)
		}
	})
	_, err := r.Suspend(r.t.Context(), id, stint.SuspendRequest{})
	check(r.t, err)
}

func (s *site) claims(id stint.ExecutionID) []string {
	return slices.DeleteFunc(s.saved(id), func(name string) bool { return !strings.HasPrefix(name, "owner-") })
}

// A record that was written before a suspend is taken back is nothing that another
// service goes on from unasked.
func TestASuspendThatIsTakenBackLeavesNothingToResumeElsewhere(t *testing.T) {
	t.Parallel()
	a, b := newSite(t), newSite(t)
	first, second := a.serve(nil), b.serve(nil)
	n := a.node("a").attach(first)
	b.node("b").attach(second)
	id := first.mapped(a, n, 10)
	first.suspend(id)
	first.mustResume(id, stint.ResumeRequest{})
	first.stuckSuspend(n, id)
	record, err := os.ReadFile(a.savedLike(id, "record-000001"))
	check(t, err)
	check(t, os.WriteFile(a.path("storage", "saved", string(id), "record-000002"), record, 0o600))
	got := first.mustResume(id, stint.ResumeRequest{})
	if got.Execution.Status != stint.InProgress || got.Execution.Generation != 3 {
		t.Errorf("%s in generation %d", got.Execution.Status, got.Execution.Generation)
	}
	if _, err := second.Resume(t.Context(), id, stint.ResumeRequest{From: a.url}); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("resumed elsewhere: %v", err)
	}
	n.work()
	first.awaitStatus(id, stint.Completed)
	n.once()
}

// A server that ends between the claim and the record of it is in the way of
// neither the suspend nor what comes after it.
func TestASuspendEndsThoughAClaimOfOursCameToNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 10)
	r.suspend(id)
	r.mustResume(id, stint.ResumeRequest{})
	s.claimAgain(id)
	if got := r.suspend(id); got.Generation != 2 {
		t.Errorf("generation %d", got.Generation)
	}
	if got := s.claims(id); len(got) != 2 {
		t.Errorf("claims %v", got)
	}
	n.work()
	r.mustResume(id, stint.ResumeRequest{})
	r.awaitStatus(id, stint.Completed)
}

// A process whose time is over may claim after the one that took over has resumed.
func TestAnExecutionEndsThoughAClaimOfOursCameToNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 10)
	r.suspend(id)
	r.mustResume(id, stint.ResumeRequest{})
	s.claimAgain(id)
	n.work()
	r.awaitStatus(id, stint.Completed)
	if left := s.saved(id); len(left) > 0 {
		t.Errorf("left in long-term storage: %v", left)
	}
}

// putAway stops a server and the session of its node, and returns what its record is.
func (s *site) putAway(r *running, n *node) []byte {
	s.t.Helper()
	r.stop()
	n.detach()
	record, err := os.ReadFile(s.record)
	check(s.t, err)
	return record
}

// useCopy has the next server use a copy of a record, and returns where the original is.
func (s *site) useCopy(record []byte) (original string) {
	s.t.Helper()
	original, s.record = s.record, s.path("copy.db")
	check(s.t, os.WriteFile(s.record, record, 0o600))
	return original
}

// A copy of the record that is put to use while the original goes on is another owner,
// whatever its name: it takes back no claim that it has not made.
func TestACopyOfTheRecordLeavesTheClaimsOfTheOriginal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 10)
	r.suspend(id)
	r.mustResume(id, stint.ResumeRequest{})
	record := s.putAway(r, n)
	r = s.serve(nil)
	n.attach(r)
	r.suspend(id)
	if got := r.mustResume(id, stint.ResumeRequest{}); got.Execution.Generation != 3 {
		t.Fatalf("it goes on in generation %d", got.Execution.Generation)
	}
	s.putAway(r, n)
	original := s.useCopy(record)
	r = s.serve(nil)
	n.work()
	n.attach(r)
	r.eventually("the copy is refused", func() bool {
		doc, err := r.Show(t.Context(), id)
		check(t, err)
		return strings.Contains(doc.Reason(), "owned_elsewhere") || doc.Status == stint.Completed
	})
	if got := s.claims(id); len(got) != 3 {
		t.Errorf("claims %v", got)
	}
	s.putAway(r, n)
	s.record = original
	r = s.serve(nil)
	n.attach(r)
	r.awaitStatus(id, stint.Completed)
}

// What the original has suspended since it was copied stays its own, however the copy
// is told to go on or to end.
func TestACopyOfTheRecordLeavesWhatTheOriginalHasSaved(t *testing.T) {
	t.Parallel()
	for what, ask := range map[string]func(*running, stint.ExecutionID) error{
		"suspend": func(r *running, id stint.ExecutionID) error {
			_, err := r.Suspend(r.t.Context(), id, stint.SuspendRequest{})
			return err
		},
		"terminate": func(r *running, id stint.ExecutionID) error {
			_, err := r.Terminate(r.t.Context(), id)
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			r := s.serve(nil)
			n := s.node("a").attach(r)
			id := r.mapped(s, n, 10)
			record := s.putAway(r, n)
			r = s.serve(nil)
			n.attach(r)
			r.suspend(id)
			s.putAway(r, n)
			saved, original := s.saved(id), s.useCopy(record)
			r = s.serve(func(sv *server.Server) { sv.AwayAfter, sv.LostAfter = time.Second/4, time.Second/2 })
			m := s.node("b")
			m.with(func() { m.upTo = 0 })
			m.attach(r)
			r.eventually("the first node is lost", func() bool {
				doc, err := r.Show(t.Context(), id)
				return err == nil && doc.Operations.Completed == 0
			})
			check(t, ask(r, id))
			r.eventually("the copy has ended it", func() bool {
				doc, err := r.Show(t.Context(), id)
				return err == nil && doc.Status.Final()
			})
			got := s.saved(id)
			if slices.ContainsFunc(saved, func(name string) bool { return !slices.Contains(got, name) }) {
				t.Errorf("saved %v, was %v", got, saved)
			}
			s.putAway(r, m)
			s.record = original
			r = s.serve(nil)
			n.work()
			n.attach(r)
			r.mustResume(id, stint.ResumeRequest{})
			r.awaitStatus(id, stint.Completed)
		})
	}
}
