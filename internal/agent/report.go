package agent

import (
	"slices"
	"strings"

	"stint"
)

// A report is closed when its weight passes maxReport, so that one message
// stays well below the link's limit of 8 MiB: it is longer than that by one entry
// at most, of which the heaviest is an operation with all the counters it may have.
// Weights are bytes, never less than what is encoded takes; texts and names weigh
// their length in addition.
const (
	maxReport     = 1 << 20
	weightOp      = 96 // an entry of a list, with the names of its fields
	weightPart    = 64
	weightCounter = 64
	weightNode    = 8
	weightRange   = 16
	maxMessages   = 256 // status texts in one report
)

// Status enters status texts of operations in progress. The latest of an
// operation counts.
func (l *Ledger) Status(x stint.ExecutionID, texts []stint.StatusText) {
	for _, text := range texts {
		if _, begun := l.Outstanding(x, text.Job, text.Op); !begun {
			continue
		}
		a := l.accounts[x]
		r := a.draft(weightOp + len(text.Text))
		same := func(t stint.StatusText) bool { return t.Job == text.Job && t.Op == text.Op }
		if i := slices.IndexFunc(r.Messages, same); i >= 0 {
			r.Messages[i] = text
		} else if len(r.Messages) < maxMessages {
			r.Messages = append(r.Messages, text)
		}
	}
}

// Lost enters that output kept here, of operations that completed here or copied,
// is not whole any more.
func (l *Ledger) Lost(x stint.ExecutionID, lost []stint.StageOps) {
	a := l.account(x)
	for _, s := range lost {
		for _, ops := range s.Ops {
			a.draftLost(s.Stage, ops)
		}
	}
	a.dropOutput(lost)
}

// Bad enters that a copy of output, on another node or in a pack, could not be
// used.
func (l *Ledger) Bad(x stint.ExecutionID, bad stint.BadCopy) {
	const most = maxReport / weightRange
	a := l.account(x)
	for len(bad.Ops) > most {
		first := bad
		first.Ops, bad.Ops = bad.Ops[:most], bad.Ops[most:]
		a.draftBad(first)
	}
	a.draftBad(bad)
}

// Again enters completions that were reported before, or in an earlier
// incarnation, and that the server misses, as the log has them: each Done with
// any number of operations. Those of which the log does not tell any more are lost:
// the server waits for them.
func (l *Ledger) Again(x stint.ExecutionID, missed []stint.StageOps, list []stint.Done) {
	a := l.account(x)
	for _, d := range list {
		for _, op := range d.Ops {
			l.owed++
			a.draftDone(d.Job, d.Stage, op, countersOf(d.Counters, op.Op), partOf(d.Parts, op.Op))
		}
	}
	if lost := missing(missed, list); len(lost) > 0 {
		l.Lost(x, lost)
	}
}

// missing returns what a list of completions does not have.
func missing(missed []stint.StageOps, list []stint.Done) []stint.StageOps {
	missed = cloneStages(missed)
	for _, d := range list {
		for _, op := range d.Ops {
			missed = subtractFromStage(missed, d.Stage, stint.Range{From: op.Op, To: op.Op + 1})
		}
	}
	return missed
}

// Report numbers the next report of an execution and keeps it until it is
// acknowledged. It reports false if there is nothing to tell.
func (l *Ledger) Report(x stint.ExecutionID) (*stint.Report, bool) {
	a := l.accounts[x]
	if a == nil || len(a.drafts) == 0 {
		return nil, false
	}
	r := a.drafts[0]
	a.drafts = slices.Delete(a.drafts, 0, 1)
	if len(a.drafts) == 0 {
		a.weight = 0
	}
	a.seq++
	r.Execution, r.Node, r.Incarnation, r.Seq = x, l.node, l.incarnation, a.seq
	a.sent = append(a.sent, r)
	return r, true
}

// Pending reports whether there is something to tell of an execution that is in
// no numbered report.
func (l *Ledger) Pending(x stint.ExecutionID) bool {
	a := l.accounts[x]
	return a != nil && len(a.drafts) > 0
}

// Unacked returns the reports of an execution with numbers above after that are
// not acknowledged, in order. They must not be changed.
func (l *Ledger) Unacked(x stint.ExecutionID, after uint64) []*stint.Report {
	a := l.accounts[x]
	if a == nil {
		return nil
	}
	i := 0
	for i < len(a.sent) && a.sent[i].Seq <= after {
		i++
	}
	return slices.Clone(a.sent[i:])
}

// Owed returns how many operations ended and are not acknowledged.
func (l *Ledger) Owed() int { return l.owed }

// InterruptionOwed reports whether the server may not have on disk yet that an
// operation of a job was interrupted.
func (l *Ledger) InterruptionOwed(x stint.ExecutionID, id stint.JobID, op uint32) bool {
	a := l.accounts[x]
	return a != nil && slices.ContainsFunc(slices.Concat(a.sent, a.drafts), func(r *stint.Report) bool {
		return slices.ContainsFunc(r.Interrupted, func(i stint.Interrupted) bool { return i.Job == id && i.Op == op })
	})
}

// Acked drops the reports of an execution up to number seq: the server has
// them on disk. An acknowledgement of another incarnation's reports is ignored.
func (l *Ledger) Acked(x stint.ExecutionID, seq uint64, incarnation stint.Incarnation) {
	a := l.accounts[x]
	if a == nil || incarnation != l.incarnation {
		return
	}
	for len(a.sent) > 0 && a.sent[0].Seq <= seq {
		l.owed -= endedIn(a.sent[0])
		a.sent = slices.Delete(a.sent, 0, 1)
	}
}

// draft returns the report that is being filled, to which the caller adds what
// weighs so much: a new one if the last is full.
func (a *account) draft(weight int) *stint.Report {
	if len(a.drafts) == 0 || a.weight > maxReport {
		a.drafts = append(a.drafts, &stint.Report{})
		a.weight = 0
	}
	a.weight += weight
	return a.drafts[len(a.drafts)-1]
}

func (a *account) draftBegun(id stint.JobID, op uint32) {
	r := a.draft(1)
	if n := len(r.Begun); n > 0 && r.Begun[n-1].Job == id && r.Begun[n-1].Ops.To == op {
		r.Begun[n-1].Ops.To++
		return
	}
	a.weight += weightOp
	r.Begun = append(r.Begun, stint.Begun{Job: id, Ops: stint.Range{From: op, To: op + 1}})
}

func (a *account) draftLost(stage int, ops stint.Range) {
	r := a.draft(weightRange)
	if r.Verified == nil {
		r.Verified = &stint.Verification{}
	}
	list := r.Verified.Lost
	i := slices.IndexFunc(list, func(s stint.StageOps) bool { return s.Stage == stage })
	if i < 0 {
		a.weight += weightOp
	} else if in := list[i].Ops; in[len(in)-1].To < ops.From { // as they come of a whole folder
		list[i].Ops = append(list[i].Ops, ops)
		return
	}
	r.Verified.Lost = addToStage(list, stage, ops)
}

func (a *account) draftBad(bad stint.BadCopy) {
	r := a.draft(weightOp + len(bad.Node) + len(bad.Pack) + weightRange*len(bad.Ops))
	r.Bad = append(r.Bad, bad)
}

func (a *account) draftDone(id stint.JobID, stage int, op stint.OpDone, counters []stint.CounterDelta, part *stint.Part) {
	r := a.draft(weightOp + weightOf(counters))
	i := slices.IndexFunc(r.Done, func(d stint.Done) bool { return d.Job == id })
	if i < 0 {
		i = len(r.Done)
		r.Done = append(r.Done, stint.Done{Job: id, Stage: stage})
		a.weight += weightOp
	}
	d := &r.Done[i]
	d.Ops = append(d.Ops, op)
	d.Counters = append(d.Counters, counters...)
	if part != nil {
		d.Parts = append(d.Parts, *part)
		a.weight += weightPart + len(part.Name)
	}
}

// weightOf returns what counters take in a report: their names may be far longer
// than all else of them.
func weightOf(counters []stint.CounterDelta) int {
	n := weightCounter * len(counters)
	for i := range counters {
		n += len(counters[i].Group) + len(counters[i].Name)
	}
	return n
}

// How many bytes of texts go into a report: of the end of what an attempt said,
// and of the beginning of why it failed. All that is kept of them is in the log.
const (
	reportedStderr = 64 << 10
	reportedReason = 64 << 10
)

func (a *account) draftFailure(f stint.Failure) {
	f.Stderr = f.Stderr[max(0, len(f.Stderr)-reportedStderr):]
	n := 4*weightOp + len(f.Node) + len(f.Signal) + len(f.Stderr)
	if f.Error != nil {
		e := *f.Error
		e.Message = reasonOf(e.Message)
		f.Error = &e
		n += len(e.Message)
	}
	for _, node := range slices.Concat(f.Sources, f.Silent) {
		n += weightNode + len(node)
	}
	r := a.draft(n)
	r.Failures = append(r.Failures, f)
}

// reasonOf returns as much of a text as goes into a report.
func reasonOf(text string) string {
	if len(text) <= reportedReason {
		return text
	}
	return strings.ToValidUTF8(text[:reportedReason], "") + "…"
}

func (a *account) draftInterrupted(i stint.Interrupted) {
	i.Note = reasonOf(i.Note)
	n := 2*weightOp + len(i.Note)
	if i.Checkpoint != nil {
		n += weightOp + len(i.Checkpoint.Key) + len(i.Checkpoint.Storage)
	}
	r := a.draft(n)
	r.Interrupted = append(r.Interrupted, i)
}

// endedIn returns how many operations a report says have ended.
func endedIn(r *stint.Report) int {
	n := len(r.Failures) + len(r.Interrupted)
	for i := range r.Done {
		n += len(r.Done[i].Ops)
	}
	return n
}

func subtractFromStage(sets []stint.StageOps, stage int, ops stint.Range) []stint.StageOps {
	for i := range sets {
		if sets[i].Stage == stage {
			sets[i].Ops = stint.SubtractRange(sets[i].Ops, ops)
		}
	}
	return slices.DeleteFunc(sets, func(s stint.StageOps) bool { return len(s.Ops) == 0 })
}

func countersOf(list []stint.CounterDelta, op uint32) []stint.CounterDelta {
	var out []stint.CounterDelta
	for _, c := range list {
		if c.Op == op {
			out = append(out, c)
		}
	}
	return out
}

func partOf(list []stint.Part, op uint32) *stint.Part {
	for i := range list {
		if list[i].Op == op {
			return &list[i]
		}
	}
	return nil
}
