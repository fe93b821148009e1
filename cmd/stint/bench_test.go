package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBenchTextHasItsSizeAndTheLiteral(t *testing.T) {
	t.Parallel()
	const size = 70 << 20 // more than is made before it repeats
	b := &bench{dir: t.TempDir()}
	path, err := b.makeText(size)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte(literal)); len(text) != size || n < 2 || n > 300 {
		t.Errorf("%d bytes, %d times the literal", len(text), n)
	}
	if again := nextLine(vocabulary(rand.New(rand.NewPCG(1, 2))), 0); !bytes.HasPrefix(text, []byte(again)) {
		t.Error("the text is not the same every time")
	}
}

func TestTheRatioIsTheMedianOfPairs(t *testing.T) {
	t.Parallel()
	rate := func(r benchRun) float64 { return 100 / r.wall }
	ours := []benchRun{{wall: 1, cpu: 1}, {wall: 4, cpu: 2}, {wall: 2, cpu: 3}}
	theirs := []benchRun{{wall: 2, cpu: 4}, {wall: 2, cpu: 4}, {wall: 1, cpu: 5}}
	want := measurement{
		Rate: 50, CPU: 3, Runs: []float64{100, 25, 50}, Ratios: []float64{2, 0.5, 0.5}, Ratio: 0.5,
		Reference: reference{Rate: 50, CPU: 4, Runs: []float64{50, 50, 100}},
	}
	if d := cmp.Diff(want, compareRuns(ours, theirs, rate)); d != "" {
		t.Error(d)
	}
	if alone := compareRuns(ours, nil, rate); alone.Ratio != 0 || alone.Rate != 50 {
		t.Errorf("without reference: %+v", alone)
	}
}

func TestCPUSecondsCountOurOwn(t *testing.T) {
	t.Parallel()
	before := cpuSeconds(os.Getpid())
	for i := 0; cpuSeconds(os.Getpid()) == before; i++ {
		if i > 1_000_000 {
			t.Fatal("no CPU time is seen")
		}
	}
}
