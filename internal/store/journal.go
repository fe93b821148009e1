package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"stint"
	"stint/internal/coord"
	"stint/internal/failpoint"
	"stint/internal/wire"
)

const (
	queueLength = 4096 // batches waiting to be committed
	mostGrouped = 256  // batches in one transaction
)

// Batch is what one execution commits at once: records, and with them, now and
// then, a snapshot.
type Batch struct {
	Execution stint.ExecutionID
	Epoch     stint.Epoch
	After     uint64 // version that the first record follows
	Records   []coord.Record
	Status    stint.ExecutionStatus // after the records
	Settled   bool
	Revive    bool             // the execution was settled, under whatever epoch, and is so no more
	Snapshot  *coord.Snapshot  // of the version after the records; replaces the journal
	Document  *stint.Execution // as of a snapshot
}

type pendingBatch struct {
	batch  Batch
	done   chan<- error
	record []byte
}

// Commit queues a batch and returns at once; the outcome is sent on done, which
// must have room for it: nil, an error with [stint.Conflict] (refused) or one
// with [stint.Unknown]. Batches of one execution are committed in the order of
// the calls.
func (db *DB) Commit(ctx context.Context, b Batch, done chan<- error) error {
	record, err := wire.Marshal(b.Records)
	if err != nil {
		return fmt.Errorf("commit to %s: %w", b.Execution, err)
	}
	select {
	case db.queue <- &pendingBatch{batch: b, done: done, record: record}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run commits batches, many in one transaction, until ctx ends, or a commit leaves
// open what is on disk: then the error wraps [ErrFailed], and the process must end.
// What is queued then is not committed, and its callers are not told.
func (db *DB) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-db.failure.seen:
			return db.failure.err
		case first := <-db.queue:
			db.commitGroup(context.WithoutCancel(ctx), db.group(first))
		}
	}
}

func (db *DB) group(first *pendingBatch) []*pendingBatch {
	group := []*pendingBatch{first}
	for len(group) < mostGrouped {
		select {
		case next := <-db.queue:
			group = append(group, next)
		default:
			return group
		}
	}
	return group
}

// commitGroup commits a group, each batch refused alone; one that cannot be
// written is left out, and the others are written again without it. The context
// is not cancelled by a shutdown: a transaction that was begun gets its outcome.
func (db *DB) commitGroup(ctx context.Context, group []*pendingBatch) {
	for len(group) > 0 {
		bad := db.commitAll(ctx, group)
		if bad < 0 {
			return
		}
		group = slices.Delete(group, bad, bad+1)
	}
}

// commitAll commits a group in one transaction and tells its callers. If a batch
// cannot be written, nothing is, its caller alone is told, and its place is
// returned; -1 otherwise.
func (db *DB) commitAll(ctx context.Context, group []*pendingBatch) int {
	outcomes := make([]error, len(group))
	bad := -1
	err := db.inTx(ctx, func(tx *sql.Tx) error {
		for i, p := range group {
			refused, err := writeBatch(ctx, tx, p)
			if err != nil {
				bad = i
				return fmt.Errorf("commit to %s: %w", p.batch.Execution, err)
			}
			outcomes[i] = refused
		}
		return failpoint.Error("journal.before-commit")
	})
	failpoint.Reach("journal.after-commit")
	if bad >= 0 {
		group[bad].done <- &stint.Error{Code: stint.Unknown, Err: err}
		return bad
	}
	for i, p := range group {
		if err != nil && outcomes[i] == nil {
			outcomes[i] = &stint.Error{Code: stint.Unknown, Err: err}
		}
		p.done <- outcomes[i]
	}
	return -1
}

// writeBatch writes one batch, or refuses it and writes nothing.
func writeBatch(ctx context.Context, tx *sql.Tx, p *pendingBatch) (refused, err error) {
	b := p.batch
	after := b.After + uint64(len(b.Records))
	res, err := tx.ExecContext(ctx,
		`UPDATE executions SET version = $1, status = $2, settled = $3, epoch = $5 WHERE id = $4 AND version = $6 AND
		(NOT $7 AND epoch = $5 OR $7 AND settled AND EXISTS (SELECT 1 FROM facts WHERE name = 'epoch' AND value = $5))`,
		after, string(b.Status), b.Settled, string(b.Execution), uint64(b.Epoch), b.After, b.Revive)
	if err != nil {
		return nil, err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return stint.Errorf(stint.Conflict, "commit to %s after version %d in epoch %d: another owner or another history is there", b.Execution, b.After, b.Epoch), nil
	}
	if len(b.Records) > 0 {
		if _, err := tx.ExecContext(ctx, "INSERT INTO journal (execution, version, records, sum) VALUES ($1, $2, $3, $4)", string(b.Execution), after, p.record, sumOf(p.record)); err != nil {
			return nil, err
		}
	}
	if b.Snapshot == nil {
		return nil, nil
	}
	return nil, writeSnapshot(ctx, tx, b)
}

func writeSnapshot(ctx context.Context, tx *sql.Tx, b Batch) error {
	core, err := wire.Marshal(b.Snapshot.Core)
	if err != nil {
		return err
	}
	doc, err := json.Marshal(b.Document)
	if err != nil {
		return err
	}
	for _, c := range b.Snapshot.Chunks {
		_, err := tx.ExecContext(ctx, `INSERT INTO chunks (execution, stage, number, data, sum) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (execution, stage, number) DO UPDATE SET data = excluded.data, sum = excluded.sum`, string(b.Execution), c.Stage, c.Index, c.Data, sumOf(c.Data))
		if err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "UPDATE executions SET core = $1, core_version = $2, document = $3, core_sum = $5 WHERE id = $4", core, b.Snapshot.Version, doc, string(b.Execution), sumOf(core)); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM journal WHERE execution = $1 AND version <= $2", string(b.Execution), b.Snapshot.Version)
	return err
}
