package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"stint"
	"stint/client"
	"stint/internal/provider/local"
)

// drainPoll is how often a node that is being drained is looked at.
const drainPoll = 500 * time.Millisecond

// retireLeftover sees to the folders of agents that an earlier up had and this
// one does not: completed output lies there that an execution may still need. An
// agent runs on each of them, performs nothing, and ends when others have what it
// alone held. Without an execution in progress the folders are left alone.
func (u *upFlags) retireLeftover(ctx context.Context, s *local.Supervisor, f folder, address string) error {
	numbers := f.leftover(u.nodes)
	if len(numbers) == 0 {
		return nil
	}
	c, err := f.waitForService(ctx)
	if err != nil {
		return err
	}
	if n, err := unfinished(ctx, c, ""); err != nil || n == 0 {
		return err
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		number, known := numbers[n.Name]
		if !known || n.Status == stint.NodeLost {
			continue
		}
		group.Go(func() error {
			s.Logger.InfoContext(ctx, "agent of an earlier start is drained", "component", "agent-"+strconv.Itoa(number), "node", string(n.ID))
			return u.retire(ctx, s, f, c, n.ID, number, address)
		})
	}
	return group.Wait()
}

// leftover returns the numbers of the agents above the highest that is wanted
// that have a folder, by their names.
func (f folder) leftover(wanted int) map[string]int {
	entries, err := os.ReadDir(f.agents())
	if err != nil {
		return nil // there are none yet
	}
	numbers := make(map[string]int)
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n > wanted && f.agent(n) == f.at("agents/"+e.Name()) {
			numbers[agentName(n)] = n
		}
	}
	return numbers
}

// retiring is the file that says that an agent's node is drained because an up
// did not want it, and not because somebody asked for it.
func (f folder) retiring(n int) string { return f.agent(n) + ".retiring" }

// wantAgain takes back the draining of nodes that an earlier up did not want and
// had no time to see drained.
func (u *upFlags) wantAgain(ctx context.Context, f folder) error {
	for n := 1; n <= u.nodes; n++ {
		if _, err := os.Lstat(f.retiring(n)); err != nil {
			continue
		}
		c, err := f.waitForService(ctx)
		if err != nil {
			return err
		}
		nodes, err := c.Nodes(ctx)
		if err != nil {
			return err
		}
		for _, node := range nodes {
			if node.Name != agentName(n) || node.Status == stint.NodeLost {
				continue
			}
			if _, err := c.Drain(ctx, node.ID, stint.DrainRequest{Undo: true}); err != nil {
				return fmt.Errorf("take back the draining of node %s: %w", node.ID, err)
			}
		}
		if err := os.Remove(f.retiring(n)); err != nil {
			return fmt.Errorf("take back the draining of %s: %w", agentName(n), err)
		}
	}
	return nil
}

// retire runs one agent until its node is drained, and removes it.
func (u *upFlags) retire(ctx context.Context, s *local.Supervisor, f folder, c *client.Client, node stint.NodeID, number int, address string) error {
	if err := os.WriteFile(f.retiring(number), nil, 0o600); err != nil {
		return fmt.Errorf("drain node %s: %w", node, err)
	}
	if _, err := c.Drain(ctx, node, stint.DrainRequest{}); err != nil {
		return fmt.Errorf("drain node %s: %w", node, err)
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	group, gctx := errgroup.WithContext(running)
	group.Go(func() error { return s.Run(gctx, u.agent(f, address, number)) })
	group.Go(func() error {
		defer stop()
		return poll(gctx, drainPoll, func() bool { return drained(gctx, c, node) })
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) || ctx.Err() != nil {
		return err
	}
	// The folder goes first: with it, an agent of this number could not come back as
	// the node that was removed.
	if err := os.RemoveAll(f.agent(number)); err != nil {
		return fmt.Errorf("remove the folder of a drained agent: %w", err)
	}
	if err := c.RemoveNode(ctx, node); err != nil {
		return fmt.Errorf("remove node %s: %w", node, err)
	}
	return os.Remove(f.retiring(number))
}

func drained(ctx context.Context, c *client.Client, node stint.NodeID) bool {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return false
	}
	for _, n := range nodes {
		if n.ID == node {
			return n.Status == stint.NodeDrained
		}
	}
	return true
}
