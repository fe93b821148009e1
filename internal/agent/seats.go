package agent

import "stint"

// seat is a slot as the seating sees it.
type seat struct {
	execution stint.ExecutionID // whose worker sits there; empty: none
	queued    int               // operations in hand
	rested    bool              // it served the execution for its quantum
	drain     bool              // answer: hand it nothing more
}

// demand is what an execution could use.
type demand struct {
	execution stint.ExecutionID
	waiting   int // operations that no worker has in hand
	limit     int // seats it may have
}

// seating decides which execution each slot serves: nobody who waits is without
// a slot while another has two, none has two more than another that could use
// one, and with more executions than slots each has its turn. A slot that has
// operations in hand keeps its execution and is at most drained. demands are in
// the order in which the executions take turns; equal ones keep what they have.
func seating(seats []seat, demands []demand) []seat {
	s := seated{seats: append([]seat(nil), seats...), demands: demands, held: make(map[stint.ExecutionID]int), idle: make(map[stint.ExecutionID]int)}
	for i := range s.seats {
		s.seats[i].drain = false
		s.count(i, 1)
	}
	for i := range s.seats {
		if s.seats[i].queued == 0 {
			s.place(i)
		}
	}
	for _, d := range demands {
		s.drainFor(d)
	}
	return s.seats
}

type seated struct {
	seats   []seat
	demands []demand
	held    map[stint.ExecutionID]int // seats that serve it or will
	idle    map[stint.ExecutionID]int // those of them with nothing in hand
}

// count adds n times the seat to what its execution holds, if it has a use for it.
func (s *seated) count(i, n int) {
	x := s.seats[i].execution
	if s.seats[i].queued == 0 && s.demand(x).waiting == 0 {
		return
	}
	s.held[x] += n
	if s.seats[i].queued == 0 {
		s.idle[x] += n
	}
}

func (s *seated) demand(x stint.ExecutionID) demand {
	for _, d := range s.demands {
		if d.execution == x {
			return d
		}
	}
	return demand{}
}

// place gives an empty seat to the execution that should have it.
func (s *seated) place(i int) {
	own := s.demand(s.seats[i].execution)
	s.count(i, -1)
	best := demand{}
	if s.wants(own) {
		best = own
	}
	for _, d := range s.demands {
		if s.wants(d) && (best.execution == "" || s.before(d, best, i)) {
			best = d
		}
	}
	if best.execution != "" {
		s.seats[i].execution = best.execution
	}
	s.count(i, 1)
}

// wants reports whether an execution could use one more seat.
func (s *seated) wants(d demand) bool {
	return d.waiting > s.idle[d.execution] && s.held[d.execution] < d.limit
}

// before reports whether d should have seat i rather than the execution that is
// best so far.
func (s *seated) before(d, best demand, i int) bool {
	hasIt := best.execution == s.seats[i].execution
	if hasIt && s.seats[i].rested {
		return s.held[d.execution] < s.held[best.execution] || s.held[d.execution] == 0
	}
	return s.held[d.execution] < s.held[best.execution]
}

// drainFor marks a seat to be drained if an execution has less than its share.
func (s *seated) drainFor(d demand) {
	if !s.wants(d) {
		return
	}
	found := -1
	for i, seat := range s.seats {
		richer := s.held[seat.execution] > s.held[d.execution]+1 || (s.held[d.execution] == 0 && seat.rested)
		if seat.queued == 0 || seat.drain || seat.execution == d.execution || !richer {
			continue
		}
		if found < 0 || s.held[seat.execution] > s.held[s.seats[found].execution] ||
			s.held[seat.execution] == s.held[s.seats[found].execution] && seat.queued < s.seats[found].queued {
			found = i
		}
	}
	if found >= 0 {
		s.seats[found].drain = true
		s.held[s.seats[found].execution]--
		s.held[d.execution]++
	}
}
