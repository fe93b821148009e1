package block

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/zeebo/xxh3"

	"stint"
)

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// edit changes the bytes of a file.
func edit(path string, change func(b []byte) []byte) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, change(b), 0o600)
}

func TestASegmentThatIsNotWhatItWasIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(path, ofOther string) error
		whole bool
	}{
		"shorter than its blocks": {spoil: func(path, _ string) error { return os.Truncate(path, 10) }},
		"empty":                   {spoil: func(path, _ string) error { return os.Truncate(path, 0) }},
		"missing":                 {spoil: func(path, _ string) error { return os.Remove(path) }},
		"one bit changed": {spoil: func(path, _ string) error {
			return edit(path, func(b []byte) []byte { b[3] ^= 4; return b })
		}},
		"the segment of another execution": {spoil: func(path, ofOther string) error {
			return errors.Join(os.Remove(path), os.Link(ofOther, path))
		}},
		"a pipe": {spoil: func(path, _ string) error {
			return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600))
		}},
		"a folder": {spoil: func(path, _ string) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
		}},
		"a disk that cannot be read": {spoil: func(path, _ string) error { // the first page of that file is an I/O error to read
			return errors.Join(os.Remove(path), os.Symlink("/proc/self/mem", path))
		}},
		"longer than its blocks, as a worker that died leaves it": {whole: true, spoil: func(path, _ string) error {
			return edit(path, func(b []byte) []byte { return append(b, "begun"...) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := openStore(t, dir)
			fill(t, s, exec1, 0, 0, 1)
			fill(t, s, exec2, 0, 1, 2)
			path := func(x stint.ExecutionID) string { return filepath.Join(dir, string(x), "1.seg") }
			check(t, c.spoil(path(exec1), path(exec2)))
			bad, err := s.Verify(t.Context(), exec1, true)
			if err != nil || (len(bad) == 0) != c.whole {
				t.Errorf("not whole: %v %v", bad, err)
			}
			_, pack, lost, _ := packAll(t, s.Pack(0, []stint.Range{ops(0, 1)}, PackSize, own(0)))
			if got := len(lost) == 0 && len(pack.Ops) == 1; got != c.whole {
				t.Errorf("packed %v, lost %v", pack.Ops, lost)
			}
			r, _, sum, err := s.Open(exec1, 0, 0, 2)
			if err != nil {
				return
			}
			if b, err := io.ReadAll(r); (err == nil && xxh3.Hash(b) == sum) != c.whole {
				t.Errorf("%q %v", b, err)
			}
		})
	}
}

func TestALogIsBelievedUnderItsOwnNameAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	for _, x := range []stint.ExecutionID{exec1, exec2} {
		fill(t, s, x, 0, 0, 1)
		fill(t, s, x, 0, 1, 2)
	}
	own := filepath.Join(dir, string(exec1), "1.log")
	is, err := os.ReadFile(own)
	check(t, err)
	for name, c := range map[string]struct {
		put    func() error
		refuse string
	}{
		"its own":                   {put: func() error { return os.WriteFile(own, is, 0o600) }},
		"empty, as after a crash":   {put: func() error { return os.WriteFile(own, nil, 0o600) }},
		"cut within the first line": {put: func() error { return os.WriteFile(own, is[:9], 0o600) }},
		"of another execution":      {put: func() error { return os.Link(filepath.Join(dir, string(exec2), "1.log"), own) }, refuse: string(exec1)},
		"of another segment":        {put: func() error { return os.Link(filepath.Join(dir, string(exec1), "2.log"), own) }, refuse: "segment 1"},
		"without a first line":      {put: func() error { return os.WriteFile(own, make([]byte, 200), 0o600) }, refuse: "begins with"},
		"of a newer format": {put: func() error {
			return os.WriteFile(own, []byte(strings.Replace(string(is), "log 1", "log 2", 1)), 0o600)
		}, refuse: "log 2"},
		"a pipe, which would not end":  {put: func() error { return syscall.Mkfifo(own, 0o600) }, refuse: "not a regular file"},
		"a folder":                     {put: func() error { return os.Mkdir(own, 0o700) }, refuse: "not a regular file"},
		"a link that leads to nothing": {put: func() error { return os.Symlink("nowhere", own) }, refuse: "no such file"},
	} {
		check(t, errors.Join(os.Remove(own), c.put()))
		l, err := OpenLog(own)
		switch {
		case err == nil:
			rest, rerr := io.ReadAll(l)
			if c.refuse != "" || rerr != nil || len(rest) != 0 || l.Close() != nil {
				t.Errorf("%s: accepted, %q follows, %v", name, rest, rerr)
			}
		case c.refuse == "" || !strings.Contains(err.Error(), c.refuse) || !strings.Contains(err.Error(), own):
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestForeignFilesInTheFolderAreLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	fill(t, s, exec1, 0, 0, 1)
	inside := filepath.Join(dir, string(exec1))
	for _, path := range []string{dir + "/notes.txt", dir + "/x-nothing", inside + "/new-123", inside + "/a.seg", inside + "/0.seg", inside + "/-1.log", inside + "/99999999999.log"} {
		check(t, os.WriteFile(path, []byte("x"), 0o600))
	}
	check(t, syscall.Mkfifo(filepath.Join(dir, string(exec2)), 0o600))
	check(t, syscall.Mkfifo(inside+"/pipe", 0o600))
	check(t, os.Mkdir(dir+"/lost+found", 0o700))
	again := openStore(t, dir)
	if d := cmp.Diff([]stint.ExecutionID{exec1}, again.Executions()); d != "" {
		t.Error(d)
	}
	logs, err := again.Logs(exec1)
	if err != nil || len(logs) != 1 || logs[0].Segment != 1 {
		t.Error(logs, err)
	}
	fill(t, again, exec1, 0, 1, 2)
	if _, err := os.Stat(inside + "/2.seg"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir + "/notes.txt"); err != nil {
		t.Error(err)
	}
}

// events returns what has happened in a folder that is watched, by inotify.
func events(t *testing.T, watch int) (masks []uint32) {
	t.Helper()
	b := make([]byte, 64<<10)
	n, err := syscall.Read(watch, b)
	check(t, err)
	for b = b[:n]; len(b) > 0; {
		masks = append(masks, binary.NativeEndian.Uint32(b[4:]))
		b = b[syscall.SizeofInotifyEvent+binary.NativeEndian.Uint32(b[12:]):]
	}
	return masks
}

func TestAnExecutionIsRemovedAtOnceOrNotAtAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	fill(t, s, exec1, 0, 0, 4)
	condemn(t, s, exec1, 0, ops(0, 1))
	watch, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	check(t, err)
	defer syscall.Close(watch) //nolint:errcheck // only read
	_, err = syscall.InotifyAddWatch(watch, filepath.Join(dir, string(exec1)), syscall.IN_MOVE_SELF|syscall.IN_DELETE)
	check(t, err)
	check(t, s.Remove(exec1))
	if seen := events(t, watch); seen[0] != syscall.IN_MOVE_SELF || len(seen) < 4 {
		t.Errorf("it was not out of the way before its files were removed: %x", seen)
	}
	check(t, s.Remove(exec1)) // which is not there
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Error(left, err)
	}
}

func TestWhatIsLeftOfARemovalIsNobodys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	leave := func() { // as a process that is killed does
		fill(t, s, exec1, 0, 0, 4)
		condemn(t, s, exec1, 0, ops(0, 1))
		from := filepath.Join(dir, string(exec1))
		check(t, errors.Join(os.Remove(from+"/1.log"), os.Rename(from, from+removedSuffix)))
	}
	leave()
	check(t, os.WriteFile(dir+"/notes"+removedSuffix, nil, 0o600))
	s = openStore(t, dir)
	if got := s.Executions(); len(got) > 0 {
		t.Errorf("it is there: %v", got)
	}
	fill(t, s, exec1, 0, 0, 4)
	if _, err := s.RemoveCondemned(exec1); err != nil || s.BytesOf(exec1, []stint.StageOps{{Ops: []stint.Range{ops(0, 1)}}}) == 0 {
		t.Error("what was condemned before is not believed", err)
	}
	if _, err := os.Stat(filepath.Join(dir, string(exec1)) + removedSuffix); err != nil {
		t.Errorf("opening has removed it: %v", err)
	}
	check(t, s.Remove(exec1)) // with what is left of the time before
	leave()
	check(t, s.RemoveLeftovers())
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "notes"+removedSuffix {
		t.Error(left, err)
	}
}

// It runs itself under strace, for which the disk has no room for another name and which
// kills it at each removal of a file. What is left is read as after a restart.
func TestWhatIsLeftOfARemovalOnAFullDiskIsToBeBelieved(t *testing.T) {
	t.Parallel()
	const where, mark = "STINT_TEST_REMOVE", "/keep.json"
	if dir := os.Getenv(where); dir != "" {
		runtime.LockOSThread() // for which strace counts
		check(t, openStore(t, dir).Remove(exec1))
		return
	}
	for n, killed := 1, true; killed; n++ {
		dir := t.TempDir()
		inside := filepath.Join(dir, string(exec1))
		s := openStore(t, dir)
		copyOps(t, s, 1, 0)
		fill(t, s, exec1, 1, 0, 1)
		copyOps(t, s, 0, 2)
		condemn(t, s, exec1, 0, ops(1, 2))
		check(t, os.WriteFile(inside+mark, nil, 0o600)) // of another package
		c := exec.CommandContext(t.Context(), "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=/^(rename|unlink)",
			"-e", "inject=/^rename:error=ENOSPC", "-e", fmt.Sprintf("inject=/^unlink:signal=KILL:when=%d", n), os.Args[0], "-test.run", "^"+t.Name()+"$")
		c.Env = append(os.Environ(), where+"="+dir)
		out, err := c.CombinedOutput()
		if killed = err != nil; killed && (c.ProcessState == nil || c.ProcessState.ExitCode() >= 0) {
			t.Fatalf("neither removed nor killed, for which strace is needed: %v\n%s", err, out)
		}

		again := openStore(t, dir)
		check(t, again.ReadCopies(exec1, func(c Copied) error { return again.Add(exec1, c.Stage, c.Op, c.Block) }))
		_, err = again.RemoveCondemned(exec1)
		check(t, err)
		if idx, err := again.Index(exec1, 0, 0); err == nil && idx.Segment != 3 {
			t.Errorf("killed at %d: an earlier block of an operation is back: %v", n, idx)
		}
		if _, err := again.Index(exec1, 0, 1); err == nil {
			t.Errorf("killed at %d: a block that was condemned is believed", n)
		}
		if bad, err := again.Verify(t.Context(), exec1, true); bad != nil || err != nil {
			t.Errorf("killed at %d: blocks without bytes: %v %v", n, bad, err)
		}
		ids, err := again.segmentIDs(exec1, "")
		check(t, err)
		if _, err := os.Stat(inside + mark); err != nil && len(ids) > 0 {
			t.Errorf("killed at %d: its files have outlived their mark", n)
		}
		if left, err := os.ReadDir(dir); !killed && (len(left) > 0 || err != nil) {
			t.Errorf("removed: %v %v", left, err)
		}
		fill(t, again, exec1, 0, 1, 2)
		if _, err := again.Index(exec1, 0, 1); err != nil {
			t.Errorf("killed at %d: what is written anew is not believed: %v", n, err)
		}
	}
}

// copyOps writes a segment of copies of blocks.
func copyOps(t *testing.T, s *Store, list ...uint32) {
	t.Helper()
	c, err := s.CreateCopies(exec1)
	check(t, err)
	for _, op := range list {
		text := string(textOf(0, op, 0))
		check(t, c.Add(0, op, []PartIndex{{Length: int64(len(text)), Records: 1, Sum: xxh3.HashString(text)}}, strings.NewReader(text)))
	}
	check(t, c.Close())
}

// refill adds blocks of a store to it again, as its logs would after a restart.
func refill(tb testing.TB, from, to *Store, stage int) {
	tb.Helper()
	for _, r := range from.Completed(exec1, stage) {
		for op := r.From; op < r.To; op++ {
			idx, err := from.Index(exec1, stage, op)
			if err == nil {
				err = to.Add(exec1, stage, op, idx)
			}
			check(tb, err)
		}
	}
}

func TestWhatWasCondemnedIsNotBelievedAgainUntilItIsWrittenAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, whole := openStore(t, dir), openStore(t, dir)
	fill(t, s, exec1, 0, 0, 6)
	whole.executions[exec1] = newExecution()
	whole.executions[exec1].segments = 1
	refill(t, s, whole, 0)
	condemn(t, s, exec1, 0, ops(1, 2), ops(4, 9))
	condemn(t, s, exec1, 7, ops(0, 9))                                                                 // there is none
	check(t, edit(s.condemnedPath(exec1), func(b []byte) []byte { return append(b, 40, 0, 0, 0, 1) })) // a crash within a record
	for range 2 {
		again := openStore(t, dir)
		refill(t, whole, again, 0)
		gone, err := again.RemoveCondemned(exec1)
		want := []stint.StageOps{{Stage: 0, Ops: []stint.Range{ops(1, 2), ops(4, 6)}}}
		if d := cmp.Diff(want, gone, cmpopts.IgnoreUnexported(stint.Range{})); d != "" || err != nil {
			t.Fatal(d, err)
		}
		fill(t, again, exec1, 0, 1, 2) // performed here again
		if gone, err := again.RemoveCondemned(exec1); len(gone) > 0 || err != nil {
			t.Errorf("the new block is condemned: %v %v", gone, err)
		}
	}
	condemn(t, whole, exec1, 0, ops(0, 1)) // is read though a record before it was cut
	again := openStore(t, dir)
	refill(t, s, again, 0)
	if gone, err := again.RemoveCondemned(exec1); len(gone) != 1 || err != nil {
		t.Error(gone, err)
	}
}

func TestAPackOfAnotherExecutionIsRefused(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	fill(t, s, exec1, 0, 0, 3)
	fill(t, s, exec2, 0, 0, 3)
	of := func(x stint.ExecutionID, op uint32, text string) ([]byte, stint.Pack) {
		id, data, log, err := s.CreateSegment(x)
		check(t, err)
		defer data.Close() //nolint:errcheck // read below by another descriptor
		defer log.Close()  //nolint:errcheck // is not written to
		idx, err := writeBlock(NewWriter(data, id, 0), []pieces{{0, [][]byte{[]byte(text)}}})
		check(t, err)
		check(t, s.Add(x, 1, op, idx))
		b, pack, _, _ := packAll(t, s.Pack(1, []stint.Range{ops(op, op+1)}, PackSize, func(op uint32) Ref { return Ref{Execution: x, Stage: 1, Op: op} }))
		return b, pack
	}
	_, ours := of(exec1, 5, "ours: as long")
	theirs, _ := of(exec2, 5, "theirs: so !!")
	if int64(len(theirs)) != ours.Bytes {
		t.Fatal("the packs differ in length")
	}
	if _, err := ReadPackIndex(strings.NewReader(string(theirs)), ours); stint.CodeOf(err) != stint.Lost {
		t.Errorf("a pack of another execution is taken for ours: %v", err)
	}
}

func TestNothingIsAddedBehindATornRecordOfCopies(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	c, err := s.CreateCopies(exec1)
	check(t, err)
	log := c.log
	c.log, err = os.OpenFile("/dev/full", os.O_WRONLY, 0)
	check(t, err)
	if err := c.Add(0, 0, nil, strings.NewReader("")); !errors.Is(err, syscall.ENOSPC) || !c.Full() {
		t.Errorf("%v; full %v", err, c.Full())
	}
	check(t, errors.Join(c.Close(), log.Close()))
}

// Alone: it takes descriptors away from the whole process.
func TestWantOfDescriptorsLosesNoBlock(t *testing.T) { //nolint:paralleltest // as said
	s := openStore(t, t.TempDir())
	fill(t, s, exec1, 0, 0, 2)
	packing := s.Pack(0, []stint.Range{ops(0, 2)}, PackSize, func(op uint32) Ref { return Ref{Execution: exec1, Op: op} })
	limitDescriptors(t, 0, func() {
		bad, err := s.Verify(t.Context(), exec1, true)
		if stint.CodeOf(err) != stint.Unavailable || bad != nil {
			t.Errorf("verified: %v; bad %v", err, bad)
		}
		checked, absent, _, err := s.Check(t.Context(), exec1, 0, []stint.Range{ops(0, 2)})
		if stint.CodeOf(err) != stint.Unavailable || checked != nil || absent != nil {
			t.Errorf("checked: %v; bad %v, absent %v", err, checked, absent)
		}
		if _, _, _, err := s.Open(exec1, 0, 0, 2); stint.CodeOf(err) != stint.Unavailable {
			t.Errorf("opened: %v", err)
		}
		_, err = io.Copy(io.Discard, packing)
		if _, lost, _ := packing.Result(); !errors.Is(err, syscall.EMFILE) || len(lost) > 0 {
			t.Errorf("packed: %v; lost %v", err, lost)
		}
	})
}

// Alone, as the one before.
func TestMoreSegmentsThanDescriptorsAreVerified(t *testing.T) { //nolint:paralleltest // as said
	const segments, descriptors = 100, 64
	dir := t.TempDir()
	s := openStore(t, dir)
	for op := range uint32(segments) {
		writeAlone(t, s, op)
	}
	check(t, os.Remove(s.path(exec1, 50, segmentSuffix)))
	check(t, edit(s.path(exec1, 60, segmentSuffix), func(b []byte) []byte { b[0]++; return b }))
	want := []stint.StageOps{{Ops: []stint.Range{ops(49, 50), ops(59, 60)}}}
	limitDescriptors(t, descriptors, func() {
		bad, err := s.Verify(t.Context(), exec1, true)
		if d := cmp.Diff(want, bad, cmpopts.IgnoreUnexported(stint.Range{})); d != "" || err != nil {
			t.Error(d, err)
		}
		checked, absent, _, err := s.Check(t.Context(), exec1, 0, []stint.Range{ops(0, segments)})
		if d := cmp.Diff([][]stint.Range{want[0].Ops, want[0].Ops[:1]}, [][]stint.Range{checked, absent}, cmpopts.IgnoreUnexported(stint.Range{})); d != "" || err != nil {
			t.Error(d, err)
		}
		if err := s.Condemn(exec1, bad); err != nil {
			t.Error(err)
		}
	})
}

// writeAlone writes the block of an operation into a segment of its own.
func writeAlone(t *testing.T, s *Store, op uint32) {
	t.Helper()
	id, data, log, err := s.CreateSegment(exec1)
	check(t, err)
	idx, err := writeBlock(NewWriter(data, id, 0), []pieces{{0, [][]byte{textOf(0, op, 0)}}})
	check(t, errors.Join(err, s.Add(exec1, 0, op, idx), data.Close(), log.Close()))
}

// limitDescriptors does something while this process may have so many descriptors.
func limitDescriptors(t *testing.T, n uint64, do func()) {
	t.Helper()
	var limit syscall.Rlimit
	check(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	less := limit
	less.Cur = n
	check(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &less))
	do()
	check(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
}
