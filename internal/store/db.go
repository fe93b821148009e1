package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver

	"stint"
)

//go:embed migrations/*.sql
var migrations embed.FS

// DB is the record. Reads may be made from any goroutine; commits go through
// [DB.Run], which must be running.
type DB struct {
	write *sql.DB // one connection
	read  *sql.DB
	queue chan *pendingBatch
}

// Open opens the record in the file at path, which is made if it does not exist,
// and brings its schema up to date. A file of a newer schema is refused.
func Open(ctx context.Context, path string) (*DB, error) {
	write, err := open(path, "immediate")
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	db := &DB{write: write, queue: make(chan *pendingBatch, queueLength)}
	if err := db.prepare(ctx, path); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	if db.read, err = open(path, "deferred"); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	return db, nil
}

func open(path, lock string) (*sql.DB, error) {
	q := url.Values{"_txlock": {lock}, "_pragma": {
		"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "foreign_keys(1)", "temp_store(MEMORY)",
	}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open record %s: %w", path, err)
	}
	return db, nil
}

func (db *DB) prepare(ctx context.Context, path string) error {
	var mode string
	var synchronous int
	if err := db.write.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return fmt.Errorf("open record %s: %w", path, err)
	}
	if err := db.write.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous); err != nil {
		return fmt.Errorf("open record %s: %w", path, err)
	}
	if mode != "wal" || synchronous != 2 {
		return fmt.Errorf("open record %s: journal_mode %s, synchronous %d: expected wal and 2 (full); is it on a file system without locks?", path, mode, synchronous)
	}
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
		return stint.Errorf(stint.Invalid, "record %s has schema %d; this version of Stint knows %d: use a newer one", path, have, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate record %s: %w", path, err)
	}
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

// Close ends the record. Run must have returned.
func (db *DB) Close() error { return errors.Join(db.read.Close(), db.write.Close()) }

// TakeOver raises the epoch of the record, and of every execution that is not
// settled, and returns it. What owners of earlier epochs try to commit from now
// on is refused.
func (db *DB) TakeOver(ctx context.Context) (stint.Epoch, error) {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("take over record: %w", err)
	}
	var epoch int64
	err = tx.QueryRowContext(ctx, "UPDATE facts SET value = value + 1 WHERE name = 'epoch' RETURNING value").Scan(&epoch)
	if err == nil {
		_, err = tx.ExecContext(ctx, "UPDATE executions SET epoch = $1 WHERE NOT settled", epoch)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("take over record: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("take over record: %w", err)
	}
	return stint.Epoch(epoch), nil
}
