package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"stint"
	"stint/internal/block"
	"stint/internal/failpoint"
	"stint/internal/link"
	"stint/internal/worker"
)

const (
	exitPatience = 2 * time.Second // for a worker whose socket was closed
	maxLog       = 1 << 18         // records in one log, about
	toldAtOnce   = 1 << 12         // records in one notice of retell
)

// process is one worker in one slot, from its start to its end.
type process struct {
	execution stint.ExecutionID
	slot      int
	command   []string
	setup     worker.Setup
	store     *block.Store
	spawner   *spawner
	post      func(notice)
	put       putPart
	orders    chan batch // from the loop
	finished  bool       // the loop closed orders; it alone looks at this
	abandoned bool       // orders were closed although operations are in hand
	segments  []uint32   // that it was given
	logs      []string   // of these
	toldOf    uint32     // segment of the last block that it has told of; the loop alone looks at this
}

// finish makes the worker end when it has nothing in hand; only the loop calls it.
func (p *process) finish() {
	if !p.finished {
		p.finished = true
		close(p.orders)
	}
}

// abandon ends the worker although it has operations in hand; only the loop calls it.
func (p *process) abandon() {
	p.abandoned = true
	p.finish()
}

// batch is what the loop hands to a worker at a time.
type batch struct {
	rotate  bool // a new segment first
	perform worker.Perform
	files   []*os.File
	own     []*os.File   // of files, to be closed
	release []func()     // likewise: the room that they take
	stop    *worker.Stop // instead of all others
}

func (b *batch) close() {
	for _, f := range b.own {
		_ = f.Close() // nothing was written through them here
	}
	for _, release := range b.release {
		release()
	}
}

// dropped returns the batch's operations as those that a worker did not begin.
func (b *batch) dropped() stint.Returned {
	d := stint.Returned{Job: b.perform.Job}
	for i := range b.perform.Orders {
		d.Ops = stint.AddToRanges(d.Ops, b.perform.Orders[i].Op)
	}
	return d
}

// errStopped says that a process was ended on purpose.
var errStopped = errors.New("stopped")

// run starts the worker, serves it to its end, and posts that. A worker that
// died may not have told all that its log holds: that is posted before.
func (p *process) run(ctx context.Context) {
	err := p.serve(ctx)
	ended := &workerEnded{process: p, err: err}
	if err != nil && (!errors.Is(err, errStopped) || errors.Is(context.Cause(ctx), errLapsed)) {
		ended.complaint = lastBytes(p.setup.Dir+".err", 2<<10)
		p.post(&workerDied{process: p})
		ended.err = errors.Join(err, p.retell(ctx))
	}
	p.post(ended)
}

// retell posts what the last logs hold, told before or not. What is not posted is
// performed again: logs that cannot be opened or read for now are looked at again.
func (p *process) retell(ctx context.Context) error {
	for looks := 1; ; looks++ {
		err := p.tellLogs()
		if err == nil || looks >= mostLooks || !mayBeRead(err) {
			return err
		}
		if !p.bide(ctx, link.Backoff(looks, rand.Float64())) { //nolint:gosec // jitter
			looks = mostLooks - 1 // the next one is the last
		}
	}
}

// bide waits before the next look at the logs, and gives back what the worker was
// handed and never took. It reports false if there is no more time: ctx is done, or the
// loop closed orders.
func (p *process) bide(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		case b, open := <-p.orders:
			if !open {
				return false
			}
			b.close()
			p.post(&workerTold{process: p, events: &worker.Events{Dropped: []stint.Returned{b.dropped()}}})
		}
	}
}

func (p *process) tellLogs() error {
	var err error
	events := &worker.Events{}
	flush := func() {
		p.post(&workerTold{process: p, events: events})
		events = &worker.Events{}
	}
	for _, path := range p.logs[max(0, len(p.logs)-2):] {
		err = errors.Join(err, readLog(path, func(r worker.Record) error {
			if events.Records = append(events.Records, r); len(events.Records) == toldAtOnce {
				flush()
			}
			return nil
		}))
	}
	flush()
	return err
}

// lastBytes returns the end of a file, empty if it cannot be read.
func lastBytes(path string, n int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // read only
	if info, err := f.Stat(); err == nil && info.Size() > n {
		_, _ = f.Seek(-n, io.SeekEnd) // the beginning is better than nothing
	}
	b, _ := io.ReadAll(io.LimitReader(f, n)) // what was read counts
	return string(b)
}

// serve returns nil if the loop closed orders, errStopped if ctx ended the
// worker, and otherwise why there is none any more.
func (p *process) serve(ctx context.Context) error {
	conn, command, err := p.start()
	if err != nil {
		return err
	}
	err = p.converse(ctx, conn)
	kill := time.AfterFunc(exitPatience, func() {
		_ = unix.Kill(-command.Process.Pid, unix.SIGKILL) // it may be gone
	})
	status := p.spawner.wait(command)
	kill.Stop()
	switch {
	case errors.Is(err, errClosed):
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", errStopped, context.Cause(ctx))
	case status != nil && !errors.Is(err, errOverdue):
		return fmt.Errorf("worker ended: %w", status)
	}
	return fmt.Errorf("worker ended: %w", err)
}

// converse speaks with the worker until one of both ends that, and says why. It
// closes the connection.
func (p *process) converse(ctx context.Context, conn *worker.Conn) error {
	var sent error
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer conn.Close() //nolint:errcheck // makes the worker end, and receive return
		sent = p.send(gctx, conn)
		return sent
	})
	g.Go(func() error {
		return p.receive(conn, func(part *stint.Part, file *os.File) {
			g.Go(func() error { return p.upload(gctx, conn, part, file) })
		})
	})
	err := g.Wait()
	if errors.Is(err, net.ErrClosed) { // by send, which ended first, and is overtaken here
		return sent
	}
	return err
}

// errClosed ends the pair of send and receive when there is nothing more to do.
var errClosed = errors.New("no more orders")

// errOverdue ends it since an operation did not end in time.
var errOverdue = errors.New("an operation did not end when it was to")

// start starts the worker and tells it what its slot is for.
func (p *process) start() (*worker.Conn, *exec.Cmd, error) {
	if err := os.MkdirAll(p.setup.Dir, 0o700); err != nil {
		return nil, nil, err
	}
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, nil, fmt.Errorf("make socket for worker: %w", err)
	}
	command, err := p.spawn(theirs)
	if err = errors.Join(err, theirs.Close()); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	err = conn.Send(worker.Message{Setup: &p.setup}, nil)
	if err == nil {
		err = p.rotate(conn)
	}
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close(), p.spawner.wait(command))
	}
	p.post(&workerReady{process: p})
	return conn, command, nil
}

func (p *process) spawn(socket *os.File) (*exec.Cmd, error) {
	complaints, err := os.Create(p.setup.Dir + ".err")
	if err != nil {
		return nil, err
	}
	c := exec.Command(p.command[0], p.command[1:]...) //nolint:noctx // ended by its socket, then by its process group
	c.Stderr = complaints
	c.Env = slices.DeleteFunc(os.Environ(), isSecret) // it holds no credentials
	c.ExtraFiles = []*os.File{socket}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return c, errors.Join(p.spawner.start(c), complaints.Close())
}

// isSecret reports whether a variable of the environment may be a credential for
// object storage.
func isSecret(variable string) bool { return strings.HasPrefix(variable, "AWS_") }

func socketPair() (*worker.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "agent")
	conn, err := net.FileConn(ours)
	if err = errors.Join(err, ours.Close()); err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return worker.NewConn(conn.(*net.UnixConn)), theirs, nil
}

// rotate gives the worker a new segment.
func (p *process) rotate(conn *worker.Conn) error {
	id, data, log, err := p.store.CreateSegment(p.execution)
	if err != nil {
		return fmt.Errorf("create segment: %w", err)
	}
	p.segments, p.logs = append(p.segments, id), append(p.logs, log.Name())
	err = conn.Send(worker.Message{Segment: &worker.SegmentFiles{ID: id}}, []*os.File{data, log})
	return errors.Join(err, data.Close(), log.Close())
}

// send hands orders to the worker.
func (p *process) send(ctx context.Context, conn *worker.Conn) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b, open := <-p.orders:
			if !open && p.abandoned {
				return errOverdue
			}
			if !open {
				return errClosed
			}
			if err := p.pass(conn, &b); err != nil {
				return err
			}
		}
	}
}

// pass sends what the loop handed over.
func (p *process) pass(conn *worker.Conn, b *batch) error {
	defer b.close()
	if b.stop != nil {
		return conn.Send(worker.Message{Stop: b.stop}, nil)
	}
	if b.rotate {
		failpoint.Reach("rotation.before-segment")
		if err := p.rotate(conn); err != nil {
			return err
		}
		failpoint.Reach("rotation.after-segment")
	}
	return conn.Send(worker.Message{Perform: &b.perform}, b.files)
}

// receive posts what the worker tells, and calls staged with parts that it has
// written and their files.
func (p *process) receive(conn *worker.Conn, staged func(*stint.Part, *os.File)) error {
	for {
		m, files, err := conn.Receive()
		if err == nil && m.Events != nil && m.Events.Staged != nil && len(files) == 1 {
			staged(m.Events.Staged, files[0])
			continue
		}
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if m.Events != nil {
			p.post(&workerTold{process: p, events: m.Events})
		}
	}
}
