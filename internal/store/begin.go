package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"stint"
)

// openSuffix is what the name of the file ends with that lies beside a record
// while it is open. It holds the number of this opening, which is the record's
// last fact of that name too. When the record was not closed, both tell whether
// the record is still with the log (-wal) that has its latest changes.
const (
	openSuffix  = ".open"
	openingFact = "opening"
)

// checkAll refuses a record that cannot be relied on, and changes nothing.
func checkAll(ctx context.Context, path string) error {
	if err := checkLocal(path); err != nil {
		return err
	}
	if err := checkLog(path); err != nil {
		return err
	}
	return checkWhole(ctx, path)
}

// checkLocal refuses a file system on which locks and syncs cannot be relied on.
func checkLocal(path string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &s); err != nil {
		return fmt.Errorf("open record %s: %w", path, err)
	}
	if name := remote(int64(s.Type)); name != "" { //nolint:unconvert // its type differs between architectures
		return stint.Errorf(stint.Invalid, "record %s lies on %s, where its locks cannot be relied on: name a data folder on a local disk", path, name)
	}
	return nil
}

// remote returns the name of a file system whose files lie on another machine.
func remote(kind int64) string {
	switch uint32(kind) {
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
		return "SMB"
	case unix.CODA_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC:
		return "a network file system"
	}
	return ""
}

// checkLog refuses a record that was not closed and has lost the log with its
// latest changes, before SQLite makes a new one.
func checkLog(path string) error {
	if _, err := os.Lstat(path + openSuffix); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		return torn(path, path+"-wal is missing")
	}
	return nil
}

func torn(path, what string) error {
	return stint.Errorf(stint.Invalid,
		"record %s was not closed, and %s: changes that were acknowledged are lost; bring the files back as they were, or, if they are a restored copy, remove %s", path, what, path+openSuffix)
}

// checkWhole has SQLite look at the whole of a record that is there, and compares
// it with the opening that was not closed, if there was one. It changes nothing:
// to close a record that was open for writing moves changes into it.
func checkWhole(ctx context.Context, path string) error {
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	db, err := sql.Open("sqlite", fileName(path)+"?"+url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)"}}.Encode())
	if err != nil {
		return fmt.Errorf("open record %s: %w", path, err)
	}
	var found string
	err = db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found)
	switch {
	case isDamage(err):
		err = unreadable(path, err)
	case err != nil:
		err = fmt.Errorf("open record %s: %w", path, err)
	case found != "ok":
		err = unreadable(path, errors.New(found))
	default:
		err = checkOpening(ctx, db, path)
	}
	return errors.Join(err, db.Close())
}

// checkOpening compares the file beside a record with the record's last opening.
func checkOpening(ctx context.Context, db *sql.DB, path string) error {
	b, err := os.ReadFile(path + openSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open record %s: %w", path, err)
	}
	var last int64
	err = db.QueryRowContext(ctx, "SELECT value FROM facts WHERE name = $1", openingFact).Scan(&last)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text := strings.TrimSpace(string(b)) // empty: the machine stopped before it was written
	if text != "" && (err != nil || text != strconv.FormatInt(last, 10)) {
		return torn(path, "it is not the one, or not with the log, that was open last")
	}
	return nil
}

// unreadable says that a record is damaged. It is never repaired: what would be
// left of it is anybody's guess.
func unreadable(path string, err error) error {
	return stint.Errorf(stint.Invalid, "record %s is damaged: %w; restore it, with its -wal file, from a copy", path, err)
}

// isDamage reports whether SQLite says that a file is not, or no more, its own.
func isDamage(err error) bool {
	known, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	const primary = 0xff
	code := known.Code() & primary
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}

// begin enters a new opening: in the record first, then beside it.
func (db *DB) begin(ctx context.Context, path string) error {
	mark := path + openSuffix
	if err := os.Remove(mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open record: %w", err)
	}
	number := rand.Int64() //nolint:gosec // tells openings apart
	_, err := db.write.ExecContext(ctx, "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", openingFact, number)
	if err != nil {
		return fmt.Errorf("open record %s: %w", path, err)
	}
	if err := os.WriteFile(mark, []byte(strconv.FormatInt(number, 10)+"\n"), 0o600); err != nil {
		return fmt.Errorf("open record: %w", err)
	}
	return nil
}

// end says that the record is about to be closed: its log goes away rightly.
func (db *DB) end() error {
	if err := os.Remove(db.path + openSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("close record: %w", err)
	}
	return nil
}
