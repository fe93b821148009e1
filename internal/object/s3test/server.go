// Package s3test starts a real server of object storage for tests: versitygw, over a
// temporary folder. It is imported by tests alone.
package s3test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"stint"
)

const (
	module  = "github.com/versity/versitygw/cmd/versitygw"
	release = "v1.8.0"
	// program says where the server's program is, if it is not to be built.
	program = "STINT_TEST_S3_SERVER"
)

// Server is a server that runs until its test ends.
type Server struct {
	Credentials stint.CredentialSet // without a name
	Dir         string              // its buckets are folders in here
}

// Start starts a server and waits until it answers.
func Start(tb testing.TB) *Server {
	tb.Helper()
	path, err := Program(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	s := &Server{
		Dir:         filepath.Join(dir, "data"),
		Credentials: stint.CredentialSet{Region: "us-east-1", AccessKey: "stint-test", SecretKey: "stint-test-secret"},
	}
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	for range 5 { // the port may be taken by another in between
		address := FreeAddress(tb)
		if s.run(tb, path, address) {
			s.Credentials.Endpoint = "http://" + address
			return s
		}
	}
	tb.Fatal("the S3 server does not start")
	return nil
}

// Bucket makes a bucket.
func (s *Server) Bucket(tb testing.TB, name string) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Join(s.Dir, name), 0o700); err != nil {
		tb.Fatal(err)
	}
}

// Environ returns the variables by which a process reaches the server without a
// named set of credentials.
func (s *Server) Environ() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + s.Credentials.Endpoint, "AWS_REGION=" + s.Credentials.Region,
		"AWS_ACCESS_KEY_ID=" + s.Credentials.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.Credentials.SecretKey,
	}
}

// Getenv is as [os.Getenv] with the variables of [Server.Environ].
func (s *Server) Getenv(name string) string {
	for _, line := range s.Environ() {
		if len(line) > len(name) && line[:len(name)+1] == name+"=" {
			return line[len(name)+1:]
		}
	}
	return ""
}

// run starts the program and reports whether it answers; one that does not has
// ended.
func (s *Server) run(tb testing.TB, path, address string) bool {
	tb.Helper()
	var said bytes.Buffer
	c := exec.CommandContext(context.WithoutCancel(tb.Context()), path, "--port", address, "--quiet", "posix", s.Dir)
	c.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.Credentials.AccessKey, "ROOT_SECRET_KEY="+s.Credentials.SecretKey)
	c.Stdout, c.Stderr = &said, &said
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() { // until it has ended
		defer close(ended)
		runtime.LockOSThread()         // the server dies with the thread that has started it,
		defer runtime.UnlockOSThread() // and so does what others had started on it before: it goes on
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait()
		}
	}()
	if err := <-started; err != nil {
		tb.Fatal(err)
	}
	stop := func() {
		_ = c.Process.Kill()
		<-ended
	}
	for {
		select {
		case <-ended:
			tb.Logf("S3 server: %s", said.String())
			return false
		case <-time.After(10 * time.Millisecond):
		case <-tb.Context().Done():
			stop()
			return false
		}
		conn, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
			tb.Cleanup(stop)
			return true
		}
	}
}

// FreeAddress returns an address of this machine that nobody listens at. Its port is
// none of those that the kernel gives to connections and to who asks for any (from
// 32768): nobody takes it before, or between two servers of a test.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	for {
		l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", 16384+rand.IntN(16384))) //nolint:gosec // any will do
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			tb.Fatal(err)
		}
		defer l.Close() //nolint:errcheck // nothing was accepted
		return l.Addr().String()
	}
}

// Program returns the path of the server's program, which it builds if it must.
func Program(ctx context.Context) (string, error) {
	if path := os.Getenv(program); path != "" {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for the S3 server of tests: %w", err)
	}
	dir := filepath.Join(cache, "stint-test", release)
	path := filepath.Join(dir, "versitygw")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	return path, build(ctx, dir, path)
}

// build installs the program. Of several at once each makes its own and the last
// name counts.
func build(ctx context.Context, dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh) //nolint:errcheck // what is left is small
	c := exec.CommandContext(ctx, "go", "install", module+"@"+release)
	c.Env = append(os.Environ(), "GOBIN="+fresh, "GOFLAGS=", "CGO_ENABLED=0")
	if said, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("install %s@%s, the S3 server of tests: %w: %s; set %s to a program that is there", module, release, err, said, program)
	}
	return os.Rename(filepath.Join(fresh, "versitygw"), path)
}
