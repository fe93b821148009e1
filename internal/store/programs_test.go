package store

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

func version(name, digits string, uploaded int64) RegisteredVersion {
	return RegisteredVersion{
		Version: digits, Manifest: "name: " + name + "\n", Size: 7, Uploaded: uploaded, By: "me",
		Program: stint.Program{Name: name, Stages: []stint.Stage{{Name: "map", Action: stint.Action{Command: []string{"cat"}}}}},
	}
}

func TestVersionsOfProgramsAreKeptInTheOrderOfTheirUploads(t *testing.T) {
	t.Parallel()
	db, ctx := opened(t, filepath.Join(t.TempDir(), "store.db")), t.Context()
	epoch, err := db.TakeOver(ctx)
	if err != nil {
		t.Fatal(err)
	}
	a1, a2, b := version("a", "ab1", 3), version("a", "ab2", 2), version("b", "ab1", 1) // the clock goes back
	for _, v := range []RegisteredVersion{a1, a2, b} {
		if err := db.SaveProgram(ctx, epoch, v); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want []RegisteredVersion, name, prefix string) {
		t.Helper()
		got, err := db.ProgramVersions(ctx, name, prefix)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s@%s: %v %s", name, prefix, err, diff)
		}
	}
	check([]RegisteredVersion{a2, a1}, "a", "")
	check([]RegisteredVersion{a1}, "a", "ab1")
	check(nil, "a", "%")
	check(nil, "c", "")
	a1.Uploaded, a1.By = 0, "you"
	if err := db.SaveProgram(ctx, epoch, a1); err != nil {
		t.Fatal(err)
	}
	check([]RegisteredVersion{a1, a2}, "a", "ab")
	all, err := db.Programs(ctx)
	if diff := cmp.Diff([]RegisteredVersion{a1, b}, all); err != nil || diff != "" {
		t.Errorf("newest: %v %s", err, diff)
	}

	if err := db.SaveProgram(ctx, epoch-1, a2); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("saved by an owner whose time is over: %v", err)
	}
	unused := func(stint.Program) bool { return false }
	if err := db.RemoveProgram(ctx, epoch-1, "a", []string{"ab1"}, unused); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("removed by an owner whose time is over: %v", err)
	}
	if err := db.RemoveProgram(ctx, epoch, "a", []string{"ab1"}, unused); err != nil {
		t.Error(err)
	}
	check([]RegisteredVersion{a2}, "a", "")
	check([]RegisteredVersion{b}, "b", "")
}

func TestProgramsOfExecutionsThatAreNotOverStay(t *testing.T) {
	t.Parallel()
	db, ctx := opened(t, filepath.Join(t.TempDir(), "store.db")), t.Context()
	epoch, err := db.TakeOver(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v := version("a", "ab1", 1)
	if err := db.SaveProgram(ctx, epoch, v); err != nil {
		t.Fatal(err)
	}
	for n := range 7 {
		e := entry(n+1, "")
		e.Epoch, e.Request.Program = epoch, v.Program
		if _, err := db.Create(ctx, e, nil); err != nil {
			t.Fatal(err)
		}
	}
	err = db.RemoveProgram(ctx, epoch, "a", []string{"ab1"}, func(p stint.Program) bool { return p.Name == "a" })
	if stint.CodeOf(err) != stint.Conflict || !strings.Contains(err.Error(), "in_use: by executions x-") || !strings.Contains(err.Error(), "and 2 more") {
		t.Errorf("%v", err)
	}
	if list, err := db.ProgramVersions(ctx, "a", ""); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
	if err := db.RemoveProgram(ctx, epoch, "a", []string{"ab1"}, func(stint.Program) bool { return false }); err != nil {
		t.Errorf("of another version: %v", err)
	}
}

// What passes is said to: a disk that is full, and another process that holds the
// record. What was refused is not there, and the next is taken.
func TestCommitsThatTheMachineRefusesSayWhy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		refuse func(t *testing.T, db *DB) (relieve func())
		full   bool
		says   string
	}{
		"full": {func(t *testing.T, db *DB) func() {
			t.Helper()
			limit := func(pages int) {
				var now int
				check(t, db.write.QueryRowContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages)).Scan(&now))
			}
			limit(1) // it is as large already
			return func() { limit(1 << 20) }
		}, true, "no_space: record "},
		"held": {func(t *testing.T, db *DB) func() {
			t.Helper()
			_, err := db.write.ExecContext(t.Context(), "PRAGMA busy_timeout = 1")
			check(t, err)
			other, err := open(db.path, "immediate")
			check(t, err)
			t.Cleanup(func() { check(t, other.Close()) })
			tx, err := other.BeginTx(t.Context(), nil)
			check(t, err)
			return func() { check(t, tx.Rollback()) }
		}, false, "record_held: record "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, ctx := opened(t, filepath.Join(t.TempDir(), "store.db")), t.Context()
			epoch, err := db.TakeOver(ctx)
			check(t, err)
			relieve := c.refuse(t, db)
			v := version("a", "ab1", 1)
			v.Manifest = strings.Repeat("# large\n", 10_000)
			statement := db.SaveProgram(ctx, epoch, v)
			transaction := db.inTx(ctx, func(tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO drafts (execution, output) VALUES ('x', $1)", v.Manifest)
				return err
			})
			for _, err := range []error{statement, transaction} {
				if stint.CodeOf(err) != stint.Unavailable || !strings.HasPrefix(err.Error(), c.says) || strings.Contains(err.Error(), "\n") || errors.Is(err, syscall.ENOSPC) != c.full {
					t.Errorf("refused with %v: %v", stint.CodeOf(err), err)
				}
			}
			relieve()
			check(t, db.SaveProgram(ctx, epoch, v))
			all, err := db.Programs(ctx)
			if err != nil || len(all) != 1 {
				t.Errorf("%d programs, %v", len(all), err)
			}
		})
	}
}
