package coord

import (
	"cmp"
	"iter"
	"maps"
	"math"
	"slices"

	"stint"
	"stint/internal/plan"
)

// Why completed operations are performed again.
const (
	whyInput     = "their input changed"
	whyGone      = "their output is no longer kept"
	whyDeficient = "they did without operations that failed"
)

// Kept is what there still is of what an execution left that has ended, by the
// numbers that it has there.
type Kept struct {
	Nodes map[stint.NodeID][]stint.StageOps // output that nodes say they have
	Parts []stint.Part                      // staged for the execution that takes them over
	Packs map[string]string                 // by key: what a copy is called that belongs to the execution that takes it over
}

// Adoption says what became of the completed operations of an earlier state.
type Adoption struct {
	Reused []int64        // by stage: completed in the new state
	Redone []stint.Redone // not completed in it, and why
}

// AdoptableParts returns the parts of an earlier state that are parts of a plan as
// well, as that state knows them: [Kept.Parts], once they are staged. content is
// as in [Adopt].
func AdoptableParts(old *State, p *plan.Plan, content func(before, now stint.Object) bool) []stint.Part {
	var out []stint.Part
	same, _ := old.same(p, len(p.Spec.Stages)-1, content)
	for _, run := range same {
		for m := run.First; m < run.First+uint32(run.Ops.Len()); m++ {
			if int(m) < len(old.parts) && old.parts[m].Name != "" {
				out = append(out, old.parts[m])
			}
		}
	}
	return out
}

// AdoptablePacks returns the packs of an earlier state that have output of
// operations which are completed in a plan as well: [Kept.Packs], once there are
// copies of them. content is as in [Adopt].
func AdoptablePacks(old *State, p *plan.Plan, content func(before, now stint.Object) bool) []stint.Pack {
	var out []stint.Pack
	for k := range min(len(p.Spec.Stages), len(old.stages)) {
		if len(old.stages[k].packs) == 0 {
			continue
		}
		same, _ := old.same(p, k, content)
		for _, was := range old.stages[k].packs {
			if slices.ContainsFunc(same, func(r plan.Run) bool { return len(runsFrom([]plan.Run{r}, was.ops)) > 0 }) {
				out = append(out, was.Pack)
			}
		}
	}
	return out
}

// Adopt makes the state of an execution that goes on from an earlier one: its own,
// before its input changed, or that of another that has ended. An operation of the
// plan that has the identity of a completed one, which did without none, is
// completed, if its output is kept or nothing needs it. Its output stays where it is, under the name that it has
// there. content says whether an object has the same content as another of the
// same URL and size, though not the same version; nil: none has.
//
// An execution that goes on from its own state keeps its history. It must be
// suspended; what it takes over is in packs, staged, or a checkpoint, because on a
// node output would be mistaken for that of another operation. What was counted
// stays counted, also of operations whose input changed, and jobs that were held
// back by themselves are not any more. kept is not looked at.
//
// From another execution it has what kept says, and no more: neither usage nor
// counters nor attempts of what it takes over are its own.
func Adopt(old *State, p *plan.Plan, req stint.Request, epoch stint.Epoch, now int64, kept Kept, content func(before, now stint.Object) bool) (*State, Adoption) {
	a := adopter{old: old, same: make([][]plan.Run, len(p.Spec.Stages)), deficient: make([]int64, len(p.Spec.Stages))}
	rebase := old.ID() == p.Spec.Execution
	if rebase {
		a.state = old.rebased(New(p, req, epoch, now))
		kept = Kept{Parts: old.parts}
	} else {
		a.state = New(p, req, epoch, now)
		a.state.nodes = strangers(old.nodes)
	}
	for k := range a.same {
		a.same[k], a.deficient[k] = old.same(p, k, content)
		a.complete(k)
	}
	if rebase {
		a.keepHistory()
	}
	a.adoptParts(kept.Parts)
	a.adoptPacks(kept.Packs)
	a.adoptBlocks(kept.Nodes)
	for k := range a.state.stages {
		slices.SortFunc(a.state.stages[k].origins, func(a, b originRun) int { return cmp.Compare(a.ops.From, b.ops.From) })
	}
	a.forget()
	a.state.derive()
	a.takeRecords()
	return a.state, a.adoption()
}

// rebased returns the state with the operations of a fresh one.
func (s *State) rebased(fresh *State) *State {
	r := *s
	r.plan, r.epoch, r.request = fresh.plan, fresh.epoch, fresh.request
	r.ends = fresh.ends
	r.stages, r.parts, r.jobs, r.checkpoints = fresh.stages, fresh.parts, fresh.jobs, fresh.checkpoints
	r.exceptions, r.retries, r.messages, r.fatal = fresh.exceptions, nil, fresh.messages, nil
	r.held, r.moved, r.volatile, r.renumbered = nil, nil, volatile{}, true
	r.causes = rebasedCauses(s.causes, r.stages)
	r.stints, r.failures, r.receipts = slices.Clone(s.stints), rebasedFailures(s.failures, r.stages), slices.Clone(s.receipts)
	r.counters = make(map[string]map[string]int64, len(s.counters))
	for group, names := range s.counters {
		r.counters[group] = maps.Clone(names)
	}
	r.nodes = slices.Clone(s.nodes)
	for i := range r.nodes {
		n := &r.nodes[i]
		n.jobs, n.voided, n.outdated = nil, nil, true
	}
	for k := range min(len(r.stages), len(s.stages)) {
		st, was := &r.stages[k], &s.stages[k]
		name := st.sums.Name
		st.sums, st.meanMillis, st.performed = was.sums, was.meanMillis, was.performed
		st.sums.Name = name
	}
	return &r
}

// strangers are nodes as an execution knows them that has not met them.
func strangers(nodes []node) []node {
	out := make([]node, len(nodes))
	for i, n := range nodes {
		out[i] = node{id: n.id, name: n.name, address: n.address, slots: n.slots}
	}
	return out
}

// same returns which operations of a plan's stage are operations of an earlier state
// that are what they should be, and how many completed ones are not: those that did
// without operations that failed have the identity of those that did not.
func (s *State) same(p *plan.Plan, k int, content func(before, now stint.Object) bool) (runs []plan.Run, deficient int64) {
	all := plan.Same(p, s.plan, k, content)
	if len(all) == 0 || !s.deficient(k) {
		return all, 0
	}
	for n, m := range each(all) {
		switch last := len(runs) - 1; {
		case s.redone(k, m):
			if s.stages[k].ops[m].state == done {
				deficient++
			}
		case last >= 0 && runs[last].Ops.To == n && runs[last].First+uint32(runs[last].Ops.Len()) == m:
			runs[last].Ops.To++
		default:
			runs = append(runs, plan.Run{Ops: stint.Range{From: n, To: n + 1}, First: m})
		}
	}
	return runs, deficient
}

// adopter makes a state of an earlier one.
type adopter struct {
	old, state *State
	same       [][]plan.Run // by stage: which operations were which
	deficient  []int64      // by stage: completed ones that are not taken over, because they did without others
}

// complete marks the operations of a stage that are completed ones of the earlier
// state. As far as is known yet, their output is nowhere.
func (a *adopter) complete(k int) {
	for n, m := range each(a.same[k]) {
		st, before := &a.state.stages[k], &a.old.stages[k]
		if was := &before.ops[m]; was.state == done {
			st.ops[n] = op{state: done, reused: true, gone: a.state.keepsBlocks(k), node: was.node}
			if st.inputSums != nil {
				st.inputSums[n] = before.inputSums[m]
			}
			if st.read != nil && before.read != nil {
				st.read[n] = before.read[m]
			}
		}
	}
}

// keepHistory takes over what only the execution's own state can give.
func (a *adopter) keepHistory() {
	for k := range a.same {
		for n, m := range each(a.same[k]) {
			st, before := &a.state.stages[k], &a.old.stages[k]
			if o, was := &st.ops[n], &before.ops[m]; was.state == done {
				o.counted, o.attempts, o.job, o.end = was.counted, was.attempts, was.job, was.end
				st.starts[n] = before.starts[m]
			}
		}
	}
	a.adoptCheckpoints()
}

// each yields the operations of runs, and which they are there.
func each(runs []plan.Run) iter.Seq2[uint32, uint32] {
	return func(yield func(n, m uint32) bool) {
		for _, r := range runs {
			for n := r.Ops.From; n < r.Ops.To; n++ {
				if !yield(n, r.First+n-r.Ops.From) {
					return
				}
			}
		}
	}
}

// adoptParts takes over staged parts. Without its part an operation that writes
// one is not completed.
func (a *adopter) adoptParts(parts []stint.Part) {
	s, k := a.state, len(a.same)-1
	if !s.stages[k].spec.Part {
		return
	}
	staged := make(map[uint32]stint.Part, len(parts))
	for _, part := range parts {
		if part.Name != "" {
			staged[part.Op] = part
		}
	}
	for n, m := range each(a.same[k]) {
		part, ok := staged[m]
		switch st := &s.stages[k]; {
		case st.ops[n].state != done:
		case ok:
			part.Op = n
			s.parts[n] = part
		default:
			st.forget(n)
		}
	}
}

// takeRecords counts the records of operations that were taken over. Too many that
// were left out then are too many now.
func (a *adopter) takeRecords() {
	for k := range min(len(a.same), len(a.old.stages)) {
		st := &a.state.stages[k]
		st.before = a.takenRecords(k).minus(records{st.sums.RecordsIn, st.sums.BadRecords})
		a.state.judgeRecords(k)
	}
}

// takenRecords returns how many records the operations of a stage have read that were
// taken over. Of what was read where no record could be left out only the sum of the
// stage is known: of that as many in proportion.
func (a *adopter) takenRecords(k int) (taken records) {
	st, was := &a.state.stages[k], &a.old.stages[k]
	rest := was.records()
	if was.read != nil {
		for _, r := range was.read {
			rest = rest.minus(r)
		}
		for n, m := range each(a.same[k]) {
			if st.ops[n].state == done {
				taken = taken.plus(was.read[m])
			}
		}
	}
	n, of := int64(st.counts[done]), int64(was.counts[done])
	return taken.plus(records{share(max(rest.read, 0), n, of), share(max(rest.bad, 0), n, of)})
}

// share returns n parts of x that consists of so many, rounded up.
func share(x, n, of int64) int64 {
	if n == of || of == 0 {
		return x
	}
	return int64(math.Ceil(float64(x) / float64(of) * float64(n)))
}

// forget makes an operation one that was never completed.
func (st *stage) forget(n uint32) {
	st.ops[n], st.starts[n] = op{}, 0
	if st.inputSums != nil {
		st.inputSums[n] = 0
	}
	if st.read != nil {
		st.read[n] = records{}
	}
}

// forget makes those operations pending whose output is needed and nowhere. What
// they read is needed then, so it goes from the last stage to the first.
func (a *adopter) forget() {
	s := a.state
	for k := len(s.stages) - 1; k >= 0; k-- {
		st := &s.stages[k]
		st.counts[done] = 0
		for n := range st.ops {
			o := &st.ops[n]
			if o.state == done && o.nowhere() && s.needed(k, uint32(n)) {
				st.forget(uint32(n))
			}
			if o.state == done {
				st.counts[done]++
			}
			o.saved = false // derive counts what is
		}
	}
}

// adoptBlocks takes over output that nodes have of another execution and are known
// to have: others may have what an operation of the same number left before that
// execution's input changed. What is in a pack has one name, and is had from there.
func (a *adopter) adoptBlocks(nodes map[stint.NodeID][]stint.StageOps) {
	for k := range a.same {
		if !a.state.keepsBlocks(k) {
			continue
		}
		held := heldBy(a.old, nodes, k)
		st, before := &a.state.stages[k], &a.old.stages[k]
		for n, m := range each(a.same[k]) {
			o := &st.ops[n]
			if o.state != done || o.saved || before.ops[m].gone || before.ops[m].renamed {
				continue
			}
			if i, ok := before.heldAt(held, m); ok {
				o.node, o.gone, o.renamed = i, false, true
				st.origins = addOrigin(st.origins, n, stint.Origin{Execution: a.old.ID(), Stage: k, First: m})
			}
		}
	}
}

// heldAt finds a node that has output of an operation, as it says and as is known.
func (st *stage) heldAt(said [][]stint.Range, n uint32) (uint16, bool) {
	if i := st.ops[n].node; stint.RangesContain(said[i], n) {
		return i, true
	}
	if len(st.copies) > 0 {
		for i := range said {
			if st.copyOn(uint16(i), n) && stint.RangesContain(said[i], n) {
				return uint16(i), true
			}
		}
	}
	return 0, false
}

// heldBy returns what each node of a state says it has of a stage.
func heldBy(s *State, nodes map[stint.NodeID][]stint.StageOps, k int) [][]stint.Range {
	out := make([][]stint.Range, len(s.nodes))
	for i := range s.nodes {
		for _, held := range nodes[s.nodes[i].id] {
			if held.Stage == k {
				out[i] = append(out[i], held.Ops...)
			}
		}
		slices.SortFunc(out[i], func(a, b stint.Range) int { return cmp.Compare(a.From, b.From) })
	}
	return out
}

// adoptPacks takes over the execution's own packs, or copies that it has of
// another's, by the keys of those. In a pack an operation goes by
// the number that it had when the pack was written, which is not always that of the
// earlier state: the input may have changed before.
func (a *adopter) adoptPacks(copies map[string]string) {
	for k := range min(len(a.same), len(a.old.stages)) {
		st, before := &a.state.stages[k], &a.old.stages[k]
		for _, was := range before.packs {
			p := pack{Pack: was.Pack}
			if a.old.ID() != a.state.ID() {
				if p.Key = copies[was.Key]; p.Key == "" {
					continue
				}
			}
			var names []originRun
			for n, m := range each(runsFrom(a.same[k], was.ops)) {
				if o := &st.ops[n]; o.state != done || o.saved {
					continue
				}
				name := stint.Origin{Execution: a.old.ID(), Stage: k, First: m}
				if was.renamed {
					name = *before.origin(m)
				}
				st.ops[n].saved = true
				p.ops = appendOp(p.ops, n)
				p.renamed = p.renamed || name.First != n
				names = addOrigin(names, n, name)
			}
			if p.ops != nil {
				st.packs = append(st.packs, p)
			}
			if p.renamed {
				st.origins = append(st.origins, names...)
			}
		}
	}
}

// adoptCheckpoints takes over the checkpoints of operations that are the same.
func (a *adopter) adoptCheckpoints() {
	for key, c := range a.old.checkpoints {
		if key.stage >= len(a.same) {
			continue
		}
		for n := range each(runsFrom(a.same[key.stage], []stint.Range{{From: key.op, To: key.op + 1}})) {
			c.Op = n
			a.state.checkpoints[opKey{key.stage, n}] = c
		}
	}
}

// runsFrom returns the part of runs that leads to operations of a sorted list.
func runsFrom(runs []plan.Run, ops []stint.Range) []plan.Run {
	var out []plan.Run
	for len(runs) > 0 && len(ops) > 0 {
		end := runs[0].First + uint32(runs[0].Ops.Len())
		if from, to := max(runs[0].First, ops[0].From), min(end, ops[0].To); from < to {
			n := runs[0].Ops.From + from - runs[0].First
			out = append(out, plan.Run{Ops: stint.Range{From: n, To: n + to - from}, First: from})
		}
		if end < ops[0].To {
			runs = runs[1:]
		} else {
			ops = ops[1:]
		}
	}
	return out
}

// appendOp adds an operation to a sorted list of ranges that ends before it.
func appendOp(list []stint.Range, n uint32) []stint.Range {
	if at := len(list) - 1; at >= 0 && list[at].To == n {
		list[at].To++
		return list
	}
	return append(list, stint.Range{From: n, To: n + 1})
}

// adoption says what became of each stage's completed operations.
func (a *adopter) adoption() Adoption {
	var out Adoption
	for k := range a.state.stages {
		out.Reused = append(out.Reused, int64(a.state.stages[k].counts[done]))
	}
	for k := range a.old.stages {
		before := &a.old.stages[k]
		same, reused, deficient := int64(0), int64(0), int64(0)
		if k < len(a.same) {
			reused, deficient = out.Reused[k], a.deficient[k]
			for _, m := range each(a.same[k]) {
				if before.ops[m].state == done {
					same++
				}
			}
		}
		why := whyInput
		if d := plan.Difference(a.state.plan, a.old.plan, k); d != "" {
			why = "changed: " + d
		}
		out.redone(before.spec.Name, int64(before.counts[done])-same-deficient, why)
		out.redone(before.spec.Name, deficient, whyDeficient)
		out.redone(before.spec.Name, same-reused, whyGone)
	}
	return out
}

func (a *Adoption) redone(stage string, ops int64, why string) {
	if ops > 0 {
		a.Redone = append(a.Redone, stint.Redone{Stage: stage, Operations: ops, Reason: why})
	}
}
