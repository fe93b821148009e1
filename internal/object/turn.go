package object

import (
	"cmp"

	"stint"
)

// Turn is one of the commits of an execution. They follow each other by the
// generation of the ownership under which they are done and, in one, by the stint
// of the execution that came to its end: what a later one has done stays, whenever
// an earlier one comes.
type Turn struct {
	Execution  stint.ExecutionID
	Generation uint64
	Stint      int // 0: none, it takes nothing back
}

// precedes reports whether an output of the execution is of a later commit than another.
func (m Manifest) precedes(later Manifest) bool {
	return m.Execution == later.Execution && cmp.Or(cmp.Compare(m.Generation, later.Generation), cmp.Compare(m.Stint, later.Stint)) < 0
}

// isSameTurn reports whether two outputs of an execution are of one commit.
func (m Manifest) isSameTurn(n Manifest) bool {
	return m.Generation == n.Generation && m.Stint == n.Stint
}

// isOf reports whether an output was committed in a turn: by its owner, or by an
// earlier one whose commit came late. That of an earlier one that lacks something was
// what its stint has come to, perhaps: the next owner numbers its stints alike. It is
// of the turn only if it does not say who its owner was.
func (m Manifest) isOf(t Turn) bool {
	if t.Stint == 0 || m.Execution != t.Execution || m.Stint != t.Stint {
		return false
	}
	if m.isIncomplete() && m.Generation > 0 {
		return m.Generation == t.Generation
	}
	return m.Generation <= t.Generation
}

// refuseEarlier refuses a commit after which another of the execution has begun, or
// has come to its end.
func refuseEarlier(where string, m, later Manifest) error {
	if !m.precedes(later) {
		return nil
	}
	return stint.Errorf(stint.Conflict, "output %q: stint %d of %s has committed its output here, or has begun to; this is that of stint %d", where, later.Stint, m.Execution, m.Stint)
}
