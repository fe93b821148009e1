package server

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"stint"
)

const (
	logsRoot   = "logs/"
	maxLogLine = 4 << 20 // bytes of one entry as JSON
)

// Logs returns what is kept of an execution's attempts that have ended: what
// nodes still have, and what they put into storage when the execution ended or
// was suspended. Entries come in the order in which the attempts ended.
func (s *Server) Logs(ctx context.Context, id stint.ExecutionID, q stint.LogQuery) (stint.Logs, error) {
	doc, err := s.Show(ctx, id)
	if err != nil {
		return stint.Logs{}, err
	}
	errand := stint.Errand{Kind: stint.ErrandLog, Execution: id, Log: &q}
	if q.Operation != "" {
		if errand.Stage, errand.Ops, err = place(doc, q.Operation); err != nil {
			return stint.Logs{}, err
		}
	}
	all := &logs{doc: &doc, query: q}
	for _, f := range doc.Failures { // of these the record knows, whatever becomes of the node
		all.add(failureEntry(f))
	}
	if err := s.storedLogs(ctx, id, all); err != nil {
		return stint.Logs{}, err
	}
	missing, err := s.nodeLogs(ctx, doc.Nodes, errand, all)
	if err != nil {
		return stint.Logs{}, err
	}
	out := all.page()
	if !doc.Status.Final() {
		out.Missing = missing
	}
	return out, nil
}

// place returns the number of an operation's stage, and the operation as a run.
func place(doc stint.Execution, op stint.OperationID) (int, []stint.Range, error) {
	name, n, err := op.Split()
	if err != nil {
		return 0, nil, err
	}
	names := make([]string, 0, len(doc.Stages))
	for k, st := range doc.Stages {
		if st.Name == name {
			if int64(n) >= st.Operations.Total {
				return 0, nil, stint.Errorf(stint.NotFound, "no operation %d in stage %s of %s: it has %d, from 0", n, name, doc.ID, st.Operations.Total)
			}
			return k, []stint.Range{{From: n, To: n + 1}}, nil
		}
		names = append(names, st.Name)
	}
	return 0, nil, stint.Errorf(stint.NotFound, "no stage %.80q in %s; its stages are %s", name, doc.ID, strings.Join(names, ", "))
}

func failureEntry(f stint.Failure) stint.KeptLog {
	return stint.KeptLog{Stage: f.Stage, Op: f.Op, Entry: stint.LogEntry{
		Node: f.Node, Job: f.Job.String(), Status: stint.OpFailed, Error: f.Error,
		Start: time.UnixMilli(f.Start).UTC(), End: time.UnixMilli(f.End).UTC(), Text: f.Stderr,
	}}
}

// logs gathers the entries of one answer.
type logs struct {
	doc   *stint.Execution
	query stint.LogQuery
	list  []stint.LogEntry
	bytes int
}

// add takes in an entry if it is wanted.
func (l *logs) add(k stint.KeptLog) {
	if k.Stage < 0 || k.Stage >= len(l.doc.Stages) {
		return
	}
	k.Entry.Operation = stint.MakeOperationID(l.doc.Stages[k.Stage].Name, k.Op)
	if !l.query.Wants(&k.Entry) {
		return
	}
	l.list = append(l.list, k.Entry)
	l.bytes += k.Entry.Bytes()
	if len(l.list) >= 8*stint.MaxLogEntries || l.bytes >= 8*stint.MaxLogBytes {
		l.sort()
		l.list = l.list[:l.fitting(1)]
		l.bytes = 0
		for i := range l.list {
			l.bytes += l.list[i].Bytes()
		}
	}
}

// sort orders the entries by their end and leaves of equal ones, which were kept
// in two places, one.
func (l *logs) sort() {
	slices.SortStableFunc(l.list, func(a, b stint.LogEntry) int {
		return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Job, b.Job))
	})
	l.list = slices.CompactFunc(l.list, func(a, b stint.LogEntry) bool {
		return a.Operation == b.Operation && a.Job == b.Job && a.End.Equal(b.End)
	})
}

// fitting returns how many entries one answer holds, and so many more.
func (l *logs) fitting(more int) int {
	bytes := 0
	for i := range l.list {
		if bytes += l.list[i].Bytes(); i == stint.MaxLogEntries || i > 0 && bytes > stint.MaxLogBytes {
			return min(i+more, len(l.list))
		}
	}
	return len(l.list)
}

func (l *logs) page() stint.Logs {
	l.sort()
	n := l.fitting(0)
	return stint.Logs{Entries: slices.Clone(l.list[:n]), More: n < len(l.list)}
}

// storedLogs adds what nodes have put into storage.
func (s *Server) storedLogs(ctx context.Context, id stint.ExecutionID, all *logs) error {
	entries, err := s.Storage.List(ctx, logsRoot+string(id)+"/")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.storedLog(ctx, e.Key, all); err != nil {
			return fmt.Errorf("read %s: %w", e.Key, err)
		}
	}
	return nil
}

func (s *Server) storedLog(ctx context.Context, key string, all *logs) (err error) {
	f, err := s.Storage.Get(ctx, key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	zip, err := gzip.NewReader(bufio.NewReaderSize(f, 256<<10))
	if err != nil {
		return altered(err)
	}
	lines := bufio.NewScanner(zip)
	lines.Buffer(make([]byte, 64<<10), maxLogLine)
	for lines.Scan() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var k stint.KeptLog
		if err := json.Unmarshal(lines.Bytes(), &k); err != nil {
			return altered(err)
		}
		all.add(k)
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return altered(err)
	}
	return nil
}

func altered(err error) error { return stint.Errorf(stint.Lost, "its content is altered: %w", err) }

// nodeLogs adds what nodes have, and returns those that cannot be asked.
func (s *Server) nodeLogs(ctx context.Context, nodes []stint.NodeID, e stint.Errand, all *logs) (missing []stint.NodeID, err error) {
	g, gctx := errgroup.WithContext(ctx)
	results := make([]stint.ErrandResult, len(nodes))
	failed := make([]error, len(nodes))
	for i, node := range nodes {
		if !s.fleet.ready(node) {
			missing = append(missing, node)
			continue
		}
		ask := e
		ask.ID = string(newID()) + "/log"
		g.Go(func() error {
			results[i], failed[i] = s.runErrand(gctx, ask, node)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, r := range results {
		if failed[i] != nil {
			missing = append(missing, nodes[i])
		}
		for _, k := range r.Logs {
			all.add(k)
		}
	}
	return missing, ctx.Err()
}
