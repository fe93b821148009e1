package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"stint"
	"stint/internal/failpoint"
	"stint/internal/wire"
)

// RegisteredVersion is a version of a program in the registry.
type RegisteredVersion struct {
	Version  string // digest of the program, in hexadecimal
	Program  stint.Program
	Manifest string
	Size     int64 // bytes of its files
	Uploaded int64 // milliseconds since 1970
	By       string
}

// SaveProgram makes a version the newest of its program. A version that is there
// already is the same one, uploaded again. It is refused if the epoch is not the
// owner's ([stint.Unavailable]).
func (db *DB) SaveProgram(ctx context.Context, epoch stint.Epoch, v RegisteredVersion) error {
	program, err := wire.Marshal(v.Program)
	if err != nil {
		return fmt.Errorf("save program %s: %w", v.Program.Name, err)
	}
	failpoint.Reach("program.before-commit")
	res, err := db.exec(ctx, `INSERT INTO programs (name, version, number, program, manifest, size, uploaded, uploader)
		SELECT $1, $2, (SELECT coalesce(max(number), 0) + 1 FROM programs), $3, $4, $5, $6, $7 FROM facts WHERE facts.name = 'epoch' AND value = $8
		ON CONFLICT (name, version) DO UPDATE SET number = excluded.number, program = excluded.program, manifest = excluded.manifest,
			size = excluded.size, uploaded = excluded.uploaded, uploader = excluded.uploader`,
		v.Program.Name, v.Version, program, v.Manifest, v.Size, v.Uploaded, v.By, uint64(epoch))
	failpoint.Reach("program.after-commit")
	if stint.CodeOf(err) == stint.Unavailable {
		return err // it begins with the word for programs
	}
	if err != nil {
		return fmt.Errorf("save program %s: %w", v.Program.Name, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return fenced(epoch)
}

// Programs returns the newest version of every program, by name.
func (db *DB) Programs(ctx context.Context) ([]RegisteredVersion, error) {
	return db.programs(ctx, `SELECT version, program, manifest, size, uploaded, uploader FROM programs AS p
		WHERE number = (SELECT max(number) FROM programs WHERE name = p.name) ORDER BY name`)
}

// ProgramVersions returns the versions of a program whose digests begin with a
// prefix, the newest first.
func (db *DB) ProgramVersions(ctx context.Context, name, prefix string) ([]RegisteredVersion, error) {
	return db.programs(ctx, `SELECT version, program, manifest, size, uploaded, uploader FROM programs
		WHERE name = $1 AND substr(version, 1, length($2)) = $2 ORDER BY number DESC`, name, prefix)
}

func (db *DB) programs(ctx context.Context, query string, args ...any) (_ []RegisteredVersion, err error) {
	rows, err := db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read programs: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var out []RegisteredVersion
	for rows.Next() {
		var v RegisteredVersion
		var program []byte
		if err := rows.Scan(&v.Version, &program, &v.Manifest, &v.Size, &v.Uploaded, &v.By); err != nil {
			return nil, fmt.Errorf("read programs: %w", err)
		}
		if err := wire.Unmarshal(program, &v.Program); err != nil {
			return nil, fmt.Errorf("read program version %s: %w", v.Version, err)
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// RemoveProgram removes versions of a program, all or none. inUse says of the
// program of an execution that is not over whether it is one of them: then that is
// refused ([stint.Conflict]). It is refused as [DB.SaveProgram] is, too.
func (db *DB) RemoveProgram(ctx context.Context, epoch stint.Epoch, name string, versions []string, inUse func(p stint.Program) bool) error {
	err := db.inTx(ctx, func(tx *sql.Tx) error {
		var owner uint64
		if err := tx.QueryRowContext(ctx, "SELECT value FROM facts WHERE name = 'epoch'").Scan(&owner); err != nil {
			return err
		}
		if stint.Epoch(owner) != epoch {
			return fenced(epoch)
		}
		if err := checkUnused(ctx, tx, name, inUse); err != nil {
			return err
		}
		for _, v := range versions {
			if _, err := tx.ExecContext(ctx, "DELETE FROM programs WHERE name = $1 AND version = $2", name, v); err != nil {
				return err
			}
		}
		failpoint.Reach("program-removal.before-commit")
		return nil
	})
	failpoint.Reach("program-removal.after-commit")
	if err != nil {
		return fmt.Errorf("remove program %s: %w", name, err)
	}
	return nil
}

// maxUsersNamed is how many executions a refusal names.
const maxUsersNamed = 5

func checkUnused(ctx context.Context, tx *sql.Tx, name string, inUse func(p stint.Program) bool) (err error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, request FROM executions WHERE NOT settled AND program = $1 ORDER BY number", name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	users, count := "", 0
	for rows.Next() {
		var id string
		var request []byte
		if err := rows.Scan(&id, &request); err != nil {
			return err
		}
		var r stint.Request
		if err := wire.Unmarshal(request, &r); err != nil {
			return fmt.Errorf("request of %s: %w", id, err)
		}
		if !inUse(r.Program) {
			continue
		}
		if count++; count <= maxUsersNamed {
			users += " " + id
		}
	}
	if count > maxUsersNamed {
		users += fmt.Sprintf(" and %d more", count-maxUsersNamed)
	}
	if count > 0 {
		return stint.Errorf(stint.Conflict, "in_use: by executions%s: wait for their ends, or terminate them", users)
	}
	return rows.Err()
}
