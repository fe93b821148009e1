package agent

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"stint"
	"stint/internal/failpoint"
	"stint/internal/object"
	"stint/internal/worker"
)

const (
	logsRoot    = "logs"           // in system storage: logs/EXECUTION/NODE-INCARNATION-TIME
	logsWait    = 30 * time.Second // for storage to take them
	maxKeptLogs = 256 << 20        // bytes of text of one execution that a node puts into storage; beyond, of attempts that failed alone
)

// keptLog returns what is kept of an attempt that a record tells the end of;
// false: it is of none, or there is nothing to tell but that it completed.
func (f *folder) keptLog(r *worker.Record) (stint.KeptLog, bool) {
	switch {
	case r.Done != nil && (r.Done.Stderr != "" || len(r.Done.Bad) > 0):
		d := r.Done
		return stint.KeptLog{Stage: d.Stage, Op: d.Op.Op, Entry: stint.LogEntry{
			Node: f.node.Node, Job: d.Job.String(), Status: stint.OpCompleted,
			Start: time.UnixMilli(d.Op.Start).UTC(), End: time.UnixMilli(d.Op.End).UTC(), Text: d.Stderr, Bad: d.Bad,
		}}, true
	case r.Failed != nil:
		d := r.Failed
		return stint.KeptLog{Stage: d.Stage, Op: d.Op, Entry: stint.LogEntry{
			Node: f.node.Node, Job: d.Job.String(), Status: stint.OpFailed, Error: d.Error,
			Start: time.UnixMilli(d.Start).UTC(), End: time.UnixMilli(d.End).UTC(), Text: d.Stderr,
		}}, true
	}
	return stint.KeptLog{}, false
}

// findLogs returns the entries of this node that an errand asks for.
func (s *site) findLogs(e stint.Errand) ([]stint.KeptLog, error) {
	if e.Log == nil {
		return nil, stint.Errorf(stint.Invalid, "errand %s: it asks for no logs", e.ID)
	}
	found := newFoundLogs()
	err := readLogs(s.store, e.Execution, func(r worker.Record) error {
		k, ok := s.folder.keptLog(&r)
		if !ok || len(e.Ops) > 0 && (k.Stage != e.Stage || !stint.RangesContain(e.Ops, k.Op)) || !e.Log.Wants(&k.Entry) {
			return nil
		}
		found.add(k)
		return nil
	})
	return found.first(), err
}

// foundLogs gathers entries of which only those that ended first are wanted.
type foundLogs struct {
	list  []stint.KeptLog
	bytes int
}

func newFoundLogs() *foundLogs { return &foundLogs{} }

func (f *foundLogs) add(k stint.KeptLog) {
	f.list = append(f.list, k)
	f.bytes += k.Entry.Bytes()
	if len(f.list) >= 4*stint.MaxLogEntries || f.bytes >= 4*stint.MaxLogBytes {
		f.list = f.first()
		f.bytes = 0
		for i := range f.list {
			f.bytes += f.list[i].Entry.Bytes()
		}
	}
}

// first returns as many as one answer holds, and one more entry than a page has,
// so that it shows that there are further ones.
func (f *foundLogs) first() []stint.KeptLog {
	slices.SortStableFunc(f.list, func(a, b stint.KeptLog) int {
		return cmp.Or(a.Entry.End.Compare(b.Entry.End), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Op, b.Op))
	})
	bytes := 0
	for i := range f.list {
		if bytes += f.list[i].Entry.Bytes(); i == stint.MaxLogEntries || i > 0 && bytes > stint.MaxLogBytes {
			return f.list[:i+1]
		}
	}
	return f.list
}

// keepLogs is saveLogs for one that is forgotten, which nothing holds up.
func (s *site) keepLogs(ctx context.Context, x stint.ExecutionID) {
	if err := s.saveLogs(ctx, x); err != nil {
		s.logger.WarnContext(ctx, "logs not kept", "execution", x, "err", err)
	}
}

// saveLogs puts what is kept of an execution's attempts on this node into system
// storage, where it outlives the node: a line of JSON for each, compressed. What
// was put there before, by an earlier call, is there twice then; who reads takes
// one of them.
func (s *site) saveLogs(ctx context.Context, x stint.ExecutionID) error {
	some := errors.New("there is something")
	err := readLogs(s.store, x, func(r worker.Record) error {
		if _, ok := s.folder.keptLog(&r); ok {
			return some
		}
		return nil
	})
	if !errors.Is(err, some) {
		return err
	}
	storage, err := s.storages.open(ctx, "")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, logsWait)
	defer cancel()
	key := fmt.Sprintf("%s/%s/%s-%d-%d", logsRoot, x, s.folder.node.Node, s.folder.node.Incarnation, time.Now().UnixMilli())
	return s.putLogs(ctx, storage, key, x)
}

func (s *site) putLogs(ctx context.Context, storage *object.Storage, key string, x stint.ExecutionID) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := s.writeLogs(w, x)
		_ = w.CloseWithError(err) // never fails
		written <- err
	}()
	err := storage.Put(ctx, key, r)
	_ = r.CloseWithError(err) // the writer ends with it
	failpoint.Reach("logs.after-storing")
	return errors.Join(err, <-written)
}

func (s *site) writeLogs(w io.Writer, x stint.ExecutionID) error {
	zip := gzip.NewWriter(w)
	lines := json.NewEncoder(zip)
	bytes := 0
	err := readLogs(s.store, x, func(r worker.Record) error {
		k, ok := s.folder.keptLog(&r)
		if !ok || bytes > maxKeptLogs && k.Entry.Status != stint.OpFailed {
			return nil
		}
		bytes += len(k.Entry.Text)
		return lines.Encode(k)
	})
	return errors.Join(err, zip.Close())
}
