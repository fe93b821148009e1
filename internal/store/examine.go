package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"stint"
)

// What can be wrong with a record as a whole. The errors of [Open] and [OpenCopy]
// wrap them; ErrFailed is that of a record that was opened.
var (
	ErrTorn    = errors.New("changes that were acknowledged are lost")
	ErrDamaged = errors.New("the record is damaged")
	ErrNewer   = errors.New("the record has a newer schema")
	ErrFailed  = errors.New("a commit failed, and what is on disk of it is known when the record is opened again")
)

// copyTries is how often a record that is being written is copied until the copy
// is of one moment.
const copyTries = 20

// OpenCopy copies the record at path, as it is at one moment, into a folder that
// has none, and opens the copy as [Open] would open the record: SQLite cannot look
// at a record with a log without writing beside it. The record may be in use; nothing
// of it is changed. Without one the error wraps fs.ErrNotExist.
func OpenCopy(ctx context.Context, path, folder string) (*DB, error) {
	to := filepath.Join(folder, filepath.Base(path))
	if err := copyRecord(ctx, path, to, copyWhole); err != nil {
		return nil, fmt.Errorf("copy record %s: %w", path, err)
	}
	return Open(ctx, to)
}

// copyRecord copies a record and its log, the record first. What is moved from
// the log into the record meanwhile is in the log still, until that begins anew. When
// it does, or the record is opened or closed, all is copied again. A process that was
// killed in the change that made the record has left, instead of a log, a journal of
// what was there before.
func copyRecord(ctx context.Context, path, to string, whole copier) error {
	for range copyTries {
		before, err := moment(path)
		if err != nil {
			return err
		}
		err = whole(ctx, path, to)
		for _, suffix := range []string{"-journal", "-wal", openSuffix} {
			if err == nil {
				err = whole.ifThere(ctx, path+suffix, to+suffix)
			}
		}
		if err != nil {
			return err
		}
		after, err := moment(path)
		if err != nil {
			return err
		}
		if bytes.Equal(before, after) {
			return nil
		}
	}
	return stint.Errorf(stint.Unavailable, "it changes too fast: %d copies were not of one moment", copyTries)
}

// logHeader is how many bytes of a log tell one that has begun anew.
const logHeader = 32

// moment returns what is another when a log has begun anew, or the record was
// made, opened or closed.
func moment(path string) ([]byte, error) {
	var all []byte
	for _, suffix := range []string{"-journal", "-wal", openSuffix} {
		b, err := beginning(path+suffix, logHeader)
		if err != nil {
			return nil, err
		}
		all = append(append(all, b...), '/')
	}
	return all, nil
}

// beginning returns at most so many bytes of a file; none of one that is not there.
func beginning(path string, most int) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	b := make([]byte, most+1)
	n, err := io.ReadFull(f, b[:most])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	b[n] = '.' // one that is empty is there
	return b[:n+1], err
}

// copier copies one file.
type copier func(ctx context.Context, path, to string) error

// ifThere has no file be a copy of none.
func (whole copier) ifThere(ctx context.Context, path, to string) error {
	err := whole(ctx, path, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.Remove(to); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return err
}

func copyWhole(ctx context.Context, path, to string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // only read
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, ctx.Err(), f.Close())
}

// CheckIntegrity has SQLite look at the whole record, what is in it and in its
// indexes. The error wraps [ErrDamaged].
func (db *DB) CheckIntegrity(ctx context.Context) error {
	var found string
	err := db.read.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found)
	if isDamage(err) || err == nil && found != "ok" {
		return fmt.Errorf("%w: %w", ErrDamaged, cmp.Or(err, errors.New(found)))
	}
	return err
}

// Outline is what the record says of an execution without its state.
type Outline struct {
	ID      stint.ExecutionID
	Epoch   stint.Epoch
	Status  stint.ExecutionStatus
	Settled bool
	Program string
}

// Outlines returns every execution of the record, in the order of submission.
func (db *DB) Outlines(ctx context.Context) ([]Outline, error) {
	return collect(ctx, db, "SELECT id, epoch, status, settled, program FROM executions ORDER BY number", func(rows *sql.Rows) (o Outline, err error) {
		return o, rows.Scan(&o.ID, &o.Epoch, &o.Status, &o.Settled, &o.Program)
	})
}

// Outline returns one of them. An execution that is not there is an error with code
// NotFound.
func (db *DB) Outline(ctx context.Context, id stint.ExecutionID) (Outline, error) {
	o := Outline{ID: id}
	err := db.read.QueryRowContext(ctx, "SELECT epoch, status, settled, program FROM executions WHERE id = $1", string(id)).Scan(&o.Epoch, &o.Status, &o.Settled, &o.Program)
	if errors.Is(err, sql.ErrNoRows) {
		return o, stint.Errorf(stint.NotFound, "no execution %.80s", id)
	}
	if err != nil {
		return o, fmt.Errorf("look up execution %s: %w", id, err)
	}
	return o, nil
}

// KnownStorages returns the ids of the storages that the service has used, by
// their locations.
func (db *DB) KnownStorages(ctx context.Context) (map[string]uint64, error) {
	type fact struct {
		name  string
		value int64
	}
	facts, err := collect(ctx, db, "SELECT name, value FROM facts WHERE substr(name, 1, length($1)) = $1", func(rows *sql.Rows) (f fact, err error) {
		return f, rows.Scan(&f.name, &f.value)
	}, storageFact)
	known := make(map[string]uint64, len(facts))
	for _, f := range facts {
		known[strings.TrimPrefix(f.name, storageFact)] = uint64(f.value)
	}
	return known, err
}

// AllPrograms returns every version of every program, in the order of the uploads.
func (db *DB) AllPrograms(ctx context.Context) ([]RegisteredVersion, error) {
	return db.programs(ctx, "SELECT version, program, manifest, size, uploaded, uploader FROM programs ORDER BY number")
}

// Strays returns the executions that have entries in the journal or in a snapshot
// and are not in the record.
func (db *DB) Strays(ctx context.Context) ([]stint.ExecutionID, error) {
	const query = "SELECT execution FROM (SELECT execution FROM journal UNION SELECT execution FROM chunks) WHERE execution NOT IN (SELECT id FROM executions) ORDER BY 1"
	return collect(ctx, db, query, func(rows *sql.Rows) (id stint.ExecutionID, err error) {
		return id, rows.Scan(&id)
	})
}

// collect reads all rows of a query.
func collect[T any](ctx context.Context, db *DB, query string, scan func(*sql.Rows) (T, error), args ...any) (_ []T, err error) {
	rows, err := db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("examine record: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var out []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("examine record: %w", err)
		}
		out = append(out, one)
	}
	return out, rows.Err()
}
