package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stint"
	"stint/internal/link"
)

// graph is an execution with every kind of edge: two inputs are joined, beside a
// list that is broadcast; each operation of the join is read by one other; and one
// reads all of those.
type graph struct {
	spec    *stint.Spec
	subsets [][]stint.Subset // by stage
	sources [][]stint.Source // by stage: where its output lies
}

const (
	leftStage = iota
	rightStage
	listStage
	joinStage
	eachStage
	allStage
)

func newGraph(t *testing.T, p *peer) *graph {
	t.Helper()
	output := "file://" + filepath.Join(t.TempDir(), "out")
	if r := p.errand(t, stint.Errand{ID: "probe", Kind: stint.ErrandProbe, Execution: execX, Output: output}); r.Error != nil {
		t.Fatalf("probe: %v", r.Error)
	}
	input := stint.Edge{Kind: stint.FromInput, Split: stint.SplitLines}
	stage := func(name string, action stint.Action, edge stint.Edge, beside ...stint.Edge) stint.Stage {
		return stint.Stage{Name: name, Action: action, Input: edge, Beside: beside}
	}
	stages := []stint.StageSpec{
		{Stage: stage("left", shell("cat"), input), Operations: 2, Partitions: 2, Sorted: true},
		{Stage: stage("right", shell("cat"), input), Operations: 2, Partitions: 2, Sorted: true},
		{Stage: stage("list", shell("cat"), input), Operations: 2, Partitions: 1},
		{
			Stage: stage("join", shell(`cat; sed "s/^/listed: /" list; [ "$(cat list)" = "$(cat "$STINT_BROADCAST_LIST")" ]`),
				stint.Edge{Kind: stint.Shuffle, From: "left"}, stint.Edge{Kind: stint.Shuffle, From: "right"}, stint.Edge{Kind: stint.Broadcast, From: "list"}),
			Operations: 2, Partitions: 1,
		},
		{Stage: stage("each", shell(`sed "s|$| of $STINT_OPERATION|"`), stint.Edge{Kind: stint.OneToOne, From: "join"}), Operations: 2, Partitions: 1},
		{Stage: stage("all", shell("cat; echo end"), stint.Edge{Kind: stint.Gather, From: "each"}), Operations: 1, Partitions: 1, Part: true},
	}
	g := &graph{subsets: make([][]stint.Subset, len(stages)), sources: make([][]stint.Source, len(stages))}
	g.spec = &stint.Spec{Execution: execX, Output: output, Stages: stages}
	for _, s := range stages {
		g.spec.Program.Stages = append(g.spec.Program.Stages, s.Stage)
	}
	for i, text := range []string{"b\tl0\na\tl1\nb\tl2\n", "b\tr0\nc\tr1\nb\tr2\n", "first\nother\n"} {
		g.subsets[i] = cut(inputFile(t, text), 2)
	}
	return g
}

// grant makes a grant of operations of a stage, with what is known of sources.
func (g *graph) grant(job stint.JobID, stage int, r stint.Range) stint.Grant {
	out := stint.Grant{Execution: execX, Job: job, Stage: stage, Ops: r}
	if stage <= listStage {
		out.Subsets = g.subsets[stage][r.From:r.To]
	}
	for i, e := range g.spec.Stages[stage].Edges() {
		from := slices.IndexFunc(g.spec.Stages, func(s stint.StageSpec) bool { return s.Name == e.From })
		switch {
		case i > 0:
			out.Beside = append(out.Beside, stint.Reading{Sources: g.sources[from]})
		case from >= 0:
			out.Sources = g.sources[from]
		}
	}
	return out
}

// perform has each of some nodes perform one operation of a stage.
func (g *graph) perform(t *testing.T, job stint.JobID, stage int, peers ...*peer) {
	t.Helper()
	for i, p := range peers {
		r := ops(uint32(i), uint32(i)+1)
		p.send(t, link.ServerMessage{Spec: g.spec})
		p.grant(t, g.grant(job, stage, r))
		p.awaitDone(t, len(p.tally.done)+1)
		g.sources[stage] = append(g.sources[stage], from(p, r))
	}
}

func TestOperationsReadWhatEveryEdgeOfTheirStageSays(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	b, _ := s.start(t, nodeB, t.TempDir(), 1)
	g := newGraph(t, a)
	g.perform(t, 1, leftStage, a, b)
	g.perform(t, 2, rightStage, b, a)
	g.perform(t, 3, listStage, b, a)
	g.perform(t, 4, joinStage, a, b)
	g.perform(t, 5, eachStage, b, a)
	g.perform(t, 6, allStage, a)
	if r := a.errand(t, stint.Errand{ID: "commit", Kind: stint.ErrandCommit, Execution: execX, Output: g.spec.Output, Program: "p", Parts: partsOf(a)}); r.Error != nil {
		t.Fatalf("commit: %v", r.Error)
	}
	lists := func(p int) string { return fmt.Sprintf("listed: first of each/%d\nlisted: other of each/%d\n", p, p) }
	joined := map[int]string{}
	for key, text := range map[byte]string{'a': "a\tl1", 'b': "b\tl0,b\tl2,b\tr0,b\tr2", 'c': "c\tr1"} {
		p := (31 + int(key)) % 2
		joined[p] += strings.ReplaceAll(text, ",", fmt.Sprintf(" of each/%d\n", p)) + fmt.Sprintf(" of each/%d\n", p)
	}
	got := readOutput(t, g.spec.Output, 1)
	for p := range 2 {
		lines := strings.SplitAfter(joined[p], "\n")
		slices.SortStableFunc(lines[:len(lines)-1], func(a, b string) int { return int(a[0]) - int(b[0]) })
		joined[p] = strings.Join(lines, "") + lists(p)
	}
	equal(t, "output", got, joined[0]+joined[1]+"end\n")
}

// broadcastFiles returns the files that a node has fetched for broadcasts.
func broadcastFiles(t *testing.T, dir string) []string {
	t.Helper()
	return must(filepath.Glob(filepath.Join(dir, "work", string(execX), "broadcast", "*")))(t)
}

// listening is an execution in which many operations over a range read a list.
func listening(n uint32, script string) *stint.Spec {
	spec := overRange(execX, n, shell(script))
	list := overRange(execX, 2, shell(`echo "$STINT_OPERATION"`)).Stages[0]
	list.Name = "list"
	spec.Stages[0].Beside = []stint.Edge{{Kind: stint.Broadcast, From: "list"}}
	spec.Stages = []stint.StageSpec{list, spec.Stages[0]}
	return spec
}

func TestABroadcastIsFetchedOnceForAllOperationsOfANode(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	b, _ := s.start(t, nodeB, dir, 4)
	spec := listening(40, `[ "$(cat list)" = "$(printf 'list/0\nlist/1')" ]`)
	for _, p := range []*peer{a, b} {
		p.send(t, link.ServerMessage{Spec: spec})
	}
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 2)})
	a.awaitDone(t, 2)
	for i := range uint32(2) {
		r := ops(i*20, i*20+20)
		b.grant(t, stint.Grant{Execution: execX, Job: stint.JobID(2 + i), Stage: 1, Ops: r, Beside: []stint.Reading{{Sources: []stint.Source{from(a, ops(0, 2))}}}})
	}
	b.awaitDone(t, 40)
	equal(t, "files", len(broadcastFiles(t, dir)), 1)
	b.send(t, link.ServerMessage{Forget: &link.Forget{Execution: execX}})
	eventually(t, "the file to go", func() bool { return len(broadcastFiles(t, dir)) == 0 })
}

func TestABroadcastThatCannotBeHadIsLostAndSaysWhereItShouldBe(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	b, _ := s.start(t, nodeB, dir, 2)
	spec := listening(3, `cat list`)
	for _, p := range []*peer{a, b} {
		p.send(t, link.ServerMessage{Spec: spec})
	}
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 1)}) // the first alone
	a.awaitDone(t, 1)
	b.grant(t, stint.Grant{Execution: execX, Job: 2, Stage: 1, Ops: ops(0, 2), Beside: []stint.Reading{{Sources: []stint.Source{from(a, ops(0, 2))}}}})
	b.await(t, "failures", func(s *tally) bool { return len(s.failures) == 2 && len(s.bad) > 0 })
	for _, f := range b.tally.failures {
		if f.Error.Code != stint.Lost || !slices.Equal(f.Sources, []stint.NodeID{nodeA}) {
			t.Errorf("%+v", f)
		}
	}
	if bad := b.tally.bad[0]; bad.Stage != 0 || !slices.Equal(bad.Ops, []stint.Range{ops(1, 2)}) {
		t.Errorf("named as bad: %+v", bad)
	}
	// Without it, since it has failed for good.
	b.grant(t, stint.Grant{Execution: execX, Job: 3, Stage: 1, Ops: ops(0, 2), Attempt: 2, Beside: []stint.Reading{{Sources: []stint.Source{from(a, ops(0, 1))}, Missing: []stint.Range{ops(1, 2)}}}})
	b.awaitDone(t, 2)
	equal(t, "files", len(broadcastFiles(t, dir)), 1)
	// And with it, once it was retried.
	a.grant(t, stint.Grant{Execution: execX, Job: 2, Ops: ops(1, 2), Attempt: 2})
	a.awaitDone(t, 2)
	b.grant(t, stint.Grant{Execution: execX, Job: 4, Stage: 1, Ops: ops(2, 3), Beside: []stint.Reading{{Sources: []stint.Source{from(a, ops(0, 2))}}}})
	b.awaitDone(t, 3)
	equal(t, "files", len(broadcastFiles(t, dir)), 2)
}

func TestABroadcastIsNotMadeOfWhatIsDamagedHere(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, _ := s.start(t, nodeA, dir, 1)
	a.send(t, link.ServerMessage{Spec: listening(2, "cat list")})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 2)})
	a.awaitDone(t, 2)
	segment := must(filepath.Glob(filepath.Join(dir, "blocks", string(execX), "*.seg")))(t)[0]
	spoilFile(t, segment, int64(strings.Index(string(must(os.ReadFile(segment))(t)), "list/1")))
	a.grant(t, stint.Grant{Execution: execX, Job: 2, Stage: 1, Ops: ops(0, 1), Beside: []stint.Reading{{Sources: []stint.Source{from(a, ops(0, 2))}}}})
	a.await(t, "the failure", func(s *tally) bool { return len(s.failures) == 1 && len(s.lost) > 0 })
	if f := a.tally.failures[0]; f.Error.Code != stint.Lost {
		t.Errorf("%+v", f)
	}
}

func TestEveryEdgeHasSourcesOfItsOwn(t *testing.T) {
	t.Parallel()
	named := func(n stint.NodeID) []stint.Source { return []stint.Source{{Node: n}} }
	g := &stint.Grant{Sources: named("a"), Missing: []stint.Range{ops(1, 2)}, Beside: []stint.Reading{{Sources: named("b")}, {Sources: named("c"), Missing: []stint.Range{ops(3, 4)}}}}
	for edge, want := range []stint.Reading{{Sources: named("a"), Missing: []stint.Range{ops(1, 2)}}, g.Beside[0], g.Beside[1]} {
		equal(t, "sources", sourcesOver(g, edge), want)
	}
}

func TestABroadcastThatWasAlteredIsFetchedAgain(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, _ := s.start(t, nodeA, dir, 1)
	a.send(t, link.ServerMessage{Spec: listening(9, `[ "$(cat list)" = "$(printf 'list/0\nlist/1')" ]`)})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 2)})
	a.awaitDone(t, 2)
	listen := func(job stint.JobID, attempt int, op uint32) {
		done := len(a.tally.done) + 1
		a.grant(t, stint.Grant{Execution: execX, Job: job, Stage: 1, Attempt: attempt, Ops: ops(op, op+1), Beside: []stint.Reading{{Sources: []stint.Source{from(a, ops(0, 2))}}}})
		a.awaitDone(t, done)
	}
	listen(2, 1, 0)
	file := broadcastFiles(t, dir)[0]
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("longer than what it had\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	listen(3, 1, 1)
	equal(t, "files", len(broadcastFiles(t, dir)), 2)

	// Of the same size and time, it is found where there is doubt.
	files := broadcastFiles(t, dir)
	file = files[slices.IndexFunc(files, func(f string) bool { return f != file })]
	info := must(os.Stat(file))(t)
	b := must(os.ReadFile(file))(t)
	b[0] ^= 1
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	listen(4, 2, 2)
	equal(t, "files", len(broadcastFiles(t, dir)), 3)
}

// An agent that was started again does not know which of its files are whole.
func TestABroadcastOfAnEarlierIncarnationIsFetchedAgain(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	spec := listening(9, `[ "$(cat list)" = "$(printf 'list/0\nlist/1')" ]`)
	listen := func(p *peer, job stint.JobID, op uint32) {
		done := len(p.tally.done) + 1
		p.grant(t, stint.Grant{Execution: execX, Job: job, Stage: 1, Ops: ops(op, op+1), Beside: []stint.Reading{{Sources: []stint.Source{from(p, ops(0, 2))}}}})
		p.awaitDone(t, done)
	}
	a, stop := s.start(t, nodeA, dir, 1)
	a.send(t, link.ServerMessage{Spec: spec})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 2)})
	a.awaitDone(t, 2)
	listen(a, 2, 0)
	before := broadcastFiles(t, dir)
	stop()
	a, _ = s.start(t, nodeA, dir, 1)
	a.send(t, link.ServerMessage{Spec: spec})
	listen(a, 3, 1)
	after := broadcastFiles(t, dir)
	if len(after) != 1 || slices.Equal(before, after) {
		t.Errorf("%v became %v", before, after)
	}
}

func TestAGrantThatDoesNotSayWhatLiesBesideIsGivenBack(t *testing.T) {
	t.Parallel()
	l := newTestLoop(t)
	e := l.execution(execX)
	e.spec = listening(4, "true")
	g := grant(execX, 1, 0, 4)
	g.Stage = 1
	(&arrived{message: link.ServerMessage{Grant: &g}}).apply(l, e.seated)
	if r, ok := l.ledger.Report(execX); !ok || len(r.Returned) != 1 {
		t.Fatalf("report: %+v", r)
	}
}
