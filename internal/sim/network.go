package sim

import (
	"stint"
	"stint/internal/coord"
)

// toServer is what an agent says; exactly one field is set.
type toServer struct {
	hello  *hello
	report *stint.Report
	result *stint.ErrandResult
}

// hello is what an agent says first.
type hello struct {
	node     stint.Node
	holdings []stint.Holding
}

// toAgent is what the server says of an execution: a message or an errand.
type toAgent struct {
	execution stint.ExecutionID
	message   coord.Message
	spec      *planned // with a grant
	errand    *stint.Errand
}

// session is a connection between an agent and a server. Each direction keeps
// its order; what is under way when the session is cut is lost, or comes late.
type session struct {
	world      *world
	server     *server
	agent      *agentProcess
	up         []toServer
	down       []toAgent
	upAt       int64 // when the last message arrives
	downAt     int64
	hello      *hello // once the server has taken it
	attached   bool   // the server has taken the hello
	announced  bool   // and has told its executions of it
	early      int    // how many messages have arrived between the two
	serverOver bool   // the server knows that it has ended
	agentOver  bool
}

// arrival is when a message sent now arrives: not before those sent earlier.
func (s *session) arrival(last *int64) int64 {
	w := s.world
	d := w.between(20, 50+w.faults.delay)
	if w.healed {
		d = w.between(20, 2*millisecond)
	}
	*last = max(*last, w.now+d, s.agent.machine.linkUp)
	return *last - w.now
}

func (s *session) sendUp(m toServer) {
	if s.agentOver {
		return
	}
	s.up = append(s.up, m)
	s.world.after(s.arrival(&s.upAt), "up", s.deliverUp)
}

func (s *session) deliverUp() {
	if s.serverOver || s.server.dead || len(s.up) == 0 {
		return
	}
	if s.attached && !s.announced {
		s.early++ // a server reads no further before that
		return
	}
	if at := max(s.agent.machine.linkUp, s.agent.machine.upCut, s.server.paused); at > s.world.now {
		s.world.after(at-s.world.now, "up", s.deliverUp)
		return
	}
	m := s.up[0]
	s.up = s.up[1:]
	s.server.receive(s, m)
}

// isAnnounced has the server read on.
func (s *session) isAnnounced() {
	s.announced = true
	for range s.early {
		s.world.after(1, "up", s.deliverUp)
	}
}

func (s *session) sendDown(m toAgent) {
	if s.serverOver {
		return
	}
	s.down = append(s.down, m)
	s.world.after(s.arrival(&s.downAt), "down", s.deliverDown)
}

func (s *session) deliverDown() {
	if s.agentOver || s.agent.dead || len(s.down) == 0 {
		return
	}
	m := s.agent.machine
	if at := max(m.linkUp, m.downCut, m.pausedUntil); at > s.world.now {
		s.world.after(at-s.world.now, "down", s.deliverDown)
		return
	}
	msg := s.down[0]
	s.down = s.down[1:]
	s.agent.arrived(msg)
}

// cut ends the session at both ends.
func (s *session) cut() {
	s.serverSide()
	s.agentSide()
}

// lateness draws how long after the end of its session a message comes.
func (w *world) lateness() int64 {
	if w.chance(0.5) {
		return w.between(0, 60*millisecond)
	}
	return w.between(0, 2*second)
}

// serverSide ends it at the server's end; what the agent had said may come late.
func (s *session) serverSide() {
	if s.serverOver {
		return
	}
	s.serverOver = true
	s.lateUp()
	s.up = nil
	s.server.later(s.world.between(0, millisecond), "detach", func() { s.server.detach(s) })
	if far := s.unnoticed(); far > 0 {
		s.world.after(far, "over", s.agentSide)
		return
	}
	s.agentSide()
}

// unnoticed draws for how long the other end of a session does not notice that this
// one has ended it.
func (s *session) unnoticed() (far int64) {
	w := s.world
	w.befalls(halfOpen, func() { far = w.between(10*millisecond, 2*silence) })
	return min(far, max(w.healAt-w.now, 0))
}

// lateUp has some of what was under way come late. Where a report is missing
// its number tells; but not where the node was told to forget some, and then only
// the order of a session does: it holds to the end.
func (s *session) lateUp() {
	came := int64(0)
	for _, m := range s.up {
		if m.hello != nil || !s.announced {
			return
		}
		late := int64(0)
		if !s.world.befalls(messageLate, func() { late = s.world.lateness() }) {
			if m.report == nil || s.agent.bookOf(m.report.Execution).mayMiss(s.agent.machine.folder.node) {
				return
			}
			continue
		}
		came = max(came, late)
		s.server.later(came, "late up", func() { s.server.receive(s, m) })
		came++
	}
}

// agentSide ends it at the agent's end, which notices when it is not paused. It
// reads a session to its end before the next, so that what is told as things stand
// does not come late, and nothing comes that was said before it was told to forget;
// grants and acknowledgements are for all time.
func (s *session) agentSide() {
	w, m := s.world, s.agent.machine
	if s.agentOver || s.agent.dead {
		return
	}
	if m.pausedUntil > w.now {
		w.after(m.pausedUntil-w.now+w.between(0, 5*millisecond), "over", s.agentSide)
		return
	}
	s.agentOver = true
	for _, msg := range s.down {
		said := msg.message
		if lasts := said.Grant != nil || said.Retract != nil || said.Ack != nil || said.Resend != nil; lasts {
			before := s.agent.forgot[msg.execution]
			w.befalls(messageLate, func() {
				w.after(w.lateness(), "late down", func() {
					if !s.agent.dead && m.pausedUntil <= w.now && s.agent.forgot[msg.execution] == before {
						s.agent.arrived(msg)
					}
				})
			})
		}
	}
	s.down = nil
	w.after(w.between(0, 5*millisecond), "detached", func() { s.agent.detached(s) })
}

// agentEnds ends it at the agent's end; the server notices, as a rule at once.
func (s *session) agentEnds() {
	if s.agentOver || s.serverOver {
		return
	}
	s.agentSide()
	if !s.server.dead {
		s.server.later(s.unnoticed(), "over", s.serverSide)
	}
}

// cutUpwards keeps what a node says from the server, for a while, but not what it is
// told. If it lasts, the server ends the session.
func (w *world) cutUpwards() bool {
	m := w.anyMachine()
	if m.upCut > w.now {
		return false
	}
	m.upCut = w.now + w.outage()
	if a := m.agent; a != nil && a.session != nil && m.upCut > w.now+silence {
		s := a.session
		s.server.later(silence, "silent", s.serverSide)
	}
	return true
}

// cutDownwards keeps what a node is told from it. If it lasts, the agent ends the session.
func (w *world) cutDownwards() bool {
	m := w.anyMachine()
	if m.downCut > w.now {
		return false
	}
	m.downCut = w.now + w.outage()
	if a := m.agent; a != nil && a.session != nil && m.downCut > w.now+silence {
		w.after(silence, "silent", a.session.agentEnds)
	}
	return true
}

// cutPeersOneWay keeps a node from asking another, which may ask it.
func (w *world) cutPeersOneWay() bool {
	a, b := w.anyMachine(), w.anyMachine()
	if a == b {
		return false
	}
	a.peerUp[b.index] = max(a.peerUp[b.index], w.now+w.outage())
	return true
}
