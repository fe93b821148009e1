package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stint"
	"stint/internal/coord"
)

func TestACopyIsOfOneMomentWhileTheRecordIsWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "record.db")
	db := owned(t, path)
	run(t, db)
	created(t, db, entry(1, ""))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	rounds := make(chan struct{}, 1)
	go func() { // both tables in every transaction, and the log begins anew again and again
		after, budget := uint64(0), 0
		for ctx.Err() == nil {
			if budget--; budget < 0 { // a copy can be had as long as nobody writes without end
				select {
				case <-rounds:
					budget = 500
				case <-ctx.Done():
				}
				continue
			}
			b := batch(1, after, grant(int(after)+1))
			if after++; after%50 == 0 {
				b.Snapshot = snapshot(after, coord.Chunk{Data: bytes.Repeat([]byte{byte(after)}, 200_000)})
			}
			done := make(chan error, 1)
			if err := errors.Join(db.Commit(ctx, b, done)); err != nil {
				break
			}
			if err := <-done; err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	last := uint64(0)
	for range 40 {
		select {
		case rounds <- struct{}{}:
		default:
		}
		c, err := OpenCopy(t.Context(), path, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.CheckIntegrity(t.Context()); err != nil {
			t.Error(err)
		}
		l, err := c.Load(t.Context(), id(1))
		if err != nil {
			t.Fatal(err)
		}
		from := uint64(0)
		if l.Snapshot != nil {
			from = l.Snapshot.Version
		}
		if l.Version < last || from+uint64(len(l.Records)) != l.Version {
			t.Fatalf("version %d after %d, snapshot of %d and %d records", l.Version, last, from, len(l.Records))
		}
		last = l.Version
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A log that begins anew while it is copied leaves a copy that begins as the one
// before and ends as the one after.
func TestALogThatBeginsAnewWhileItIsCopiedIsCopiedAgain(t *testing.T) {
	t.Parallel()
	path, to := filepath.Join(t.TempDir(), "record.db"), filepath.Join(t.TempDir(), "record.db")
	db := owned(t, path)
	run(t, db)
	created(t, db, entry(1, ""))
	acknowledged := uint64(0)
	write := func() {
		t.Helper()
		for range 20 {
			done := make(chan error, 1)
			if err := db.Commit(t.Context(), batch(1, acknowledged, grant(int(acknowledged)+1)), done); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			acknowledged++
		}
	}
	write()
	logs := 0
	err := copyRecord(t.Context(), path, to, func(ctx context.Context, from, to string) error {
		if err := copyWhole(ctx, from, to); err != nil || filepath.Ext(from) != ".db-wal" {
			return err
		}
		if logs++; logs > 1 {
			return nil
		}
		if _, err := db.write.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			return err
		}
		write()
		before, err := os.ReadFile(to)
		if err != nil {
			return err
		}
		after, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		half := min(len(before), len(after)) / 2
		return os.WriteFile(to, append(before[:half:half], after[half:]...), 0o600)
	})
	if err != nil || logs != 2 {
		t.Fatalf("%v; the log was copied %d times", err, logs)
	}
	c, err := Open(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Load(t.Context(), id(1))
	if err != nil || l.Version != acknowledged {
		t.Errorf("%v: the copy is of version %d, %d was acknowledged", err, l.Version, acknowledged)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestACopyIsRefusedAsTheRecordWouldBe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "record.db")
	if _, err := OpenCopy(t.Context(), path, t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none is there: %v", err)
	}
	db := owned(t, path)
	torn := t.TempDir()
	for _, suffix := range []string{"", openSuffix} {
		copyFile(t, path+suffix, filepath.Join(torn, "record.db"+suffix))
	}
	if _, err := OpenCopy(t.Context(), filepath.Join(torn, "record.db"), t.TempDir()); !errors.Is(err, ErrTorn) {
		t.Errorf("without its log: %v", err)
	}
	if _, err := db.write.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCopy(t.Context(), path, t.TempDir()); !errors.Is(err, ErrNewer) {
		t.Errorf("of a newer version: %v", err)
	}
	bad := filepath.Join(t.TempDir(), "record.db")
	if err := os.WriteFile(bad, bytes.Repeat([]byte("no record "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCopy(t.Context(), bad, t.TempDir()); !errors.Is(err, ErrDamaged) {
		t.Errorf("no record: %v", err)
	}
}

func TestACopyOfARecordThatWasKilledWhileItWasMadeIsTakenBack(t *testing.T) {
	t.Parallel()
	from, to := filepath.Join(t.TempDir(), "record.db"), filepath.Join(t.TempDir(), "record.db")
	db, err := sql.Open("sqlite", fileName(from))
	check(t, err)
	db.SetMaxOpenConns(1)
	for _, statement := range []string{"PRAGMA cache_size = 1", "BEGIN", "CREATE TABLE t (v TEXT)"} {
		_, err = db.ExecContext(t.Context(), statement)
		check(t, err)
	}
	for range 100 { // more than its memory holds: they go into the file before the commit
		_, err = db.ExecContext(t.Context(), "INSERT INTO t VALUES (hex(zeroblob(2000)))")
		check(t, err)
	}
	for _, suffix := range []string{"", "-journal"} {
		copyFile(t, from+suffix, to+suffix)
	}
	check(t, db.Close())
	before, err := os.ReadFile(to)
	check(t, err)
	c, err := OpenCopy(t.Context(), to, t.TempDir())
	check(t, err)
	check(t, c.Close())
	if after, err := os.ReadFile(to); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the record was changed: %v", err)
	}
	if n := entries(t, to); n != 0 {
		t.Errorf("%d entries", n)
	}
}

func TestWhatIsAlteredWithinAValueIsRefused(t *testing.T) {
	t.Parallel()
	for what, statement := range map[string]string{
		"request":     "UPDATE executions SET request = replace(request, X'52756E', X'52656E')",
		"snapshot":    "UPDATE executions SET core = substr(core, 1, length(core) - 1) || X'01'",
		"chunk":       "UPDATE chunks SET data = X'07' || substr(data, 2)",
		"the journal": "UPDATE journal SET records = substr(records, 1, length(records) - 1) || X'79'",
		"is due":      "DELETE FROM journal WHERE version = 3",
	} {
		db := running(t)
		created(t, db, entry(1, ""))
		b := batch(1, 0, grant(1))
		b.Snapshot = snapshot(1, coord.Chunk{Data: []byte{1, 2, 3}})
		committed(t, db, b)
		for n := range uint64(3) {
			committed(t, db, batch(1, 1+n, grant(int(n)+2)))
		}
		loaded(t, db, 1)
		result, err := db.write.ExecContext(t.Context(), statement)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			t.Fatalf("%s changed %d rows: %v", statement, n, err)
		}
		if _, err := db.Load(t.Context(), id(1)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestWhatWasWrittenBeforeThereWereSumsIsTaken(t *testing.T) {
	t.Parallel()
	db := running(t)
	created(t, db, entry(1, ""))
	b := batch(1, 0, grant(1))
	b.Snapshot = snapshot(1, coord.Chunk{Data: []byte{1, 2, 3}})
	committed(t, db, b)
	committed(t, db, batch(1, 1, grant(2)))
	for _, statement := range []string{"UPDATE executions SET entry_sum = NULL, core_sum = NULL", "UPDATE journal SET sum = NULL", "UPDATE chunks SET sum = NULL"} {
		if _, err := db.write.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if l := loaded(t, db, 1); l.Version != 2 || len(l.Records) != 1 {
		t.Errorf("%+v", l)
	}
}

func TestEntriesOfAnExecutionThatIsNotListedAreFound(t *testing.T) {
	t.Parallel()
	db := running(t)
	created(t, db, entry(1, ""))
	committed(t, db, batch(1, 0, grant(1)))
	if list, err := db.Strays(t.Context()); err != nil || list != nil {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := db.write.ExecContext(t.Context(), "DELETE FROM executions"); err != nil {
		t.Fatal(err)
	}
	list, err := db.Strays(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "strays", list, []stint.ExecutionID{id(1)})
}
