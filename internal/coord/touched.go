package coord

import (
	"cmp"
	"strings"

	"stint"
	"stint/internal/plan"
)

// Touched are the objects of an input that have another version than when the
// execution listed them, and the same size: their content may be the same.
// Whether it is, the completed operations know that read them.
type Touched struct {
	state *State
	now   []stint.Object // what has become of each object of the listing; no URL: gone, or of another size
	equal []bool         // by object of the listing: touched, and not known to be of another content
	ops   []opKey        // that are to be compared
}

// Touched finds them in the listing of a plan that is made anew. There are none if
// all stages that read the input do something else: then it does not matter.
func (s *State) Touched(p *plan.Plan) *Touched {
	was, now := s.plan.Listing.Objects, p.Listing.Objects
	var stages []int // that do the same
	for k := range s.stages {
		if s.plan.ReadsInput(k) && plan.Difference(p, s.plan, k) == "" {
			stages = append(stages, k)
		}
	}
	if len(stages) == 0 {
		now = nil
	}
	t := &Touched{state: s, now: make([]stint.Object, len(was)), equal: make([]bool, len(was))}
	some := false
	for i, rest := 0, now; i < len(was) && len(rest) > 0; {
		switch order := cmp.Or(strings.Compare(was[i].Input, rest[0].Input), strings.Compare(was[i].URL, rest[0].URL)); {
		case order < 0:
			i++
		case order > 0:
			rest = rest[1:]
		default:
			if was[i].Size == rest[0].Size {
				t.now[i] = rest[0]
				t.equal[i] = was[i].Version != rest[0].Version
				some = some || t.equal[i]
			}
			i, rest = i+1, rest[1:]
		}
	}
	if some {
		t.choose(stages)
	}
	return t
}

// choose leaves out objects of which no stage has read all, or is known to have,
// and then chooses for each other the operations of the first stage that has.
func (t *Touched) choose(stages []int) {
	whole := make([]int, len(t.equal)) // the stage that read all of an object, plus 1
	for _, k := range stages {
		for i, known := range t.readBy(k) {
			if known && whole[i] == 0 {
				whole[i] = k + 1
			}
		}
	}
	for i, o := range t.state.plan.Listing.Objects {
		t.equal[i] = t.equal[i] && (whole[i] > 0 || o.Size == 0)
	}
	for _, k := range stages {
		for n := range uint32(len(t.state.stages[k].ops)) {
			from, to := t.state.plan.Objects(k, n)
			for i := from; i < to; i++ {
				if t.equal[i] && whole[i] == k+1 {
					t.ops = append(t.ops, opKey{k, n})
					break
				}
			}
		}
	}
}

// readBy reports for each object whether operations of a stage have read it whose
// sums are known, and none that is not comparable.
func (t *Touched) readBy(k int) []bool {
	read, unknown := make([]bool, len(t.equal)), make([]bool, len(t.equal))
	for n := range uint32(len(t.state.stages[k].ops)) {
		from, to := t.state.plan.Objects(k, n)
		known := t.comparable(k, n)
		for i := from; i < to; i++ {
			read[i], unknown[i] = true, unknown[i] || !known
		}
	}
	for i := range read {
		read[i] = read[i] && !unknown[i]
	}
	return read
}

func (t *Touched) comparable(k int, n uint32) bool {
	st := &t.state.stages[k]
	if st.ops[n].state != done || st.inputSums == nil || st.inputSums[n] == 0 {
		return false
	}
	from, to := t.state.plan.Objects(k, n)
	for i := from; i < to; i++ {
		if t.now[i].URL == "" {
			return false
		}
	}
	return true
}

// Len returns how many operations there are whose input is to be compared.
func (t *Touched) Len() int { return len(t.ops) }

// Compare returns what the i-th of them has read, of the objects as they are now,
// and the sum of its bytes as they were then.
func (t *Touched) Compare(i int) (stint.Subset, uint64) {
	op := t.ops[i]
	subset := t.state.plan.Subset(op.stage, op.op)
	from, _ := t.state.plan.Objects(op.stage, op.op)
	for k := range subset.Pieces {
		subset.Pieces[k].Object = t.now[from+k]
	}
	return subset, t.state.stages[op.stage].inputSums[op.op]
}

// Different notes that the i-th of them would read other bytes now.
func (t *Touched) Different(i int) {
	from, to := t.state.plan.Objects(t.ops[i].stage, t.ops[i].op)
	for k := from; k < to; k++ {
		t.equal[k] = false
	}
}

// Content returns what [Adopt] wants to know: whether an object as it was listed
// first has the content that it has in the listing that was made anew.
func (t *Touched) Content() func(before, now stint.Object) bool {
	touched := make(map[stint.Object]bool)
	for i, equal := range t.equal {
		if equal {
			touched[t.now[i]] = true
		}
	}
	return func(_, now stint.Object) bool { return touched[now] }
}
