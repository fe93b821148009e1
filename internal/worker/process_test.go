package worker_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"stint"
	"stint/internal/worker"
	"stint/program"
)

// asWorker in the environment makes the test binary a worker on descriptor 3.
const asWorker = "STINT_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv("STINT_FRAMES") != "" {
		program.Main(fussy())
	}
	if os.Getenv(asWorker) == "" {
		os.Exit(m.Run())
	}
	c, err := net.FileConn(os.NewFile(3, "agent"))
	if err == nil {
		err = sdkWorker().Run(contextOf(), worker.NewConn(c.(*net.UnixConn)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// spawn starts a worker as a process of its own.
func spawn(t *testing.T, stages ...stint.StageSpec) (*agent, *exec.Cmd) {
	t.Helper()
	a := newAgent(t, stages...)
	raw, ours := rawPair(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asWorker+"=1")
	cmd.ExtraFiles = []*os.File{raw}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = raw.Close()
	a.conn = ours
	a.setUp()
	return a, cmd
}

func TestAWorkerKilledAtAnyMomentLeavesALogThatCanBeRead(t *testing.T) {
	t.Parallel()
	one.Lock()
	defer one.Unlock()
	for round := range 8 {
		a, cmd := spawn(t, first(op("identity")))
		orders := make([]worker.Order, 5000)
		for i := range orders {
			orders[i] = worker.Order{Op: uint32(i), Subset: stint.Subset{Values: &stint.Values{First: int64(i), Count: 3}}}
		}
		a.send(worker.Message{Perform: &worker.Perform{Job: 1, Attempt: 1, Orders: orders}})
		for len(a.told) < 100*round {
			a.receive()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("it was not killed")
		}
		for {
			m, _, err := a.conn.Receive()
			if err != nil {
				break
			}
			a.told = append(a.told, m.Events.Records...)
		}
		_ = a.conn.Close()
		a.checkKilled(round)
	}
}

// checkKilled checks that all that was told is in the log, and that blocks of
// the log are in the segment.
func (a *agent) checkKilled(round int) {
	a.t.Helper()
	log := a.log()
	if len(log) < len(a.told) {
		a.t.Fatalf("round %d: %d records told, %d in the log", round, len(a.told), len(log))
	}
	for i, r := range log {
		if r.Done == nil {
			continue
		}
		op := r.Done.Op.Op
		if int(op) != i/2 {
			a.t.Fatalf("round %d: record %d is of operation %d", round, i, op)
		}
		if err := a.store.Add(execution, 0, op, *r.Done.Block); err != nil {
			a.t.Fatal(err)
		}
		if got, want := a.blockText(0, op), fmt.Sprintf("%d\n%d\n%d\n", op, op+1, op+2); got != want {
			a.t.Fatalf("round %d: operation %d: %q", round, op, got)
		}
	}
	bad, err := a.store.Verify(a.t.Context(), execution, true)
	if err != nil || len(bad) > 0 {
		a.t.Fatal(bad, err)
	}
}

func TestProcessesDieWithTheirWorker(t *testing.T) {
	t.Parallel()
	one.Lock()
	defer one.Unlock()
	for name, end := range map[string]func(a *agent, cmd *exec.Cmd) error{
		"killed":            func(_ *agent, cmd *exec.Cmd) error { return cmd.Process.Kill() },
		"agent has gone":    func(a *agent, _ *exec.Cmd) error { return a.conn.Close() },
		"stopped by SIGINT": func(_ *agent, cmd *exec.Cmd) error { return cmd.Process.Signal(os.Interrupt) },
	} {
		a, cmd := spawn(t, first(sh(`trap '' INT TERM; echo reporter:status:$$ >&2; while :; do sleep 60; done`)))
		a.send(worker.Message{Perform: &worker.Perform{Job: 1, Attempt: 1, Orders: []worker.Order{{Subset: stint.Subset{Values: &stint.Values{Count: 1}}}}}})
		for len(a.says) == 0 {
			a.receive()
		}
		if err := end(a, cmd); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // how it ended is not the question
		awaitGone(t, name, a.says[0].Text)
		_ = a.conn.Close()
	}
}

// awaitGone waits until a process has ended. A kill that was sent takes effect
// soon, but not at once.
func awaitGone(t *testing.T, name, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(n)
	if err != nil {
		return
	}
	defer p.Release() //nolint:errcheck // nothing to do
	for {
		stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return
		}
		if t.Context().Err() != nil {
			t.Fatalf("%s: process %s lives: %s", name, pid, stat)
		}
	}
}

func TestAnErrorOfTheLogEndsTheWorker(t *testing.T) {
	t.Parallel()
	a := start(t, first(op("noop")))
	_, data, _, err := a.store.CreateSegment(execution)
	if err != nil {
		t.Fatal(err)
	}
	a.send(worker.Message{Segment: &worker.SegmentFiles{ID: 2}}, data, a.open("/dev/full"))
	a.send(worker.Message{Perform: &worker.Perform{Job: 1, Orders: []worker.Order{{}}}})
	_, _, rerr := a.conn.Receive()
	err = <-a.ended
	a.ended <- nil
	if rerr == nil || err == nil || !strings.Contains(err.Error(), "write slot log") {
		t.Fatal(rerr, err)
	}
}
