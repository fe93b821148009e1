package chaos

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"stint"
	"stint/client"
)

// passingsFlag says at which passings of each failpoint a process dies.
var passingsFlag = flag.String("passings", "1", "at which passings of each failpoint a process dies, as 1,2,3,7")

// walkersAtOnce is how many scenes are played at once: they wait more than they work.
const walkersAtOnce = 6

// failpoint is a point in the sources.
type failpoint struct {
	name string
	at   string // file and line
	fail bool   // it can be an error
}

// failpoints returns the points of the sources, by name.
func failpoints(t *testing.T) []failpoint {
	t.Helper()
	var found []failpoint
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (d.Name()[0] == '.' || d.Name() == "bin" || d.Name() == "testdata" || d.Name() == "test"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		points, err := failpointsOf(path)
		found = append(found, points...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(found, func(a, b failpoint) int { return cmp.Compare(a.name, b.name) })
	return found
}

// failpointsOf returns the points of one file.
func failpointsOf(path string) (found []failpoint, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		f, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		from, ok := f.X.(*ast.Ident)
		if !ok || from.Name != "failpoint" {
			return true
		}
		at := fmt.Sprintf("%s:%d", strings.TrimPrefix(path, "../../"), set.Position(n.Pos()).Line)
		name, ok := call.Args[0].(*ast.BasicLit)
		if !ok || name.Kind != token.STRING {
			err = fmt.Errorf("%s: the name of a failpoint is a literal", at)
			return true
		}
		text, unquoted := strconv.Unquote(name.Value)
		err = errors.Join(err, unquoted)
		found = append(found, failpoint{name: text, at: at, fail: f.Sel.Name == "Error"})
		return true
	})
	return found, err
}

// TestEveryFailpointIsListed compares the sources with docs/testing.md: each point
// has a name of its own and a line there, and no line is left of one that is gone.
func TestEveryFailpointIsListed(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "\n## Failpoints\n")
	section, _, _ = strings.Cut(section, "\n## ")
	listed := make(map[string]bool)
	for line := range strings.Lines(section) {
		if name, between, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` | "); ok && name != line {
			if listed[name] || len(strings.TrimSpace(strings.Trim(between, "|\n"))) < 10 {
				t.Errorf("docs/testing.md: %s is listed twice, or without what it stands between", name)
			}
			listed[name] = true
		}
	}
	known := make(map[string]string)
	for _, p := range failpoints(t) {
		if other := known[p.name]; other != "" {
			t.Errorf("%s: %s has the same name as the point at %s", p.at, p.name, other)
		}
		if known[p.name] = p.at; !listed[p.name] {
			t.Errorf("%s: %s is not listed in docs/testing.md", p.at, p.name)
		}
		if !strings.Contains(p.name, ".before-") && !strings.Contains(p.name, ".after-") {
			t.Errorf("%s: %s: expected phase.before-step or phase.after-step", p.at, p.name)
		}
	}
	for name := range listed {
		if known[name] == "" {
			t.Errorf("docs/testing.md lists %s, which is nowhere in the sources", name)
		}
	}
	if len(known) == 0 {
		t.Error("no failpoint was found")
	}
}

// TestNoFailpointIsInARelease builds the executable as it is given out and looks
// for the names in it.
func TestNoFailpointIsInARelease(t *testing.T) {
	t.Parallel()
	release, err := os.ReadFile(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(binary(t, "failpoint"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range failpoints(t) {
		if strings.Contains(string(release), p.name) {
			t.Errorf("%s is in the executable", p.name)
		}
		if !strings.Contains(string(tests), p.name) {
			t.Errorf("%s is not even in an executable for tests", p.name)
		}
	}
}

// scene is a short story of a service, in which processes may die at any point. It
// checks all that must hold, whatever became of them.
type scene struct {
	name string
	play func(*stage)
}

// stage is where a scene is played once.
type stage struct {
	*site
	*promises
	orders []string // what is to happen, as the variable FAILPOINT has it
	folder string   // where passings are counted

	client *client.Client
	up     *running
	gone   chan struct{} // closed when up has ended
	args   []string
}

// newStage makes a stage on which something happens at a point.
func newStage(t *testing.T, what string) *stage {
	t.Helper()
	s := &stage{site: newSite(t, "failpoint"), promises: newPromises()}
	s.folder = s.path("passings")
	if err := os.Mkdir(s.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	s.orders = []string{what + ":" + s.folder}
	return s
}

// struck returns which point was struck; empty: none yet.
func (s *stage) struck() string {
	point, _ := strikerIn(s.folder)
	return point
}

// strikerIn returns which point was struck, and who has passed it.
func strikerIn(folder string) (point string, pid int) {
	b, err := os.ReadFile(filepath.Join(folder, "struck"))
	if err != nil {
		return "", 0
	}
	if _, err := fmt.Sscan(string(b), &point, &pid); err != nil {
		return "", 0 // it is being written
	}
	return point, pid
}

// passings returns how often each point was passed.
func (s *stage) passings() map[string]int {
	s.t.Helper()
	entries, err := os.ReadDir(s.folder)
	if err != nil {
		s.t.Fatal(err)
	}
	found := make(map[string]int)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.Name() != "struck" {
			found[e.Name()] = int(info.Size())
		}
	}
	return found
}

// serve starts a service on a data folder, and starts it again if it dies, until
// rest is called. It returns when so many nodes are ready.
func (s *stage) serve(nodes int, more ...string) {
	s.t.Helper()
	s.args = append([]string{"up", "--data", s.data, "--listen", "127.0.0.1:0", "--nodes", strconv.Itoa(nodes), "--slots", "1"}, more...)
	s.launch()
	s.await("ready nodes", func(ctx context.Context, c *client.Client) (bool, error) {
		list, err := c.Nodes(ctx)
		ready := 0
		for _, n := range list {
			if n.Status == stint.NodeReady {
				ready++
			}
		}
		return ready >= nodes, err
	})
}

func (s *stage) launch() {
	s.t.Helper()
	c := s.command(s.args...)
	c.Env = append(c.Env, "FAILPOINT="+strings.Join(s.orders, " "))
	up, gone := s.start(c), make(chan struct{})
	go func() {
		_ = up.cmd.Wait()
		close(gone)
	}()
	s.t.Cleanup(func() { s.end(up, gone) })
	s.up, s.gone, s.client = up, gone, nil
}

func (*stage) end(up *running, gone chan struct{}) {
	_ = up.cmd.Process.Signal(os.Interrupt) // it may have ended
	select {
	case <-gone:
	case <-time.After(patience):
		_ = up.cmd.Process.Kill()
		<-gone
	}
}

// rest stops the service in order.
func (s *stage) rest() {
	s.end(s.up, s.gone)
	s.client = nil
}

// connected starts the service again if it is not there, and returns a client.
func (s *stage) connected() (*client.Client, error) {
	select {
	case <-s.gone:
		if point := s.struck(); point == "" {
			s.t.Fatalf("the service has ended by itself: %s", s.up.err)
		}
		s.launch()
	default:
	}
	if s.client != nil {
		return s.client, nil
	}
	c, err := s.service()
	s.client = c
	return c, err
}

// try makes a call. That it fails is no fault after a process has died; before, or
// when the service has understood it and refuses, it is.
func (s *stage) try(what string, call func(context.Context, *client.Client) error) (done bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), callPatience)
	defer cancel()
	c, err := s.connected()
	if err == nil {
		err = call(ctx, c)
	}
	if _, ok := errors.AsType[*brokenPromise](err); ok {
		s.t.Fatal(err)
	}
	if err == nil {
		return true
	}
	s.client = nil // the next call reads the credentials anew
	code := stint.CodeOf(err)
	passes := code == stint.Unavailable || code == stint.Unknown || errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil // or the machine is slow
	if s.struck() == "" && !passes {
		s.t.Fatalf("%s: %v", what, err)
	}
	return false
}

// await calls until it is as it is to be.
func (s *stage) await(what string, done func(context.Context, *client.Client) (bool, error)) {
	s.t.Helper()
	s.wait(what, func() bool {
		yes := false
		s.try(what, func(ctx context.Context, c *client.Client) (err error) {
			yes, err = done(ctx, c)
			return err
		})
		return yes
	})
}

// must makes a call until it was answered. What a call has done that was not
// answered must not keep it from being made again.
func (s *stage) must(what string, call func(context.Context, *client.Client) error) {
	s.t.Helper()
	s.wait(what, func() bool { return s.try(what, call) })
}

// bring asks for something until an execution shows that it is so: a wish whose
// answer did not come may have been heard, and is refused the second time.
func (s *stage) bring(id stint.ExecutionID, what string, ask func(context.Context, *client.Client) error, wanted ...stint.ExecutionStatus) {
	s.t.Helper()
	asked := false
	s.await(what, func(ctx context.Context, c *client.Client) (bool, error) {
		x, err := c.Show(ctx, id)
		if err != nil {
			return false, err
		}
		if slices.Contains(wanted, x.Status) {
			return true, nil
		}
		if !asked {
			err = ask(ctx, c)
			asked = err == nil
		}
		return false, err
	})
}

// submit submits a request under a key until it is answered, and once more: the
// same key gives the same execution, whatever died in between.
func (s *stage) submit(key string, r stint.Request) stint.ExecutionID {
	s.t.Helper()
	r.Key, r.Name = key, key
	var id stint.ExecutionID
	s.must("submission "+key, func(ctx context.Context, c *client.Client) error {
		x, err := c.Submit(ctx, r)
		if err != nil {
			return err
		}
		id = x.ID
		return s.acknowledged(key, x.ID)
	})
	return id
}

// until looks at an execution until it has one of these statuses. What it shows as
// completed is noted.
func (s *stage) until(id stint.ExecutionID, wanted ...stint.ExecutionStatus) {
	s.t.Helper()
	s.await(fmt.Sprintf("%s %v", id, wanted), func(ctx context.Context, c *client.Client) (bool, error) {
		x, err := c.Show(ctx, id)
		if err == nil {
			err = s.see(&x)
		}
		if err == nil && x.Operations.Completed > 0 && !x.Status.Final() {
			err = s.seeOperations(ctx, c, id)
		}
		if err == nil && x.Status.Final() && !slices.Contains(wanted, x.Status) {
			return false, broken("%s is %s, want %v: %s", id, x.Status, wanted, x.Reason())
		}
		return slices.Contains(wanted, x.Status), err
	})
}

// completed waits until so many operations of an execution are.
func (s *stage) completed(id stint.ExecutionID, operations int64) {
	s.t.Helper()
	s.await(fmt.Sprintf("%d operations of %s", operations, id), func(ctx context.Context, c *client.Client) (bool, error) {
		x, err := c.Show(ctx, id)
		if err == nil {
			err = s.see(&x)
		}
		return x.Operations.Completed >= operations, err
	})
}

// checkOutput checks an output folder: exactly these lines, and nothing else beside.
func (s *stage) checkOutput(output, want string) {
	s.t.Helper()
	s.checkSorted(output, want)
	entries, err := os.ReadDir(output)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if n := e.Name(); n != "_SUCCESS" && n != "_manifest.json" && !strings.HasPrefix(n, "part-") {
			s.t.Errorf("left in the output: %s", n)
		}
	}
}

// checkPerformed checks that no operation was performed that was completed, and
// that the others were not performed more often than a process died in them.
func (s *stage) checkPerformed(operations int) {
	s.t.Helper()
	for _, what := range s.again(s.ledger()) {
		s.t.Error(what)
	}
	if n := s.ledger().performances(); n < operations || n > operations+2 {
		s.t.Errorf("%d operations were performed %d times", operations, n)
	}
}

// finish checks that the service does what is asked of it next, keeps what it has
// acknowledged, and ends in order.
func (s *stage) finish() {
	s.t.Helper()
	out := s.path("next-out")
	id := s.submit("next", stint.Request{
		Inputs: []string{"range:1..3"}, SubsetSize: 2, Output: out,
		Program: stint.Program{Name: "next", Stages: []stint.Stage{{Name: "map", Action: stint.Action{Command: []string{"cat"}}, Input: stint.Edge{Kind: stint.FromInput}}}},
	})
	s.until(id, stint.Completed)
	s.checkOutput(out, "1\n2\n3\n")
	s.await("what was acknowledged", func(ctx context.Context, c *client.Client) (bool, error) {
		for id := range s.final {
			x, err := c.Show(ctx, id)
			if err == nil {
				err = s.see(&x)
			}
			if err != nil {
				return false, err
			}
		}
		return true, nil
	})
	s.checkStorage()
	s.rest()
	s.checkSound()
	if left, _ := filepath.Glob(filepath.Join(s.data, "server", "uploads", "*")); len(left) > 0 {
		if point := s.struck(); !strings.HasPrefix(point, "upload.") {
			s.t.Errorf("left of uploads: %v", left)
		}
	}
}

// checkStorage checks that nothing is saved any more of executions that are over.
func (s *stage) checkStorage() {
	s.t.Helper()
	var left []string
	s.wait("nothing saved of what is over", func() bool {
		left, _ = filepath.Glob(filepath.Join(s.data, "storage", "saved", "*", "*"))
		left = slices.DeleteFunc(left, func(path string) bool { return filepath.Base(path) == "ended" })
		return len(left) == 0
	})
}

// passings says of each point in which scenes it is passed, and how often.
type passings map[string]map[string]int

func (p passings) add(other passings) {
	for point, scenes := range other {
		if p[point] == nil {
			p[point] = make(map[string]int)
		}
		for name, n := range scenes {
			p[point][name] = max(p[point][name], n)
		}
	}
}

// census plays every scene without a fault, and counts what is passed.
func census(t *testing.T, scenes []scene) passings {
	t.Helper()
	var mu sync.Mutex
	found := make(passings)
	var jobs []job
	for _, sc := range scenes {
		jobs = append(jobs, job{"scene/" + sc.name, func(t *testing.T) {
			t.Helper()
			s := newStage(t, "*:0:count")
			began := time.Now()
			sc.play(s)
			t.Logf("%s took %v", sc.name, time.Since(began).Round(time.Millisecond))
			mu.Lock()
			defer mu.Unlock()
			for point, n := range s.passings() {
				found.add(passings{point: {sc.name: n}})
			}
		}})
	}
	inParallel(t, jobs)
	return found
}

// job is one subtest.
type job struct {
	name string
	run  func(t *testing.T)
}

// inParallel runs subtests, several at once: more than the machine has processors,
// since they wait most of the time.
func inParallel(t *testing.T, jobs []job) {
	t.Helper()
	next := make(chan job)
	var group sync.WaitGroup
	for range walkersAtOnce {
		group.Go(func() {
			for j := range next {
				t.Run(j.name, j.run)
			}
		})
	}
	for _, j := range jobs {
		next <- j
	}
	close(next)
	group.Wait()
}

// TestAProcessDiesAtEveryFailpoint plays, for every point of the sources, a scene
// that passes it, in which the process that does so dies there; and for every point
// that can be an error, one in which it is.
func TestAProcessDiesAtEveryFailpoint(t *testing.T) {
	t.Parallel()
	scenes := allScenes()
	points, passed := failpoints(t), census(t, scenes)
	if slices.ContainsFunc(points, func(p failpoint) bool { return len(passed[p.name]) == 0 }) {
		passed.add(census(t, scenes)) // what passes a point may have lost a race
	}
	if t.Failed() {
		t.Fatal("a scene goes wrong without any fault")
	}
	var jobs []job
	var missed atomic.Int64
	for _, p := range points {
		if len(passed[p.name]) == 0 {
			t.Errorf("%s: %s is passed in no scene", p.at, p.name)
			continue
		}
		for n := range strings.SplitSeq(*passingsFlag, ",") {
			time, err := strconv.Atoi(n)
			if err != nil {
				t.Fatalf("-passings: %v", err)
			}
			jobs = append(jobs, strikes(p, scenes, passed[p.name], time, "kill", &missed)...)
			if p.fail {
				jobs = append(jobs, strikes(p, scenes, passed[p.name], time, "fail", &missed)...)
			}
		}
	}
	inParallel(t, jobs)
	if missed.Load()*20 > int64(len(jobs)) {
		t.Errorf("%d of %d points were not passed as often as when they were counted", missed.Load(), len(jobs))
	}
}

// strikes makes the subtest of a point, in the scenes that pass it so often, which
// are sorted by how long they take; none if no scene does. As a rule it is over after
// the first: another is played where what passes the point lost a race. How often a
// point is passed is a matter of such races, too: where it was passed, but less often
// than when it was counted, that is missed.
func strikes(p failpoint, scenes []scene, passed map[string]int, time int, action string, missed *atomic.Int64) []job {
	able := slices.DeleteFunc(slices.Clone(scenes), func(sc scene) bool { return passed[sc.name] < time })
	if len(able) == 0 {
		return nil
	}
	return []job{{fmt.Sprintf("%s/%s/%d", action, p.name, time), func(t *testing.T) {
		t.Helper()
		for _, sc := range append(able, able...) {
			s := newStage(t, fmt.Sprintf("%s:%d:%s", p.name, time, action))
			t.Logf("%s in scene %s", p.at, sc.name)
			sc.play(s)
			if s.struck() != "" || t.Failed() {
				return
			}
		}
		if time > 1 {
			missed.Add(1)
			t.Logf("no scene passed %s %d times", p.name, time)
			return
		}
		t.Errorf("no scene passed %s", p.name)
	}}}
}
