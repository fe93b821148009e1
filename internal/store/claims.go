package store

import (
	"context"
	"fmt"

	"stint"
	"stint/internal/failpoint"
)

// SaveClaim keeps that a claim in storage is about to be made for an execution, with
// this word in it. A copy of the record has made none of the claims that came after it
// was copied, although it is of the same service. It is refused if the epoch is not
// the owner's ([stint.Unavailable]).
func (db *DB) SaveClaim(ctx context.Context, epoch stint.Epoch, id stint.ExecutionID, word string) error {
	failpoint.Reach("claim-word.before-commit")
	res, err := db.exec(ctx, `INSERT INTO claims (execution, word, epoch)
		SELECT $1, $2, value FROM facts WHERE name = 'epoch' AND value = $3`, string(id), word, uint64(epoch))
	failpoint.Reach("claim-word.after-commit")
	if err != nil {
		return fmt.Errorf("save a claim of %s: %w", id, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return fenced(epoch)
}

// Claimed reports whether the claim with this word was made from this record, or one
// that it is a copy of, by the owner of an epoch or of one before. One of a later epoch
// is in use by whoever has taken over.
func (db *DB) Claimed(ctx context.Context, epoch stint.Epoch, id stint.ExecutionID, word string) (bool, error) {
	var made bool
	err := db.read.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM claims WHERE execution = $1 AND word = $2 AND epoch <= $3)",
		string(id), word, uint64(epoch)).Scan(&made)
	if err != nil {
		return false, fmt.Errorf("read the claims of %s: %w", id, err)
	}
	return made, nil
}
