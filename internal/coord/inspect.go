package coord

import (
	"fmt"
	"slices"

	"stint"
)

// maxFaults bounds the faults that are listed of one state.
const maxFaults = 20

// Lodging says where the output of a completed operation lies that will be read.
type Lodging struct {
	Stage  int
	Op     uint32
	Nodes  []stint.NodeID // its own node first
	Origin *stint.Origin  // under which name the first of them keeps it; nil: under its own
	Packs  []string       // keys
}

// EachLodging visits the completed operations whose output is on nodes, and will be
// read or would be by a retry. Of an execution that has come to its end, or is about
// to, nothing will: nodes are told to forget it before its end is settled.
func (s *State) EachLodging(visit func(Lodging)) {
	if s.over() {
		return
	}
	for k := range s.stages {
		if !s.keepsBlocks(k) {
			continue
		}
		st := &s.stages[k]
		for n := range st.ops {
			if o := &st.ops[n]; o.state == done && !o.gone && s.wanted(k, uint32(n)) {
				visit(s.lodging(k, uint32(n)))
			}
		}
	}
}

func (s *State) lodging(k int, n uint32) Lodging {
	l := Lodging{Stage: k, Op: n}
	st := &s.stages[k]
	for at, i := range s.holders(k, n) {
		l.Nodes = append(l.Nodes, s.nodes[i].id)
		if at == 0 {
			l.Origin = s.originOf(st, i, n)
		}
	}
	if st.ops[n].saved {
		for p := range st.packs {
			if stint.RangesContain(st.packs[p].ops, n) {
				l.Packs = append(l.Packs, st.packs[p].Key)
			}
		}
	}
	return l
}

// MayComeLate reports whether nodes may be putting something of the execution into
// long-term storage, as far as this owner knows: one that does not hear in time that
// the execution is over goes on with it.
func (s *State) MayComeLate() bool {
	return s.savesAsked || s.generation > 0 || s.stopBy > 0 || len(s.checkpoints) > 0 || s.request.Save == stint.SaveContinuous || len(s.AllPacks()) > 0
}

// AllPacks returns every pack that the state knows of, wanted or not.
func (s *State) AllPacks() []stint.Pack {
	var out []stint.Pack
	for k := range s.stages {
		for _, p := range s.stages[k].packs {
			out = append(out, p.Pack)
		}
	}
	return out
}

// Files returns the files of the execution's program.
func (s *State) Files() []stint.ProgramFile { return s.request.Program.Files }

// Overwrites reports whether the execution may take the place of an output.
func (s *State) Overwrites() bool { return s.request.Overwrite }

// Faults says how a state contradicts itself, or what follows from it does not
// follow; nothing of a state as it should be. At most some are listed.
func (s *State) Faults() []string {
	f := &faults{state: s}
	f.status()
	f.jobs()
	for k := range s.stages {
		f.stage(k)
	}
	f.again()
	return f.list
}

// faults gathers what is wrong with a state.
type faults struct {
	state *State
	list  []string
}

func (f *faults) add(format string, args ...any) {
	if len(f.list) < maxFaults {
		f.list = append(f.list, fmt.Sprintf(format, args...))
	}
}

// status compares the status with the stints and with what is granted.
func (f *faults) status() {
	s := f.state
	if s.settled && !s.status.Final() {
		f.add("it is settled and %s", s.status)
	}
	for i, sp := range s.stints { // their times are those of a clock that may be set back
		if sp.end == 0 && i+1 < len(s.stints) {
			f.add("stint %d of %d has no end", i+1, len(s.stints))
		}
	}
	running := s.status == stint.InProgress || s.status == stint.Suspending
	if n := len(s.stints); n > 0 && (s.stints[n-1].end == 0) != running {
		f.add("it is %s and its latest stint ends at %d", s.status, s.stints[n-1].end)
	}
	if !running && (s.out != 0 || len(s.jobs) > 0) {
		f.add("it is %s with %d operations and %d jobs granted", s.status, s.out, len(s.jobs))
	}
}

// jobs compares the jobs with the operations that say that they are of one.
func (f *faults) jobs() {
	s := f.state
	left := make(map[stint.JobID]int)
	for k := range s.stages {
		for n := range s.stages[k].ops {
			o := &s.stages[k].ops[n]
			if o.state != granted && o.state != begun || o.job == 0 {
				continue
			}
			j := s.jobs[o.job]
			if j == nil || j.stage != k || uint32(n) < j.ops.From || uint32(n) >= j.ops.To || j.node != o.node {
				f.add("operation %s is granted in %s, which does not have it", s.operationID(opKey{k, uint32(n)}), o.job)
				continue
			}
			left[o.job]++
		}
	}
	for id, j := range s.jobs {
		if j.left != left[id] || id > s.lastJob {
			f.add("%s, of %d so far, has %d operations left and says %d", id, s.lastJob, left[id], j.left)
		}
	}
	for i := range s.nodes {
		for _, id := range s.nodes[i].jobs {
			if j := s.jobs[id]; j == nil || int(j.node) != i {
				f.add("node %s has %s, which is not granted to it", s.nodes[i].id, id)
			}
		}
	}
}

// stage looks at the operations of one stage and at their sums.
func (f *faults) stage(k int) {
	s := f.state
	st := &s.stages[k]
	var attempts int64
	most := false // operations have more attempts than are counted
	for n := range st.ops {
		o := &st.ops[n]
		attempts += int64(o.attempts)
		most = most || o.attempts == 255
		f.operation(k, uint32(n))
	}
	if attempts > st.performed || attempts < st.performed && !most && !s.renumbered {
		f.add("stage %s has performed %d attempts, its operations %d", st.spec.Name, st.performed, attempts)
	}
	if st.sums.BytesIn < 0 || st.sums.BytesOut < 0 || st.sums.RecordsIn < 0 || st.sums.RecordsOut < 0 {
		f.add("stage %s has read or written less than nothing", st.spec.Name)
	}
	if s.status == stint.Completed && st.counts[failed] > 0 {
		f.add("it is %s and %d operations of stage %s failed", s.status, st.counts[failed], st.spec.Name)
	}
}

func (f *faults) operation(k int, n uint32) {
	s := f.state
	st := &s.stages[k]
	o := &st.ops[n]
	id := func() stint.OperationID { return s.operationID(opKey{k, n}) }
	if o.state == begun && o.attempts == 0 {
		f.add("operation %s is in progress, and no attempt of it was counted", id())
	}
	if o.state == done && !o.counted && !o.reused {
		f.add("operation %s was completed, and its usage was not counted", id())
	}
	if o.state != done && (o.gone || o.saved || o.reused || o.renamed) {
		f.add("operation %s has output and is not completed", id())
	}
	if o.state == done && o.nowhere() && s.needed(k, n) && !s.status.Final() {
		f.add("operation %s was completed, and its output is nowhere", id())
	}
	if st.spec.Part && !st.spec.NoOutput && (o.state == done) != (s.parts[n].Name != "") {
		f.add("operation %s has the part %q and %d as its state", id(), s.parts[n].Name, o.state)
	}
}

// whole is [State.SnapshotAll] for who does not keep it: what changed is still to
// be written.
func (s *State) whole() Snapshot {
	snap := Snapshot{Version: s.version, Core: s.core()}
	for k := range s.stages {
		for c := range s.stages[k].dirty {
			snap.Chunks = append(snap.Chunks, Chunk{Stage: k, Index: c, Data: s.stages[k].pack(c)})
		}
	}
	return snap
}

// again derives anew what follows from the operations, and compares it with what
// the records have made of it one by one.
func (f *faults) again() {
	s := f.state
	fresh, err := Restore(s.plan, s.request, s.epoch, s.whole())
	if err != nil {
		f.add("its snapshot cannot be restored: %s", err)
		return
	}
	if s.out != fresh.out {
		f.add("%d operations are granted, counted one by one %d", fresh.out, s.out)
	}
	for k := range s.stages {
		a, b := &s.stages[k], &fresh.stages[k]
		if a.counts != b.counts || a.saved != b.saved || a.reused != b.reused {
			f.add("stage %s: operations by state %v, %d saved, %d reused; counted one by one %v, %d, %d", a.spec.Name, b.counts, b.saved, b.reused, a.counts, a.saved, a.reused)
		}
		if !slices.Equal(a.failed, b.failed) || !slices.Equal(a.waitingFor, b.waitingFor) {
			f.add("stage %s: what failed, or what operations wait for, is not what follows from its operations", a.spec.Name)
		}
	}
}
