package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"stint"
	"stint/internal/coord"
)

// machine is a record beside a model of it.
type machine struct {
	path  string
	db    *DB
	stop  context.CancelFunc
	ended chan error
	epoch stint.Epoch
	model []*modelled // in the order of submission
	keys  map[string]int
}

// modelled is what the record must say of one execution.
type modelled struct {
	entry    Entry
	epoch    stint.Epoch
	version  uint64
	settled  bool
	status   stint.ExecutionStatus
	snapshot *coord.Snapshot
	records  []coord.Record
}

func newMachine(t *rapid.T) *machine {
	dir, err := os.MkdirTemp(inMemory(), "record")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{path: filepath.Join(dir, "record.db"), keys: make(map[string]int)}
	m.open(t)
	m.takeOver(t)
	return m
}

// inMemory is a folder that needs no disk to be synced to, which would take most of
// the time; empty: the machine has none.
func inMemory() string {
	const folder = "/dev/shm"
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return ""
	}
	return folder
}

func (m *machine) open(t *rapid.T) {
	var err error
	if m.db, err = Open(t.Context(), m.path); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	m.stop, m.ended = stop, make(chan error, 1)
	go func() { m.ended <- m.db.Run(ctx) }()
}

func (m *machine) close(t *rapid.T) {
	m.stop()
	if err := <-m.ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := m.db.Close(); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) end(t *rapid.T) {
	m.close(t)
	if err := os.RemoveAll(filepath.Dir(m.path)); err != nil {
		t.Fatal(err)
	}
}

// takeOver makes a new owner: what the one before tries to commit is refused.
func (m *machine) takeOver(t *rapid.T) {
	epoch, err := m.db.TakeOver(t.Context())
	if err != nil || epoch != m.epoch+1 {
		t.Fatalf("epoch %d after %d, %v", epoch, m.epoch, err)
	}
	m.epoch = epoch
	for _, x := range m.model {
		if !x.settled {
			x.epoch = epoch
		}
	}
}

// restart closes the record and opens it again.
func (m *machine) restart(t *rapid.T) {
	m.close(t)
	m.open(t)
}

// submit submits an execution, under a new key, none or one that was used.
func (m *machine) submit(t *rapid.T) {
	e := entry(len(m.model)+1, rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "key"))
	e.Epoch = m.epoch
	e.Digest = stint.Digest{byte(rapid.IntRange(0, 1).Draw(t, "body"))}
	got, err := m.db.Create(t.Context(), e, nil)
	if i, used := m.keys[e.Request.Key]; used {
		was := m.model[i].entry
		if was.Digest != e.Digest && stint.CodeOf(err) != stint.Conflict || was.Digest == e.Digest && (err != nil || got.ID != was.ID) {
			t.Fatalf("key %q again: %s, %v; it is that of %s", e.Request.Key, got.ID, err, was.ID)
		}
		return
	}
	if err != nil || got.ID != e.ID {
		t.Fatalf("%s, %v", got.ID, err)
	}
	if e.Request.Key != "" {
		m.keys[e.Request.Key] = len(m.model)
	}
	m.model = append(m.model, &modelled{entry: e, epoch: m.epoch, status: stint.Queued})
}

// commit commits some batches of some executions at once, of which any may be that of an
// owner that is none any more, or follow another version than the last.
func (m *machine) commit(t *rapid.T) {
	if len(m.model) == 0 {
		t.Skip("nothing is there")
	}
	type tried struct {
		of   *modelled
		b    Batch
		done chan error
	}
	var all []tried
	ahead := make(map[*modelled]uint64) // versions that are queued to be committed
	for range rapid.IntRange(1, 4).Draw(t, "batches") {
		x := rapid.SampledFrom(m.model).Draw(t, "execution")
		b := Batch{Execution: x.entry.ID, Epoch: x.epoch, After: x.version + ahead[x], Status: stint.InProgress}
		for range rapid.IntRange(0, 3).Draw(t, "records") {
			b.Records = append(b.Records, grant(rapid.IntRange(1, 1000).Draw(t, "job")))
		}
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			b.Epoch--
		case 1:
			b.After++
		case 2, 3:
			b.Snapshot = m.snapshot(t, b.After+uint64(len(b.Records)))
			b.Document = &stint.Execution{ID: x.entry.ID}
		case 4:
			b.Status, b.Settled = stint.Completed, true
		}
		if b.Epoch == x.epoch && b.After == x.version+ahead[x] {
			ahead[x] += uint64(len(b.Records))
		}
		done := make(chan error, 1)
		if err := m.db.Commit(t.Context(), b, done); err != nil {
			t.Fatal(err)
		}
		all = append(all, tried{x, b, done})
	}
	for _, c := range all {
		err := <-c.done
		if rightly := c.b.Epoch == c.of.epoch && c.b.After == c.of.version; !rightly {
			if stint.CodeOf(err) != stint.Conflict {
				t.Fatalf("after %d in epoch %d where %d in %d is: %v", c.b.After, c.b.Epoch, c.of.version, c.of.epoch, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		c.of.take(c.b)
	}
}

// snapshot draws a snapshot of some chunks; the others stay as an earlier one has them.
func (*machine) snapshot(t *rapid.T, version uint64) *coord.Snapshot {
	s := &coord.Snapshot{Version: version}
	s.Core.LastJob = stint.JobID(version)
	for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, 3), 0, 4, rapid.ID).Draw(t, "chunks") {
		s.Chunks = append(s.Chunks, coord.Chunk{Stage: n % 2, Index: n / 2, Data: fmt.Appendf(nil, "%d of %d", n, version)})
	}
	return s
}

// take enters a batch that was committed.
func (x *modelled) take(b Batch) {
	x.version += uint64(len(b.Records))
	x.status, x.settled = b.Status, b.Settled
	x.records = append(x.records, b.Records...)
	if b.Snapshot == nil {
		return
	}
	kept := *b.Snapshot
	if x.snapshot != nil {
		for _, old := range x.snapshot.Chunks {
			if !slices.ContainsFunc(kept.Chunks, func(c coord.Chunk) bool { return c.Stage == old.Stage && c.Index == old.Index }) {
				kept.Chunks = append(slices.Clone(kept.Chunks), old)
			}
		}
	}
	slices.SortFunc(kept.Chunks, func(a, b coord.Chunk) int { return 10*(a.Stage-b.Stage) + a.Index - b.Index })
	x.snapshot, x.records = &kept, nil
}

// check compares all that can be read.
func (m *machine) check(t *rapid.T) {
	var unsettled []stint.ExecutionID
	for _, x := range m.model {
		if !x.settled {
			unsettled = append(unsettled, x.entry.ID)
		}
		got, err := m.db.Load(t.Context(), x.entry.ID)
		if err != nil {
			t.Fatal(err)
		}
		want := Loaded{Entry: x.entry, Version: x.version, Settled: x.settled, Status: x.status, Snapshot: x.snapshot, Records: x.records}
		want.Epoch, got.Digest = x.epoch, want.Digest // the digest of the request is not loaded
		if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(stint.Range{}, stint.OpDone{}), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("%s (-want +got):\n%s", x.entry.ID, d)
		}
	}
	if got, err := m.db.Unsettled(t.Context()); err != nil || !slices.Equal(got, unsettled) {
		t.Fatalf("unsettled are %v, %v; want %v", got, err, unsettled)
	}
}

func TestARecordIsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		defer m.end(t)
		t.Repeat(map[string]func(*rapid.T){"submit": m.submit, "commit": m.commit, "take over": m.takeOver, "restart": m.restart, "": m.check})
	})
}
