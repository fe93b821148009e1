package object

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/object/s3test"
)

// ground is where the rules are tried: a folder, or a bucket of a real server.
type ground struct {
	access *Access
	root   string // location
	dir    string // the folder that has what lies there
}

func folderGround(t *testing.T) ground {
	t.Helper()
	dir := t.TempDir()
	return ground{new(Access), dir, dir}
}

// buckets numbers them.
var buckets atomic.Int64

func bucketGround(t *testing.T, server *s3test.Server) ground {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", buckets.Add(1))
	server.Bucket(t, name)
	return ground{&Access{Environment: server.Getenv, Scratch: t.TempDir()}, "s3://" + name, filepath.Join(server.Dir, name)}
}

// write makes a file or an object, as somebody else does.
func (g ground) write(t *testing.T, name, content string) {
	t.Helper()
	if !isBucketLocation(g.root) {
		write(t, filepath.Join(g.dir, name), content)
		return
	}
	p, err := g.access.prefix(g.root)
	check(t, err)
	_, err = p.write(t.Context(), p.at(name), []byte(content), condition{})
	check(t, err)
}

// found returns what lies below a name, without folders.
func (g ground) found(t *testing.T, name string) map[string]string {
	t.Helper()
	out := map[string]string{}
	dir := filepath.Join(g.dir, name)
	if !exists(dir) {
		return out
	}
	for name, content := range files(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		check(t, err)
		if !info.IsDir() && !strings.HasPrefix(name, ".sgwtmp/") {
			out[name] = content
		}
	}
	return out
}

func TestEveryRuleHoldsInFoldersAndInBuckets(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, rule := range map[string]func(t *testing.T, g ground){
		"a commit makes the output and may be repeated":        ruleCommit,
		"what is in the way is refused and left alone":         ruleInTheWay,
		"parts that are not as reported are lost":              ruleLostParts,
		"an output is replaced as a whole":                     ruleOverwrite,
		"an output that lacks something is taken back":         ruleIncomplete,
		"clear leaves nothing":                                 ruleClear,
		"clear leaves a committed output with its mark":        ruleClearEnds,
		"clearing takes back the output of its own turn alone": ruleTakenBack,
		"a commit of an earlier turn changes nothing":          ruleEarlierTurn,
		"what lacks something is taken back by its very turn":  rulePartialKept,
		"others stay out of a begun commit":                    ruleOthersStayOut,
		"of many commits at once one output comes":             ruleManyExecutions,
		"one commit may be called by many":                     ruleManyCalls,
		"parts are adopted if they are what they were":         ruleAdopt,
		"an altered output is found out":                       ruleAltered,
		"storage keeps what is put":                            ruleStorage,
		"of many that create a key one succeeds":               ruleCreate,
		"storage that is gone is away":                         ruleAway,
		"what is stored can be read anywhere":                  ruleStored,
		"lists name every object once, in order":               ruleList,
		"lines are counted":                                    ruleLines,
		"an input and an output that hold each other":          ruleApart,
		"a range is read as long as the object is what it was": ruleRange,
		"one execution's names do not depend on another's":     ruleStaging,
	} {
		t.Run(name+"/folder", func(t *testing.T) { t.Parallel(); rule(t, folderGround(t)) })
		t.Run(name+"/bucket", func(t *testing.T) { t.Parallel(); rule(t, bucketGround(t, server)) })
	}
}

// probed is what became of a probe, whether it made anything or not.
func probed(_ bool, err error) error { return err }

// stage stages parts; the content of operation i is the i-th.
func (g ground) stage(t *testing.T, name string, x stint.ExecutionID, content ...string) []stint.Part {
	t.Helper()
	check(t, probed(g.access.Probe(t.Context(), g.root+"/"+name, x, true)))
	var parts []stint.Part
	for i, c := range content {
		parts = append(parts, g.stageOne(t, name, x, uint32(i), fmt.Sprintf("op-%d-1", i), c))
	}
	return parts
}

func (g ground) stageOne(t *testing.T, name string, x stint.ExecutionID, op uint32, part, content string) stint.Part {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "part-")
	check(t, err)
	defer f.Close() //nolint:errcheck // only a copy is used
	_, err = f.WriteString(content)
	check(t, err)
	check(t, g.access.StagePart(t.Context(), g.root+"/"+name, x, part, f))
	return stint.Part{Op: op, Name: part, Bytes: int64(len(content)), Sum: xxh3.HashString(content)}
}

func (g ground) commit(ctx context.Context, name string, x stint.ExecutionID, parts []stint.Part, overwrite bool, missing ...stint.Missing) error {
	_, err := g.access.Commit(ctx, g.root+"/"+name, Turn{Execution: x}, "prog@blake3:00", parts, overwrite, missing...)
	return err
}

// checkIs reports anything but exactly this output.
func (g ground) checkIs(t *testing.T, name string, x stint.ExecutionID, content ...string) {
	t.Helper()
	m, err := g.access.ReadManifest(t.Context(), g.root+"/"+name)
	if err != nil || m.Execution != x {
		t.Fatalf("manifest %+v, %v", m, err)
	}
	got := g.found(t, name)
	want := map[string]string{successName: "", manifestName: got[manifestName]}
	for i, c := range content {
		want[partName(uint32(i))] = c
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("output: (-want +got)\n%s", d)
	}
	var all bytes.Buffer
	if n, err := g.access.Copy(t.Context(), &all, g.root+"/"+name, AllParts); err != nil || all.String() != strings.Join(content, "") || n != m.Bytes {
		t.Fatalf("Copy gave %q, %v", all.String(), err)
	}
}

func wantCode(t *testing.T, err error, code stint.Code, text string) {
	t.Helper()
	if stint.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("got %s %v, want %s %q", stint.CodeOf(err), err, code, text)
	}
}

func ruleCommit(t *testing.T, g ground) {
	t.Helper()
	for i, content := range [][]string{{}, {""}, {"one\n", "", "three\n", strings.Repeat("long\n", 1e6)}} {
		name := fmt.Sprintf("out %d/ü", i)
		parts := g.stage(t, name, ours, content...)
		g.stageOne(t, name, ours, 0, "loser", "of an attempt that was not chosen")
		slices.Reverse(parts)
		for range 2 {
			check(t, g.commit(t.Context(), name, ours, parts, false))
			g.checkIs(t, name, ours, content...)
		}
		if n, done, err := g.access.Committed(t.Context(), g.root+"/"+name, Turn{Execution: ours}, "prog@blake3:00", parts); err != nil || !done || i == 2 && n != 5e6+10 {
			t.Error(n, done, err)
		}
		check(t, g.access.Clear(t.Context(), g.root+"/"+name, Turn{Execution: ours}))
		g.checkIs(t, name, ours, content...)
		other := append(slices.Clone(parts), stint.Part{Op: 99, Name: "more"})
		wantCode(t, g.commit(t.Context(), name, ours, other, true), stint.Conflict, "with other parts")
	}
}

func ruleInTheWay(t *testing.T, g ground) {
	t.Helper()
	check(t, g.commit(t.Context(), "out", theirs, g.stage(t, "out", theirs, "old\n"), false))
	before := g.found(t, "")
	wantCode(t, probed(g.access.Probe(t.Context(), g.root+"/out", ours, false)), stint.Conflict, "exists already")
	if d := cmp.Diff(before, g.found(t, "")); d != "" {
		t.Error(d)
	}
	parts := g.stage(t, "out", ours, "new\n")
	wantCode(t, g.commit(t.Context(), "out", ours, parts, false), stint.Conflict, "exists already")
	check(t, g.access.Clear(t.Context(), g.root+"/out", Turn{Execution: ours}))
	g.checkIs(t, "out", theirs, "old\n")
	write(t, filepath.Join(g.dir, "data", "diary.txt"), "dear diary")
	wantCode(t, probed(g.access.Probe(t.Context(), g.root+"/data", ours, true)), stint.Conflict, "diary.txt")
	wantCode(t, probed(g.access.Probe(t.Context(), g.root+"/data/diary.txt", ours, true)), stint.Invalid, "diary.txt")
	_, err := g.access.ReadManifest(t.Context(), g.root+"/data")
	wantCode(t, err, stint.NotFound, "no output")
}

func ruleLostParts(t *testing.T, g ground) {
	t.Helper()
	parts := g.stage(t, "out", ours, "one\n", "two\n")
	missing, short := slices.Clone(parts), slices.Clone(parts)
	missing[1].Name = "op-7-1"
	short[1].Bytes++
	wantCode(t, g.commit(t.Context(), "out", ours, missing, false), stint.Lost, "is missing")
	wantCode(t, g.commit(t.Context(), "out", ours, short, false), stint.Lost, "has 4 bytes, was written with 5")
	wantCode(t, g.commit(t.Context(), "out", theirs, nil, false), stint.Lost, "nothing is staged")
	var faults []string
	check(t, g.access.CheckStaged(t.Context(), g.root+"/out", ours, []stint.Part{parts[0], missing[1], short[1]}, func(p stint.Part, _ error) { faults = append(faults, p.Name) }))
	if !slices.Equal(faults, []string{"op-7-1", "op-1-1"}) {
		t.Error(faults)
	}
	check(t, g.commit(t.Context(), "out", ours, parts, false))
	g.checkIs(t, "out", ours, "one\n", "two\n")
}

func ruleOverwrite(t *testing.T, g ground) {
	t.Helper()
	check(t, g.commit(t.Context(), "out", theirs, g.stage(t, "out", theirs, "1", "2", "3", "4"), false))
	check(t, g.commit(t.Context(), "out", ours, g.stage(t, "out", ours, "new one", "new two"), true))
	g.checkIs(t, "out", ours, "new one", "new two")
}

func ruleIncomplete(t *testing.T, g ground) {
	t.Helper()
	parts := g.stage(t, "out", ours, "one\n", "three without two\n")
	parts[1].Op = 2
	for range 2 {
		check(t, g.commit(t.Context(), "out", ours, parts, false, lacking("map-1")))
	}
	m, err := g.access.ReadManifest(t.Context(), g.root+"/out")
	if err != nil || len(m.Missing) != 1 || g.found(t, "out")["part-00002"] != "three without two\n" || exists(filepath.Join(g.dir, "out", successName)) {
		t.Fatalf("%+v %v", m, err)
	}
	check(t, probed(g.access.Probe(t.Context(), g.root+"/out", ours, false)))
	wantCode(t, probed(g.access.Probe(t.Context(), g.root+"/out", theirs, false)), stint.Conflict, "exists already")
	parts = []stint.Part{parts[0], g.stageOne(t, "out", ours, 1, "op-b-2", "two\n"), g.stageOne(t, "out", ours, 2, "op-c-2", "three\n")}
	check(t, g.commit(t.Context(), "out", ours, parts, false))
	g.checkIs(t, "out", ours, "one\n", "two\n", "three\n")
}

func ruleClear(t *testing.T, g ground) {
	t.Helper()
	g.stage(t, "out", ours, "one\n", strings.Repeat("two\n", 5e6))
	for range 2 {
		check(t, g.access.Clear(t.Context(), g.root+"/out", Turn{Execution: ours}))
		if left := g.found(t, ""); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	}
	f, err := os.Open(os.DevNull)
	check(t, err)
	defer f.Close() //nolint:errcheck // only read
	if err := g.access.StagePart(t.Context(), g.root+"/out", ours, "late", f); stint.CodeOf(err) != stint.Invalid && stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("staged after it was cleared: %v", err)
	}
	if left := g.found(t, ""); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// ruleClearEnds: an output whose manifest is there is one, so that it gets its mark.
func ruleClearEnds(t *testing.T, g ground) {
	t.Helper()
	in, err := makeIntent(Turn{Execution: ours}, "prog@blake3:00", g.stage(t, "out", ours, "one\n"), nil)
	check(t, err)
	p, err := g.access.placeOf(g.root+"/out", ours)
	check(t, err)
	switch p := p.(type) {
	case outputFolder:
		check(t, p.commit(t.Context(), in, false))
	case outputPrefix:
		check(t, p.begin(t.Context(), in, top{}, begun{}, false))
		b, err := p.readBegun(t.Context())
		check(t, err)
		_, err = p.act(t.Context(), b)
		check(t, err)
	}
	check(t, g.access.Clear(t.Context(), g.root+"/out", Turn{Execution: ours}))
	g.checkIs(t, "out", ours, "one\n")
}

func ruleOthersStayOut(t *testing.T, g ground) {
	t.Helper()
	parts := g.stage(t, "out", ours, "one\n")
	in, err := makeIntent(Turn{Execution: ours}, "prog@blake3:00", parts, nil)
	check(t, err)
	p, err := g.access.placeOf(g.root+"/out", ours)
	check(t, err)
	switch p := p.(type) {
	case outputFolder:
		check(t, p.stageJSON(intentName, in))
	case outputPrefix:
		check(t, p.begin(t.Context(), in, top{}, begun{}, false))
	}
	wantCode(t, g.commit(t.Context(), "out", theirs, g.stage(t, "out", theirs, "x"), true), stint.Conflict, string(ours))
	check(t, g.access.Clear(t.Context(), g.root+"/out", Turn{Execution: theirs}))
	check(t, g.commit(t.Context(), "out", ours, parts, false))
	g.checkIs(t, "out", ours, "one\n")
}

func ruleManyExecutions(t *testing.T, g ground) {
	t.Helper()
	const tries = 4
	errs := make([]error, tries)
	ids := make([]stint.ExecutionID, tries)
	parts := make([][]stint.Part, tries)
	for i := range tries {
		ids[i] = stint.ExecutionID("x-" + strings.Repeat(string(rune('a'+i)), 16))
		parts[i] = g.stage(t, "out", ids[i], fmt.Sprint("first of ", i), fmt.Sprint("second of ", i))
	}
	var wg sync.WaitGroup
	for i := range tries {
		wg.Go(func() { errs[i] = g.commit(t.Context(), "out", ids[i], parts[i], false) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case stint.CodeOf(err) != stint.Conflict:
			t.Errorf("%d: %v", i, err)
		}
	}
	if winner < 0 {
		t.Fatal("none has committed")
	}
	for i, x := range ids {
		if i != winner {
			check(t, g.access.Clear(t.Context(), g.root+"/out", Turn{Execution: x}))
		}
	}
	g.checkIs(t, "out", ids[winner], fmt.Sprint("first of ", winner), fmt.Sprint("second of ", winner))
}

func ruleManyCalls(t *testing.T, g ground) {
	t.Helper()
	check(t, g.commit(t.Context(), "out", theirs, g.stage(t, "out", theirs, "1", "2", "3", "4"), false))
	content := []string{"one", "two", "three"}
	parts := g.stage(t, "out", ours, content...)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := g.commit(t.Context(), "out", ours, parts, true); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	check(t, g.commit(t.Context(), "out", ours, parts, true))
	g.checkIs(t, "out", ours, content...)
}

func ruleAdopt(t *testing.T, g ground) {
	t.Helper()
	parts := g.stage(t, "old", theirs, "one\n", "two\n")
	check(t, g.commit(t.Context(), "old", theirs, parts, false))
	check(t, probed(g.access.Probe(t.Context(), g.root+"/new", ours, false)))
	kept, err := g.access.Adopt(t.Context(), g.root+"/old", g.root+"/new", ours, parts[1])
	check(t, err)
	kept.Op = 0
	check(t, g.commit(t.Context(), "new", ours, []stint.Part{kept}, false))
	g.checkIs(t, "new", ours, "two\n")
	check(t, probed(g.access.Probe(t.Context(), g.root+"/third", ours, false)))
	altered := parts[0]
	altered.Sum++
	_, err = g.access.Adopt(t.Context(), g.root+"/old", g.root+"/third", ours, altered)
	wantCode(t, err, stint.Lost, "was written with")
	altered.Bytes++
	_, err = g.access.Adopt(t.Context(), g.root+"/old", g.root+"/third", ours, altered)
	wantCode(t, err, stint.Lost, "has 4 bytes")
	altered.Op = 5
	_, err = g.access.Adopt(t.Context(), g.root+"/old", g.root+"/third", ours, altered)
	wantCode(t, err, stint.NotFound, "not there")
}

func ruleAltered(t *testing.T, g ground) {
	t.Helper()
	check(t, g.commit(t.Context(), "out", ours, g.stage(t, "out", ours, "one\n", "two\n"), false))
	var b bytes.Buffer
	_, err := g.access.Copy(t.Context(), &b, g.root+"/out", 1)
	if check(t, err); b.String() != "two\n" {
		t.Errorf("part 1 is %q", b.String())
	}
	_, err = g.access.Copy(t.Context(), &b, g.root+"/out", 2)
	wantCode(t, err, stint.NotFound, "has 2 parts")
	write(t, filepath.Join(g.dir, "out", "part-00001"), "TWO\n")
	_, err = g.access.Copy(t.Context(), io.Discard, g.root+"/out", AllParts)
	wantCode(t, err, stint.Invalid, "was altered")
	write(t, filepath.Join(g.dir, "out", "part-00001"), "longer\n")
	_, err = g.access.Copy(t.Context(), io.Discard, g.root+"/out", AllParts)
	wantCode(t, err, stint.Invalid, "has 7 bytes")
	check(t, os.Remove(filepath.Join(g.dir, "out", "part-00001")))
	_, err = g.access.Copy(t.Context(), io.Discard, g.root+"/out", AllParts)
	wantCode(t, err, stint.Invalid, "is missing")
	write(t, filepath.Join(g.dir, "out", manifestName), `{"format": 1, "exec`)
	_, err = g.access.ReadManifest(t.Context(), g.root+"/out")
	wantCode(t, err, stint.Invalid, "decode manifest")
}

func ruleStaging(t *testing.T, g ground) {
	t.Helper()
	for _, want := range []bool{true, false} {
		if made, err := g.access.Probe(t.Context(), g.root+"/out", ours, false); err != nil || made != want {
			t.Errorf("made: %t, %v", made, err)
		}
	}
	mine, other := g.stage(t, "out", ours, "mine"), g.stage(t, "out", theirs, "theirs")
	check(t, g.access.Clear(t.Context(), g.root+"/out", Turn{Execution: theirs}))
	check(t, g.commit(t.Context(), "out", ours, mine, false))
	g.checkIs(t, "out", ours, "mine")
	wantCode(t, g.commit(t.Context(), "out", theirs, other, true), stint.Lost, "nothing is staged")
}
