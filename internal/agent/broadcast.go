package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/worker"
)

// broadcasts are the files with all output of a stage that operations here read
// beside their own input, fetched once for each execution and kept until it is
// forgotten. Safe for concurrent use.
type broadcasts struct {
	mu   sync.Mutex
	held map[stint.ExecutionID]map[broadcastKey]*broadcastFile
}

func newBroadcasts() *broadcasts {
	return &broadcasts{held: make(map[stint.ExecutionID]map[broadcastKey]*broadcastFile)}
}

// broadcastKey tells apart what the output of one stage may be: an execution that
// is told anew may go on from another input, and without operations that failed
// for good.
type broadcastKey struct {
	spec    *stint.Spec
	stage   int    //nolint:unused // keys are compared as a whole
	missing string //nolint:unused // keys are compared as a whole
}

// broadcastFile is one of them. Its fields are set when ready is closed.
type broadcastFile struct {
	ready chan struct{}
	path  string
	info  os.FileInfo
	sum   uint64
	err   error
}

// get returns the file, which the first who asks has made while others wait. What
// failed is tried again by the next. first is called before the first file of an
// execution.
func (b *broadcasts) get(ctx context.Context, key broadcastKey, doubt bool, first func() error, make func() (*broadcastFile, error)) (string, error) {
	for {
		f, mine, err := b.enter(key, first)
		if err != nil {
			return "", err
		}
		if mine {
			made, err := make()
			b.settle(key, f, made, err)
			return f.path, err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-f.ready:
		}
		switch {
		case f.err != nil && stint.CodeOf(f.err) != stint.Canceled && !errors.Is(f.err, context.Canceled):
			return "", f.err
		case f.err == nil && f.unchanged() && (!doubt || f.intact()):
			return f.path, nil
		}
		b.drop(key, f)
	}
}

// enter returns the file of a key, and whether the caller is to make it.
func (b *broadcasts) enter(key broadcastKey, first func() error) (f *broadcastFile, mine bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := key.spec.Execution
	if b.held[x] == nil {
		if err := first(); err != nil {
			return nil, false, err
		}
		b.held[x] = make(map[broadcastKey]*broadcastFile)
	}
	if f = b.held[x][key]; f != nil {
		return f, false, nil
	}
	f = &broadcastFile{ready: make(chan struct{})}
	b.held[x][key] = f
	return f, true, nil
}

// settle lets those go on who wait for a file.
func (b *broadcasts) settle(key broadcastKey, f, made *broadcastFile, err error) {
	if f.err = err; err == nil {
		f.path, f.info, f.sum = made.path, made.info, made.sum
	} else {
		b.drop(key, f)
	}
	close(f.ready)
}

// drop has a file made again by the next who asks.
func (b *broadcasts) drop(key broadcastKey, f *broadcastFile) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if files := b.held[key.spec.Execution]; files[key] == f {
		delete(files, key)
	}
}

// forget drops the files of an execution, which nothing reads any more.
func (b *broadcasts) forget(x stint.ExecutionID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.held, x)
}

// unchanged reports whether a file looks as it was made: a program may have written
// to it.
func (f *broadcastFile) unchanged() bool {
	info, err := os.Stat(f.path)
	return err == nil && info.Size() == f.info.Size() && info.ModTime().Equal(f.info.ModTime())
}

// intact reads a file and reports whether it has the bytes that it was made with.
func (f *broadcastFile) intact() bool {
	from, err := os.Open(f.path)
	if err != nil {
		return false
	}
	defer from.Close() //nolint:errcheck // only read
	return newSummer().matches(io.NewSectionReader(from, 0, f.info.Size()), f.sum)
}

// broadcast returns the path of a file with all output that operations read over
// an edge.
func (p *preparer) broadcast(ctx context.Context, spec *stint.Spec, r reading, from stint.Reading) (string, error) {
	key := broadcastKey{spec: spec, stage: r.stage, missing: fmt.Sprint(from.Missing)}
	dir := p.folder.work(spec.Execution, "broadcast")
	first := func() error { // what an earlier incarnation has fetched is not known
		if err := errors.Join(removeTree(dir), os.MkdirAll(dir, 0o700)); err != nil {
			return nodeFault(err, dir)
		}
		return nil
	}
	doubt := r.doubt
	r.doubt = true // its bytes are copied: they have to be right
	return p.broadcasts.get(ctx, key, doubt, first, func() (*broadcastFile, error) {
		return p.collect(ctx, r, from, dir)
	})
}

// collect writes what a reading finds into one file, in order.
func (p *preparer) collect(ctx context.Context, r reading, from stint.Reading, dir string) (*broadcastFile, error) {
	found := &order{}
	defer found.close()
	if err := p.find(ctx, r, from, found.take); err != nil {
		return nil, err
	}
	slices.SortFunc(found.wire.Runs, func(a, b worker.Run) int { return int(int64(a.Op) - int64(b.Op)) })
	to, err := os.CreateTemp(dir, fmt.Sprintf("%d-*", r.stage))
	if err != nil {
		return nil, nodeFault(err, dir)
	}
	f := &broadcastFile{path: to.Name()}
	f.sum, err = concatenate(ctx, to, found)
	if err == nil {
		err = to.Chmod(0o400)
	}
	if err == nil {
		f.info, err = to.Stat()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return nil, nodeFault(errors.Join(err, os.Remove(f.path)), dir)
	}
	return f, nil
}

// concatenate copies the runs of an order, one after the other, and returns the
// XXH3-64 of their bytes.
func concatenate(ctx context.Context, to io.Writer, found *order) (uint64, error) {
	hash := xxh3.New()
	out, buf := io.MultiWriter(to, hash), make([]byte, 256<<10)
	for _, run := range found.wire.Runs {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		section := io.NewSectionReader(found.files[run.File], run.Offset, run.Length)
		n, err := io.CopyBuffer(out, section, buf)
		if err == nil && n < run.Length {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, fmt.Errorf("copy output of operation %d: %w", run.Op, err)
		}
	}
	return hash.Sum64(), nil
}
