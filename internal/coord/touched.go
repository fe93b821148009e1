package coord

import (
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
	ops   []uint32       // that are to be compared
}

// Touched finds them in the listing of a plan that is made anew. There are none if
// its first stage does something else: then it does not matter.
func (s *State) Touched(p *plan.Plan) *Touched {
	was, now := s.plan.Listing.Objects, p.Listing.Objects
	if plan.Difference(p, s.plan, 0) != "" {
		now = nil
	}
	t := &Touched{state: s, now: make([]stint.Object, len(was)), equal: make([]bool, len(was))}
	some := false
	for i, rest := 0, now; i < len(was) && len(rest) > 0; {
		switch order := strings.Compare(was[i].URL, rest[0].URL); {
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
		t.choose()
	}
	return t
}

// choose leaves out objects of which a part was not read, or is not known to have
// been read, and then chooses the operations that read the others.
func (t *Touched) choose() {
	st := &t.state.stages[0]
	for n := range uint32(len(st.ops)) {
		if !t.comparable(n) {
			t.different(n)
		}
	}
	for n := range uint32(len(st.ops)) {
		from, to := t.state.plan.Objects(n)
		for i := from; i < to; i++ {
			if t.equal[i] {
				t.ops = append(t.ops, n)
				break
			}
		}
	}
}

func (t *Touched) comparable(n uint32) bool {
	st := &t.state.stages[0]
	if st.ops[n].state != done || st.inputSums == nil || st.inputSums[n] == 0 {
		return false
	}
	from, to := t.state.plan.Objects(n)
	for i := from; i < to; i++ {
		if t.now[i].URL == "" {
			return false
		}
	}
	return true
}

func (t *Touched) different(n uint32) {
	from, to := t.state.plan.Objects(n)
	for i := from; i < to; i++ {
		t.equal[i] = false
	}
}

// Len returns how many operations there are whose input is to be compared.
func (t *Touched) Len() int { return len(t.ops) }

// Compare returns what the i-th of them has read, of the objects as they are now,
// and the sum of its bytes as they were then.
func (t *Touched) Compare(i int) (stint.Subset, uint64) {
	n := t.ops[i]
	subset := t.state.plan.Subset(n)
	from, _ := t.state.plan.Objects(n)
	for k := range subset.Pieces {
		subset.Pieces[k].Object = t.now[from+k]
	}
	return subset, t.state.stages[0].inputSums[n]
}

// Different notes that the i-th of them would read other bytes now.
func (t *Touched) Different(i int) { t.different(t.ops[i]) }

// Content returns what [Adopt] wants to know: whether an object as it was listed
// first has the content that it has in the listing that was made anew.
func (t *Touched) Content() func(before, now stint.Object) bool {
	versions := make(map[string]string)
	for i, equal := range t.equal {
		if equal {
			versions[t.now[i].URL] = t.now[i].Version
		}
	}
	return func(_, now stint.Object) bool {
		version, touched := versions[now.URL]
		return touched && version == now.Version
	}
}
