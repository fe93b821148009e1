package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"stint"
)

// progress shows an execution that goes on: bars that are drawn again on a
// terminal, plain lines otherwise.
type progress struct {
	out      io.Writer
	terminal bool
	width    int           // of the terminal, in columns
	every    time.Duration // between two lines where there is no terminal
	drawn    int           // lines on the terminal that the next drawing replaces
	last     time.Time     // of the last line
	status   stint.ExecutionStatus
	failures map[stint.OperationID]int // attempts that were told of
	past     []sample                  // for the rate, oldest first
}

// sample is what was completed at a time.
type sample struct {
	at    time.Time
	ops   []int64 // by stage
	bytes []int64
}

// window is how far back the rate looks.
const window = 10 * time.Second

// show shows a document that arrived at the given time.
func (p *progress) show(x *stint.Execution, at time.Time) {
	p.remember(x, at)
	p.clear()
	p.tellFailures(x)
	if p.terminal {
		p.draw(x, at)
		return
	}
	if x.Status != p.status || at.Sub(p.last) >= p.every && len(x.Stages) > 0 {
		p.status, p.last = x.Status, at
		p.print(p.line(x, at) + "\n")
	}
}

func (p *progress) print(s string) {
	io.WriteString(p.out, s) //nolint:errcheck // nobody is left to be told
}

// finish takes away what is drawn, so that the end can be told below the rest.
func (p *progress) finish() { p.clear() }

func (p *progress) clear() {
	if p.drawn > 0 {
		p.print(fmt.Sprintf("\x1b[%dA\x1b[J", p.drawn))
		p.drawn = 0
	}
}

func (p *progress) draw(x *stint.Execution, at time.Time) {
	p.print(fmt.Sprintf("%s  %s%s\n", x.ID, x.Status, expected(x, at)))
	for i, s := range x.Stages {
		p.print(clip(p.bar(i, s, at), p.width) + "\n")
	}
	p.drawn = 1 + len(x.Stages)
}

func (p *progress) bar(i int, s stint.StageReport, at time.Time) string {
	const cells = 30
	full := 0
	if s.Operations.Total > 0 {
		full = int(cells * s.Operations.Completed / s.Operations.Total)
	}
	return fmt.Sprintf("  %-10s [%s%s] %s", s.Name, strings.Repeat("#", full), strings.Repeat(".", cells-full), p.stage(i, s, at))
}

func (p *progress) line(x *stint.Execution, at time.Time) string {
	parts := make([]string, 0, len(x.Stages))
	for i, s := range x.Stages {
		parts = append(parts, s.Name+" "+p.stage(i, s, at))
	}
	return strings.TrimSpace(fmt.Sprintf("%s  %s%s  %s", x.ID, x.Status, expected(x, at), strings.Join(parts, "; ")))
}

func (p *progress) stage(i int, s stint.StageReport, at time.Time) string {
	text := fmt.Sprintf("%d/%d", s.Operations.Completed, s.Operations.Total)
	if s.Operations.InProgress > 0 {
		text += fmt.Sprintf(", %d in progress", s.Operations.InProgress)
	}
	if s.Operations.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Operations.Failed)
	}
	if ops, bytes := p.rate(i, at); ops > 0 {
		text += fmt.Sprintf(", %.1f/s", ops)
		if bytes > 0 {
			text += ", " + sizeText(bytes) + "/s"
		}
	}
	return text
}

// remind has the failures of a document taken for told: they are of what was
// before the command.
func (p *progress) remind(x *stint.Execution) { p.newFailures(x) }

// tellFailures tells of every failed attempt once, with the end of its stderr.
func (p *progress) tellFailures(x *stint.Execution) {
	for _, text := range p.newFailures(x) {
		p.print(text)
	}
}

// newFailures returns the text about every failed attempt that was not in an
// earlier document.
func (p *progress) newFailures(x *stint.Execution) []string {
	if p.failures == nil {
		p.failures = make(map[stint.OperationID]int)
	}
	var texts []string
	for _, f := range x.Failures {
		op := operationOf(x, f)
		if f.Attempt <= p.failures[op] {
			continue
		}
		p.failures[op] = f.Attempt
		texts = append(texts, failureText(op, f))
	}
	return texts
}

func operationOf(x *stint.Execution, f stint.Failure) stint.OperationID {
	if f.Stage < len(x.Stages) {
		return stint.MakeOperationID(x.Stages[f.Stage].Name, f.Op)
	}
	return stint.MakeOperationID("?", f.Op)
}

// failureText says which attempt failed where and why, with the last lines of
// what it wrote to stderr.
func failureText(op stint.OperationID, f stint.Failure) string {
	const lines = 5
	var text strings.Builder
	fmt.Fprintf(&text, "%s attempt %d failed on %s: %s\n", op, f.Attempt, f.Node, f.Error)
	tail := strings.Split(strings.TrimRight(f.Stderr, "\n"), "\n")
	for _, line := range tail[max(0, len(tail)-lines):] {
		if line != "" {
			text.WriteString("    " + line + "\n")
		}
	}
	return text.String()
}

func (p *progress) remember(x *stint.Execution, at time.Time) {
	if x.Status == stint.Suspended {
		p.past = nil // nothing is done any more, and the pause does not count
		return
	}
	s := sample{at: at}
	for _, r := range x.Stages {
		s.ops = append(s.ops, r.Operations.Completed)
		s.bytes = append(s.bytes, r.BytesIn)
	}
	p.past = append(p.past, s)
	for len(p.past) > 2 && at.Sub(p.past[1].at) >= window {
		p.past = p.past[1:]
	}
}

// rate returns what stage i completed per second lately: operations and bytes.
func (p *progress) rate(i int, at time.Time) (ops, bytes float64) {
	if len(p.past) == 0 {
		return 0, 0
	}
	first, last := p.past[0], p.past[len(p.past)-1]
	took := at.Sub(first.at).Seconds()
	if took <= 0 || i >= len(first.ops) || i >= len(last.ops) {
		return 0, 0
	}
	return float64(last.ops[i]-first.ops[i]) / took, float64(last.bytes[i]-first.bytes[i]) / took
}

// expected tells when an unfinished execution is expected to complete.
func expected(x *stint.Execution, at time.Time) string {
	if x.Status != stint.InProgress || x.Expected == nil {
		switch {
		case x.Waiting != "":
			return ", " + x.Waiting
		case x.ResumeAt != nil:
			return ", resumes at " + x.ResumeAt.Local().Format(time.DateTime)
		}
		return ""
	}
	return fmt.Sprintf(", %.0f %%, about %s left", 100*x.Progress, max(0, x.Expected.Sub(at)).Round(time.Second))
}

func clip(s string, width int) string {
	if width > 0 && len(s) > width-1 {
		return s[:width-1]
	}
	return s
}

// sizeText returns a number of bytes as people read it.
func sizeText(n float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB", "TiB"} {
		if n < 1000 || unit == "TiB" {
			if unit == "B" {
				return fmt.Sprintf("%.0f %s", n, unit)
			}
			return fmt.Sprintf("%.1f %s", n, unit)
		}
		n /= 1024
	}
	return ""
}
