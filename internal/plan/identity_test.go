package plan

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stint"
)

// What was saved is found again by its identity: an identity must not change from
// one version of the service to the next.
func TestIdentitiesAreForEver(t *testing.T) {
	t.Parallel()
	req := withReduce(2)
	req.Params = map[string]string{"a": "1", "b": "2"}
	req.Environment = map[string]string{"LANG": "C"}
	req.Program.Files = []stint.ProgramFile{{Name: "run.sh", Digest: stint.Digest{1}, Size: 3, Mode: 0o755}}
	p := made(t, req, objects(10, 20, 3<<20))
	gathered := made(t, mapOnly(), objects(10, 3<<20))
	values := made(t, withReduce(2), stint.Listing{Range: &stint.Values{First: 5, Count: 9}})
	for _, c := range []struct {
		plan  *Plan
		stage int
		op    uint32
		want  string
	}{
		{p, 0, 0, "75d772fa97a4ff95645d72e9223524e3e21a8d44ebf3c8939179ce1d86369ee6"},
		{p, 0, 1, "4eab4baa25f2d280e7525fc738603cf5e02ba128b6e5e5f31eee3189bdcb8a6a"},
		{p, 1, 1, "1901e39b13e4b7023fea5a37c1ed241f0cd36f2b6baed6574fafb1502091da33"},
		{gathered, 1, 0, "2080e2d58a3aeb266dc15a04b3758525b889747e4cb4bf8abd50de66ea240a52"},
		{values, 0, 1, "7c21ec7cb8f5d0d82e08ba1b89aaa377aae37fce92f784d425f00c512450bd3d"},
	} {
		if got := c.plan.Identity(c.stage, c.op).String(); got != c.want {
			t.Errorf("operation %d of stage %d is %s, and was %s", c.op, c.stage, got, c.want)
		}
	}
}

func TestWhatAnIdentityIsMadeOf(t *testing.T) {
	t.Parallel()
	base := func() (stint.Request, stint.Listing) {
		req := withReduce(3)
		req.Program.Stages[0].Action = stint.Action{Command: []string{"sh", "run.sh"}}
		req.Program.Files = []stint.ProgramFile{{Name: "run.sh", Digest: stint.Digest{1}, Mode: 0o755}}
		return req, objects(10, 2<<20)
	}
	// of the first operation of the first stage, of another one, of the later stage
	for name, c := range map[string]struct {
		change func(*stint.Request, *stint.Listing)
		want   [3]bool // changed
	}{
		"nothing":            {func(*stint.Request, *stint.Listing) {}, [3]bool{}},
		"the program's name": {func(r *stint.Request, _ *stint.Listing) { r.Program.Name = "q" }, [3]bool{}},
		"the output":         {func(r *stint.Request, _ *stint.Listing) { r.Output = "file:///elsewhere" }, [3]bool{}},
		"slots":              {func(r *stint.Request, _ *stint.Listing) { r.Slots = 3 }, [3]bool{}},
		"an empty parameter list": {func(r *stint.Request, _ *stint.Listing) {
			r.Params, r.Environment = map[string]string{}, map[string]string{}
		}, [3]bool{}},
		"the split spelled out": {func(r *stint.Request, _ *stint.Listing) {
			r.Program.Stages[0].Input.Split = stint.SplitLines
		}, [3]bool{}},
		"a version":              {func(_ *stint.Request, l *stint.Listing) { l.Objects[0].Version = "w" }, [3]bool{true, false, true}},
		"a URL":                  {func(_ *stint.Request, l *stint.Listing) { l.Objects[0].URL = "file:///in/0" }, [3]bool{true, false, true}},
		"a size":                 {func(_ *stint.Request, l *stint.Listing) { l.Objects[0].Size = 11 }, [3]bool{true, false, true}},
		"an object more":         {func(_ *stint.Request, l *stint.Listing) { l.Objects = append(l.Objects, objects(1, 2, 3).Objects[2]) }, [3]bool{false, false, true}},
		"a command":              {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[0].Action.Command[1] = "other.sh" }, [3]bool{true, true, true}},
		"a later command":        {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[1].Action.Native = "sort" }, [3]bool{false, false, true}},
		"a combiner":             {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[0].Combine = &stint.Action{Native: "sum"} }, [3]bool{true, true, true}},
		"a file":                 {func(r *stint.Request, _ *stint.Listing) { r.Program.Files[0].Digest = stint.Digest{2} }, [3]bool{true, true, true}},
		"a file's mode":          {func(r *stint.Request, _ *stint.Listing) { r.Program.Files[0].Mode = 0o644 }, [3]bool{true, true, true}},
		"a parameter":            {func(r *stint.Request, _ *stint.Listing) { r.Params = map[string]string{"a": "b"} }, [3]bool{true, true, true}},
		"the environment":        {func(r *stint.Request, _ *stint.Listing) { r.Environment = map[string]string{"a": "b"} }, [3]bool{true, true, true}},
		"compression":            {func(r *stint.Request, _ *stint.Listing) { r.Compression = "none" }, [3]bool{true, true, true}},
		"partitions":             {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[1].Input.Partitions = 4 }, [3]bool{true, true, true}},
		"a stage's name":         {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[1].Name = "sum" }, [3]bool{false, false, true}},
		"output of a last stage": {func(r *stint.Request, _ *stint.Listing) { r.Program.Stages[1].NoOutput = true }, [3]bool{false, false, true}},
		"a way of splitting": {func(r *stint.Request, _ *stint.Listing) {
			r.Program.Stages[0].Input.Split = stint.SplitFiles
		}, [3]bool{true, true, true}},
	} {
		req, listing := base()
		before := made(t, req, listing)
		req, listing = base()
		c.change(&req, &listing)
		after := made(t, req, listing)
		got := [3]bool{
			before.Identity(0, 0) != after.Identity(0, 0), before.Identity(0, 1) != after.Identity(0, 1),
			before.Identity(1, 0) != after.Identity(1, 0),
		}
		if got != c.want {
			t.Errorf("%s changed %v, want %v", name, got, c.want)
		}
	}
}

// No two operations of a plan are the same, and lengths are part of what is
// hashed: names that run into versions make no two subsets equal.
func TestIdentitiesTellOperationsApart(t *testing.T) {
	t.Parallel()
	seen := make(map[stint.Digest]string)
	add := func(what string, d stint.Digest) {
		if other, twice := seen[d]; twice {
			t.Errorf("%s and %s are one", what, other)
		}
		seen[d] = what
	}
	for i, o := range []stint.Object{
		{URL: "file:///a", Size: 8, Version: "bc"},
		{URL: "file:///ab", Size: 8, Version: "c"},
		{URL: "file:///abc", Size: 8},
	} {
		add(fmt.Sprint("object ", i), made(t, withReduce(1), stint.Listing{Objects: []stint.Object{o}}).Identity(0, 0))
	}
	for name, p := range map[string]*Plan{
		"objects": made(t, withReduce(5), objects(3<<20, 10, 20, 5<<20)),
		"parts":   made(t, mapOnly(), objects(100<<20, 10, 20, 5<<20)),
		"values":  made(t, withReduce(5), stint.Listing{Range: &stint.Values{First: -3, Count: 100}}),
	} {
		for k := range p.Spec.Stages {
			for op := range p.Spec.Stages[k].Operations {
				add(fmt.Sprintf("%s %d/%d", name, k, op), p.Identity(k, op))
			}
		}
	}
}

// sameByIdentity finds what [Same] is to find by looking at every pair.
func sameByIdentity(now, before *Plan, stage int) map[uint32]uint32 {
	earlier := make(map[stint.Digest]uint32)
	for op := range before.Spec.Stages[stage].Operations {
		earlier[before.Identity(stage, op)] = op
	}
	same := make(map[uint32]uint32)
	for op := range now.Spec.Stages[stage].Operations {
		if m, found := earlier[now.Identity(stage, op)]; found {
			same[op] = m
		}
	}
	return same
}

func pairs(runs []Run) map[uint32]uint32 {
	out := make(map[uint32]uint32)
	for _, r := range runs {
		for op := r.Ops.From; op < r.Ops.To; op++ {
			out[op] = r.First + op - r.Ops.From
		}
	}
	return out
}

func TestSameFindsEveryOperationThatIsTheSame(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		req := withReduce(3)
		most := []int64{100, 20 << 10, 300 << 10, 80 << 20}[rng.IntN(4)]
		if seed%2 == 0 {
			req = mapOnly()
		}
		l := randomFiles(rng, 1+rng.IntN(60), most)
		before := planned(t, req, l, max(most/3, 1))
		for range rng.IntN(4) {
			l = oneChanged(rng, l, most)
			if len(l.Objects) == 1 {
				break
			}
		}
		after := planned(t, req, l, max(most/3, 1))
		for k := range after.Spec.Stages {
			if k >= len(before.Spec.Stages) {
				continue
			}
			runs := Same(after, before, k, nil)
			if d := cmp.Diff(sameByIdentity(after, before, k), pairs(runs)); d != "" {
				t.Errorf("seed %d, stage %d (-want +got):\n%s", seed, k, d)
			}
			for i := range runs[min(1, len(runs)):] {
				if a, b := runs[i], runs[i+1]; a.Ops.To == b.Ops.From && a.First+uint32(a.Ops.Len()) == b.First {
					t.Errorf("seed %d, stage %d: %v and %v are one run", seed, k, a, b)
				}
			}
		}
	}
}

func TestValuesThatAreGeneratedAgainAreTheSame(t *testing.T) {
	t.Parallel()
	values := func(first, count int64) *Plan {
		p, err := Make(execution, withReduce(2), stint.Listing{Range: &stint.Values{First: first, Count: count}}, Choice{SubsetSize: 10})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	before := values(0, 95)
	for _, c := range []struct {
		now  *Plan
		want []Run
	}{
		{values(0, 95), []Run{{Ops: stint.Range{To: 10}}}},
		{values(0, 200), []Run{{Ops: stint.Range{To: 9}}}},
		{values(20, 200), []Run{{Ops: stint.Range{To: 7}, First: 2}}},
		{values(-20, 50), []Run{{Ops: stint.Range{From: 2, To: 5}}}},
		{values(5, 95), nil},
	} {
		if d := cmp.Diff(c.want, Same(c.now, before, 0, nil), cmpopts.IgnoreUnexported(stint.Range{})); d != "" {
			t.Errorf("values from %d (-want +got):\n%s", c.now.Listing.Range.First, d)
		}
	}
}

// A file that was written again with the same bytes has another version and the
// same content.
func TestContentThatIsTheSameIsTheSameInputUnderAnotherVersion(t *testing.T) {
	t.Parallel()
	l := objects(3<<20, 10, 20, 2<<20)
	before := made(t, withReduce(2), l)
	touched := stint.Listing{Objects: slices.Clone(l.Objects)}
	for i := range touched.Objects {
		touched.Objects[i].Version = "w"
	}
	now := made(t, withReduce(2), touched)
	all, equal := func(_, _ stint.Object) bool { return true }, map[uint32]uint32{}
	for op := range before.Spec.Stages[0].Operations {
		equal[op] = op
	}
	if got := pairs(Same(now, before, 0, all)); !maps.Equal(got, equal) {
		t.Errorf("of equal content %v are the same", got)
	}
	if got := pairs(Same(now, before, 1, all)); len(got) != 2 {
		t.Errorf("made of equal content, %v are the same", got)
	}
	if got := Same(now, before, 0, nil); got != nil {
		t.Errorf("of content that is not known %v are the same", got)
	}
	last := func(_, now stint.Object) bool { return now.URL == l.Objects[3].URL }
	if got := pairs(Same(now, before, 0, last)); !maps.Equal(got, map[uint32]uint32{4: 4, 5: 5}) {
		t.Errorf("with one object of equal content %v are the same", got)
	}
	touched.Objects[3].Size++
	if got := Same(made(t, withReduce(2), touched), before, 0, last); got != nil {
		t.Errorf("of another length %v are the same", got)
	}
}

func TestAnotherProgramHasNothingInCommon(t *testing.T) {
	t.Parallel()
	l := objects(10)
	req := withReduce(2)
	before := made(t, req, l)
	longer := withReduce(2)
	longer.Program.Stages = append(longer.Program.Stages, stage("more", stint.Edge{Kind: stint.Shuffle, From: "reduce"}))
	p := made(t, longer, l)
	if got := Same(p, before, 0, nil); len(got) != 1 {
		t.Errorf("of the first stage %v are the same", got)
	}
	for k := 1; k < 3; k++ {
		if got := Same(p, before, k, nil); got != nil {
			t.Errorf("of stage %d %v are the same", k, got)
		}
	}
}

func TestDifferencesAreNamed(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*stint.Request){
		"":                    func(*stint.Request) {},
		"stages":              func(r *stint.Request) { r.Program.Stages[0].Name, r.Program.Stages[1].Input.From = "find", "find" },
		"command":             func(r *stint.Request) { r.Program.Stages[0].Action.Native = "sort" },
		"split":               func(r *stint.Request) { r.Program.Stages[0].Input.Split = stint.SplitFiles },
		"files":               func(r *stint.Request) { r.Program.Files = []stint.ProgramFile{{Name: "a"}} },
		"params, environment": func(r *stint.Request) { r.Params = map[string]string{"a": ""}; r.Environment = r.Params },
		"compression":         func(r *stint.Request) { r.Compression = "none" },
		"partitions":          func(r *stint.Request) { r.Program.Stages[1].Input.Partitions = 9 },
		"form of the output":  func(r *stint.Request) { r.Program.Stages[1].NoOutput = true },
		"partitions, command": func(r *stint.Request) {
			r.Program.Stages[1].Input.Partitions = 9
			r.Program.Stages[1].Action.Native = "sort"
		},
		"partitions, form of the output, stages": func(r *stint.Request) { r.Program.Stages = r.Program.Stages[:1] },
	} {
		l := objects(10, 20)
		before, after := made(t, withReduce(2), l), withReduce(2)
		change(&after)
		if got := Difference(made(t, after, l), before, 1); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// BenchmarkSame compares two plans of a million operations, one of them with an
// object more at the front.
func BenchmarkSame(b *testing.B) {
	var l stint.Listing
	for i := range 1_000_000 {
		l.Objects = append(l.Objects, stint.Object{URL: fmt.Sprintf("file:///data/input/%012d.txt", i), Size: 1000, Version: "1000-1700000000000000000"})
	}
	choice := Choice{SubsetSize: 1000, Exact: true, Partitions: 4}
	before, err := Make(execution, withReduce(4), l, choice)
	if err != nil {
		b.Fatal(err)
	}
	l.Objects = slices.Insert(slices.Clone(l.Objects), 0, stint.Object{URL: "file:///data/input/0", Size: 10})
	now, err := Make(execution, withReduce(4), l, choice)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got := Same(now, before, 0, nil); len(got) != 1 {
			b.Fatal(got)
		}
	}
}

// A combiner reads and writes as the stage does that reads its output: see package
// worker.
func TestHowACombinerReadsAndWritesIsInTheIdentity(t *testing.T) {
	t.Parallel()
	first := func(combine *stint.Action, reads *stint.Streaming) *Plan {
		req := withReduce(2)
		req.Program.Stages[0].Combine, req.Program.Stages[1].Streaming = combine, reads
		return made(t, req, objects(10))
	}
	combine := &stint.Action{Command: []string{"combine"}}
	plain := first(combine, nil)
	commas := first(combine, &stint.Streaming{InputSeparator: ","})
	if plain.Identity(0, 0) == commas.Identity(0, 0) {
		t.Error("a combiner whose separator is another makes the same")
	}
	if d := Difference(commas, plain, 0); d != "streaming" {
		t.Errorf("the difference is %q", d)
	}
	if plain.Identity(0, 0) != first(combine, &stint.Streaming{Mode: stint.StreamLines}).Identity(0, 0) {
		t.Error("what is spelled out makes another operation")
	}
	if first(nil, nil).Identity(0, 0) != first(nil, &stint.Streaming{InputSeparator: ","}).Identity(0, 0) {
		t.Error("how the next stage reads matters to one without a combiner")
	}
}

// Two stages that are partitioned by the same keys may have different numbers of
// partitions: the operation is told the first, whatever the second is.
func TestTheFirstStageThatIsPartitionedByKeysSaysHowManyThereAre(t *testing.T) {
	t.Parallel()
	input := stint.Edge{Kind: stint.FromInput}
	keys := stint.Edge{Kind: stint.Broadcast, From: "keys"}
	by := func(from string, partitions int) stint.Edge {
		return stint.Edge{Kind: stint.Shuffle, From: from, Partitions: partitions, Partitioner: &stint.Partitioner{Kind: stint.RangePartition, From: "keys"}}
	}
	of := func(partitions int) *Plan {
		return made(t, stint.Request{Program: stint.Program{Stages: []stint.Stage{
			stage("keys", input), with(stage("a", input), keys), with(stage("b", input), keys),
			stage("ones", by("a", partitions)), stage("others", by("b", 9)), with(stage("last", stint.Edge{Kind: stint.Gather, From: "ones"}), stint.Edge{Kind: stint.Broadcast, From: "others"}),
		}}}, objects(1))
	}
	if of(4).Identity(0, 0) == of(5).Identity(0, 0) {
		t.Error("it is the same for 4 and 5 partitions")
	}
}
