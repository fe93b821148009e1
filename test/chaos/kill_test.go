package chaos

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"stint"
	"stint/internal/object/s3test"
)

var (
	cyclesFlag   = flag.Int("cycles", 150, "kill cycles")
	servicesFlag = flag.Int("services", 3, "services side by side in the kill cycles")
	roundFlag    = flag.Int("round", 50, "kill cycles after which a service is brought to its end and looked at")
	shapesFlag   = flag.String("shapes", "", "kinds of executions in the load of the kill cycles, separated by commas (default: all)")
	tallyFlag    = flag.String("tally", "", "file that keeps the sums of the kill cycles; what it holds is not done again")
)

// tally is what was done so far.
type tally struct {
	Cycles       int          `json:"cycles"`
	Kills        map[kind]int `json:"kills"`
	Pauses       int          `json:"pauses"`
	Restarts     int          `json:"restarts"` // of "stint up"
	Executions   int64        `json:"executions"`
	Performances int          `json:"performances"`
	Again        int          `json:"again"` // performances beyond the first of an operation
	Seconds      float64      `json:"seconds"`

	mu    sync.Mutex
	began time.Time
	taken int // cycles that rounds have taken on
}

func readTally(t *testing.T) *tally {
	t.Helper()
	s := &tally{Kills: make(map[kind]int), began: time.Now()}
	b, err := os.ReadFile(*tallyFlag)
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil && !os.IsNotExist(err) {
		t.Fatalf("-tally: %v", err)
	}
	s.taken = s.Cycles
	s.began = s.began.Add(-time.Duration(s.Seconds * float64(time.Second)))
	return s
}

// take returns how many cycles the next round has, and its number.
func (s *tally) take() (cycles, number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cycles = min(*roundFlag, *cyclesFlag-s.taken)
	s.taken += cycles
	return cycles, s.taken
}

// add adds a round, keeps the sums and says them.
func (s *tally) add(t *testing.T, r *tally) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Cycles += r.Cycles
	s.Pauses += r.Pauses
	s.Restarts += r.Restarts
	s.Executions += r.Executions
	s.Performances += r.Performances
	s.Again += r.Again
	for k, n := range r.Kills {
		s.Kills[k] += n
	}
	s.Seconds = time.Since(s.began).Seconds()
	fmt.Fprintf(os.Stderr, "%v\n", s)
	if *tallyFlag == "" {
		return
	}
	b, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(*tallyFlag+".new", append(b, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(*tallyFlag+".new", *tallyFlag)
	}
	if err != nil {
		t.Errorf("-tally: %v", err)
	}
}

func (s *tally) String() string {
	var kills []string
	for _, k := range slices.Sorted(maps.Keys(s.Kills)) {
		kills = append(kills, fmt.Sprintf("%s %d", k, s.Kills[k]))
	}
	return fmt.Sprintf("%d cycles in %.0f s, %.2f s each; killed: %s; paused %d; up started again %d times; %d executions, %d performances, %d of them not the first",
		s.Cycles, s.Seconds, s.Seconds/float64(max(s.Cycles, 1)), strings.Join(kills, ", "), s.Pauses, s.Restarts, s.Executions, s.Performances, s.Again)
}

// TestKillCycles kills processes of services that are busy. A cycle is the kill of
// at least one living process, and the proof that the system has gone on: its
// successor is there, and something was committed since.
func TestKillCycles(t *testing.T) {
	t.Parallel()
	r := random(t)
	sums := readTally(t)
	t.Run("services", func(t *testing.T) {
		for n := range *servicesFlag {
			r := rand.New(rand.NewPCG(r.Uint64(), uint64(n)))
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				for !t.Failed() {
					cycles, number := sums.take()
					if cycles <= 0 {
						return
					}
					seed := r.Uint64()
					t.Run(strconv.Itoa(number), func(t *testing.T) {
						sums.add(t, round(t, rand.New(rand.NewPCG(seed, 0)), cycles))
					})
				}
			})
		}
	})
	t.Log(sums)
}

// storm is one service that is busy and does not come to rest.
type storm struct {
	*load
	random *rand.Rand
	up     *running
	args   []string
	sums   *tally
	timers sync.WaitGroup // pauses that have not ended
}

const stormNodes = 3

// round keeps a service busy, kills what it consists of so many times, and then
// lets everything come to its end and looks at it.
func round(t *testing.T, r *rand.Rand, cycles int) *tally {
	t.Helper()
	s := newSite(t)
	st := &storm{
		load: newLoad(s, rand.New(rand.NewPCG(r.Uint64(), 1))), random: r, sums: &tally{Kills: make(map[kind]int)},
		args: []string{"up", "--data", s.data, "--listen", s3test.FreeAddress(t), "--nodes", strconv.Itoa(stormNodes), "--slots", "1"},
	}
	if *shapesFlag != "" {
		wanted := strings.Split(*shapesFlag, ",")
		st.shapes = slices.DeleteFunc(st.shapes, func(s *shape) bool { return !slices.Contains(wanted, s.name) })
	}
	st.up = s.begin(st.args...)
	t.Cleanup(func() { s.stop(st.up) })
	s.wait("ready nodes", func() bool { return s.readyNodes() == stormNodes })
	ctx, cancel := context.WithCancel(t.Context())
	down := make(chan struct{})
	var busy errgroup.Group
	busy.Go(func() error {
		st.keepBusy(ctx, down)
		return nil
	})
	defer func() {
		if t.Failed() {
			st.showOpen()
		}
		cancel()
		_ = busy.Wait()
	}()
	for range cycles {
		if t.Failed() {
			return st.sums
		}
		st.cycle()
	}
	st.timers.Wait()
	close(down)
	s.wait("the end of every execution", func() bool { return len(st.open()) == 0 || t.Failed() })
	_ = busy.Wait()
	st.checkEnd()
	return st.sums
}

// everything stands for all processes at once.
const everything kind = "everything"

// draw chooses what to kill.
func (s *storm) draw() kind {
	weights := []struct {
		kind kind
		of   int
	}{{supervisor, 12}, {server, 22}, {agent, 24}, {worker, 20}, {program, 16}, {everything, 6}}
	n := s.random.IntN(100)
	for _, w := range weights {
		if n -= w.of; n < 0 {
			return w.kind
		}
	}
	return everything
}

// cycle kills at least one process at a random moment and waits for the proof that
// the service has gone on.
func (s *storm) cycle() {
	s.t.Helper()
	if s.random.IntN(4) == 0 {
		s.pause()
	}
	moment := time.NewTimer(time.Duration(s.random.IntN(100)) * time.Millisecond)
	<-moment.C
	var killed []process
	s.wait("a process to kill", func() bool {
		killed = s.kill(s.draw())
		return len(killed) > 0
	})
	for _, p := range killed {
		s.sums.Kills[p.kind]++
	}
	if slices.ContainsFunc(killed, func(p process) bool { return p.kind == supervisor }) {
		_ = s.up.cmd.Wait()
		s.up = s.begin(s.args...)
		s.sums.Restarts++
	}
	for _, p := range killed {
		s.wait("a successor of "+p.args, func() bool { return s.follows(p) })
	}
	before := s.sweep(s.t.Context())
	s.wait("progress after the end of "+describe(killed), func() bool { return s.sweep(s.t.Context()) > before })
	s.ask(killed)
	s.sums.Cycles++
}

func describe(killed []process) string {
	var words []string
	for _, p := range killed {
		words = append(words, fmt.Sprintf("%s %d", p.kind, p.pid))
	}
	return strings.Join(words, ", ")
}

// kill kills one process of a kind, in one case in ten another one in the same
// breath, or all, and returns those that were alive.
func (s *storm) kill(k kind) (killed []process) {
	all := s.processes()
	all = slices.DeleteFunc(all, func(p process) bool { return p.kind == command })
	chosen := slices.DeleteFunc(slices.Clone(all), func(p process) bool { return p.kind != k })
	switch {
	case k == everything:
		chosen = all
	case len(chosen) > 0:
		chosen = []process{chosen[s.random.IntN(len(chosen))]}
		if other := all[s.random.IntN(len(all))]; s.random.IntN(10) == 0 && other != chosen[0] {
			chosen = append(chosen, other)
		}
	}
	for _, p := range chosen {
		if p.signal(unix.SIGKILL) {
			killed = append(killed, p)
		}
	}
	return killed
}

// follows reports whether what follows a process is there: for a worker and a
// program that is whatever is performed next.
func (s *storm) follows(p process) bool {
	if p.kind == supervisor {
		if _, _, lives := started(fmt.Sprintf("/proc/%d", s.up.cmd.Process.Pid)); !lives {
			_ = s.up.cmd.Wait()
			s.t.Fatalf("up has ended: %s", s.up.err)
		}
		return s.run("list").code == 0
	}
	if p.kind != server && p.kind != agent {
		return true
	}
	return slices.ContainsFunc(s.processes(p.args), func(o process) bool { return o != p })
}

// pause stops a process for a while.
func (s *storm) pause() {
	all := slices.DeleteFunc(s.processes(), func(p process) bool { return p.kind == command })
	if len(all) == 0 {
		return
	}
	p := all[s.random.IntN(len(all))]
	if !p.signal(unix.SIGSTOP) {
		return
	}
	s.sums.Pauses++
	s.timers.Add(1)
	time.AfterFunc(time.Duration(20+s.random.IntN(1200))*time.Millisecond, func() {
		defer s.timers.Done()
		p.signal(unix.SIGCONT)
	})
}

// ask has people's commands answered: the list and one execution, after every
// restart of a server, and now and then.
func (s *storm) ask(killed []process) {
	s.t.Helper()
	if s.random.IntN(5) > 0 && !slices.ContainsFunc(killed, func(p process) bool { return p.kind == server || p.kind == supervisor }) {
		return
	}
	list := s.list()
	if len(list) > 0 {
		x := list[s.random.IntN(len(list))]
		if got := s.execution("show", string(x.ID)); got.Name != x.Name {
			s.t.Errorf("show %s: %s, listed as %s", x.ID, got.Name, x.Name)
		}
	}
}

// list has the executions listed, and compares the list with what was promised before.
func (s *storm) list() (list []stint.Execution) {
	s.t.Helper()
	known := s.known()
	s.decode(&list, "list")
	named := make(map[string]stint.ExecutionID)
	for _, x := range list {
		if other := named[x.Name]; other != "" {
			s.t.Errorf("%s and %s were both submitted under key %s", other, x.ID, x.Name)
		}
		named[x.Name] = x.ID
	}
	for key, id := range known {
		if named[key] != id {
			s.t.Errorf("the submission of %s was acknowledged as %s, and the list says %q", key, id, named[key])
		}
	}
	return list
}

// checkEnd looks at a service whose executions have all ended, stops it, and looks
// at what is left.
func (s *storm) checkEnd() {
	s.t.Helper()
	if s.t.Failed() {
		return
	}
	list := s.list()
	if int64(len(list)) != s.asked.Load() {
		s.t.Errorf("%d executions are listed of %d submissions, each under a key of its own", len(list), s.asked.Load())
	}
	for _, x := range list {
		if !x.Status.Final() {
			s.t.Errorf("%s %s is %s: %s", x.Name, x.ID, x.Status, x.Waiting)
		}
	}
	for _, again := range s.again(s.ledger) {
		s.t.Error(again)
	}
	var left []string
	defer func() {
		for _, path := range left {
			s.t.Logf("left behind: %s: %s", path, s.tree(path))
		}
	}()
	s.wait("an empty storage", func() bool {
		left = s.staged()
		return len(left) == 0
	})
	s.stop(s.up)
	if code := s.up.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("up: exit code %d\n%s", code, s.up.err)
	}
	s.checkNobodyLeft()
	s.checkSound()
	mounts := s.read("/proc/self/mountinfo")
	if strings.Contains(mounts, s.dir) {
		s.t.Errorf("something is mounted below %s", s.dir)
	}
	s.sums.Executions = s.ended.Load()
	for _, attempts := range s.ledger.attempts() {
		s.sums.Performances += len(attempts)
		s.sums.Again += len(attempts) - 1
	}
}

// showOpen shows what the service says of every execution that has not ended.
func (s *storm) showOpen() {
	for _, t := range s.open() {
		s.t.Logf("%s %s is open; in its output: %s", t.key, t.id, s.tree(s.output(t.key)))
		if t.id != "" {
			shown, explained := s.run("show", string(t.id)), s.run("explain", string(t.id))
			s.t.Logf("%s%s%s%s", shown.out, shown.err, explained.out, explained.err)
		}
	}
}

// staged returns what lies in the output location and in storage after everything
// has ended.
func (s *storm) staged() []string {
	out, _ := filepath.Glob(s.path("out/*"))
	hidden, _ := filepath.Glob(s.path("out/.*"))
	saved, _ := filepath.Glob(filepath.Join(s.data, "storage", "saved", "*", "*"))
	saved = slices.DeleteFunc(saved, func(path string) bool { return filepath.Base(path) == "ended" }) // for other services, for a time
	return slices.Concat(out, hidden, saved)
}
