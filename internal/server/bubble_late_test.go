package server_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"stint"
)

// late has something come to the saved state of an execution.
func (s *site) late(id stint.ExecutionID, name, text string) {
	s.t.Helper()
	path := s.path("storage", "saved", string(id), name)
	check(s.t, os.MkdirAll(filepath.Dir(path), 0o700))
	check(s.t, os.WriteFile(path, []byte(text), 0o600))
}

// A node that was stopped while it saved does not hear of the end in time.
func TestBubbleWhatIsSavedAfterTheEndIsRemoved(t *testing.T) {
	t.Parallel()
	bubbles(t, 5, func(s *site) {
		t := s.t
		r := s.serve(nil)
		n := s.node("a").attach(r)
		end := func(ops int) stint.ExecutionID {
			id := r.mapped(s, n, ops)
			r.suspend(id)
			r.mustResume(id, stint.ResumeRequest{})
			n.work()
			r.awaitStatus(id, stint.Completed)
			return id
		}
		check := func(when string, id stint.ExecutionID) {
			t.Helper()
			if left := s.saved(id); len(left) > 0 {
				t.Errorf("%s: %v", when, left)
			}
		}
		first := end(4)
		at(time.Now().Add(s.between(0, 2*time.Minute)))
		s.late(first, "pack-1-2-3", "late")
		s.late(first, "record-000001", "of a suspend, which its end has not removed")
		at(time.Now().Add(3 * time.Minute))
		check("while the server runs", first)

		second := end(5)
		r.stop()
		n.detach()
		s.late(second, "pack-1-2-3", "late")
		const unknown = stint.ExecutionID("x-zzzzzzzzzzzzzzzz")
		s.late(unknown, "pack-1-2-3", "of another service")
		r = s.serve(nil)
		n.attach(r)
		at(time.Now().Add(time.Minute))
		check("when it has been started again", second)
		s.late(second, "owner-000009", `{"generation":9,"service":"another"}`)
		s.late(first, "pack-1-2-3", "very late")
		at(time.Now().Add(2 * time.Hour))
		check("two hours later", first)
		if len(s.saved(second)) != 1 || len(s.saved(unknown)) != 1 {
			t.Errorf("what is another service's was removed: %v, %v", s.saved(second), s.saved(unknown))
		}
	})
}

// What a retry would go on from is nothing that came late.
func TestBubbleWhatIsSavedForARetryStays(t *testing.T) {
	t.Parallel()
	bubbles(t, 3, func(s *site) {
		r := s.serve(nil)
		n := s.node("a").attach(r)
		n.with(func() {
			n.refuse = func(g stint.Grant) *stint.Error {
				if g.Stage == 0 && g.Ops.From == 0 {
					return stint.Errorf(stint.Invalid, "no")
				}
				return nil
			}
		})
		req := s.numbers(8)
		req.CompleteErrors = new(true)
		id := r.submit(req)
		r.awaitStatus(id, stint.CompletedErrors)
		s.late(id, "pack-1-2-3", "for a retry")
		at(time.Now().Add(2 * time.Hour))
		if len(s.saved(id)) != 1 {
			s.t.Error("it was removed")
		}
	})
}

// Who has lost an execution to another service leaves it what there is to go on from,
// also when the claim of that one has come to nothing.
func TestBubbleWhatAnotherServiceCouldGoOnFromStays(t *testing.T) {
	t.Parallel()
	bubbles(t, 3, func(s *site) {
		t := s.t
		r := s.serve(nil)
		n := s.node("a").attach(r)
		id := r.mapped(s, n, 10)
		r.suspend(id)
		r.mustResume(id, stint.ResumeRequest{})
		s.late(id, "owner-000003", `{"generation":3,"service":"another","address":"there"}`)
		_, err := r.Suspend(t.Context(), id, stint.SuspendRequest{})
		check(t, err)
		r.awaitStatus(id, stint.ExecutionFailed)
		at(time.Now().Add(s.between(0, 2*time.Minute)))
		check(t, os.Remove(s.path("storage", "saved", string(id), "owner-000003")))
		at(time.Now().Add(2 * time.Hour))
		if !slices.Contains(s.saved(id), "record-000001") {
			t.Errorf("left: %v", s.saved(id))
		}
	})
}
