package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stint"
)

// touch gives files of the input another time.
func (s *site) touch(names ...string) {
	s.t.Helper()
	for i, name := range names {
		at := time.Now().Add(time.Duration(i+1) * time.Hour)
		check(s.t, os.Chtimes(s.path("in", name), at, at))
	}
}

// mappedFiles has an execution over files complete its first stage, and suspends it.
func (r *running) mappedFiles(s *site, n *node, names ...string) stint.ExecutionID {
	r.t.Helper()
	n.with(func() { n.upTo = 0 })
	id := r.submit(s.files(names...))
	r.eventually("the first stage is complete", func() bool {
		doc, err := r.Show(r.t.Context(), id)
		return err == nil && doc.Stages[0].Operations.Completed == int64(len(names))
	})
	r.suspend(id)
	return id
}

func TestInputThatWasOnlyTouchedHasNotChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mappedFiles(s, n, "a", "b", "c")
	s.touch("a", "b", "c")
	dry := r.mustResume(id, stint.ResumeRequest{DryRun: true})
	if dry.Touched != 3 || dry.Changed != 0 || len(dry.Changes) != 3 || dry.Changes[1] != (stint.Change{Kind: stint.ObjectTouched, URL: "file://" + s.path("in", "b")}) || len(dry.Redone) != 0 || dry.Reused != 3 {
		t.Errorf("%+v", dry)
	}
	if got := r.mustResume(id, stint.ResumeRequest{}); got.Touched != 3 || got.Reused != 3 || got.Execution.Status != stint.InProgress {
		t.Errorf("%+v", got)
	}
	r.suspend(id)
	n.work()
	if got := r.mustResume(id, stint.ResumeRequest{}); got.Touched != 0 || len(got.Changes) != 0 {
		t.Errorf("what was touched before is the input since, but: %+v", got)
	}
	r.awaitStatus(id, stint.Completed)
	n.once()
}

// What was not performed when the input was touched is performed over what is there now.
func TestOperationsReadInputInTheVersionThatItHasNow(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mappedFiles(s, n, "a", "b")
	check(t, os.Remove(s.savedLike(id, "pack-")))
	s.touch("a", "b")
	if _, err := r.Resume(t.Context(), id, stint.ResumeRequest{}); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("%v", err)
	}
	n.work()
	got := r.mustResume(id, stint.ResumeRequest{Redo: true})
	if len(got.Redone) != 1 || got.Redone[0].Operations != 2 || got.Reused != 0 || got.Touched != 2 || got.Changed != 0 {
		t.Errorf("%+v", got)
	}
	if doc := r.awaitStatus(id, stint.Completed); doc.Operations.Performed != 5 {
		t.Errorf("%+v", doc.Operations)
	}
}

func TestOfTouchedInputOnlyWhatChangedIsNamed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mappedFiles(s, n, "a", "b", "c", "d")
	check(t, os.WriteFile(s.path("in", "c"), []byte("C\n"), 0o600))
	s.touch("a", "b", "c", "d")
	got, err := r.Resume(t.Context(), id, stint.ResumeRequest{})
	if stint.CodeOf(err) != stint.Conflict || !strings.Contains(err.Error(), "in/c;") || strings.Contains(err.Error(), "in/a") {
		t.Errorf("%v", err)
	}
	if got.Changed != 1 || got.Touched != 3 || len(got.Changes) != 4 || got.Changes[0].Kind != stint.ObjectChanged {
		t.Errorf("%+v", got)
	}
	n.work()
	if got := r.mustResume(id, stint.ResumeRequest{Redo: true}); got.Reused != 3 || len(got.Redone) != 1 || got.Redone[0].Operations != 1 {
		t.Errorf("%+v", got)
	}
	if doc := r.awaitStatus(id, stint.Completed); doc.Operations.Performed != 6 {
		t.Errorf("%+v", doc.Operations)
	}
}

func TestANewExecutionTakesOverWhatReadTouchedInput(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	s.node("a").attach(r)
	req := s.files("a", "b", "c", "d")
	id := r.submit(req)
	r.awaitStatus(id, stint.Completed)
	check(t, os.WriteFile(s.path("in", "c"), []byte("C\n"), 0o600))
	s.touch("a", "b", "c", "d")
	req.Reuse, req.Output = id, s.path("out-again")
	report, err := r.Plan(t.Context(), req)
	check(t, err)
	if report.Reused != 3 {
		t.Errorf("%+v", report)
	}
	doc := r.awaitStatus(r.submit(req), stint.Completed)
	if c := doc.Operations; c.Performed != 2 || c.Reused != 3 {
		t.Errorf("%+v", c)
	}
}

func TestNodesForgetWhatTheyHaveFromBeforeTheInputChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n, other := s.node("a").attach(r), s.node("b").attach(r)
	other.with(func() { other.upTo = 0 })
	id := r.mappedFiles(s, n, "a", "b", "c")
	other.detach()
	n.with(func() { n.heard = nil })
	check(t, os.WriteFile(filepath.Join(s.path("in"), "0"), []byte("added\n"), 0o600))
	r.mustResume(id, stint.ResumeRequest{Redo: true})
	other.attach(r)
	told := func(n *node) func() bool {
		return func() bool {
			for _, m := range n.heard {
				if m.Forget != nil && m.Forget.Execution == id && m.Forget.Keep == 0 {
					return true
				}
			}
			return false
		}
	}
	n.await("it is told to forget", told(n))
	other.await("it is told to forget, though it was away", told(other))
	n.work()
	other.work()
	if doc := r.awaitStatus(id, stint.Completed); doc.Operations.Performed != 5 {
		t.Errorf("%+v", doc.Operations)
	}
}

func TestAResumeAtATimeHasItsNodesAndSlots(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 3)
	r.suspend(id)
	n.await("it forgets", func() bool { return len(n.specs) == 0 })
	at := time.Now().Add(time.Hour)
	r.mustResume(id, stint.ResumeRequest{At: at, Nodes: 7, Slots: 5})
	r.mustResume(id, stint.ResumeRequest{At: time.Now(), Nodes: 1, Slots: 1})
	n.work()
	r.awaitStatus(id, stint.Completed)
	n.with(func() {
		slots := -1
		for _, m := range n.heard {
			if m.Spec != nil {
				slots = m.Spec.Slots
			}
		}
		if slots != 1 {
			t.Errorf("it went on with %d slots on a node", slots)
		}
	})
}
