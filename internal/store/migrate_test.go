package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"stint"
	"stint/internal/coord"
)

// What a record of any older schema has is there when it is opened. A process that is
// killed while it migrates leaves one of these, since each step is a transaction.
func TestARecordOfEachOlderSchemaKeepsWhatItHas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	full := filepath.Join(dir, "full.db")
	db, err := Open(t.Context(), full)
	check(t, err)
	_, err = db.TakeOver(t.Context())
	check(t, err)
	_, err = db.SaveNode(t.Context(), 1, stint.Node{ID: "n", Name: "alpha", Incarnation: 3, Status: stint.NodeReady, Slots: 2, Address: "a:1", Since: time.UnixMilli(5).UTC()})
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	created(t, db, entry(1, "key"))
	committed(t, db, batch(1, 0, grant(1), grant(2)))
	withSnapshot := batch(1, 2, grant(3))
	withSnapshot.Snapshot = snapshot(3, coord.Chunk{Data: []byte("what was")})
	committed(t, db, withSnapshot)
	committed(t, db, batch(1, 3, grant(4)))
	want := loaded(t, db, 1)
	nodes, err := db.Nodes(t.Context())
	check(t, err)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	check(t, db.Close())
	steps, err := fs.Glob(migrations, "migrations/*.sql")
	check(t, err)
	newest := len(steps)
	for schema := 1; schema <= newest; schema++ {
		old := filepath.Join(dir, fmt.Sprintf("schema-%d.db", schema))
		writeOld(t, old, full, int64(schema))
		db := opened(t, old)
		same(t, fmt.Sprintf("the execution in schema %d", schema), loaded(t, db, 1), want)
		got, err := db.Nodes(t.Context())
		check(t, err)
		same(t, fmt.Sprintf("the nodes in schema %d", schema), got, nodes)
		check(t, db.CheckIntegrity(t.Context()))
	}
}

// writeOld writes a record of an older schema with all that a full one has of it.
func writeOld(t *testing.T, path, full string, schema int64) {
	t.Helper()
	db, err := open(path, "immediate")
	check(t, err)
	db.SetMaxOpenConns(1)
	dir, err := fs.Sub(migrations, "migrations")
	check(t, err)
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, dir)
	check(t, err)
	_, err = provider.UpTo(t.Context(), schema)
	check(t, err)
	_, err = db.ExecContext(t.Context(), "ATTACH $1 AS full", full)
	check(t, err)
	tables := column(t, db, "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'goose%' AND name NOT LIKE 'sqlite%'")
	if len(tables) == 0 {
		t.Fatalf("schema %d has no tables", schema)
	}
	for _, table := range tables {
		columns := strings.Join(column(t, db, "SELECT name FROM pragma_table_info($1)", table), ", ")
		_, err := db.ExecContext(t.Context(), fmt.Sprintf("INSERT OR REPLACE INTO main.%[1]s (%[2]s) SELECT %[2]s FROM full.%[1]s", table, columns))
		check(t, err)
	}
	check(t, db.Close())
}

// column returns what a query finds in one column.
func column(t *testing.T, db *sql.DB, query string, args ...any) (found []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	check(t, err)
	defer rows.Close() //nolint:errcheck // only read
	for rows.Next() {
		var one string
		check(t, rows.Scan(&one))
		found = append(found, one)
	}
	check(t, rows.Err())
	return found
}
