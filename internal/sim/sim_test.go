package sim

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seeds = flag.Int("seeds", usualSeeds(), "how many seeds TestSeeds runs")
	first = flag.Uint64("first", 1, "the first of them")
	one   = flag.Uint64("seed", 1, "the seed that TestSeed runs")
)

// usualSeeds is as many as run in about ten seconds on two cores. The race
// detector has nothing to see in a simulation without goroutines, and slows it.
func usualSeeds() int {
	if raced {
		return 150
	}
	return 2000
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
				r := simulate(seed)
				mu.Lock()
				ran++
				total.add(&r.counters)
				events += r.events
				if r.err != nil {
					failed++
					next.Store(*first + uint64(*seeds)) // one is enough to look at
					t.Errorf("law %v\n\tgo test ./internal/sim -run 'TestSeed$' -seed=%d", r.err, seed)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	took := time.Since(began).Seconds()
	t.Logf("%d seeds, %.0f a second; %d events, %.0f a second", ran, float64(ran)/took, events, float64(events)/took)
	for k, name := range total.names() {
		if name == "" {
			continue
		}
		t.Logf("%8d %s", total[k], name)
		if total[k] == 0 && *seeds >= 2000 && failed == 0 {
			t.Errorf("%s: never happened", name)
		}
	}
}

// TestSeed runs one seed again.
func TestSeed(t *testing.T) {
	t.Parallel()
	r := simulate(*one)
	t.Logf("seed %d: %d events, trace %016x", *one, r.events, r.trace)
	if r.err != nil {
		t.Error(r.err)
	}
}

func TestTheSameSeedGivesTheSameRun(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		a, b := simulate(1000+seed), simulate(1000+seed)
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("seed %d: %+v and %+v", 1000+seed, a, b)
		}
	}
}
