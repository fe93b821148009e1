package coord

import (
	"slices"

	"stint"
)

// pack is an object of long-term storage and what of it can still be used.
type pack struct {
	stint.Pack
	ops     []stint.Range // in our numbering
	renamed bool          // its operations go by the names in stage.origins
}

func (s *State) applySaved(r *SavedRecord) {
	for _, p := range r.Packs {
		if p.Stage < 0 || p.Stage >= len(s.stages) || !s.keepsBlocks(p.Stage) {
			continue
		}
		st := &s.stages[p.Stage]
		if slices.ContainsFunc(st.packs, func(q pack) bool { return q.Key == p.Key }) {
			continue
		}
		var ops []stint.Range
		for _, part := range p.Ops {
			for _, run := range stint.ClipRanges(r.Ops, part) {
				for n := run.From; n < min(run.To, uint32(len(st.ops))); n++ {
					if st.ops[n].state == done {
						ops = stint.AddToRanges(ops, n)
						st.markSaved(n)
						s.addChore(p.Stage, n) // it may still be to be copied
					}
				}
			}
		}
		if ops != nil {
			st.packs = append(st.packs, pack{Pack: p, ops: ops})
		}
		if st.sources != nil && len(st.sources.unreachable) > 0 {
			st.sources = nil
		}
	}
}

func (st *stage) markSaved(n uint32) {
	if o := &st.ops[n]; !o.saved {
		o.saved = true
		st.saved++
		st.touch(n)
	}
}

// unpackFrom notes that output cannot be had from a pack. What is in another is
// saved still.
func (st *stage) unpackFrom(key string, said []stint.Range) {
	var ops []stint.Range // sorted
	for _, r := range said {
		ops = stint.UnionRange(ops, stint.Range{From: r.From, To: min(r.To, uint32(len(st.ops)))})
	}
	var left []stint.Range
	for p := range st.packs {
		if st.packs[p].Key == key {
			st.packs[p].ops = without(st.packs[p].ops, ops)
		}
		for _, r := range common(st.packs[p].ops, ops) {
			left = stint.UnionRange(left, r)
		}
	}
	for _, r := range without(ops, left) {
		for n := r.From; n < r.To; n++ {
			if o := &st.ops[n]; o.saved {
				o.saved = false
				st.saved--
				st.touch(n)
			}
		}
	}
	st.sources = nil
}

// dropPacks forgets the packs of which nothing can be used any more. They are
// removed with everything else when the execution ends.
func (st *stage) dropPacks() {
	before := len(st.packs)
	st.packs = slices.DeleteFunc(st.packs, func(p pack) bool { return len(p.ops) == 0 })
	if len(st.packs) < before {
		st.sources = nil
	}
}

// Packs returns the packs in long-term storage that the execution would resume from.
func (s *State) Packs() []stint.Pack {
	var out []stint.Pack
	for k := range s.stages {
		for _, p := range s.stages[k].packs {
			if slices.ContainsFunc(p.ops, func(r stint.Range) bool { return s.someNeeded(k, r) }) {
				out = append(out, p.Pack)
			}
		}
	}
	return out
}

func (s *State) someNeeded(k int, r stint.Range) bool {
	for n := r.From; n < r.To; n++ {
		if s.wanted(k, n) {
			return true
		}
	}
	return false
}

// Checkpoints returns the checkpoint folders in long-term storage that operations
// would resume from.
func (s *State) Checkpoints() []stint.Checkpoint {
	var out []stint.Checkpoint
	for _, key := range s.checkpointKeys() {
		out = append(out, s.checkpoints[key])
	}
	return out
}

func (s *State) checkpointKeys() []opKey {
	keys := make([]opKey, 0, len(s.checkpoints))
	for key := range s.checkpoints {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, opKey.compare)
	return keys
}

// StagedParts returns the parts that are staged in the output location.
func (s *State) StagedParts() []stint.Part {
	return slices.DeleteFunc(slices.Clone(s.parts), func(p stint.Part) bool { return p.Name == "" })
}

// savedReport says what lies in long-term storage.
// clearedAway reports whether nothing of what was saved is left.
func (s *State) clearedAway() bool { return s.settled && s.status != stint.CompletedErrors }

func (s *State) savedReport() stint.SavedReport {
	r := stint.SavedReport{Location: s.home}
	if s.clearedAway() {
		return r
	}
	for k := range s.stages {
		r.Operations += int64(s.stages[k].saved)
		for _, p := range s.stages[k].packs {
			r.Bytes += p.Bytes
		}
	}
	for _, c := range s.checkpoints {
		r.Bytes += c.Bytes
	}
	return r
}
