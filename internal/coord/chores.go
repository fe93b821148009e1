package coord

import (
	"cmp"
	"fmt"
	"slices"

	"stint"
)

const (
	choreBytes     = 64 << 20 // of output that one errand saves or copies, by the mean size
	choreOps       = 1 << 16  // in one errand
	savesStopping  = 2        // errands at a time on one node while the execution is suspended
	savesOtherwise = 1
	copiesAtOnce   = 2     // errands at a time on one target
	savePause      = 1_000 // between the beginnings of saves on one node, unless there is a chunk of full size
	savePausePack  = 1     // more for each pack there is, so that there are never too many
)

// chores lists the output that is to be saved or copied. It is found out in one
// look at all operations, added to as operations complete, and thrown away when
// something changes that concerns many of them. An entry that is no longer to be
// done is skipped when its turn comes.
type chores struct {
	saves  [][]todo // by stage and by the node that saves
	copies [][]todo // by stage and by the node that has it, those in packs alone behind the last
	own    [][]todo // by stage and by the node that has it under another name and is to save it
	stuck  int      // operations to be saved whose nodes are all away
	unseen int      // of stuck, those that have a node that may attach any moment
	look   bool     // there may be something to begin
	again  int64    // when to look again, if not before; 0: no need
	want   int      // nodes that are to keep each output
	alone  bool     // there is no node that stays
}

// todo is a list of operations, sorted when the first is taken.
type todo struct {
	ops    []uint32
	sorted bool
}

// flight is an errand under way that saves or copies output.
type flight struct {
	id    string
	kind  stint.ErrandKind
	stage int
	node  uint16        // that saves, or that gets the copy
	ops   []stint.Range // that were not undone meanwhile
	until int64         // when it is given up if it was not answered
}

func (t *todo) add(n uint32) {
	t.sorted = t.sorted && (len(t.ops) == 0 || t.ops[len(t.ops)-1] < n)
	t.ops = append(t.ops, n)
}

// take removes at most most operations for which want holds, from the front;
// those that are passed over stay only if keep holds.
func (t *todo) take(most int, want, keep func(n uint32) bool) []stint.Range {
	if !t.sorted {
		slices.Sort(t.ops)
		t.ops = slices.Compact(t.ops)
		t.sorted = true
	}
	var taken []stint.Range
	var passed []uint32
	at := 0
	for ; at < len(t.ops) && most > 0; at++ {
		switch n := t.ops[at]; {
		case want(n):
			taken = stint.AddToRanges(taken, n)
			most--
		case keep(n):
			passed = append(passed, n)
		}
	}
	if t.ops = t.ops[at:]; len(passed) > 0 {
		t.ops = append(passed, t.ops...)
	}
	return taken
}

// saving reports whether all output that is wanted is to be saved now.
func (s *State) saving() bool {
	return s.savingLast() || s.status == stint.InProgress && s.request.Save == stint.SaveContinuous
}

// savingLast reports whether saving is all there is to do.
func (s *State) savingLast() bool {
	return s.status == stint.Suspending && s.out == 0 || s.endsWithErrors()
}

// busy reports whether there may be something to save or to copy at all.
func (s *State) busy() bool {
	if s.status != stint.InProgress {
		return s.saving()
	}
	return s.saving() || s.request.Replication > 1 || len(s.held) > 0 || len(s.moved) > 0 || len(s.draining) > 0
}

// wantsSave reports whether the output of operation n is to go to long-term storage.
func (s *State) wantsSave(k int, n uint32) bool {
	o := &s.stages[k].ops[n]
	if o.state != done || o.saved || o.gone || !s.wanted(k, n) {
		return false
	}
	return s.saving() || s.heldJob(o.job) != nil || s.leftAlone(k, n)
}

// leftAlone reports whether the output is on nodes only that are drained, and no
// other node is there to take it.
func (s *State) leftAlone(k int, n uint32) bool {
	return s.chores.alone && slices.ContainsFunc(s.holders(k, n), s.isDraining)
}

// wantsCopy reports whether one more node is to keep the output of operation n.
func (s *State) wantsCopy(k int, n uint32) bool {
	o := &s.stages[k].ops[n]
	if s.status != stint.InProgress || o.state != done || o.nowhere() || !s.needed(k, n) {
		return false
	}
	here, elsewhere := 0, 0
	from, moved := s.movedFrom(o.job)
	for _, i := range s.holders(k, n) {
		if s.good(i) {
			here++
			if i != from {
				elsewhere++
			}
		}
	}
	if here < s.chores.want {
		return s.chores.want > 1 || !o.saved // a single copy in long-term storage is as good
	}
	return moved && elsewhere == 0 && !o.saved
}

// readyHolder returns a node that can be asked for the output of operation n, of
// several the first of those that have answered best.
func (s *State) readyHolder(k int, n uint32) (best uint16, found bool) {
	for _, i := range s.holders(k, n) {
		if s.nodes[i].status == nodeReady && !s.mute(i) && (!found || s.unanswered[i] < s.unanswered[best]) {
			best, found = i, true
		}
	}
	return best, found
}

// findChores looks at all operations.
func (s *State) findChores() {
	c := &chores{look: true, want: s.replication(), alone: len(s.draining) > 0}
	for i := range s.nodes {
		c.alone = c.alone && !s.good(uint16(i))
	}
	lists := func() [][]todo {
		out := make([][]todo, len(s.stages))
		for k := range out {
			out[k] = make([]todo, len(s.nodes)+1)
		}
		return out
	}
	c.saves, c.copies, c.own = lists(), lists(), lists()
	s.chores = c
	for k := range s.stages {
		if !s.keepsBlocks(k) || k+1 == len(s.stages) {
			continue
		}
		flying, kept := s.flying(k), s.goodCopies(k)
		for n := range s.stages[k].ops {
			o := &s.stages[k].ops[n]
			if o.state != done || stint.RangesContain(flying, uint32(n)) {
				continue
			}
			if !o.gone && s.good(o.node) {
				kept[n]++
			}
			if int(kept[n]) < c.want || len(s.moved) > 0 || s.wantsSave(k, uint32(n)) {
				s.addChore(k, uint32(n))
			}
		}
	}
}

// goodCopies counts, for each operation of a stage, the good nodes that hold its
// output beside its own.
func (s *State) goodCopies(k int) []uint8 { return s.stages[k].countCopies(s.good) }

// countCopies counts, for each operation of a stage, the nodes of some kind that
// hold its output beside its own.
func (st *stage) countCopies(kind func(uint16) bool) []uint8 {
	kept := make([]uint8, len(st.ops))
	for i := range st.copies {
		if !kind(uint16(i)) {
			continue
		}
		for _, r := range st.copies[i] {
			for n := r.From; n < r.To; n++ {
				kept[n]++
			}
		}
	}
	return kept
}

func (s *State) flying(k int) (ops []stint.Range) {
	for _, f := range s.flights {
		if f.stage == k {
			for _, r := range f.ops {
				ops = stint.UnionRange(ops, r)
			}
		}
	}
	return ops
}

// addChore lists what is to be done with the output of an operation. Before
// chores were found out that is left to who finds them.
func (s *State) addChore(k int, n uint32) {
	c := s.chores
	if c == nil {
		return
	}
	save, more := s.wantsSave(k, n), s.wantsCopy(k, n)
	if !save && !more {
		return
	}
	i, ready := s.readyHolder(k, n)
	o := &s.stages[k].ops[n]
	if save {
		switch {
		case !ready:
			c.stuck++
			if slices.ContainsFunc(s.holders(k, n), func(i uint16) bool { return s.nodes[i].status == nodeUnseen }) {
				c.unseen++
			}
		case o.renamed && i == o.node:
			c.own[k][i].add(n)
		default:
			c.saves[k][i].add(n)
		}
		c.look = true
	}
	if more && ready {
		c.copies[k][i].add(n)
		c.look = true
	} else if more && o.saved {
		c.copies[k][len(s.nodes)].add(n)
		c.look = true
	}
}

// left returns how many operations are listed to be saved or are being saved.
func (s *State) left() int {
	n := s.chores.stuck
	for k := range s.stages {
		for i := range s.chores.saves[k] {
			n += len(s.chores.saves[k][i].ops) + len(s.chores.own[k][i].ops)
		}
	}
	for _, f := range s.flights {
		n += stint.CountRanges(f.ops)
	}
	return n
}

// doChores begins errands that save and copy, as many as may be under way.
func (s *State) doChores(d *Delta, now int64) {
	s.cancelStranded(d)
	s.giveUpUnanswered(d, now)
	if !s.busy() {
		s.chores = nil
		return
	}
	if s.chores == nil {
		s.findChores()
	}
	c := s.chores
	if s.pause > now || !c.look && (c.again == 0 || c.again > now) {
		return
	}
	c.look, c.again = false, 0
	s.countFlights()
	for i := range s.nodes {
		if s.nodes[i].status == nodeReady {
			s.beginSaves(d, now, uint16(i))
		}
	}
	targets := s.copyTargets()
	for k := range s.stages {
		for i := range c.copies[k] {
			if len(targets) == 0 {
				return
			}
			targets = s.beginCopies(d, now, k, i, targets)
		}
	}
}

// countFlights counts for each node what is under way there.
func (s *State) countFlights() {
	for i := range s.nodes {
		s.nodes[i].saves, s.nodes[i].copies = 0, 0
	}
	for _, f := range s.flights {
		s.nodes[f.node].count(f.kind)
	}
}

func (n *node) count(kind stint.ErrandKind) {
	if kind == stint.ErrandSave {
		n.saves++
	} else {
		n.copies++
	}
}

// beginSaves has a node save what it holds, later stages last.
func (s *State) beginSaves(d *Delta, now int64, i uint16) {
	free := savesOtherwise
	if s.savingLast() {
		free = savesStopping
	}
	free -= s.nodes[i].saves
	for k := range s.stages {
		for free > 0 && len(s.chores.saves[k][i].ops) > 0 {
			list := &s.chores.saves[k][i]
			if s.tooSoon(now, i, k, len(list.ops)) {
				break
			}
			want := func(n uint32) bool { return s.wantsSave(k, n) && slices.Contains(s.holders(k, n), i) }
			ops := list.take(s.choreSize(k), want, func(uint32) bool { return false })
			if len(ops) > 0 {
				s.beginSave(d, now, i, k, ops)
				s.nodes[i].savedAt = now
				free--
			}
		}
		if own := &s.chores.own[k][i]; len(own.ops) > 0 && s.nodes[i].copies < copiesAtOnce {
			want := func(n uint32) bool { return s.wantsSave(k, n) && s.stages[k].ops[n].renamed }
			if ops := own.take(s.choreSize(k), want, func(uint32) bool { return false }); len(ops) > 0 {
				s.beginCopy(d, now, i, k, ops)
			}
		}
	}
}

// tooSoon reports whether a node that saves in the background should first let
// more output come together.
func (s *State) tooSoon(now int64, i uint16, k, ops int) bool {
	at := s.nodes[i].savedAt + savePause + savePausePack*int64(len(s.stages[k].packs))
	if s.nodes[i].savedAt == 0 || s.savingLast() || ops >= s.choreSize(k) || now >= at {
		return false
	}
	if c := s.chores; c.again == 0 || at < c.again {
		c.again = at
	}
	return true
}

func (s *State) beginSave(d *Delta, now int64, i uint16, k int, ops []stint.Range) {
	name := s.choreName()
	s.savesAsked = true
	s.fly(d, now, flight{id: fmt.Sprintf("%s/save-%s", s.ID(), name), kind: stint.ErrandSave, stage: k, node: i, ops: ops}, stint.Errand{
		Prefix: fmt.Sprintf("saved/%s/pack-%s", s.ID(), name),
	})
}

// beginCopies has nodes copy output of a stage that lies on node i, or in packs
// alone. It returns the targets that may be given more.
func (s *State) beginCopies(d *Delta, now int64, k, i int, targets []uint16) []uint16 {
	list := &s.chores.copies[k][i]
	if len(list.ops) == 0 {
		return targets
	}
	for _, t := range targets {
		for int(t) != i && len(list.ops) > 0 && s.nodes[t].copies < copiesAtOnce {
			want := func(n uint32) bool {
				from, moved := s.movedFrom(s.stages[k].ops[n].job)
				holders := s.holders(k, n)
				only := moved && !slices.ContainsFunc(holders, func(i uint16) bool { return i != from && s.good(i) })
				return s.wantsCopy(k, n) && !slices.Contains(holders, t) && (!only || from != t)
			}
			ops := list.take(s.choreSize(k), want, func(n uint32) bool { return s.wantsCopy(k, n) })
			if len(ops) == 0 {
				break
			}
			s.beginCopy(d, now, t, k, ops)
		}
	}
	return slices.DeleteFunc(targets, func(t uint16) bool { return s.nodes[t].copies >= copiesAtOnce })
}

// copyTargets returns the nodes that may be given output to keep now, those first
// that hold and await the least of it.
func (s *State) copyTargets() []uint16 {
	var out []uint16
	load := make([]int, len(s.nodes))
	for i := range s.nodes {
		if !s.target(uint16(i)) || s.nodes[i].copies >= copiesAtOnce {
			continue
		}
		out = append(out, uint16(i))
		for k := range s.stages {
			load[i] += stint.CountRanges(s.stages[k].copiesOn(uint16(i)))
		}
	}
	for _, f := range s.flights {
		if f.kind == stint.ErrandCopy {
			load[f.node] += stint.CountRanges(f.ops)
		}
	}
	slices.SortStableFunc(out, func(a, b uint16) int {
		return cmp.Or(s.unanswered[a]-s.unanswered[b], load[a]-load[b])
	})
	return out
}

func (s *State) beginCopy(d *Delta, now int64, i uint16, k int, ops []stint.Range) {
	sources := slices.DeleteFunc(s.findSources(k, ops).list, func(src stint.Source) bool {
		return src.Node == s.nodes[i].id && src.Origin == nil
	})
	s.fly(d, now, flight{id: fmt.Sprintf("%s/copy-%s", s.ID(), s.choreName()), kind: stint.ErrandCopy, stage: k, node: i, ops: ops}, stint.Errand{Sources: sources})
}

func (s *State) fly(d *Delta, now int64, f flight, e stint.Errand) {
	f.until = s.deadline(now, &f)
	s.flights = append(s.flights, f)
	s.nodes[f.node].count(f.kind)
	e.ID, e.Kind, e.Execution, e.Storage, e.Stage, e.Ops = f.id, f.kind, s.ID(), s.home, f.stage, slices.Clone(f.ops)
	d.Errands = append(d.Errands, Dispatch{Errand: e, Node: s.nodes[f.node].id})
}

// choreName names an errand as no other of any owner of this execution, nor of
// this owner before it read the record anew.
func (s *State) choreName() string {
	s.made++
	return fmt.Sprintf("%d-%d-%d", s.epoch, s.loaded, s.made)
}

// choreSize returns how many operations of a stage one errand takes.
func (s *State) choreSize(k int) int {
	st := &s.stages[k]
	mean := st.sums.BytesOut / int64(max(st.counts[done], 1))
	return int(min(max(choreBytes/max(mean, 1), 1), choreOps))
}

// cancelStranded gives up errands on nodes that are not there any more.
func (s *State) cancelStranded(d *Delta) {
	s.cancel(d, func(f *flight) bool { return s.nodes[f.node].status != nodeReady || len(f.ops) == 0 })
}

// cancel gives up errands; what they were to do is found out again.
func (s *State) cancel(d *Delta, which func(*flight) bool) {
	before := len(s.flights)
	s.flights = slices.DeleteFunc(s.flights, func(f flight) bool {
		if which(&f) {
			d.Cancel = append(d.Cancel, f.id)
			return true
		}
		return false
	})
	if len(s.flights) < before {
		s.chores = nil
	}
}

func (s *State) cancelAll(d *Delta) {
	s.cancel(d, func(*flight) bool { return true })
	s.cancelRecord(d)
}

// landed takes in the result of an errand that saved or copied, and reports
// whether it was one.
func (s *State) landed(d *Delta, now int64, r *stint.ErrandResult) bool {
	at := slices.IndexFunc(s.flights, func(f flight) bool { return f.id == r.ID })
	if at < 0 {
		return false
	}
	f := s.flights[at]
	s.flights = slices.Delete(s.flights, at, at+1)
	delete(s.unanswered, f.node)
	if s.chores != nil {
		s.chores.look = true
	}
	if r.Error != nil {
		s.putOff(now, r.Error)
		return true
	}
	moved := false
	node := s.nodes[f.node].id
	r.Packs = slices.DeleteFunc(r.Packs, func(p stint.Pack) bool { return p.Stage != f.stage })
	bad := slices.Clone(r.Bad)
	if f.kind == stint.ErrandSave {
		if moved = len(r.Packs) > 0; moved {
			s.record(d, Record{At: now, Saved: &SavedRecord{Packs: r.Packs, Ops: f.ops}})
		}
		if len(r.Lost) > 0 {
			bad = append(bad, stint.BadCopy{Node: node, Stage: f.stage, Ops: r.Lost})
		}
	} else if ops := common(f.ops, r.Ops); len(ops) > 0 {
		moved = true
		s.record(d, Record{At: now, Copied: &CopiedRecord{Node: node, Stage: f.stage, Ops: ops}})
	}
	if len(bad) > 0 {
		s.record(d, Record{At: now, Bad: &BadRecord{Copies: bad}})
	}
	if s.chores != nil && s.undone(f) {
		s.chores = nil
	}
	if moved || len(bad) > 0 {
		s.pauses, s.pauseErr = 0, nil
	} else {
		s.putOff(now, stint.Errorf(stint.Unavailable, "node %s could do nothing of what it was to %s", node, f.kind))
	}
	return true
}

// undone reports whether something of an errand that ended is still to be done.
func (s *State) undone(f flight) bool {
	for _, r := range f.ops {
		for n := r.From; n < r.To; n++ {
			if f.kind == stint.ErrandSave && s.wantsSave(f.stage, n) || f.kind == stint.ErrandCopy && !slices.Contains(s.holders(f.stage, n), f.node) {
				return true
			}
		}
	}
	return false
}

// putOff has saving and copying wait after an error.
func (s *State) putOff(now int64, err *stint.Error) {
	s.pauses++
	s.pause, s.pauseErr = now+backoff(s.pauses+2, 0), err
	s.chores = nil
}
