package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"stint"
	"stint/internal/link"
	"stint/internal/object"
	"stint/internal/wire"
)

const (
	nodeB = stint.NodeID("n-bbbbbbbbbbbb")
	execX = stint.ExecutionID("x-cccccccccccccccc")
)

func TestTwoAgentsPerformAMapOnlyExecution(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 2)
	b, _ := s.start(t, nodeB, t.TempDir(), 1)
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	input := inputFile(t, text.String())
	output := "file://" + filepath.Join(t.TempDir(), "out")

	r := a.errand(t, stint.Errand{ID: "1", Kind: stint.ErrandList, Execution: execX, Inputs: []string{input.URL}})
	if r.Error != nil || r.Objects != 1 {
		t.Fatalf("list: %+v", r)
	}
	equal(t, "listing", readListing(t, s.storage, r.Digest), stint.Listing{Objects: []stint.Object{input}})
	if r := b.errand(t, stint.Errand{ID: "2", Kind: stint.ErrandProbe, Execution: execX, Output: output}); r.Error != nil {
		t.Fatalf("probe: %v", r.Error)
	}
	spec := mapOnly(execX, 4, output, "tr", "a-z", "A-Z")
	subsets := cut(input, 4)
	for _, p := range []*peer{a, b} {
		p.send(t, link.ServerMessage{Spec: spec})
	}
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 3), Subsets: subsets[:3]})
	b.grant(t, stint.Grant{Execution: execX, Job: 2, Ops: ops(3, 4), Subsets: subsets[3:]})
	a.awaitDone(t, 3)
	b.awaitDone(t, 1)

	commit := stint.Errand{ID: "3", Kind: stint.ErrandCommit, Execution: execX, Output: output, Program: "p", Parts: partsOf(a, b)}
	for range 2 { // the second time it is done already
		if r := a.errand(t, commit); r.Error != nil || r.Bytes != int64(text.Len()) {
			t.Fatalf("commit: %+v", r)
		}
	}
	if got := readOutput(t, output, 4); got != strings.ToUpper(text.String()) {
		t.Errorf("output of %d bytes is not the input in capitals", len(got))
	}
}

func TestTwoAgentsPerformAShuffle(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	b, _ := s.start(t, nodeB, t.TempDir(), 1)
	input := inputFile(t, strings.Repeat("the quick brown fox\njumps over the lazy dog\n", 500))
	output := "file://" + filepath.Join(t.TempDir(), "out")
	mapping := stint.Stage{Name: "map", Action: stint.Action{Native: "wordcount"}, Combine: &stint.Action{Native: "sum"}, Input: stint.Edge{Kind: stint.FromInput, Split: stint.SplitLines}}
	reducing := stint.Stage{Name: "reduce", Action: stint.Action{Native: "sum"}, Input: stint.Edge{Kind: stint.Shuffle, From: "map"}}
	spec := &stint.Spec{
		Execution: execX, Program: stint.Program{Name: "words", Stages: []stint.Stage{mapping, reducing}}, Output: output,
		Stages: []stint.StageSpec{{Stage: mapping, Operations: 4, Partitions: 2, Sorted: true}, {Stage: reducing, Operations: 2, Partitions: 1, Part: true}},
	}
	if r := a.errand(t, stint.Errand{ID: "p", Kind: stint.ErrandProbe, Execution: execX, Output: output}); r.Error != nil {
		t.Fatalf("probe: %v", r.Error)
	}
	subsets := cut(input, 4)
	for _, p := range []*peer{a, b} {
		p.send(t, link.ServerMessage{Spec: spec})
	}
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 2), Subsets: subsets[:2]})
	b.grant(t, stint.Grant{Execution: execX, Job: 2, Ops: ops(2, 4), Subsets: subsets[2:]})
	a.awaitDone(t, 2)
	b.awaitDone(t, 2)
	sources := []stint.Source{{Node: nodeA, Address: a.hello.Address, Ops: []stint.Range{ops(0, 2)}}, {Node: nodeB, Address: b.hello.Address, Ops: []stint.Range{ops(2, 4)}}}
	a.grant(t, stint.Grant{Execution: execX, Job: 3, Stage: 1, Ops: ops(0, 1), Sources: sources})
	b.grant(t, stint.Grant{Execution: execX, Job: 4, Stage: 1, Ops: ops(1, 2), Sources: sources})
	a.awaitDone(t, 3)
	b.awaitDone(t, 3)
	if r := b.errand(t, stint.Errand{ID: "c", Kind: stint.ErrandCommit, Execution: execX, Output: output, Program: "words", Parts: partsOf(a, b)}); r.Error != nil {
		t.Fatalf("commit: %v", r.Error)
	}
	got := strings.Split(strings.TrimSuffix(readOutput(t, output, 2), "\n"), "\n")
	want := []string{"brown\t500", "dog\t500", "fox\t500", "jumps\t500", "lazy\t500", "over\t500", "quick\t500", "the\t1000"}
	equal(t, "words", slices.Sorted(slices.Values(got)), want)
}

func TestAWorkerThatIsKilledCostsOneOperation(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	a.send(t, link.ServerMessage{Spec: overRange(execX, 5, shell(`if [ "$STINT_OPERATION" = map/1 ]; then kill -9 $PPID; sleep 60; fi`))})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 5)})
	a.await(t, "four completed and one lost", func(s *tally) bool { return len(s.done) == 4 && len(s.failures) == 1 })
	f := a.tally.failures[0]
	if f.Op != 1 || f.Error.Code != stint.Lost || !strings.Contains(f.Error.Message, "killed") || f.Node != nodeA {
		t.Errorf("failure: %+v %v", f, f.Error)
	}
	if a.tally.begun["1/1"] != 1 {
		t.Errorf("begun: %v", a.tally.begun)
	}
}

func TestAProgramThatFailsIsReportedAndItsLogKept(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	a.send(t, link.ServerMessage{Spec: overRange(execX, 2, shell(`echo "reporter:counter:g,n,2" >&2; echo "operation $STINT_OPERATION" >&2; [ "$STINT_OPERATION" = map/0 ] || exit 3`))})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 2)})
	a.await(t, "one completed and one failed", func(s *tally) bool { return len(s.done) == 1 && len(s.failures) == 1 })
	if f := a.tally.failures[0]; f.Op != 1 || f.Error.Code != stint.Failed || f.Exit != 3 || !strings.Contains(f.Stderr, "operation map/1") {
		t.Errorf("failure: %+v %v", f, f.Error)
	}
	if n := a.tally.counters["g.n"]; n != 2 {
		t.Errorf("counter %d: what failed does not count", n)
	}
	for name, c := range map[string]struct {
		ops   []stint.Range
		query stint.LogQuery
		want  []uint32
	}{
		"one":    {ops: []stint.Range{ops(0, 1)}, want: []uint32{0}},
		"none":   {ops: []stint.Range{ops(9, 10)}},
		"all":    {want: []uint32{0, 1}},
		"failed": {query: stint.LogQuery{Failed: true}, want: []uint32{1}},
		"search": {query: stint.LogQuery{Search: "operation map/0"}, want: []uint32{0}},
		"later":  {query: stint.LogQuery{After: time.Now().Add(time.Hour)}},
	} {
		r := a.errand(t, stint.Errand{ID: name, Kind: stint.ErrandLog, Execution: execX, Ops: c.ops, Log: &c.query})
		var found []uint32
		for _, l := range r.Logs {
			found = append(found, l.Op)
		}
		slices.Sort(found)
		if r.Error != nil || !slices.Equal(found, c.want) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestARestartedAgentSaysWhatItCompletedAndDoesNotRepeatIt(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir, marks := t.TempDir(), filepath.Join(t.TempDir(), "marks")
	spec := overRange(execX, 3, shell(`echo "$STINT_OPERATION" >> `+marks))
	a, stop := s.start(t, nodeA, dir, 1)
	a.mute = true
	a.send(t, link.ServerMessage{Spec: spec})
	old := stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 2)}
	a.grant(t, old)
	a.awaitDone(t, 2)
	stop()
	first := a.hello.Incarnation

	a, _ = s.start(t, nodeA, dir, 1)
	if a.hello.Incarnation <= first {
		t.Errorf("incarnation %d after %d", a.hello.Incarnation, first)
	}
	equal(t, "holdings", a.hello.Holdings, []stint.Holding{{Execution: execX, Completed: []stint.StageOps{{Ops: []stint.Range{ops(0, 2)}}}, Latest: 1}})
	a.send(t, link.ServerMessage{Spec: spec})
	old.Incarnation = first
	a.grant(t, old)
	a.send(t, link.ServerMessage{Resend: &link.Resend{Execution: execX, Ops: []stint.StageOps{{Ops: []stint.Range{ops(1, 2)}}}}})
	a.await(t, "the completion that the server misses", func(s *tally) bool { return len(s.done) == 1 })
	if a.tally.done["1/1"] != 1 || a.tally.seq[0] != 1 {
		t.Errorf("reported again: %s", &a.tally)
	}
	a.grant(t, stint.Grant{Execution: execX, Job: 2, Ops: ops(2, 3)})
	a.awaitDone(t, 2)
	equal(t, "performed", string(must(os.ReadFile(marks))(t)), "map/0\nmap/1\nmap/2\n")
}

func TestWhatIsPerformedDiesWithItsAgent(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir, pids := t.TempDir(), filepath.Join(t.TempDir(), "pid")
	a, stop := s.start(t, nodeA, dir, 1)
	a.send(t, link.ServerMessage{Spec: overRange(execX, 2, shell(`[ "$STINT_OPERATION" = map/0 ] || { echo $$ > `+pids+`; exec sleep 300; }`))})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 2)})
	a.await(t, "both begun", func(s *tally) bool { return s.begun["1/1"] == 1 && len(s.done) == 1 })
	var pid int
	eventually(t, "the program to run", func() bool {
		b, _ := os.ReadFile(pids)
		n, _ := fmt.Sscan(string(b), &pid)
		return n == 1
	})
	stop()
	// The program of a worker that had to be killed is killed by the kernel, which
	// nobody waits for.
	eventually(t, "its process to go", func() bool { _, err := os.Stat(fmt.Sprintf("/proc/%d/root", pid)); return err != nil })
	a, _ = s.start(t, nodeA, dir, 1)
	h := a.hello.Holdings
	if len(h) != 1 || stint.CountRanges(h[0].Completed[0].Ops) != 1 {
		t.Fatalf("holdings: %+v", h)
	}
}

func TestAGrantThatIsRepeatedStartsNothing(t *testing.T) {
	t.Parallel()
	s := newService(t)
	marks := filepath.Join(t.TempDir(), "marks")
	a, _ := s.start(t, nodeA, t.TempDir(), 2)
	a.send(t, link.ServerMessage{Spec: overRange(execX, 4, shell(`echo x >> `+marks))})
	g := stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 2)}
	a.grant(t, g)
	a.grant(t, g)
	a.awaitDone(t, 2)
	a.grant(t, g)
	g.Job, g.Incarnation = 2, 7
	a.grant(t, g)
	a.grant(t, stint.Grant{Execution: execX, Job: 3, Ops: ops(2, 4)})
	a.awaitDone(t, 4)
	equal(t, "performed", string(must(os.ReadFile(marks))(t)), "x\nx\nx\nx\n")
	for op, n := range a.tally.begun {
		if n != 1 {
			t.Errorf("%s began %d times", op, n)
		}
	}
}

func TestRetractTakesTheTailAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	s := newService(t)
	gate := filepath.Join(t.TempDir(), "gate")
	a, _ := s.start(t, nodeA, t.TempDir(), 2)
	a.send(t, link.ServerMessage{Spec: overRange(execX, 10, shell(`while [ ! -e `+gate+` ]; do sleep 0.01; done`))})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 10)})
	a.await(t, "two in progress", func(s *tally) bool { return len(s.begun) == 2 })
	a.send(t, link.ServerMessage{Retract: &stint.Retract{Execution: execX, Job: 1, Count: 3}})
	a.await(t, "the answer", func(s *tally) bool { return len(s.returned) == 1 })
	equal(t, "given back", a.tally.returnedOps(), []stint.Range{ops(7, 10)})
	a.send(t, link.ServerMessage{Retract: &stint.Retract{Execution: execX, Job: 1, Count: 100}})
	a.await(t, "the second answer", func(s *tally) bool { return len(s.returned) == 2 })
	equal(t, "given back", a.tally.returnedOps(), []stint.Range{ops(2, 10)})
	a.send(t, link.ServerMessage{Retract: &stint.Retract{Execution: execX, Job: 1, Count: 1}})
	a.await(t, "an empty answer", func(s *tally) bool { return len(s.returned) == 3 && len(s.returned[2].Ops) == 0 })
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a.awaitDone(t, 2)
	if len(a.tally.begun) != 2 {
		t.Errorf("begun: %v", a.tally.begun)
	}
}

func TestForgetStopsEverythingAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir, pids := t.TempDir(), filepath.Join(t.TempDir(), "pid")
	a, _ := s.start(t, nodeA, dir, 1)
	spec := overRange(execX, 3, shell(`echo $$ > `+pids+`; sleep 300`))
	a.send(t, link.ServerMessage{Spec: spec})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 2)})
	a.await(t, "one in progress", func(s *tally) bool { return len(s.begun) == 1 })
	var pid int
	eventually(t, "the program to run", func() bool {
		b, _ := os.ReadFile(pids)
		n, _ := fmt.Sscan(string(b), &pid)
		return n == 1
	})
	a.send(t, link.ServerMessage{Forget: &link.Forget{Execution: execX}})
	a.send(t, link.ServerMessage{Forget: &link.Forget{Execution: execX}})
	eventually(t, "its folders to go", func() bool {
		work, _ := filepath.Glob(filepath.Join(dir, "work", "*"))
		blocks, _ := filepath.Glob(filepath.Join(dir, "blocks", string(execX)))
		return len(work)+len(blocks) == 0
	})
	eventually(t, "its process to go", func() bool { _, err := os.Stat(fmt.Sprintf("/proc/%d/root", pid)); return err != nil })
	spec = overRange(execX, 3, stint.Action{Native: "noop"})
	a.send(t, link.ServerMessage{Spec: spec})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 2)})
	a.grant(t, stint.Grant{Execution: execX, Job: 2, Ops: ops(2, 3)})
	a.awaitDone(t, 1)
	if a.tally.done["2/2"] != 1 {
		t.Errorf("done: %v", a.tally.done)
	}
}

func TestInputThatChangedFailsForGood(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	input := inputFile(t, "a\nb\n")
	path := must(object.Path(input.URL))(t)
	output := "file://" + filepath.Join(t.TempDir(), "out")
	if _, err := new(object.Access).Probe(t.Context(), output, execX, false); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("another text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.send(t, link.ServerMessage{Spec: mapOnly(execX, 1, output, "cat")})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 1), Subsets: cut(input, 1)})
	a.await(t, "a failure", func(s *tally) bool { return len(s.failures) == 1 })
	if e := a.tally.failures[0].Error; e.Code != stint.Invalid || !strings.Contains(e.Message, "input changed") || !strings.Contains(e.Message, input.URL) {
		t.Errorf("failure: %v", e)
	}
}

func TestBlocksThatAreNotThereAreLostWithTheirNode(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 2)
	b, _ := s.start(t, nodeB, t.TempDir(), 1)
	mapping := stint.Stage{Name: "map", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput, Split: stint.SplitRange}}
	reducing := stint.Stage{Name: "reduce", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.Shuffle, From: "map"}}
	a.send(t, link.ServerMessage{Spec: &stint.Spec{
		Execution: execX, Program: stint.Program{Name: "p", Stages: []stint.Stage{mapping, reducing}},
		Stages: []stint.StageSpec{{Stage: mapping, Operations: 1, Partitions: 4, Sorted: true, Values: &stint.Values{Count: 1}, Each: 1}, {Stage: reducing, Operations: 4, Partitions: 1}},
	}})
	closed := must((&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for i, source := range []stint.Source{
		{Ops: []stint.Range{ops(0, 1)}, Node: nodeA, Address: a.hello.Address},            // itself
		{Ops: []stint.Range{ops(0, 1)}, Node: nodeB, Address: b.hello.Address},            // it is there, the block is not
		{Ops: []stint.Range{ops(0, 1)}, Node: nodeB, Address: closed.Addr().String()},     // nobody is there
		{Ops: []stint.Range{ops(0, 1)}, Node: "n-dddddddddddd", Address: b.hello.Address}, // another is there
	} {
		a.grant(t, stint.Grant{Execution: execX, Job: stint.JobID(i + 1), Stage: 1, Ops: ops(uint32(i), uint32(i)+1), Sources: []stint.Source{source}})
	}
	a.await(t, "four failures", func(s *tally) bool { return len(s.failures) == 4 })
	want := map[uint32]stint.NodeID{0: nodeA, 1: nodeB, 2: nodeB, 3: "n-dddddddddddd"}
	for _, f := range a.tally.failures {
		if f.Error.Code != stint.Lost || len(f.Sources) != 1 || f.Sources[0] != want[f.Op] {
			t.Errorf("operation %d: %v, sources %v", f.Op, f.Error, f.Sources)
		}
		if silent := f.Op >= 2; silent != slices.Equal(f.Silent, f.Sources) {
			t.Errorf("operation %d: %v, silent %v", f.Op, f.Error, f.Silent)
		}
	}
	a.await(t, "the block that node should have and has not", func(s *tally) bool { return len(s.lost) > 0 && s.lost[0].Stage == 0 })
}

func TestANodeWhoseFolderIsRemovedEnds(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := filepath.Join(t.TempDir(), "node")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a := s.agent(t, nodeA, dir, 1)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(t.Context()) }()
	s.next(t)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; stint.CodeOf(err) != stint.Lost {
		t.Errorf("ended with %v", err)
	}
}

func TestProgramFilesAreKeptAndVerified(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, _ := s.start(t, nodeA, dir, 1)
	storage := must(new(object.Access).OpenStorage(t.Context(), s.storage))(t)
	script := "#!/bin/sh\necho ran >&2\n"
	digest, size, err := storage.PutBlob(t.Context(), programFiles, strings.NewReader(script), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	spec := overRange(execX, 1, stint.Action{Command: []string{"./run.sh"}})
	spec.Program.Files = []stint.ProgramFile{{Name: "run.sh", Digest: digest, Size: size, Mode: 0o755}}
	a.send(t, link.ServerMessage{Spec: spec})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 1)})
	a.awaitDone(t, 1)
	if n := len(must(os.ReadDir(filepath.Join(dir, "files")))(t)); n != 1 {
		t.Errorf("%d files are kept, want 1", n)
	}
	kept := must(filepath.Glob(filepath.Join(dir, "files", "*")))(t)
	if err := os.Remove(kept[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept[0], []byte("#!/bin/sh\nexit 7 # altered\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	spec.Execution = exec2
	a.send(t, link.ServerMessage{Spec: spec})
	a.grant(t, stint.Grant{Execution: exec2, Job: 9, Ops: ops(0, 1)})
	a.awaitDone(t, 2)
	bad := overRange(exec1, 1, stint.Action{Command: []string{"./run.sh"}})
	bad.Program.Files = []stint.ProgramFile{{Name: "run.sh", Digest: stint.Digest{1}, Size: size, Mode: 0o755}}
	if err := storage.Put(t.Context(), programFiles+"/"+stint.Digest{1}.String(), strings.NewReader(script)); err != nil {
		t.Fatal(err)
	}
	a.send(t, link.ServerMessage{Spec: bad})
	a.grant(t, stint.Grant{Execution: exec1, Job: 1, Ops: ops(0, 1)})
	a.await(t, "a failure", func(s *tally) bool { return len(s.failures) == 1 })
	if e := a.tally.failures[0].Error; e.Code != stint.Invalid || !strings.Contains(e.Message, "digest_mismatch") {
		t.Errorf("failure: %v", e)
	}
}

func TestExecutionsShareASlot(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	for _, x := range []stint.ExecutionID{exec1, exec2} {
		a.send(t, link.ServerMessage{Spec: overRange(x, 1_000_000, stint.Action{Native: "noop"})})
	}
	a.grant(t, stint.Grant{Execution: exec1, Job: 1, Ops: ops(0, 1_000_000)})
	a.grant(t, stint.Grant{Execution: exec2, Job: 2, Ops: ops(0, 10)})
	a.await(t, "the short one to complete beside the long one", func(s *tally) bool { return s.done["2/9"] == 1 })
	if a.tally.done["1/999999"] != 0 {
		t.Error("the long one was completed first")
	}
	a.send(t, link.ServerMessage{Forget: &link.Forget{Execution: exec1}})
}

func TestAfterAReconnectReportsComeAgainInOrder(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	a.mute = true
	a.send(t, link.ServerMessage{Spec: overRange(execX, 3, stint.Action{Native: "noop"})})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 3)})
	a.awaitDone(t, 3)
	first := a.tally.seq
	close(a.hangUp)
	again := s.next(t)
	if again.hello.Incarnation != a.hello.Incarnation || again.hello.Holdings[0].LastSeq != uint64(len(first)) || len(again.hello.Holdings[0].Jobs) != 1 {
		t.Errorf("hello: %+v", again.hello)
	}
	again.awaitDone(t, 3)
	equal(t, "numbers", again.tally.seq, first)
}

func TestAFolderHasOneAgent(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	s.start(t, nodeA, dir, 1)
	err := s.agent(t, nodeA, dir, 1).Run(t.Context())
	if stint.CodeOf(err) != stint.Conflict || !strings.Contains(err.Error(), fmt.Sprintf("held by pid %d", os.Getpid())) {
		t.Errorf("second agent: %v", err)
	}
}

func TestAFolderBelongsToOneNode(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	_, stop := s.start(t, nodeA, dir, 1)
	stop()
	if err := s.agent(t, nodeB, dir, 1).Run(t.Context()); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("another node on the folder: %v", err)
	}
}

func BenchmarkNoop(b *testing.B) {
	s := newService(b)
	a, _ := s.start(b, nodeA, b.TempDir(), 2)
	n := uint32(b.N)
	a.send(b, link.ServerMessage{Spec: overRange(execX, n, stint.Action{Native: "noop"})})
	b.ResetTimer()
	a.grant(b, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, n)})
	a.awaitDone(b, int(n))
}

func readListing(t *testing.T, storage string, digest stint.Digest) (l stint.Listing) {
	t.Helper()
	path := must(object.Path(storage))(t)
	b := must(os.ReadFile(filepath.Join(path, "listings", digest.String())))(t)
	if err := wire.Unmarshal(b, &l); err != nil {
		t.Fatal(err)
	}
	return l
}

func readOutput(t *testing.T, output string, parts int) string {
	t.Helper()
	dir := must(object.Path(output))(t)
	var text strings.Builder
	for i := range parts {
		text.Write(must(os.ReadFile(filepath.Join(dir, fmt.Sprintf("part-%05d", i))))(t))
	}
	if _, err := os.Stat(filepath.Join(dir, "_SUCCESS")); err != nil {
		t.Error(err)
	}
	return text.String()
}

func TestANodeThatWasRemovedEnds(t *testing.T) {
	t.Parallel()
	removed := stint.Errorf(stint.Denied, "%w", &stint.NodeRemoved{Node: nodeA})
	for _, welcome := range []bool{true, false} {
		s := newService(t)
		if !welcome {
			s.refusal.Store(removed)
		}
		ended := make(chan error, 1)
		a := s.agent(t, nodeA, t.TempDir(), 1)
		go func() { ended <- a.Run(t.Context()) }()
		if welcome {
			there := s.next(t)
			s.refusal.Store(removed) // whoever did not hear why the session ended is told at the next
			there.session.Close(removed)
		}
		select {
		case err := <-ended:
			refused, ok := errors.AsType[*Refused](err)
			if !ok || refused.Attached != welcome || !strings.Contains(err.Error(), "node_removed: ") {
				t.Errorf("welcome before: %v; %v", welcome, err)
			}
		case <-time.After(patience):
			t.Fatal("it goes on")
		}
	}
}

// Only a node that somebody has removed gives up what it holds, whatever else is denied.
func TestANodeThatIsDeniedSomethingElseWasNotRemoved(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.refusal.Store(stint.Errorf(stint.Denied, "identity_mismatch: it is not who it says; %s", (&stint.NodeRemoved{Node: nodeA}).Error()))
	ended := make(chan error, 1)
	a := s.agent(t, nodeA, t.TempDir(), 1)
	go func() { ended <- a.Run(t.Context()) }()
	select {
	case err := <-ended:
		if _, refused := errors.AsType[*Refused](err); refused || stint.CodeOf(err) != stint.Denied {
			t.Errorf("%v; refused for good: %v", err, refused)
		}
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
}

// Storage that denies everything is no word of the server's: the node dials again.
func TestANodeThatIsDeniedStorageDialsAgain(t *testing.T) {
	t.Parallel()
	denies := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer denies.Close()
	s := newService(t)
	s.storage = "s3://lab/storage"
	a := s.agent(t, nodeA, t.TempDir(), 1)
	set := map[string]string{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": denies.URL}
	a.Access = &object.Access{Environment: func(name string) string { return set[name] }}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for range 3 {
		select {
		case <-s.attached:
		case err := <-ended:
			t.Fatalf("it ends: %v", err)
		case <-time.After(patience):
			t.Fatal("it does not dial again")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
