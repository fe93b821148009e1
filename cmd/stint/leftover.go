package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"stint"
	"stint/client"
	"stint/internal/failpoint"
	"stint/internal/provider/local"
)

// drainPoll is how often a node that is being drained is looked at.
const drainPoll = 500 * time.Millisecond

// retireLeftover sees to the folders of agents that an earlier up had and this
// one does not: completed output lies there that an execution may still need. An
// agent runs on each of them, performs nothing, and ends when others have what it
// alone held. Without an execution in progress the folders are left alone.
func (u *upFlags) retireLeftover(ctx context.Context, s *local.Supervisor, f folder, address string) error {
	numbers, retired := f.leftover(u.nodes), f.retired(u.nodes)
	if len(numbers)+len(retired) == 0 {
		return nil
	}
	c, err := f.waitForService(ctx)
	if err != nil {
		return err
	}
	if err := f.removeRetired(ctx, c, retired); err != nil {
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
		if n, err := strconv.Atoi(e.Name()); err == nil && n > wanted && f.agent(n) == f.at("agents/"+e.Name()) && !folder(f.agent(n)).isGone() {
			numbers[agentName(n)] = n
		}
	}
	return numbers
}

// retiring is the file that says that an agent's node is drained because an up
// did not want it, and not because somebody asked for it.
func (f folder) retiring(n int) string { return f.agent(n) + ".retiring" }

// retired returns the numbers of the agents above the highest that is wanted whose
// folders an earlier up has removed, which did not come to removing their nodes, by
// their names.
func (f folder) retired(wanted int) map[string]int {
	entries, err := os.ReadDir(f.agents())
	if err != nil {
		return nil // there are none yet
	}
	numbers := make(map[string]int)
	for _, e := range entries {
		text, marked := strings.CutSuffix(e.Name(), ".retiring")
		n, err := strconv.Atoi(text)
		if marked && err == nil && n > wanted && folder(f.agent(n)).isGone() {
			numbers[agentName(n)] = n
		}
	}
	return numbers
}

// removeRetired removes the nodes of agents whose folders are gone.
func (f folder) removeRetired(ctx context.Context, c *client.Client, numbers map[string]int) error {
	if len(numbers) == 0 {
		return nil
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if _, ok := numbers[node.Name]; ok {
			if err := removeNode(ctx, c, node.ID); err != nil {
				return err
			}
		}
	}
	for _, n := range numbers {
		if err := os.Remove(f.retiring(n)); err != nil {
			return fmt.Errorf("remove the mark of %s: %w", agentName(n), err)
		}
	}
	return nil
}

// removeNode removes a node, if it is there.
func removeNode(ctx context.Context, c *client.Client, node stint.NodeID) error {
	err := insist(ctx, func() error { return c.RemoveNode(ctx, node) })
	if err != nil && stint.CodeOf(err) != stint.NotFound {
		return fmt.Errorf("remove node %s: %w", node, err)
	}
	return nil
}

// insist makes a call until it is answered: a server that has died is started again.
func insist(ctx context.Context, call func() error) (err error) {
	waited := poll(ctx, drainPoll, func() bool {
		err = call()
		code := stint.CodeOf(err)
		return code != stint.Unavailable && code != stint.Unknown
	})
	return cmp.Or(waited, err)
}

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
		failpoint.Reach("retirement.after-taking-back")
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
	failpoint.Reach("retirement.before-drain")
	drain := func() error {
		_, err := c.Drain(ctx, node, stint.DrainRequest{})
		return err
	}
	if err := insist(ctx, drain); err != nil {
		return fmt.Errorf("drain node %s: %w", node, err)
	}
	failpoint.Reach("retirement.after-drain")
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
	failpoint.Reach("retirement.before-removing-folder")
	// The folder goes first: with it, an agent of this number could not come back as
	// the node that was removed.
	if err := folder(f.agent(number)).remove(); err != nil {
		return fmt.Errorf("remove the folder of a drained agent: %w", err)
	}
	failpoint.Reach("retirement.before-removing-node")
	if err := removeNode(ctx, c, node); err != nil {
		return err
	}
	failpoint.Reach("retirement.before-removing-mark")
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
