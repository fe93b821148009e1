package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
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
