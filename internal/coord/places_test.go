package coord

import (
	"slices"
	"testing"

	"stint"
)

// checkPlaces checks what is known of where output lies.
func checkPlaces(t *testing.T, s *State) {
	t.Helper()
	out := 0
	for i := range s.nodes {
		out += s.nodes[i].queued + s.nodes[i].begun
	}
	if out != s.out {
		t.Errorf("%d operations are out; the nodes say %d", s.out, out)
	}
	for k := range s.stages {
		st := &s.stages[k]
		holds, saved, reused := make([]int, len(s.nodes)), 0, 0
		for n := range st.ops {
			o := &st.ops[n]
			checkPlace(t, s, k, uint32(n))
			if o.saved {
				saved++
			}
			if o.reused {
				reused++
			}
			if o.state == done && !o.gone && s.keepsBlocks(k) {
				holds[o.node]++
			}
		}
		if saved != st.saved || reused != st.reused {
			t.Errorf("stage %d: %d saved, %d reused; the operations say %d and %d", k, st.saved, st.reused, saved, reused)
		}
		for i := range holds {
			if st.heldOn(uint16(i)) != holds[i] {
				t.Errorf("stage %d: node %d holds %d; the operations say %d", k, i, st.heldOn(uint16(i)), holds[i])
			}
		}
	}
	checkChores(t, s)
}

func checkPlace(t *testing.T, s *State, k int, n uint32) {
	t.Helper()
	st := &s.stages[k]
	o := &st.ops[n]
	packed, copied := false, false
	for _, p := range st.packs {
		packed = packed || stint.RangesContain(p.ops, n)
	}
	for i := range s.nodes {
		copied = copied || st.copyOn(uint16(i), n)
	}
	if packed != o.saved {
		t.Errorf("operation %d of stage %d: saved is %v, in a pack is %v", n, k, o.saved, packed)
	}
	if o.state != done && (o.saved || o.gone || o.reused || o.renamed || copied) {
		t.Errorf("operation %d of stage %d is %s: %+v, copied %v", n, k, stateName(o.state), *o, copied)
	}
	if o.gone && copied || st.copyOn(o.node, n) {
		t.Errorf("operation %d of stage %d: %+v has a copy that should be its own, or has none", n, k, *o)
	}
	if o.gone && !s.keepsBlocks(k) {
		t.Errorf("operation %d of stage %d writes no block and has lost it", n, k)
	}
	if _, some := s.checkpoints[opKey{k, n}]; some && o.state == done {
		t.Errorf("operation %d of stage %d is done and has a checkpoint", n, k)
	}
}

// checkChores checks that the list of what is to be saved and copied has all that
// a look at the operations finds, unless it is under way.
func checkChores(t *testing.T, s *State) {
	t.Helper()
	if s.chores == nil {
		return
	}
	listed := s.chores
	s.findChores()
	found := s.chores
	s.chores = listed
	if !s.busy() {
		return
	}
	for name, lists := range map[string][2][][]todo{
		"save": {found.saves, listed.saves}, "copy": {found.copies, listed.copies}, "take over": {found.own, listed.own},
	} {
		for k := range lists[0] {
			for i := range lists[0][k] {
				for _, n := range lists[0][k][i].ops {
					if !slices.Contains(lists[1][k][i].ops, n) {
						t.Errorf("nobody knows that node %d is to %s operation %d of stage %d", i, name, n, k)
					}
				}
			}
		}
	}
	if found.stuck > listed.stuck {
		t.Errorf("%d operations are on nodes that are away; %d are known", found.stuck, listed.stuck)
	}
}
