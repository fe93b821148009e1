package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"stint"
	"stint/internal/coord"
	"stint/internal/failpoint"
	"stint/internal/plan"
	"stint/internal/wire"
)

// Entry is what is kept of an execution from its submission on.
type Entry struct {
	ID      stint.ExecutionID
	Digest  stint.Digest // of the request, to tell a repeated submission from another under the same key
	Created int64        // milliseconds since 1970
	Epoch   stint.Epoch
	Request stint.Request
	Choice  plan.Choice
	Listing stint.Digest // of the listing's blob in system storage
}

// Begun is what an entry has from its first moment, if it does not begin with
// nothing done: operations of an earlier execution, or of this one elsewhere.
type Begun struct {
	Status   stint.ExecutionStatus
	Snapshot coord.Snapshot   // with every chunk
	Document *stint.Execution // as of the snapshot
}

// Create commits a submission, begun if that is not nil. If its idempotency key is taken, the entry of
// that key is returned and nothing is written: the same request again gives the
// same execution; another request under the key is refused. An owner whose epoch
// is over creates nothing: [stint.Unavailable]. With [stint.Unknown] the caller
// must read again what is there.
func (db *DB) Create(ctx context.Context, e Entry, begun *Begun) (Entry, error) {
	request, choice, err := marshalEntry(e)
	if err != nil {
		return Entry{}, fmt.Errorf("create %s: %w", e.ID, err)
	}
	var inserted int64
	err = db.inTx(ctx, func(tx *sql.Tx) error {
		inserted, err = insert(ctx, tx, e, request, choice)
		if err == nil && inserted > 0 && begun != nil {
			err = writeBegun(ctx, tx, e.ID, *begun)
		}
		if err == nil && inserted > 0 {
			err = createdDraft(ctx, tx, e.ID)
		}
		return cmp.Or(err, failpoint.Error("submit.before-commit"))
	})
	failpoint.Reach("submit.after-commit")
	if err != nil {
		return Entry{}, outcomeOf(fmt.Errorf("create %s: %w", e.ID, err))
	}
	if inserted == 1 {
		return e, nil
	}
	if e.Request.Key == "" {
		return Entry{}, fenced(e.Epoch)
	}
	found, err := db.byKey(ctx, e)
	if stint.CodeOf(err) == stint.NotFound {
		return Entry{}, fenced(e.Epoch)
	}
	return found, err
}

func marshalEntry(e Entry) (request, choice []byte, err error) {
	request, err = wire.Marshal(e.Request)
	if err != nil {
		return nil, nil, err
	}
	choice, err = wire.Marshal(e.Choice)
	return request, choice, err
}

// insert returns how many rows it wrote: 0 or 1.
func insert(ctx context.Context, tx *sql.Tx, e Entry, request, choice []byte) (int64, error) {
	key := sql.NullString{String: e.Request.Key, Valid: e.Request.Key != ""}
	res, err := tx.ExecContext(ctx,
		`INSERT INTO executions (id, number, key, digest, created, epoch, version, status, settled, name, program, request, choice, listing, entry_sum)
		SELECT $1, (SELECT coalesce(max(number), 0) + 1 FROM executions), $2, $3, $4, $5, 0, $6, FALSE, $7, $8, $9, $10, $11, $12
		FROM facts WHERE facts.name = 'epoch' AND value = $5 ON CONFLICT (key) DO NOTHING`,
		string(e.ID), key, e.Digest[:], e.Created, uint64(e.Epoch), string(stint.Queued), e.Request.Name, e.Request.Program.Name, request, choice, e.Listing.String(), sumOf(request, choice, []byte(e.Listing.String())))
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// writeBegun puts a snapshot in the place of all that an entry has.
func writeBegun(ctx context.Context, tx *sql.Tx, id stint.ExecutionID, b Begun) error {
	_, err := tx.ExecContext(ctx, "UPDATE executions SET version = $1, status = $2, settled = FALSE WHERE id = $3", b.Snapshot.Version, string(b.Status), string(id))
	if err != nil {
		return err
	}
	for _, table := range []string{"chunks", "journal"} {
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE execution = $1", string(id)); err != nil {
			return err
		}
	}
	return writeSnapshot(ctx, tx, Batch{Execution: id, Snapshot: &b.Snapshot, Document: b.Document})
}

// Rebase replaces what is kept of an execution, its plan included, if its version
// is still the one given: it goes on from another state, made of this one or of
// a later one that came from elsewhere. [stint.Conflict] if it has moved on, or
// belongs to another epoch.
func (db *DB) Rebase(ctx context.Context, e Entry, version uint64, begun Begun) error {
	request, choice, err := marshalEntry(e)
	if err != nil {
		return fmt.Errorf("rebase %s: %w", e.ID, err)
	}
	moved := false
	err = db.inTx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE executions SET request = $1, choice = $2, listing = $3, created = $4, entry_sum = $8 WHERE id = $5 AND epoch = $6 AND version = $7",
			request, choice, e.Listing.String(), e.Created, string(e.ID), uint64(e.Epoch), version, sumOf(request, choice, []byte(e.Listing.String())))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			moved = err == nil
			return err
		}
		failpoint.Reach("rebase.before-commit")
		return writeBegun(ctx, tx, e.ID, begun)
	})
	failpoint.Reach("rebase.after-commit")
	switch {
	case err != nil:
		return outcomeOf(fmt.Errorf("rebase %s: %w", e.ID, err))
	case moved:
		return stint.Errorf(stint.Conflict, "execution %s has moved on from version %d; try again", e.ID, version)
	}
	return nil
}

// outcomeOf marks an error of a commit of which it is not known whether it was done.
// One that was refused was not.
func outcomeOf(err error) error {
	if stint.CodeOf(err) == stint.Unavailable {
		return err
	}
	return &stint.Error{Code: stint.Unknown, Err: err}
}

// fenced says that an owner's time is over.
func fenced(epoch stint.Epoch) error {
	return stint.Errorf(stint.Unavailable, "another server has taken over the record from the owner in epoch %d", epoch)
}

// ByKey returns the execution that was submitted under an idempotency key, or
// [stint.NotFound]; if it was submitted with another request, [stint.Conflict].
func (db *DB) ByKey(ctx context.Context, key string, digest stint.Digest) (stint.ExecutionID, error) {
	e, err := db.byKey(ctx, Entry{Request: stint.Request{Key: key}, Digest: digest})
	return e.ID, err
}

func (db *DB) byKey(ctx context.Context, e Entry) (Entry, error) {
	var id string
	var digest []byte
	err := db.write.QueryRowContext(ctx, "SELECT id, digest FROM executions WHERE key = $1", e.Request.Key).Scan(&id, &digest)
	if errors.Is(err, sql.ErrNoRows) {
		return Entry{}, stint.Errorf(stint.NotFound, "no execution under key %.80q", e.Request.Key)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("look up key: %w", err)
	}
	if !bytes.Equal(digest, e.Digest[:]) {
		return Entry{}, stint.Errorf(stint.Conflict, "key %.80q was used for execution %s with another request", e.Request.Key, id)
	}
	e.ID = stint.ExecutionID(id)
	return e, nil
}

// Loaded is what the record holds of one execution.
type Loaded struct {
	Entry
	Version  uint64 // of the last record
	Settled  bool
	Status   stint.ExecutionStatus
	Snapshot *coord.Snapshot // nil: none was made yet
	Records  []coord.Record  // that follow it
}

// Version returns the version of an execution's last record.
func (db *DB) Version(ctx context.Context, id stint.ExecutionID) (uint64, error) {
	if err := db.failed(); err != nil {
		return 0, fmt.Errorf("look up version of %s: %w", id, err)
	}
	var version uint64
	if err := db.read.QueryRowContext(ctx, "SELECT version FROM executions WHERE id = $1", string(id)).Scan(&version); err != nil {
		return 0, fmt.Errorf("look up version of %s: %w", id, err)
	}
	return version, nil
}

// Load reads one execution.
func (db *DB) Load(ctx context.Context, id stint.ExecutionID) (Loaded, error) {
	var l Loaded
	if err := db.failed(); err != nil {
		return l, fmt.Errorf("load %s: %w", id, err)
	}
	tx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return l, fmt.Errorf("load %s: %w", id, err)
	}
	l, err = load(ctx, tx, id)
	if stint.CodeOf(err) == stint.NotFound {
		return l, errors.Join(err, tx.Rollback())
	}
	if err != nil {
		return l, errors.Join(fmt.Errorf("load %s: %w", id, err), tx.Rollback())
	}
	return l, tx.Commit()
}

func load(ctx context.Context, tx *sql.Tx, id stint.ExecutionID) (Loaded, error) {
	l := Loaded{Entry: Entry{ID: id}}
	var request, choice, core []byte
	var listing, status string
	var coreVersion uint64
	var entrySum, coreSum sql.NullInt64
	err := tx.QueryRowContext(ctx, "SELECT created, epoch, version, status, settled, request, choice, listing, core, core_version, entry_sum, core_sum FROM executions WHERE id = $1", string(id)).
		Scan(&l.Created, &l.Epoch, &l.Version, &status, &l.Settled, &request, &choice, &listing, &core, &coreVersion, &entrySum, &coreSum)
	if errors.Is(err, sql.ErrNoRows) {
		return l, stint.Errorf(stint.NotFound, "no execution %s", id)
	}
	if err != nil {
		return l, err
	}
	if err := errors.Join(checkSum(entrySum, "the request", request, choice, []byte(listing)), checkSum(coreSum, "the snapshot", core)); err != nil {
		return l, err
	}
	l.Status = stint.ExecutionStatus(status)
	if l.Listing, err = stint.ParseDigest(listing); err != nil {
		return l, err
	}
	if err := errors.Join(wire.Unmarshal(request, &l.Request), wire.Unmarshal(choice, &l.Choice)); err != nil {
		return l, err
	}
	if core != nil {
		l.Snapshot = &coord.Snapshot{Version: coreVersion}
		if err := wire.Unmarshal(core, &l.Snapshot.Core); err != nil {
			return l, err
		}
		if l.Snapshot.Chunks, err = loadChunks(ctx, tx, id); err != nil {
			return l, err
		}
	}
	l.Records, err = loadJournal(ctx, tx, id, coreVersion)
	return l, err
}

func loadChunks(ctx context.Context, tx *sql.Tx, id stint.ExecutionID) (_ []coord.Chunk, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT stage, number, data, sum FROM chunks WHERE execution = $1 ORDER BY stage, number", string(id))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var out []coord.Chunk
	for rows.Next() {
		var c coord.Chunk
		var sum sql.NullInt64
		if err := rows.Scan(&c.Stage, &c.Index, &c.Data, &sum); err != nil {
			return nil, err
		}
		if err := checkSum(sum, fmt.Sprintf("chunk %d of stage %d", c.Index, c.Stage), c.Data); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, rows.Err()
}

// loadJournal reads the records that follow a version, without a gap.
func loadJournal(ctx context.Context, tx *sql.Tx, id stint.ExecutionID, after uint64) (_ []coord.Record, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT version, records, sum FROM journal WHERE execution = $1 ORDER BY version", string(id))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var out []coord.Record
	for rows.Next() {
		var version uint64
		var b []byte
		var sum sql.NullInt64
		if err := rows.Scan(&version, &b, &sum); err != nil {
			return nil, err
		}
		if err := checkSum(sum, fmt.Sprintf("the journal up to version %d", version), b); err != nil {
			return nil, err
		}
		var records []coord.Record
		if err := wire.Unmarshal(b, &records); err != nil {
			return nil, fmt.Errorf("journal up to version %d: %w", version, err)
		}
		out = append(out, records...)
		if got := after + uint64(len(out)); got != version {
			return nil, stint.Errorf(stint.Internal, "the journal has version %d where version %d is due", version, got)
		}
	}
	return out, rows.Err()
}

// Unsettled lists the executions that are not over, oldest first.
func (db *DB) Unsettled(ctx context.Context) (_ []stint.ExecutionID, err error) {
	rows, err := db.read.QueryContext(ctx, "SELECT id FROM executions WHERE NOT settled ORDER BY number")
	if err != nil {
		return nil, fmt.Errorf("list executions: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var out []stint.ExecutionID
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("list executions: %w", err)
		}
		out = append(out, stint.ExecutionID(id))
	}
	return out, rows.Err()
}

// Filter chooses executions.
type Filter struct {
	Search string                // in id, name and program, letters of either case alike
	Status stint.ExecutionStatus // "": any
	Before uint64                // submitted before the execution of this number; 0: any
	Limit  int
}

// Listed is one execution of a list.
type Listed struct {
	ID       stint.ExecutionID
	Number   uint64 // counts submissions, from 1
	Created  int64  // milliseconds since 1970
	Name     string
	Program  string
	Status   stint.ExecutionStatus
	Settled  bool
	Document *stint.Execution // as of the last snapshot; nil: none yet, or it cannot be read
}

// List returns the newest executions that the filter lets through.
func (db *DB) List(ctx context.Context, f Filter) (_ []Listed, err error) {
	rows, err := db.read.QueryContext(ctx, `SELECT id, number, created, name, program, status, settled, document FROM executions
		WHERE ($1 = '' OR instr(lower(id || ' ' || name || ' ' || program), lower($1)) > 0) AND ($2 = '' OR status = $2) AND ($3 = 0 OR number < $3)
		ORDER BY number DESC LIMIT $4`, f.Search, string(f.Status), f.Before, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("list executions: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var out []Listed
	for rows.Next() {
		var l Listed
		var doc []byte
		if err := rows.Scan(&l.ID, &l.Number, &l.Created, &l.Name, &l.Program, &l.Status, &l.Settled, &doc); err != nil {
			return nil, fmt.Errorf("list executions: %w", err)
		}
		var x stint.Execution
		if doc != nil && json.Unmarshal(doc, &x) == nil { // the others are listed
			l.Document = &x
		}
		out = append(out, l)
	}
	return out, rows.Err()
}
