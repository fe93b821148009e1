package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

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
	if !leavesOpen(err) {
		return err
	}
	db.failure.once.Do(func() {
		db.failure.err = &stint.Error{Code: stint.Unknown, Err: fmt.Errorf("record %s: %w: %w", db.path, ErrFailed, err)}
		close(db.failure.seen)
	})
	return db.failure.err
}

// leavesOpen reports whether a commit that failed in this way may yet have
// happened. A disk that is full has not taken the end of a commit.
func leavesOpen(err error) bool {
	known, ok := errors.AsType[*sqlite.Error](err)
	const primary = 0xff
	return ok && known.Code()&primary == sqlite3.SQLITE_IOERR
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
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return db.judge(tx.Commit())
}
