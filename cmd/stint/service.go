package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"stint"
	"stint/client"
	"stint/internal/auth"
)

// reachTimeout is how long a service that is starting may take.
const reachTimeout = 60 * time.Second

// reachLong is how long it may take without a word.
const reachLong = 3 * time.Second

// errNobody says that a data folder is nobody's: no service is there to wait for.
var errNobody = errors.New("the data folder is nobody's")

// reachPoll is how often a service that is starting is asked.
const reachPoll = 20 * time.Millisecond

// connect returns the service that the command is for: the one that --server
// names, or the one that owns the data folder.
func (a *app) connect() (*client.Client, error) {
	f, err := a.folder()
	if err != nil {
		return nil, err
	}
	if a.server != "" {
		return a.named(f)
	}
	return f.service()
}

// named returns the service at --server. Its certificate authority and token
// come from the flags, or from the data folder if that is its own.
func (a *app) named(f folder) (*client.Client, error) {
	known, err := auth.ReadCredentials(f.credentials())
	if err != nil || known.Address != a.server {
		known = auth.Credentials{Address: a.server}
	}
	if a.token != "" {
		known.Token = a.token
	}
	if a.caFile != "" {
		pem, err := os.ReadFile(a.caFile)
		if err != nil {
			return nil, stint.Errorf(stint.Invalid, "--ca-file: %w", err)
		}
		known.CA = string(pem)
	}
	if known.Token == "" {
		return nil, stint.Errorf(stint.Denied, "no token for %s: give one with --token or STINT_TOKEN", a.server)
	}
	return dial(known)
}

// service returns the service that owns the folder.
func (f folder) service() (*client.Client, error) {
	c, err := auth.ReadCredentials(f.credentials())
	if err != nil || !f.held() {
		return nil, stint.Errorf(stint.Unavailable, "no service runs on data folder %s: start one with \"stint up\", or name one with --server", f)
	}
	return dial(c)
}

func dial(c auth.Credentials) (*client.Client, error) {
	return client.New(client.Config{URL: c.Address, Token: c.Token, CA: []byte(c.CA)})
}

// waitForService returns the folder's service once it answers. When the folder is
// nobody's, the error wraps [errNobody].
func (f folder) waitForService(ctx context.Context) (*client.Client, error) {
	return f.waitTelling(ctx, func(time.Time) {})
}

// waitTelling is waitForService for who wants to tell people that it takes long,
// and until when it waits.
func (f folder) waitTelling(ctx context.Context, long func(until time.Time)) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	var c *client.Client
	began, told, nobody := time.Now(), false, false
	err := poll(ctx, reachPoll, func() bool {
		if nobody = !f.held(); nobody {
			return true
		}
		if !told && time.Since(began) >= reachLong {
			told = true
			long(began.Add(reachTimeout))
		}
		found, err := f.service()
		if err == nil {
			_, err = found.Nodes(ctx)
		}
		c = found
		return err == nil
	})
	switch {
	case err != nil:
		return nil, stint.Errorf(stint.Unavailable, "the service on data folder %s does not answer; its log is %s", f, f.logs())
	case nobody:
		return nil, stint.Errorf(stint.Unavailable, "the service on data folder %s has ended: %w", f, errNobody)
	}
	return c, nil
}

// waitForNodes returns when so many nodes are there of the folder's service.
func (f folder) waitForNodes(ctx context.Context, n int) error {
	c, err := f.waitForService(ctx)
	if err != nil {
		return err
	}
	return poll(ctx, reachPoll, func() bool {
		nodes, err := c.Nodes(ctx)
		return err == nil && there(nodes) >= n
	})
}

// there returns how many nodes have an agent that answers. Those that are drained
// have: they do what they were asked to.
func there(nodes []stint.Node) int {
	n := 0
	for _, node := range nodes {
		if node.Status == stint.NodeReady || node.Status == stint.NodeDraining || node.Status == stint.NodeDrained {
			n++
		}
	}
	return n
}

// session is a service for the time of one command: one that was there, or one
// that the command started.
type session struct {
	*client.Client
	own *exec.Cmd // nil: the service is not ours
	end *os.File  // our end of its lifeline

	nodes, slots int // that a service of our own has; 0: the default
}

// open finds the service of the command, or starts one with so many agents, if
// none is named and the data folder is nobody's.
func (a *app) open(ctx context.Context, nodes, slots int) (*session, error) {
	if a.server != "" {
		c, err := a.connect()
		if err == nil {
			_, err = c.Nodes(ctx)
		}
		return &session{Client: c}, err
	}
	f, err := a.openFolder()
	if err != nil {
		return nil, err
	}
	for {
		if f.held() {
			c, err := f.waitTelling(ctx, func(until time.Time) {
				a.say("stint: the service on data folder %s does not answer; waiting until %s\n", f, until.Local().Format(time.TimeOnly))
			})
			if !errors.Is(err, errNobody) { // with it, the owner ended meanwhile
				return &session{Client: c, nodes: nodes, slots: slots}, err
			}
		}
		s, err := start(ctx, f, nodes, slots)
		if err == nil {
			s.nodes, s.slots = nodes, slots
			s.Client, err = f.service()
		}
		if stint.CodeOf(err) != stint.Conflict { // with it, somebody was quicker
			return s, err
		}
	}
}

// start starts a service as a session of its own and waits until it is ready.
func start(ctx context.Context, f folder, nodes, slots int) (*session, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the executable: %w", err)
	}
	args := []string{"up", "--embedded", "--listen", "127.0.0.1:0", "--data", string(f)}
	if nodes > 0 {
		args = append(args, "--nodes", strconv.Itoa(nodes))
	}
	if slots > 0 {
		args = append(args, "--slots", strconv.Itoa(slots))
	}
	log, err := os.OpenFile(f.at("logs/up.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start a service: %w", err)
	}
	defer log.Close()                                                        //nolint:errcheck // the service has its own descriptor
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, args...) // ended by its lifeline
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return awaitReady(ctx, cmd)
}

// awaitReady starts a service and waits until it is ready. When ctx ends before,
// the service does.
func awaitReady(ctx context.Context, cmd *exec.Cmd) (*session, error) {
	lifeline, end, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start a service: %w", err)
	}
	withdraw := context.AfterFunc(ctx, func() { _ = end.Close() })
	defer withdraw()
	defer lifeline.Close() //nolint:errcheck // the service has its own descriptor
	cmd.Stdin = lifeline
	answers, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		_ = end.Close()
		return nil, fmt.Errorf("start a service: %w", err)
	}
	var answer stint.Error
	if err := json.NewDecoder(answers).Decode(&answer); err != nil {
		answer = *stint.Errorf(stint.Unavailable, "the service that was started ended; its log is %s", cmd.Stderr.(*os.File).Name())
	}
	if answer.Code != "" {
		_ = end.Close()
		cmd.Wait() //nolint:errcheck // it said why
		return nil, &answer
	}
	return &session{own: cmd, end: end}, nil
}

// leave lets the service go on without us until every execution is at rest.
func (s *session) leave() error {
	if s.own == nil {
		return nil
	}
	defer s.end.Close() //nolint:errcheck // the service was told
	if _, err := s.end.WriteString("d"); err != nil {
		return fmt.Errorf("leave the service: %w", err)
	}
	return nil
}

// stop ends our service in order and waits for it.
func (s *session) stop() error {
	if s.own == nil {
		return nil
	}
	_ = s.end.Close()
	if err := s.own.Wait(); err != nil {
		return fmt.Errorf("stop the service: %w", err)
	}
	return nil
}

// close ends our service, unless executions other than ours need it: then it
// stays until they are at rest, and close says how many.
func (s *session) close(ctx context.Context, ours stint.ExecutionID) (others int, err error) {
	if s.own == nil {
		return 0, nil
	}
	if others, err = unfinished(ctx, s.Client, ours); err == nil && others > 0 {
		return others, s.leave()
	}
	return 0, s.stop()
}
