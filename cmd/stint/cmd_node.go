package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stint"
	"stint/client"
)

func (a *app) nodeCommand() *cobra.Command {
	c := group("node", "Computing nodes")
	c.AddCommand(a.nodeListCommand(), a.nodeDrainCommand(), a.nodeEvacuateCommand(), a.nodeRemoveCommand())
	return c
}

// group is a command that only holds others.
func group(name, short string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
}

func (a *app) nodeListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the computing nodes",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			service, err := a.connect()
			if err != nil {
				return err
			}
			nodes, err := service.Nodes(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(append([]stint.Node{}, nodes...))
			}
			t := a.table("ID", "NAME", "STATUS", "SLOTS", "ADDRESS", "SEEN")
			for _, n := range nodes {
				t.row(n.ID, printable(n.Name), n.Status, n.Slots, n.Address, n.Seen.Local().Format(time.DateTime))
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON array of documents")
	return c
}

func (a *app) nodeDrainCommand() *cobra.Command {
	var undo, detach bool
	c := &cobra.Command{
		Use:   "drain NODE",
		Short: "Give a node nothing new, and copy away what only it holds",
		Long: `Give a node nothing new, let what is in progress there end, copy away what only it
holds, and wait until it can be removed without any loss. NODE is an id or a name.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onNode(c.Context(), args[0], func(ctx context.Context, service *client.Client, node stint.Node) error {
				node, err := a.drain(ctx, service, node, stint.DrainRequest{Undo: undo})
				if err != nil || undo || detach {
					return err
				}
				return a.awaitDrained(ctx, service, node)
			})
		},
	}
	c.Flags().BoolVar(&undo, "undo", false, "let it be used again")
	c.Flags().BoolVar(&detach, "detach", false, "return when it is recorded")
	return c
}

func (a *app) nodeEvacuateCommand() *cobra.Command {
	var by string
	var detach bool
	c := &cobra.Command{
		Use:   "evacuate NODE",
		Short: "Drain a node by a time",
		Long: `Drain a node by a time: what is in progress there is stopped early enough to go on
elsewhere, and what only it holds is copied away or saved first. NODE is an id or a name.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			at, err := parseMoment("--by", by, time.Now())
			if err != nil {
				return err
			}
			return a.onNode(c.Context(), args[0], func(ctx context.Context, service *client.Client, node stint.Node) error {
				node, err := a.drain(ctx, service, node, stint.DrainRequest{By: at})
				if err != nil || detach {
					return err
				}
				return a.awaitDrained(ctx, service, node)
			})
		},
	}
	c.Flags().StringVar(&by, "by", "2m", "a time, or a span from now")
	c.Flags().BoolVar(&detach, "detach", false, "return when it is recorded")
	return c
}

func (a *app) nodeRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NODE",
		Short: "Forget a node",
		Long:  "Forget a node: one that is drained, or that will not come back. NODE is an id or a name.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onNode(c.Context(), args[0], func(ctx context.Context, service *client.Client, node stint.Node) error {
				if err := service.RemoveNode(ctx, node.ID); err != nil {
					return err
				}
				a.say("%s  %s  removed\n", node.ID, printable(node.Name))
				return nil
			})
		},
	}
}

// onNode calls do with the node of an id or a name, until Ctrl-C.
func (a *app) onNode(ctx context.Context, which string, do func(context.Context, *client.Client, stint.Node) error) error {
	ctx, stop := interrupted(ctx)
	defer stop()
	service, err := a.connect()
	if err != nil {
		return err
	}
	node, err := findNode(ctx, service, which)
	if err == nil {
		err = do(ctx, service, node)
	}
	return unlessInterrupted(ctx, err)
}

// findNode returns the node with an id or a name.
func findNode(ctx context.Context, c *client.Client, which string) (stint.Node, error) {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return stint.Node{}, err
	}
	var found []stint.Node
	var known []string
	for _, n := range nodes {
		if string(n.ID) == which {
			return n, nil
		}
		if n.Name == which {
			found = append(found, n)
		}
		known = append(known, n.Name)
	}
	switch len(found) {
	case 0:
		return stint.Node{}, stint.Errorf(stint.NotFound, "node %.80q: not found; there are %s", which, printable(strings.Join(known, ", ")))
	case 1:
		return found[0], nil
	}
	return stint.Node{}, stint.Errorf(stint.Conflict, "node %.80q: %s have this name: give the id", which, plural(int64(len(found)), "node"))
}

// nodePoll is how often a node that drains is looked at.
const nodePoll = 300 * time.Millisecond

// drain asks for a node to be drained, and says what became of it.
func (a *app) drain(ctx context.Context, service *client.Client, node stint.Node, r stint.DrainRequest) (stint.Node, error) {
	node, err := service.Drain(ctx, node.ID, r)
	if err == nil {
		a.sayNode(node)
	}
	return node, err
}

func (a *app) sayNode(n stint.Node) { a.say("%s  %s  %s\n", n.ID, printable(n.Name), n.Status) }

// awaitDrained waits until a node that drains is drained.
func (a *app) awaitDrained(ctx context.Context, service *client.Client, node stint.Node) error {
	var failure error
	err := poll(ctx, nodePoll, func() bool {
		if node.Status == stint.NodeDraining {
			node, failure = findNode(ctx, service, string(node.ID))
		}
		return failure != nil || node.Status != stint.NodeDraining
	})
	if ctx.Err() != nil {
		a.say("stint: %s goes on draining; see \"stint node list\"\n", node.ID)
		return ctx.Err()
	}
	if err := errors.Join(err, failure); err != nil {
		return err
	}
	a.sayNode(node)
	if node.Status != stint.NodeDrained {
		return stint.Errorf(stint.Conflict, "node %s was not drained: it is %s", node.ID, node.Status)
	}
	return nil
}
