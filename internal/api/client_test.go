package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/blake3"

	"stint"
	"stint/client"
)

func dial(t *testing.T, s *service) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: serve(t, config(s)).URL, Token: "token"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestTheClientGetsWhatTheServiceSays(t *testing.T) {
	t.Parallel()
	now := time.Unix(1, 5).UTC()
	s := newService(execution(1, stint.InProgress))
	s.nodeList = []stint.Node{{ID: "n-1", Status: stint.NodeReady, Slots: 3, Since: now, Seen: now}, {ID: "n-2", Status: stint.NodeAway, Slots: 5}, {ID: "n-3", Status: stint.NodeLost}, {ID: "n-4", Status: stint.NodeDraining, Slots: 7}, {ID: "n-5", Status: stint.NodeDrained}}
	c, ctx := dial(t, s), t.Context()
	if err := c.Health(ctx); err != nil {
		t.Error(err)
	}
	if nodes, err := c.Nodes(ctx); err != nil || cmp.Diff(s.nodeList, nodes) != "" {
		t.Error(nodes, err)
	}
	want := stint.Cluster{Version: "1.2.3", Nodes: 5, Ready: 1, Draining: 2, Away: 1, Lost: 1, Slots: 3}
	if v, err := c.Cluster(ctx); err != nil || v != want {
		t.Error(v, err)
	}
	wanted, _ := s.Programs(ctx)
	if programs, err := c.Programs(ctx); err != nil || cmp.Diff(wanted, programs) != "" {
		t.Error(programs, err)
	}
	logged := "== map/2 on n-1, 0001-01-01T00:00:00Z: failed: exit 3\nlog of y\xff\nbad record 8: no number: \"a\\tb\"\n"
	if text, err := c.Log(ctx, known, stint.LogQuery{Operation: "map/2", Search: "y"}); err != nil || text != logged {
		t.Errorf("%q %v", text, err)
	}
	left := "== map/2 on n-1, 0001-01-01T00:00:00Z: failed: exit 3\nbad record 8: no number: \"a\\tb\"\n"
	if text, err := c.Log(ctx, known, stint.LogQuery{Operation: "map/2", Bad: true}); err != nil || text != left {
		t.Errorf("bad records alone: %q, %v", text, err)
	}
	if text, err := c.Log(ctx, known, stint.LogQuery{Failed: true}); err != nil || !strings.HasSuffix(text, "== there is more, after 0001-01-01T00:00:00Z\n") {
		t.Errorf("%q %v", text, err)
	}
	if l, err := c.Logs(ctx, known, stint.LogQuery{Bad: true, After: now}); err != nil || len(l.Entries) != 1 || l.Entries[0].Bad[0].Number != 7 || l.More {
		t.Errorf("%+v %v", l, err)
	}
	if e, err := c.Explain(ctx, known); err != nil || e.Execution != known || e.Findings == nil {
		t.Errorf("%+v %v", e, err)
	}
	if x, err := c.Terminate(ctx, known); err != nil || x.Status != stint.Terminating {
		t.Error(x, err)
	}
	if x, err := c.Show(ctx, known); err != nil || x.ID != known || x.Stints == nil {
		t.Error(x, err)
	}
}

func TestWhatIsAskedOfAnExecutionArrivesAsItWasSent(t *testing.T) {
	t.Parallel()
	s := newService(execution(1, stint.InProgress))
	c, ctx := dial(t, s), t.Context()
	grace := 0.5
	suspend := stint.SuspendRequest{Grace: &grace, Jobs: []string{"j-1"}}
	if x, err := c.Suspend(ctx, known, suspend); err != nil || x.Status != stint.Suspending {
		t.Error(x, err)
	}
	resume := stint.ResumeRequest{Nodes: 2, Slots: 3, At: time.Unix(5, 0).UTC(), From: "file:///s", Redo: true, TakeOver: true, DryRun: true, Jobs: []string{"j-2"}}
	r, err := c.Resume(ctx, known, resume)
	if err != nil || r.Execution.Status != stint.Resuming || r.Reused != 7 || len(r.Redone) != 1 || len(r.Changes) != 1 || r.Faults == nil {
		t.Error(r, err)
	}
	move := stint.MoveRequest{Job: "j-3", Grace: &grace}
	if x, err := c.Move(ctx, known, move); err != nil || x.Status != stint.InProgress {
		t.Error(x, err)
	}
	if x, err := c.Retry(ctx, known); err != nil || x.Status != stint.InProgress {
		t.Error(x, err)
	}
	drain := stint.DrainRequest{By: time.Unix(7, 0).UTC(), Undo: true}
	if n, err := c.Drain(ctx, aNode, drain); err != nil || n.ID != aNode || n.Status != stint.NodeDraining {
		t.Error(n, err)
	}
	if err := c.RemoveNode(ctx, aNode); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff([]any{suspend, resume, move, "retry", drain, stint.NodeID(aNode)}, s.asked); d != "" {
		t.Error(d)
	}
}

func TestWhatIsSavedPlannedAndAtRiskIsTold(t *testing.T) {
	t.Parallel()
	c, ctx := dial(t, newService(execution(1, stint.InProgress))), t.Context()
	want := stint.Durability{Execution: known, Replication: 2, Nodes: []stint.NodeRisk{{Node: "n-1", Operations: 3, CoreSeconds: 1.5}}}
	if d, err := c.Durability(ctx, known); err != nil || cmp.Diff(want, d) != "" {
		t.Error(d, err)
	}
	request, err := c.Request(ctx, known)
	if err != nil || request.Name != "test" || request.Environment["A"] != "b" || request.Program.Stages[0].Action.Command[0] != "cat" {
		t.Error(request, err)
	}
	saved, err := c.Saved(ctx, "file:///a b?&c")
	if err != nil || len(saved) != 2 || saved[0].Name != "file:///a b?&c" || saved[0].Owner.Service != "other" || saved[1].Error.Message != "cut off" {
		t.Error(saved, err)
	}
	if p, err := c.Plan(ctx, stint.Request{Inputs: []string{"/a", "/b"}}); err != nil || p.Objects != 2 || len(p.Stages) != 1 {
		t.Error(p, err)
	}
}

func TestARequestArrivesAsItWasSentAndWithAKey(t *testing.T) {
	t.Parallel()
	s := newService()
	c := dial(t, s)
	want := stint.Request{
		Name: "näme", Inputs: []string{"/a b/*"}, Params: map[string]string{"k": "<&>"}, Nodes: 2,
		Program: stint.Program{Name: "p", Stages: []stint.Stage{{Name: "map", Action: stint.Action{Command: []string{"cat"}}}}, Files: []stint.ProgramFile{{Name: "f", Digest: stint.Digest{7}}}},
	}
	x, err := c.Submit(t.Context(), want)
	if err != nil || x.Name != "näme" {
		t.Fatal(x, err)
	}
	got := s.requests[0]
	if got.Key == "" {
		t.Error("no key")
	}
	want.Key = got.Key
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	want.Key = "mine"
	if _, err := c.Submit(t.Context(), want); err != nil || s.requests[1].Key != "mine" {
		t.Error(s.requests[1].Key, err)
	}
}

func TestFilesArriveWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	s := newService()
	c := dial(t, s)
	for _, content := range []string{"", "x", strings.Repeat("stint", 1<<20)} {
		digest := stint.Digest(blake3.Sum256([]byte(content)))
		if err := c.PutFile(t.Context(), digest, int64(len(content)), strings.NewReader(content)); err != nil || s.files[digest] != content {
			t.Errorf("%d bytes: %v, kept %d", len(content), err, len(s.files[digest]))
		}
	}
	kept := len(s.files)
	err := c.PutFile(t.Context(), stint.Digest{1}, 1, strings.NewReader("x"))
	if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), "digest") {
		t.Errorf("another digest: %v", err)
	}
	broken := io.MultiReader(strings.NewReader("abc"), &brokenReader{})
	if err := c.PutFile(t.Context(), stint.Digest(blake3.Sum256([]byte("abc"))), 6, broken); err == nil {
		t.Error("a file that broke off was kept")
	}
	if len(s.files) != kept {
		t.Errorf("%d files were kept beside the good ones", len(s.files)-kept)
	}
}

type brokenReader struct{}

func (*brokenReader) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

func TestListsComePageByPage(t *testing.T) {
	t.Parallel()
	var all []stint.Execution
	for n := range 900 {
		x := execution(n, stint.Queued)
		if n%2 == 0 {
			x.Status = stint.Completed
		}
		all = append(all, x)
	}
	s := newService(all...)
	c := dial(t, s)
	n := 0
	for x, err := range c.List(t.Context(), "tes", stint.Completed) {
		if err != nil || x.ID != all[2*n].ID {
			t.Fatal(n, x.ID, err)
		}
		n++
	}
	if n != 450 {
		t.Errorf("%d executions", n)
	}
	sequence := c.Operations(t.Context(), all[0].ID, "map", stint.OpWaiting)
	for range 2 { // a sequence can be read again
		n = 0
		for o, err := range sequence {
			if want := stint.MakeOperationID("map", uint32(n)); err != nil || o.ID != want {
				t.Fatal(n, o.ID, err)
			}
			n++
		}
		if n != 1203 {
			t.Errorf("%d operations", n)
		}
	}
	want := []stint.OperationFilter{
		{Stage: "map", Status: stint.OpWaiting, Limit: 500},
		{Stage: "map", Status: stint.OpWaiting, Limit: 500, Cursor: 500},
		{Stage: "map", Status: stint.OpWaiting, Limit: 500, Cursor: 1000},
	}
	if d := cmp.Diff(append(want, want...), s.filters); d != "" {
		t.Error(d)
	}
	for _, err := range sequence {
		if err != nil {
			t.Error(err)
		}
		break // asks for no second page
	}
	if len(s.filters) != 7 {
		t.Errorf("%d pages", len(s.filters))
	}
}

func TestErrorsComeBackWithTheirCodeAndText(t *testing.T) {
	t.Parallel()
	for _, code := range []stint.Code{
		stint.Invalid, stint.NotFound, stint.Conflict, stint.Denied, stint.Unavailable,
		stint.Lost, stint.Failed, stint.Canceled, stint.Unknown, stint.Internal,
	} {
		s := newService()
		s.err = stint.Errorf(code, "because")
		c, ctx := dial(t, s), t.Context()
		_, show := c.Show(ctx, known)
		_, terminate := c.Terminate(ctx, known)
		_, log := c.Log(ctx, known, stint.LogQuery{})
		_, explain := c.Explain(ctx, known)
		_, suspend := c.Suspend(ctx, known, stint.SuspendRequest{})
		_, resume := c.Resume(ctx, known, stint.ResumeRequest{})
		_, move := c.Move(ctx, known, stint.MoveRequest{})
		_, retry := c.Retry(ctx, known)
		_, durability := c.Durability(ctx, known)
		_, request := c.Request(ctx, known)
		_, saved := c.Saved(ctx, "")
		_, plan := c.Plan(ctx, stint.Request{})
		_, drain := c.Drain(ctx, aNode, stint.DrainRequest{})
		remove := c.RemoveNode(ctx, aNode)
		var list, watch, operations error
		for _, err := range c.List(ctx, "", "") {
			list = err
		}
		for _, err := range c.Operations(ctx, known, "", "") {
			operations = err
		}
		for _, err := range c.Watch(ctx, known, 0) {
			watch = err
		}
		for name, err := range map[string]error{
			"show": show, "terminate": terminate, "log": log, "list": list, "operations": operations, "watch": watch,
			"suspend": suspend, "resume": resume, "move": move, "retry": retry, "durability": durability, "request": request, "saved": saved, "plan": plan,
			"drain": drain, "remove": remove, "explain": explain,
		} {
			var e *stint.Error
			if !errors.As(err, &e) || e.Code != code || (code != stint.Internal && e.Message != "because") {
				t.Errorf("%s %s: %v", code, name, err)
			}
			if code == stint.Internal && (strings.Contains(err.Error(), "because") || !strings.Contains(err.Error(), "request ")) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestTheClientTellsAllThatIsWrongWithARequest(t *testing.T) {
	t.Parallel()
	c := dial(t, newService(execution(1, stint.Queued)))
	_, err := c.Submit(t.Context(), stint.Request{Name: "a\x00", Params: map[string]string{"k": "\x00"}})
	if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), "/name: ") || !strings.Contains(err.Error(), "/params/k: ") {
		t.Error(err)
	}
	if _, err := c.Show(t.Context(), "../nodes"); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("an id that is a path: %v", err)
	}
}

func TestWatchingYieldsWhatChangesAndTheFinalDocumentLast(t *testing.T) {
	t.Parallel()
	s := newService(version(3, stint.InProgress))
	c := dial(t, s)
	var got []uint64
	for x, err := range c.Watch(t.Context(), known, 0) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, x.Version)
		switch x.Version {
		case 3:
			s.set(version(5, stint.InProgress))
		case 5:
			s.set(version(6, stint.Terminated))
		}
	}
	if d := cmp.Diff([]uint64{3, 5, 6}, got); d != "" {
		t.Error(d)
	}
	for x, err := range c.Watch(t.Context(), known, 6) {
		t.Errorf("after the final document: %v %v", x, err)
	}
}

func TestWatchingEndsWithItsContextAndWithItsConsumer(t *testing.T) {
	t.Parallel()
	c := dial(t, newService(version(3, stint.InProgress)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, err := range c.Watch(ctx, known, 0) {
		last = err
		cancel()
	}
	if stint.CodeOf(last) != stint.Canceled || !errors.Is(last, context.Canceled) {
		t.Error(last)
	}
	for _, err := range c.Watch(t.Context(), known, 0) {
		if err != nil {
			t.Error(err)
		}
		break
	}
}

func TestAnErrorOfAStreamEndsTheWatch(t *testing.T) {
	t.Parallel()
	s := newService(version(3, stint.InProgress))
	c := dial(t, s)
	var last error
	for _, err := range c.Watch(t.Context(), known, 0) {
		if err == nil {
			s.fail(stint.Errorf(stint.Denied, "no more"))
		}
		last = err
	}
	if stint.CodeOf(last) != stint.Denied || last.Error() != "no more" {
		t.Error(last)
	}
}

func TestALongLogAndBytesOfAnyKindComeThrough(t *testing.T) {
	t.Parallel()
	s := newService()
	var content bytes.Buffer
	for i := range 1 << 16 {
		content.WriteByte(byte(i))
	}
	digest := stint.Digest(blake3.Sum256(content.Bytes()))
	if err := dial(t, s).PutFile(t.Context(), digest, -1, bytes.NewReader(content.Bytes())); err != nil || s.files[digest] != content.String() {
		t.Error(err, len(s.files[digest]))
	}
}
