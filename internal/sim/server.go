package sim

import (
	"cmp"
	"slices"

	"stint"
	"stint/internal/coord"
	"stint/internal/sched"
)

// server is one process of the system manager: its fleet, drives and rounds, by
// the rules of package server.
type server struct {
	world    *world
	service  *service
	epoch    stint.Epoch
	dead     bool
	journal  journal
	clock    steady
	paused   int64 // until when
	slow     int64 // until when everything takes its time
	members  []*member
	drives   []*drive
	errands  []*errandUnderWay
	turn     int
	sessions uint64 // that there were
	round    uint64
	placing  bool
	acted    map[stint.ExecutionID]uint64
	seized   map[stint.ExecutionID]bool  // being resumed
	tries    int                         // comparisons, for their names
	kept     map[stint.ExecutionID]int64 // of executions that are settled: until when nodes keep their blocks
}

// member is a node as the server knows it.
type member struct {
	doc     stint.Node
	session *session // nil: none
	number  uint64   // of the latest session
	silent  int64    // since when there is none
}

type errandUnderWay struct {
	errand stint.Errand
	target stint.NodeID // empty: any
	node   stint.NodeID
	reply  func(stint.ErrandResult)
}

// start starts the server, unless it is there: it takes over the record.
func (v *service) start() {
	if v.server != nil {
		return
	}
	w := v.world
	if v.store.isDown() {
		w.after(100*millisecond, "restart server", v.start)
		return
	}
	s := &server{world: w, service: v, acted: make(map[stint.ExecutionID]uint64), seized: make(map[stint.ExecutionID]bool), kept: make(map[stint.ExecutionID]int64)}
	s.epoch = v.store.takeOver()
	s.journal = journal{server: s, store: &v.store}
	v.server = s
	for _, n := range v.store.nodes {
		if n.Status == stint.NodeReady {
			n.Status = stint.NodeAway
		}
		s.members = append(s.members, &member{doc: n, silent: w.now})
	}
	for _, r := range v.store.rows {
		if !r.settled {
			state, saved := v.store.load(r, r.epoch)
			s.drive(r, state, saved)
		}
	}
	s.every(250*millisecond, "round", func() {
		for _, d := range s.drives {
			d.post(input{event: &coord.Event{}})
		}
		s.want()
	})
	s.every(500*millisecond, "watch", s.watch)
	s.every(second, "epoch", func() { s.owns() })
	s.every(250*millisecond, "schedule", s.watchSchedule)
}

// every has something done again and again while the server lives.
func (s *server) every(d int64, name string, do func()) {
	s.later(d, name, func() {
		s.every(d, name, do)
		do()
	})
}

// kill ends the process: what it had in memory and under way is gone.
func (s *server) kill() {
	s.end()
	s.journal.killed()
}

// end takes the process off: its connections end, too.
func (s *server) end() {
	s.dead = true
	v := s.service
	v.former = slices.DeleteFunc(v.former, func(o *server) bool { return o == s })
	if v.server == s {
		v.server = nil
	}
	for _, m := range s.service.machines {
		if a := m.agent; a != nil && a.session != nil && a.session.server == s {
			a.session.cut()
		}
	}
}

func (s *server) member(id stint.NodeID) *member {
	for _, m := range s.members {
		if m.doc.ID == id {
			return m
		}
	}
	return nil
}

func (s *server) live(id stint.ExecutionID) *drive {
	for _, d := range s.drives {
		if d.id == id {
			return d
		}
	}
	return nil
}

// accept begins a session.
func (s *server) accept(sess *session, hello *hello) {
	doc := hello.node
	replaced, err := s.admit(&doc)
	if err != nil {
		sess.cut()
		sess.agent.refused(err)
		return
	}
	for _, id := range replaced {
		s.markLost(id)
		s.declare(id, true)
	}
	m := s.member(doc.ID)
	if m == nil {
		m = &member{}
		s.members = append(s.members, m)
	}
	if m.session != nil {
		m.session.cut()
	}
	s.sessions++
	m.doc, m.session, m.number = doc, sess, s.sessions
	sess.attached, sess.hello = true, hello
	s.world.passes(joining, s.service, sess.agent.machine)
	number, took := m.number, s.world.between(0, 3*millisecond)
	if !s.world.healed && s.world.chance(0.1) {
		took = s.world.between(0, 500*millisecond)
	}
	s.later(took, "announce", func() { s.announce(sess, hello, number) })
}

// announce tells every live execution that the node is there and what it holds.
func (s *server) announce(sess *session, hello *hello, number uint64) {
	defer sess.isAnnounced()
	held := slices.Clone(hello.holdings)
	for _, d := range s.drives {
		h := stint.Holding{Execution: d.id}
		if i := slices.IndexFunc(held, func(h stint.Holding) bool { return h.Execution == d.id }); i >= 0 {
			h = held[i]
			held = slices.Delete(held, i, i+1)
		}
		d.post(input{event: &coord.Event{Attach: &coord.Attach{Node: hello.node, Holding: h, Session: number}}})
	}
	for _, h := range held {
		sess.sendDown(toAgent{execution: h.Execution, message: coord.Message{Forget: s.forgetting(h.Execution)}})
	}
	for _, e := range s.errands {
		if e.node == "" {
			s.dispatch(e)
		}
	}
	s.want()
}

func (s *server) markLost(id stint.NodeID) {
	if m := s.member(id); m != nil {
		m.doc.Status = stint.NodeLost
		if m.session != nil {
			m.session.cut()
		}
	}
}

// declare tells every execution that a node is away or lost. The decision may
// come a little later than what it was made on.
func (s *server) declare(id stint.NodeID, lost bool) {
	gone := &coord.Gone{Node: id, Lost: lost, Session: s.member(id).number}
	took := s.world.between(0, 2*millisecond)
	if !s.world.healed && s.world.chance(0.2) {
		took = s.world.between(0, 400*millisecond)
	}
	s.later(took, "gone", func() {
		for _, d := range s.drives {
			d.post(input{event: &coord.Event{Gone: gone}})
		}
	})
}

// watch looks for nodes that have been silent for too long.
func (s *server) watch() {
	for _, m := range s.members {
		if m.session != nil {
			continue
		}
		since := s.world.now - m.silent
		if since >= lostAfter {
			m.doc.Status = stint.NodeLost
		}
		if lost := m.doc.Status == stint.NodeLost; lost || since >= awayAfter {
			s.declare(m.doc.ID, lost) // in every round: a state that was dropped has not heard of it
		}
	}
}

// detach notes that a session ended, unless a newer one has taken its place.
func (s *server) detach(sess *session) {
	if !sess.attached {
		return
	}
	id := sess.hello.node.ID
	if m := s.member(id); m.session == sess {
		m.session, m.silent, m.doc.Status = nil, s.world.now, stint.NodeAway
	}
	for _, e := range s.errands {
		if e.node == id {
			e.node = ""
			s.dispatch(e)
		}
	}
}

// receive takes in what an agent said.
func (s *server) receive(sess *session, m toServer) {
	switch {
	case m.hello != nil:
		s.accept(sess, m.hello)
	case m.report != nil:
		s.receiveReport(sess, m.report)
	case m.result != nil:
		s.errandDone(*m.result)
	}
}

func (s *server) receiveReport(sess *session, r *stint.Report) {
	if d := s.live(r.Execution); d != nil {
		if r.Begun != nil || r.Failures != nil {
			s.world.passes(accounting, s.service, sess.agent.machine)
		}
		d.post(input{event: &coord.Event{Report: r}})
		return
	}
	sess.sendDown(toAgent{execution: r.Execution, message: coord.Message{Ack: &coord.Ack{Incarnation: r.Incarnation, Seq: r.Seq}}})
	sess.sendDown(toAgent{execution: r.Execution, message: coord.Message{Forget: s.forgetting(r.Execution)}})
}

// send gives a node a message, if it has a session.
func (s *server) send(x stint.ExecutionID, m coord.Message) {
	n := s.member(m.Node)
	if n == nil || n.session == nil {
		return
	}
	if m.Reattach {
		s.world.count(reattached)
		n.session.cut()
		return
	}
	msg := toAgent{execution: x, message: m}
	if m.Grant != nil {
		msg.spec = s.service.store.of(x).plan
	}
	n.session.sendDown(msg)
	if m.Grant != nil && s.world.happens(messageRepeated) {
		n.session.sendDown(msg)
	}
}

func (s *server) closeSessions() {
	for _, m := range s.members {
		if m.session != nil {
			m.session.cut()
		}
	}
}

// submitErrand has a node run an errand; one of the same id takes its place.
func (s *server) submitErrand(e coord.Dispatch, reply func(stint.ErrandResult)) {
	u := &errandUnderWay{errand: e.Errand, target: e.Node, reply: reply}
	s.cancelErrand(e.Errand.ID)
	s.errands = append(s.errands, u)
	s.dispatch(u)
}

// cancelErrand has the server wait no longer for an errand's result.
func (s *server) cancelErrand(id string) {
	s.errands = slices.DeleteFunc(s.errands, func(u *errandUnderWay) bool { return u.errand.ID == id })
}

func (s *server) dispatch(u *errandUnderWay) {
	sorted := slices.SortedFunc(slices.Values(s.members), func(a, b *member) int { return cmp.Compare(a.doc.ID, b.doc.ID) })
	s.turn++
	for i := range sorted {
		m := sorted[(s.turn+i)%len(sorted)]
		if m.session != nil && (u.target == "" || u.target == m.doc.ID) {
			u.node = m.doc.ID
			m.session.sendDown(toAgent{execution: u.errand.Execution, errand: &u.errand})
			return
		}
	}
}

func (s *server) errandDone(r stint.ErrandResult) {
	for i, u := range s.errands {
		if u.errand.ID == r.ID {
			s.errands = slices.Delete(s.errands, i, i+1)
			u.reply(r)
			return
		}
	}
}

// want asks for a round of the scheduler.
func (s *server) want() {
	if s.placing {
		return
	}
	s.placing = true
	s.later(s.world.between(50, 2*millisecond), "place", func() {
		s.placing = false
		s.place()
	})
}

// place makes a round, on what the drives have published. A demand that was
// acted on is not acted on again before there is a newer one.
func (s *server) place() {
	s.round++
	snap := sched.Snapshot{Round: s.round}
	for _, m := range s.members {
		if m.session != nil && !s.isDraining(m.doc.ID) {
			snap.Nodes = append(snap.Nodes, sched.Node{ID: m.doc.ID, Incarnation: m.doc.Incarnation, Slots: m.doc.Slots})
		}
	}
	versions := make(map[stint.ExecutionID]uint64)
	for _, d := range s.drives {
		versions[d.id] = d.published
		demands := slices.Clone(d.demands)
		if d.published == s.acted[d.id] {
			for i := range demands {
				demands[i].Ready, demands[i].Retracting = 0, true
			}
		}
		snap.Demands = append(snap.Demands, demands...)
	}
	for _, decision := range sched.Place(snap) {
		s.acted[decision.Execution] = versions[decision.Execution]
		if a := decision.Assign; a != nil {
			p := placing
			if s.service.store.of(decision.Execution).book.resumed > 0 {
				p = resumePlacing
			}
			s.world.passes(p, s.service, s.service.machineOf(a.Node))
		}
		s.live(decision.Execution).post(input{event: &coord.Event{Assign: decision.Assign, Retract: decision.Retract}})
	}
}
