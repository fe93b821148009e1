package server_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/link"
	"stint/internal/object"
	"stint/internal/plan"
	"stint/internal/server"
	"stint/internal/store"
)

func TestAnExecutionIsPerformedAndCommitted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	req := s.numbers(40)
	id := r.submit(req)
	doc := r.awaitStatus(id, stint.Completed)
	if c := doc.Operations; c.Completed != 41 || c.Performed != 41 || doc.Progress != 1 || doc.Counters["test"]["performed"] != 41 {
		t.Errorf("document %+v", doc)
	}
	m, err := new(object.Access).ReadManifest(t.Context(), s.path("out-40"))
	if err != nil || m.Execution != id || len(m.Parts) != 1 || m.Bytes != doc.Output.Bytes {
		t.Errorf("manifest %+v, %v; document %+v", m, err, doc.Output)
	}
	n.once()
	n.await("it forgets", func() bool { return len(n.kept) == 0 })
}

func TestAWatchShowsRisingVersionsAndEndsWithTheFinalOne(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").idle().attach(r)
	id := r.submit(s.numbers(12))
	var last stint.Execution
	documents := 0
	for doc, err := range r.Watch(t.Context(), id, 0) {
		check(t, err)
		if documents > 0 && doc.Version <= last.Version {
			t.Errorf("version %d after %d", doc.Version, last.Version)
		}
		if documents == 0 {
			n.work()
		}
		documents++
		last = doc
	}
	if documents < 2 || last.Status != stint.Completed {
		t.Errorf("%d documents, the last is %s", documents, last.Status)
	}
	for doc, err := range r.Watch(t.Context(), id, last.Version) {
		check(t, err)
		if doc.Version != last.Version {
			t.Errorf("after the end: version %d, want %d", doc.Version, last.Version)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for doc, err := range r.Watch(ctx, id, 0) {
		if err == nil && doc.ID != id {
			t.Errorf("document of %s", doc.ID)
		}
	}
}

func TestAKeyGivesOneExecution(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	s.node("a").idle().attach(r)
	req := s.numbers(5)
	req.Key = "k"
	var group sync.WaitGroup
	ids := make([]stint.ExecutionID, 6)
	for i := range ids {
		group.Go(func() {
			doc, err := r.Submit(t.Context(), req)
			if err != nil {
				t.Error(err)
			}
			ids[i] = doc.ID
		})
	}
	group.Wait()
	if len(slices.Compact(slices.Clone(ids))) != 1 || r.submit(req) != ids[0] {
		t.Fatalf("executions %v", ids)
	}
	staged, err := os.ReadDir(filepath.Join(req.Output, "_stint"))
	staged = slices.DeleteFunc(staged, func(e os.DirEntry) bool { return e.Name() == "_lock" })
	if err != nil || len(staged) != 1 {
		t.Errorf("staging folders %v, %v: those that lost the key are to be cleared", staged, err)
	}
	req.Name = "another"
	if _, err := r.Submit(t.Context(), req); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("another request under the key: %v", err)
	}
}

func TestASubmissionThatIsRefusedLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	s.node("a").attach(r)
	taken := s.path("taken")
	check(t, os.Mkdir(taken, 0o700))
	check(t, os.WriteFile(filepath.Join(taken, "part-00000"), nil, 0o600))
	for _, c := range []struct {
		rule   string
		change func(*stint.Request)
		want   stint.Code
	}{
		{"missing input", func(q *stint.Request) { q.Inputs = []string{s.path("nowhere")} }, stint.NotFound},
		{"no input", func(q *stint.Request) { q.Inputs = nil }, stint.Invalid},
		{"bad program", func(q *stint.Request) { q.Program.Name = "bad" }, stint.Invalid},
		{"no stages", func(q *stint.Request) { q.Program.Stages = nil }, stint.Invalid},
		{"unknown file", func(q *stint.Request) { q.Program.Files = []stint.ProgramFile{{Name: "x"}} }, stint.NotFound},
		{"a file outside", func(q *stint.Request) { q.Program.Files = []stint.ProgramFile{{Name: "../x"}} }, stint.Invalid},
		{"inputs with names", func(q *stint.Request) { q.NamedInputs = map[string][]string{"left": {"range:1..2"}} }, stint.Invalid},
		{"an input without its name", func(q *stint.Request) { nameInputs(q, "left") }, stint.Invalid},
		{"no location of an input", func(q *stint.Request) { nameInputs(q, "left"); q.Inputs = nil }, stint.Invalid},
		{"another input", func(q *stint.Request) {
			nameInputs(q, "left")
			q.Inputs, q.NamedInputs = nil, map[string][]string{"left": {"range:1..2"}, "right": {"range:1..2"}}
		}, stint.Invalid},
		{"a negative back-off", func(q *stint.Request) { q.Backoff = -1 }, stint.Invalid},
		{"more bad records than there are", func(q *stint.Request) { q.SkipBadRecords = 1.1 }, stint.Invalid},
		{"bad plan", func(q *stint.Request) { q.Partitions = -1 }, stint.Invalid},
		{"bad limit", func(q *stint.Request) { q.Nodes = -1 }, stint.Invalid},
		{"bad name", func(q *stint.Request) { q.Name = "a\x1b" }, stint.Invalid},
		{"bad environment", func(q *stint.Request) { q.Environment = map[string]string{"a=b": ""} }, stint.Invalid},
		{"negative replication", func(q *stint.Request) { q.Replication = -1 }, stint.Invalid},
		{"too many copies", func(q *stint.Request) { q.Replication = 17 }, stint.Invalid},
		{"unknown mode of saving", func(q *stint.Request) { q.Save = "never" }, stint.Invalid},
		{"kept for ever", func(q *stint.Request) { q.Keep = 1 << 40 }, stint.Invalid},
		{"reuse of what is no id", func(q *stint.Request) { q.Reuse = "last" }, stint.Invalid},
		{"reuse of what never was", func(q *stint.Request) { q.Reuse = "x-zzzzzzzzzzzzzzzz" }, stint.NotFound},
		{"output in the way", func(q *stint.Request) { q.Output = taken }, stint.Conflict},
	} {
		req := s.numbers(5)
		c.change(&req)
		if _, err := r.Submit(t.Context(), req); stint.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", c.rule, err, c.want)
		}
	}
	if list, _, err := r.List(t.Context(), stint.ExecutionFilter{Limit: 9}); err != nil || len(list) > 0 {
		t.Errorf("list %v, %v", list, err)
	}
	if _, err := os.Stat(s.path("out-5")); !os.IsNotExist(err) {
		t.Errorf("output location: %v, %v", below(t, s.path("out-5")), err)
	}
	if got := below(t, taken); !slices.Equal(got, []string{"part-00000"}) {
		t.Errorf("the output that was in the way: %v", got)
	}
}

// nameInputs has the first stage read an input of a name.
func nameInputs(q *stint.Request, name string) {
	q.Program.Inputs = []string{name}
	q.Program.Stages = slices.Clone(q.Program.Stages)
	q.Program.Stages[0].Input.From = name
}

func TestARequestLeavesErrorsToItsProgram(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a")
	n.attach(r)
	req := s.numbers(5)
	req.Attempts = 2
	req.Program.OnError = stint.ErrorPolicy{Attempts: 9, Backoff: 30, SkipBadRecords: 0.5}
	x, err := r.Submit(t.Context(), req)
	check(t, err)
	e, err := r.DB.Load(t.Context(), x.ID)
	check(t, err)
	if got := e.Request; got.Attempts != 2 || got.Backoff != 30 || got.SkipBadRecords != 0.5 {
		t.Errorf("attempts %d, back-off %d, skip %v", got.Attempts, got.Backoff, got.SkipBadRecords)
	}
}

func TestARequestGoesAboveItsProgramInWhatBecomesOfErrors(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a")
	n.attach(r)
	for i, c := range []struct {
		program       bool
		request, want *bool
	}{
		{true, nil, new(true)},
		{true, new(false), new(false)},
		{false, new(true), new(true)},
		{false, nil, nil},
	} {
		req := s.numbers(5 + i)
		req.CompleteErrors, req.SkipBadRecords = c.request, -1
		req.Program.OnError = stint.ErrorPolicy{CompleteErrors: c.program, SkipBadRecords: 0.5}
		x, err := r.Submit(t.Context(), req)
		check(t, err)
		e, err := r.DB.Load(t.Context(), x.ID)
		check(t, err)
		if d := cmp.Diff(c.want, e.Request.CompleteErrors); d != "" || e.Request.SkipBadRecords >= 0 {
			t.Errorf("case %d: skip %v, %s", i, e.Request.SkipBadRecords, d)
		}
	}
}

func TestARequestLeavesAttemptsToTheTemplateOfItsType(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a")
	n.attach(r)
	req := s.numbers(5)
	req.Program.Type = stint.Learning
	x, err := r.Submit(t.Context(), req)
	check(t, err)
	e, err := r.DB.Load(t.Context(), x.ID)
	check(t, err)
	if want := plan.TemplateOf(stint.Learning).Attempts; e.Request.Attempts != want {
		t.Errorf("attempts %d, want %d", e.Request.Attempts, want)
	}
}

func TestAnOutputIsOneExecutionsAtATime(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	s.node("a").idle().attach(r)
	first := r.submit(s.numbers(3))
	again := s.numbers(3)
	again.Output = "file://" + again.Output // another spelling of the same place
	if _, err := r.Submit(t.Context(), again); stint.CodeOf(err) != stint.Conflict || !strings.Contains(err.Error(), string(first)) {
		t.Errorf("while %s writes there: %v", first, err)
	}
	if _, err := r.Terminate(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	r.awaitStatus(first, stint.Terminated)
	if _, err := r.Submit(t.Context(), again); err != nil {
		t.Errorf("after its end: %v", err)
	}
}

func TestACallerThatLeavesDuringASubmissionLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a")
	ctx, cancel := context.WithCancel(t.Context())
	n.errand = func(e stint.Errand) *stint.ErrandResult {
		if e.Kind == stint.ErrandProbe {
			cancel()
		}
		return n.honest(e)
	}
	n.attach(r)
	if _, err := r.Submit(ctx, s.numbers(5)); err == nil {
		t.Error("accepted")
	}
	if _, err := os.Stat(s.path("out-5")); !os.IsNotExist(err) {
		t.Errorf("output location: %v, %v", below(t, s.path("out-5")), err)
	}
	if list, _, err := r.List(t.Context(), stint.ExecutionFilter{Limit: 9}); err != nil || len(list) > 0 {
		t.Errorf("list %v, %v", list, err)
	}
}

func TestAnErrandMovesOnWhenItsNodeLeaves(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	a := s.node("a")
	asked := make(chan struct{})
	var once sync.Once
	a.errand = func(stint.Errand) *stint.ErrandResult { once.Do(func() { close(asked) }); return nil }
	a.attach(r)
	answer := make(chan error, 1)
	go func() {
		_, err := r.Submit(t.Context(), s.numbers(5))
		answer <- err
	}()
	<-asked
	a.detach()
	s.node("b").attach(r)
	check(t, <-answer)
}

func TestAListIsPagedWithoutGapsThoughManyCameInOneMillisecond(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	var want []stint.ExecutionID
	for i := range 7 {
		id := stint.MakeExecutionID([]byte("abcdefghijklmno" + itoa(i)))
		_, err := r.DB.Create(t.Context(), store.Entry{ID: id, Created: 1000, Epoch: 1, Request: s.numbers(i + 1)}, nil)
		check(t, err)
		want = slices.Insert(want, 0, id)
	}
	var got []stint.ExecutionID
	f := stint.ExecutionFilter{Limit: 2}
	for more := true; more; more = f.Cursor > 0 {
		page, next, err := r.List(t.Context(), f)
		check(t, err)
		if len(page) > 2 {
			t.Errorf("a page of %d", len(page))
		}
		for _, doc := range page {
			got = append(got, doc.ID)
		}
		f.Cursor = next
	}
	if !slices.Equal(got, want) {
		t.Errorf("list %v, want %v", got, want)
	}
}

func TestOperationsArePagedAndFiltered(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").idle().attach(r)
	id := r.submit(s.numbers(10))
	n.await("grants", func() bool { return n.granted(id) == 4 })
	all := func(f stint.OperationFilter) (ids []stint.OperationID) {
		f.Limit = 3
		for more := true; more; more = f.Cursor > 0 {
			page, next, err := r.Operations(t.Context(), id, f)
			check(t, err)
			if len(page) > 3 {
				t.Errorf("a page of %d", len(page))
			}
			for _, o := range page {
				ids = append(ids, o.ID)
			}
			f.Cursor = next
		}
		return ids
	}
	verify := func(what string, f stint.OperationFilter, want int, first stint.OperationID) {
		t.Helper()
		got := all(f)
		if len(got) != want || want > 0 && got[0] != first || len(slices.Compact(slices.Clone(got))) != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	verify("all", stint.OperationFilter{}, 11, "map/0")
	verify("a stage", stint.OperationFilter{Stage: "map-parts"}, 1, "map-parts/0")
	verify("no stage", stint.OperationFilter{Stage: "reduce"}, 0, "")
	verify("queued", stint.OperationFilter{Status: stint.OpQueued}, 4, "map/0")
	verify("waiting", stint.OperationFilter{Status: stint.OpWaiting}, 7, "map/4")
	n.work()
	r.awaitStatus(id, stint.Completed)
	verify("of one that is over", stint.OperationFilter{Status: stint.OpCompleted}, 11, "map/0")
}

func TestALogIsThatOfTheFailureOrOfTheNode(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").idle().attach(r)
	id := r.submit(s.numbers(3))
	n.await("grants", func() bool { return n.granted(id) == 3 })
	n.with(func() {
		g := n.kept[id].waiting[0]
		n.report(id, stint.Report{Begun: []stint.Begun{{Job: g.Job, Ops: g.Ops}}, Failures: []stint.Failure{{
			Job: g.Job, Stage: g.Stage, Op: 1, Attempt: g.Attempt, Node: n.id(), Stderr: "no such thing",
			Error: stint.Errorf(stint.Failed, "exit 3"), Exit: 3,
		}}})
	})
	r.eventually("the failure is shown", func() bool {
		l, err := r.Logs(t.Context(), id, stint.LogQuery{Failed: true, Search: "such"})
		return err == nil && len(l.Entries) == 1 && l.Entries[0].Operation == "map/1" && l.Entries[0].Text == "no such thing"
	})
	for op, want := range map[stint.OperationID]stint.Code{"map/0": "", "map/1": "", "map/9": stint.NotFound, "map": stint.Invalid, "other/0": stint.NotFound} {
		l, err := r.Logs(t.Context(), id, stint.LogQuery{Operation: op})
		if stint.CodeOf(err) != want || err == nil && (len(l.Entries) == 0 || l.Entries[0].Operation != op) {
			t.Errorf("%s: %+v, %v", op, l, err)
		}
	}
	n.detach()
	r.eventually("it is away", func() bool { return r.Nodes(t.Context())[0].Status == stint.NodeAway })
	if l, err := r.Logs(t.Context(), id, stint.LogQuery{Operation: "map/0"}); err != nil || len(l.Missing) != 1 {
		t.Errorf("of a node that is away: %+v, %v", l, err)
	}
}

func TestWhatDoesNotExistIsNotFound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	id := stint.MakeExecutionID([]byte("abcdefghijklmnop"))
	_, show := r.Show(t.Context(), id)
	_, _, operations := r.Operations(t.Context(), id, stint.OperationFilter{Limit: 1})
	_, terminate := r.Terminate(t.Context(), id)
	_, log := r.Logs(t.Context(), id, stint.LogQuery{})
	_, explain := r.Explain(t.Context(), id)
	var watch error
	for _, err := range r.Watch(t.Context(), id, 0) {
		watch = err
	}
	for i, err := range []error{show, operations, terminate, log, explain, watch} {
		if stint.CodeOf(err) != stint.NotFound {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestATerminatedExecutionIsForgottenAndItsStagingCleared(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").idle().attach(r)
	req := s.numbers(5)
	id := r.submit(req)
	n.await("grants", func() bool { return n.granted(id) > 0 })
	var grant stint.Grant
	n.with(func() { grant = n.kept[id].waiting[0] })
	doc, err := r.Terminate(t.Context(), id)
	if err != nil || doc.Status != stint.Terminating && doc.Status != stint.Terminated {
		t.Errorf("terminate: %s, %v", doc.Status, err)
	}
	n.await("it is told to forget", func() bool { return n.forgot(id) })
	r.awaitStatus(id, stint.Terminated)
	if _, err := os.Stat(s.path("out-5")); !os.IsNotExist(err) {
		t.Errorf("output location: %v, %v", below(t, s.path("out-5")), err)
	}
	n.with(func() { // what it says before it hears that
		n.heard = nil
		n.kept[id] = &kept{}
		n.report(id, stint.Report{Begun: []stint.Begun{{Job: grant.Job, Ops: grant.Ops}}})
	})
	n.await("it is acknowledged and told again", func() bool {
		return n.forgot(id) && n.was(func(m link.ServerMessage) bool { return m.Ack != nil && m.Ack.Execution == id })
	})
	if doc, err := r.Terminate(t.Context(), id); err != nil || doc.Status != stint.Terminated {
		t.Errorf("terminate again: %s, %v", doc.Status, err)
	}
	n.work()
	other := r.submit(s.numbers(2))
	r.awaitStatus(other, stint.Completed)
	if _, err := r.Terminate(t.Context(), other); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("terminate one that is completed: %v", err)
	}
}

func TestManyExecutionsCompleteWhileNodesComeAndGo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(func(sv *server.Server) { sv.AwayAfter = 1 })
	s.node("steady").attach(r)
	flaky, reborn := s.node("flaky").attach(r), s.node("reborn").attach(r)
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := flaky.dial(r); err != nil {
				t.Error(err)
			}
			reborn.restart()
			if err := reborn.dial(r); err != nil {
				t.Error(err)
			}
		}
	})
	ids := make([]stint.ExecutionID, 12)
	var submissions sync.WaitGroup
	for i := range ids {
		submissions.Go(func() { ids[i] = r.submit(s.numbers(20 + i)) })
	}
	submissions.Wait()
	for _, id := range ids {
		r.awaitStatus(id, stint.Completed)
	}
	close(stop)
	group.Wait()
}
