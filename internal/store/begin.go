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
	sqlite3 "modernc.org/sqlite/lib"

	"stint"
	"stint/internal/failpoint"
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
		"record %s was not closed, and %s: %w; bring the files back as they were, or, if they are a restored copy, remove %s", path, what, ErrTorn, path+openSuffix)
}

// checkWhole has SQLite look at the whole of a record that is there, and compares
// it with the opening that was not closed, if there was one. It changes nothing:
// to close a record that was open for writing moves changes into it.
func checkWhole(ctx context.Context, path string) error {
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err := takeBack(ctx, path); err != nil {
		return err
	}
	db, err := openToLook(path)
	if err != nil {
		return err
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

// openToLook opens a record that is there. It changes nothing, not even when it is
// closed, and while it is open nobody who closes the record removes its log.
func openToLook(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", fileName(path)+"?"+url.Values{"mode": {"ro"}, "_pragma": {busyPragma()}}.Encode())
	if err != nil {
		return nil, fmt.Errorf("open record %s: %w", path, err)
	}
	return db, nil
}

// takeBack has SQLite take back a change that a process was killed in which had just
// made the record: until it has a log, changes are taken back by a journal of what
// was there before, and who opens it only to look must not do that.
func takeBack(ctx context.Context, path string) error {
	if _, err := os.Stat(path + "-journal"); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := sql.Open("sqlite", fileName(path)+"?"+url.Values{"mode": {"rw"}, "_pragma": {busyPragma()}}.Encode())
	if err != nil {
		return fmt.Errorf("open record %s: %w", path, err)
	}
	var version int64
	err = db.QueryRowContext(ctx, "PRAGMA schema_version").Scan(&version)
	if isDamage(err) {
		err = unreadable(path, err)
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
	return stint.Errorf(stint.Invalid, "record %s: %w; restore it, with its -wal file, from a copy", path, fmt.Errorf("%w: %w", ErrDamaged, err))
}

// isDamage reports whether SQLite says that a file is not, or no more, its own.
func isDamage(err error) bool {
	code := primaryCode(err)
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}

// empty moves all that the log of an unclosed record has into the record. Whoever
// wrote it may have died of a sync that failed: then the kernel shows what is not on
// disk, and says of it that it is synced. What is written anew is synced.
func (db *DB) empty(ctx context.Context, path string) error {
	if _, err := os.Lstat(path + openSuffix); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := emptied(db.write.QueryRowContext(ctx, emptyLog)); err != nil {
		return fmt.Errorf("open record %s: %w", path, err)
	}
	return nil
}

// emptyLog has SQLite move all that is in the log into the record, and cut the log.
const emptyLog = "PRAGMA wal_checkpoint(TRUNCATE)"

// emptied takes what [emptyLog] answers. That another process keeps SQLite from it
// is no error of SQLite's: its row says so.
func emptied(row *sql.Row) error {
	var busy, length, moved int
	if err := row.Scan(&busy, &length, &moved); err != nil {
		return fmt.Errorf("empty its log: %w", err)
	}
	if busy != 0 {
		return stint.Errorf(stint.Unavailable, "its log cannot be emptied while another process reads the record: end that, and try again")
	}
	return nil
}

// unmark removes the mark of an open record, for good: after a power cut it is not
// there beside a record that has another opening, or that has no log any more.
func unmark(path string) error {
	err := os.Remove(path + openSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// begin enters a new opening: in the record first, then beside it.
func (db *DB) begin(ctx context.Context, path string) error {
	mark := path + openSuffix
	failpoint.Reach("opening.before-removing-mark")
	if err := unmark(path); err != nil {
		return fmt.Errorf("open record: %w", err)
	}
	failpoint.Reach("opening.before-commit")
	number := rand.Int64() //nolint:gosec // tells openings apart
	_, err := db.exec(ctx, "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", openingFact, number)
	if err != nil {
		return fmt.Errorf("open record %s: %w", path, err)
	}
	failpoint.Reach("opening.before-mark")
	if err := os.WriteFile(mark, []byte(strconv.FormatInt(number, 10)+"\n"), 0o600); err != nil {
		return fmt.Errorf("open record: %w", err)
	}
	failpoint.Reach("opening.after-mark")
	return nil
}
