package store

import (
	"path/filepath"
	"testing"

	"stint"
	"stint/internal/coord"
)

func begun(version uint64, base int64) Begun {
	return Begun{
		Status: stint.Suspended, Document: &stint.Execution{Name: "begun"},
		Snapshot: coord.Snapshot{Version: version, Core: coord.Core{Base: base}, Chunks: []coord.Chunk{{Stage: 0, Index: 0, Data: []byte{byte(base)}}}},
	}
}

func TestAnEntryMayBeginWithASnapshot(t *testing.T) {
	t.Parallel()
	db := running(t)
	b := begun(40, 7)
	if _, err := db.Create(t.Context(), entry(1, "k"), &b); err != nil {
		t.Fatal(err)
	}
	l := loaded(t, db, 1)
	same(t, "version", l.Version, uint64(40))
	same(t, "status", l.Status, stint.Suspended)
	same(t, "snapshot", *l.Snapshot, b.Snapshot)
	committed(t, db, batch(1, 40, grant(1)))
	other := begun(50, 8)
	if e, err := db.Create(t.Context(), func() Entry { e := entry(1, "k"); e.ID = id(2); return e }(), &other); err != nil || e.ID != id(1) {
		t.Errorf("the key again: %v, %v", e.ID, err)
	}
	if _, err := db.Load(t.Context(), id(2)); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("a snapshot was kept of what was not created: %v", err)
	}
}

func TestARebaseReplacesAllThatIsKept(t *testing.T) {
	t.Parallel()
	db := running(t)
	first := begun(3, 1)
	first.Snapshot.Chunks = append(first.Snapshot.Chunks, coord.Chunk{Stage: 4, Index: 2, Data: []byte{9}})
	if _, err := db.Create(t.Context(), entry(1, ""), &first); err != nil {
		t.Fatal(err)
	}
	committed(t, db, batch(1, 3, grant(1), grant(2)))
	e := entry(1, "")
	e.Created, e.Listing, e.Choice.Partitions, e.Request.Name = 77, stint.Digest{8}, 6, "changed"
	b := begun(9, 2)
	for _, version := range []uint64{3, 6} {
		if err := db.Rebase(t.Context(), e, version, b); stint.CodeOf(err) != stint.Conflict {
			t.Errorf("after version %d: %v", version, err)
		}
	}
	stale := e
	stale.Epoch = 0
	if err := db.Rebase(t.Context(), stale, 5, b); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("by another owner: %v", err)
	}
	same(t, "records of an entry that was not rebased", len(loaded(t, db, 1).Records), 2)
	if err := db.Rebase(t.Context(), e, 5, b); err != nil {
		t.Fatal(err)
	}
	l := loaded(t, db, 1)
	e.Digest = stint.Digest{}
	same(t, "entry", l.Entry, e)
	same(t, "snapshot", *l.Snapshot, b.Snapshot)
	same(t, "records", len(l.Records), 0)
	same(t, "version", l.Version, uint64(9))
	if err := commit(t, db, batch(1, 5, grant(1))); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("a commit to the state that was replaced: %v", err)
	}
	committed(t, db, batch(1, 9, grant(1)))
}

func TestOnlyARevivingCommitWakesASettledExecution(t *testing.T) {
	t.Parallel()
	db := running(t)
	created(t, db, entry(1, ""))
	created(t, db, entry(2, ""))
	over := batch(1, 0, grant(1))
	over.Settled = true
	committed(t, db, over)
	if _, err := db.TakeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := batch(1, 1, grant(2))
	next.Epoch = 2
	if err := commit(t, db, next); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("an ordinary commit: %v", err)
	}
	next.Revive, next.Epoch = true, 1
	if err := commit(t, db, next); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("by an owner of an earlier epoch: %v", err)
	}
	next.Epoch = 2
	committed(t, db, next)
	if l := loaded(t, db, 1); l.Settled || l.Epoch != 2 || l.Version != 2 {
		t.Errorf("revived: %+v", l)
	}
	live := batch(2, 0, grant(1))
	live.Revive = true
	if err := commit(t, db, live); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("one that is live, by an earlier owner: %v", err)
	}
}

func TestDrainingIsKeptOverAttachments(t *testing.T) {
	t.Parallel()
	db := running(t)
	n := stint.Node{ID: "n-1", Name: "a", Status: stint.NodeReady}
	save := func() error {
		_, err := db.SaveNode(t.Context(), 1, n)
		return err
	}
	if err := db.Drain(t.Context(), 1, "n-1", true, 5); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("a node that never was: %v", err)
	}
	for _, err := range []error{save(), db.Drain(t.Context(), 1, "n-1", true, 5), save()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	nodes, err := db.Nodes(t.Context())
	if err != nil || len(nodes) != 1 || !nodes[0].Draining || nodes[0].By != 5 || nodes[0].Status != stint.NodeReady {
		t.Errorf("%+v, %v", nodes, err)
	}
	if err := db.Drain(t.Context(), 7, "n-1", false, 0); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("by another owner: %v", err)
	}
	if err := db.RemoveNode(t.Context(), 1, "n-1"); err != nil {
		t.Fatal(err)
	}
	if nodes, err := db.Nodes(t.Context()); err != nil || len(nodes) != 0 {
		t.Errorf("a removed node is listed: %+v, %v", nodes, err)
	}
	if err := save(); stint.CodeOf(err) != stint.Denied {
		t.Errorf("a removed node comes again: %v", err)
	}
	if err := db.RemoveNode(t.Context(), 1, "n-1"); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("removed again: %v", err)
	}
	n.ID = "n-2"
	if err := save(); err != nil {
		t.Errorf("another node under the name of a removed one: %v", err)
	}
}

func TestAServiceIsKnownByOneNumber(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	numbers := make(map[int64]bool)
	for _, name := range []string{"a", "a", "b"} {
		db := opened(t, filepath.Join(dir, name))
		n, err := db.Service(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		numbers[n] = true
	}
	if len(numbers) != 2 {
		t.Errorf("numbers %v of two records", numbers)
	}
}
