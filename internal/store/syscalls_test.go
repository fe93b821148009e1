package store

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"stint"
	"stint/internal/coord"
)

var (
	// positionsFlag is how many system calls are struck; 0: all.
	positionsFlag = flag.Int("positions", 20, "how many system calls of a writer are struck, in each of the tests (0: all)")
	// seedFlag decides which.
	seedFlag = flag.Uint64("seed", 0, "seed of what is drawn at random (0: another in every run)")
)

// writerVariable has this executable be a writer: its value is the folder of the record.
const writerVariable = "STINT_TEST_WRITER"

// persistVariable has a writer try again what has failed.
const persistVariable = "STINT_TEST_WRITER_PERSISTS"

func TestMain(m *testing.M) {
	if folder := os.Getenv(writerVariable); folder != "" {
		write(folder)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// storing are the system calls that change what a record is on disk.
const storing = "write,pwrite64,fsync,fdatasync,ftruncate,fallocate,rename,renameat,renameat2,unlink,unlinkat"

// step is something that a writer does, as a whole or not at all.
type step struct {
	name string
	do   func(ctx context.Context, db *DB) error
}

// script is what a writer does with a record: it opens it, does the steps and
// closes it, in each session.
func script() [][]step {
	return [][]step{
		{
			{"take over", takeOver},
			{"create", create(1)},
			{"create", create(2)},
			{"commit", commits(batchOf(1, 1, 0, 2), batchOf(2, 1, 0, 1), batchOf(1, 1, 2, 1))},
			{"replace", commits(withSnapshot(batchOf(1, 1, 3, 2), 3, 100))},
		},
		{
			{"take over", takeOver},
			{"node", func(ctx context.Context, db *DB) error {
				_, err := db.SaveNode(ctx, 2, stint.Node{ID: "n-1", Name: "n"})
				return err
			}},
			{"credentials", func(ctx context.Context, db *DB) error {
				return db.SaveCredentials(ctx, 2, SealedCredentials{Name: "a", Sealed: []byte("b")})
			}},
			{"much", commits(withSnapshot(batchOf(1, 2, 5, 1), 2, 2_100_000))}, // the log is longer then than it may be
			{"begin anew", commits(batchOf(2, 2, 1, 3))},
			{"settle", commits(settled(batchOf(1, 2, 6, 1)))},
		},
	}
}

func takeOver(ctx context.Context, db *DB) error {
	_, err := db.TakeOver(ctx)
	return err
}

func create(n int) func(context.Context, *DB) error {
	return func(ctx context.Context, db *DB) error {
		_, err := db.Create(ctx, entry(n, fmt.Sprint("key ", n)), nil)
		return err
	}
}

// batchOf is a batch of records that tell their versions.
func batchOf(n int, epoch stint.Epoch, after uint64, records int) Batch {
	b := batch(n, after)
	b.Epoch = epoch
	for i := range records {
		b.Records = append(b.Records, grant(int(after)+i+1))
	}
	return b
}

func withSnapshot(b Batch, chunks, size int) Batch {
	version := b.After + uint64(len(b.Records))
	b.Snapshot, b.Document = &coord.Snapshot{Version: version}, &stint.Execution{ID: b.Execution}
	for i := range chunks {
		b.Snapshot.Chunks = append(b.Snapshot.Chunks, coord.Chunk{Index: i, Data: bytes.Repeat([]byte{byte(version)}, size)})
	}
	return b
}

func settled(b Batch) Batch {
	b.Status, b.Settled = stint.Completed, true
	return b
}

// commits commits batches in one transaction, by [DB.Run] on this thread. If one
// fails so that it may have happened, Run has to end by itself.
func commits(batches ...Batch) func(context.Context, *DB) error {
	return func(ctx context.Context, db *DB) error {
		done := make(chan error, len(batches))
		for _, b := range batches {
			if err := db.Commit(ctx, b, done); err != nil {
				return err
			}
		}
		var all error
		ctx, cancel := context.WithCancel(ctx)
		go func() {
			for range batches {
				all = errors.Join(all, <-done)
			}
			if db.failed() == nil {
				cancel()
			}
		}()
		if err := db.Run(ctx); errors.Is(err, ErrFailed) {
			return err
		}
		return all
	}
}

// write is a writer. All its system calls are made by one thread, so that the n-th
// of a kind is the same one in every run. It prints a line for each step that was
// acknowledged, and one for a step that it says has not happened. When a step
// fails, it reads what is there, as the server does, and ends, as if it was killed.
func write(folder string) {
	runtime.LockOSThread()
	go func() { // the test holds the other end, and may be killed
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(4)
	}()
	ctx := context.Background()
	n := 0
	for _, session := range script() {
		db, err := Open(ctx, filepath.Join(folder, "record.db"))
		if err != nil {
			fmt.Fprintln(os.Stderr, "open:", err)
			os.Exit(3)
		}
		for _, s := range session {
			perform(ctx, db, s, n)
			n++
			fmt.Fprintln(os.Stdout, "done", n) //nolint:errcheck // nobody would be told
		}
		if err := db.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "close:", err)
			os.Exit(3)
		}
	}
}

// perform does a step. One that has failed is said not to have happened if reading
// shows so, and only a writer that persists does it once more.
func perform(ctx context.Context, db *DB, s step, n int) {
	before, err := stateOf(ctx, db)
	if err != nil {
		fmt.Fprintln(os.Stderr, s.name, err)
		os.Exit(3)
	}
	for {
		failed := s.do(ctx, db)
		if failed == nil {
			return
		}
		fmt.Fprintln(os.Stderr, s.name, failed)
		after, err := stateOf(ctx, db)
		if err == nil && after == before {
			fmt.Fprintln(os.Stdout, "absent", n+1) //nolint:errcheck // nobody would be told
		}
		if err != nil || after != before || os.Getenv(persistVariable) == "" {
			os.Exit(3)
		}
	}
}

// stateOf returns what a record says, without what is drawn at random.
func stateOf(ctx context.Context, db *DB) (string, error) {
	epoch, err := db.Epoch(ctx)
	if err != nil {
		return "", err
	}
	nodes, err := db.Nodes(ctx)
	if err != nil {
		return "", err
	}
	sets, err := db.Credentials(ctx)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("epoch %d, nodes %d, credentials %d\n", epoch, len(nodes), len(sets))
	for n := 1; n <= 2; n++ {
		l, err := db.Load(ctx, id(n))
		if stint.CodeOf(err) == stint.NotFound {
			continue
		}
		if err != nil {
			return "", err
		}
		text += lineOf(l)
	}
	return text, nil
}

// lineOf returns what a record holds of one execution. A version that is not the sum
// of its parts, or a record that is not the one of its version, is seen in it.
func lineOf(l Loaded) string {
	text := fmt.Sprintf("%s key %q epoch %d version %d %s settled %v:", l.ID, l.Request.Key, l.Epoch, l.Version, l.Status, l.Settled)
	if s := l.Snapshot; s != nil {
		text += fmt.Sprintf(" snapshot %d", s.Version)
		for _, c := range s.Chunks {
			text += fmt.Sprintf(" %d/%d×%d of %d", c.Stage, c.Index, len(c.Data), c.Data[0])
		}
	}
	for _, r := range l.Records {
		text += fmt.Sprintf(" %d", r.At)
	}
	return text + "\n"
}

// expected returns what a record says after each number of steps, as a writer has
// it that nobody disturbs.
var expected = sync.OnceValues(func() ([]string, error) {
	folder, err := os.MkdirTemp(inMemory(), "record")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder) //nolint:errcheck // of a test
	ctx := context.Background()
	states := []string{"epoch 0, nodes 0, credentials 0\n"}
	for _, session := range script() {
		db, err := Open(ctx, filepath.Join(folder, "record.db"))
		if err != nil {
			return nil, err
		}
		for _, s := range session {
			if err := s.do(ctx, db); err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			state, err := stateOf(ctx, db)
			if err != nil {
				return nil, err
			}
			states = append(states, state)
		}
		if err := db.Close(); err != nil {
			return nil, err
		}
	}
	return states, nil
})

// call is a system call of a writer, as strace prints it.
type call struct {
	name   string
	path   string // of the file or folder
	offset int64
	failed bool
	acks   bool // tells that a step is done
}

// traced is what came of a writer under strace.
type traced struct {
	folder   string
	said     []string
	errors   string
	killed   bool
	injected bool // a call was made to fail
	calls    []call
}

// steps returns how many steps were acknowledged, and whether the next one was said
// not to have happened.
func (w *traced) steps() (done int, absent bool) {
	for _, line := range w.said {
		var n int
		if _, err := fmt.Sscanf(line, "done %d", &n); err == nil {
			done, absent = n, false
		}
		absent = absent || strings.HasPrefix(line, "absent ")
	}
	return done, absent
}

// trace runs a writer under strace, which injects a fault if one is given.
func trace(t *testing.T, inject string, env ...string) *traced {
	t.Helper()
	w := &traced{folder: t.TempDir()}
	out := filepath.Join(t.TempDir(), "calls")
	args := []string{"-f", "-y", "-qq", "-s", "8", "-o", out, "-e", "signal=none", "-e", "trace=" + storing}
	if inject != "" {
		args = append(args, "-e", "inject="+inject)
	}
	if !strings.Contains(inject, "signal=") { // strace cannot inject one with the filter, which has the writer stop at these calls alone
		args = append(args, "--seccomp-bpf")
	}
	self, err := os.Executable()
	check(t, err)
	c := exec.CommandContext(t.Context(), "strace", append(args, self)...)
	c.Env = append(append(os.Environ(), writerVariable+"="+w.folder), env...)
	var errs bytes.Buffer
	c.Stderr = &errs
	lifeline, err := c.StdinPipe()
	check(t, err)
	defer lifeline.Close() //nolint:errcheck // nothing is written
	said, err := c.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("strace is needed, and a kernel that lets a process trace its child: %v", err)
	}
	w.said, w.errors = strings.Split(string(said), "\n"), errs.String()
	w.killed = c.ProcessState.ExitCode() < 0
	b, err := os.ReadFile(out)
	check(t, err)
	w.calls = parseCalls(t, string(b))
	w.injected = strings.Contains(string(b), "(INJECTED)")
	if len(w.calls) == 0 {
		t.Fatalf("strace traced nothing: may this process trace its child?\n%s", w.errors)
	}
	return w
}

// callLine is a line of strace: process, call, arguments and, if it returned, the result.
var callLine = regexp.MustCompile(`^\d+ +(\w+)\((.*)\) += (-?\d+|\?)`)

// fileArgument and pathArgument are how a line names the file or folder of a call.
var (
	fileArgument = regexp.MustCompile(`^\d+<([^>]*)>`)
	pathArgument = regexp.MustCompile(`"([^"]*)"`)
)

// parseCalls returns the calls of the thread that makes most of them: the writer.
func parseCalls(t *testing.T, text string) []call {
	t.Helper()
	by := make(map[string][]call)
	for line := range strings.Lines(text) {
		m := callLine.FindStringSubmatch(line)
		if m == nil {
			continue // the end of a process, or of a thread in another's call
		}
		pid, _, _ := strings.Cut(line, " ")
		by[pid] = append(by[pid], parseCall(t, m[1], m[2], m[3]))
	}
	var most []call
	for calls := range maps.Values(by) {
		if len(calls) > len(most) {
			most = calls
		}
	}
	return most
}

func parseCall(t *testing.T, name, args, result string) call {
	t.Helper()
	c := call{name: name, failed: strings.HasPrefix(result, "-") || result == "?"}
	if m := fileArgument.FindStringSubmatch(args); m != nil {
		c.path = m[1]
	} else if m := pathArgument.FindStringSubmatch(args); m != nil {
		c.path = m[1]
	}
	fields := strings.Split(args, ", ")
	number := func(back int) int64 {
		n, err := strconv.ParseInt(fields[len(fields)-back], 10, 64)
		if err != nil {
			t.Fatalf("strace: %s(%s)", name, args)
		}
		return n
	}
	switch name {
	case "pwrite64":
		c.offset = number(1)
	case "write":
		c.acks = strings.Contains(args, `"done `)
	}
	return c
}

// position is one system call of a writer: the n-th of its name.
type position struct {
	name string
	n    int
}

func (p position) String() string { return fmt.Sprintf("%s:when=%d", p.name, p.n) }

// positions returns the system calls of these names that a writer makes: all, or as
// many as are asked for, of each name alike.
func positions(t *testing.T, names ...string) []position {
	t.Helper()
	counts := make(map[string]int)
	for _, c := range trace(t, "").calls {
		if slices.Contains(names, c.name) {
			counts[c.name]++
		}
	}
	t.Logf("%v", counts)
	var all []position
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		for n := range counts[name] {
			all = append(all, position{name, n + 1})
		}
	}
	if *positionsFlag == 0 || len(all) <= *positionsFlag {
		return all
	}
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return draw(rand.New(rand.NewPCG(seed, 0)), all, len(counts), *positionsFlag)
}

// draw draws positions: of a name that has few, all, so that a rare call is struck
// as often as one that is made for every page.
func draw(r *rand.Rand, all []position, names, n int) []position {
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	share := make(map[string]int)
	var drawn, rest []position
	for _, p := range all {
		if share[p.name]++; share[p.name] <= n/names {
			drawn = append(drawn, p)
		} else {
			rest = append(rest, p)
		}
	}
	return append(drawn, rest[:min(len(rest), n-len(drawn))]...)
}

// strike runs a writer for each position, several at once.
func strike(t *testing.T, all []position, one func(t *testing.T, p position)) {
	t.Helper()
	began := time.Now()
	next := make(chan position)
	var group sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for p := range next {
				t.Run(p.String(), func(t *testing.T) { one(t, p) })
			}
		})
	}
	for _, p := range all {
		next <- p
	}
	close(next)
	group.Wait()
	t.Logf("%d positions in %v", len(all), time.Since(began).Round(time.Millisecond))
}

// checkKept opens the record of a writer that has ended, without a refusal, and
// compares it with what the writer has said.
func (w *traced) checkKept(t *testing.T) {
	t.Helper()
	states, err := expected()
	check(t, err)
	db, err := Open(t.Context(), filepath.Join(w.folder, "record.db"))
	if err != nil {
		t.Fatalf("%v\nthe writer said %q\n%s", err, w.said, w.errors)
	}
	got, err := stateOf(t.Context(), db)
	if err := errors.Join(err, db.CheckIntegrity(t.Context()), db.Close()); err != nil {
		t.Error(err)
	}
	done, absent := w.steps()
	allowed := states[done:min(done+2, len(states))]
	if absent {
		allowed = allowed[:1]
	}
	if err != nil || !slices.Contains(allowed, got) {
		t.Errorf("the record is\n%swant one of\n%s\nthe writer said %q\n%s", got, strings.Join(allowed, "or\n"), w.said, w.errors)
	}
}

func TestAWriterIsKilledAtEachSystemCall(t *testing.T) {
	t.Parallel()
	strike(t, positions(t, strings.Split(storing, ",")...), func(t *testing.T, p position) {
		t.Helper()
		w := trace(t, p.name+":signal=KILL:when="+strconv.Itoa(p.n))
		if !w.killed {
			t.Error("the writer was not killed")
		}
		w.checkKept(t)
	})
}

func TestASystemCallOfAWriterFails(t *testing.T) {
	t.Parallel()
	syncs, writes := positions(t, "fsync", "fdatasync"), positions(t, "pwrite64", "ftruncate")
	for name, c := range map[string]struct {
		all   []position
		fault string
		env   string
	}{
		"sync":                       {syncs, "error=EIO", ""},
		"sync of one that persists":  {syncs, "error=EIO", persistVariable + "=1"},
		"disk":                       {writes, "error=EIO", ""},
		"full":                       {writes, "error=ENOSPC", ""},
		"full for one that persists": {writes, "error=ENOSPC", persistVariable + "=1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if len(c.all) == 0 {
				t.Error("the writer makes no such call")
			}
			strike(t, c.all, func(t *testing.T, p position) {
				t.Helper()
				w := trace(t, fmt.Sprintf("%s:%s:when=%d", p.name, c.fault, p.n), c.env)
				if !w.injected {
					t.Error("the call did not fail")
				}
				w.checkSynced(t)
				w.checkKept(t)
			})
		})
	}
}
