package store

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"stint"
)

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// killed returns the path of a record with n entries as a server that was killed
// leaves it: not closed, the latest changes in its log.
func killed(t *testing.T, n int) string {
	t.Helper()
	from, to := filepath.Join(t.TempDir(), "record.db"), filepath.Join(t.TempDir(), "record.db")
	db := owned(t, from)
	for i := 1; i <= n; i++ {
		created(t, db, entry(i, ""))
	}
	for _, suffix := range []string{"", "-wal", openSuffix} {
		copyFile(t, from+suffix, to+suffix)
	}
	return to
}

func entries(t *testing.T, path string) int {
	t.Helper()
	db, err := Open(t.Context(), path)
	check(t, err)
	list, err := db.List(t.Context(), Filter{Limit: 100})
	check(t, errors.Join(err, db.Close()))
	return len(list)
}

func TestARecordThatWasKilledIsOpenedAgainAndAgain(t *testing.T) {
	t.Parallel()
	path := killed(t, 3)
	for range 3 {
		if n := entries(t, path); n != 3 {
			t.Fatalf("%d entries", n)
		}
		if _, err := os.Stat(path + openSuffix); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after it was closed: %v", err)
		}
	}
}

func TestARecordThatIsNotWholeIsRefusedAndLeftAsItIs(t *testing.T) {
	t.Parallel()
	other, closed := killed(t, 7), killed(t, 2)
	entries(t, closed)
	closeAnd := func(path string, change func(b []byte) []byte) error {
		entries(t, path)
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, change(b), 0o600)
	}
	for name, c := range map[string]struct {
		spoil func(path string) error
		want  string
	}{
		"its log is gone":            {func(path string) error { return os.Remove(path + "-wal") }, "-wal is missing"},
		"the log of another record":  {func(path string) error { return os.Rename(other+"-wal", path+"-wal") }, "record.db" + openSuffix},
		"an older copy of the log":   {func(path string) error { return os.Truncate(path+"-wal", 0) }, "record.db" + openSuffix},
		"the file of another record": {func(path string) error { return errors.Join(os.Rename(closed, path), os.Truncate(path+"-wal", 0)) }, "record.db" + openSuffix},
		"no record": {func(path string) error {
			return errors.Join(os.Remove(path+"-wal"), os.Remove(path+openSuffix), os.WriteFile(path, []byte(strings.Repeat("not a record\n", 1000)), 0o600))
		}, "restore it"},
		"cut": {func(path string) error {
			return closeAnd(path, func(b []byte) []byte { return b[:len(b)/2] })
		}, "restore it"},
		"pages altered": {func(path string) error {
			return closeAnd(path, func(b []byte) []byte {
				for i := 4096; i < len(b); i += 512 {
					b[i] ^= 0xff
				}
				return b
			})
		}, "restore it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := killed(t, 3)
			check(t, c.spoil(path))
			before, err := os.ReadFile(path)
			check(t, err)
			for range 2 {
				db, err := Open(t.Context(), path)
				if err == nil {
					t.Fatal("opened", db.Close())
				}
				if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v", stint.CodeOf(err), err)
				}
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
}

func TestACopyThatWasRestoredIsTakenForWhatItIs(t *testing.T) {
	t.Parallel()
	path := killed(t, 3)
	check(t, os.Remove(path+"-wal"))
	check(t, os.Remove(path+openSuffix)) // as the refusal says
	entries(t, path)
}

func TestARecordIsKeptOnThisMachineAlone(t *testing.T) {
	t.Parallel()
	for kind, want := range map[int64]string{
		unix.NFS_SUPER_MAGIC: "NFS", int64(int32(-11317950)): "SMB", unix.CIFS_SUPER_MAGIC: "SMB", unix.SMB2_SUPER_MAGIC: "SMB",
		unix.EXT4_SUPER_MAGIC: "", unix.XFS_SUPER_MAGIC: "", unix.TMPFS_MAGIC: "", unix.BTRFS_SUPER_MAGIC: "", unix.OVERLAYFS_SUPER_MAGIC: "",
	} {
		if got := remote(kind); got != want {
			t.Errorf("kind %x: %q, want %q", kind, got, want)
		}
	}
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "none", "record.db")); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a record in no folder: %v", err)
	}
}

func TestTheSettingsThatDurabilityNeedsAreLookedAt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "record.db")
	for _, change := range []string{"", "PRAGMA synchronous = NORMAL", "PRAGMA wal_autocheckpoint = 0", "PRAGMA journal_mode = DELETE"} {
		write, err := open(path, "immediate")
		check(t, err)
		write.SetMaxOpenConns(1)
		_, err = write.ExecContext(t.Context(), change)
		check(t, err)
		db := &DB{write: write}
		if err := db.checkSettings(t.Context(), path); (err == nil) != (change == "") {
			t.Errorf("%q: %v", change, err)
		}
		check(t, write.Close())
	}
}

func TestARecordInUseIsWaitedForAndNothingIsLost(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "record.db")
	db := owned(t, path)
	other, err := sql.Open("sqlite", fileName(path))
	check(t, err)
	other.SetMaxOpenConns(1)
	_, err = other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	check(t, err)
	outcome := make(chan error, 1)
	go func() {
		_, err := db.Create(t.Context(), entry(1, ""), nil)
		outcome <- err
	}()
	_, err = other.ExecContext(t.Context(), "COMMIT")
	check(t, errors.Join(err, other.Close()))
	if err := <-outcome; err != nil {
		t.Error(err)
	}
	if l := loaded(t, db, 1); l.ID != id(1) {
		t.Errorf("%+v", l)
	}
}
