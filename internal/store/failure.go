package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"stint"
)

// failure is what ends the use of a record: the disk refused to do something
// for a commit, so what it holds of that is known only when the record is opened
// again. The sync is not tried once more: the kernel may have dropped what was not
// written and would say that all is well.
type failure struct {
	once sync.Once
	seen chan struct{} // closed when err is set
	err  error
}

// judge takes the error of a commit. If it leaves open what is on disk, the record
// is not used any more: its reads do not show what the log may hold, and whoever
// went by them would deny what comes to be there.
func (db *DB) judge(err error) error {
	if primaryCode(err) != sqlite3.SQLITE_IOERR {
		return db.refusal(err)
	}
	db.failure.once.Do(func() {
		db.failure.err = &stint.Error{Code: stint.Unknown, Err: fmt.Errorf("record %s: %w: %w", db.path, ErrFailed, err)}
		close(db.failure.seen)
	})
	return db.failure.err
}

// refusal marks an error that passes as [stint.Unavailable]; nothing was committed. A
// disk that is full has not taken the end of a commit.
func (db *DB) refusal(err error) error {
	switch primaryCode(err) {
	case sqlite3.SQLITE_FULL:
		return stint.Errorf(stint.Unavailable, "no_space: record %s: %w", db.path, fmt.Errorf("%w: %w", syscall.ENOSPC, err))
	case sqlite3.SQLITE_BUSY:
		return stint.Errorf(stint.Unavailable, "record_held: record %s: another process holds it; try again when it does not: %w", db.path, err)
	}
	return err
}

// primaryCode returns what SQLite says went wrong, without the details; 0 if it is
// not SQLite that says so.
func primaryCode(err error) int {
	known, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return sqlite3.SQLITE_OK
	}
	const primary = 0xff
	return known.Code() & primary
}

// failed returns the error of the commit that ended the use of the record.
func (db *DB) failed() error {
	select {
	case <-db.failure.seen:
		return db.failure.err
	default:
		return nil
	}
}

// exec commits one statement.
func (db *DB) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := db.failed(); err != nil {
		return nil, err
	}
	res, err := db.write.ExecContext(ctx, query, args...)
	return res, db.judge(err)
}

// inTx commits what f does, or none of it.
func (db *DB) inTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	if err := db.failed(); err != nil {
		return err
	}
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return db.refusal(err)
	}
	if err := f(tx); err != nil {
		return errors.Join(db.refusal(err), rollback(tx, err))
	}
	return db.judge(tx.Commit())
}

// rollback ends a transaction in which something has failed. After some errors SQLite
// has done so itself (https://sqlite.org/lang_transaction.html), and then says that
// there is no transaction.
func rollback(tx *sql.Tx, cause error) error {
	err := tx.Rollback()
	if primaryCode(cause) != sqlite3.SQLITE_OK && primaryCode(err) == sqlite3.SQLITE_ERROR {
		return nil
	}
	return err
}
