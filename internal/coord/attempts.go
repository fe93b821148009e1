package coord

import (
	"slices"

	"stint"
)

// keepVoided keeps of the jobs of earlier incarnations what may still be heard
// of: operations that were completed and whose reports are to be sent again.
func (s *State) keepVoided(i uint16, completed []stint.StageOps) {
	n := &s.nodes[i]
	for v := range n.voided {
		var kept []stint.Range
		for _, a := range completed {
			if a.Stage == n.voided[v].stage {
				kept = common(n.voided[v].uncounted, a.Ops)
			}
		}
		n.voided[v].uncounted = kept
	}
	n.dropVoided()
}

// common returns what is in both of two sorted lists of ranges.
func common(a, b []stint.Range) []stint.Range {
	var out []stint.Range
	for len(a) > 0 && len(b) > 0 {
		r := stint.Range{From: max(a[0].From, b[0].From), To: min(a[0].To, b[0].To)}
		if r.From < r.To {
			out = append(out, r)
		}
		if a[0].To < b[0].To {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// without returns what is in the first of two sorted lists of ranges alone.
func without(a, b []stint.Range) []stint.Range {
	var out []stint.Range
	for _, r := range a {
		for len(b) > 0 && b[0].To <= r.From {
			b = b[1:]
		}
		for _, cut := range b {
			if cut.From >= r.To {
				break
			}
			if r.From < cut.From {
				out = append(out, stint.Range{From: r.From, To: cut.From})
			}
			r.From = max(r.From, cut.To)
		}
		if r.From < r.To {
			out = append(out, r)
		}
	}
	return out
}

func (n *node) dropVoided() {
	n.voided = slices.DeleteFunc(n.voided, func(v voidedJob) bool { return len(v.uncounted) == 0 })
}

// countVoided counts an attempt of a voided job, unless it was counted before.
func (s *State) countVoided(i uint16, v *voidedJob, n uint32) {
	if stint.RangesContain(v.uncounted, n) {
		v.uncounted = stint.SubtractRange(v.uncounted, stint.Range{From: n, To: n + 1})
		s.countAttempt(i, v.stage, n)
	}
}

// heard counts the attempt of operation n in a job that a report of node i
// speaks of, unless it was counted before. A job that is live counts by the
// state of its operations.
func (s *State) heard(i uint16, id stint.JobID, n uint32) {
	if j := s.jobs[id]; j != nil {
		if n >= j.ops.From && n < j.ops.To && j.node == i {
			if o := &s.stages[j.stage].ops[n]; o.job == id && o.state == granted {
				s.countAttempt(i, j.stage, n)
			}
		}
		return
	}
	for v := range s.nodes[i].voided {
		if s.nodes[i].voided[v].id == id {
			s.countVoided(i, &s.nodes[i].voided[v], n)
		}
	}
}

func (s *State) countAttempt(i uint16, k int, n uint32) {
	st := &s.stages[k]
	st.performed++
	s.nodes[i].performed = true
	if o := &st.ops[n]; o.attempts < 255 {
		o.attempts++
	}
	st.touch(n)
}
