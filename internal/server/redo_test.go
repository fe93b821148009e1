package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stint"
)

// files asks for an execution over files, each read by one operation, whose
// output one operation reduces.
func (s *site) files(names ...string) stint.Request {
	s.t.Helper()
	in := s.path("in")
	check(s.t, os.MkdirAll(in, 0o700))
	for _, name := range names {
		check(s.t, os.WriteFile(filepath.Join(in, name), []byte(name+"\n"), 0o600))
	}
	req := s.numbers(1)
	req.Program.Stages[0].Input.Split = stint.SplitFiles
	req.Program.Stages = append(req.Program.Stages, stint.Stage{
		Name: "reduce", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.Shuffle, From: "map", Partitions: 1},
	})
	req.Inputs, req.Output = []string{in}, s.path("out-files")
	return req
}

func TestWhatIsMissingOfTheSavedStateIsPerformedAgainIfThatIsAccepted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 10)
	r.suspend(id)
	check(t, os.Remove(s.savedLike(id, "pack-")))
	dry := r.mustResume(id, stint.ResumeRequest{DryRun: true})
	if len(dry.Redone) != 1 || dry.Redone[0].Operations != 10 || dry.Redone[0].Stage != "map" || dry.Redone[0].Reason == "" || dry.Reused != 0 || len(dry.Faults) != 1 {
		t.Errorf("%+v", dry)
	}
	n.work()
	if got := r.mustResume(id, stint.ResumeRequest{Redo: true}); len(got.Redone) != 1 {
		t.Errorf("%+v", got)
	}
	if doc := r.awaitStatus(id, stint.Completed); doc.Operations.Performed != 21 {
		t.Errorf("%+v", doc.Operations)
	}
}

func TestWhatNoOperationCanMakeAgainIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	content := "#!/bin/sh\n"
	digest, _, err := r.Storage.PutBlob(t.Context(), "files", strings.NewReader(content), 100)
	check(t, err)
	req := s.numbers(10)
	req.Program.Files = []stint.ProgramFile{{Name: "run.sh", Digest: digest, Size: int64(len(content)), Mode: 0o755}}
	n.with(func() { n.upTo = 0 })
	id := r.submit(req)
	r.eventually("the first stage is complete", func() bool {
		doc, err := r.Show(t.Context(), id)
		return err == nil && doc.Operations.Completed == 10
	})
	r.suspend(id)
	check(t, os.Remove(s.path("storage", "files", digest.String())))
	for _, redo := range []bool{false, true} {
		_, err := r.Resume(t.Context(), id, stint.ResumeRequest{Redo: redo})
		if stint.CodeOf(err) != stint.NotFound || !strings.Contains(err.Error(), "run.sh") || !strings.Contains(err.Error(), digest.String()) || strings.Contains(err.Error(), "--redo") {
			t.Errorf("redo %v: %s %v", redo, stint.CodeOf(err), err)
		}
	}
	if doc, err := r.Show(t.Context(), id); err != nil || doc.Status != stint.Suspended || doc.Generation != 1 {
		t.Errorf("%+v, %v", doc, err)
	}
}

func TestInputThatIsGoneIsToBeBroughtBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mappedFiles(s, n, "a", "b")
	doc, err := r.Show(t.Context(), id)
	check(t, err)
	for _, in := range doc.Inputs {
		check(t, os.RemoveAll(strings.TrimPrefix(in, "file://")))
	}
	n.with(func() {
		n.errand = func(e stint.Errand) *stint.ErrandResult {
			if e.Kind == stint.ErrandVerify && len(e.Inputs) > 0 {
				return &stint.ErrandResult{ID: e.ID, Changed: 1, Changes: []stint.Change{{Kind: stint.ObjectMissing, URL: e.Inputs[0]}}}
			}
			return n.honest(e)
		}
	})
	for _, redo := range []bool{false, true} {
		_, err := r.Resume(t.Context(), id, stint.ResumeRequest{Redo: redo})
		if stint.CodeOf(err) != stint.NotFound || !strings.Contains(err.Error(), "bring it back") || strings.Contains(err.Error(), "--redo") {
			t.Errorf("redo %v: %s %v", redo, stint.CodeOf(err), err)
		}
	}
}

func TestWithoutItsListingAnExecutionIsNotResumed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mappedFiles(s, n, "a", "b")
	check(t, os.RemoveAll(s.path("storage", "listings")))
	for _, redo := range []bool{false, true} {
		_, err := r.Resume(t.Context(), id, stint.ResumeRequest{Redo: redo})
		if stint.CodeOf(err) != stint.NotFound || !strings.Contains(err.Error(), "saved_state_damaged: ") || !strings.Contains(err.Error(), "listing") || !strings.Contains(err.Error(), "no operation") || strings.Contains(err.Error(), "no such file") {
			t.Errorf("redo %v: %s %v", redo, stint.CodeOf(err), err)
		}
	}
}

func TestWhatDependsOnAChangedInputIsPerformedAgainIfThatIsAccepted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	n.with(func() { n.upTo = 0 })
	id := r.submit(s.files("a", "b", "c", "d"))
	mapped := func(ops int64) {
		r.eventually("the first stage is complete", func() bool {
			doc, err := r.Show(t.Context(), id)
			return err == nil && doc.Stages[0].Operations.Completed == ops
		})
	}
	mapped(4)
	r.suspend(id)
	check(t, os.WriteFile(s.path("in", "c"), []byte("changed\n"), 0o600))
	check(t, os.WriteFile(s.path("in", "bb"), []byte("added\n"), 0o600))
	check(t, os.Remove(s.path("in", "d")))
	dry := r.mustResume(id, stint.ResumeRequest{DryRun: true})
	if dry.Changed != 3 || dry.Reused != 2 || len(dry.Redone) != 1 || dry.Redone[0].Operations != 2 || dry.Redone[0].Stage != "map" {
		t.Errorf("%+v", dry)
	}
	if doc, err := r.Show(t.Context(), id); err != nil || doc.Status != stint.Suspended || doc.Operations.Completed != 4 {
		t.Errorf("after a dry run: %+v, %v", doc, err)
	}
	got := r.mustResume(id, stint.ResumeRequest{Redo: true})
	if got.Execution.Status != stint.InProgress || got.Execution.Generation != 2 || got.Reused != 2 {
		t.Errorf("%+v", got)
	}
	mapped(4)
	r.stop()
	r = s.serve(nil) // what took the place of the record is read again
	n.attach(r)
	mapped(4)
	n.work()
	doc := r.awaitStatus(id, stint.Completed)
	if c := doc.Operations; c.Total != 5 || c.Completed != 5 || c.Performed != 7 {
		t.Errorf("%+v", c)
	}
}

func TestANewExecutionTakesOverWhatAnEarlierOneCompleted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	req := s.files("a", "b", "c", "d")
	id := r.submit(req)
	r.awaitStatus(id, stint.Completed)
	check(t, os.WriteFile(s.path("in", "c"), []byte("changed\n"), 0o600))
	req.Reuse, req.Output, req.Key = id, s.path("out-again"), "again"
	report, err := r.Plan(t.Context(), req)
	check(t, err)
	if report.Reused != 3 || len(report.Stages) != 2 || report.Stages[0].Reused != 3 {
		t.Errorf("%+v", report)
	}
	again := r.submit(req)
	doc := r.awaitStatus(again, stint.Completed)
	if c := doc.Operations; c.Completed != 5 || c.Performed != 2 || c.Reused != 3 {
		t.Errorf("%+v", c)
	}
	if same := r.submit(req); same != again {
		t.Errorf("under the same key: %s, want %s", same, again)
	}
	n.once()
	req.Key, req.Output, req.Reuse = "", s.path("out-third"), again
	third := r.awaitStatus(r.submit(req), stint.Completed)
	if c := third.Operations; c.Completed != 5 || c.Performed > 2 {
		t.Errorf("nothing has changed: %+v", c)
	}
}

func TestANewExecutionTakesOverWhatASuspendedOneHasSaved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 40)
	r.suspend(id)
	req := s.numbers(40)
	req.Reuse, req.Output = id, s.path("out-again")
	report, err := r.Plan(t.Context(), req)
	check(t, err)
	if report.Reused != 40 || len(below(t, s.path("storage", "saved"))) != len(s.saved(id)) {
		t.Errorf("%+v, with %v", report, below(t, s.path("storage", "saved")))
	}
	again := r.submit(req)
	s.savedLike(again, "reused-0")
	_, err = r.Terminate(t.Context(), id)
	check(t, err)
	r.eventually("nothing is left of the one that is terminated", func() bool { return len(s.saved(id)) == 0 })
	s.savedLike(again, "reused-0")
	n.work()
	doc := r.awaitStatus(again, stint.Completed)
	if c := doc.Operations; c.Completed != 41 || c.Performed != 1 || c.Reused != 40 {
		t.Errorf("%+v", c)
	}
	r.eventually("nothing is left in long-term storage", func() bool { return len(s.saved(again)) == 0 })
}

func TestOnlyWhatHasEndedIsReused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	s.node("a").idle().attach(r)
	id := r.submit(s.numbers(5))
	for reuse, want := range map[stint.ExecutionID]stint.Code{id: stint.Conflict, "x-zzzzzzzzzzzzzzzz": stint.NotFound, "x-1": stint.Invalid} {
		req := s.numbers(6)
		req.Reuse = reuse
		if _, err := r.Submit(t.Context(), req); stint.CodeOf(err) != want || !strings.Contains(err.Error(), string(reuse)) {
			t.Errorf("%s: %s %v", reuse, stint.CodeOf(err), err)
		}
	}
}
