package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"stint"
)

func TestEachOperationIsAskedOfTheFirstSourceThatHasIt(t *testing.T) {
	t.Parallel()
	pack := &stint.Pack{Key: "p"}
	here, there := stint.Source{Node: nodeA, Ops: []stint.Range{ops(4, 6)}}, stint.Source{Node: nodeB, Ops: []stint.Range{ops(0, 3), ops(5, 8)}}
	long := stint.Source{Pack: pack, Ops: []stint.Range{ops(0, 10)}}
	for _, c := range []struct {
		name    string
		sources []stint.Source
		wanted  stint.Range
		fail    map[string][]uint32
		want    string
	}{
		{"in order", []stint.Source{there, long}, ops(0, 10), nil, "b[{0 3} {5 8}] p[{3 5} {8 10}]"},
		{"this node before all", []stint.Source{there, here, long}, ops(0, 10), nil, "a[{4 6}] b[{0 3} {6 8}] p[{3 4} {8 10}]"},
		{"only what is wanted", []stint.Source{there, long}, ops(2, 4), nil, "b[{2 3}] p[{3 4}]"},
		{"nothing", []stint.Source{there}, ops(2, 2), nil, ""},
		{"the next for what failed", []stint.Source{there, long}, ops(0, 4), map[string][]uint32{"b": {1}}, "b[{0 3}] p[{3 4}] p[{1 2}]"},
		{"named by nobody", []stint.Source{there}, ops(2, 4), nil, "b[{2 3}] lacking[{3 4}]: no node is named for operations 3 to 3 of the stage before"},
		{"failed everywhere", []stint.Source{here, there}, ops(5, 6), map[string][]uint32{"a": {5}, "b": {5}}, "a[{5 6}] b[{5 6}] lacking[{5 6}]: a fails; b fails"},
	} {
		got := asked(t, c.sources, c.wanted, c.fail)
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// asked searches with sources that fail for some operations, and says which were
// asked for what.
func asked(t *testing.T, sources []stint.Source, wanted stint.Range, fail map[string][]uint32) string {
	t.Helper()
	names := map[stint.NodeID]string{nodeA: "a", nodeB: "b", "": "p"}
	var log []string
	s := &search{self: nodeA, sources: sources, atOnce: 1}
	s.ask = func(_ context.Context, source *stint.Source, list []stint.Range, _ time.Duration) (answer, error) {
		name := names[source.Node]
		log = append(log, name+rangesText(list))
		var bad []stint.Range
		for _, op := range fail[name] {
			bad = stint.AddToRanges(bad, op)
		}
		return answer{bad: inBoth(bad, list), why: name + " fails"}, nil
	}
	lacking, err := s.run(t.Context(), []stint.Range{wanted})
	if err != nil {
		t.Fatal(err)
	}
	if len(lacking) > 0 {
		log = append(log, "lacking"+rangesText(lacking)+": "+s.lost(lacking).Error())
	}
	return strings.Join(log, " ")
}

func rangesText(list []stint.Range) string {
	var out []string
	for _, r := range list {
		out = append(out, fmt.Sprintf("{%d %d}", r.From, r.To))
	}
	return "[" + strings.Join(out, " ") + "]"
}

func TestASearchSaysHowSourcesFailed(t *testing.T) {
	t.Parallel()
	sources := []stint.Source{{Node: nodeA, Ops: []stint.Range{ops(0, 4)}}, {Pack: &stint.Pack{Key: "p"}, Ops: []stint.Range{ops(0, 4)}}}
	trouble := errors.New("storage is away")
	s := &search{sources: sources, atOnce: 2}
	s.ask = func(_ context.Context, source *stint.Source, list []stint.Range, _ time.Duration) (answer, error) {
		if source.Pack != nil {
			return answer{silent: list, trouble: trouble, why: trouble.Error()}, nil
		}
		return answer{bad: []stint.Range{ops(0, 1)}, silent: []stint.Range{ops(2, 3)}, why: "half"}, nil
	}
	lacking, err := s.run(t.Context(), []stint.Range{ops(0, 4)})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "lacking", lacking, []stint.Range{ops(0, 1), ops(2, 3)})
	equal(t, "bad", s.bad, []stint.BadCopy{{Node: nodeA, Ops: []stint.Range{ops(0, 1)}}})
	equal(t, "code", stint.CodeOf(s.lost(lacking)), stint.Unavailable)

	s.ask = func(context.Context, *stint.Source, []stint.Range, time.Duration) (answer, error) {
		return answer{}, trouble
	}
	if _, err := s.run(t.Context(), []stint.Range{ops(0, 4)}); !errors.Is(err, trouble) {
		t.Error(err)
	}
}

func TestANodeThatDoesNotAnswerIsWaitedForLessIfAnotherHasItAll(t *testing.T) {
	t.Parallel()
	patience := make(map[stint.NodeID][]time.Duration)
	s := &search{atOnce: 1, sources: []stint.Source{{Node: nodeA, Ops: []stint.Range{ops(0, 2)}}, {Node: nodeB, Ops: []stint.Range{ops(0, 3)}}}}
	s.ask = func(_ context.Context, source *stint.Source, list []stint.Range, d time.Duration) (answer, error) {
		patience[source.Node] = append(patience[source.Node], d)
		return answer{silent: inBoth(list, []stint.Range{ops(0, 1)}), why: "no answer"}, nil
	}
	if _, err := s.run(t.Context(), []stint.Range{ops(0, 3)}); err != nil {
		t.Fatal(err)
	}
	equal(t, "first", patience[nodeA], []time.Duration{otherPatience})
	equal(t, "second", patience[nodeB], []time.Duration{fetchPatience, fetchPatience})
}

func TestSourcesAreAskedAtTheSameTime(t *testing.T) {
	t.Parallel()
	var both sync.WaitGroup
	both.Add(2)
	s := &search{atOnce: 2, sources: []stint.Source{{Node: nodeA, Ops: []stint.Range{ops(0, 1)}}, {Node: nodeB, Ops: []stint.Range{ops(1, 2)}}}}
	s.ask = func(context.Context, *stint.Source, []stint.Range, time.Duration) (answer, error) {
		both.Done()
		both.Wait()
		return answer{}, nil
	}
	if lacking, err := s.run(t.Context(), []stint.Range{ops(0, 2)}); err != nil || lacking != nil {
		t.Error(lacking, err)
	}
}

func TestNamesOfOperationsGoThereAndBack(t *testing.T) {
	t.Parallel()
	s := &stint.Source{Ops: []stint.Range{ops(10, 20)}, Origin: &stint.Origin{Execution: execX, Stage: 2, First: 3}}
	n := namingOf("x-other", 5, s)
	equal(t, "there", n.allThere([]stint.Range{ops(10, 12), ops(15, 20)}), []stint.Range{ops(3, 5), ops(8, 13)})
	equal(t, "and back", n.allHere(n.allThere([]stint.Range{ops(10, 12)})), []stint.Range{ops(10, 12)})
	if r := n.ref(11); r.Execution != execX || r.Stage != 2 || r.Op != 4 {
		t.Errorf("%+v", r)
	}
	s.Origin = nil
	if r := namingOf("x-other", 5, s).ref(11); r.Execution != "x-other" || r.Stage != 5 || r.Op != 11 {
		t.Errorf("%+v", r)
	}
}

func TestRangesAreCutLikeSets(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	pick := func() ([]stint.Range, map[uint32]bool) {
		var list []stint.Range
		set := make(map[uint32]bool)
		for range random.IntN(12) {
			op := random.Uint32N(20)
			list, set[op] = stint.AddToRanges(list, op), true
		}
		return list, set
	}
	for range 2000 {
		a, inA := pick()
		b, inB := pick()
		both, rest := inBoth(a, b), without(a, b)
		for op := range uint32(20) {
			if stint.RangesContain(both, op) != (inA[op] && inB[op]) || stint.RangesContain(rest, op) != (inA[op] && !inB[op]) {
				t.Fatalf("%v and %v: both %v, without %v", a, b, both, rest)
			}
		}
		if !slices.IsSortedFunc(slices.Concat(rest), func(a, b stint.Range) int { return int(a.From) - int(b.From) }) {
			t.Fatalf("%v is out of order", rest)
		}
	}
}
