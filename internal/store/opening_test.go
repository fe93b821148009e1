package store

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"stint"
)

// A process that gives up while it opens a record that was killed leaves it so
// that the next one can.
func TestAnOpeningThatFailsLeavesAKilledRecordAsItIs(t *testing.T) {
	t.Parallel()
	path := killed(t, 3)
	db, err := Open(t.Context(), path)
	check(t, err)
	_, err = db.write.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, TRUE)")
	check(t, err)
	newer := filepath.Join(t.TempDir(), "record.db")
	for _, suffix := range []string{"", "-wal", openSuffix} {
		copyFile(t, path+suffix, newer+suffix)
	}
	check(t, db.Close())
	log, err := os.ReadFile(newer + "-wal")
	check(t, err)
	for range 2 {
		if db, err := Open(t.Context(), newer); !errors.Is(err, ErrNewer) {
			t.Fatalf("%v, %v", db, err)
		}
		if b, err := os.ReadFile(newer + "-wal"); err != nil || string(b) != string(log) {
			t.Fatalf("the log was changed: %d bytes, they were %d; %v", len(b), len(log), err)
		}
	}
}

func TestTheLogOfAKilledRecordIsWrittenAnew(t *testing.T) {
	t.Parallel()
	path, alone := killed(t, 3), filepath.Join(t.TempDir(), "record.db")
	opened(t, path)
	copyFile(t, path, alone) // without its log
	if n := entries(t, alone); n != 3 {
		t.Errorf("%d entries are in the record itself", n)
	}
}

// reading returns a connection that keeps reading what the record is at this moment,
// as another process would, until stop is called.
func reading(t *testing.T, path string) (stop func()) {
	t.Helper()
	db, err := sql.Open("sqlite", fileName(path))
	check(t, err)
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(t.Context(), "BEGIN")
	check(t, err)
	var n int
	check(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM executions").Scan(&n))
	return func() { check(t, db.Close()) }
}

// impatient has a record not wait for who reads it.
func impatient(t *testing.T, write *sql.DB) {
	t.Helper()
	_, err := write.ExecContext(t.Context(), "PRAGMA busy_timeout(0)")
	check(t, err)
}

func TestARecordWhoseLogCannotBeEmptiedStaysMarked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "record.db")
	db, err := Open(t.Context(), path)
	check(t, err)
	_, err = db.TakeOver(t.Context())
	check(t, err)
	created(t, db, entry(1, ""))
	impatient(t, db.write)
	stop := reading(t, path)
	if err := db.Close(); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("closed while it is read: %v", err)
	}
	stop()
	if _, err := os.Stat(path + openSuffix); err != nil {
		t.Error(err)
	}
	if log, err := os.Stat(path + "-wal"); err != nil || log.Size() == 0 {
		t.Errorf("its log: %v, %v", log, err)
	}
	if n := entries(t, path); n != 1 {
		t.Errorf("%d entries", n)
	}
}

func TestARecordIsNotOpenedBeforeItsLogIsEmptied(t *testing.T) {
	t.Parallel()
	path := killed(t, 3)
	stop := reading(t, path)
	write, err := open(path, "immediate")
	check(t, err)
	write.SetMaxOpenConns(1)
	impatient(t, write)
	db := &DB{path: path, write: write}
	if err := db.empty(t.Context(), path); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("while it is read: %v", err)
	}
	stop()
	check(t, db.empty(t.Context(), path))
	check(t, write.Close())
}
