package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stint"
	"stint/internal/agent"
	"stint/internal/auth"
	"stint/internal/failpoint"
	"stint/internal/link"
	"stint/internal/object"
	"stint/internal/provider/local"
)

// agentFlags are the flags of agent, beside --server and --data.
type agentFlags struct {
	join, joinFile, pin, name, listen string
	slots                             int
	allowed                           []string
	supervised                        supervised
}

func (a *app) agentCommand() *cobra.Command {
	var f agentFlags
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run the node manager of this machine",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := f.supervised.context(c.Context())
			defer stop()
			return a.node(ctx, &f)
		},
	}
	c.Flags().StringVar(&f.join, "join", "", "token to join with, the first time")
	c.Flags().StringVar(&f.joinFile, "join-file", "", "file that holds the token to join with")
	c.Flags().StringVar(&f.pin, "pin", "", "public key of the certificate authority, as sha256:…, instead of --ca-file")
	c.Flags().StringVar(&f.name, "name", "", "of the node (default: the host's name)")
	c.Flags().StringVar(&f.listen, "listen", "127.0.0.1:0", "address where other nodes fetch from this one")
	c.Flags().IntVar(&f.slots, "slots", runtime.NumCPU(), "operations at once")
	c.Flags().StringArrayVar(&f.allowed, "allow-address", nil, "network, as 10.0.0.0/8, of private addresses that inputs may be read from over http; may be repeated")
	f.supervised.define(c)
	c.MarkFlagsMutuallyExclusive("join", "join-file")
	return c
}

// node runs an agent until ctx ends, or its node was removed. An agent of the same
// folder that is still ending is waited for.
func (a *app) node(ctx context.Context, f *agentFlags) error {
	if a.server == "" {
		return stint.Errorf(stint.Invalid, "no server: name one with --server")
	}
	if f.slots < 1 {
		return stint.Errorf(stint.Invalid, "--slots %d: expected at least 1", f.slots)
	}
	dir, err := a.folder()
	if err != nil {
		return err
	}
	node, err := a.agent(f, dir)
	if err != nil {
		return err
	}
	if f.supervised {
		if err := dir.removeRest(); err != nil {
			a.logger("agent").WarnContext(ctx, "the rest of a removed folder stays", "path", dir.removing(), "err", err)
		}
	}
	for deadline := time.Now().Add(leftPatience); ; {
		if err := os.Mkdir(string(dir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return stint.Errorf(stint.Invalid, "data folder %s: %w", dir, err)
		}
		err := node.Run(ctx)
		if refused, ok := errors.AsType[*agent.Refused](err); ok && bool(f.supervised) {
			if err := a.leave(dir, refused); err != nil {
				return err
			}
			continue
		}
		if stint.CodeOf(err) != stint.Conflict || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		time.Sleep(reachPoll)
	}
}

// leave gives up the folder of a node that was removed, of which nobody wants
// anything any more. It returns an error that keeps the agent from being started
// again, unless the folder is left over from an earlier start: then the machine
// joins anew.
func (a *app) leave(dir folder, refused *agent.Refused) error {
	if err := dir.remove(); err != nil {
		return fmt.Errorf("remove the folder of a removed node: %w", err)
	}
	failpoint.Reach("dismissal.after-removing-folder")
	if !refused.Attached {
		return nil
	}
	a.say("stint: %s\n", refused)
	return outcome(local.DismissedExit)
}

func (a *app) agent(f *agentFlags, dir folder) (*agent.Agent, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the executable: %w", err)
	}
	name := f.name
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("name the node: %w", err)
		}
	}
	access, err := f.access(dir)
	if err != nil {
		return nil, err
	}
	return &agent.Agent{
		Access: access,
		Dir:    string(dir), Name: name, Version: version(), Slots: f.slots, ServerURL: a.server, Listen: f.listen,
		WorkerCommand: []string{program, "worker"}, Sole: true, Logger: a.logger("agent"),
		Identify: func(ctx context.Context, dir string) (agent.Identity, error) {
			node, err := auth.LoadNode(dir)
			if errors.Is(err, fs.ErrNotExist) {
				if err = a.enroll(ctx, f, name, dir); err == nil {
					node, err = auth.LoadNode(dir)
				}
			}
			if err != nil {
				return agent.Identity{}, err
			}
			return agent.Identity{Node: node.Node, Link: node.LinkTLS(), Serve: node.ServeTLS(), Peer: node.PeerTLS()}, nil
		},
	}, nil
}

// access is what operations of this node may read and write: an agent that "stint
// up" has started reads from every address that the machine itself would.
func (f *agentFlags) access(dir folder) (*object.Access, error) {
	access := object.FromEnvironment()
	access.Scratch = dir.at("work")
	access.Addresses = object.Addresses{Private: bool(f.supervised)}
	for _, text := range f.allowed {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, stint.Errorf(stint.Invalid, "bad_cidr: --allow-address %.80q: expected a network as 10.0.0.0/8", text)
		}
		if prefix != prefix.Masked() {
			return nil, stint.Errorf(stint.Invalid, "bad_cidr: --allow-address %s: did you mean %s", prefix, prefix.Masked())
		}
		access.Addresses.Allowed = append(access.Addresses.Allowed, prefix)
	}
	return access, nil
}

// enroll joins the service and keeps the certificate in the node's folder.
func (a *app) enroll(ctx context.Context, f *agentFlags, name, dir string) error {
	token, err := f.token()
	if err != nil {
		return err
	}
	trust, err := a.trust(f)
	if err != nil {
		return err
	}
	key, request, err := auth.NewNodeRequest(name)
	if err != nil {
		return err
	}
	answer, err := link.Join(ctx, a.server, trust, link.JoinRequest{Token: token, Name: name, CSR: string(request)})
	if err != nil {
		return fmt.Errorf("join %s: %w", a.server, err)
	}
	failpoint.Reach("join.after-answer")
	return auth.SaveNode(dir, key, []byte(answer.Certificate), []byte(answer.CA))
}

func (f *agentFlags) token() (string, error) {
	if f.join != "" {
		return f.join, nil
	}
	if f.joinFile == "" {
		return "", stint.Errorf(stint.Invalid, "this folder's node has not joined yet: give a token with --join or --join-file")
	}
	b, err := os.ReadFile(f.joinFile)
	if err != nil {
		return "", stint.Errorf(stint.Invalid, "--join-file: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// trust is how the service is known before this node has a certificate.
func (a *app) trust(f *agentFlags) (*tls.Config, error) {
	switch {
	case f.pin != "":
		return auth.PinnedTLS(f.pin)
	case a.caFile != "":
		pem, err := os.ReadFile(a.caFile)
		if err != nil {
			return nil, stint.Errorf(stint.Invalid, "--ca-file: %w", err)
		}
		return auth.Credentials{CA: string(pem)}.TLS()
	}
	return nil, stint.Errorf(stint.Invalid, "the service at %s is not known: give its certificate authority with --ca-file, or its key with --pin", a.server)
}
