package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"stint"
	"stint/internal/link"
	"stint/internal/transfer"
	"stint/internal/worker"
)

const (
	fetchesPerOrder = 4           // nodes asked at once
	maxFetchWait    = time.Second // between two tries
)

// fetch gets runs from a peer into a scratch file that has no name. A peer that
// does not answer is asked again for a while; one that does not have a block is not.
func (p *preparer) fetch(ctx context.Context, r reading, s *stint.Source, n naming, ops []stint.Range, patience time.Duration) (portion, answer, error) {
	scratch, err := p.scratch(r.execution)
	if err != nil {
		return portion{}, answer{}, nodeFault(err, p.folder.work(r.execution))
	}
	request := transfer.Request{Execution: n.execution, Stage: n.stage, Partition: r.partition, Ops: n.allThere(ops), Node: s.Node}
	to := &scratchWriter{file: scratch}
	var fetched []transfer.Fetched
	a, err := patiently(ctx, s, patience, &request.Ops, func() (err error) {
		if err := to.rewind(); err != nil {
			return err
		}
		fetched, err = transfer.Fetch(ctx, p.peers, s.Address, request, to)
		return err
	})
	if to.err != nil {
		err = nodeFault(to.err, p.folder.work(r.execution))
	}
	if err != nil || len(a.silent) > 0 {
		return portion{}, a.named(n), errors.Join(err, scratch.Close())
	}
	got := portion{files: []*os.File{scratch}, owned: true}
	for _, f := range fetched {
		if f.Length > 0 {
			got.runs = append(got.runs, worker.Run{Edge: r.edge, Op: n.here(f.Op), Offset: f.Offset, Length: f.Length, Records: f.Records})
		}
	}
	return got, a.named(n), nil
}

// named is the answer in the reader's names.
func (a answer) named(n naming) answer {
	a.bad, a.silent = n.allHere(a.bad), n.allHere(a.silent)
	return a
}

// patiently has a peer asked until it has answered for all of ops, or has not
// answered for a while. Operations that the peer does not have whole are taken
// out of ops, which try asks for. The error is try's own, if it is neither of the
// peer nor about its blocks.
func patiently(ctx context.Context, s *stint.Source, patience time.Duration, ops *[]stint.Range, try func() error) (answer, error) {
	var a answer
	deadline := time.Now().Add(patience)
	for tries := 0; len(*ops) > 0; {
		err := try()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return answer{}, ctx.Err()
		}
		code := stint.CodeOf(err)
		if code != stint.Lost && code != stint.Unavailable && code != stint.Denied {
			return answer{}, err
		}
		a.why = fmt.Sprintf("fetch from node %s at %s: %v", s.Node, s.Address, err)
		bad, missing := blamed(err)
		a.bad, *ops = union(a.bad, bad), without(*ops, bad)
		switch {
		case missing:
			return a, nil // the others have arrived
		case len(bad) > 0:
			continue
		case code != stint.Unavailable || !time.Now().Before(deadline):
			a.silent = *ops
			return a, nil
		}
		if err := wait(ctx, min(link.Backoff(tries, rand.Float64()), maxFetchWait)); err != nil { //nolint:gosec // jitter
			return answer{}, err
		}
		tries++
	}
	return a, nil
}

// blamed returns the operations that an error of a fetch is about, and whether
// they are those that the peer does not have, and all others have arrived.
func blamed(err error) (ops []stint.Range, missing bool) {
	if e, ok := errors.AsType[*transfer.MissingError](err); ok {
		return e.Ops, true
	}
	if e, ok := errors.AsType[*transfer.ChecksumError](err); ok {
		return []stint.Range{{From: e.Op, To: e.Op + 1}}, false
	}
	if e, ok := errors.AsType[*transfer.DamagedError](err); ok {
		return []stint.Range{{From: e.Op, To: e.Op + 1}}, false
	}
	return nil, false
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

// rewind makes the file empty.
func (w *scratchWriter) rewind() error {
	_, err := w.file.Seek(0, io.SeekStart)
	if err == nil {
		err = w.file.Truncate(0)
	}
	w.err = err
	return err
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
