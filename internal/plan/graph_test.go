package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stint"
)

// program returns a request for stages over inputs of some names.
func program(inputs []string, stages ...stint.Stage) stint.Request {
	return stint.Request{Output: "file:///out", Program: stint.Program{Name: "p", Inputs: inputs, Stages: stages}}
}

func fromNamed(name string) stint.Edge { return stint.Edge{Kind: stint.FromInput, From: name} }

// joined is a program that reads two inputs, joins them, and looks something up.
func joinedRequest() stint.Request {
	return program([]string{"left", "right"},
		stage("l", fromNamed("left")), stage("r", fromNamed("right")), stage("sum", oneToOneOf("r")),
		with(stage("join", shuffleOf("l")), stint.Edge{Kind: stint.Shuffle, From: "sum", Partitions: 3}),
		stage("all", gatherOf("join")),
		with(stage("last", oneToOneOf("join")), broadcastOf("all")),
	)
}

func named(input string, l stint.Listing) stint.Listing {
	for i := range l.Objects {
		l.Objects[i].Input = input
	}
	return l
}

func twoInputs(left, right stint.Listing) stint.Listing {
	return stint.Listing{Objects: slices.Concat(named("left", left).Objects, named("right", right).Objects)}
}

// shapes says what stages a plan has.
func shapes(p *Plan) string {
	var b strings.Builder
	for _, st := range p.Spec.Stages {
		fmt.Fprintf(&b, "%s %d x %d", st.Name, st.Operations, st.Partitions)
		for _, word := range []struct {
			is   bool
			text string
		}{{st.Sorted, " sorted"}, {st.Part, " part"}, {st.Gather != nil, fmt.Sprint(" ", st.Gather)}, {st.Partitioner != nil, " by " + string(spelledOut(st.Partitioner).Kind)}} {
			if word.is {
				b.WriteString(word.text)
			}
		}
		b.WriteString("; ")
	}
	return strings.TrimSuffix(b.String(), "; ")
}

func TestTheStagesOfAGraph(t *testing.T) {
	t.Parallel()
	silent := with(stage("b", oneToOneOf("a")))
	silent.NoOutput = true
	ranges := &stint.Partitioner{Kind: stint.RangePartition, From: "sample"}
	for _, c := range []struct {
		name    string
		req     stint.Request
		listing stint.Listing
		want    string
	}{
		{
			"a join, a gather and a broadcast", joinedRequest(), twoInputs(objects(3<<20), objects(10, 2<<20)),
			"l 3 x 3 sorted; r 3 x 1; sum 3 x 3 sorted; join 3 x 1; all 1 x 1 [0 3]; last 3 x 1 part",
		},
		{
			"parts through two stages one to one", program(nil, stage("a", input), stage("b", oneToOneOf("a")), stage("c", oneToOneOf("b"))), objects(3<<20, 70<<20),
			"a 10 x 1; b 10 x 1; c 10 x 1; c-parts 3 x 1 part [0 1 9 10]",
		},
		{
			"parts that are one operation each", program(nil, stage("a", input), stage("b", oneToOneOf("a"))), objects(5, 6),
			"a 1 x 1; b 1 x 1 part",
		},
		{
			"no parts", program(nil, stage("a", input), silent), objects(3<<20, 70<<20),
			"a 10 x 1; b 10 x 1",
		},
		{
			"a gather at the end", program(nil, stage("a", input), stage("b", gatherOf("a"))), objects(3<<20, 70<<20),
			"a 10 x 1; b 1 x 1 part [0 10]",
		},
		{
			"one to one behind a shuffle", program(nil, stage("a", input), stage("b", stint.Edge{Kind: stint.Shuffle, From: "a", Partitions: 4}), stage("c", oneToOneOf("b"))), objects(1 << 20),
			"a 1 x 4 sorted; b 4 x 1; c 4 x 1 part",
		},
		{
			"nothing to gather", program(nil, stage("a", input), stage("b", oneToOneOf("a")), stage("c", gatherOf("b"))), objects(),
			"a 0 x 1; b 0 x 1; c 1 x 1 part [0 0]",
		},
		{
			"ranges", program(nil, stage("sample", input), with(stage("a", input), broadcastOf("sample")), stage("b", stint.Edge{Kind: stint.Shuffle, From: "a", Partitions: 2, Partitioner: ranges})), objects(1),
			"sample 1 x 1; a 1 x 2 sorted by range; b 2 x 1 part",
		},
		{
			"what one reader says counts for all", program(nil, stage("a", input), stage("b", stint.Edge{Kind: stint.Shuffle, From: "a", Partitions: 5}), with(stage("c", shuffleOf("a")), broadcastOf("b"))), objects(1),
			"a 1 x 5 sorted; b 5 x 1; c 5 x 1 part",
		},
		{
			"what two joins share", program(nil, stage("a", input), stage("b", input), stage("c", input), with(stage("d", shuffleOf("a")), shuffleOf("b")),
				with(stage("e", shuffleOf("b")), stint.Edge{Kind: stint.Shuffle, From: "c", Partitions: 7}), with(stage("f", gatherOf("d")), broadcastOf("e"))), objects(1),
			"a 1 x 7 sorted; b 1 x 7 sorted; c 1 x 7 sorted; d 7 x 1; e 7 x 1; f 1 x 1 part [0 7]",
		},
		{
			"the same input twice, in other ways", program(nil, stage("a", stint.Edge{Kind: stint.FromInput, Split: stint.SplitFiles}), with(stage("b", input), broadcastOf("a"))), objects(1, 2, 3<<20),
			"a 3 x 1; b 4 x 1; b-parts 1 x 1 part [0 4]",
		},
	} {
		if got := shapes(made(t, c.req, c.listing)); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

func TestNodesAreToldTheShareOfBadRecordsInForce(t *testing.T) {
	t.Parallel()
	for asked, want := range map[float64]float64{0: 0, -1: 0, 0.25: 0.25} {
		req := joinedRequest()
		req.SkipBadRecords, req.Program.OnError.SkipBadRecords = asked, 0.5 // what the program says is in the request by then
		if got := made(t, req, twoInputs(objects(10), objects(10))).Spec.SkipBadRecords; got != want {
			t.Errorf("%v: %v", asked, got)
		}
	}
}

func TestWhoReadsWhat(t *testing.T) {
	t.Parallel()
	p := made(t, joinedRequest(), twoInputs(objects(3<<20), objects(10, 2<<20)))
	var got []string
	for k := range p.Spec.Stages {
		for e := range p.Edges(k) {
			got = append(got, fmt.Sprintf("%d/%d reads %d, whole %v", k, e, p.Upstream(k, e), p.Whole(k, e)))
		}
		got = append(got, fmt.Sprintf("%d is read by %v and made of %v", k, p.Readers(k), p.Ancestors(k)))
	}
	want := []string{
		"0/0 reads -1, whole false", "0 is read by [{3 0}] and made of []",
		"1/0 reads -1, whole false", "1 is read by [{2 0}] and made of []",
		"2/0 reads 1, whole false", "2 is read by [{3 1}] and made of [1]",
		"3/0 reads 0, whole true", "3/1 reads 2, whole true", "3 is read by [{4 0} {5 0}] and made of [0 1 2]",
		"4/0 reads 3, whole false", "4 is read by [{5 1}] and made of [0 1 2 3]",
		"5/0 reads 3, whole false", "5/1 reads 4, whole true", "5 is read by [] and made of [0 1 2 3 4]",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, c := range []struct {
		stage, edge int
		op, by      uint32
		want        stint.Range
	}{
		{2, 0, 1, 1, stint.Range{From: 1, To: 2}},
		{3, 1, 2, 2, stint.Range{To: 3}},
		{4, 0, 0, 0, stint.Range{To: 3}},
		{5, 0, 2, 2, stint.Range{From: 2, To: 3}},
		{5, 1, 2, 2, stint.Range{To: 1}},
	} {
		if got := p.Reads(c.stage, c.edge, c.op); got != c.want {
			t.Errorf("operation %d of stage %d reads %v by edge %d, want %v", c.op, c.stage, got, c.edge, c.want)
		}
	}
	if got := p.ReadBy(Reader{Stage: 4}, 2); got != 0 {
		t.Errorf("the gather reads it in %d", got)
	}
	if got := p.ReadBy(Reader{Stage: 5}, 2); got != 2 {
		t.Errorf("one to one it is read in %d", got)
	}
}

// Each stage that reads the input has its own cuts, of the objects of its input alone.
func TestEachStageCutsItsOwnInput(t *testing.T) {
	t.Parallel()
	p := made(t, joinedRequest(), twoInputs(objects(2<<20), objects(10, 20, 1<<20)))
	var got []string
	for k := range 2 {
		for op := range p.Spec.Stages[k].Operations {
			s := p.Subset(k, op)
			from, to := p.Objects(k, op)
			got = append(got, fmt.Sprintf("%s %s %d-%d", s.Pieces[0].Object.Input, subsetText(s), from, to))
		}
	}
	want := []string{"left #[0+1048576] 0-1", "left #[1048576+1048576] 0-1", "right # #1 1-3", "right #2 3-4"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if end := p.Fitting(1, stint.Range{To: 2}, 100); end != 1 {
		t.Errorf("of the second input %d operations fit", end)
	}
	empty := made(t, joinedRequest(), named("right", objects(5)))
	if n := empty.Spec.Stages[0].Operations; n != 0 {
		t.Errorf("an input without objects has %d operations", n)
	}
}

func counted(count int64) stint.Edge {
	return stint.Edge{Kind: stint.FromInput, Split: stint.SplitCount, Count: count}
}

func TestCutsByLinesAreThoseOfTheListing(t *testing.T) {
	t.Parallel()
	l := objects(30, 0, 20, PartBytes+100)
	l.Cuts = [][]int64{{11, 25}, nil, nil, {50, PartBytes - 1, PartBytes, PartBytes + 70}}
	for _, c := range []struct {
		name, want string
		stages     []stint.Stage
	}{
		{"not for parts", "#[0+11] #[11+14] #[25+5] #2 #3[0+50] #3[50+67108813] #3[67108863+1] #3[67108864+70] #3[67108934+30]", []stint.Stage{stage("a", counted(3)), stage("b", shuffleOf("a"))}},
		{"parts", "#[0+11] #[11+14] #[25+5] #2 #3[0+50] #3[50+67108813] #3[67108863+1] #3[67108864+70] #3[67108934+30] [0 4 7 9]", []stint.Stage{stage("a", counted(3))}},
	} {
		p := made(t, program(nil, c.stages...), l)
		var words []string
		for op := range p.Spec.Stages[0].Operations {
			words = append(words, subsetText(p.Subset(0, op)))
		}
		if g := p.Spec.Stages[len(p.Spec.Stages)-1].Gather; g != nil {
			words = append(words, fmt.Sprint(g))
		}
		if got := strings.Join(words, " "); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
	ended := program([]string{"x", "y"}, stage("a", stint.Edge{Kind: stint.FromInput, From: "y", Split: stint.SplitCount, Count: 3, Delimiter: ";"}), stage("b", stint.Edge{Kind: stint.FromInput, From: "x", Delimiter: ","}))
	if got := Delimiters(ended.Program); len(got) != 1 || got["y"] != ";" {
		t.Errorf("what ends them: %v", got)
	}
	if got := Lines(program([]string{"x", "y"}, stage("a", stint.Edge{Kind: stint.FromInput, From: "y", Split: stint.SplitCount, Count: 3})).Program); len(got) != 1 || got["y"] != 3 {
		t.Errorf("lines to be counted: %v", got)
	}
}

func TestValuesByCountAreWholeInTheirParts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		count, each int64
		want        string
	}{
		{100_000, 40_000, "a 3 x 1 part"},
		{100_000, 30_000, "a 4 x 1; a-parts 2 x 1 part [0 2 4]"},
		{200_000, 100_000, "a 2 x 1 part"},
	} {
		p := made(t, program(nil, stage("a", counted(c.each))), stint.Listing{Range: &stint.Values{First: 1, Count: c.count}})
		if got := shapes(p); got != c.want {
			t.Errorf("%d by %d: %s, want %s", c.count, c.each, got, c.want)
		}
		for op := range p.Spec.Stages[0].Operations - 1 {
			if n := p.Subset(0, op).Values.Count; n != c.each {
				t.Errorf("%d by %d: operation %d has %d", c.count, c.each, op, n)
			}
		}
	}
}

// compressed gives objects of a listing a suffix.
func compressed(l stint.Listing, suffix string, which ...int) stint.Listing {
	for _, i := range which {
		l.Objects[i].URL += suffix
	}
	return l
}

func TestCompressedObjectsAreNeverCut(t *testing.T) {
	t.Parallel()
	for suffix, want := range map[string]string{
		".gz":   "0-1[0+70000000] 1-2[0+5000000] 2-4[0+10] 4-5[0+1048576] 4-5[1048576+951424]",
		".zst":  "0-1[0+70000000] 1-2[0+5000000] 2-4[0+10] 4-5[0+1048576] 4-5[1048576+951424]",
		".bz2":  "0-1[0+70000000] 1-2[0+5000000] 2-4[0+10] 4-5[0+1048576] 4-5[1048576+951424]",
		".text": "",
	} {
		p := planned(t, mapOnly(), compressed(objects(70_000_000, 5_000_000, 10, 20, 2_000_000), suffix, 0, 1, 2), 1<<20)
		var words []string
		for op := range p.Spec.Stages[0].Operations {
			from, to := p.Objects(0, op)
			piece := p.Subset(0, op).Pieces[0]
			words = append(words, fmt.Sprintf("%d-%d[%d+%d]", from, to, piece.Offset, piece.Length))
		}
		if got := strings.Join(words, " "); want != "" && got != want || want == "" && len(words) < 70 {
			t.Errorf("%s: %s", suffix, got)
		}
	}
	req := mapOnly()
	req.Compression = "none"
	if n := planned(t, req, compressed(objects(3<<20), ".gz", 0), 1<<20).Spec.Stages[0].Operations; n != 3 {
		t.Errorf("as it is it has %d operations", n)
	}
	req = mapOnly()
	req.SubsetSize = 5
	if got := shapes(made(t, req, compressed(objects(11, 11), ".gz", 0))); got != "map 4 x 1; map-parts 1 x 1 part [0 4]" {
		t.Errorf("with a given size: %s", got)
	}
}

func TestAListingThatCannotBePlannedIsRefused(t *testing.T) {
	t.Parallel()
	cuts := func(cuts ...[]int64) stint.Listing {
		l := objects(10, 10)
		l.Cuts = cuts
		return l
	}
	byLines := program(nil, stage("a", counted(3)))
	for _, c := range []struct {
		says    string
		req     stint.Request
		listing stint.Listing
	}{
		{"not_splittable: file:///in/000001.gz", byLines, compressed(objects(1, 2), ".gz", 1)},
		{"of 2 objects: it says for 1", byLines, cuts(nil)},
		{"begins at 10", byLines, cuts([]int64{10}, nil)},
		{"begins at 0", byLines, cuts(nil, []int64{0})},
		{"behind one at 5", byLines, cuts(nil, []int64{5, 5})},
		{"a range of numbers", joinedRequest(), stint.Listing{Range: &stint.Values{Count: 5}}},
	} {
		if _, err := Make(execution, c.req, c.listing, Choice{SubsetSize: 1, Partitions: 1}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want one that says %q", err, c.says)
		}
	}
}

func TestHowManyRecordsThereCanBe(t *testing.T) {
	t.Parallel()
	files := stint.Edge{Kind: stint.FromInput, Split: stint.SplitFiles}
	for _, c := range []struct {
		edge    stint.Edge
		listing stint.Listing
		want    int64
	}{
		{input, objects(5, 7), 12},
		{files, objects(5, 7), 2},
		{input, compressed(objects(5, 7), ".gz", 1), 0},
		{files, compressed(objects(5, 7), ".gz", 1), 2},
		{input, stint.Listing{Range: &stint.Values{Count: 9}}, 9},
	} {
		p := made(t, program(nil, stage("a", c.edge), stage("b", shuffleOf("a"))), c.listing)
		if got := p.MostRecords(0); got != c.want || p.MostRecords(1) != 0 {
			t.Errorf("%+v: %d and %d, want %d and 0", c, got, p.MostRecords(1), c.want)
		}
	}
}

func TestWhatTheIdentityOfAGraphIsMadeOf(t *testing.T) {
	t.Parallel()
	base := func() (stint.Request, stint.Listing) {
		req := joinedRequest()
		req.Program.Files = []stint.ProgramFile{{Name: "run.sh", Digest: stint.Digest{1}}, {Name: "table", Digest: stint.Digest{2}}}
		req.Program.Stages[0].Files = []string{"run.sh"}
		return req, twoInputs(objects(10), objects(20, 2<<20))
	}
	// by stage: whether the identity of its operation 0 is another
	for name, c := range map[string]struct {
		change func(*stint.Request, *stint.Listing)
		want   string
	}{
		"nothing":                   {func(*stint.Request, *stint.Listing) {}, "------"},
		"an object of the left":     {func(_ *stint.Request, l *stint.Listing) { l.Objects[0].Version = "w" }, "x--xxx"},
		"an object of the right":    {func(_ *stint.Request, l *stint.Listing) { l.Objects[1].Version = "w" }, "-xxxxx"},
		"another of the right":      {func(_ *stint.Request, l *stint.Listing) { l.Objects[2].Version = "w" }, "---xxx"},
		"an action in the middle":   {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[2].Action.Native = "sort" }, "--xxxx"},
		"the action of the last":    {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[5].Action.Native = "sort" }, "-----x"},
		"the action of a broadcast": {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[4].Action.Native = "sort" }, "----xx"},
		"partitions":                {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[3].Beside[0].Partitions = 4 }, "x-xxxx"},
		"a partitioner": {func(r *stint.Request, _ *stint.Listing) {
			by := &stint.Partitioner{Kind: stint.FieldPartition}
			r.Program.Stages[3].Input.Partitioner, r.Program.Stages[3].Beside[0].Partitioner = by, by
		}, "x-xxxx"},
		"a partitioner spelled out": {func(r *stint.Request, _ *stint.Listing) {
			r.Program.Stages[3].Input.Partitioner = &stint.Partitioner{Kind: stint.HashPartition}
		}, "------"},
		"sides of a join": {func(r *stint.Request, _ *stint.Listing) {
			st := &r.Program.Stages[3]
			st.Input, st.Beside[0] = st.Beside[0], st.Input
		}, "---xxx"},
		"no broadcast": {func(r *stint.Request, _ *stint.Listing) {
			r.Program.Stages[5].Beside, r.Program.Stages[5].Input = nil, oneToOneOf("all")
		}, "-----x"},
		"a delimiter":             {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[0].Input.Delimiter = ";" }, "x--xxx"},
		"a delimiter escaped":     {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[0].Input.Delimiter = `\n` }, "------"},
		"a delimiter spelled out": {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[0].Input.Delimiter = "\n" }, "------"},
		"streaming": {func(r *stint.Request, _ *stint.Listing) {
			r.Program.Stages[2].Streaming = &stint.Streaming{KeyFields: 2}
		}, "--xxxx"},
		"streaming spelled out": {func(r *stint.Request, _ *stint.Listing) {
			r.Program.Stages[2].Streaming = &stint.Streaming{KeyFields: 1}
		}, "------"},
		"a file":                      {func(r *stint.Request, _ *stint.Listing) { r.Program.Files[0].Digest[0] = 9 }, "xxxxxx"},
		"a file that it does not use": {func(r *stint.Request, _ *stint.Listing) { r.Program.Files[1].Digest[0] = 9 }, "-xxxxx"},
		"the order of files":          {func(r *stint.Request, _ *stint.Listing) { slices.Reverse(r.Program.Files) }, "------"},
		"its environment": {func(r *stint.Request, _ *stint.Listing) {
			r.Program.Stages[1].Environment = map[string]string{"a": "1"}
		}, "-xxxxx"},
		"the program's environment": {func(r *stint.Request, _ *stint.Listing) { r.Program.Environment = map[string]string{"a": "1"} }, "xxxxxx"},
		"resources":                 {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[0].Resources.Memory = 1 << 30 }, "------"},
		"attempts":                  {func(r *stint.Request, _ *stint.Listing) { r.Program.OnError.Attempts = 3 }, "------"},
		"skipping":                  {func(r *stint.Request, _ *stint.Listing) { r.SkipBadRecords = 0.1 }, "xxxxxx"},
	} {
		req, listing := base()
		before := made(t, req, listing)
		req, listing = base()
		c.change(&req, &listing)
		after := made(t, req, listing)
		got := ""
		for k := range before.Spec.Stages {
			if before.Identity(k, 0) == after.Identity(k, 0) {
				got += "-"
			} else {
				got += "x"
			}
		}
		if got != c.want {
			t.Errorf("%s changed %s, want %s", name, got, c.want)
		}
	}
}

// TestSameOnGraphs compares what one pass finds with what comparing all pairs finds.
func TestSameOnGraphs(t *testing.T) {
	t.Parallel()
	found := 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 8))
		req := joinedRequest()
		if seed%2 == 0 {
			req = program([]string{"left", "right"}, stage("l", fromNamed("left")), with(stage("r", fromNamed("right")), broadcastOf("l")), stage("s", oneToOneOf("r")), stage("last", oneToOneOf("s")))
		}
		left, right := randomFiles(rng, 1+rng.IntN(20), 3<<20), randomFiles(rng, 2+rng.IntN(30), 3<<20)
		before := planned(t, req, twoInputs(left, right), 1<<20)
		right = oneChanged(rng, stint.Listing{Objects: slices.Clone(right.Objects)}, 3<<20)
		after := planned(t, req, twoInputs(left, right), 1<<20)
		for k := range min(len(after.Spec.Stages), len(before.Spec.Stages)) {
			got := pairs(Same(after, before, k, nil))
			if d := cmp.Diff(sameByIdentity(after, before, k), got, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("seed %d, stage %d (-want +got):\n%s", seed, k, d)
			}
			found += len(got)
		}
	}
	if found < 1000 {
		t.Errorf("only %d are the same", found)
	}
}

func TestAnObjectIsKnownByItsInputToo(t *testing.T) {
	t.Parallel()
	l := twoInputs(objects(10), objects(10))
	before := made(t, joinedRequest(), l)
	touched := stint.Listing{Objects: slices.Clone(l.Objects)}
	touched.Objects[0].Version, touched.Objects[1].Version = "w", "w"
	left := func(_, now stint.Object) bool { return now.Input == "left" }
	now := made(t, joinedRequest(), touched)
	if a, b := Same(now, before, 0, left), Same(now, before, 1, left); len(a) != 1 || len(b) != 0 {
		t.Errorf("of the left %v and of the right %v are the same", a, b)
	}
}

// A deep graph whose stages are each read twice takes no more time than it has stages.
func TestIdentitiesOfADeepGraph(t *testing.T) {
	t.Parallel()
	stages := []stint.Stage{stage("s0", input)}
	for i := range 100 {
		from := stages[len(stages)-1].Name
		stages = append(stages, with(stage(fmt.Sprint("s", i+1), oneToOneOf(from)), broadcastOf(from)))
	}
	p := made(t, program(nil, stages...), objects(10))
	if p.Identity(100, 0) == p.Identity(99, 0) {
		t.Error("two stages have the same operation")
	}
}
