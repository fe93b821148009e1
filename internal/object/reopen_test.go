package object

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/xxh3"

	"stint"
)

// stagePart stages one more part.
func stagePart(t *testing.T, dir, name string, op uint32, content string) stint.Part {
	t.Helper()
	f, err := CreatePart(dir, ours, name)
	if err == nil {
		_, err = f.WriteString(content)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return stint.Part{Op: op, Name: name, Bytes: int64(len(content)), Sum: xxh3.HashString(content)}
}

func lacking(op stint.OperationID) stint.Missing {
	return stint.Missing{Operation: op, Error: stint.Errorf(stint.Failed, "exit status 1")}
}

// incomplete commits parts 0 and 2 of three, the latter of what it had without
// the operation that failed. It returns the parts of the retry: the second is
// new, the third is another.
func incomplete(t *testing.T, dir string) []stint.Part {
	t.Helper()
	parts := stageParts(t, dir, ours, "one\n", "three without two\n")
	parts[0].Op = 2 // they come in reverse
	n, err := new(Access).Commit(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", parts, false, lacking("map-1"))
	if err != nil || n != 22 {
		t.Fatal(n, err)
	}
	return []stint.Part{parts[1], stagePart(t, dir, "op-b-2", 1, "two\n"), stagePart(t, dir, "op-c-2", 2, "three\n")}
}

func TestAnUnfinishedCommitIsNotInTheWayOfItsOwnExecution(t *testing.T) {
	t.Parallel()
	lacks, begun := t.TempDir(), t.TempDir()
	incomplete(t, lacks)
	parts := stageParts(t, begun, ours, "one\n", "two\n")
	in, err := makeIntent(Turn{Execution: ours}, "prog@blake3:00", parts, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{filepath.Join(begun, stagingName, string(ours), intentName): b, filepath.Join(begun, "part-00000"): []byte("one\n")} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{lacks, begun} {
		if err := probed(new(Access).Probe(t.Context(), dir, ours, false)); err != nil {
			t.Error(err)
		}
		if err := probed(new(Access).Probe(t.Context(), dir, theirs, false)); stint.CodeOf(err) != stint.Conflict {
			t.Errorf("another execution: %v", err)
		}
	}
}

func TestAnOutputThatIsWithoutSomethingSaysSoAndIsNoSuccess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	incomplete(t, dir)
	for range 2 {
		m, err := new(Access).ReadManifest(t.Context(), dir)
		if err != nil || len(m.Missing) != 1 || m.Missing[0] != (ManifestMissing{Operation: "map-1", Reason: "exit status 1"}) {
			t.Fatalf("%+v %v", m, err)
		}
		if exists(filepath.Join(dir, successName)) || exists(filepath.Join(dir, stagingName, string(ours), intentName)) {
			t.Error(files(t, dir))
		}
		var all bytes.Buffer
		if _, err := new(Access).Copy(t.Context(), &all, dir, AllParts); err != nil || all.String() != "one\nthree without two\n" {
			t.Error(all.String(), err)
		}
		// Another execution may come and go.
		if err := os.MkdirAll(filepath.Join(dir, stagingName, string(theirs)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := new(Access).Clear(t.Context(), dir, Turn{Execution: theirs}); err != nil {
			t.Fatal(err)
		}
	}
	if err := new(Access).Clear(t.Context(), dir, Turn{Execution: ours}); err != nil {
		t.Fatal(err)
	}
	if exists(filepath.Join(dir, stagingName)) || !exists(filepath.Join(dir, manifestName)) {
		t.Error(files(t, dir))
	}
}

func TestACommitWithoutSomethingIsRepeatable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parts := stageParts(t, dir, ours, "one\n")
	for range 3 {
		if n, err := new(Access).Commit(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", parts, false, lacking("map-1")); n != 4 || err != nil {
			t.Fatal(n, err)
		}
	}
}

func TestAfterARetryTheWholeOutputReplacesTheOneWithoutSomething(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parts := incomplete(t, dir)
	for range 2 {
		mustCommit(t, dir, ours, parts, false)
		checkOutput(t, dir, ours, "one\n", "two\n", "three\n")
	}
}

func TestARetryThatIsNotWholeLeavesTheOutputAsItIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parts := incomplete(t, dir)
	parts[1].Name = "op-b-3" // not staged
	before := files(t, dir)
	if _, err := new(Access).Commit(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", parts, true); stint.CodeOf(err) != stint.Lost {
		t.Error(err)
	}
	if d := cmp.Diff(before, files(t, dir)); d != "" {
		t.Error(d)
	}
}

// eachDeathOfARetry calls f for every step at which the commit of a retry can die.
func eachDeathOfARetry(t *testing.T, f func(t *testing.T, dir string, parts []stint.Part)) {
	t.Helper()
	for n := 0; ; n++ {
		dir := filepath.Join(t.TempDir(), "out")
		parts := incomplete(t, dir)
		left := n
		_, err := new(Access).Commit(dying{t.Context(), &left}, dir, Turn{Execution: ours}, "prog@blake3:00", parts, false)
		if err != nil && stint.CodeOf(err) != stint.Canceled {
			t.Fatalf("step %d: %v", n, err)
		}
		f(t, dir, parts)
		if err == nil {
			if n < 15 {
				t.Errorf("only %d steps", n)
			}
			return
		}
	}
}

func TestARetryGoesOnAfterDeathAtAnyStep(t *testing.T) {
	t.Parallel()
	eachDeathOfARetry(t, func(t *testing.T, dir string, parts []stint.Part) {
		t.Helper()
		if m, err := new(Access).ReadManifest(t.Context(), dir); err == nil {
			want := "one\ntwo\nthree\n"
			if m.isIncomplete() {
				want = "one\nthree without two\n"
			}
			var all bytes.Buffer
			if _, err := new(Access).Copy(t.Context(), &all, dir, AllParts); err != nil || all.String() != want {
				t.Errorf("an output that exists gives %q, %v", all.String(), err)
			}
		}
		mustCommit(t, dir, ours, parts, false)
		checkOutput(t, dir, ours, "one\n", "two\n", "three\n")
	})
}

func TestClearAfterARetryDiedLeavesAWholeOutputOrNone(t *testing.T) {
	t.Parallel()
	eachDeathOfARetry(t, func(t *testing.T, dir string, _ []stint.Part) {
		t.Helper()
		_, before := new(Access).ReadManifest(t.Context(), dir)
		if err := new(Access).Clear(t.Context(), dir, Turn{Execution: ours}); err != nil {
			t.Fatal(err)
		}
		if before != nil {
			if exists(dir) {
				t.Errorf("left %v", files(t, dir))
			}
			return
		}
		var all bytes.Buffer
		if _, err := new(Access).Copy(t.Context(), &all, dir, AllParts); err != nil || !strings.HasPrefix(all.String(), "one\n") {
			t.Error(all.String(), err)
		}
	})
}

func TestStagedPartsThatAreNotWhatTheyWereAreNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parts := stageParts(t, dir, ours, "one\n", "two\n", "three\n")
	var faults []string
	look := func(ctx context.Context, location string) error {
		faults = nil
		return new(Access).CheckStaged(ctx, location, ours, parts, func(p stint.Part, err error) { faults = append(faults, p.Name+": "+err.Error()) })
	}
	if err := look(t.Context(), dir); err != nil || faults != nil {
		t.Error(faults, err)
	}
	staging := filepath.Join(dir, stagingName, string(ours))
	write(t, filepath.Join(staging, parts[0].Name), "cut")
	if err := os.Remove(filepath.Join(staging, parts[2].Name)); err != nil {
		t.Fatal(err)
	}
	err := look(t.Context(), dir)
	if err != nil || len(faults) != 2 || !strings.HasPrefix(faults[0], parts[0].Name) || !strings.HasPrefix(faults[1], parts[2].Name) || !strings.HasSuffix(faults[1], parts[2].Name+`" is missing`) {
		t.Error(faults, err)
	}
	if err := look(t.Context(), "s3://x"); stint.CodeOf(err) != stint.Invalid {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := look(ctx, dir); stint.CodeOf(err) != stint.Canceled {
		t.Error(err)
	}
}

func TestAPartIsAdoptedIfItStillIsWhatItWas(t *testing.T) {
	t.Parallel()
	from, dir := t.TempDir(), t.TempDir()
	parts := stageParts(t, from, theirs, "one\n", "two\n", "three\n")
	mustCommit(t, from, theirs, parts, false)
	write(t, filepath.Join(from, partName(1)), "TWO\n")
	if err := os.Remove(filepath.Join(from, partName(2))); err != nil {
		t.Fatal(err)
	}
	if err := probed(new(Access).Probe(t.Context(), dir, ours, false)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // also again
		part, err := new(Access).Adopt(t.Context(), from, dir, ours, stint.Part{Op: 0, Bytes: 4, Sum: xxh3.HashString("one\n")})
		if err != nil || part.Op != 0 || files(t, dir)[filepath.Join(stagingName, string(ours), part.Name)] != "one\n" {
			t.Fatal(part, err)
		}
	}
	for op, want := range map[uint32]stint.Code{1: stint.Lost, 2: stint.NotFound} {
		content := map[uint32]string{1: "two\n", 2: "three\n"}[op]
		_, err := new(Access).Adopt(t.Context(), from, dir, ours, stint.Part{Op: op, Bytes: int64(len(content)), Sum: xxh3.HashString(content)})
		if stint.CodeOf(err) != want {
			t.Errorf("part %d: %v", op, err)
		}
	}
	if n := len(files(t, filepath.Join(dir, stagingName, string(ours)))); n != 1 {
		t.Errorf("%d staged, want 1: %v", n, files(t, dir))
	}
	mustCommit(t, dir, ours, []stint.Part{{Op: 0, Name: "part-00000.adopted", Bytes: 4, Sum: xxh3.HashString("one\n")}}, false)
	checkOutput(t, dir, ours, "one\n")
}
