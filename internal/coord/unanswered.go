package coord

import "stint"

const (
	flightTime  = 600_000 // that a node has for an errand that saves or copies, beside what its bytes take
	flightSpeed = 8 << 10 // bytes in a millisecond that it handles at least
	mostSilent  = 3       // errands of one node that are not answered in time before it counts as away
)

// deadline returns when an errand that saves or copies is to be answered. A node
// that did not answer before has longer: it may be slow, not stuck.
func (s *State) deadline(now int64, f *flight) int64 {
	st := &s.stages[f.stage]
	size := st.sums.BytesOut / int64(max(st.counts[done], 1)) * int64(stint.CountRanges(f.ops))
	return now + (flightTime+size/flightSpeed)<<min(s.unanswered[f.node], mostSilent)
}

// giveUpUnanswered cancels errands that connected nodes have not answered in time.
// What they were to do is begun anew after a while, on other nodes if there are any.
func (s *State) giveUpUnanswered(d *Delta, now int64) {
	var late []uint16
	s.cancel(d, func(f *flight) bool {
		if now < f.until {
			return false
		}
		late = append(late, f.node)
		return true
	})
	if late == nil {
		return
	}
	if s.unanswered == nil {
		s.unanswered = make(map[uint16]int)
	}
	counted := make(map[uint16]bool, len(late))
	for _, i := range late {
		if !counted[i] { // several at a time are one silence
			counted[i] = true
			s.unanswered[i]++
		}
	}
	s.putOff(now, stint.Errorf(stint.Unavailable, "node %s has not answered in time", s.nodes[late[0]].id))
}

// mute reports whether a node that is connected counts as away where saving is all
// there is to wait for: it has not answered several times.
func (s *State) mute(i uint16) bool {
	return s.savingLast() && s.unanswered[i] >= mostSilent
}

// callMute has nodes attach anew that were given up though they are connected.
func (s *State) callMute(d *Delta) {
	for i := range s.nodes {
		if n := &s.nodes[i]; n.status == nodeLost && s.unanswered[uint16(i)] > 0 {
			s.reattach(d, uint16(i))
		}
	}
	s.unanswered = nil
}
