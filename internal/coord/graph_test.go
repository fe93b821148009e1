package coord

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stint"
	"stint/internal/plan"
)

// joining reads two inputs and joins them in two partitions.
func joining() adoptable {
	of := reducing()
	named := func(name string) stint.Edge { return stint.Edge{Kind: stint.FromInput, From: name} }
	of.req.Program.Inputs = []string{"left", "right"}
	of.req.Program.Stages = []stint.Stage{
		graphStage("l", named("left")), graphStage("r", named("right")),
		graphStage("join", stint.Edge{Kind: stint.Shuffle, From: "l", Partitions: 2}, stint.Edge{Kind: stint.Shuffle, From: "r"}),
	}
	return of
}

// sides are the listing of two inputs.
func sides(left, right stint.Listing) (l stint.Listing) {
	for name, side := range map[string]stint.Listing{"left": left, "right": right} {
		for _, o := range side.Objects {
			o.Input = name
			l.Objects = append(l.Objects, o)
		}
	}
	slices.SortStableFunc(l.Objects, func(a, b stint.Object) int { return len(a.Input) - len(b.Input) })
	return l
}

func TestWhatChangedOnOneSideOfAJoinIsPerformedAgain(t *testing.T) {
	t.Parallel()
	of := joining()
	before := of.plan(t, earlier, sides(files(1, 2), files(1, 2, 3)))
	for _, c := range []struct {
		name string
		now  stint.Listing
		want [][]stint.Range
		why  []string
	}{
		{"nothing", sides(files(1, 2), files(1, 2, 3)), [][]stint.Range{ranges(0, 2), ranges(0, 3), ranges(0, 2)}, nil},
		{"one more on the right", sides(files(1, 2), files(1, 2, 3, 4)), [][]stint.Range{ranges(0, 2), ranges(0, 3), nil}, []string{"join: " + whyInput}},
		{"another on the left", sides(touch(files(1, 2), 0), files(1, 2, 3)), [][]stint.Range{ranges(1, 2), ranges(0, 3), nil}, []string{"l: " + whyInput, "join: " + whyInput}},
	} {
		old := of.performing(t, before, ranges(0, 2), ranges(0, 3))
		completeOp(old, 2, 0)
		completeOp(old, 2, 1)
		s, adoption := Adopt(old, of.plan(t, another, c.now), of.req, 2, 9000, everything(old), nil)
		checkInvariants(t, s)
		var why []string
		for _, r := range adoption.Redone {
			why = append(why, r.Stage+": "+r.Reason)
		}
		if d := cmp.Diff(c.why, why); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
		for k, want := range c.want {
			if d := cmp.Diff(want, doneOps(s, k), cmpopts.IgnoreUnexported(stint.Range{})); d != "" {
				t.Errorf("%s, stage %d (-want +got):\n%s", c.name, k, d)
			}
		}
	}
}

// What one stage has read of an object tells of its content for all that read it,
// and what is read of an object of the same URL in another input does not.
func TestInputThatSeveralStagesReadIsTouched(t *testing.T) {
	t.Parallel()
	of := joining()
	was := sides(files(1, 2), files(1, 2))
	old := of.performing(t, of.plan(t, earlier, was), ranges(0, 2), ranges(1, 2))
	touched := old.Touched(of.plan(t, another, touch(sides(files(1, 2), files(1, 2)), 0, 1, 2, 3)))
	var got []opKey
	for i := range touched.Len() {
		subset, _ := touched.Compare(i)
		if got = append(got, touched.ops[i]); subset.Pieces[0].Object.Version != "v'" {
			t.Errorf("it compares with %+v", subset.Pieces[0])
		}
	}
	if want := []opKey{{0, 0}, {0, 1}, {1, 1}}; !slices.Equal(got, want) {
		t.Errorf("compared are %v, want %v", got, want)
	}
	touched.Different(1)
	content := touched.Content()
	var equal []int
	for i, o := range touch(sides(files(1, 2), files(1, 2)), 0, 1, 2, 3).Objects {
		if content(stint.Object{}, o) {
			equal = append(equal, i)
		}
	}
	if !slices.Equal(equal, []int{0, 3}) {
		t.Errorf("equal are %v", equal)
	}
	same := joining()
	same.req.Program.Inputs = nil
	for i := range 2 {
		same.req.Program.Stages[i].Input.From = ""
	}
	old = same.performing(t, same.plan(t, earlier, files(1, 2)), nil, ranges(0, 2))
	if touched = old.Touched(same.plan(t, another, touch(files(1, 2), 0))); touched.Len() != 1 || touched.ops[0] != (opKey{1, 0}) {
		t.Errorf("of what only the second stage has read, compared are %v", touched.ops)
	}
}

// An execution is not over before what has no readers but stages without
// operations is performed: an empty input makes them so.
func TestAStageThatNoOperationReadsIsPerformed(t *testing.T) {
	t.Parallel()
	of := joining()
	of.req.Program.Stages[2] = graphStage("last", stint.Edge{Kind: stint.OneToOne, From: "l"}, stint.Edge{Kind: stint.Broadcast, From: "r"})
	s := of.performing(t, of.plan(t, earlier, sides(files(), files(1))), nil, nil)
	if s.allDone() {
		t.Error("it is over at once")
	}
	completeOp(s, 1, 0)
	if !s.allDone() {
		t.Error("it is not over")
	}
}

func TestADocumentNamesInputs(t *testing.T) {
	t.Parallel()
	of := joining()
	of.req.NamedInputs = map[string][]string{"right": {"file:///b"}, "left": {"file:///a", "file:///c"}}
	s := of.performing(t, of.plan(t, earlier, sides(files(1), files(1))), nil, nil)
	if got := s.Document(1000).Inputs; !slices.Equal(got, []string{"left=file:///a", "left=file:///c", "right=file:///b"}) {
		t.Errorf("inputs %q", got)
	}
	if got := s.Operation(2, 1).Input; !slices.Equal(got, []string{"l/0-0 partition 1", "r/0-0 partition 1"}) {
		t.Errorf("an operation reads %q", got)
	}
}

// What outlived a node may do so no more: a pack is lost. What was dropped then
// does not make safe what it was made of.
func TestSafetyIsFoundOutAnew(t *testing.T) {
	t.Parallel()
	req := stint.Request{Output: "file:///out", Program: stint.Program{Stages: []stint.Stage{
		graphStage("a", stint.Edge{Kind: stint.FromInput}), graphStage("b", stint.Edge{Kind: stint.Shuffle, From: "a", Partitions: 1}),
		graphStage("c", stint.Edge{Kind: stint.Shuffle, From: "b", Partitions: 1}), graphStage("d", stint.Edge{Kind: stint.Shuffle, From: "c", Partitions: 1}),
	}}}
	of := adoptable{req: req, choice: plan.Choice{SubsetSize: 1 << 20, Partitions: 1}}
	s := of.performing(t, of.plan(t, earlier, files(1)), ranges(0, 1), ranges(0, 1))
	completeOp(s, 2, 0)
	saved := func(k int) {
		s.Apply(Record{At: 4000, Saved: &SavedRecord{Packs: []stint.Pack{{Key: "p", Stage: k, Ops: ranges(0, 1)}}, Ops: ranges(0, 1)}})
	}
	saved(2)
	s.stages[1].dropped = true // as it was told when c was saved
	s.Apply(Record{At: 5000, Bad: &BadRecord{Copies: []stint.BadCopy{{Pack: "p", Stage: 2}}}})
	if s.readSafely(0, make(map[int]bool)) {
		t.Error("what b was made of can go, though nothing of b and c outlives a node")
	}
	saved(2)
	if !s.readSafely(0, make(map[int]bool)) {
		t.Error("what b was made of cannot go, though c is saved")
	}
}
