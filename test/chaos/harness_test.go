package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stint"
	"stint/client"
	"stint/test/harness"
)

// seedFlag decides what is drawn at random; 0: another one in every run.
var seedFlag = flag.Uint64("seed", 0, "seed of what is drawn at random (0: another in every run)")

// keepFlag is where the folder of a test that fails is copied to.
var keepFlag = flag.String("keep", "", "folder into which the data, logs and ledgers of failed tests are copied")

// builds are the executables under test by their build tags, made once in a run.
var builds = struct {
	sync.Mutex
	dir  string
	made map[string]func() (string, error)
}{made: make(map[string]func() (string, error))}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "stint-chaos-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	builds.dir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// binary returns the path of the executable with these build tags.
func binary(t *testing.T, tags ...string) string {
	t.Helper()
	name := strings.Join(append([]string{"stint"}, tags...), "-")
	builds.Lock()
	make := builds.made[name]
	if make == nil {
		make = sync.OnceValues(func() (string, error) {
			path := filepath.Join(builds.dir, name)
			out, err := exec.Command("go", "build", "-tags", strings.Join(tags, ","), "-o", path, "stint/cmd/stint").CombinedOutput()
			if err != nil {
				err = fmt.Errorf("build: %w\n%s", err, out)
			}
			return path, err
		})
		builds.made[name] = make
	}
	builds.Unlock()
	path, err := make()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// random returns the source of what a test draws, and says its seed first.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	h := seed
	for _, b := range []byte(t.Name()) { // tests of one run draw differently
		h = h*1099511628211 + uint64(b)
	}
	return rand.New(rand.NewPCG(seed, h))
}

// patience is how long anything may take that comes to be by itself.
const patience = 2 * time.Minute

// site is a folder in which a test has everything, and what is done there.
type site struct {
	t      *testing.T
	dir    string   // everything of the test
	data   string   // the data folder
	stint  string   // the executable, by a name of this test
	within []string // goes before the arguments of every command, such as nsenter --net=…
	env    []string // of its commands, beside what all have
}

// newSite makes a folder with the executable of these build tags. When the test
// ends, no process may be left in it.
func newSite(t *testing.T, tags ...string) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, dir: dir, data: filepath.Join(dir, "data"), stint: filepath.Join(dir, "stint")}
	if err := os.Link(binary(t, tags...), s.stint); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			s.showLogs()
		}
		s.checkNobodyLeft()
		if t.Failed() && *keepFlag != "" {
			to := filepath.Join(*keepFlag, filepath.Base(filepath.Dir(dir)))
			t.Logf("kept in %s: %v", to, os.CopyFS(to, os.DirFS(dir)))
		}
	})
	return s
}

// checkNobodyLeft checks that no process of the site runs, after a moment for
// those that are about to end, and ends what is left.
func (s *site) checkNobodyLeft() {
	deadline, tick := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for len(s.processes()) > 0 {
		select {
		case <-tick.C:
			continue
		case <-deadline:
		}
		for _, p := range s.processes() {
			s.t.Errorf("process %d is left over: %s", p.pid, p.args)
			p.signal(unix.SIGKILL)
		}
		return
	}
}

// checkSound has fsck look at what a service has left, and at what runs of it.
func (s *site) checkSound() {
	s.t.Helper()
	if !s.t.Failed() {
		harness.CheckSound(s.t, s.command("fsck", "--json", "--data", s.data))
	}
}

// showLogs shows the ends of what the children of "stint up" printed.
func (s *site) showLogs() {
	harness.ShowLogs(s.t, s.dir, filepath.Join("*", "logs", "*.log"))
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// write writes a file below the test's folder and returns its path.
func (s *site) write(name, text string) string {
	s.t.Helper()
	return harness.Write(s.t, s.path(name), text)
}

func (s *site) read(path string) string {
	s.t.Helper()
	return harness.Read(s.t, path)
}

// elsewhere is the same site with another data folder: another service.
func (s *site) elsewhere(name string) *site {
	other := *s
	other.data = s.path(name)
	return &other
}

// command makes a command of the executable, in the site's folder and environment.
func (s *site) command(args ...string) *exec.Cmd {
	args = slices.Concat(s.within, []string{s.stint}, args)
	c := exec.CommandContext(context.WithoutCancel(s.t.Context()), args[0], args[1:]...) // a test ends what it began itself
	s.settle(c)
	return c
}

// settle gives a command the site's folder and environment.
func (s *site) settle(c *exec.Cmd) {
	c.Dir = s.dir
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that is killed leaves nothing that runs
	c.Env = append(append(harness.Environ(), "STINT_DATA="+s.data, "LC_ALL=C"), s.env...)
}

// result is how a command ended and what it printed.
type result struct {
	code     int
	out, err string
}

// running is a command that has not ended.
type running struct {
	cmd      *exec.Cmd
	out, err *bytes.Buffer
}

// begin starts a command of the executable.
func (s *site) begin(args ...string) *running {
	s.t.Helper()
	return s.start(s.command(args...))
}

func (s *site) start(c *exec.Cmd) *running {
	s.t.Helper()
	out, err := harness.Start(s.t, c)
	return &running{cmd: c, out: out, err: err}
}

// finish waits for the end of a command; one that does not end says where it is.
func (s *site) finish(r *running) result {
	s.t.Helper()
	code := harness.Finish(s.t, r.cmd, patience)
	return result{code: code, out: r.out.String(), err: r.err.String()}
}

// run runs a command of the executable to its end.
func (s *site) run(args ...string) result {
	s.t.Helper()
	return s.finish(s.begin(args...))
}

// ok runs a command that must succeed and returns what it printed.
func (s *site) ok(args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	if r.code != 0 {
		s.t.Fatalf("stint %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.err)
	}
	return r.out
}

// decode runs a command that prints a document and decodes it.
func (s *site) decode(v any, args ...string) {
	s.t.Helper()
	out := s.ok(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		s.t.Fatalf("stint %s: not a document: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// execution runs a command that prints an execution's document.
func (s *site) execution(args ...string) stint.Execution {
	s.t.Helper()
	var x stint.Execution
	s.decode(&x, args...)
	return x
}

// shell runs a shell script in the site's folder and returns what it printed.
func (s *site) shell(script string, args ...string) string {
	s.t.Helper()
	c := exec.CommandContext(s.t.Context(), "sh", append([]string{"-euc", script, "sh"}, args...)...)
	s.settle(c)
	out, err := c.Output()
	if err != nil {
		s.t.Fatalf("%s: %v", script, err)
	}
	return string(out)
}

// up starts a service with so many agents of one slot each and returns once they
// are ready. It is stopped when the test ends, if it was not before.
func (s *site) up(nodes int, args ...string) *running {
	s.t.Helper()
	r := s.begin(append([]string{"up", "--data", s.data, "--listen", "127.0.0.1:0", "--nodes", strconv.Itoa(nodes), "--slots", "1"}, args...)...)
	s.awaitNodes(r, nodes)
	return r
}

// awaitNodes returns once so many nodes are ready. When the test ends, it stops the
// process, if it was not before, and checks what is left.
func (s *site) awaitNodes(up *running, nodes int) {
	s.t.Helper()
	s.t.Cleanup(func() {
		s.stop(up)
		s.checkSound()
	})
	s.wait("ready nodes", func() bool { return s.readyNodes() == nodes })
}

// stop asks a process to stop and waits for its end.
func (*site) stop(r *running) {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may have been killed
	kill := time.AfterFunc(patience, func() { _ = r.cmd.Process.Kill() })
	defer kill.Stop()
	_ = r.cmd.Wait()
}

func (s *site) readyNodes() int {
	return harness.ReadyNodes(s.run("node", "list", "--json").out)
}

// service returns a client of the site's service; it ends with the test.
func (s *site) service() (*client.Client, error) {
	b, err := os.ReadFile(filepath.Join(s.data, "credentials"))
	if err != nil {
		return nil, err
	}
	var known struct {
		Address string `json:"address"`
		Token   string `json:"token"`
		CA      string `json:"ca_pem"`
	}
	if err := json.Unmarshal(b, &known); err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{URL: known.Address, Token: known.Token, CA: []byte(known.CA)})
	if err == nil {
		s.t.Cleanup(c.Close)
	}
	return c, err
}

// wait returns when done reports true.
func (s *site) wait(what string, done func() bool) {
	s.t.Helper()
	harness.Wait(s.t, patience, what, done)
}

// kind is what a process of a site is.
type kind string

// The kinds of processes: those of "stint up", and what the worker starts.
const (
	supervisor kind = "supervisor"
	server     kind = "server"
	agent      kind = "agent"
	worker     kind = "worker"
	program    kind = "program"
	command    kind = "command" // of a user
)

// process is a process of the site.
type process struct {
	pid    int
	parent int
	args   string
	kind   kind
	began  string // ticks since the machine's start: with the pid, no other process has it
}

// processes returns the processes of the site, all of them or those with these
// texts in their arguments.
func (s *site) processes(texts ...string) []process {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var found []process
	for _, dir := range dirs {
		p, ok := s.look(dir)
		if ok && !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(p.args, text) }) {
			found = append(found, p)
		}
	}
	return slices.DeleteFunc(slices.Clone(found), func(p process) bool { return isBeingBorn(p, found) })
}

// isBeingBorn reports whether a process of Stint has not yet become what it is started
// as: it shows the arguments of its parent until then.
func isBeingBorn(p process, among []process) bool {
	return p.kind != program && slices.ContainsFunc(among, func(o process) bool { return o.pid == p.parent && o.args == p.args })
}

// look reports what the process of a folder of /proc is, if it is the site's.
func (s *site) look(dir string) (process, bool) {
	pid, err := strconv.Atoi(filepath.Base(dir))
	if err != nil || pid == os.Getpid() {
		return process{}, false
	}
	args := harness.Commandline(dir)
	if args == "" || !s.owns(dir, args) {
		return process{}, false
	}
	parent, began, ok := started(dir)
	return process{pid: pid, parent: parent, args: args, kind: s.kindOf(args), began: began}, ok
}

func (s *site) owns(dir, args string) bool {
	if strings.Contains(args, s.dir) {
		return true
	}
	cwd, err := os.Readlink(filepath.Join(dir, "cwd"))
	return err == nil && strings.HasPrefix(cwd, s.dir+"/")
}

func (s *site) kindOf(args string) kind {
	name, ours := strings.CutPrefix(args, s.stint+" ")
	if !ours {
		return program
	}
	name, _, _ = strings.Cut(name, " ")
	switch name {
	case "up":
		return supervisor
	case "server", "agent", "worker":
		return kind(name)
	}
	return command
}

// started returns who started a process and when it began, and false if it has ended.
func started(dir string) (parent int, began string, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, "", false
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, "", false
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, fields[19], err == nil
}

// signal sends a signal to the process and to no other that has its number by
// then, and reports whether it was alive.
func (p process) signal(sig unix.Signal) bool {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	_, began, alive := started(fmt.Sprintf("/proc/%d", p.pid))
	return alive && began == p.began && unix.PidfdSendSignal(fd, sig, nil, 0) == nil
}

// alive reports whether the process runs.
func (p process) alive() bool {
	_, began, alive := started(fmt.Sprintf("/proc/%d", p.pid))
	return alive && began == p.began
}

// the returns the one process with these texts in its arguments.
func (s *site) the(texts ...string) process {
	s.t.Helper()
	found := s.processes(texts...)
	if len(found) != 1 {
		s.t.Fatalf("processes with %q: %v, want one", texts, found)
	}
	return found[0]
}

// killAll kills everything of the site at once and waits for its end.
func (s *site) killAll(up *running) {
	s.t.Helper()
	for _, p := range s.processes() {
		p.signal(unix.SIGKILL)
	}
	_ = up.cmd.Wait()
	s.wait("the end of all processes", func() bool { return len(s.processes()) == 0 })
}
