package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"stint"
)

// TestMain lets the test's own executable play the children: what it does is
// named by its first argument. Children speak through a named pipe.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && strings.HasPrefix(os.Args[1], "play-") {
		play(os.Args[1], os.Args[2])
		return
	}
	os.Exit(m.Run())
}

func play(role, pipe string) {
	out, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	_, _ = fmt.Fprintf(out, "start %d\n", os.Getpid())
	switch role {
	case "play-refuse":
		_, _ = fmt.Fprintln(os.Stderr, "some noise\nthe folder is somebody else's")
		os.Exit(2)
	case "play-dismissed":
		_, _ = fmt.Fprintln(os.Stderr, "the node was removed")
		os.Exit(DismissedExit)
	case "play-child":
		<-term
		_, _ = fmt.Fprintln(out, "asked to stop")
	case "play-deaf":
		signal.Ignore(syscall.SIGTERM)
		_, _ = fmt.Fprintln(out, "deaf")
		_, _ = io.Copy(io.Discard, os.Stdin)
		select {}
	case "play-stray":
		signal.Ignore(syscall.SIGTERM)
		_, _ = fmt.Fprintln(out, "stray")
		<-time.After(30 * time.Second)
	case "play-lifeline":
		signal.Ignore(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, os.Stdin)
		_, _ = fmt.Fprintln(out, "lifeline ended")
	case "play-parent":
		cmd := exec.Command(os.Args[0], "play-stray", pipe)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		_ = cmd.Start()
		<-term
	case "play-alone":
		s := supervisor(filepath.Dir(pipe))
		s.Alone = true
		_ = s.Run(context.Background(), Child{Name: "parent", Args: []string{"play-parent", pipe}})
	case "play-supervisor", "play-supervisor-of-lifeline":
		child := map[string]string{"play-supervisor": "play-child", "play-supervisor-of-lifeline": "play-lifeline"}[role]
		s := supervisor(filepath.Dir(pipe))
		_ = s.Run(context.Background(), Child{Name: "child", Args: []string{child, pipe}})
	}
}

func supervisor(dir string) *Supervisor {
	return &Supervisor{Program: os.Args[0], Logs: dir, Grace: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)}
}

// stage is a named pipe that children speak through.
type stage struct {
	pipe  string
	lines *bufio.Scanner
}

func newStage(t *testing.T) *stage {
	t.Helper()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(pipe, os.O_RDWR, 0) // both ends, so that it does not end between children
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return &stage{pipe: pipe, lines: bufio.NewScanner(f)}
}

// expect reads a line and returns what follows the prefix.
func (s *stage) expect(t *testing.T, prefix string) string {
	t.Helper()
	if !s.lines.Scan() {
		t.Fatalf("the pipe ended: %v", s.lines.Err())
	}
	rest, ok := strings.CutPrefix(s.lines.Text(), prefix)
	if !ok {
		t.Fatalf("child said %q, want %q", s.lines.Text(), prefix)
	}
	return strings.TrimSpace(rest)
}

func (s *stage) expectPID(t *testing.T) int {
	t.Helper()
	var pid int
	if _, err := fmt.Sscan(s.expect(t, "start "), &pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

// run supervises the children until the returned function is called, which
// returns what Run did.
func (s *stage) run(t *testing.T, grace time.Duration, children ...Child) (stop func() error) {
	t.Helper()
	sup := supervisor(filepath.Dir(s.pipe))
	sup.Grace = grace
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sup.Run(ctx, children...) }()
	return func() error { cancel(); return <-done }
}

func TestChildThatDiesIsStartedAgainWithTheSameArguments(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	starts := 0
	stop := s.run(t, time.Minute, Child{Name: "child", Args: []string{"play-child", s.pipe}, Ready: func(context.Context) error { starts++; return nil }})
	for range 3 {
		if err := syscall.Kill(s.expectPID(t), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	s.expectPID(t)
	if err := stop(); err != nil {
		t.Errorf("Run() = %v", err)
	}
	s.expect(t, "asked to stop")
	if starts != 4 {
		t.Errorf("Ready was called %d times, want 4", starts)
	}
}

func TestChildThatDoesNotStopInTimeIsKilled(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	stop := s.run(t, 10*time.Millisecond, Child{Name: "deaf", Args: []string{"play-deaf", s.pipe}})
	pid := s.expectPID(t)
	s.expect(t, "deaf")
	if err := stop(); err != nil {
		t.Errorf("Run() = %v", err)
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("the child lives: %v", err)
	}
}

func TestChildThatRefusesItsFirstStartEndsTheRest(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	err := supervisor(filepath.Dir(s.pipe)).Run(t.Context(),
		Child{Name: "child", Args: []string{"play-child", s.pipe}},
		Child{Name: "refuser", Args: []string{"play-refuse", s.pipe}})
	if stint.CodeOf(err) != stint.Invalid || err.Error() != "refuser: the folder is somebody else's" {
		t.Errorf("Run() = %v", err)
	}
}

// What a child needs may be away for longer than anybody waits for it at once.
func TestChildThatOnceHadWhatItNeedsIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	asked := 0
	ready := func(context.Context) error {
		if asked++; asked == 2 || asked == 3 {
			return errors.New("the service does not answer")
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		err := supervisor(filepath.Dir(s.pipe)).Run(ctx, Child{Name: "child", Args: []string{"play-child", s.pipe}, Ready: ready})
		_ = os.WriteFile(s.pipe, []byte("the supervisor has ended\n"), 0)
		done <- err
	}()
	if err := syscall.Kill(s.expectPID(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.expectPID(t)
	cancel()
	if err := <-done; err != nil || asked != 4 {
		t.Errorf("Run() = %v; Ready was called %d times, want 4", err, asked)
	}
}

func TestChildThatNeverHadWhatItNeedsEndsTheRest(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	want := errors.New("the service does not answer")
	err := supervisor(filepath.Dir(s.pipe)).Run(t.Context(),
		Child{Name: "child", Args: []string{"play-child", s.pipe}},
		Child{Name: "waiter", Args: []string{"play-child", s.pipe}, Ready: func(context.Context) error { return want }})
	if !errors.Is(err, want) {
		t.Errorf("Run() = %v", err)
	}
}

func TestChildThatIsDismissedIsNotStartedAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	sup := supervisor(filepath.Dir(s.pipe))
	var log bytes.Buffer
	sup.Logger = slog.New(slog.NewTextHandler(&log, nil))
	if err := sup.Run(t.Context(), Child{Name: "agent", Args: []string{"play-dismissed", s.pipe}}); err != nil {
		t.Errorf("Run() = %v", err)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "not started again") || !strings.Contains(got, "the node was removed") {
		t.Errorf("it said: %s", got)
	}
}

func TestProgramThatCannotBeStartedIsAnError(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	sup := supervisor(filepath.Dir(s.pipe))
	sup.Program = "/nonexistent/stint"
	err := sup.Run(t.Context(), Child{Name: "child"})
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/stint") {
		t.Errorf("Run() = %v", err)
	}
}

func TestChildrenEndWithASupervisorThatIsKilled(t *testing.T) {
	t.Parallel()
	for role, last := range map[string]string{"play-supervisor": "asked to stop", "play-supervisor-of-lifeline": "lifeline ended"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			cmd := exec.CommandContext(t.Context(), os.Args[0], role, s.pipe)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if pid := s.expectPID(t); pid != cmd.Process.Pid {
				t.Fatalf("%d started first, want the supervisor %d", pid, cmd.Process.Pid)
			}
			s.expectPID(t)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			s.expect(t, last)
		})
	}
}

func TestWhatADeadChildLeavesBehindIsKilled(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "play-alone", s.pipe)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.expectPID(t)
	parent := s.expectPID(t)
	stray := s.expectPID(t)
	s.expect(t, "stray")
	if err := syscall.Kill(parent, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.expectPID(t) // the parent again: strays are swept before
	again := s.expectPID(t)
	defer func() { _ = syscall.Kill(again, syscall.SIGKILL) }()
	if err := syscall.Kill(stray, 0); err != syscall.ESRCH {
		t.Errorf("the stray lives: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
}

func TestDelayGrowsToALimit(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{0: 50 * time.Millisecond, 1: 100 * time.Millisecond, 4: 800 * time.Millisecond, 7: 5 * time.Second, 1000: 5 * time.Second} {
		if got := Delay(failures); got != want {
			t.Errorf("Delay(%d) = %v, want %v", failures, got, want)
		}
	}
}

func TestLogThatGrewTooLongIsPutAside(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "child.log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxLog+1); err != nil {
		t.Fatal(err)
	}
	f, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it is empty
	fi, err := f.Stat()
	old, oldErr := os.Stat(path + ".old")
	if err != nil || oldErr != nil || fi.Size() != 0 || old.Size() != maxLog+1 {
		t.Errorf("sizes: %v %v, %v %v", fi, err, old, oldErr)
	}
}
