package store

import (
	"context"
	"errors"
	"fmt"

	"stint"
	"stint/internal/failpoint"
)

// SealedCredentials is a named set of credentials, encrypted.
type SealedCredentials struct {
	Name   string
	Sealed []byte
}

// Credentials returns every set of credentials, by name.
func (db *DB) Credentials(ctx context.Context) (_ []SealedCredentials, err error) {
	rows, err := db.read.QueryContext(ctx, "SELECT name, sealed FROM credentials ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var list []SealedCredentials
	for rows.Next() {
		var c SealedCredentials
		if err := rows.Scan(&c.Name, &c.Sealed); err != nil {
			return nil, fmt.Errorf("read credentials: %w", err)
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// SaveCredentials keeps a set of credentials, in place of one of its name. It is
// refused if the epoch is not the owner's ([stint.Unavailable]).
func (db *DB) SaveCredentials(ctx context.Context, epoch stint.Epoch, c SealedCredentials) error {
	failpoint.Reach("credentials.before-commit")
	res, err := db.exec(ctx, `INSERT INTO credentials (name, sealed)
		SELECT $1, $2 FROM facts WHERE name = 'epoch' AND value = $3
		ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed`, c.Name, c.Sealed, uint64(epoch))
	failpoint.Reach("credentials.after-commit")
	if err != nil {
		return fmt.Errorf("save credentials %s: %w", c.Name, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return fenced(epoch)
}

// RemoveCredentials removes a set of credentials. It is refused as
// [DB.SaveCredentials] is, and as [stint.NotFound] if there is none of the name.
func (db *DB) RemoveCredentials(ctx context.Context, epoch stint.Epoch, name string) error {
	failpoint.Reach("credentials-removal.before-commit")
	res, err := db.exec(ctx, `DELETE FROM credentials WHERE name = $1
		AND EXISTS (SELECT 1 FROM facts WHERE name = 'epoch' AND value = $2)`, name, uint64(epoch))
	failpoint.Reach("credentials-removal.after-commit")
	if err != nil {
		return fmt.Errorf("remove credentials %s: %w", name, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	if owner, err := db.Epoch(ctx); err != nil || owner != epoch {
		return errors.Join(fenced(epoch), err)
	}
	return stint.Errorf(stint.NotFound, "credentials %.80q: there is no set of this name", name)
}
