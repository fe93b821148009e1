package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"stint"
)

// tracer is what makes system calls of processes fail.
var tracer = feature{
	name: "system calls that fail (strace, ptrace)",
	probe: func() error {
		out, err := exec.Command("strace", "-e", "inject=fsync:error=EIO", "sync", os.TempDir()).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "INJECTED") {
			return fmt.Errorf("install strace, and let processes be traced: %w: %s", errors.Join(err, errors.New("no call failed")), out)
		}
		return nil
	},
}

// failNext has the next sync of a file fail in a process, and returns when that may
// happen.
func (s *site) failNext(p process, path string) {
	s.t.Helper()
	c := exec.CommandContext(s.t.Context(), "strace", "-f", "-qq", "-o", s.path("calls"), "-P", path, "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1", "-p", strconv.Itoa(p.pid))
	s.start(c)
	s.wait("a tracer of every thread", func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.pid))
		for _, thread := range threads {
			if b, err := os.ReadFile(thread); err == nil && strings.Contains(string(b), "TracerPid:\t0\n") {
				return false
			}
		}
		return true
	})
}

// A server whose record cannot be synced ends: nobody knows what is on disk. The
// next one goes by what is there, and the submission under way is there once.
func TestAServerEndsWhenASyncOfItsRecordFails(t *testing.T) {
	t.Parallel()
	requires(t, tracer)
	s := newSite(t)
	up := s.up(1)
	first := s.the(s.stint + " server")
	s.failNext(first, filepath.Join(s.data, "server", "store.db-wal"))
	in := s.write("in.txt", "a\nb\n")
	out := s.path("out")
	r := stint.Request{
		Key: "k", Inputs: []string{in}, SubsetSize: 2, Output: out,
		Program: stint.Program{Name: "copy", Stages: []stint.Stage{{Name: "map", Action: stint.Action{Command: []string{"cat"}}, Input: stint.Edge{Kind: stint.FromInput}}}},
	}
	var id stint.ExecutionID
	s.wait("an answer to a submission", func() bool {
		c, err := s.service()
		if err != nil {
			return false
		}
		x, err := c.Submit(t.Context(), r)
		id = x.ID
		return err == nil
	})
	s.wait("the end of the server whose sync failed", func() bool { return !first.alive() })
	s.wait("the end of the submission", func() bool {
		c, err := s.service()
		if err != nil {
			return false
		}
		x, err := c.Show(t.Context(), id)
		return err == nil && x.Status == stint.Completed
	})
	var all []stint.Execution
	s.decode(&all, "list")
	if len(all) != 1 {
		t.Errorf("%d executions, want one: %v", len(all), all)
	}
	if log := s.read(filepath.Join(s.data, "logs", "server.log")); !strings.Contains(log, "disk I/O error") {
		t.Errorf("the server does not say why it ended:\n%s", log)
	}
	s.stop(up)
}

// A sync of the record fails while an upload is written there: what has become of it
// is found out by the next server, and another upload of the same is no second version.
func TestAnUploadOfWhichTheSyncFailsIsFoundOut(t *testing.T) {
	t.Parallel()
	requires(t, tracer)
	s := newSite(t)
	up := s.up(1)
	folder := s.largeProgram("kept", 1000)
	first := s.the(s.stint + " server")
	s.failNext(first, filepath.Join(s.data, "server", "store.db-wal"))
	if r := s.run("program", "upload", folder); r.code != 5 || !strings.Contains(r.err, "disk I/O error") {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	s.wait("the end of the server whose sync failed", func() bool { return !first.alive() })
	s.wait("an upload to the next", func() bool { return s.run("program", "upload", folder).code == 0 })
	s.checkUploaded(folder)
	s.stop(up)
}
