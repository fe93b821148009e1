package server_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"stint"
	"stint/internal/link"
)

// mapped submits an execution of ops operations and one that gathers, and waits
// until all but that one have completed.
func (r *running) mapped(s *site, n *node, ops int) stint.ExecutionID {
	r.t.Helper()
	n.with(func() { n.upTo = 0 })
	id := r.submit(s.numbers(ops))
	r.eventually("the first stage is complete", func() bool {
		doc, err := r.Show(r.t.Context(), id)
		return err == nil && doc.Operations.Completed == int64(ops)
	})
	return id
}

// suspend suspends an execution and waits until it is.
func (r *running) suspend(id stint.ExecutionID) stint.Execution {
	r.t.Helper()
	doc, err := r.Suspend(r.t.Context(), id, stint.SuspendRequest{})
	check(r.t, err)
	if doc.Status != stint.Suspending && doc.Status != stint.Suspended {
		r.t.Errorf("it is %s", doc.Status)
	}
	return r.awaitStatus(id, stint.Suspended)
}

func (r *running) mustResume(id stint.ExecutionID, req stint.ResumeRequest) stint.Resumption {
	r.t.Helper()
	got, err := r.Resume(r.t.Context(), id, req)
	check(r.t, err)
	return got
}

// saved lists what lies in long-term storage for an execution.
func (s *site) saved(id stint.ExecutionID) []string {
	s.t.Helper()
	return below(s.t, s.path("storage", "saved", string(id)))
}

// savedLike returns the path of the one file of the saved state with a prefix.
func (s *site) savedLike(id stint.ExecutionID, prefix string) string {
	s.t.Helper()
	all := s.saved(id)
	i := slices.IndexFunc(all, func(name string) bool { return strings.HasPrefix(name, prefix) })
	if i < 0 {
		s.t.Fatalf("no %s… in %v", prefix, all)
	}
	return s.path("storage", "saved", string(id), all[i])
}

func TestASuspendedExecutionGoesOnAndPerformsNothingTwice(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 40)
	doc := r.suspend(id)
	if doc.Generation != 1 || len(doc.Receipts) != 1 || doc.Receipts[0].OperationsKept != 40 || doc.Saved.Operations != 40 || doc.Saved.Location != s.url {
		t.Errorf("generation %d, receipts %+v, saved %+v", doc.Generation, doc.Receipts, doc.Saved)
	}
	n.await("it forgets", func() bool { return len(n.kept) == 0 })
	for _, prefix := range []string{"owner-000001", "record-000001", "pack-"} {
		s.savedLike(id, prefix)
	}
	r.stop()
	r = s.serve(nil)
	other := s.node("b").attach(r)
	got := r.mustResume(id, stint.ResumeRequest{})
	if got.Reused != 40 || got.Execution.Status != stint.InProgress || got.Execution.Generation != 2 {
		t.Errorf("%+v", got)
	}
	doc = r.awaitStatus(id, stint.Completed)
	if c := doc.Operations; c.Completed != 41 || c.Performed != 41 || c.Reused != 40 || len(doc.Stints) != 2 {
		t.Errorf("%+v", doc)
	}
	n.once()
	other.once()
	r.eventually("nothing is left in long-term storage", func() bool { return len(s.saved(id)) == 0 })
}

func TestAnExecutionIsResumedByAServiceThatHasOnlyTheStorage(t *testing.T) {
	t.Parallel()
	a, b := newSite(t), newSite(t)
	first := a.serve(nil)
	n := a.node("a").attach(first)
	id := first.mapped(a, n, 30)
	first.suspend(id)
	first.stop()
	for _, name := range []string{"record.db", string(n.id()), "out-30-elsewhere"} {
		check(t, os.RemoveAll(a.path(name)))
	}
	second := b.serve(nil)
	other := b.node("b").attach(second)
	saved, err := second.Saved(t.Context(), a.url)
	check(t, err)
	if len(saved) != 1 || saved[0].ID != id || saved[0].Generation != 1 || saved[0].Operations.Completed != 30 {
		t.Errorf("%+v", saved)
	}
	dry := second.mustResume(id, stint.ResumeRequest{From: a.url, DryRun: true})
	if _, err := second.Show(t.Context(), id); dry.Reused != 30 || stint.CodeOf(err) != stint.NotFound {
		t.Errorf("a dry run: %+v, %v", dry, err)
	}
	second.mustResume(id, stint.ResumeRequest{From: a.url})
	doc := second.awaitStatus(id, stint.Completed)
	if c := doc.Operations; c.Performed != 31 || c.Reused != 30 {
		t.Errorf("%+v", c)
	}
	other.with(func() {
		if len(other.begun) != 1 {
			t.Errorf("it performed %v", other.begun)
		}
	})
	second.eventually("nothing is left in long-term storage", func() bool { return len(a.saved(id)) == 0 })
}

func TestAnExecutionThatWasResumedElsewhereGoesBackAndForth(t *testing.T) {
	t.Parallel()
	a, b := newSite(t), newSite(t)
	first, second := a.serve(nil), b.serve(nil)
	n := a.node("a").attach(first)
	other := b.node("b").attach(second)
	other.with(func() { other.upTo = 0 })
	id := first.mapped(a, n, 10)
	first.suspend(id)
	second.mustResume(id, stint.ResumeRequest{From: a.url})
	_, err := first.Resume(t.Context(), id, stint.ResumeRequest{})
	if stint.CodeOf(err) != stint.Conflict || !strings.HasPrefix(err.Error(), "owned_elsewhere: ") {
		t.Errorf("it is in progress elsewhere: %v", err)
	}
	second.suspend(id)
	n.work()
	got := first.mustResume(id, stint.ResumeRequest{})
	if got.Execution.Generation != 3 || len(got.Execution.Stints) != 3 {
		t.Errorf("%+v", got.Execution)
	}
	if doc := first.awaitStatus(id, stint.Completed); doc.Operations.Performed != 11 {
		t.Errorf("%+v", doc.Operations)
	}
	n.once()
	_, err = second.Resume(t.Context(), id, stint.ResumeRequest{})
	if err == nil {
		t.Error("it is resumed after its end")
	}
}

func TestATakeOverGoesOnFromTheLatestRecord(t *testing.T) {
	t.Parallel()
	a, b := newSite(t), newSite(t)
	first, second := a.serve(nil), b.serve(nil)
	n := a.node("a").attach(first)
	b.node("b").idle().attach(second)
	id := first.mapped(a, n, 10)
	first.suspend(id)
	second.mustResume(id, stint.ResumeRequest{From: a.url})
	second.stop()
	n.work()
	if got := first.mustResume(id, stint.ResumeRequest{TakeOver: true}); got.Execution.Generation != 3 {
		t.Errorf("generation %d", got.Execution.Generation)
	}
	first.awaitStatus(id, stint.Completed)
	n.once()
}

func TestOfTwoResumesOneWins(t *testing.T) {
	t.Parallel()
	a := newSite(t)
	r := a.serve(nil)
	n := a.node("a").attach(r)
	id := r.mapped(a, n, 10)
	r.suspend(id)
	r.stop()
	outcomes := make([]error, 4)
	var group sync.WaitGroup
	for i := range outcomes {
		site := newSite(t)
		other := site.serve(nil)
		site.node("b").idle().attach(other)
		group.Go(func() { _, outcomes[i] = other.Resume(t.Context(), id, stint.ResumeRequest{From: a.url}) })
	}
	group.Wait()
	won := 0
	for _, err := range outcomes {
		if err == nil {
			won++
		} else if stint.CodeOf(err) != stint.Conflict || !strings.HasPrefix(err.Error(), "owned_elsewhere: ") {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d of them own it: %v", won, outcomes)
	}
}

func TestSavedStateThatIsNotWholeIsRefusedAndNothingChanges(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 10)
	r.suspend(id)
	elsewhere := newSite(t)
	other := elsewhere.serve(nil)
	elsewhere.node("b").attach(other)
	record, pack := s.savedLike(id, "record-"), s.savedLike(id, "pack-")
	empty := newSite(t)
	empty.serve(nil)
	for _, c := range []struct {
		rule   string
		path   string // of what is damaged
		damage func([]byte) []byte
		from   string
		want   stint.Code
		says   string
	}{
		{"a pack is missing", pack, nil, s.url, stint.NotFound, filepath.Base(pack)},
		{"a pack is missing, and the service is its owner", pack, nil, "", stint.NotFound, filepath.Base(pack)},
		{"the record is missing", record, nil, s.url, stint.NotFound, "record-"},
		{"the record is truncated", record, func(b []byte) []byte { return b[:len(b)/2] }, s.url, stint.Invalid, "truncated"},
		{"the record is altered", record, func(b []byte) []byte { b[len(b)-9] ^= 1; return b }, s.url, stint.Invalid, "altered"},
		{"the summary of the record is altered", record, func(b []byte) []byte { b[20] ^= 1; return b }, s.url, stint.Invalid, "record-000001: it is altered"},
		{"the record is newer", record, func(b []byte) []byte { binary.LittleEndian.PutUint32(b[8:], 2); return b }, s.url, stint.Invalid, "format 2, this version of Stint knows format 1"},
		{"the storage is another", "", nil, empty.url, stint.NotFound, "saved/" + string(id)},
		{"the storage is not there", "", nil, s.url + "-none", stint.NotFound, "-none"},
		{"the folder is not a storage", "", nil, "file://" + s.path(string(n.id())), stint.Invalid, "not a storage"},
	} {
		at := other
		if c.from == "" {
			at = r
		}
		var was []byte
		if c.path != "" {
			var err error
			was, err = os.ReadFile(c.path)
			check(t, err)
			check(t, os.Remove(c.path))
			if c.damage != nil {
				check(t, os.WriteFile(c.path, c.damage(bytes.Clone(was)), 0o600))
			}
		}
		before := s.saved(id)
		_, err := at.Resume(t.Context(), id, stint.ResumeRequest{From: c.from})
		if stint.CodeOf(err) != c.want || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %s %v", c.rule, stint.CodeOf(err), err)
		}
		if strings.Contains(fmt.Sprint(err), "frame") || strings.Contains(fmt.Sprint(err), "no such file") {
			t.Errorf("%s: said in words of the inside: %v", c.rule, err)
		}
		if after := s.saved(id); !slices.Equal(before, after) {
			t.Errorf("%s: the refusal changed %v to %v", c.rule, before, after)
		}
		if _, err := other.Show(t.Context(), id); stint.CodeOf(err) != stint.NotFound {
			t.Errorf("%s: the refusal left an execution: %v", c.rule, err)
		}
		if c.path != "" {
			check(t, os.WriteFile(c.path, was, 0o600))
		}
	}
	if doc, err := r.Show(t.Context(), id); err != nil || doc.Status != stint.Suspended || doc.Generation != 1 {
		t.Errorf("%+v, %v", doc, err)
	}
	n.work()
	r.mustResume(id, stint.ResumeRequest{})
	r.awaitStatus(id, stint.Completed)
	n.once()
}

func TestAChangedInputIsNamed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	n.with(func() { n.upTo = 0 })
	in := s.path("in")
	check(t, os.Mkdir(in, 0o700))
	for _, name := range []string{"a", "b"} {
		check(t, os.WriteFile(filepath.Join(in, name), []byte(name+"\n"), 0o600))
	}
	req := s.numbers(7)
	req.Program.Stages[0].Input.Split = stint.SplitFiles
	req.Program.Stages = append(req.Program.Stages, stint.Stage{
		Name: "reduce", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.Shuffle, From: "map"},
	})
	req.Inputs = []string{in}
	id := r.submit(req)
	r.eventually("the first stage is complete", func() bool {
		doc, err := r.Show(t.Context(), id)
		return err == nil && doc.Stages[0].Operations.Completed == doc.Stages[0].Operations.Total
	})
	r.suspend(id)
	check(t, os.WriteFile(filepath.Join(in, "b"), []byte("changed\n"), 0o600))
	got, err := r.Resume(t.Context(), id, stint.ResumeRequest{})
	if stint.CodeOf(err) != stint.Conflict || !strings.HasPrefix(err.Error(), "input_changed: ") || !strings.Contains(err.Error(), in+"/b") || strings.Contains(err.Error(), in+"/a") {
		t.Errorf("%s %v", stint.CodeOf(err), err)
	}
	if got.Changed != 1 || len(got.Changes) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestASuspendedExecutionResumesAtItsTime(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 10)
	r.suspend(id)
	at := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	if got := r.mustResume(id, stint.ResumeRequest{At: at}); got.Execution.Status != stint.Suspended || got.Execution.ResumeAt == nil || !got.Execution.ResumeAt.Equal(at) {
		t.Errorf("%+v", got.Execution)
	}
	pack := s.savedLike(id, "pack-")
	check(t, os.Rename(pack, s.path("pack")))
	r.mustResume(id, stint.ResumeRequest{At: time.Now().Add(-time.Second)})
	r.eventually("it says why it did not resume", func() bool {
		doc, err := r.Show(t.Context(), id)
		return err == nil && doc.Status == stint.Suspended && strings.Contains(doc.Waiting, filepath.Base(pack))
	})
	r.stop()
	check(t, os.Rename(s.path("pack"), pack))
	r = s.serve(nil)
	n.attach(r)
	n.work()
	r.awaitStatus(id, stint.Completed)
	n.once()
}

func TestASuspendGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 10)
	n.with(func() {
		n.errand = func(e stint.Errand) *stint.ErrandResult {
			if e.Kind == stint.ErrandSave {
				return nil // never answered
			}
			return n.honest(e)
		}
	})
	_, err := r.Suspend(t.Context(), id, stint.SuspendRequest{})
	check(t, err)
	n.await("it is asked to save", func() bool {
		return n.was(func(m link.ServerMessage) bool { return m.Errand != nil && m.Errand.Kind == stint.ErrandSave })
	})
	r.stop()
	n.with(func() { n.errand = nil })
	r = s.serve(nil)
	n.attach(r)
	doc := r.awaitStatus(id, stint.Suspended)
	if doc.Saved.Operations != 10 {
		t.Errorf("saved %+v", doc.Saved)
	}
}

func TestASuspendIsTakenBackWhileItIsNotComplete(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 10)
	n.with(func() {
		n.errand = func(e stint.Errand) *stint.ErrandResult {
			if e.Kind == stint.ErrandSave {
				return nil
			}
			return n.honest(e)
		}
	})
	_, err := r.Suspend(t.Context(), id, stint.SuspendRequest{})
	check(t, err)
	if got := r.mustResume(id, stint.ResumeRequest{}); got.Execution.Status != stint.InProgress {
		t.Errorf("%+v", got.Execution)
	}
	n.work()
	r.awaitStatus(id, stint.Completed)
	n.once()
}

// claimAgain leaves what a server leaves that dies between its claim and the record of it.
func (s *site) claimAgain(id stint.ExecutionID) {
	s.t.Helper()
	claim, err := os.ReadFile(s.savedLike(id, "owner-000001"))
	check(s.t, err)
	next := 1 + len(slices.DeleteFunc(s.saved(id), func(name string) bool { return !strings.HasPrefix(name, "owner-") }))
	claim = bytes.Replace(claim, []byte(`"generation":1`), fmt.Appendf(nil, `"generation":%d`, next), 1)
	check(s.t, os.WriteFile(s.path("storage", "saved", string(id), fmt.Sprintf("owner-%06d", next)), claim, 0o600))
}

func TestAClaimOfOurOwnThatCameToNothingIsInNobodysWay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	resumed := r.mapped(s, n, 10)
	r.suspend(resumed)
	s.claimAgain(resumed)
	n.work()
	if got := r.mustResume(resumed, stint.ResumeRequest{}); got.Execution.Generation != 3 {
		t.Errorf("generation %d", got.Execution.Generation)
	}
	r.awaitStatus(resumed, stint.Completed)
	terminated := r.mapped(s, n, 11)
	r.suspend(terminated)
	s.claimAgain(terminated)
	s.claimAgain(terminated)
	_, err := r.Terminate(t.Context(), terminated)
	check(t, err)
	r.awaitStatus(terminated, stint.Terminated)
	if left := s.saved(terminated); len(left) > 0 {
		t.Errorf("left in long-term storage: %v", left)
	}
}

func TestAResumeLooksWhetherTheOutputCanBeLeft(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 3)
	r.suspend(id)
	before := s.saved(id)
	taken := s.path("out-3", "part-00000")
	check(t, os.WriteFile(taken, nil, 0o600))
	for _, req := range []stint.ResumeRequest{{}, {DryRun: true}} {
		if _, err := r.Resume(t.Context(), id, req); stint.CodeOf(err) != stint.Conflict || !strings.Contains(err.Error(), "holds part-00000") {
			t.Errorf("%+v: %v", req, err)
		}
	}
	if after := s.saved(id); !slices.Equal(before, after) {
		t.Errorf("the refusal changed %v to %v", before, after)
	}
	check(t, os.Remove(taken))
	n.work()
	r.mustResume(id, stint.ResumeRequest{})
	r.awaitStatus(id, stint.Completed)
}

func TestWhatHasEndedElsewhereIsNotResumedHere(t *testing.T) {
	t.Parallel()
	a, b := newSite(t), newSite(t)
	first, second := a.serve(nil), b.serve(nil)
	n := a.node("a").attach(first)
	b.node("b").attach(second)
	id := first.mapped(a, n, 3)
	first.suspend(id)
	second.mustResume(id, stint.ResumeRequest{From: a.url})
	second.awaitStatus(id, stint.Completed)
	for _, req := range []stint.ResumeRequest{{}, {Redo: true}, {TakeOver: true}, {DryRun: true}} {
		if _, err := first.Resume(t.Context(), id, req); stint.CodeOf(err) != stint.NotFound || !strings.HasPrefix(err.Error(), "saved_state_gone: ") {
			t.Errorf("%+v: %v", req, err)
		}
	}
	if left := a.saved(id); len(left) > 0 {
		t.Errorf("left in long-term storage: %v", left)
	}
}

func TestAResumeThatCannotGoOnTakesBackItsClaim(t *testing.T) {
	t.Parallel()
	a, b := newSite(t), newSite(t)
	first, second := a.serve(nil), b.serve(nil)
	n := a.node("a").attach(first)
	b.node("b").idle().attach(second)
	id := first.mapped(a, n, 10)
	first.suspend(id)
	req := b.numbers(3)
	req.Output = a.path("out-10")
	inTheWay := second.submit(req)
	before := a.saved(id)
	_, err := second.Resume(t.Context(), id, stint.ResumeRequest{From: a.url})
	if stint.CodeOf(err) != stint.Conflict || !strings.Contains(err.Error(), string(inTheWay)) {
		t.Errorf("%s %v", stint.CodeOf(err), err)
	}
	if after := a.saved(id); !slices.Equal(before, after) {
		t.Errorf("the refusal changed %v to %v", before, after)
	}
	if _, err := second.Show(t.Context(), id); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("the refusal left an execution: %v", err)
	}
}

func TestOneThatGoesOnElsewhereIsNotTerminatedHere(t *testing.T) {
	t.Parallel()
	a, b := newSite(t), newSite(t)
	first, second := a.serve(nil), b.serve(nil)
	n := a.node("a").attach(first)
	b.node("b").idle().attach(second)
	id := first.mapped(a, n, 10)
	first.suspend(id)
	second.mustResume(id, stint.ResumeRequest{From: a.url})
	before := a.saved(id)
	if _, err := first.Terminate(t.Context(), id); stint.CodeOf(err) != stint.Conflict || !strings.HasPrefix(err.Error(), "owned_elsewhere: ") {
		t.Errorf("%s %v", stint.CodeOf(err), err)
	}
	if after := a.saved(id); !slices.Equal(before, after) {
		t.Errorf("it changed %v to %v", before, after)
	}
	_, err := second.Terminate(t.Context(), id)
	check(t, err)
	second.awaitStatus(id, stint.Terminated)
	if left := a.saved(id); len(left) > 0 {
		t.Errorf("left in long-term storage: %v", left)
	}
}

func TestATerminatedExecutionLeavesNoSavedState(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 10)
	r.suspend(id)
	_, err := r.Terminate(t.Context(), id)
	check(t, err)
	r.awaitStatus(id, stint.Terminated)
	if left := s.saved(id); len(left) > 0 {
		t.Errorf("left in long-term storage: %v", left)
	}
	_, err = r.Resume(t.Context(), id, stint.ResumeRequest{})
	if stint.CodeOf(err) != stint.Conflict || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("resumed after its end: %v", err)
	}
}

func TestWhatCannotBeDoneNowSaysWhy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").idle().attach(r)
	id := r.submit(s.numbers(5))
	bad := -1.0
	suspend := func(req stint.SuspendRequest) func() error {
		return func() error { _, err := r.Suspend(t.Context(), id, req); return err }
	}
	resume := func(req stint.ResumeRequest) func() error {
		return func() error { _, err := r.Resume(t.Context(), id, req); return err }
	}
	move := func(req stint.MoveRequest) func() error {
		return func() error { _, err := r.Move(t.Context(), id, req); return err }
	}
	retry := func() error { _, err := r.Retry(t.Context(), id); return err }
	cases := func(status string, list map[string]func() error, want stint.Code) {
		t.Helper()
		for what, do := range list {
			err := do()
			if stint.CodeOf(err) != want || want == stint.Conflict && !strings.Contains(err.Error(), status) {
				t.Errorf("%s of one that is %s: %s %v", what, status, stint.CodeOf(err), err)
			}
		}
	}
	cases("in progress", map[string]func() error{
		"grace": suspend(stint.SuspendRequest{Grace: &bad}), "spelling": suspend(stint.SuspendRequest{Jobs: []string{"7"}}),
		"move of nothing": move(stint.MoveRequest{}), "negative": resume(stint.ResumeRequest{Nodes: -1}),
		"both":     resume(stint.ResumeRequest{Jobs: []string{"j-1"}, DryRun: true}),
		"long ago": resume(stint.ResumeRequest{At: time.UnixMilli(0)}),
	}, stint.Invalid)
	cases("in progress", map[string]func() error{"resume": resume(stint.ResumeRequest{}), "retry": retry}, stint.Conflict)
	n.work()
	r.awaitStatus(id, stint.Completed)
	r.eventually("it is settled", func() bool {
		_, err := r.Durability(t.Context(), id)
		return err == nil
	})
	cases("completed", map[string]func() error{
		"suspend": suspend(stint.SuspendRequest{}), "resume": resume(stint.ResumeRequest{}), "move": move(stint.MoveRequest{Job: "j-1"}), "retry": retry,
		"resume from its storage": resume(stint.ResumeRequest{From: s.url}),
	}, stint.Conflict)
	id = "x-zzzzzzzzzzzzzzzz"
	cases("unknown", map[string]func() error{
		"suspend": suspend(stint.SuspendRequest{}), "resume": resume(stint.ResumeRequest{}), "move": move(stint.MoveRequest{Job: "j-1"}), "retry": retry,
		"resume from storage": resume(stint.ResumeRequest{From: s.url}),
	}, stint.NotFound)
}

func TestAPlanSaysWhatWouldBeAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	s.node("a").attach(r)
	req := s.numbers(40)
	got, err := r.Plan(t.Context(), req)
	check(t, err)
	if got.Values != 40 || got.Subsets != 40 || got.Operations != 41 || got.Parts != 1 || got.Output != req.Output || len(got.Stages) != 2 {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(s.path("out-40")); err == nil {
		t.Error("it made the output folder")
	}
	if list, _, err := r.List(t.Context(), stint.ExecutionFilter{Limit: 5}); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
	req.Inputs = []string{s.path("nothing")}
	if _, err := r.Plan(t.Context(), req); err == nil {
		t.Error("an input that is not there was planned")
	}
}

func TestAnAlteredProgramFileOfAnotherStorageHarmsNoFileHere(t *testing.T) {
	t.Parallel()
	a, b := newSite(t), newSite(t)
	first, second := a.serve(nil), b.serve(nil)
	n := a.node("a").attach(first)
	b.node("b").attach(second)
	put := func(r *running, content string) stint.Digest {
		digest, _, err := r.Storage.PutBlob(t.Context(), "files", strings.NewReader(content), 100)
		check(t, err)
		return digest
	}
	digest, other := put(first, "of the program"), put(second, "of another one")
	req := a.numbers(10)
	req.Program.Files = []stint.ProgramFile{{Name: "run.sh", Digest: digest, Size: 14, Mode: 0o755}}
	n.with(func() { n.upTo = 0 })
	id := first.submit(req)
	first.eventually("the first stage is complete", func() bool {
		doc, err := first.Show(t.Context(), id)
		return err == nil && doc.Operations.Completed == 10
	})
	first.suspend(id)
	check(t, os.WriteFile(a.path("storage", "files", digest.String()), []byte("of another one"), 0o600))
	if _, err := second.Resume(t.Context(), id, stint.ResumeRequest{From: a.url}); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), digest.String()) {
		t.Errorf("resumed with an altered file: %s %v", stint.CodeOf(err), err)
	}
	if got := below(t, b.path("storage", "files")); len(got) != 1 || got[0] != other.String() {
		t.Errorf("the files here are %v", got)
	}
}
