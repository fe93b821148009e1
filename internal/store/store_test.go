package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stint"
	"stint/internal/coord"
	"stint/internal/plan"
)

func id(n int) stint.ExecutionID { return stint.ExecutionID(fmt.Sprintf("x-%016d", n)) }

func entry(n int, key string) Entry {
	return Entry{
		ID: id(n), Digest: stint.Digest{byte(n)}, Created: int64(1000 + n), Epoch: 1, Listing: stint.Digest{9},
		Request: stint.Request{Name: fmt.Sprintf("Run %d", n), Key: key, Params: map[string]string{"a": "b"}},
		Choice:  plan.Choice{SubsetSize: 5, Partitions: 2},
	}
}

func opened(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// owned opens a record of which an owner has taken over in epoch 1.
func owned(t *testing.T, path string) *DB {
	t.Helper()
	db := opened(t, path)
	if _, err := db.TakeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// running opens a record in a new folder, of which an owner has taken over, and
// commits until the test ends.
func running(t *testing.T) *DB {
	t.Helper()
	db := owned(t, filepath.Join(t.TempDir(), "record.db"))
	run(t, db)
	return db
}

func run(t *testing.T, db *DB) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func created(t *testing.T, db *DB, e Entry) {
	t.Helper()
	if _, err := db.Create(t.Context(), e, nil); err != nil {
		t.Fatal(err)
	}
}

func grant(n int) coord.Record {
	return coord.Record{At: int64(n), Grant: &coord.GrantRecord{Job: stint.JobID(n), Ops: stint.Range{From: uint32(n), To: uint32(n) + 1}, Node: "n"}}
}

func batch(n int, after uint64, records ...coord.Record) Batch {
	return Batch{Execution: id(n), Epoch: 1, After: after, Records: records, Status: stint.InProgress}
}

func commit(t *testing.T, db *DB, b Batch) error {
	t.Helper()
	done := make(chan error, 1)
	if err := db.Commit(t.Context(), b, done); err != nil {
		t.Fatal(err)
	}
	return <-done
}

func committed(t *testing.T, db *DB, b Batch) {
	t.Helper()
	if err := commit(t, db, b); err != nil {
		t.Fatal(err)
	}
}

func loaded(t *testing.T, db *DB, n int) Loaded {
	t.Helper()
	l, err := db.Load(t.Context(), id(n))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(stint.Range{}, stint.OpDone{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestAnEntryIsReadAsItWasCreated(t *testing.T) {
	t.Parallel()
	db := running(t)
	e := entry(1, "")
	created(t, db, e)
	l := loaded(t, db, 1)
	e.Digest = stint.Digest{} // serves the key alone
	same(t, "entry", l.Entry, e)
	same(t, "status", l.Status, stint.Queued)
	if _, err := db.Load(t.Context(), id(2)); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("one that does not exist: %v", err)
	}
}

func TestAKeyGivesOneExecution(t *testing.T) {
	t.Parallel()
	db := running(t)
	first := entry(1, "k")
	created(t, db, first)
	again := entry(2, "k")
	again.Digest = first.Digest
	got, err := db.Create(t.Context(), again, nil)
	if err != nil || got.ID != first.ID {
		t.Errorf("the same request again: %s, %v; want %s", got.ID, err, first.ID)
	}
	if _, err := db.Create(t.Context(), entry(3, "k"), nil); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("another request under the key: %v", err)
	}
	if x, err := db.ByKey(t.Context(), "k", first.Digest); err != nil || x != first.ID {
		t.Errorf("by key: %s, %v", x, err)
	}
	if _, err := db.ByKey(t.Context(), "k", stint.Digest{7}); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("by key with another request: %v", err)
	}
	if _, err := db.ByKey(t.Context(), "other", first.Digest); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("by a key that was not used: %v", err)
	}
	created(t, db, entry(4, "")) // without a key every request is another
	created(t, db, entry(5, ""))
	ids, err := db.Unsettled(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "executions", ids, []stint.ExecutionID{id(1), id(4), id(5)})
}

func TestOfManySubmissionsUnderAKeyOneIsMade(t *testing.T) {
	t.Parallel()
	db := running(t)
	var wait sync.WaitGroup
	got := make([]stint.ExecutionID, 16)
	for i := range got {
		wait.Go(func() {
			e := entry(i+1, "k")
			e.Digest = stint.Digest{1}
			made, err := db.Create(t.Context(), e, nil)
			if err != nil {
				t.Error(err)
			}
			got[i] = made.ID
		})
	}
	wait.Wait()
	for _, x := range got {
		if x != got[0] {
			t.Fatalf("executions %v", got)
		}
	}
}

func TestAnOwnerThatWasReplacedTakesInNothing(t *testing.T) {
	t.Parallel()
	db := running(t)
	created(t, db, entry(1, "k"))
	epoch, err := db.TakeOver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if now, err := db.Epoch(t.Context()); err != nil || now != epoch {
		t.Errorf("epoch %d, %v; want %d", now, err, epoch)
	}
	for _, e := range []Entry{entry(2, ""), entry(3, "other")} {
		if _, err := db.Create(t.Context(), e, nil); stint.CodeOf(err) != stint.Unavailable {
			t.Errorf("create %s: %v", e.ID, err)
		}
	}
	if _, err := db.SaveNode(t.Context(), 1, stint.Node{ID: "n1", Name: "a"}); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("save node: %v", err)
	}
	ids, err := db.Unsettled(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "executions", ids, []stint.ExecutionID{id(1)})
}

func TestBatchesAreReadInOrder(t *testing.T) {
	t.Parallel()
	db := running(t)
	created(t, db, entry(1, ""))
	committed(t, db, batch(1, 0, grant(1), grant(2)))
	committed(t, db, batch(1, 2, grant(3)))
	end := batch(1, 3, coord.Record{At: 4, Status: &coord.StatusRecord{Status: stint.Terminated, Settled: true}})
	end.Status, end.Settled = stint.Terminated, true
	committed(t, db, end)
	if o, err := db.Outline(t.Context(), id(1)); err != nil || o.Status != stint.Terminated || !o.Settled {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := db.Outline(t.Context(), id(2)); stint.CodeOf(err) != stint.NotFound {
		t.Error(err)
	}
	l := loaded(t, db, 1)
	same(t, "records", l.Records, []coord.Record{grant(1), grant(2), grant(3), end.Records[0]})
	if l.Status != stint.Terminated || !l.Settled {
		t.Errorf("status %s, settled %v", l.Status, l.Settled)
	}
	ids, err := db.Unsettled(t.Context())
	if err != nil || len(ids) != 0 {
		t.Errorf("unsettled: %v, %v", ids, err)
	}
}

func TestABatchOfAnotherHistoryIsRefused(t *testing.T) {
	t.Parallel()
	db := running(t)
	created(t, db, entry(1, ""))
	committed(t, db, batch(1, 0, grant(1)))
	for name, b := range map[string]Batch{
		"the same again":    batch(1, 0, grant(1)),
		"after a gap":       batch(1, 2, grant(2)),
		"of no execution":   batch(9, 0, grant(1)),
		"an empty one late": batch(1, 0),
	} {
		if err := commit(t, db, b); stint.CodeOf(err) != stint.Conflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	same(t, "records", loaded(t, db, 1).Records, []coord.Record{grant(1)})
}

func TestAnOwnerThatWasReplacedCommitsNothing(t *testing.T) {
	t.Parallel()
	db := running(t)
	created(t, db, entry(1, ""))
	created(t, db, entry(2, ""))
	over := batch(2, 0, coord.Record{At: 1, Status: &coord.StatusRecord{Status: stint.Terminated, Settled: true}})
	over.Settled = true
	committed(t, db, over)
	epoch, err := db.TakeOver(t.Context())
	if err != nil || epoch != 2 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	if err := commit(t, db, batch(1, 0, grant(1))); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("the old owner: %v", err)
	}
	b := batch(1, 0, grant(2))
	b.Epoch = epoch
	committed(t, db, b)
	same(t, "records", loaded(t, db, 1).Records, []coord.Record{grant(2)})
	if got := loaded(t, db, 2).Epoch; got != 1 {
		t.Errorf("a settled execution is in epoch %d", got)
	}
}

func TestInAGroupABatchIsRefusedAlone(t *testing.T) {
	t.Parallel()
	db := owned(t, filepath.Join(t.TempDir(), "record.db"))
	for n := 1; n <= 3; n++ {
		created(t, db, entry(n, ""))
	}
	var done [5]chan error
	for i, b := range []Batch{batch(1, 0, grant(1)), batch(2, 7, grant(2)), batch(3, 0, grant(3)), batch(1, 1, grant(4)), batch(1, 1, grant(5))} {
		done[i] = make(chan error, 1)
		if err := db.Commit(t.Context(), b, done[i]); err != nil {
			t.Fatal(err)
		}
	}
	run(t, db) // all are queued: they are one group
	for i, refused := range []bool{false, true, false, false, true} {
		if err := <-done[i]; refused != (stint.CodeOf(err) == stint.Conflict) || !refused && err != nil {
			t.Errorf("batch %d: %v", i, err)
		}
	}
	same(t, "records of 1", loaded(t, db, 1).Records, []coord.Record{grant(1), grant(4)})
	same(t, "records of 2", loaded(t, db, 2).Records, []coord.Record(nil))
	same(t, "records of 3", loaded(t, db, 3).Records, []coord.Record{grant(3)})
}

func TestABatchThatCannotBeWrittenIsUnknownAndTheOthersOfItsGroupAreCommitted(t *testing.T) {
	t.Parallel()
	db := owned(t, filepath.Join(t.TempDir(), "record.db"))
	created(t, db, entry(1, ""))
	created(t, db, entry(2, ""))
	if _, err := db.write.ExecContext(t.Context(), "INSERT INTO journal (execution, version, records) VALUES ($1, 1, 'x')", string(id(2))); err != nil {
		t.Fatal(err)
	}
	var done [4]chan error
	for i, b := range []Batch{batch(1, 0, grant(1)), batch(1, 7, grant(1)), batch(2, 0, grant(2)), batch(1, 1, grant(3))} {
		done[i] = make(chan error, 1)
		if err := db.Commit(t.Context(), b, done[i]); err != nil {
			t.Fatal(err)
		}
	}
	run(t, db)
	for i, want := range []stint.Code{"", stint.Conflict, stint.Unknown, ""} {
		if err := <-done[i]; stint.CodeOf(err) != want {
			t.Errorf("batch %d: %v, want %s", i, err, want)
		}
	}
	same(t, "records of 1", loaded(t, db, 1).Records, []coord.Record{grant(1), grant(3)})
}

func snapshot(version uint64, chunks ...coord.Chunk) *coord.Snapshot {
	return &coord.Snapshot{Version: version, Chunks: chunks, Core: coord.Core{Base: 5, Status: stint.InProgress, Counters: map[string]map[string]int64{"g": {"n": 3}}}}
}

func TestASnapshotReplacesTheJournal(t *testing.T) {
	t.Parallel()
	db := running(t)
	created(t, db, entry(1, ""))
	committed(t, db, batch(1, 0, grant(1)))
	b := batch(1, 1, grant(2))
	b.Snapshot = snapshot(2, coord.Chunk{Stage: 0, Data: []byte("a")}, coord.Chunk{Stage: 1, Data: []byte("b")})
	b.Document = &stint.Execution{ID: id(1), Status: stint.InProgress, Version: 2}
	committed(t, db, b)
	l := loaded(t, db, 1)
	same(t, "snapshot", l.Snapshot, b.Snapshot)
	same(t, "records", l.Records, []coord.Record(nil))
	committed(t, db, batch(1, 2, grant(3)))
	// A later one rewrites the chunks that changed.
	b = batch(1, 3, grant(4))
	b.Snapshot = snapshot(4, coord.Chunk{Stage: 1, Data: []byte("B")})
	b.Document = &stint.Execution{ID: id(1), Status: stint.InProgress, Version: 4}
	committed(t, db, b)
	committed(t, db, batch(1, 4, grant(5)))
	l = loaded(t, db, 1)
	same(t, "records", l.Records, []coord.Record{grant(5)})
	same(t, "snapshot", l.Snapshot, snapshot(4, coord.Chunk{Stage: 0, Data: []byte("a")}, coord.Chunk{Stage: 1, Data: []byte("B")}))
	list, err := db.List(t.Context(), Filter{Limit: 5})
	if err != nil || len(list) != 1 || list[0].Document.Version != 4 {
		t.Errorf("list: %+v, %v", list, err)
	}
	// A refused batch leaves the snapshot alone.
	b = batch(1, 4, grant(6))
	b.Snapshot = snapshot(5)
	b.Document = &stint.Execution{}
	if err := commit(t, db, b); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("after another history: %v", err)
	}
	same(t, "version", loaded(t, db, 1).Snapshot.Version, uint64(4))
}

func TestList(t *testing.T) {
	t.Parallel()
	db := running(t)
	for n := 1; n <= 4; n++ {
		e := entry(n, "")
		e.Created = 1000 // all in one millisecond
		e.Request.Program.Name = fmt.Sprintf("Program-%d", n)
		created(t, db, e)
	}
	committed(t, db, batch(2, 0, grant(1)))
	for _, c := range []struct {
		rule string
		f    Filter
		want []stint.ExecutionID
	}{
		{"newest first", Filter{Limit: 9}, []stint.ExecutionID{id(4), id(3), id(2), id(1)}},
		{"at most so many", Filter{Limit: 2}, []stint.ExecutionID{id(4), id(3)}},
		{"before", Filter{Limit: 9, Before: 3}, []stint.ExecutionID{id(2), id(1)}},
		{"by status", Filter{Limit: 9, Status: stint.InProgress}, []stint.ExecutionID{id(2)}},
		{"by name, letters of either case alike", Filter{Limit: 9, Search: "rUN 3"}, []stint.ExecutionID{id(3)}},
		{"by program", Filter{Limit: 9, Search: "program-2"}, []stint.ExecutionID{id(2)}},
		{"by id", Filter{Limit: 9, Search: "000004"}, []stint.ExecutionID{id(4)}},
		{"a percent sign is a percent sign", Filter{Limit: 9, Search: "%"}, nil},
	} {
		list, err := db.List(t.Context(), c.f)
		if err != nil {
			t.Fatal(err)
		}
		var got []stint.ExecutionID
		for _, l := range list {
			got = append(got, l.ID)
		}
		same(t, c.rule, got, c.want)
	}
}

func TestANodeOfTheSameNameReplacesTheOneThatHadIt(t *testing.T) {
	t.Parallel()
	db := running(t)
	node := func(id, name string, incarnation stint.Incarnation) stint.Node {
		return stint.Node{ID: stint.NodeID(id), Name: name, Incarnation: incarnation, Status: stint.NodeReady, Slots: 2, Address: "a:1", Since: time.UnixMilli(5).UTC()}
	}
	for _, c := range []struct {
		node     stint.Node
		replaced []stint.NodeID
	}{
		{node("n1", "alpha", 1), nil},
		{node("n2", "beta", 1), nil},
		{node("n1", "alpha", 2), nil},
		{node("n3", "alpha", 1), []stint.NodeID{"n1"}},
		{node("n4", "alpha", 1), []stint.NodeID{"n3"}},
	} {
		replaced, err := db.SaveNode(t.Context(), 1, c.node)
		if err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprintf("replaced by %s", c.node.ID), replaced, c.replaced)
	}
	if _, err := db.SaveNode(t.Context(), 1, node("n1", "alpha", 3)); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("the one that was replaced, again: %v", err)
	}
	_, err := db.SaveNode(t.Context(), 1, node("n2", "elsewhere", 0))
	if stale, ok := errors.AsType[*stint.StaleIncarnation](err); !ok || stale.Known != 1 || stint.CodeOf(err) != stint.Conflict {
		t.Errorf("a start before the one that is known: %v", err)
	}
	got, err := db.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	one, three := node("n1", "alpha", 2), node("n3", "alpha", 1)
	one.Status, three.Status = stint.NodeLost, stint.NodeLost
	if replaced, err := db.SaveNode(t.Context(), 1, node("n1", "gamma", 3)); err != nil || len(replaced) > 0 {
		t.Errorf("the one that was replaced, under another name: replaces %v, %v", replaced, err)
	}
	same(t, "nodes", got, []KnownNode{{Node: one}, {Node: node("n2", "beta", 1)}, {Node: three}, {Node: node("n4", "alpha", 1)}})
}

func TestARecordThatWasClosedWithoutRunIsOpenedAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a folder", "record?.db")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 3; n++ {
		db, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if epoch, err := db.TakeOver(t.Context()); err != nil || int(epoch) != n {
			t.Errorf("epoch %d, %v; want %d", epoch, err, n)
		}
		e := entry(n, "")
		e.Epoch = stint.Epoch(n)
		created(t, db, e)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestARecordOfANewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "record.db")
	db, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.write.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path); stint.CodeOf(err) != stint.Invalid {
		t.Errorf("opened: %v", err)
	}
}

// TestACopyOfTheFilesHoldsWhatWasAcknowledged copies the files while batches are
// being committed, as a kill would leave them, and opens the copies. The log is
// copied after the file: between the two nothing is moved from one to the other.
func TestACopyOfTheFilesHoldsWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "record.db")
	db := owned(t, path)
	if _, err := db.write.ExecContext(t.Context(), "PRAGMA wal_autocheckpoint = 0"); err != nil {
		t.Fatal(err)
	}
	run(t, db)
	for n := 1; n <= 4; n++ {
		created(t, db, entry(n, ""))
	}
	for round := range 12 {
		for n := 1; n <= 3; n++ {
			b := batch(n, uint64(round), grant(round+1))
			if round%4 == 3 {
				b.Snapshot, b.Document = snapshot(uint64(round+1)), &stint.Execution{ID: id(n)}
			}
			committed(t, db, b)
		}
		// One more is on its way while the files are copied.
		flying := make(chan error, 1)
		if err := db.Commit(t.Context(), batch(4, uint64(round), grant(1)), flying); err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(dir, fmt.Sprintf("copy%d.db", round))
		copyFile(t, path, copied)
		copyFile(t, path+"-wal", copied+"-wal")
		if err := <-flying; err != nil {
			t.Fatal(err)
		}
		after := opened(t, copied)
		for n := 1; n <= 3; n++ {
			l := loaded(t, after, n)
			version := uint64(len(l.Records))
			if l.Snapshot != nil {
				version += l.Snapshot.Version
			}
			if version != uint64(round+1) {
				t.Fatalf("round %d: execution %d has version %d in the copy", round, n, version)
			}
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, in.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestACommitThatDoesNotGetIntoTheQueueIsGivenUp(t *testing.T) {
	t.Parallel()
	db := opened(t, filepath.Join(t.TempDir(), "record.db"))
	ctx, cancel := context.WithCancel(t.Context())
	for range queueLength {
		if err := db.Commit(ctx, batch(1, 0), make(chan error, 1)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := db.Commit(ctx, batch(1, 0), make(chan error, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("with a full queue and an ended context: %v", err)
	}
}
