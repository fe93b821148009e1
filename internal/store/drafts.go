package store

import (
	"context"
	"database/sql"
	"fmt"

	"stint"
	"stint/internal/failpoint"
)

// Draft is a submission that is being prepared. Looking at its output location
// leaves a folder there, which somebody has to remove if it is never recorded.
type Draft struct {
	Execution stint.ExecutionID
	Output    string
}

// SaveDraft keeps a draft until its execution is created or it is removed. It is
// refused if the epoch is not the owner's ([stint.Unavailable]).
func (db *DB) SaveDraft(ctx context.Context, epoch stint.Epoch, d Draft) error {
	failpoint.Reach("draft.before-commit")
	res, err := db.exec(ctx, `INSERT INTO drafts (execution, output)
		SELECT $1, $2 FROM facts WHERE name = 'epoch' AND value = $3`, string(d.Execution), d.Output, uint64(epoch))
	failpoint.Reach("draft.after-commit")
	if err != nil {
		return stint.Errorf(stint.Unavailable, "the submission was not recorded in %s: %w", db.path, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return fenced(epoch)
}

// RemoveDraft forgets a draft that has left nothing.
func (db *DB) RemoveDraft(ctx context.Context, epoch stint.Epoch, id stint.ExecutionID) error {
	failpoint.Reach("draft-removal.before-commit")
	_, err := db.exec(ctx, `DELETE FROM drafts WHERE execution = $1
		AND EXISTS (SELECT 1 FROM facts WHERE name = 'epoch' AND value = $2)`, string(id), uint64(epoch))
	failpoint.Reach("draft-removal.after-commit")
	if err != nil {
		return fmt.Errorf("forget the draft of %s: %w", id, err)
	}
	return nil
}

// createdDraft forgets the draft of an execution that is created.
func createdDraft(ctx context.Context, tx *sql.Tx, id stint.ExecutionID) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM drafts WHERE execution = $1", string(id))
	return err
}

// Drafts returns what was being prepared and is neither created nor removed.
func (db *DB) Drafts(ctx context.Context) ([]Draft, error) {
	return collect(ctx, db, "SELECT execution, output FROM drafts ORDER BY execution", func(rows *sql.Rows) (d Draft, err error) {
		return d, rows.Scan(&d.Execution, &d.Output)
	})
}
