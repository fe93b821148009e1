package object

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/xxh3"

	"stint"
)

const (
	ours   = stint.ExecutionID("x-aaaaaaaaaaaaaaaa")
	theirs = stint.ExecutionID("x-bbbbbbbbbbbbbbbb")
)

// files returns all below a folder, by relative path; folders have the content "/".
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if e.IsDir() {
			out[rel] = "/"
			return nil
		}
		b, err := os.ReadFile(p) //nolint:gosec // test data
		out[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil { //nolint:gosec // test data
		t.Fatal(err)
	}
}

// stageParts writes staged parts as attempts do; the content of operation i is the i-th.
func stageParts(t *testing.T, dir string, x stint.ExecutionID, content ...string) []stint.Part {
	t.Helper()
	if err := probed(new(Access).Probe(t.Context(), dir, x, true)); err != nil {
		t.Fatal(err)
	}
	var parts []stint.Part
	for i, c := range content {
		p := stint.Part{Op: uint32(i), Name: "op-" + string(rune('a'+i)) + "-1", Bytes: int64(len(c)), Sum: xxh3.HashString(c)}
		f, err := CreatePart(dir, x, p.Name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(c); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	slices.Reverse(parts) // any order will do
	return parts
}

func mustCommit(t *testing.T, dir string, x stint.ExecutionID, parts []stint.Part, overwrite bool) {
	t.Helper()
	var want int64
	for _, p := range parts {
		want += p.Bytes
	}
	got, err := new(Access).Commit(t.Context(), dir, Turn{Execution: x}, "prog@blake3:00", parts, overwrite)
	if err != nil || got != want {
		t.Fatalf("commit: %d bytes, %v, want %d", got, err, want)
	}
}

// checkOutput reports anything but exactly this output in the folder.
func checkOutput(t *testing.T, dir string, x stint.ExecutionID, content ...string) {
	t.Helper()
	got := files(t, dir)
	m, err := new(Access).ReadManifest(t.Context(), dir)
	if err != nil || m.Execution != x || m.Program != "prog@blake3:00" {
		t.Fatalf("manifest %+v, %v", m, err)
	}
	want := map[string]string{successName: "", manifestName: got[manifestName]}
	for i, c := range content {
		want[partName(uint32(i))] = c
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("output: (-want +got)\n%s", d)
	}
	var all bytes.Buffer
	if n, err := new(Access).Copy(t.Context(), &all, dir, AllParts); err != nil || all.String() != strings.Join(content, "") || n != m.Bytes {
		t.Fatalf("Copy gave %q, %v", all.String(), err)
	}
}

func TestCommitMakesTheOutputAndIsRepeatable(t *testing.T) {
	t.Parallel()
	for _, content := range [][]string{{}, {""}, {"one\n", "", "three\n"}} {
		dir := filepath.Join(t.TempDir(), "new", "out")
		parts := stageParts(t, dir, ours, content...)
		loser, err := CreatePart(dir, ours, "op-a-2") // of an attempt that was not chosen
		if err != nil {
			t.Fatal(err)
		}
		defer loser.Close() //nolint:errcheck // not written
		for range 3 {
			mustCommit(t, dir, ours, parts, false)
			checkOutput(t, dir, ours, content...)
		}
		if err := new(Access).Clear(t.Context(), dir, Turn{Execution: ours}); err != nil {
			t.Fatal(err)
		}
		checkOutput(t, dir, ours, content...)
	}
}

func TestManifestIsAsDocumented(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustCommit(t, dir, ours, stageParts(t, dir, ours, "a\n"), false)
	const want = `{
 "format": 1,
 "execution": "x-aaaaaaaaaaaaaaaa",
 "program": "prog@blake3:00",
 "parts": [
  {
   "name": "part-00000",
   "bytes": 2,
   "xxh3": "e841f27363849a18"
  }
 ],
 "bytes": 2
}
`
	if d := cmp.Diff(want, files(t, dir)[manifestName]); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// dying is a context that is canceled once it has been asked a number of times:
// a commit under it stops between any two of its steps, as if it had been killed.
type dying struct {
	context.Context
	left *int
}

func (d dying) Err() error {
	if *d.left--; *d.left < 0 {
		return context.Canceled
	}
	return nil
}

// dieInCommit commits into a fresh folder until the n-th step; it reports whether the commit ended before.
//
//nolint:revive // overwrite is what Commit takes
func dieInCommit(t *testing.T, n int, overwrite bool) (dir string, parts []stint.Part, ended bool) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "out")
	if overwrite {
		mustCommit(t, dir, theirs, stageParts(t, dir, theirs, "old one\n", "old two\n", "old three\n", "old four\n"), false)
	}
	parts = stageParts(t, dir, ours, "one\n", "", "three\n")
	_, err := new(Access).Commit(dying{t.Context(), &n}, dir, Turn{Execution: ours}, "prog@blake3:00", parts, overwrite)
	if err != nil && stint.CodeOf(err) != stint.Canceled {
		t.Fatalf("step %d: %v", n, err)
	}
	return dir, parts, err == nil
}

// eachDeath calls f for every step at which a commit, with overwrite or without, can die.
func eachDeath(t *testing.T, overwrites []bool, f func(t *testing.T, dir string, parts []stint.Part, overwrite bool)) {
	t.Helper()
	for _, overwrite := range overwrites {
		deaths := 0
		for ended := false; !ended; deaths++ {
			var dir string
			var parts []stint.Part
			dir, parts, ended = dieInCommit(t, deaths, overwrite)
			f(t, dir, parts, overwrite)
		}
		if deaths < 10 {
			t.Errorf("overwrite %v: only %d steps", overwrite, deaths)
		}
	}
}

func TestCommitGoesOnAfterDeathAtAnyStep(t *testing.T) {
	t.Parallel()
	eachDeath(t, []bool{false, true}, func(t *testing.T, dir string, parts []stint.Part, overwrite bool) {
		t.Helper()
		mustCommit(t, dir, ours, parts, overwrite)
		checkOutput(t, dir, ours, "one\n", "", "three\n")
	})
}

func TestOutputIsWholeWheneverItExists(t *testing.T) {
	t.Parallel()
	eachDeath(t, []bool{false, true}, func(t *testing.T, dir string, _ []stint.Part, _ bool) {
		t.Helper()
		_, success := os.Stat(filepath.Join(dir, successName))
		m, err := new(Access).ReadManifest(t.Context(), dir)
		if err != nil {
			if success == nil {
				t.Errorf("%s without a manifest: %v", successName, err)
			}
			return
		}
		want := "one\nthree\n"
		if m.Execution == theirs {
			want = "old one\nold two\nold three\nold four\n"
		}
		var all bytes.Buffer
		_, err = new(Access).Copy(t.Context(), &all, dir, AllParts)
		if m.Execution == theirs && success != nil {
			return // being removed: incomplete, and Copy says so or it is still whole
		}
		if err != nil || all.String() != want {
			t.Errorf("Copy gave %q, %v, want %q", all.String(), err, want)
		}
	})
}

func TestClearAfterDeathAtAnyStepLeavesNothingOfOurs(t *testing.T) {
	t.Parallel()
	eachDeath(t, []bool{false, true}, func(t *testing.T, dir string, _ []stint.Part, _ bool) {
		t.Helper()
		m, err := new(Access).ReadManifest(t.Context(), dir)
		committed := err == nil && m.Execution == ours
		if err := new(Access).Clear(t.Context(), dir, Turn{Execution: ours}); err != nil {
			t.Fatal(err)
		}
		left := map[string]string{}
		if _, err := os.Stat(dir); err == nil {
			left = files(t, dir)
		}
		delete(left, successName)
		for name, content := range left {
			if !committed && !strings.HasPrefix(content, "old ") && name != manifestName {
				t.Errorf("left %s: %q", name, content)
			}
		}
		if committed && len(left) != 4 {
			t.Errorf("left %v of a committed output", left)
		}
		if err := new(Access).Clear(t.Context(), dir, Turn{Execution: ours}); err != nil {
			t.Errorf("again: %v", err)
		}
	})
}

func TestCommitOfOtherPartsGoesBackFirst(t *testing.T) {
	t.Parallel()
	eachDeath(t, []bool{false}, func(t *testing.T, dir string, parts []stint.Part, overwrite bool) {
		t.Helper()
		if m, err := new(Access).ReadManifest(t.Context(), dir); err == nil && m.Execution == ours {
			other := slices.Clone(parts)
			other[0].Sum++
			if _, err := new(Access).Commit(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", other, overwrite); stint.CodeOf(err) != stint.Conflict {
				t.Errorf("after the manifest: %v", err)
			}
			return
		}
		f, err := CreatePart(dir, ours, "op-b-2")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("two\n"); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		other := slices.Clone(parts)
		i := slices.IndexFunc(other, func(p stint.Part) bool { return p.Op == 1 })
		other[i].Name, other[i].Bytes, other[i].Sum = "op-b-2", 4, xxh3.HashString("two\n")
		mustCommit(t, dir, ours, other, overwrite)
		checkOutput(t, dir, ours, "one\n", "two\n", "three\n")
	})
}

func TestCommitWithNothingStagedChangesNothing(t *testing.T) {
	t.Parallel()
	eachDeath(t, []bool{true}, func(t *testing.T, dir string, _ []stint.Part, _ bool) {
		t.Helper()
		before := files(t, dir)
		_, err := new(Access).Commit(t.Context(), dir, Turn{Execution: theirs}, "prog@blake3:00", nil, true)
		if code := stint.CodeOf(err); code != stint.Lost && code != stint.Conflict {
			t.Errorf("got %v", err)
		}
		after := files(t, dir)
		delete(before, stagingName+"/"+lockName)
		delete(after, stagingName+"/"+lockName)
		if d := cmp.Diff(before, after); d != "" {
			t.Errorf("(-before +after)\n%s", d)
		}
	})
}

func TestOthersStayOutOfABegunCommit(t *testing.T) {
	t.Parallel()
	eachDeath(t, []bool{false}, func(t *testing.T, dir string, parts []stint.Part, overwrite bool) {
		t.Helper()
		if _, err := os.Stat(filepath.Join(dir, stagingName, string(ours), intentName)); err != nil {
			return
		}
		if err := os.MkdirAll(filepath.Join(dir, stagingName, string(theirs)), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := new(Access).Commit(t.Context(), dir, Turn{Execution: theirs}, "prog@blake3:00", nil, true)
		if stint.CodeOf(err) != stint.Conflict || !strings.Contains(err.Error(), string(ours)) {
			t.Errorf("begun commit of %s: %v", ours, err)
		}
		if err := new(Access).Clear(t.Context(), dir, Turn{Execution: theirs}); err != nil {
			t.Fatal(err)
		}
		mustCommit(t, dir, ours, parts, overwrite)
		checkOutput(t, dir, ours, "one\n", "", "three\n")
	})
}

func TestCommitGoesOnFromHalfWrittenFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parts := stageParts(t, dir, ours, "one\n", "two\n")
	for _, name := range []string{intentName + ".new", manifestName + ".new", manifestName, "_probe"} {
		write(t, filepath.Join(dir, stagingName, string(ours), name), `{"format": 1, "exec`)
	}
	write(t, filepath.Join(dir, "_stint_probe"), "sti")
	if err := probed(new(Access).Probe(t.Context(), dir, ours, false)); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, dir, ours, parts, false)
	checkOutput(t, dir, ours, "one\n", "two\n")
}

func TestClearingRemovesWhatAProbeThatDiedHasLeft(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	if err := probed(new(Access).Probe(t.Context(), dir, ours, false)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "_stint_probe"), "stint\n")
	if err := new(Access).Clear(t.Context(), dir, Turn{Execution: ours}); err != nil || exists(dir) {
		t.Errorf("%v; the folder is there: %t", err, exists(dir))
	}
}

func TestWhatComesIntoAFolderWhileItIsRemovedIsNoConflict(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "some"), "")
	if code := fileCode(os.Remove(dir)); code != stint.Unavailable {
		t.Errorf("%s", code)
	}
}

func TestCommitRefusesPartsThatAreNotAsReported(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		damage func(dir string) error
		parts  func([]stint.Part)
		code   stint.Code
		text   string
	}{
		"missing": {
			damage: func(dir string) error { return os.Remove(filepath.Join(dir, stagingName, string(ours), "op-b-1")) },
			code:   stint.Lost, text: `op-b-1" is missing`,
		},
		"shorter": {
			damage: func(dir string) error { return os.Truncate(filepath.Join(dir, stagingName, string(ours), "op-b-1"), 1) },
			code:   stint.Lost, text: "has 1 bytes, was written with 4",
		},
		"all gone": {
			damage: func(dir string) error { return os.RemoveAll(filepath.Join(dir, stagingName)) },
			code:   stint.Lost, text: "nothing is staged",
		},
		"twice the name":   {parts: func(p []stint.Part) { p[0].Name = p[1].Name }, code: stint.Invalid, text: "listed twice"},
		"twice the number": {parts: func(p []stint.Part) { p[0].Op = p[1].Op }, code: stint.Invalid, text: "listed twice"},
		"hostile name":     {parts: func(p []stint.Part) { p[0].Name = "../x" }, code: stint.Invalid, text: "file name"},
		"negative size":    {parts: func(p []stint.Part) { p[0].Bytes = -1 }, code: stint.Invalid, text: "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			mustCommit(t, dir, theirs, stageParts(t, dir, theirs, "old\n"), false)
			parts := stageParts(t, dir, ours, "one\n", "two\n")
			if tc.damage != nil {
				if err := tc.damage(dir); err != nil {
					t.Fatal(err)
				}
			}
			if tc.parts != nil {
				tc.parts(parts)
			}
			_, err := new(Access).Commit(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", parts, true)
			if stint.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %s %v", stint.CodeOf(err), err)
			}
			if err := new(Access).Clear(t.Context(), dir, Turn{Execution: ours}); err != nil {
				t.Fatal(err)
			}
			checkOutput(t, dir, theirs, "old\n") // not touched
		})
	}
}

func TestPartDamagedInABegunCommitIsLost(t *testing.T) {
	t.Parallel()
	eachDeath(t, []bool{false}, func(t *testing.T, dir string, parts []stint.Part, overwrite bool) {
		t.Helper()
		if !exists(filepath.Join(dir, stagingName, string(ours), intentName)) || exists(filepath.Join(dir, manifestName)) {
			return
		}
		path := filepath.Join(dir, "part-00002")
		if !exists(path) {
			path = filepath.Join(dir, stagingName, string(ours), "op-c-1")
		}
		if err := os.Truncate(path, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := new(Access).Commit(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", parts, overwrite); stint.CodeOf(err) != stint.Lost {
			t.Errorf("got %v", err)
		}
	})
}

func TestFinishedCommitIsRepeatedWithoutWriting(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	parts := stageParts(t, dir, ours, "one\n")
	if _, done, err := new(Access).Committed(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", parts); done || err != nil {
		t.Errorf("committed before: %v, %v", done, err)
	}
	mustCommit(t, dir, ours, parts, false)
	if n, done, err := new(Access).Committed(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", parts); !done || n != 4 || err != nil {
		t.Errorf("committed: %v, %d bytes, %v", done, n, err)
	}
	if err := os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o755); err != nil { //nolint:gosec // the other user must reach it
		t.Fatal(err)
	}
	asNobody(t, func() {
		if n, err := new(Access).Commit(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", parts, false); err != nil || n != 4 {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

func TestCommitNeverReplacesWithoutOverwrite(t *testing.T) {
	t.Parallel()
	for _, name := range []string{successName, manifestName, "part-00001", "part-00009", "data.txt"} {
		dir := t.TempDir()
		parts := stageParts(t, dir, ours, "one\n", "two\n")
		write(t, filepath.Join(dir, name), "somebody's")
		if _, err := new(Access).Commit(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", parts, false); stint.CodeOf(err) != stint.Conflict {
			t.Errorf("%s in the way: %v", name, err)
		}
		if err := new(Access).Clear(t.Context(), dir, Turn{Execution: ours}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(map[string]string{name: "somebody's"}, files(t, dir)); d != "" {
			t.Errorf("%s in the way: (-want +got)\n%s", name, d)
		}
	}
}

func TestPartThatAppearsInABegunCommitStays(t *testing.T) {
	t.Parallel()
	eachDeath(t, []bool{false}, func(t *testing.T, dir string, parts []stint.Part, overwrite bool) {
		t.Helper()
		_, begun := os.Stat(filepath.Join(dir, stagingName, string(ours), intentName))
		_, named := os.Lstat(filepath.Join(dir, "part-00002"))
		if begun != nil || named == nil {
			return
		}
		write(t, filepath.Join(dir, "part-00002"), "x\n")
		if _, err := new(Access).Commit(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", parts, overwrite); stint.CodeOf(err) != stint.Conflict {
			t.Errorf("got %v", err)
		}
		if err := new(Access).Clear(t.Context(), dir, Turn{Execution: ours}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(map[string]string{"part-00002": "x\n"}, files(t, dir)); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}

func TestLateCommitDoesNotUndoANewerOutput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parts := stageParts(t, dir, ours, "one\n")
	mustCommit(t, dir, ours, parts, true)
	mustCommit(t, dir, theirs, stageParts(t, dir, theirs, "new\n"), true)
	for _, p := range [][]stint.Part{parts, nil} {
		if _, err := new(Access).Commit(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", p, true); stint.CodeOf(err) != stint.Lost {
			t.Errorf("got %v", err)
		}
		checkOutput(t, dir, theirs, "new\n")
	}
}

func TestCommitsAtTheSameTimeMakeOneOutput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parts := stageParts(t, dir, ours, "one\n", "two\n", "three\n")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if n, err := new(Access).Commit(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", parts, true); err != nil || n != 14 {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
	group.Wait()
	checkOutput(t, dir, ours, "one\n", "two\n", "three\n")
}

// Calls that have waited for the lock while a commit ended find nothing to do, and do
// not even touch the folder, in which readers may be by then. Nor do those that come
// later.
func TestLateCallPutsNothingIntoACompletedOutput(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		late func(ctx context.Context, dir string, parts []stint.Part) error
		code stint.Code
	}{
		"the same commit": {func(ctx context.Context, dir string, parts []stint.Part) error {
			_, err := new(Access).Commit(ctx, dir, Turn{Execution: ours}, "prog@blake3:00", parts, false)
			return err
		}, ""},
		"clear of an execution that was refused": {func(ctx context.Context, dir string, _ []stint.Part) error {
			return new(Access).Clear(ctx, dir, Turn{Execution: theirs})
		}, ""},
		"commit of an execution that was cleared": {func(ctx context.Context, dir string, parts []stint.Part) error {
			_, err := new(Access).Commit(ctx, dir, Turn{Execution: theirs}, "prog@blake3:00", parts, true)
			return err
		}, stint.Lost},
	}
	for name, tc := range cases {
		for _, waits := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s waits %v", name, waits), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					dir := filepath.Join(t.TempDir(), "out")
					parts := stageParts(t, dir, ours, "one")
					o := outputFolder{dir: dir, execution: ours}
					in, err := makeIntent(Turn{Execution: ours}, "prog@blake3:00", parts, nil)
					if err != nil {
						t.Fatal(err)
					}
					unlock, err := o.lock(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					ended := make(chan error, 1)
					call := func() { ended <- tc.late(t.Context(), dir, parts) }
					if waits {
						go call()
					}
					synctest.Wait() // it waits for the lock
					if err := errors.Join(o.commit(t.Context(), in, false), o.finish(t.Context(), in)); err != nil {
						t.Fatal(err)
					}
					then := time.Unix(1, 0)
					if err := os.Chtimes(dir, then, then); err != nil {
						t.Fatal(err)
					}
					unlock()
					if !waits {
						call()
					}
					if err := <-ended; stint.CodeOf(err) != tc.code {
						t.Error(err)
					}
					if info, err := os.Stat(dir); err != nil || !info.ModTime().Equal(then) {
						t.Errorf("the folder was changed at %v: %v", info.ModTime(), err)
					}
					checkOutput(t, dir, ours, "one")
				})
			})
		}
	}
}

func TestOneOfTwoExecutionsWins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := stageParts(t, dir, ours, "a\n", "a\n"), stageParts(t, dir, theirs, "b\n", "b\n")
	var errs [2]error
	var group sync.WaitGroup
	group.Go(func() {
		_, errs[0] = new(Access).Commit(t.Context(), dir, Turn{Execution: ours}, "prog@blake3:00", a, false)
	})
	group.Go(func() {
		_, errs[1] = new(Access).Commit(t.Context(), dir, Turn{Execution: theirs}, "prog@blake3:00", b, false)
	})
	group.Wait()
	winner, content, loser, err := ours, "a\n", theirs, errs[1]
	if errs[0] != nil {
		winner, content, loser, err = theirs, "b\n", ours, errs[0]
	}
	if stint.CodeOf(err) != stint.Conflict {
		t.Errorf("got %v", errs)
	}
	if err := new(Access).Clear(t.Context(), dir, Turn{Execution: loser}); err != nil {
		t.Fatal(err)
	}
	checkOutput(t, dir, winner, content, content)
}

func TestProbe(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		have      []string // a name that ends in a slash is a folder
		overwrite bool
		code      stint.Code // "" if it is accepted
		text      string
	}{
		"empty":                        {},
		"hidden only":                  {have: []string{".git/x", "_logs", "_stint/x-cccccccccccccccc/p"}},
		"hidden only, overwrite":       {have: []string{".x"}, overwrite: true},
		"success":                      {have: []string{"_SUCCESS"}, code: stint.Conflict, text: "holds _SUCCESS; remove it, or run with --overwrite"},
		"manifest":                     {have: []string{"_manifest.json"}, code: stint.Conflict, text: "--overwrite"},
		"part":                         {have: []string{"part-00007"}, code: stint.Conflict, text: "holds part-00007; remove it, or"},
		"output, overwrite":            {have: []string{"_SUCCESS", "_manifest.json", "part-00000", "notes.txt"}, overwrite: true},
		"parts, overwrite":             {have: []string{"part-00000", "part-123456"}, overwrite: true},
		"other things":                 {have: []string{"a.txt", "b.txt"}, code: stint.Conflict, text: `holds "a.txt"`},
		"other things, overwrite":      {have: []string{"a.txt"}, overwrite: true, code: stint.Conflict, text: `not an output: it holds "a.txt"`},
		"parts and others, overwrite":  {have: []string{"part-00000", "a.txt"}, overwrite: true, code: stint.Conflict, text: `holds "a.txt"`},
		"a part of another naming":     {have: []string{"_SUCCESS", "part-r-00000"}, overwrite: true, code: stint.Conflict, text: `"part-r-00000", which cannot be replaced`},
		"a folder named as a part":     {have: []string{"_SUCCESS", "part-00000/"}, overwrite: true, code: stint.Conflict, text: "cannot be replaced"},
		"staging root is a file":       {have: []string{"_stint"}, code: stint.Invalid, text: "_stint in it is not a folder"},
		"staging folder is in our way": {have: []string{"_stint/" + string(ours)}, code: stint.Invalid, text: string(ours)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, tc.have...)
			before := files(t, dir)
			for range 2 { // it may be repeated
				err := probed(new(Access).Probe(t.Context(), dir, ours, tc.overwrite))
				if tc.code == "" && err != nil {
					t.Fatal(err)
				}
				if tc.code != "" && (stint.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.text)) {
					t.Fatalf("got %s %v", stint.CodeOf(err), err)
				}
			}
			if tc.code == "" {
				before[stagingName] = "/"
				before[stagingName+"/"+lockName] = ""
				before[stagingName+"/"+string(ours)] = "/"
			}
			after := files(t, dir)
			if tc.code != "" {
				delete(after, stagingName+"/"+lockName)
			}
			if d := cmp.Diff(before, after); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestProbeOfAPlaceThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := tree(t, "file", "closed/", "closed-deep/", "sealed/_stint/", "no-rename/")
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // the other user must reach it
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "sealed/_stint"), 0o777); err != nil { //nolint:gosec // the other user may write
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		for _, p := range []string{"closed", "closed-deep", "sealed"} {
			if err := os.Chmod(filepath.Join(dir, p), 0o555); err != nil { //nolint:gosec // to be refused
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(filepath.Join(dir, p), 0o755) }) //nolint:errcheck,gosec // so that it can be removed
		}
	}
	before := files(t, dir)
	for in, want := range map[string]struct {
		code stint.Code
		text string
	}{
		"/file":            {stint.Invalid, "is a file"},
		"/file/below":      {stint.Invalid, ""},
		"/file/below/deep": {stint.Invalid, ""},
		"/closed":          {stint.Denied, "closed"},
		"/closed-deep/a/b": {stint.Denied, "closed-deep/a/b"},
		"/sealed":          {stint.Denied, "sealed"}, // its _stint can be written, but not renamed out of
	} {
		asNobody(t, func() {
			err := probed(new(Access).Probe(t.Context(), dir+in, ours, false))
			if stint.CodeOf(err) != want.code || !strings.Contains(err.Error(), want.text) {
				t.Errorf("%s: got %s %v", in, stint.CodeOf(err), err)
			}
		})
	}
	if d := cmp.Diff(before, files(t, dir)); d != "" {
		t.Errorf("refusals left something: (-before +after)\n%s", d)
	}
	for _, in := range []string{"/proc/stint/out", "s3://bucket/out", "out", "/dev/null"} {
		if err := probed(new(Access).Probe(t.Context(), in, ours, false)); err == nil {
			t.Errorf("%s: accepted", in)
		}
	}
	if err := probed(new(Access).Probe(t.Context(), t.TempDir(), "x-../../etc", false)); stint.CodeOf(err) != stint.Invalid {
		t.Errorf("hostile execution id: %v", err)
	}
}

func TestProbeThatStopsLeavesNoFolders(t *testing.T) {
	t.Parallel()
	for n := 0; ; n++ {
		dir, left := t.TempDir(), n
		err := probed(new(Access).Probe(dying{t.Context(), &left}, filepath.Join(dir, "a", "b"), ours, false))
		if err == nil {
			break
		}
		if got := files(t, dir); stint.CodeOf(err) != stint.Canceled || len(got) > 0 {
			t.Errorf("step %d: %v left %v", n, err, got)
		}
	}
}

func TestCreatePart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := CreatePart(dir, ours, "p"); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("before the probe: %v", err)
	}
	if err := probed(new(Access).Probe(t.Context(), dir, ours, false)); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"first, longer", "second"} {
		f, err := CreatePart(dir, ours, "p")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(content); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, len(content))
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != content {
			t.Errorf("read %q, %v", b, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if got := files(t, dir)[stagingName+"/"+string(ours)+"/p"]; got != content {
			t.Errorf("got %q", got)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "/a", "_commit", ".x", "a\nb", strings.Repeat("n", 201)} {
		if _, err := CreatePart(dir, ours, name); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestStagingThatIsGoneForGoodIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	cases := map[string]func(dir string) error{
		"committed": func(dir string) error {
			_, err := new(Access).Commit(t.Context(), dir, Turn{Execution: ours}, "p", nil, false)
			return err
		},
		"somebody else has committed": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, manifestName), []byte(`{"format":1,"execution":"`+string(theirs)+`","program":"p","parts":[],"bytes":0}`), 0o600)
		},
		"others are staging": func(dir string) error { return probed(new(Access).Probe(t.Context(), dir, theirs, false)) },
	}
	for name, make := range cases {
		dir := t.TempDir()
		if err := probed(new(Access).Probe(t.Context(), dir, ours, false)); err != nil {
			t.Fatal(err)
		}
		if err := make(dir); err != nil {
			t.Fatal(name, err)
		}
		if err := os.RemoveAll(filepath.Join(dir, stagingName, string(ours))); err != nil {
			t.Fatal(err)
		}
		if _, err := CreatePart(dir, ours, "p"); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), string(ours)) {
			t.Errorf("%s: %s %v", name, stint.CodeOf(err), err)
		}
	}
}

func TestClearRemovesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	if err := new(Access).Clear(t.Context(), dir, Turn{Execution: ours}); err != nil {
		t.Errorf("nothing there: %v", err)
	}
	stageParts(t, dir, ours, "a")
	stageParts(t, dir, theirs, "b")
	if err := new(Access).Clear(t.Context(), dir, Turn{Execution: ours}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"_stint": "/", "_stint/_lock": "", "_stint/" + string(theirs): "/", "_stint/" + string(theirs) + "/op-a-1": "b"}
	if d := cmp.Diff(want, files(t, dir)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if err := new(Access).Clear(t.Context(), dir, Turn{Execution: theirs}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the empty location is still there: %v", err)
	}
}

func TestCopyFindsWhatIsNotWhole(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		damage  func(dir string) error
		text    string
		written int64
	}{
		"part missing":   {func(dir string) error { return os.Remove(filepath.Join(dir, "part-00001")) }, "incomplete: part-00001 is missing", 0},
		"part cut":       {func(dir string) error { return os.Truncate(filepath.Join(dir, "part-00001"), 2) }, "incomplete: part-00001 has 2 bytes", 0},
		"part altered":   {func(dir string) error { return os.WriteFile(filepath.Join(dir, "part-00001"), []byte("TWO\n"), 0o600) }, "altered: part-00001", 8},
		"manifest cut":   {func(dir string) error { return os.Truncate(filepath.Join(dir, manifestName), 100) }, "decode manifest", 0},
		"manifest empty": {func(dir string) error { return os.Truncate(filepath.Join(dir, manifestName), 0) }, "decode manifest", 0},
	} {
		dir := t.TempDir()
		mustCommit(t, dir, ours, stageParts(t, dir, ours, "one\n", "two\n", "three\n"), false)
		if err := tc.damage(dir); err != nil {
			t.Fatal(err)
		}
		n, err := new(Access).Copy(t.Context(), io.Discard, dir, AllParts)
		if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), tc.text) || n != tc.written {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

func TestCopyOfOnePart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustCommit(t, dir, ours, stageParts(t, dir, ours, "one\n", "two\n"), false)
	var out bytes.Buffer
	if n, err := new(Access).Copy(t.Context(), &out, "file://"+dir, 1); err != nil || n != 4 || out.String() != "two\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	for _, part := range []int{2, -2} {
		if _, err := new(Access).Copy(t.Context(), &out, dir, part); stint.CodeOf(err) != stint.NotFound {
			t.Errorf("part %d: %v", part, err)
		}
	}
	if _, err := new(Access).Copy(t.Context(), &out, t.TempDir(), AllParts); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("no output: %v", err)
	}
}

func TestManifestThatDoesNotAgreeWithItselfIsRefused(t *testing.T) {
	t.Parallel()
	const sum = `"xxh3":"0123456789abcdef"`
	for _, in := range []string{
		``, `{`, `null`, `[]`, `{"format":2}`, `{"format":1} {}`,
		`{"format":1,"parts":[{"name":"part-00000","bytes":1,` + sum + `}],"bytes":2}`,
		`{"format":1,"parts":[{"name":"part-00000","bytes":-1,` + sum + `}],"bytes":-1}`,
		`{"format":1,"parts":[{"name":"../etc/passwd","bytes":1,` + sum + `}],"bytes":1}`,
		`{"format":1,"parts":[{"name":"part-0","bytes":1,` + sum + `}],"bytes":1}`,
		`{"format":1,"parts":[{"name":"part-00000","bytes":1,"xxh3":"XX"}],"bytes":1}`,
		`{"format":1,"parts":[{"name":"part-00001","bytes":1,` + sum + `},{"name":"part-00000","bytes":1,` + sum + `}],"bytes":2}`,
		`{"format":1,"parts":[{"name":"part-00001","bytes":9223372036854775807,` + sum + `},{"name":"part-00002","bytes":9223372036854775807,` + sum + `}],"bytes":-2}`,
	} {
		if m, err := decodeManifest([]byte(in)); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%s: %+v, %v", in, m, err)
		}
	}
	ok := `{"format":1,"execution":"x","program":"p","parts":[{"name":"part-99999","bytes":1,` + sum + `},{"name":"part-100000","bytes":2,` + sum + `}],"bytes":3}`
	if _, err := decodeManifest([]byte(ok)); err != nil {
		t.Error(err)
	}
}

// FuzzManifest: what is accepted is written back and read the same.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"format":1,"parts":[{"name":"part-00000","bytes":1,"xxh3":"0123456789abcdef"}],"bytes":1}`))
	f.Add([]byte(`{"manifest":{"format":1,"parts":[],"bytes":0},"staged":["a"]}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if in, err := decodeIntent(b); err == nil && len(in.Staged) != len(in.Manifest.Parts) {
			t.Fatalf("accepted %+v", in)
		}
		m, err := decodeManifest(b)
		if err != nil {
			return
		}
		again, err := encodeJSON(m)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := decodeManifest(again); err != nil || !n.equal(m) {
			t.Fatalf("%s came back as %+v, %v", again, n, err)
		}
	})
}

func BenchmarkPartsAndCommit(b *testing.B) {
	const count = 1000
	for b.Loop() {
		dir := b.TempDir()
		if err := probed(new(Access).Probe(b.Context(), dir, ours, false)); err != nil {
			b.Fatal(err)
		}
		parts := make([]stint.Part, count)
		for i := range parts {
			parts[i] = stint.Part{Op: uint32(i), Name: "map-" + partName(uint32(i)), Bytes: 4}
			f, err := CreatePart(dir, ours, parts[i].Name)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := f.WriteString("data"); err != nil {
				b.Fatal(err)
			}
			if err := f.Close(); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := new(Access).Commit(b.Context(), dir, Turn{Execution: ours}, "p", parts, false); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(count*float64(b.N)/b.Elapsed().Seconds(), "parts/s")
}
