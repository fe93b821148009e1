package coord

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"stint"
	"stint/internal/plan"
)

// Document makes the document about the execution as of now, in milliseconds
// since 1970. What it holds is copied.
func (s *State) Document(now int64) stint.Execution {
	x := stint.Execution{
		ID: s.ID(), Name: s.request.Name, Program: s.programName(), Status: s.status,
		Submitted: moment(s.base), Stints: []stint.Stint{}, Stages: []stint.StageReport{},
		Nodes: []stint.NodeID{}, Inputs: s.inputLocations(), Skipped: s.plan.Listing.Skipped, Output: s.output,
		Receipts: []stint.Receipt{}, Missing: []stint.Missing{}, Version: s.version,
		Counters: make(map[string]map[string]int64, len(s.counters)),
		Failures: append([]stint.Failure(nil), s.failures...), Error: s.err,
		Causes: s.causesByCount(), Waiting: s.waiting(), Generation: s.generation, Saved: s.savedReport(),
	}
	if s.completesErrors() {
		x.Missing = append(x.Missing, s.missing()...)
	}
	for _, r := range s.receipts {
		x.Receipts = append(x.Receipts, r.document())
	}
	for _, h := range s.held {
		x.Held = append(x.Held, h.id.String())
	}
	if s.next.At > 0 {
		at := moment(s.next.At)
		x.ResumeAt = &at
	}
	for _, sp := range s.stints {
		st := stint.Stint{Start: moment(sp.start)}
		end := now
		if sp.end > 0 {
			t := moment(sp.end)
			st.End, end = &t, sp.end
		}
		x.Elapsed += float64(max(end-sp.start, 0)) / 1000
		x.Stints = append(x.Stints, st)
	}
	for i := range s.stages {
		r := s.stageReport(i)
		x.Stages = append(x.Stages, r)
		x.Operations.Add(r.Operations)
	}
	for _, n := range s.nodes {
		if n.performed {
			x.Nodes = append(x.Nodes, n.id)
		}
	}
	for g, names := range s.counters {
		x.Counters[g] = maps.Clone(names)
	}
	x.Progress = progress(x.Operations, s.status)
	x.Expected = s.expected(now)
	return x
}

// inputLocations returns where the input is: of inputs with names as name=location.
func (s *State) inputLocations() []string {
	if len(s.request.NamedInputs) == 0 {
		return s.request.Inputs
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.request.NamedInputs)) {
		for _, location := range s.request.NamedInputs[name] {
			out = append(out, name+"="+location)
		}
	}
	return out
}

func progress(c stint.OperationCounts, status stint.ExecutionStatus) float64 {
	if status == stint.Completed {
		return 1
	}
	if c.Total == 0 {
		return 0
	}
	return float64(c.Completed) / float64(c.Total)
}

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func (s *State) stageReport(i int) stint.StageReport {
	st := &s.stages[i]
	r := st.sums
	c := &r.Operations
	c.Total = int64(len(st.ops))
	c.Completed = int64(st.counts[done])
	c.InProgress = int64(st.counts[begun])
	c.Queued = int64(st.counts[granted])
	c.Failed = int64(st.counts[failed])
	c.Waiting = int64(st.counts[pending])
	c.Performed = st.performed
	c.Reused = int64(st.reused)
	return r
}

func (s *State) programName() string {
	return fmt.Sprintf("%s@blake3:%s", s.request.Program.Name, s.plan.ProgramDigest())
}

// waiting says in words why nothing is in progress, or "".
func (s *State) waiting() string {
	if s.errandErr != nil {
		return "tried again after: " + s.errandErr.Error()
	}
	switch s.status {
	case stint.Terminating:
		return "for its data to be cleared"
	case stint.Suspending:
		return s.waitingToStop()
	case stint.Suspended:
		if s.next.At > 0 {
			return "to be resumed at " + moment(s.next.At).Format(time.RFC3339)
		}
		return "to be resumed"
	case stint.InProgress:
		return s.waitingToGoOn()
	case stint.Queued, stint.Resuming, stint.Completed, stint.CompletedErrors, stint.ExecutionFailed, stint.Terminated:
	}
	return ""
}

// waitingToGoOn says in words why nothing of an execution in progress is.
func (s *State) waitingToGoOn() string {
	ready := 0
	for i := range s.nodes {
		if s.target(uint16(i)) {
			ready++
		}
	}
	switch {
	case s.out > 0:
		return s.waitingAgain()
	case s.endsWithErrors() && !s.savedForRetry():
		return s.waitingToSave() + ", for a retry"
	case s.allDone():
		return "for the output to be committed"
	case ready == 0 && len(s.draining) > 0:
		return "every node is draining or drained: stint node drain --undo NODE, or start another"
	case ready == 0:
		return "no node is ready"
	}
	for _, key := range s.retries {
		if !s.heldBack(key.stage, key.op) {
			return s.tryingAgain(key)
		}
	}
	for k := range s.stages {
		if !s.complete(k) && (!s.reachable(k) || len(common(s.stages[k].ready, s.stranded(k))) > 0) {
			return s.waitingForNodes(k)
		}
	}
	if len(s.held) > 0 && !s.somethingReady() {
		return fmt.Sprintf("job %s is suspended", s.held[0].id)
	}
	if last := len(s.failures) - 1; last >= 0 && outside(s.failures[last].Error) {
		f := s.failures[last]
		return fmt.Sprintf("for node %s, which refused operation %s: %s", f.Node, s.operationID(opKey{f.Stage, f.Op}), f.Error.Error())
	}
	return "for a slot"
}

// waitingAgain says what is waited for by operations that nodes have in hand, if
// each of them is tried again after something that was not the program's fault.
func (s *State) waitingAgain() string {
	first, count := opKey{}, 0
	for key, e := range s.exceptions {
		o := &s.stages[key.stage].ops[key.op]
		if o.state != granted && o.state != begun || e.err == nil || !outside(e.err) && e.err.Code != stint.Lost {
			continue
		}
		if count == 0 || key.compare(first) < 0 {
			first = key
		}
		count++
	}
	if count == 0 || count < s.out {
		return ""
	}
	return s.tryingAgain(first)
}

// outside reports whether an attempt failed for something that neither the program
// nor its input is to blame for.
func outside(err *stint.Error) bool {
	return err.Code == stint.Unavailable || err.Code == stint.Denied
}

func (s *State) tryingAgain(key opKey) string {
	e := s.exceptions[key]
	who := ""
	if int(e.avoid) < len(s.nodes) {
		who = " on node " + s.nameOf(e.avoid)
	}
	return fmt.Sprintf("operation %s is tried again after this%s: %s", s.operationID(key), who, e.err.Error())
}

// mostNamed is how many nodes a text names.
const mostNamed = 3

// onNodes names nodes on which something happened.
func (s *State) onNodes(ids []stint.NodeID) string {
	var names []string
	for _, id := range ids[:min(len(ids), mostNamed)] {
		if i, known := s.nodeIndex(id); known {
			names = append(names, s.nameOf(i))
		}
	}
	switch more := len(ids) - mostNamed; {
	case len(names) == 0:
		return ""
	case more > 0:
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return " on " + strings.Join(names, ", ")
}

func (s *State) nameOf(i uint16) string { return cmp.Or(s.nodes[i].name, string(s.nodes[i].id)) }

// waitingForNodes says in words which nodes a stage waits for that hold its input,
// until when, and what can be done about it.
func (s *State) waitingForNodes(k int) string {
	var nodes []uint16
	for e := range s.plan.Edges(k) {
		if from := s.plan.Upstream(k, e); from != plan.Input {
			nodes = append(nodes, s.sourcesOf(from).away...)
		}
	}
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	names := make([]string, 0, mostNamed)
	for _, i := range nodes[:min(len(nodes), mostNamed)] {
		names = append(names, fmt.Sprintf("%s (%s)", s.nodes[i].name, s.nodes[i].id))
	}
	if more := len(nodes) - mostNamed; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	who, holds, agent := "node", "holds its input, is away", "its agent"
	if len(nodes) > 1 {
		who, holds, agent = "nodes", "hold its input, are away", "their agents"
	}
	until := int64(0)
	for _, i := range nodes {
		if s.nodes[i].status == nodeAway {
			until = max(until, s.nodes[i].lostAt)
		}
	}
	given := "given up"
	if until > 0 {
		given += " at " + moment(until).Format(time.RFC3339) + ", or at once"
	}
	return fmt.Sprintf("stage %s: %s %s, which %s: start %s again; %s with: stint node remove ID",
		s.stages[k].spec.Name, who, strings.Join(names, ", "), holds, agent, given)
}

func (s *State) somethingReady() bool {
	for k := range s.stages {
		if len(s.stages[k].ready) > 0 {
			return true
		}
	}
	return false
}

func (s *State) operationID(k opKey) stint.OperationID {
	return stint.MakeOperationID(s.stages[k.stage].spec.Name, k.op)
}

// expected extrapolates from the mean duration of operations and the slots of
// the nodes that are ready; nil if nothing is known yet.
func (s *State) expected(now int64) *time.Time {
	slots, millis, known := 0, 0.0, false
	for i := range s.nodes {
		if s.target(uint16(i)) {
			slots += s.nodes[i].slots
		}
	}
	for i := range s.stages {
		st := &s.stages[i]
		left := len(st.ops) - st.counts[done]
		if left > 0 && st.counts[done] > 0 {
			known = true
			millis += float64(left) * st.meanMillis
		}
	}
	if s.status != stint.InProgress || !known || slots == 0 {
		return nil
	}
	t := moment(now + int64(millis/float64(slots)))
	return &t
}

// Operation makes the document about operation n of a stage.
func (s *State) Operation(k int, n uint32) stint.Operation {
	st := &s.stages[k]
	o := &st.ops[n]
	doc := stint.Operation{
		ID: s.operationID(opKey{k, n}), Stage: st.spec.Name, Attempts: int(o.attempts),
		Input: s.inputNames(k, n), Output: []string{}, Copies: []string{}, Status: o.state.status(),
	}
	if o.job != 0 {
		doc.Job = o.job.String()
	}
	if o.state != pending && int(o.node) < len(s.nodes) {
		doc.Node = s.nodes[o.node].id
	}
	if e := s.exceptions[opKey{k, n}]; e != nil {
		doc.Error = e.err
	}
	if o.state != done {
		return doc
	}
	start, end := moment(s.base+int64(st.starts[n])), moment(s.base+int64(o.end))
	doc.Start, doc.End = &start, &end
	switch {
	case st.spec.Part:
		doc.Output, doc.Copies = []string{fmt.Sprintf("part-%05d", n)}, []string{"saved"}
	case !st.spec.NoOutput:
		doc.Output = []string{"block " + string(doc.ID)}
		for _, i := range s.holders(k, n) {
			doc.Copies = append(doc.Copies, string(s.nodes[i].id))
		}
		if o.saved && !s.clearedAway() {
			doc.Copies = append(doc.Copies, "saved")
		}
	}
	return doc
}

func (o opState) status() stint.OperationStatus {
	switch o {
	case pending:
		return stint.OpWaiting
	case granted:
		return stint.OpQueued
	case begun:
		return stint.OpInProgress
	case done:
		return stint.OpCompleted
	case failed:
		return stint.OpFailed
	}
	return stint.OpWaiting
}

func (s *State) inputNames(k int, n uint32) []string {
	out := []string{}
	if s.plan.ReadsInput(k) {
		out = s.subsetNames(k, n)
	}
	for e := range s.plan.Edges(k) {
		from := s.plan.Upstream(k, e)
		if from == plan.Input {
			continue
		}
		r, part := s.plan.Reads(k, e, n), ""
		switch s.stages[k].spec.Edges()[e].Kind {
		case stint.Shuffle:
			part = fmt.Sprintf(" partition %d", n)
		case stint.Broadcast:
			part = " broadcast"
		case stint.FromInput, stint.Gather, stint.OneToOne:
		}
		out = append(out, fmt.Sprintf("%s/%d-%d%s", s.stages[from].spec.Name, r.From, max(r.To, r.From+1)-1, part))
	}
	return out
}

// subsetNames says in words what of the input an operation reads.
func (s *State) subsetNames(k int, n uint32) []string {
	out := []string{}
	sub := s.plan.Subset(k, n)
	if v := sub.Values; v != nil {
		return append(out, fmt.Sprintf("range:%d..%d", v.First, v.First+v.Count-1))
	}
	for _, p := range sub.Pieces {
		if p.Offset == 0 && p.Length == p.Object.Size {
			out = append(out, p.Object.URL)
		} else {
			out = append(out, fmt.Sprintf("%s bytes %d-%d", p.Object.URL, p.Offset, p.Offset+p.Length-1))
		}
	}
	return out
}

// Stages returns the names and sizes of the stages, in order.
func (s *State) Stages() []stint.StageSpec { return s.plan.Spec.Stages }
