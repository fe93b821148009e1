package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stint"
)

func document(completed, total int64) *stint.Execution {
	return &stint.Execution{ID: "x-1", Status: stint.InProgress, Stages: []stint.StageReport{{
		Name: "map", BytesIn: completed << 20,
		Operations: stint.OperationCounts{Total: total, Completed: completed, InProgress: total - completed},
	}}}
}

func TestPipeGetsALineAtEveryStatusAndInterval(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	p := &progress{out: &out, every: 2 * time.Second}
	start := time.Unix(1000, 0)
	expected := start.Add(10 * time.Second)
	for i, x := range []*stint.Execution{
		{ID: "x-1", Status: stint.Queued, Waiting: "no node is ready"},
		document(0, 8), document(1, 8), document(4, 8),
	} {
		if i == 3 {
			x.Expected, x.Progress = &expected, 0.5
		}
		p.show(x, start.Add(time.Duration(i)*time.Second))
	}
	want := `x-1  queued, no node is ready
x-1  in progress  map 0/8, 8 in progress
x-1  in progress, 50 %, about 7s left  map 4/8, 4 in progress
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestNoRateIsShownOfWhatIsSuspendedAndAPauseDoesNotCount(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	p := &progress{out: &out}
	at := time.Unix(1000, 0)
	for i, completed := range []int64{0, 2, 2, 2, 4} {
		x := document(completed, 4)
		if i == 2 {
			x.Status = stint.Suspended
		}
		p.show(x, at.Add(time.Duration(i)*time.Second))
	}
	want := `x-1  in progress  map 0/4, 4 in progress
x-1  in progress  map 2/4, 2 in progress, 2.0/s, 2.0 MiB/s
x-1  suspended  map 2/4, 2 in progress
x-1  in progress  map 2/4, 2 in progress
x-1  in progress  map 4/4, 2.0/s, 2.0 MiB/s
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatASuspendWaitsForIsShownInPlaceOfTheEnd(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	p := &progress{out: &out, every: time.Hour}
	at := time.Unix(1000, 0)
	x := document(1, 8)
	x.Expected, x.Progress = &at, 0.5
	x.Status, x.Waiting = stint.Suspending, "saving: 1 of 7 operations saved"
	p.show(x, at)
	x.Status, x.Waiting, x.ResumeAt = stint.Suspended, "", &at
	p.show(x, at)
	want := "x-1  suspending, saving: 1 of 7 operations saved  map 1/8, 7 in progress\n" +
		"x-1  suspended, resumes at " + at.Local().Format(time.DateTime) + "  map 1/8, 7 in progress\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTerminalIsDrawnAgainInPlace(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	p := &progress{out: &out, terminal: true, width: 80}
	start := time.Unix(1000, 0)
	p.show(document(0, 4), start)
	p.show(document(2, 4), start.Add(time.Second))
	p.finish()
	want := "x-1  in progress\n  map        [..............................] 0/4, 4 in progress\n" +
		"\x1b[2A\x1b[J" +
		"x-1  in progress\n  map        [###############...............] 2/4, 2 in progress, 2.0/s, 2.0 Mi\n" +
		"\x1b[2A\x1b[J"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestEachFailedAttemptIsToldOnceWithTheEndOfItsStderr(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	p := &progress{out: &out, every: time.Hour, status: stint.InProgress, last: time.Unix(0, 0)}
	x := document(0, 4)
	for attempt := 1; attempt <= 2; attempt++ {
		x.Failures = append(x.Failures, stint.Failure{Op: 3, Attempt: attempt, Node: "n-1", Stderr: "1\n2\n3\n4\n5\nlast\n", Error: &stint.Error{Code: stint.Failed, Message: "exit 3"}})
		p.show(x, time.Unix(0, 1))
		p.show(x, time.Unix(0, 2))
	}
	want := "map/3 attempt 1 failed on n-1: exit 3\n    2\n    3\n    4\n    5\n    last\n" +
		"map/3 attempt 2 failed on n-1: exit 3\n    2\n    3\n    4\n    5\n    last\n"
	got, _, _ := strings.Cut(out.String(), "x-1")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSizesAreTextForPeople(t *testing.T) {
	t.Parallel()
	for n, want := range map[float64]string{0: "0 B", 999: "999 B", 1000: "1.0 KiB", 150 << 20: "150.0 MiB", 3 << 50: "3072.0 TiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("sizeText(%v) = %q, want %q", n, got, want)
		}
	}
}
