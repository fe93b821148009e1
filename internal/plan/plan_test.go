package plan

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stint"
)

var update = flag.Bool("update", false, "write what the scripts print into testdata")

const execution = stint.ExecutionID("x-aaaaaaaaaaaaaaaa")

func stage(name string, edge stint.Edge) stint.Stage {
	return stint.Stage{Name: name, Action: stint.Action{Native: "identity"}, Input: edge}
}

func mapOnly() stint.Request {
	return stint.Request{Output: "file:///out", Program: stint.Program{Name: "p", Stages: []stint.Stage{
		stage("map", stint.Edge{Kind: stint.FromInput}),
	}}}
}

func withReduce(partitions int) stint.Request {
	req := mapOnly()
	req.Program.Stages = append(req.Program.Stages, stage("reduce", stint.Edge{Kind: stint.Shuffle, From: "map", Partitions: partitions}))
	return req
}

func made(t *testing.T, req stint.Request, l stint.Listing) *Plan {
	t.Helper()
	c, err := Choose(req, l)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Make(execution, req, l, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func objects(sizes ...int64) stint.Listing {
	var l stint.Listing
	for i, size := range sizes {
		l.Objects = append(l.Objects, stint.Object{URL: fmt.Sprintf("file:///in/%06d", i), Size: size, Version: "v"})
	}
	return l
}

// TestScripts runs every script of testdata: lines of "set" and "plan" commands;
// what each prints stands below it, indented by a tab.
func TestScripts(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got := runScript(t, string(want))
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
			t.Errorf("%s (-want +got):\n%s", path, d)
		}
	}
}

// runScript understands "plan" with objects=SIZE,SIZExCOUNT, range=FIRST..COUNT,
// subset=SIZE, split=files, reduce, reduce=N, no-output.
func runScript(t *testing.T, text string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "\t") {
			continue
		}
		out.WriteString(line)
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "plan" {
			continue
		}
		req, listing := mapOnly(), stint.Listing{}
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "objects":
				listing = objects(sizes(t, value)...)
			case "range":
				first, count, _ := strings.Cut(value, "..")
				listing.Range = &stint.Values{First: size(t, first), Count: size(t, count)}
			case "subset":
				req.SubsetSize = size(t, value)
			case "split":
				req.Program.Stages[0].Input.Split = stint.Split(value)
			case "reduce":
				n := 0
				if value != "" {
					n = int(size(t, value))
				}
				req.Program.Stages = append(req.Program.Stages, stage("reduce", stint.Edge{Kind: stint.Shuffle, From: req.Program.Stages[0].Name, Partitions: n}))
			case "no-output":
				req.Program.Stages[0].NoOutput = true
			default:
				t.Fatalf("%q", word)
			}
		}
		out.WriteString(describe(made(t, req, listing)))
	}
	return out.String()
}

func sizes(t *testing.T, text string) (list []int64) {
	t.Helper()
	for one := range strings.SplitSeq(text, ",") {
		each, times, repeated := strings.Cut(one, "x")
		n := 1
		if repeated {
			n, _ = strconv.Atoi(times)
		}
		list = append(list, slices.Repeat([]int64{size(t, each)}, n)...)
	}
	return list
}

func size(t *testing.T, text string) int64 {
	t.Helper()
	n, err := stint.ParseSize(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func describe(p *Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tsubset %d exact=%v partitions %d\n", p.Choice.SubsetSize, p.Choice.Exact, p.Choice.Partitions)
	for _, st := range p.Spec.Stages {
		fmt.Fprintf(&b, "\tstage %s: %d operations, %d partitions, sorted=%v part=%v gather=%v\n", st.Name, st.Operations, st.Partitions, st.Sorted, st.Part, st.Gather)
	}
	n := p.Spec.Stages[0].Operations
	for op := range min(n, 12) {
		fmt.Fprintf(&b, "\t%d: %s\n", op, subsetText(p.Subset(0, op)))
	}
	if n > 12 {
		fmt.Fprintf(&b, "\t… %d: %s\n", n-1, subsetText(p.Subset(0, n-1)))
	}
	return b.String()
}

func subsetText(s stint.Subset) string {
	if s.Values != nil {
		return fmt.Sprintf("values %d…%d", s.Values.First, s.Values.First+s.Values.Count-1)
	}
	words := make([]string, 0, len(s.Pieces))
	for _, p := range s.Pieces {
		name := strings.TrimLeft(strings.TrimPrefix(p.Object.URL, "file:///in/"), "0")
		if p.Offset == 0 && p.Length == p.Object.Size {
			words = append(words, "#"+name)
		} else {
			words = append(words, fmt.Sprintf("#%s[%d+%d]", name, p.Offset, p.Length))
		}
	}
	return strings.Join(words, " ")
}

func TestTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	values := func(n int64) stint.Listing { return stint.Listing{Range: &stint.Values{Count: n}} }
	for _, c := range []struct {
		name    string
		req     stint.Request
		listing stint.Listing
		choice  Choice
		says    string
	}{
		{"operations of a range", withReduce(1), values(MaxOperations + 1), Choice{SubsetSize: 1}, "--subset-size"},
		{"operations of parts", mapOnly(), values(MaxOperations + 1), Choice{SubsetSize: 1}, "--subset-size"},
		{"operations of objects", withReduce(1), objects(MaxOperations + 1), Choice{SubsetSize: 1, Exact: true}, "--subset-size"},
		{"pieces", withReduce(1000), values(1_000_000), Choice{SubsetSize: 1}, "pieces"},
	} {
		_, err := Make(execution, c.req, c.listing, c.choice)
		if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want one that says %q", c.name, err, c.says)
		}
	}
}

func TestAChoiceThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	for name, req := range map[string]stint.Request{
		"a negative subset":   {SubsetSize: -1},
		"negative partitions": {Partitions: -1},
		"too many partitions": {Partitions: MaxPartitions + 1},
	} {
		if _, err := Choose(req, objects(1)); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEqualProgramsHaveEqualDigests(t *testing.T) {
	t.Parallel()
	one, other, renamed := withReduce(3), withReduce(4), withReduce(3)
	renamed.Program.Name = "another"
	a, b, c := made(t, one, objects(9)), made(t, other, objects(9)), made(t, renamed, objects(8))
	if a.ProgramDigest() != c.ProgramDigest() || a.ProgramDigest() == b.ProgramDigest() {
		t.Errorf("digests %s, %s and, under another name, %s", a.ProgramDigest(), b.ProgramDigest(), c.ProgramDigest())
	}
}

func TestAPlanIsTheSameWhenItIsMadeAgain(t *testing.T) {
	t.Parallel()
	l := objects(1, 70<<20, 3, 0, 200, 5<<20)
	a, b := made(t, mapOnly(), l), made(t, mapOnly(), l)
	if d := cmp.Diff(a, b, cmp.AllowUnexported(Plan{}, cut{}, graph{}), cmpopts.IgnoreUnexported(stint.Range{})); d != "" {
		t.Error(d)
	}
}

func TestWhatAnOperationOfALaterStageReads(t *testing.T) {
	t.Parallel()
	p := made(t, withReduce(3), objects(10))
	if got := p.Reads(1, 0, 2); got.From != 0 || got.To != p.Spec.Stages[0].Operations {
		t.Errorf("a shuffle reads %v", got)
	}
	req := mapOnly()
	req.SubsetSize = 10 << 20
	g := made(t, req, objects(PartBytes+1, 5))
	if got := g.Reads(1, 0, 0); got.From != 0 || got.To != 7 {
		t.Errorf("the first part gathers %v", got)
	}
	if got := g.Reads(1, 0, 1); got.From != 7 || got.To != 8 {
		t.Errorf("the second part gathers %v", got)
	}
}

// TestOneFileMovesFewCuts adds a file to a listing, takes one out, or changes the
// size of one: its own operation and those beside it are new, and no others.
func TestOneFileMovesFewCuts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		req    stint.Request
		files  int
		most   int64 // size of a file
		subset int64
		fresh  int // at most, of one change
	}{
		{"small files", withReduce(4), 3000, 20 << 10, 256 << 10, 3},
		{"tiny files", withReduce(4), 3000, 100, 1 << 20, 3},
		{"files of some size", withReduce(4), 1000, 100 << 10, 256 << 10, 3},
		{"files that are not packed", withReduce(4), 300, 600 << 10, 256 << 10, 3},
		{"parts", mapOnly(), 500, 20 << 20, 64 << 20, 3},
		{"packs in parts, where two borders may move", mapOnly(), 500, 3 << 20, 8 << 20, 6},
	} {
		rng := rand.New(rand.NewPCG(1, 2))
		before, sum := randomFiles(rng, c.files, c.most), 0
		known := subsets(planned(t, c.req, before, c.subset))
		for range 100 {
			fresh := 0
			for s := range subsets(planned(t, c.req, oneChanged(rng, before, c.most), c.subset)) {
				if !known[s] {
					fresh++
				}
			}
			if sum += fresh; fresh > c.fresh {
				t.Errorf("%s: one changed %d of %d subsets", c.name, fresh, len(known))
			}
		}
		if sum > 50*c.fresh {
			t.Errorf("%s: each changed %.2f of %d subsets", c.name, float64(sum)/100, len(known))
		}
	}
}

func planned(t *testing.T, req stint.Request, l stint.Listing, subset int64) *Plan {
	t.Helper()
	p, err := Make(execution, req, l, Choice{SubsetSize: subset, Partitions: 4})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func randomFiles(rng *rand.Rand, n int, most int64) (l stint.Listing) {
	for i := range n {
		l.Objects = append(l.Objects, stint.Object{URL: fmt.Sprintf("file:///in/%06d", 10*i), Size: rng.Int64N(most), Version: "v"})
	}
	return l
}

// oneChanged returns a listing in which one file is new, missing, or of another size.
func oneChanged(rng *rand.Rand, l stint.Listing, most int64) stint.Listing {
	o := stint.Object{URL: fmt.Sprintf("file:///in/%06d", 10*rng.IntN(len(l.Objects))+rng.IntN(2)*5), Size: rng.Int64N(most), Version: "w"}
	at, found := slices.BinarySearchFunc(l.Objects, o.URL, func(o stint.Object, url string) int { return strings.Compare(o.URL, url) })
	switch l.Objects = slices.Clone(l.Objects); {
	case !found:
		l.Objects = slices.Insert(l.Objects, at, o)
	case rng.IntN(2) == 0:
		l.Objects = slices.Delete(l.Objects, at, at+1)
	default:
		l.Objects[at] = o
	}
	return l
}

func subsets(p *Plan) map[string]bool {
	out := make(map[string]bool)
	for op := range p.Spec.Stages[0].Operations {
		out[subsetText(p.Subset(0, op))] = true
	}
	return out
}

// FuzzPlan checks for any listing and any two subset sizes that every byte is in
// exactly one operation and that the parts are the same.
func FuzzPlan(f *testing.F) {
	f.Add(uint64(1), int64(0), int64(1<<20), uint8(0))
	f.Add(uint64(2), int64(1000), int64(70<<20), uint8(1))
	f.Add(uint64(3), int64(64<<20), int64(3<<20), uint8(2))
	f.Add(uint64(4), int64(0), int64(777777), uint8(3))
	f.Add(uint64(5), int64(40<<20), int64(0), uint8(4))
	f.Fuzz(func(t *testing.T, seed uint64, one, other int64, kind uint8) {
		rng := rand.New(rand.NewPCG(seed, 3))
		listing := randomListing(rng)
		req := mapOnly()
		switch kind % 5 {
		case 1:
			req.Program.Stages[0].Input.Split = stint.SplitFiles
		case 2:
			req = withReduce(0)
		case 3:
			listing = stint.Listing{Range: &stint.Values{First: rng.Int64N(100) - 50, Count: rng.Int64N(500_000)}}
		case 4:
			req.Program.Stages = append(req.Program.Stages, stage("next", oneToOneOf("map")), stage("last", oneToOneOf("next")))
		}
		var parts []string
		for _, subset := range []int64{one, other} {
			if subset != 0 {
				subset = max(subset&(1<<40-1), totalSize(listing)/5000+1)
			}
			req.SubsetSize = subset
			p := made(t, req, listing)
			checkCover(t, p)
			parts = append(parts, partsText(p))
		}
		if parts[0] != parts[1] {
			t.Errorf("the parts depend on the subset size:\n%s\n%s", parts[0], parts[1])
		}
	})
}

func randomListing(rng *rand.Rand) stint.Listing {
	var list []int64
	for range rng.IntN(60) {
		list = append(list, []int64{0, rng.Int64N(1000), rng.Int64N(1 << 20), rng.Int64N(300 << 20), PartBytes, PartBytes + 1}[rng.IntN(6)])
	}
	for range rng.IntN(400) {
		list = append(list, rng.Int64N(1<<20))
	}
	return objects(list...)
}

// checkCover checks that the subsets, in the order of the operations, are the
// listing, cut.
func checkCover(t *testing.T, p *Plan) {
	t.Helper()
	first := p.Spec.Stages[0]
	if r := p.Listing.Range; r != nil {
		at := r.First
		for op := range first.Operations {
			v := p.Subset(0, op).Values
			if v.First != at || v.Count < 1 {
				t.Fatalf("operation %d has %d values from %d; expected from %d", op, v.Count, v.First, at)
			}
			at += v.Count
		}
		if at != r.First+r.Count {
			t.Fatalf("the operations end at %d of %+v", at, r)
		}
		return
	}
	wholes := first.Input.Split == stint.SplitFiles
	object, offset := 0, int64(0)
	for op := range first.Operations {
		s := p.Subset(0, op)
		if len(s.Pieces) == 0 || len(s.Pieces) > MaxPackedFiles {
			t.Fatalf("operation %d has %d pieces", op, len(s.Pieces))
		}
		if len(s.Pieces) > 1 && (wholes || p.Choice.Exact) {
			t.Fatalf("operation %d packs %d objects", op, len(s.Pieces))
		}
		for _, piece := range s.Pieces {
			for !wholes && object < len(p.Listing.Objects) && p.Listing.Objects[object].Size == 0 {
				object++
			}
			o := p.Listing.Objects[object]
			if piece.Object.URL != o.URL || piece.Offset != offset || piece.Length > o.Size-offset || piece.Length == 0 && o.Size > 0 || wholes && piece.Length != o.Size {
				t.Fatalf("operation %d reads %s at %d, %d bytes; expected %s at %d", op, piece.Object.URL, piece.Offset, piece.Length, o.URL, offset)
			}
			if offset += piece.Length; offset == o.Size {
				object, offset = object+1, 0
			}
		}
		if !wholes && s.Bytes() > max(p.Choice.SubsetSize, 0) {
			t.Fatalf("operation %d reads %d bytes; a subset has %d", op, s.Bytes(), p.Choice.SubsetSize)
		}
	}
	for ; !wholes && object < len(p.Listing.Objects) && p.Listing.Objects[object].Size == 0; object++ {
	}
	if object != len(p.Listing.Objects) {
		t.Fatalf("the operations end before object %d of %d", object, len(p.Listing.Objects))
	}
}

// partsText says which bytes are in which part, or how many partitions there are.
func partsText(p *Plan) string {
	last := p.Spec.Stages[len(p.Spec.Stages)-1]
	if last.Input.Kind == stint.Shuffle {
		return fmt.Sprint(last.Operations)
	}
	var b strings.Builder
	for part := range last.Operations {
		reads := stint.Range{From: part, To: part + 1}
		if last.Gather != nil {
			reads = p.Reads(len(p.Spec.Stages)-1, 0, part) // numbered as in the first
		}
		from, to := p.Subset(0, reads.From), p.Subset(0, reads.To-1)
		fmt.Fprintf(&b, "%s…%s\n", edge(from, false), edge(to, true))
	}
	return b.String()
}

func edge(s stint.Subset, end bool) string {
	switch {
	case s.Values != nil && end:
		return fmt.Sprint(s.Values.First + s.Values.Count)
	case s.Values != nil:
		return fmt.Sprint(s.Values.First)
	case end:
		last := s.Pieces[len(s.Pieces)-1]
		return fmt.Sprintf("%s:%d", last.Object.URL, last.Offset+last.Length)
	}
	return fmt.Sprintf("%s:%d", s.Pieces[0].Object.URL, s.Pieces[0].Offset)
}
