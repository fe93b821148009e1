package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"stint"
	"stint/internal/runner/native"
)

// Bars of the times that are measured, in seconds.
const (
	recoveryBar = 5
	resumeBar   = 1
	decisionBar = 5
)

// benchPoll is how often a service is looked at while it recovers.
const benchPoll = 10 * time.Millisecond

// benchRecovery kills the server and the agent, in turn, while operations that
// do nothing are performed, and measures how long each is missed.
func benchRecovery(ctx context.Context, b *bench) (measurement, error) {
	r := recovery{live: b.flags.live}
	err := b.with(ctx, "recovery", func(s *session) error {
		x, err := s.Submit(ctx, nothing(b.flags.live))
		if err != nil {
			return err
		}
		r.session, r.id = s, x.ID
		kills := 2 * b.flags.runs
		for k := range kills {
			if err := r.reach(ctx, int64(b.flags.live*(k+1)/(kills+1))); err != nil {
				return err
			}
			if k%2 == 0 {
				err = r.killServer(ctx)
			} else {
				err = r.killAgent(ctx)
			}
			if err != nil {
				return err
			}
		}
		_, err = s.Terminate(ctx, x.ID)
		return err
	})
	return measurement{Times: []timing{
		timed("server_killed", "server killed until it accepts requests and the agent is attached", r.server, recoveryBar),
		timed("agent_killed", "agent killed until operations go on", r.agent, 0),
	}}, err
}

// with calls do with a service of its own.
func (b *bench) with(ctx context.Context, name string, do func(*session) error) error {
	s, err := benchService(ctx, filepath.Join(b.dir, name))
	if err != nil {
		return err
	}
	if err := do(s); err != nil {
		s.stop() //nolint:errcheck // the first error counts
		return err
	}
	return s.stop()
}

// nothing is a request for n operations that do nothing.
func nothing(n int) stint.Request {
	program, err := native.Program("noop", nil)
	if err != nil {
		panic(err) // it is shipped
	}
	return stint.Request{Program: program, Inputs: []string{fmt.Sprintf("range:1..%d", n)}, SubsetSize: 1}
}

// recovery is an execution whose service is killed, piece by piece.
type recovery struct {
	*session
	id            stint.ExecutionID
	live          int
	server, agent []float64 // seconds
}

// reach waits until so many operations are completed, but not all.
func (r *recovery) reach(ctx context.Context, completed int64) error {
	for x, err := range r.Watch(ctx, r.id, 0) {
		if err != nil {
			return err
		}
		if x.Status.Final() {
			return stint.Errorf(stint.Failed, "%s is %s before all was measured: --live %d is too few", r.id, x.Status, r.live)
		}
		if x.Operations.Completed >= completed {
			return nil
		}
	}
	return ctx.Err()
}

func (r *recovery) killServer(ctx context.Context) error {
	began := time.Now()
	err := killChild(r.own.Process.Pid, "server")
	if err == nil {
		err = r.answers(ctx)
	}
	r.server = append(r.server, time.Since(began).Seconds())
	return err
}

func (r *recovery) killAgent(ctx context.Context) error {
	node, err := r.node(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err = killChild(r.own.Process.Pid, "agent"); err == nil {
		err = r.goesOn(ctx, node.Incarnation)
	}
	r.agent = append(r.agent, time.Since(began).Seconds())
	return err
}

func (r *recovery) node(ctx context.Context) (stint.Node, error) {
	nodes, err := r.Nodes(ctx)
	if err == nil && len(nodes) != 1 {
		err = stint.Errorf(stint.Internal, "%s, expected one", plural(int64(len(nodes)), "node"))
	}
	if err != nil {
		return stint.Node{}, err
	}
	return nodes[0], nil
}

// answers waits until the service accepts executions and its node is attached.
func (r *recovery) answers(ctx context.Context) error {
	return r.await(ctx, func(ctx context.Context) bool {
		if _, err := r.Show(ctx, r.id); err != nil {
			return false
		}
		node, err := r.node(ctx)
		return err == nil && node.Status == stint.NodeReady
	})
}

// goesOn waits until the node is attached as another process than before, and
// more is completed than was by then.
func (r *recovery) goesOn(ctx context.Context, before stint.Incarnation) error {
	err := r.await(ctx, func(ctx context.Context) bool {
		node, err := r.node(ctx)
		return err == nil && node.Status == stint.NodeReady && node.Incarnation != before
	})
	if err != nil {
		return err
	}
	was, err := r.Show(ctx, r.id)
	if err != nil {
		return err
	}
	return r.await(ctx, func(ctx context.Context) bool {
		x, err := r.Show(ctx, r.id)
		return err == nil && x.Operations.Completed > was.Operations.Completed
	})
}

func (*recovery) await(ctx context.Context, done func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	return poll(ctx, benchPoll, func() bool { return done(ctx) })
}

// killChild kills the child of a process that performs that command of ours.
func killChild(pid int, command string) error {
	for _, child := range children(pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
		if args := strings.Split(string(b), "\x00"); err != nil || len(args) < 2 || args[1] != command {
			continue
		}
		if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill the %s: %w", command, err)
		}
		return nil
	}
	return stint.Errorf(stint.NotFound, "process %d has no child that is the %s", pid, command)
}

// children returns the processes whose parent a process is. It looks at all
// there are: the kernel's own list of children leaves some out while others end.
func children(pid int) []int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var found []int
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it is gone
		}
		_, after, _ := strings.Cut(string(b[max(bytes.LastIndexByte(b, ')'), 0):]), " ") // behind the name, which may hold anything
		fields := strings.Fields(after)
		if len(fields) < 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		if n, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			found = append(found, n)
		}
	}
	return found
}

// timed makes the timing of runs. A bar of 0 is none.
func timed(name, what string, runs []float64, bar float64) timing {
	t := timing{Name: name, What: what, Runs: runs, Bar: bar}
	if len(runs) > 0 {
		t.Seconds = slices.Sorted(slices.Values(runs))[len(runs)/2]
	}
	return t
}
