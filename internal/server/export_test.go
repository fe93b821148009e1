package server

import "stint"

// LatestSession returns the number of the latest session of a node, 0 if this server
// knows of none, and what is closed when some node attaches.
func (s *Server) LatestSession(id stint.NodeID) (number uint64, arrived <-chan struct{}) {
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	if m := s.fleet.nodes[id]; m != nil {
		number = m.number
	}
	return number, s.fleet.arrived
}
