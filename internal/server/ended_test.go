package server_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stint"
)

// endElsewhere leaves what the owner of another service leaves at the end.
func (s *site) endElsewhere(id stint.ExecutionID, status stint.ExecutionStatus, until time.Time) string {
	s.t.Helper()
	dir := s.path("storage", "saved", string(id))
	check(s.t, os.RemoveAll(dir))
	check(s.t, os.MkdirAll(dir, 0o700))
	b, err := json.Marshal(stint.Ended{
		Status: status, Generation: 2, Service: "b", Address: "there", At: time.Unix(0, 0).UTC(), Until: until, Output: "file:///their/out", Parts: 3, Bytes: 9,
	})
	check(s.t, err)
	path := filepath.Join(dir, "ended")
	check(s.t, os.WriteFile(path, b, 0o600))
	return path
}

func TestWhatHasEndedElsewhereEndsHere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	for i, c := range []struct {
		what   string
		ask    func(stint.ExecutionID) error
		status stint.ExecutionStatus
		stays  stint.ExecutionStatus // here
		kept   bool
	}{
		{"resume", func(id stint.ExecutionID) error {
			_, err := r.Resume(t.Context(), id, stint.ResumeRequest{})
			return err
		}, stint.Completed, stint.Completed, true},
		{"resume --redo", func(id stint.ExecutionID) error {
			_, err := r.Resume(t.Context(), id, stint.ResumeRequest{Redo: true, TakeOver: true})
			return err
		}, stint.ExecutionFailed, stint.ExecutionFailed, true},
		{"resume --from", func(id stint.ExecutionID) error {
			_, err := r.Resume(t.Context(), id, stint.ResumeRequest{From: s.url})
			return err
		}, stint.Terminated, stint.Terminated, true},
		{"resume --dry-run", func(id stint.ExecutionID) error {
			_, err := r.Resume(t.Context(), id, stint.ResumeRequest{DryRun: true})
			return err
		}, stint.Completed, stint.Suspended, true},
		{"suspend", func(id stint.ExecutionID) error {
			_, err := r.Suspend(t.Context(), id, stint.SuspendRequest{})
			return err
		}, stint.Completed, stint.Completed, true},
		{"terminate", func(id stint.ExecutionID) error { _, err := r.Terminate(t.Context(), id); return err }, stint.Completed, stint.Completed, false},
	} {
		id := r.mapped(s, n, 3+i)
		r.suspend(id)
		path := s.endElsewhere(id, c.status, time.Now())
		err := c.ask(id)
		if stint.CodeOf(err) != stint.Conflict || !strings.Contains(err.Error(), "service b on there at 1970-01-01T00:00:00Z") || (c.status == stint.Completed) != strings.Contains(err.Error(), "file:///their/out") {
			t.Errorf("%s: %s %v", c.what, stint.CodeOf(err), err)
		}
		doc, err := r.Show(t.Context(), id)
		check(t, err)
		if doc.Status != c.stays || c.stays == stint.Completed && (doc.Output.Parts != 3 || doc.Output.Bytes != 9) {
			t.Errorf("%s: %s, %+v", c.what, doc.Status, doc.Output)
		}
		if _, err := os.Stat(path); (err == nil) != c.kept {
			t.Errorf("%s: what says that it has ended: %v", c.what, err)
		}
	}
}

func TestWhatHasEndedIsNotThereToBeResumedByAThird(t *testing.T) {
	t.Parallel()
	a, b := newSite(t), newSite(t)
	r := b.serve(nil)
	a.serve(nil)
	const id = stint.ExecutionID("x-aaaaaaaaaaaaaaaa")
	a.endElsewhere(id, stint.Completed, time.Now())
	if list, err := r.Saved(t.Context(), a.url); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
	_, err := r.Resume(t.Context(), id, stint.ResumeRequest{From: a.url})
	if stint.CodeOf(err) != stint.Conflict || !strings.HasPrefix(err.Error(), "ended_elsewhere: execution "+string(id)+" was completed by service b") {
		t.Errorf("%s %v", stint.CodeOf(err), err)
	}
}

func TestTheOutputOfASuspendedExecutionIsNotGivenAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 3)
	r.suspend(id)
	req := s.numbers(4)
	req.Output = s.path("out-3")
	_, err := r.Submit(t.Context(), req)
	if stint.CodeOf(err) != stint.Conflict || !strings.Contains(err.Error(), string(id)+", which is suspended, writes there; resume or terminate it, or give another location") {
		t.Errorf("%s %v", stint.CodeOf(err), err)
	}
	if _, err := r.Show(t.Context(), "x-zzzzzzzzzzzzzzzz"); err == nil || err.Error() != "no execution x-zzzzzzzzzzzzzzzz" {
		t.Error(err)
	}
}

func TestTheEndOfASuspendedExecutionWaitsForItsStorage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 3)
	r.suspend(id)
	saved := s.path("storage", "saved")
	n.with(func() {
		n.errand = func(e stint.Errand) *stint.ErrandResult {
			if e.Kind == stint.ErrandClear {
				if info, err := os.Stat(saved); err == nil && !info.IsDir() {
					return &stint.ErrandResult{ID: e.ID, Error: stint.Errorf(stint.Unavailable, "saved is a file")}
				}
			}
			return n.honest(e)
		}
	})
	check(t, os.Rename(saved, saved+"-away"))
	check(t, os.WriteFile(saved, nil, 0o600))
	doc, err := r.Terminate(t.Context(), id)
	check(t, err)
	if doc.Status != stint.Terminating {
		t.Errorf("it is %s", doc.Status)
	}
	r.eventually("it says what it waits for", func() bool {
		doc, err := r.Show(t.Context(), id)
		return err == nil && strings.Contains(doc.Waiting, "saved is a file")
	})
	check(t, os.Remove(saved))
	check(t, os.Rename(saved+"-away", saved))
	r.awaitStatus(id, stint.Terminated)
}

// An execution is terminated while nobody knows whether its output is committed. The
// record of its end decides: what a node has committed, or commits later, is no output.
func TestAnExecutionThatIsTerminatedWhileItsOutputIsCommittedHasNone(t *testing.T) {
	t.Parallel()
	for name, order := range map[string]func(done, cleared func()){
		"committed and not heard of": func(done, cleared func()) { done(); cleared() },
		"committed later":            func(done, cleared func()) { cleared(); done() },
		"committed before and after": func(done, cleared func()) { done(); cleared(); done() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			r := s.serve(nil)
			n := s.node("a")
			commits := make(chan stint.Errand, 1)
			n.errand = func(e stint.Errand) *stint.ErrandResult {
				if e.Kind != stint.ErrandCommit {
					return n.honest(e)
				}
				commits <- e
				return nil
			}
			n.attach(r)
			id := r.submit(s.numbers(5))
			commit := <-commits
			order(func() { n.honest(commit) }, func() {
				_, err := r.Terminate(t.Context(), id)
				check(t, err)
				r.awaitStatus(id, stint.Terminated)
			})
			if _, err := os.Stat(s.path("out-5")); !os.IsNotExist(err) {
				t.Errorf("its output: %v, %v", below(t, s.path("out-5")), err)
			}
		})
	}
}
