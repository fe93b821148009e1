package sim

import (
	"errors"
	"slices"

	"stint"
	"stint/internal/coord"
)

// later has something happen while the process lives, after its pauses.
func (s *server) later(d int64, name string, do func()) {
	w := s.world
	w.after(d, name, func() {
		switch {
		case s.dead:
		case s.paused > w.now:
			s.later(s.paused-w.now, name, do)
		default:
			do()
		}
	})
}

// awake has something done now, or when the pause of the process is over.
func (s *server) awake(do func()) {
	if s.paused > s.world.now {
		s.later(s.paused-s.world.now, "awake", do)
	} else if !s.dead {
		do()
	}
}

// steady is the time of a process: that of the wall clock, but it never stands still
// nor goes back when that is set back.
type steady struct{ read, was int64 }

// millis is the time of the process.
func (s *server) millis() int64 {
	c, now := &s.clock, s.world.millis()
	at := now + s.service.skew
	if c.was > 0 {
		at = max(at, c.was+now-c.read)
	}
	c.read, c.was = now, at
	return at
}

// millis is the time as the state sees it: it goes on from its latest record.
func (d *drive) millis() int64 { return d.server.millis() + d.ahead }

// millisOf is the time as a state sees it that no drive has.
func (s *server) millisOf(st *coord.State) int64 { return max(s.millis(), st.Latest()) }

// owns reports whether the record is still this server's; if not, its time is over.
func (s *server) owns() bool {
	if s.dead || s.service.store.epoch == s.epoch {
		return !s.dead
	}
	s.world.count(serverFenced)
	s.end()
	return false
}

// admit enters a node in the record, and says which others of its name are lost now,
// or why it is refused.
func (s *server) admit(doc *stint.Node) (replaced []stint.NodeID, err error) {
	old, w := s.member(doc.ID), s.world
	switch {
	case s.service.store.epoch != s.epoch, s.service.store.full > w.now:
		return nil, errUnknown
	case s.service.store.isReplaced(doc):
		w.count(nameTaken)
		return nil, errNameTaken
	case old != nil && old.doc.Incarnation > doc.Incarnation:
		w.count(incarnationStale)
		return nil, errStale
	}
	return s.service.store.saveNode(*doc), nil
}

// Why a node is refused.
var (
	errNameTaken = errors.New("another node has joined under its name")
	errStale     = errors.New("it has started since")
)

// isReplaced reports whether another node has joined under a node's name.
func (s *store) isReplaced(n *stint.Node) bool {
	return slices.ContainsFunc(s.nodes, func(o stint.Node) bool {
		return o.ID == n.ID && o.Name == n.Name && o.Status == stint.NodeLost
	})
}

// lastEffect draws after how many effects of a flight the process dies; as a rule
// it does not.
func (s *server) lastEffect(f *flight) int {
	last, w := -1, s.world
	if n := len(f.messages) + len(f.errands) + len(f.released); n > 0 && len(f.records) > 0 {
		w.befalls(killedAmid, func() { last = w.rng.IntN(n) })
	}
	return last
}

// killAmid kills the process in the middle of something.
func (s *server) killAmid() {
	s.kill()
	w := s.world
	w.after(w.between(10*millisecond, 6*second), "restart server", s.service.start)
}

// pauseServer stops a server's process for a while, shorter or longer than others
// wait for it; now and then another takes over meanwhile.
func (w *world) pauseServer() bool {
	v := w.anyService()
	s := v.server
	if s == nil || s.paused > w.now {
		return false
	}
	took := w.between(10*millisecond, 2*silence)
	if w.chance(0.4) {
		took = w.between(silence, 12*second)
	}
	s.paused = min(w.now+took, w.healAt)
	s.whileSilent()
	if w.chance(0.4) {
		w.after(w.between(0, took), "take over", func() {
			if v.server == s && !w.healed {
				v.takeOver()
			}
		})
	}
	return true
}

// whileSilent has the agents notice that nothing comes from a server.
func (s *server) whileSilent() {
	w := s.world
	for _, m := range w.machines {
		if a := m.agent; a != nil && a.session != nil && a.session.server == s {
			sess := a.session
			w.after(w.between(silence, silence+silence/2), "silent", func() {
				if s.paused > w.now {
					sess.agentEnds()
				}
			})
		}
	}
}

// secondServer has another process take over the record of one that lives and
// may have sessions.
func (w *world) secondServer() bool {
	v := w.anyService()
	if v.server == nil || v.server.paused > w.now {
		return false
	}
	v.takeOver()
	return true
}

// takeOver starts a server beside the one that there is, which finds that out
// when it looks, or commits.
func (v *service) takeOver() {
	v.world.count(tookOver)
	v.former = append(v.former, v.server)
	v.server, v.killing = nil, false
	v.start()
}

// jumpClock sets the wall clock of a server forwards or backwards, by up to three hours.
func (w *world) jumpClock() bool {
	w.anyService().skew += w.jump()
	return true
}

// jumpNodeClock does so with that of a node.
func (w *world) jumpNodeClock() bool {
	w.anyMachine().skew += w.jump()
	return true
}

func (w *world) jump() int64 {
	most := []int64{500, 5_000, 60_000, 3 * 3600_000}[w.rng.IntN(4)]
	return w.rng.Int64N(2*most) - most
}

// slowServer has everything take its time in a server for a while.
func (w *world) slowServer() bool {
	s := w.anyService().server
	if s == nil || s.slow > w.now {
		return false
	}
	s.slow = min(w.now+w.between(500*millisecond, 8*second), w.healAt)
	return true
}

// fillStore has no room be on the disk of a server's record for a while.
func (w *world) fillStore() bool {
	st := &w.anyService().store
	if st.full > w.now {
		return false
	}
	st.full = min(w.now+w.between(50*millisecond, 5*second), w.healAt)
	return true
}

// anyServer returns some process of a server, also one that does not know that its
// time is over; nil if there is none.
func (w *world) anyServer() *server {
	v := w.anyService()
	if n := len(v.former); n > 0 && w.chance(0.5) {
		return v.former[w.rng.IntN(n)]
	}
	return v.server
}

// wish has a person wish something of an execution. Where the answer is lost, or says
// that the outcome is not known, they ask for the same again.
func (w *world) wish(d *drive, ev coord.Event) {
	again := ev
	d.wish(ev, func(err error) {
		if lost := err == nil && w.happens(answerLost); !lost && !errors.Is(err, errUnknown) {
			return
		}
		w.after(w.between(50*millisecond, 2*second), "again", func() {
			if s := d.server.service.server; s != nil && s.live(d.id) != nil && s.live(d.id).state != nil && !w.runOf(d.id).left {
				w.wish(s.live(d.id), again)
			}
		})
	})
}
