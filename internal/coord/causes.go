package coord

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"

	"stint"
)

const (
	mostCauses     = 50
	mostCauseNodes = 20
	mostCauseText  = 1000 // bytes of a message
)

// cause is a group of attempts that failed for the same reason.
type cause struct {
	stage    int
	code     stint.Code
	message  string // of the first
	likeness string
	attempts int64
	first    uint32 // operation
	nodes    []uint16
}

// vague matches what distinguishes messages of the same cause: quoted text, ids,
// digests, numbers.
var vague = regexp.MustCompile("\"[^\"]*\"|'[^']*'|`[^`]*`" + `|\b[a-z]-[a-z0-9]{16}\b|\b[0-9a-fA-F]{12,}\b|[0-9]+`)

// likeness is what messages of the same cause have in common.
func likeness(message string) string { return vague.ReplaceAllString(message, "#") }

// addCause counts an attempt that failed. With too many causes, others are not
// distinguished: they are in the list of the latest failures alone.
func (s *State) addCause(f stint.Failure) {
	message := f.Error.Message
	if len(message) > mostCauseText {
		message = message[:mostCauseText]
	}
	like := likeness(message)
	at := slices.IndexFunc(s.causes, func(c cause) bool {
		return c.stage == f.Stage && c.code == f.Error.Code && c.likeness == like
	})
	if at < 0 {
		if len(s.causes) >= mostCauses {
			return
		}
		at = len(s.causes)
		s.causes = append(s.causes, cause{stage: f.Stage, code: f.Error.Code, message: message, likeness: like, first: f.Op})
	}
	c := &s.causes[at]
	c.attempts++
	if i, known := s.nodeIndex(f.Node); known && len(c.nodes) < mostCauseNodes && !slices.Contains(c.nodes, i) {
		c.nodes = append(c.nodes, i)
	}
}

// causesByCount returns the causes for the document, the most frequent first.
func (s *State) causesByCount() []stint.Cause {
	var out []stint.Cause
	for _, c := range s.causes {
		one := stint.Cause{
			Stage: s.stages[c.stage].spec.Name, Code: c.code, Message: c.message, Attempts: c.attempts,
			First: s.operationID(opKey{c.stage, c.first}), Nodes: make([]stint.NodeID, 0, len(c.nodes)),
		}
		for _, i := range c.nodes {
			one.Nodes = append(one.Nodes, s.nodes[i].id)
		}
		out = append(out, one)
	}
	slices.SortStableFunc(out, func(a, b stint.Cause) int { return -cmp.Compare(a.Attempts, b.Attempts) })
	return out
}

// rebasedCauses returns causes for operations that have other numbers: those that
// name one there is.
func rebasedCauses(list []cause, stages []stage) []cause {
	out := make([]cause, 0, len(list))
	for _, c := range list {
		if c.stage < len(stages) && int(c.first) < len(stages[c.stage].ops) {
			c.nodes = slices.Clone(c.nodes)
			out = append(out, c)
		}
	}
	return out
}

// rebasedFailures returns failures without those of operations that there are not
// any more.
func rebasedFailures(list []stint.Failure, stages []stage) []stint.Failure {
	return slices.DeleteFunc(slices.Clone(list), func(f stint.Failure) bool {
		return f.Stage >= len(stages) || int(f.Op) >= len(stages[f.Stage].ops)
	})
}

// records are how many operations have read.
type records struct{ read, bad int64 }

// records returns how many records the completed operations of a stage have read,
// those among them that were taken over from an earlier state.
func (st *stage) records() records {
	return records{max(st.sums.RecordsIn+st.before.read, 0), max(st.sums.BadRecords+st.before.bad, 0)}
}

// countRecords takes in how many records a completed operation has read. Those of an
// earlier performance, or of the one that was taken over, count no more.
//
//nolint:revive // first is what finish has found out
func (st *stage) countRecords(n uint32, now records, first bool) {
	if st.read == nil {
		return
	}
	was := st.read[n]
	st.read[n] = now
	if first {
		st.before = st.before.minus(was)
		return
	}
	st.sums.RecordsIn += now.read - was.read
	st.sums.BadRecords += now.bad - was.bad
}

// uncountRecords takes back what an operation has read that is to be performed anew,
// and may read other records then, or fail.
func (st *stage) uncountRecords(n uint32) {
	if st.read != nil {
		st.countRecords(n, records{}, !st.ops[n].counted)
	}
}

func (r records) minus(o records) records { return records{r.read - o.read, r.bad - o.bad} }

func (r records) plus(o records) records { return records{r.read + o.read, r.bad + o.bad} }

// judgeRecords ends the execution if a stage has left out more records than it may,
// once that is certain.
func (s *State) judgeRecords(k int) {
	if s.fatal == nil && !s.completesErrors() {
		s.fatal = s.tooBadOf(k)
	}
}

// tooBad says which stage has left out more records than it may, nil if none has.
func (s *State) tooBad() *stint.Error {
	for k := range s.stages {
		if err := s.tooBadOf(k); err != nil {
			return err
		}
	}
	return nil
}

// tooBadOf says that a stage has left out more records than it may: of all it has
// read, once it is complete, or of all that there can be.
func (s *State) tooBadOf(k int) *stint.Error {
	st := &s.stages[k]
	here := st.records()
	bad, read := here.bad, here.bad+here.read
	if bad == 0 {
		return nil
	}
	all := read
	if !s.complete(k) {
		if st.most == 0 {
			return nil
		}
		all = max(all, st.most)
	}
	share := max(s.request.SkipBadRecords, 0)
	if float64(bad)/float64(all) <= share {
		return nil
	}
	return stint.Errorf(stint.Failed, "bad_records: stage %s: %d of %d records, at most %s %%", st.spec.Name, bad, read, percent(share))
}

func percent(share float64) string { return fmt.Sprintf("%.6g", share*100) }
