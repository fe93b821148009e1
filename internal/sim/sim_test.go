package sim

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seeds = flag.Int("seeds", usualSeeds(), "how many seeds TestSeeds runs")
	first = flag.Uint64("first", 1, "the first of them")
	one   = flag.Uint64("seed", 1, "the seed that TestSeed runs")

	these = flag.String("faults", "all", "the faults in it: \"all\", or those listed, \"server killed:3,5;link down:1\"")
	place = flag.String("at", "", "faults placed in it: PHASE/NUMBER/FAULT, separated by semicolons")
	stage = flag.String("scene", "", "the scene of the fault matrix that is performed; empty: what the seed draws")
	heals = flag.Int64("heal", 0, "when all faults end, in milliseconds of the simulation; 0: as usual")
	file  = flag.String("schedule", "", "a file with the schedule that TestSeed runs, instead of all these")
	tries = flag.Int("shrink", 400, "how many runs may be made to shrink a schedule that breaks a law; 0: it is left as it is")
	keep  = flag.String("keep", "", "the folder that TestSeeds writes it to; empty: one for the test alone")
	bug   = flag.String("bug", "", "the planted bug that it is kept for")
	tell  = flag.Bool("traces", false, "print the traces of the seeds that are compared, and compare nothing")
)

// usualSeeds is as many as run in about ten seconds on two cores. The race
// detector has nothing to see in a simulation without goroutines, and slows it.
func usualSeeds() int {
	if raced {
		return 150
	}
	return 2000
}

// leastSeen is how often everything must happen in 2000 seeds.
const leastSeen = 20

// leastOf is how often something must happen: what takes several faults at the right
// time is rare, or a kept schedule alone shows it.
func leastOf(k fault) int {
	switch k { //nolint:exhaustive // all others alike
	case claimWithdrawn:
		return 0
	case reattached, replacedRuns, untold, committedTooLate, errandHeld:
		return 1
	}
	return leastSeen
}

// TestSeeds runs many seeds. What it prints of a seed that fails reproduces it.
func TestSeeds(t *testing.T) {
	t.Parallel()
	began := time.Now()
	var next atomic.Uint64
	next.Store(*first)
	var mu sync.Mutex
	var total counters
	ran, events, failed := 0, 0, 0
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for seed := next.Add(1) - 1; seed < *first+uint64(*seeds); seed = next.Add(1) - 1 {
				r := simulate(all(seed))
				mu.Lock()
				ran++
				total.add(&r.counters)
				events += r.events
				if r.err != nil && failed == 0 { // one is enough to look at
					failed++
					next.Store(*first + uint64(*seeds))
					reportBroken(t, all(seed), r)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	took := time.Since(began).Seconds()
	t.Logf("%d seeds, %.0f a second; %d events, %.0f a second", ran, float64(ran)/took, events, float64(events)/took)
	for k, name := range total.names() {
		if name == "" || failed > 0 {
			continue
		}
		t.Logf("%8d %s", total[k], name)
		if total[k] < leastOf(fault(k)) && *seeds >= 2000 {
			t.Errorf("%s: never happened often enough to tell anything", name)
		}
	}
}

// reportBroken shrinks a schedule that breaks a law, writes it to a file, and says how
// it is run again.
func reportBroken(t *testing.T, s schedule, r result) {
	t.Helper()
	small := shrink(simulate, s, &r, *tries)
	dir := *keep
	if dir == "" {
		dir = t.ArtifactDir()
	}
	again := simulate(small)
	k := kept{schedule: small, law: r.law(), planted: *bug, why: fmt.Sprint(again.err)}
	path := filepath.Join(dir, strings.ReplaceAll(cmp.Or(k.planted, fmt.Sprintf("%s %d", k.law, k.seed)), " ", "-")+".txt")
	if err := os.WriteFile(path, []byte(k.String()), 0o600); err != nil {
		t.Error(err)
	}
	t.Errorf("law %v\n\twith %d faults of %d, at %d ms: %v\n\tseed %d, in %s\n\t%s",
		r.err, len(small.only), len(r.happened), again.ended/millisecond, again.err, s.seed, path, small.command())
}

// TestSeed runs one schedule again.
func TestSeed(t *testing.T) {
	t.Parallel()
	s, err := chosenSchedule()
	if err != nil {
		t.Fatal(err)
	}
	r := simulate(s)
	t.Logf("seed %d: %d events, %d faults, trace %016x", s.seed, r.events, len(r.happened), r.trace)
	if r.err != nil {
		t.Error(r.err)
	}
}

// chosenSchedule is what the flags say.
func chosenSchedule() (schedule, error) {
	if *file != "" {
		text, err := os.ReadFile(*file)
		if err != nil {
			return schedule{}, err
		}
		k, err := parseKept(string(text))
		return k.schedule, err
	}
	s := schedule{seed: *one, chosen: *these != "all", scene: *stage, heal: *heals * millisecond}
	var err, errAt error
	if s.chosen {
		s.only, err = parseFaults(*these)
	}
	s.at, errAt = parsePlacements(*place)
	return s, errors.Join(err, errAt)
}

// TestTheSameScheduleGivesTheSameRun runs seeds in two processes, and a third time with
// exactly those faults listed that happened.
func TestTheSameScheduleGivesTheSameRun(t *testing.T) {
	t.Parallel()
	compared := uint64(300)
	if raced {
		compared = 20
	}
	if *tell {
		for seed := range compared {
			r := simulate(all(seed))
			if _, err := fmt.Fprintf(os.Stdout, "trace %d %016x\n", seed, r.trace); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	var told bytes.Buffer
	other := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-traces")
	other.Stdout, other.Stderr = &told, &told
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	var own strings.Builder
	for seed := range compared {
		r := simulate(all(seed))
		fmt.Fprintf(&own, "trace %d %016x\n", seed, r.trace)
		if again := simulate(all(seed).exactly(r.happened)); fmt.Sprint(again) != fmt.Sprint(r) {
			t.Errorf("seed %d: with its %d faults listed it is another run: trace %016x and %016x", seed, len(r.happened), r.trace, again.trace)
		}
	}
	if err := other.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &told)
	}
	for line := range strings.Lines(own.String()) {
		if !strings.Contains(told.String(), line) {
			t.Errorf("here %sin another process not", line)
		}
	}
}

// TestKeptSchedulesBreakNoLaw runs the schedules that once broke a law.
func TestKeptSchedulesBreakNoLaw(t *testing.T) {
	t.Parallel()
	for path, k := range keptSchedules(t) {
		if *bug != "" && *bug != k.planted {
			continue
		}
		if r := simulate(k.schedule); r.err != nil {
			t.Errorf("law %v\n\t%s, %s\n\t%s", r.err, path, k.why, k.command())
		}
	}
}

// keptSchedules reads all there are.
func keptSchedules(t *testing.T) map[string]kept {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "schedules", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]kept)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		k, err := parseKept(string(text))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if k.String() != string(text) {
			t.Errorf("%s is to be\n%s", path, &k)
		}
		if k.planted != "" && !slices.ContainsFunc(allPlanted(), func(b planted) bool { return b.name == k.planted }) {
			t.Errorf("%s is kept for %q, which is not planted", path, k.planted)
		}
		out[path] = k
	}
	return out
}
