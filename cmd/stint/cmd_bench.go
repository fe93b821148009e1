package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"stint"
)

// benchFlags are the flags of bench.
type benchFlags struct {
	runs, operations, commands, live int
	size                             string
	json                             bool
}

func (a *app) benchCommand() *cobra.Command {
	var b benchFlags
	c := &cobra.Command{
		Use:   "bench [WORKLOAD…]",
		Short: "Measure speed, beside the machine's own tools",
		Long: `Measure speed, each workload in turn with a reference that does the same. Every workload has a service of its own, a server and an agent as processes
with the journal synced, in a temporary folder.

  operations  native operations that do nothing, per second
  commands    operations that start a process, against a loop that starts as many
              at once and waits, with /dev/null as input and output
  grep        search for a literal, bytes per CPU second, against grep
  wordcount   bytes per CPU second, against mawk
  sort        records of 100 bytes, bytes per CPU second, against sort, whose output
              must be the same
  recovery    seconds for which the server is missed when it is killed, and the
              agent, while an execution of many operations is in progress
  resume      suspends an execution between map and reduce: bytes of map output
              saved per second after the end of the grace period, against writing
              and syncing as many; seconds from the resume to the first operation;
              both once more for many operations

The ratio is our rate to the reference's, the median of the pairs: more is better.
Times are in the field "times": seconds of the median run, of all runs, and the most
that it is meant to take; fewer are better.`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := interrupted(c.Context())
			defer stop()
			return a.bench(ctx, &b, args)
		},
	}
	c.Flags().IntVar(&b.runs, "runs", 3, "of each workload and its reference, in turn; the median counts")
	c.Flags().IntVar(&b.operations, "operations", 500_000, "of the workload operations")
	c.Flags().IntVar(&b.commands, "commands", 6_000, "of the workload commands")
	c.Flags().StringVar(&b.size, "size", "512MiB", "of the text that grep reads; sort sorts twice as much, resume shuffles half, wordcount reads a quarter")
	c.Flags().IntVar(&b.live, "live", 1_000_000, "operations of the executions of recovery and resume")
	c.Flags().BoolVar(&b.json, "json", false, "print one JSON document")
	return c
}

// benchReport is the document of bench.
type benchReport struct {
	Machine   machine       `json:"machine"`
	Workloads []measurement `json:"workloads"`
}

type machine struct {
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	Go     string `json:"go"`
}

// measurement is what a workload came to: the run with the median rate, and how
// all runs compare with those of the reference that followed them.
type measurement struct {
	Name      string    `json:"name"`
	Unit      string    `json:"-"` // of rates
	Rate      float64   `json:"-"`
	Quantity            // the rate, under the name of its unit
	CPU       float64   `json:"cpu_seconds,omitempty"`
	Runs      []float64 `json:"runs,omitempty"`        // rate of each run
	Saved     int64     `json:"saved_bytes,omitempty"` // by one suspend
	Reference reference `json:"reference,omitzero"`
	Ratios    []float64 `json:"ratios,omitempty"` // rate of each run by that of the reference
	Ratio     float64   `json:"ratio,omitempty"`  // the median
	Times     []timing  `json:"times,omitempty"`
}

// timing is how long something takes: the median run, and the most that it is
// meant to take.
type timing struct {
	Name    string    `json:"name"`
	What    string    `json:"what"`
	Seconds float64   `json:"seconds"`
	Runs    []float64 `json:"runs"`
	Bar     float64   `json:"bar_seconds,omitempty"`
}

// reference is the same of the reference.
type reference struct {
	Tool string  `json:"tool"`
	Rate float64 `json:"-"`
	Quantity
	CPU  float64   `json:"cpu_seconds"`
	Runs []float64 `json:"runs"`
}

// Quantity is a rate in the document: the field says what it counts.
type Quantity struct {
	Operations float64 `json:"operations_per_second,omitempty"` // by the clock
	Bytes      float64 `json:"bytes_per_second,omitempty"`      // of one core, by CPU seconds; of resume by the clock
}

func inUnit(unit string, rate float64) Quantity {
	if unit == perSecond {
		return Quantity{Operations: rate}
	}
	return Quantity{Bytes: rate}
}

// Units of rates.
const (
	perSecond      = "operations/s"
	perCoreSeconds = "bytes/CPU second"
	perClockSecond = "bytes/s"
)

func (a *app) bench(ctx context.Context, b *benchFlags, names []string) error {
	known := workloads()
	if len(names) == 0 {
		names = []string{"operations", "commands", "grep", "wordcount", "sort", "recovery", "resume"}
	}
	for _, name := range names {
		if known[name] == nil {
			return stint.Errorf(stint.Invalid, "workload %.80q: expected one of %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	size, err := stint.ParseSize(b.size)
	if err == nil && (b.runs < 1 || b.operations < 1 || b.commands < 1 || b.live < 1 || size < 1) {
		err = stint.Errorf(stint.Invalid, "--runs, --operations, --commands, --live and --size: expected at least 1")
	}
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "stint-bench-")
	if err != nil {
		return fmt.Errorf("make a folder for the benchmark: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is temporary
	at := &bench{app: a, flags: b, dir: dir, size: size}
	report := benchReport{Machine: describeMachine()}
	for _, name := range names {
		m, err := known[name](ctx, at)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		m.Name, m.Quantity = name, inUnit(m.Unit, m.Rate)
		m.Reference.Quantity = inUnit(m.Unit, m.Reference.Rate)
		report.Workloads = append(report.Workloads, m)
		if !b.json {
			if _, err := fmt.Fprintln(a.out, m.text()); err != nil {
				return err
			}
		}
	}
	if b.json {
		return a.printJSON(report)
	}
	return nil
}

func describeMachine() machine {
	m := machine{Cores: runtime.NumCPU(), Arch: runtime.GOARCH, Go: runtime.Version()}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	return m
}

func (m measurement) text() string {
	text := m.Name
	if m.Unit != "" {
		text = fmt.Sprintf("%-10s  %s, %.2f CPU seconds", m.Name, m.rate(m.Rate), m.CPU)
	}
	if m.Saved > 0 {
		text += fmt.Sprintf(" for %s saved", sizeText(float64(m.Saved)))
	}
	if m.Reference.Tool != "" {
		text += fmt.Sprintf("; %.2f x %s (%.2f to %.2f), which has %s, %.2f CPU seconds",
			m.Ratio, m.Reference.Tool, slices.Min(m.Ratios), slices.Max(m.Ratios), m.rate(m.Reference.Rate), m.Reference.CPU)
	}
	for _, t := range m.Times {
		text += "\n            " + t.text()
	}
	return text
}

func (m measurement) rate(r float64) string {
	switch m.Unit {
	case perCoreSeconds:
		return sizeText(r) + "/s per core"
	case perClockSecond:
		return sizeText(r) + "/s"
	}
	return fmt.Sprintf("%.0f %s", r, m.Unit)
}

func (t timing) text() string {
	text := fmt.Sprintf("%.2f s (%.2f to %.2f) %s", t.Seconds, slices.Min(t.Runs), slices.Max(t.Runs), t.What)
	if t.Bar > 0 {
		text += fmt.Sprintf("; meant: at most %.1f s", t.Bar)
	}
	return text
}
