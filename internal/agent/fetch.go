package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"stint"
	"stint/internal/link"
	"stint/internal/transfer"
	"stint/internal/worker"
)

const (
	fetchesPerOrder = 4               // nodes asked at once
	fetchPatience   = 5 * time.Second // for a node that does not answer
	maxFetchWait    = time.Second     // between two tries
)

// fetch gets runs from a peer into a scratch file that has no name. A peer that
// does not answer is asked again for a while; one that does not have a block is not.
func (p *preparer) fetch(ctx context.Context, r reading, h holder) (portion, error) {
	scratch, err := p.scratch(r.execution)
	if err != nil {
		return portion{}, nodeFault(err, p.folder.work(r.execution))
	}
	request := transfer.Request{Execution: r.execution, Stage: r.stage, Partition: r.partition, Ops: h.ops, Node: h.node}
	fetched, err := p.fetchInto(ctx, h, request, scratch)
	if err != nil {
		return portion{}, errors.Join(err, scratch.Close())
	}
	got := portion{files: []*os.File{scratch}, owned: true}
	for _, f := range fetched {
		if f.Length > 0 {
			got.runs = append(got.runs, worker.Run{Op: f.Op, Offset: f.Offset, Length: f.Length, Records: f.Records})
		}
	}
	return got, nil
}

// scratch creates a file and removes its name: it is gone with its last descriptor.
func (p *preparer) scratch(x stint.ExecutionID) (*os.File, error) {
	f, err := os.CreateTemp(p.folder.work(x), "fetch-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (p *preparer) fetchInto(ctx context.Context, h holder, request transfer.Request, scratch *os.File) ([]transfer.Fetched, error) {
	deadline := time.Now().Add(fetchPatience)
	for try := 0; ; try++ {
		to := &scratchWriter{file: scratch}
		fetched, err := transfer.Fetch(ctx, p.peers, h.address, request, to)
		switch {
		case err == nil:
			return fetched, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case to.err != nil:
			return nil, nodeFault(to.err, p.folder.work(request.Execution))
		case stint.CodeOf(err) != stint.Unavailable || !time.Now().Before(deadline):
			return nil, &lostError{nodes: []stint.NodeID{h.node}, what: fmt.Sprintf("fetch from node %s at %s: %v", h.node, h.address, err)}
		}
		if err := wait(ctx, min(link.Backoff(try, rand.Float64()), maxFetchWait)); err != nil { //nolint:gosec // jitter
			return nil, err
		}
		if err := rewind(scratch); err != nil {
			return nil, nodeFault(err, p.folder.work(request.Execution))
		}
	}
}

func rewind(f *os.File) error {
	if _, err := f.Seek(0, 0); err != nil {
		return err
	}
	return f.Truncate(0)
}

// scratchWriter remembers an error of writing, which is this node's fault and
// not that of the peer that is read from.
type scratchWriter struct {
	file *os.File
	err  error
}

func (w *scratchWriter) Write(b []byte) (int, error) {
	n, err := w.file.Write(b)
	if err != nil {
		w.err = err
	}
	return n, err
}

// wait waits for d, or returns the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
