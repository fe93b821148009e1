package main

import (
	"net"
	"os"

	"github.com/spf13/cobra"

	"stint"
	"stint/internal/object"
	"stint/internal/runner/command"
	"stint/internal/runner/native"
	"stint/internal/runner/sdk"
	"stint/internal/worker"
)

// workerSocket is the descriptor at which an agent's worker finds its socket.
const workerSocket = 3

func workerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "worker",
		Short:  "Perform operations in one slot of an agent, which starts this",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := interrupted(c.Context())
			defer stop()
			conn, err := agentConn()
			if err != nil {
				return err
			}
			commands := &command.Runner{}
			w := worker.Worker{
				Command:    commands,
				Native:     native.New(),
				SDK:        &sdk.Runner{Processes: commands},
				Combiners:  native.Combiners(),
				CheckInput: object.Check,
			}
			return w.Run(ctx, conn)
		},
	}
}

func agentConn() (*worker.Conn, error) {
	f := os.NewFile(workerSocket, "agent")
	defer f.Close() //nolint:errcheck // the connection has its own descriptor
	c, err := net.FileConn(f)
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "a worker is started by an agent, which hands it a socket: %w", err)
	}
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return nil, stint.Errorf(stint.Invalid, "a worker's socket is a unix socket, not %s", c.LocalAddr().Network())
	}
	return worker.NewConn(socket), nil
}
