package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"stint"
)

// SaveNode keeps what is known of a node. Another node of the same name that is
// not lost is marked as lost, in the same transaction, and returned: a name
// belongs to one data folder, and a node that joins under it anew has lost the
// earlier one. The earlier one is refused from then on ([stint.Conflict]), unless
// it comes under another name. So is every node if the epoch is not the owner's
// ([stint.Unavailable]).
func (db *DB) SaveNode(ctx context.Context, epoch stint.Epoch, n stint.Node) (replaced []stint.NodeID, err error) {
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

// admit refuses a node that a session of another owner, or of another node under
// its name, has replaced.
func admit(ctx context.Context, tx *sql.Tx, epoch stint.Epoch, n stint.Node) error {
	var owner uint64
	if err := tx.QueryRowContext(ctx, "SELECT value FROM facts WHERE name = 'epoch'").Scan(&owner); err != nil {
		return err
	}
	if stint.Epoch(owner) != epoch {
		return fenced(epoch)
	}
	var replaced bool
	if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM nodes WHERE id = $1 AND name = $2 AND status = $3)", string(n.ID), n.Name, string(stint.NodeLost)).Scan(&replaced); err != nil {
		return err
	}
	if replaced {
		return stint.Errorf(stint.Conflict, "name_taken: another node has joined under the name %q; give this one another name", n.Name)
	}
	return nil
}

// Nodes returns every node that was ever here, those that are lost included.
func (db *DB) Nodes(ctx context.Context) (_ []stint.Node, err error) {
	rows, err := db.read.QueryContext(ctx, "SELECT id, name, address, incarnation, slots, status, since FROM nodes ORDER BY since, id")
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var out []stint.Node
	for rows.Next() {
		var n stint.Node
		var since int64
		if err := rows.Scan(&n.ID, &n.Name, &n.Address, &n.Incarnation, &n.Slots, &n.Status, &since); err != nil {
			return nil, fmt.Errorf("list nodes: %w", err)
		}
		n.Since = time.UnixMilli(since).UTC()
		out = append(out, n)
	}
	return out, rows.Err()
}
