package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"stint"
	"stint/internal/auth"
	"stint/internal/failpoint"
	"stint/internal/link"
	"stint/internal/object"
	"stint/internal/runner/native"
	"stint/internal/server"
	"stint/internal/store"
)

// serverFlags are the flags of server.
type serverFlags struct {
	listen, storage string
	away, lost      string // as given
	silences        silences
	supervised      supervised
}

// storageHelp says what system storage can be. A named set cannot be used for it:
// those lie in the record, which is read when the storage is open.
const storageHelp = "URL of system storage: a folder, or s3://bucket/prefix with the credentials of the environment, as AWS_ACCESS_KEY_ID (default: in the data folder)"

// localName is the name of the tokens that the service makes for its own
// machine: the command line's and the local agents'.
const localName = "local"

func (a *app) serverCommand() *cobra.Command {
	var s serverFlags
	c := &cobra.Command{
		Use:   "server",
		Short: "Run the system manager alone",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if s.silences, err = parseSilences(s.away, s.lost); err != nil {
				return err
			}
			ctx, stop := s.supervised.context(c.Context())
			defer stop()
			return a.serve(ctx, &s)
		},
	}
	c.Flags().StringVar(&s.listen, "listen", "127.0.0.1:7843", "address of the service; port 0 takes a free one")
	c.Flags().StringVar(&s.storage, "storage", "", storageHelp)
	c.Flags().StringVar(&s.away, "away-after", server.DefaultAwayAfter.String(), "how long a node may have no session before what it has in progress is performed elsewhere")
	c.Flags().StringVar(&s.lost, "lost-after", server.DefaultLostAfter.String(), "how long before what it holds is given up and performed again; longer than --away-after")
	s.supervised.define(c)
	return c
}

// silences are how long a node may have no session.
type silences struct{ away, lost time.Duration }

// parseSilences reads them from their flags.
func parseSilences(away, lost string) (silences, error) {
	var out silences
	var err error
	if out.away, err = parseSpan("--away-after", away); err != nil {
		return out, err
	}
	if out.lost, err = parseSpan("--lost-after", lost); err != nil {
		return out, err
	}
	if out.away < time.Second || out.lost <= out.away {
		return out, stint.Errorf(stint.Invalid, "--away-after %s, --lost-after %s: expected at least 1s, and the second longer than the first", out.away, out.lost)
	}
	return out, nil
}

// service is what one server process is made of.
type service struct {
	folder   folder
	listener net.Listener
	ca       *auth.CA
	keys     *auth.Keyring
	seal     *auth.Seal
	db       *store.DB
	server   *server.Server
}

// serve runs the system manager on a data folder until ctx ends.
func (a *app) serve(ctx context.Context, flags *serverFlags) error {
	f, err := a.openFolder()
	if err != nil {
		return err
	}
	release, err := flags.own(f)
	if err != nil {
		return err
	}
	defer release()
	s, err := a.assemble(ctx, f, flags)
	if err != nil {
		return err
	}
	defer s.db.Close() //nolint:errcheck // every commit was synced
	return s.run(ctx)
}

// own takes the data folder, which is "stint up"'s for a supervised server, and
// the record in it, which a server that is still ending may hold for a moment.
func (s *serverFlags) own(f folder) (release func(), err error) {
	record, err := folder(f.serverDir()).takeSoon(leftPatience)
	if err != nil || bool(s.supervised) {
		return func() { record.release() }, err
	}
	whole, err := f.take()
	if err != nil {
		record.release()
		return nil, err
	}
	if err := whole.name(holder{PID: os.Getpid(), Address: "https://" + s.listen, Since: time.Now().UTC().Truncate(time.Second)}); err != nil {
		return nil, err
	}
	return func() { record.release(); whole.release() }, nil
}

func (a *app) assemble(ctx context.Context, f folder, flags *serverFlags) (*service, error) {
	s := &service{folder: f}
	var err error
	if s.listener, err = flags.listener(ctx); err != nil {
		return nil, err
	}
	if s.ca, err = auth.LoadOrCreateCA(f.serverDir()); err != nil {
		return nil, err
	}
	if s.keys, err = auth.OpenKeyring(filepath.Join(f.serverDir(), "keyring.json")); err != nil {
		return nil, err
	}
	if s.seal, err = auth.OpenSeal(filepath.Join(f.serverDir(), "secrets.key")); err != nil {
		return nil, err
	}
	location := flags.storage
	if location == "" {
		location = f.storage()
	}
	if location, err = object.ParseLocation(location); err != nil {
		return nil, fmt.Errorf("--storage: %w", err)
	}
	if s.db, err = store.Open(ctx, filepath.Join(f.serverDir(), "store.db")); err != nil {
		return nil, err
	}
	access := object.FromEnvironment()
	storage, err := server.OpenStorage(ctx, access, s.db, location)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--storage: %w", err), s.db.Close())
	}
	s.server = &server.Server{
		DB: s.db, Storage: storage, StorageURL: location, Access: access, Logger: a.logger("server"), Version: version(),
		Shipped: native.Programs(), Validate: validate, Uploads: filepath.Join(f.serverDir(), "uploads"),
		Sealing:   server.Sealing{Close: s.seal.Close, Open: s.seal.Open},
		AwayAfter: flags.silences.away, LostAfter: flags.silences.lost,
	}
	return s, nil
}

// listener is the one that "stint up" holds, or a new one.
func (s *serverFlags) listener(ctx context.Context) (net.Listener, error) {
	if !s.supervised {
		return listen(ctx, s.listen)
	}
	socket := os.NewFile(3, "listener")
	defer socket.Close() //nolint:errcheck // the listener has its own descriptor
	l, err := net.FileListener(socket)
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "a supervised server gets its listener as descriptor 3: %w", err)
	}
	return l, nil
}

// validate refuses a program that asks for operators or parameters that do not exist.
func validate(p stint.Program, params map[string]string) error {
	shipped := false
	for _, known := range native.Programs() {
		shipped = shipped || known.Name == p.Name
	}
	for _, stage := range p.Stages {
		for _, action := range []*stint.Action{&stage.Action, stage.Combine} {
			if action == nil || action.Native == "" {
				continue
			}
			if err := native.CheckAction(action.Native); err != nil {
				return fmt.Errorf("stage %q: %w", stage.Name, err)
			}
		}
	}
	if !shipped {
		return nil
	}
	_, err := native.Program(p.Name, params)
	return err
}

// run serves until ctx ends: who calls before executions can be accepted waits.
func (s *service) run(ctx context.Context) error {
	handler, err := s.handler() //nolint:contextcheck // requests bring their own
	if err != nil {
		return err
	}
	config, err := s.ca.ServerTLS(s.hosts())
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.server.Run(ctx) })
	group.Go(func() error {
		select {
		case <-s.server.Ready():
		case <-ctx.Done():
			return nil
		}
		if err := s.announce(); err != nil {
			return err
		}
		return serveHTTP(ctx, s.listener, config, handler)
	})
	return group.Wait()
}

// hosts are the names that the service answers to, besides loopback.
func (s *service) hosts() []string {
	host, _, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return nil
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() && !ip.IsLoopback() {
		return append(hosts, host)
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		hosts = append(hosts, name)
	}
	return hosts
}

// drainTime is how long requests in progress may take when the service stops.
const drainTime = time.Second

// serveHTTP serves until ctx ends and returns when requests in progress have been
// answered, or their time is over.
func serveHTTP(ctx context.Context, listener net.Listener, config *tls.Config, handler http.Handler) error {
	h := &http.Server{Handler: handler, TLSConfig: config, BaseContext: func(net.Listener) context.Context { return ctx }}
	link.ConfigureServer(h)
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		if h.Shutdown(drain) != nil {
			h.Close() //nolint:errcheck // what is cut off here is asked again
		}
	})
	err := h.ServeTLS(listener, "", "") // returns when Shutdown begins
	if !stop() {
		<-drained
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// announce writes into the data folder with what the command line and the local
// agents come in. Tokens that are good stay; only the address may be another.
func (s *service) announce() error {
	known, err := auth.ReadCredentials(s.folder.credentials())
	if err != nil {
		known = auth.Credentials{}
	}
	joining, err := os.ReadFile(s.folder.joinToken())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read join token: %w", err)
	}
	join, err := s.token(auth.Join, strings.TrimSpace(string(joining)))
	if err != nil {
		return err
	}
	if err := writeSecret(s.folder.joinToken(), join); err != nil {
		return err
	}
	failpoint.Reach("join-token.after-write")
	if known.Token, err = s.token(auth.User, known.Token); err != nil {
		return err
	}
	known.Address = "https://" + dialable(s.listener.Addr().String())
	known.CA = string(s.ca.PEM())
	failpoint.Reach("credentials-file.before-write")
	return known.Write(s.folder.credentials())
}

// token returns the token if it is good, or a new one.
func (s *service) token(kind auth.Kind, known string) (string, error) {
	if who, err := s.keys.Verify(known); err == nil && who.Kind == kind && who.Name == localName {
		return known, nil
	}
	text, _, err := s.keys.Create(kind, localName, 0)
	return text, err
}

// dialable is an address at which a process on this machine reaches a listener.
func dialable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return address
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// writeSecret replaces a file that only its owner may read.
func writeSecret(path, text string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace secret: %w", err)
	}
	failpoint.Reach("join-token.after-removing")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		return fmt.Errorf("write secret: %w", err)
	}
	return nil
}
