package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"stint"
	"stint/client"
	"stint/internal/provider/local"
)

// upFlags are the flags of up.
type upFlags struct {
	nodes, slots    int
	listen, storage string
	embedded        bool
}

// stopGrace is how long a child of up may take to stop when asked.
const stopGrace = 10 * time.Second

func (a *app) upCommand() *cobra.Command {
	var u upFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Run a server and local agents until stopped",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if u.embedded {
				return a.upEmbedded(c.Context(), u)
			}
			ctx, stop := interrupted(c.Context())
			defer stop()
			return a.up(ctx, u, func(address string) {
				a.say("stint: ready at %s with %d agents; data folder %s\n", address, u.nodes, a.data)
			})
		},
	}
	c.Flags().IntVar(&u.nodes, "nodes", 3, "local agents")
	c.Flags().IntVar(&u.slots, "slots", 0, "operations at once on each agent (default: cores divided by agents)")
	c.Flags().StringVar(&u.listen, "listen", "127.0.0.1:7843", "address of the service; port 0 takes a free one")
	c.Flags().StringVar(&u.storage, "storage", "", storageHelp)
	c.Flags().BoolVar(&u.embedded, "embedded", false, "started by another command, which speaks on standard input and is answered on standard output")
	cobra.CheckErr(c.Flags().MarkHidden("embedded"))
	return c
}

// up owns the data folder and keeps a server and its agents running until ctx
// ends. It calls ready once, when all of them answer.
func (a *app) up(ctx context.Context, u upFlags, ready func(address string)) error {
	if err := u.check(); err != nil {
		return err
	}
	f, err := a.openFolder()
	if err != nil {
		return err
	}
	held, err := f.take()
	if err != nil {
		return err
	}
	defer held.release()
	listener, err := listenAfter(ctx, u.listen, readHolder(held.file))
	if err != nil {
		return err
	}
	defer listener.Close() //nolint:errcheck // nobody is connected to it
	address := "https://" + listener.Addr().String()
	if err := held.name(holder{PID: os.Getpid(), Address: address, Since: time.Now().UTC().Truncate(time.Second)}); err != nil {
		return err
	}
	return u.supervise(ctx, f, listener, func() { ready(address) })
}

func (u *upFlags) check() error {
	if u.nodes < 1 || u.nodes > 1000 {
		return stint.Errorf(stint.Invalid, "--nodes %d: expected 1 to 1000", u.nodes)
	}
	if u.slots < 0 || u.slots > 10000 {
		return stint.Errorf(stint.Invalid, "--slots %d: expected 1 to 10000", u.slots)
	}
	if u.slots == 0 {
		u.slots = max(1, runtime.NumCPU()/u.nodes)
	}
	return nil
}

// listenAfter is listen, with patience if the owner of the folder before this one had
// the port: one that was killed leaves a server that is about to end.
func listenAfter(ctx context.Context, address string, before holder) (*net.TCPListener, error) {
	for deadline := time.Now().Add(leftPatience); ; {
		l, err := listen(ctx, address)
		if !errors.Is(err, syscall.EADDRINUSE) || !before.hadPort(address) || time.Now().After(deadline) {
			return l, err
		}
		time.Sleep(reachPoll)
	}
}

func listen(ctx context.Context, address string) (*net.TCPListener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "--listen %.80q: %w", address, err)
	}
	return l.(*net.TCPListener), nil
}

// supervise keeps the port open while the server is not: who calls meanwhile
// waits for the next server instead of being refused, and the port stays ours.
func (u *upFlags) supervise(ctx context.Context, f folder, listener *net.TCPListener, ready func()) error {
	socket, err := listener.File()
	if err != nil {
		return fmt.Errorf("pass on the listener: %w", err)
	}
	defer socket.Close() //nolint:errcheck // the server has its own descriptor
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the executable: %w", err)
	}
	s := &local.Supervisor{Program: program, Logs: f.logs(), Grace: stopGrace, Alone: true, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	children := []local.Child{{
		Name:  "server",
		Args:  []string{"server", "--data", string(f), "--listen", listener.Addr().String(), "--storage", cmp.Or(u.storage, f.storage()), "--supervised"},
		Files: []*os.File{socket},
	}}
	for n := 1; n <= u.nodes; n++ {
		children = append(children, u.agent(f, listener.Addr().String(), n))
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.Run(ctx, children...) })
	group.Go(func() error {
		if err := u.wantAgain(ctx, f); err != nil && ctx.Err() == nil {
			s.Logger.WarnContext(ctx, "an agent that is wanted again is still drained", "err", err)
		}
		if err := f.waitForNodes(ctx, u.nodes); err != nil {
			return nil //nolint:nilerr // ctx has ended
		}
		ready()
		if err := f.removeRests(); err != nil {
			s.Logger.WarnContext(ctx, "the rest of a removed folder stays", "err", err)
		}
		if err := u.retireLeftover(ctx, s, f, listener.Addr().String()); err != nil && ctx.Err() == nil {
			s.Logger.WarnContext(ctx, "agents of an earlier start are not drained", "err", err)
		}
		return nil
	})
	return group.Wait()
}

func agentName(n int) string { return "local-" + strconv.Itoa(n) }

func (u *upFlags) agent(f folder, address string, n int) local.Child {
	return local.Child{
		Name: "agent-" + strconv.Itoa(n),
		Args: []string{
			"agent", "--data", f.agent(n), "--server", "https://" + address, "--join-file", f.joinToken(), "--ca-file", f.caFile(),
			"--name", agentName(n), "--slots", strconv.Itoa(u.slots), "--supervised",
		},
		Ready: func(ctx context.Context) error {
			if err := os.MkdirAll(f.agents(), 0o700); err != nil {
				return fmt.Errorf("make the agents' folder: %w", err)
			}
			_, err := f.waitForService(ctx)
			return err
		},
	}
}

// upEmbedded is up for another command. The command's lifeline is our standard
// input: when it ends we stop; a byte on it means to stop when every execution
// is at rest instead. One line on standard output says whether we are ready.
func (a *app) upEmbedded(ctx context.Context, u upFlags) error {
	ctx, stop := interrupted(ctx)
	defer stop()
	go func() {
		defer stop()
		if n, _ := os.Stdin.Read(make([]byte, 1)); n == 1 {
			a.waitForIdle(ctx)
		}
	}()
	answer := json.NewEncoder(a.out)
	err := a.up(ctx, u, func(string) { answer.Encode(stint.Error{}) }) //nolint:errcheck // the command that is not there any more is told by its lifeline
	if err != nil {
		answer.Encode(stint.AsError(err)) //nolint:errcheck // as above
	}
	return err
}

// idlePoll is how often a service without an owner looks whether it is still needed.
const idlePoll = 300 * time.Millisecond

// waitForIdle returns when every execution is at rest, or ctx ends. It looks twice, so
// that who watches is told of the end before the service is gone.
func (a *app) waitForIdle(ctx context.Context) {
	f, err := a.folder()
	if err != nil {
		return
	}
	idle := 0
	_ = poll(ctx, idlePoll, func() bool {
		c, err := f.service()
		if err != nil {
			return false
		}
		n, err := unfinished(ctx, c, "")
		if idle++; err != nil || n > 0 {
			idle = 0
		}
		return idle == 2
	})
}

// unfinished counts the executions that are not at rest, without one that does
// not count.
func unfinished(ctx context.Context, c *client.Client, without stint.ExecutionID) (int, error) {
	n := 0
	for x, err := range c.List(ctx, "", "") {
		if err != nil {
			return 0, err
		}
		if !atRest(&x) && x.ID != without {
			n++
		}
	}
	return n, nil
}

// poll calls done now and then until it reports true or ctx ends.
func poll(ctx context.Context, every time.Duration, done func() bool) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
