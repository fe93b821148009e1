package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// nobody is the user and group id of somebody who owns nothing.
const nobody = 65534

// newHomeOfNobody is newHome for a user whom file modes bind: root reads and
// writes everything, so what root starts is started as nobody.
func newHomeOfNobody(t *testing.T) *home {
	t.Helper()
	h := newHome(t)
	if os.Geteuid() != 0 {
		return h
	}
	h.user = &syscall.Credential{Uid: nobody, Gid: nobody}
	err := errors.Join(os.Chmod(filepath.Dir(h.dir), 0o755), os.Chown(h.dir, nobody, nobody))
	if err != nil {
		t.Fatal(err)
	}
	c := h.command("version")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("user %d must be able to execute %s; set TMPDIR to a folder that others may enter: %v\n%s", nobody, binary, err, out)
	}
	return h
}

// forbid takes rights away until the end of the test.
func (h *home) forbid(name string, mode os.FileMode) string {
	h.t.Helper()
	path := h.path(name)
	if err := os.Chmod(path, mode); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = os.Chmod(path, 0o700) })
	return path
}

func TestWhatTheUserMayNotReadOrWriteIsRefusedByName(t *testing.T) {
	t.Parallel()
	h := newHomeOfNobody(t)
	h.up(1)
	in := h.write("in.txt", "x\n")
	h.write("some/open.txt", "x\n")
	h.write("some/secret.txt", "x\n")
	h.write("closed/a.txt", "x\n")
	h.write("full/_note", "x\n")
	secret, closed, full := h.forbid("some/secret.txt", 0), h.forbid("closed", 0), h.forbid("full", 0o555)
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"unreadable file":             {[]string{"identity", "--input", secret}, secret},
		"unreadable file in a folder": {[]string{"identity", "--input", h.path("some")}, secret},
		"unreadable file of a glob":   {[]string{"identity", "--input", h.path("some/*.txt")}, secret},
		"unreadable folder":           {[]string{"identity", "--input", closed}, closed},
		"output not writable":         {[]string{"identity", "--input", in, "--output", full}, full},
		"output in a closed folder":   {[]string{"identity", "--input", in, "--output", closed + "/out"}, closed},
		"output in a full folder":     {[]string{"identity", "--input", in, "--output", full + "/a/b"}, full},
		"unreadable program file":     {[]string{"--map", "cat", "--file", secret, "--input", in}, secret},
	} {
		t.Run(name, func(t *testing.T) {
			r := h.stint(append([]string{"run"}, c.args...)...)
			if r.code != 2 {
				t.Errorf("exit code %d", r.code)
			}
			contains(t, r.err, c.says, "permission denied")
		})
	}
	r := h.stint("up", "--data", full+"/data", "--listen", "127.0.0.1:0")
	if r.code != 2 {
		t.Errorf("data folder that cannot be made: exit code %d", r.code)
	}
	contains(t, r.err, full+"/data", "permission denied")
	if got := h.ok("list", "--json"); got != "[]\n" {
		t.Errorf("a refusal left %s", got)
	}
}
