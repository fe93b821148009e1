package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"stint"
	"stint/internal/failpoint"
)

// SaveNode keeps what is known of a node. Another node of the same name that is
// not lost is marked as lost, in the same transaction, and returned: a name
// belongs to one data folder, and a node that joins under it anew has lost the
// earlier one. The earlier one is refused from then on ([stint.Conflict]), unless
// it comes under another name. So is every node if the epoch is not the owner's
// ([stint.Unavailable]), one that was removed ([stint.Denied]), and a start of which a
// later one is known ([stint.StaleIncarnation]). Whether a node is to be drained is not
// changed by this.
func (db *DB) SaveNode(ctx context.Context, epoch stint.Epoch, n stint.Node) (replaced []stint.NodeID, err error) {
	failpoint.Reach("node.before-commit")
	err = db.inTx(ctx, func(tx *sql.Tx) error {
		if err := admit(ctx, tx, epoch, n); err != nil {
			return err
		}
		var err error
		if replaced, err = replace(ctx, tx, n); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO nodes (id, name, address, incarnation, slots, status, since) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (id) DO UPDATE SET name = excluded.name, address = excluded.address, incarnation = excluded.incarnation,
			slots = excluded.slots, status = excluded.status`,
			string(n.ID), n.Name, n.Address, uint64(n.Incarnation), n.Slots, string(n.Status), n.Since.UnixMilli())
		return err
	})
	failpoint.Reach("node.after-commit")
	if err != nil {
		return nil, fmt.Errorf("save node %s: %w", n.ID, err)
	}
	return replaced, nil
}

// replace marks the other nodes of a node's name as lost.
func replace(ctx context.Context, tx *sql.Tx, n stint.Node) (replaced []stint.NodeID, err error) {
	rows, err := tx.QueryContext(ctx, "UPDATE nodes SET status = $1 WHERE name = $2 AND id <> $3 AND status <> $1 RETURNING id", string(stint.NodeLost), n.Name, string(n.ID))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		replaced = append(replaced, stint.NodeID(id))
	}
	return replaced, rows.Err()
}

// admit refuses a node that a session of another owner, of another node under its
// name, or of a later start has replaced.
func admit(ctx context.Context, tx *sql.Tx, epoch stint.Epoch, n stint.Node) error {
	var owner uint64
	if err := tx.QueryRowContext(ctx, "SELECT value FROM facts WHERE name = 'epoch'").Scan(&owner); err != nil {
		return err
	}
	if stint.Epoch(owner) != epoch {
		return fenced(epoch)
	}
	var replaced, removed bool
	var latest uint64
	err := tx.QueryRowContext(ctx, "SELECT removed, name = $2 AND status = $3, incarnation FROM nodes WHERE id = $1", string(n.ID), n.Name, string(stint.NodeLost)).Scan(&removed, &replaced, &latest)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	case removed:
		return stint.Errorf(stint.Denied, "%w", &stint.NodeRemoved{Node: n.ID})
	case replaced:
		return stint.Errorf(stint.Conflict, "name_taken: another node has joined under the name %q; give this one another name", n.Name)
	case stint.Incarnation(latest) > n.Incarnation:
		return stint.Errorf(stint.Conflict, "%w", &stint.StaleIncarnation{Node: n.ID, Known: stint.Incarnation(latest), Own: n.Incarnation})
	}
	return nil
}

// Drain keeps whether a node is to be drained, and by when it will be gone.
func (db *DB) Drain(ctx context.Context, epoch stint.Epoch, id stint.NodeID, draining bool, by int64) error {
	return db.changeNode(ctx, epoch, id, "UPDATE nodes SET draining = $3, evacuate_by = $4", draining, by)
}

// RemoveNode has a node be lost, listed no more, and refused when it comes again.
func (db *DB) RemoveNode(ctx context.Context, epoch stint.Epoch, id stint.NodeID) error {
	return db.changeNode(ctx, epoch, id, "UPDATE nodes SET removed = TRUE, draining = $3, status = $4", false, string(stint.NodeLost))
}

// changeNode changes what is known of one node, if the epoch is the owner's.
func (db *DB) changeNode(ctx context.Context, epoch stint.Epoch, id stint.NodeID, update string, values ...any) error {
	failpoint.Reach("drain.before-commit")
	res, err := db.exec(ctx, update+" WHERE id = $1 AND NOT removed AND EXISTS (SELECT 1 FROM facts WHERE name = 'epoch' AND value = $2)",
		append([]any{string(id), uint64(epoch)}, values...)...)
	failpoint.Reach("drain.after-commit")
	if err != nil {
		return fmt.Errorf("change node %s: %w", id, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	if owner, err := db.Epoch(ctx); err != nil || owner != epoch {
		return errors.Join(fenced(epoch), err)
	}
	return stint.Errorf(stint.NotFound, "no node %s", id)
}

// KnownNode is a node of the record.
type KnownNode struct {
	stint.Node
	Draining bool
	By       int64 // when it will be gone, in milliseconds since 1970; 0: not known
}

// Nodes returns every node that was ever here and not removed, those that are
// lost included.
func (db *DB) Nodes(ctx context.Context) (_ []KnownNode, err error) {
	rows, err := db.read.QueryContext(ctx, "SELECT id, name, address, incarnation, slots, status, since, draining, evacuate_by FROM nodes WHERE NOT removed ORDER BY since, id")
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var out []KnownNode
	for rows.Next() {
		var n KnownNode
		var since int64
		if err := rows.Scan(&n.ID, &n.Name, &n.Address, &n.Incarnation, &n.Slots, &n.Status, &since, &n.Draining, &n.By); err != nil {
			return nil, fmt.Errorf("list nodes: %w", err)
		}
		n.Since = time.UnixMilli(since).UTC()
		out = append(out, n)
	}
	return out, rows.Err()
}
