package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"time"

	"github.com/pressly/goose/v3"

	"stint"
	"stint/internal/failpoint"
)

//go:embed migrations/*.sql
var migrations embed.FS

// DB is the record. Reads may be made from any goroutine; commits go through
// [DB.Run], which must be running.
type DB struct {
	path  string
	write *sql.DB // one connection
	read  *sql.DB
	queue chan *pendingBatch

	failure failure
}

// Open opens the record in the file at path, which is made if it does not exist,
// and brings its schema up to date. It is refused, with [stint.Invalid] and
// unchanged, if it has a newer schema, is damaged, has lost its latest changes, or
// lies on another machine.
func Open(ctx context.Context, path string) (*DB, error) {
	if err := checkAll(ctx, path); err != nil {
		return nil, err
	}
	write, err := open(path, "immediate")
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	db := &DB{path: path, write: write, queue: make(chan *pendingBatch, queueLength), failure: failure{seen: make(chan struct{})}}
	if err := db.prepareOrLeave(ctx, path); err != nil {
		return nil, err
	}
	if db.read, err = open(path, "deferred"); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	return db, nil
}

// heldLong is how long a commit waits for another process that holds the record.
const heldLong = 10 * time.Second

// busyPragma has SQLite wait for so long.
func busyPragma() string { return fmt.Sprintf("busy_timeout(%d)", heldLong.Milliseconds()) }

func open(path, lock string) (*sql.DB, error) {
	q := url.Values{"_txlock": {lock}, "_pragma": {
		"journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(1000)", busyPragma(), "foreign_keys(1)", "temp_store(MEMORY)",
	}}
	db, err := sql.Open("sqlite", fileName(path)+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open record %s: %w", path, err)
	}
	return db, nil
}

// fileName returns a path as the driver reads it.
func fileName(path string) string { return "file:" + (&url.URL{Path: path}).EscapedPath() }

// prepareOrLeave prepares the record, or leaves it closed with its log beside it,
// which SQLite would remove: a record that was not closed before is refused without.
func (db *DB) prepareOrLeave(ctx context.Context, path string) error {
	if _, err := os.Lstat(path + openSuffix); errors.Is(err, fs.ErrNotExist) {
		return db.closeAfter(db.prepare(ctx, path))
	}
	look, err := openToLook(path)
	if err != nil {
		return db.closeAfter(err)
	}
	var tables int
	err = look.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&tables) // its connection stays
	if err == nil {
		err = db.prepare(ctx, path)
	}
	return errors.Join(db.closeAfter(err), look.Close())
}

// closeAfter closes the record after an error.
func (db *DB) closeAfter(err error) error {
	if err != nil {
		err = errors.Join(err, db.write.Close())
	}
	return err
}

func (db *DB) prepare(ctx context.Context, path string) error {
	if err := db.checkSettings(ctx, path); err != nil {
		return err
	}
	if err := db.migrate(ctx, path); err != nil {
		return err
	}
	if err := db.empty(ctx, path); err != nil {
		return err
	}
	return db.begin(ctx, path)
}

// checkSettings makes sure that SQLite does what was asked of it: what is
// committed is synced, and its log does not grow without end.
func (db *DB) checkSettings(ctx context.Context, path string) error {
	var mode string
	var synchronous, checkpoint int
	err := db.write.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode)
	if err == nil {
		err = db.write.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous)
	}
	if err == nil {
		err = db.write.QueryRowContext(ctx, "PRAGMA wal_autocheckpoint").Scan(&checkpoint)
	}
	if err != nil {
		return fmt.Errorf("open record %s: %w", path, err)
	}
	if mode != "wal" || synchronous != 2 || checkpoint <= 0 {
		return fmt.Errorf("open record %s: journal_mode %s, synchronous %d, wal_autocheckpoint %d: expected wal, 2 (full) and more than 0; is it on a file system without locks?",
			path, mode, synchronous, checkpoint)
	}
	return nil
}

// migrate brings the schema up to date.
func (db *DB) migrate(ctx context.Context, path string) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db.write, dir)
	if err != nil {
		return fmt.Errorf("migrate record %s: %w", path, err)
	}
	have, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("migrate record %s: %w", path, err)
	}
	sources := provider.ListSources()
	if newest := sources[len(sources)-1].Version; have > newest {
		return stint.Errorf(stint.Invalid, "record %s: %w, %d; this version of Stint knows %d: use a newer one", path, ErrNewer, have, newest)
	}
	failpoint.Reach("record.before-migration")
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate record %s: %w", path, err)
	}
	failpoint.Reach("record.after-migration")
	return nil
}

// Epoch returns the epoch of the record's owner.
func (db *DB) Epoch(ctx context.Context) (stint.Epoch, error) {
	var epoch uint64
	if err := db.read.QueryRowContext(ctx, "SELECT value FROM facts WHERE name = 'epoch'").Scan(&epoch); err != nil {
		return 0, fmt.Errorf("read epoch: %w", err)
	}
	return stint.Epoch(epoch), nil
}

// Service returns the number by which the record's service is told from others
// that share a long-term storage. It is drawn once, at random.
func (db *DB) Service(ctx context.Context) (int64, error) {
	var service int64
	err := db.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO facts (name, value) VALUES ('service', $1) ON CONFLICT (name) DO NOTHING", rand.Int64()); err != nil {
			return err
		}
		failpoint.Reach("service-number.before-commit")
		return tx.QueryRowContext(ctx, "SELECT value FROM facts WHERE name = 'service'").Scan(&service)
	})
	failpoint.Reach("service-number.after-commit")
	if err != nil {
		return 0, fmt.Errorf("read service number: %w", err)
	}
	return service, nil
}

// storageFact is what the names of facts about storages begin with.
const storageFact = "storage "

// KnownStorage returns the id of the storage that the service has used at a
// location; 0: none.
func (db *DB) KnownStorage(ctx context.Context, location string) (uint64, error) {
	var id int64
	err := db.read.QueryRowContext(ctx, "SELECT value FROM facts WHERE name = $1", storageFact+location).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("look up storage %s: %w", location, err)
	}
	return uint64(id), nil
}

// RememberStorage keeps which storage the service uses at a location.
func (db *DB) RememberStorage(ctx context.Context, location string, id uint64) error {
	failpoint.Reach("storage-mark.before-commit")
	_, err := db.exec(ctx, "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
		storageFact+location, int64(id))
	failpoint.Reach("storage-mark.after-commit")
	if err != nil {
		return fmt.Errorf("remember storage %s: %w", location, err)
	}
	return nil
}

// Close ends the record. Run must have returned. What is in the log goes into
// the record before the mark of an open record is removed: a process that is killed
// in between leaves nothing that could be lost unnoticed. A record that has failed, or
// whose log cannot be emptied, is left as it is, as by a process that was killed: what
// is in its log decides.
func (db *DB) Close() error {
	if err := db.failed(); err != nil {
		return err
	}
	err := db.read.Close()
	failpoint.Reach("record.before-emptying")
	ended := emptied(db.write.QueryRow(emptyLog)) //nolint:noctx // the process ends, whatever it was told to stop for
	failpoint.Reach("record.after-emptying")
	if ended == nil {
		ended = unmark(db.path)
	}
	if ended != nil { // the log must stay while the mark may, and the mark while the log is not empty
		return errors.Join(err, fmt.Errorf("close record %s: %w", db.path, ended))
	}
	failpoint.Reach("record.after-removing-mark")
	return errors.Join(err, db.write.Close())
}

// TakeOver raises the epoch of the record, and of every execution that is not
// settled, and returns it. What owners of earlier epochs try to commit from now
// on is refused.
func (db *DB) TakeOver(ctx context.Context) (stint.Epoch, error) {
	var epoch int64
	err := db.inTx(ctx, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, "UPDATE facts SET value = value + 1 WHERE name = 'epoch' RETURNING value").Scan(&epoch); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE executions SET epoch = $1 WHERE NOT settled", epoch)
		failpoint.Reach("takeover.before-commit")
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("take over record: %w", err)
	}
	failpoint.Reach("takeover.after-commit")
	return stint.Epoch(epoch), nil
}
