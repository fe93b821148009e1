package coord

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"stint"
)

// Numbers by which an explanation takes something for remarkable.
const (
	mostSamples    = 100_000 // operations of a stage that are looked at for a median
	mostListed     = 10      // operations in one finding
	slowFactor     = 4       // times the median
	slowLeast      = 5_000   // milliseconds
	shortMost      = 100     // milliseconds, of the median of a command
	shortLeast     = 1000    // operations
	nodeFactor     = 2       // times the median of the stage
	nodeOperations = 5       // of a node, at least
)

// Explain says why the execution waits, is slow, or failed, as of now in
// milliseconds since 1970.
func (s *State) Explain(now int64) stint.Explanation {
	doc := s.Document(now)
	e := stint.Explanation{Execution: s.ID(), Status: s.status, Findings: []stint.Finding{}, Stages: []stint.StageTime{}, Balances: []stint.Balance{}}
	e.Findings = append(e.Findings, s.whyNot(&doc)...)
	for _, c := range doc.Causes {
		e.Findings = append(e.Findings, stint.Finding{
			Kind: stint.FoundError, Stage: c.Stage, Operations: []stint.OperationID{c.First},
			Text:   fmt.Sprintf("%d attempts failed%s: %s", c.Attempts, s.onNodes(c.Nodes), c.Message),
			Advice: fmt.Sprintf("stint logs %s --operation %s shows what it wrote", s.ID(), c.First),
		})
	}
	for k := range s.stages {
		t := s.timesOf(k)
		e.Stages = append(e.Stages, t.report)
		e.Findings = append(e.Findings, s.remarkable(k, &t, now)...)
		b := s.balance(k)
		e.Balances = append(e.Balances, b)
		if b.Complete && !b.Equal && !s.samples(k, &b) {
			e.Findings = append(e.Findings, imbalance(&b))
		}
	}
	e.Summary = summary(&doc, e.Findings)
	return e
}

// summary is one sentence.
func summary(doc *stint.Execution, findings []stint.Finding) string {
	switch {
	case doc.Error != nil:
		return fmt.Sprintf("it is %s: %s", doc.Status, doc.Reason())
	case doc.Waiting != "":
		return "it waits: " + doc.Waiting
	case len(findings) == 0:
		return fmt.Sprintf("it is %s, and nothing is remarkable", doc.Status)
	}
	return fmt.Sprintf("it is %s: %s", doc.Status, findings[0].Text)
}

// whyNot says why the execution did not complete or does not go on.
func (s *State) whyNot(doc *stint.Execution) []stint.Finding {
	var out []stint.Finding
	if doc.Error != nil {
		out = append(out, stint.Finding{Kind: stint.FoundError, Text: doc.Reason()})
	}
	if doc.Waiting != "" {
		f := stint.Finding{Kind: stint.FoundWaiting, Text: doc.Waiting}
		switch {
		case s.status == stint.Suspended:
			f.Advice = fmt.Sprintf("stint resume %s", s.ID())
		case len(s.held) > 0:
			f.Advice = "jobs that were suspended by themselves go on with: stint resume " + string(s.ID())
		}
		out = append(out, f)
	}
	if n := len(doc.Missing); n > 0 {
		f := stint.Finding{Kind: stint.FoundError, Text: fmt.Sprintf("%d operations failed for good, and the output is without them", n), Advice: fmt.Sprintf("stint retry %s performs them once more", s.ID())}
		for _, m := range doc.Missing[:min(n, mostListed)] {
			f.Operations = append(f.Operations, m.Operation)
		}
		out = append(out, f)
	}
	return out
}

// stageTimes are the durations of a stage's completed operations, in milliseconds.
type stageTimes struct {
	report stint.StageTime
	median float64
	slow   []uint32 // completed operations that took much longer than the median, the longest first
	nodes  map[uint16]nodeTime
}

type nodeTime struct {
	operations int
	millis     float64
}

func (s *State) timesOf(k int) stageTimes {
	st := &s.stages[k]
	t := stageTimes{report: stint.StageTime{Stage: st.spec.Name}, nodes: make(map[uint16]nodeTime)}
	var sample []float64
	step := max(len(st.ops)/mostSamples, 1)
	longest := -1.0
	for n := range st.ops {
		if st.ops[n].state != done {
			continue
		}
		took := st.took(uint32(n))
		t.report.CoreSeconds += took / 1000
		if took > longest {
			longest = took
			t.report.Slowest = string(s.operationID(opKey{k, uint32(n)}))
		}
		if n%step == 0 {
			sample = append(sample, took)
		}
		i := st.ops[n].node
		t.nodes[i] = nodeTime{t.nodes[i].operations + 1, t.nodes[i].millis + took}
	}
	if longest < 0 {
		return t
	}
	t.report.Longest = longest / 1000
	if len(sample) > 0 {
		slices.Sort(sample)
		t.median = sample[len(sample)/2]
		t.report.Median = t.median / 1000
	}
	for n := range st.ops {
		if st.ops[n].state == done && s.isSlow(st.took(uint32(n)), t.median) {
			t.slow = append(t.slow, uint32(n))
		}
	}
	slices.SortStableFunc(t.slow, func(a, b uint32) int { return cmp.Compare(st.took(b), st.took(a)) })
	return t
}

// took returns how long a completed operation took, in milliseconds.
func (st *stage) took(n uint32) float64 {
	return max(float64(st.ops[n].end)-float64(st.starts[n]), 0)
}

func (*State) isSlow(millis, median float64) bool {
	return millis >= slowLeast && millis > slowFactor*median
}

// remarkable finds what takes long in a stage, or costs more than it does.
func (s *State) remarkable(k int, t *stageTimes, now int64) []stint.Finding {
	st := &s.stages[k]
	out := s.lasting(k, t, now)
	if len(t.slow) > 0 {
		f := stint.Finding{
			Kind: stint.FoundSlow, Stage: st.spec.Name,
			Text:   fmt.Sprintf("%d of %d operations took more than %d times the median of %.1f s, %s %.1f s", len(t.slow), st.counts[done], slowFactor, t.median/1000, t.report.Slowest, t.report.Longest),
			Advice: fmt.Sprintf("their input is larger or harder than that of others: stint show %s --operations; more partitions or smaller subsets separate it further", s.ID()),
		}
		if st.sums.BadRecords > 0 && len(st.spec.Action.Command) > 0 {
			f.Advice = fmt.Sprintf("looking for bad records takes time, because the program is tried on ever smaller parts of the input: stint logs %s --bad-records shows them, and a program that passes over them itself takes no longer", s.ID())
		}
		for _, n := range t.slow[:min(len(t.slow), mostListed)] {
			f.Operations = append(f.Operations, s.operationID(opKey{k, n}))
		}
		out = append(out, f)
	}
	out = append(out, s.slowNodes(k, t)...)
	if f := s.tooFew(k); f != nil {
		out = append(out, *f)
	}
	if len(st.spec.Action.Command) > 0 && st.counts[done] >= shortLeast && t.median <= shortMost {
		out = append(out, stint.Finding{
			Kind: stint.FoundShort, Stage: st.spec.Name,
			Text:   fmt.Sprintf("half of its operations take less than %.0f ms, and each starts a process", max(t.median, 1)),
			Advice: "a larger --subset-size makes fewer and longer ones",
		})
	}
	if again := st.repeated(); again > int64(st.counts[done])/20 {
		out = append(out, stint.Finding{
			Kind: stint.FoundRepeated, Stage: st.spec.Name,
			Text: fmt.Sprintf("%d attempts beyond one for each operation: failures, stops, or output that was lost with its node", again),
		})
	}
	if st.sums.BadRecords > 0 {
		out = append(out, stint.Finding{
			Kind: stint.FoundBad, Stage: st.spec.Name,
			Text:   fmt.Sprintf("%d records of %d were left out, because the program fails on them", st.sums.BadRecords, st.sums.RecordsIn+st.sums.BadRecords),
			Advice: fmt.Sprintf("stint logs %s --bad-records shows them", s.ID()),
		})
	}
	return out
}

// repeated returns how many attempts were not the first of their operation.
func (st *stage) repeated() int64 {
	again := st.performed
	for i := range st.ops {
		if st.ops[i].attempts > 0 {
			again--
		}
	}
	return again
}

// lasting finds operations that are in progress for much longer than others took.
func (s *State) lasting(k int, t *stageTimes, now int64) []stint.Finding {
	st := &s.stages[k]
	if st.counts[begun] == 0 || st.counts[done] == 0 || s.status != stint.InProgress {
		return nil
	}
	f := stint.Finding{Kind: stint.FoundSlow, Stage: st.spec.Name, Advice: fmt.Sprintf("stint move %s --job JOB performs a job on another node; show --operations says which it is", s.ID())}
	longest, count := 0.0, 0
	for n := range st.ops {
		if st.ops[n].state != begun {
			continue
		}
		since := float64(now-s.base) - float64(st.starts[n])
		if !s.isSlow(since, t.median) {
			continue
		}
		count++
		longest = max(longest, since)
		if len(f.Operations) < mostListed {
			f.Operations = append(f.Operations, s.operationID(opKey{k, uint32(n)}))
		}
	}
	if count == 0 {
		return nil
	}
	f.Text = fmt.Sprintf("%d operations are in progress for up to %.0f s; half of the others took less than %.1f s", count, longest/1000, t.median/1000)
	return []stint.Finding{f}
}

// slowNodes finds nodes on which operations take much longer than on others.
func (s *State) slowNodes(k int, t *stageTimes) []stint.Finding {
	var out []stint.Finding
	for i := range s.nodes {
		n := t.nodes[uint16(i)]
		if len(t.nodes) < 2 || n.operations < nodeOperations {
			continue
		}
		rest := nodeTime{}
		for j, other := range t.nodes {
			if j != uint16(i) {
				rest.operations += other.operations
				rest.millis += other.millis
			}
		}
		mean, others := n.millis/float64(n.operations), rest.millis/float64(max(rest.operations, 1))
		if mean < slowLeast/10 || mean <= nodeFactor*others || rest.operations < nodeOperations {
			continue
		}
		out = append(out, stint.Finding{
			Kind: stint.FoundSlow, Stage: s.stages[k].spec.Name, Node: s.nodes[i].id,
			Text:   fmt.Sprintf("an operation takes %.1f s on node %s, %.1f s on the others", mean/1000, s.nodes[i].name, others/1000),
			Advice: fmt.Sprintf("stint node drain %s takes it out of use", s.nodes[i].id),
		})
	}
	return out
}

// tooFew finds a stage that leaves slots without work, because it has not enough
// operations.
func (s *State) tooFew(k int) *stint.Finding {
	slots := 0
	for i := range s.nodes {
		if s.target(uint16(i)) {
			slots += s.nodes[i].slots
		}
	}
	st := &s.stages[k]
	if s.status != stint.InProgress || s.complete(k) || len(st.ops) >= slots || st.counts[begun]+st.counts[granted] == 0 {
		return nil
	}
	advice := "more partitions (--partitions) make more operations"
	if st.spec.Input.Kind == stint.FromInput {
		advice = "a smaller --subset-size makes more operations, where the input can be cut"
	}
	return &stint.Finding{
		Kind: stint.FoundFew, Stage: st.spec.Name,
		Text: fmt.Sprintf("it has %d operations, and %d could be performed at once", len(st.ops), slots), Advice: advice,
	}
}

// balance compares what a stage has read with what the stages before it made.
func (s *State) balance(k int) stint.Balance {
	st := &s.stages[k]
	b := stint.Balance{
		Stage: st.spec.Name, From: []string{}, Complete: s.complete(k) && st.counts[failed] == 0 && !s.uncounted(k),
		RecordsIn: st.sums.RecordsIn + st.sums.BadRecords, BytesIn: st.sums.BytesIn,
	}
	for _, e := range st.spec.Edges() {
		switch e.Kind {
		case stint.FromInput:
			b.From = append(b.From, "input")
			b.RecordsOut, b.BytesOut = -1, s.inputBytes(e.From)
			if st.spec.Values != nil {
				b.RecordsOut, b.BytesOut = st.spec.Values.Count, b.BytesIn // its text is made where it is read
			}
		case stint.Broadcast:
			// is read by every operation, and not counted
		case stint.Shuffle, stint.Gather, stint.OneToOne:
			b.From = append(b.From, e.From)
			for i := range s.stages {
				if before := &s.stages[i]; before.spec.Name == e.From {
					b.RecordsOut += before.sums.RecordsOut
					b.BytesOut += before.sums.BytesOut
					b.Complete = b.Complete && before.counts[failed] == 0 && !s.uncounted(i)
				}
			}
		}
	}
	b.Equal = b.BytesIn == b.BytesOut && (b.RecordsOut < 0 || b.RecordsIn == b.RecordsOut)
	return b
}

// uncounted reports whether the sums of a stage are not those of its operations:
// some were taken over from another execution, or it went on over another input.
func (s *State) uncounted(k int) bool {
	return s.renumbered || slices.ContainsFunc(s.stages[k].ops, func(o op) bool { return o.state == done && !o.counted })
}

// samples reports whether a stage did not read all of the input and need not: a
// native operator knows what it wants of it.
func (s *State) samples(k int, b *stint.Balance) bool {
	return s.plan.ReadsInput(k) && s.stages[k].spec.Action.Native != "" && b.BytesIn < b.BytesOut
}

func imbalance(b *stint.Balance) stint.Finding {
	of := fmt.Sprintf(" of %d", b.RecordsOut)
	if b.RecordsOut < 0 {
		of = ","
	}
	return stint.Finding{
		Kind: stint.FoundImbalance, Stage: b.Stage,
		Text: fmt.Sprintf("it read %d records%s and %d bytes of %d that %s left", b.RecordsIn, of, b.BytesIn, b.BytesOut, strings.Join(b.From, ", ")),
	}
}

// inputBytes returns the size of what is to be read of one of the program's inputs.
func (s *State) inputBytes(name string) int64 {
	var n int64
	for _, o := range s.plan.Listing.Objects {
		if o.Input == name {
			n += o.Size
		}
	}
	return n
}
