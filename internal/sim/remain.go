package sim

import (
	"math"
	"slices"
)

// forever is when a fault ends that remains.
const forever = math.MaxInt64 / 2

// livenessSeeds is how many seeds there are to one in which a part of the world
// stays broken when all else is healed.
const livenessSeeds = 4

// remain has a fault stay in the seeds that are for it, of one kind and in one
// place: enough is whole to finish without.
func (w *world) remain() {
	if w.seed%livenessSeeds != 0 {
		return
	}
	w.apart(saltOf("remain"), func() {
		choice := []struct {
			kind   fault
			strike func() bool
		}{{neverBack, w.loseNode}, {staysCut, w.cutLink}, {peersStay, w.partPeers}, {staysSlow, w.slowDown}}[w.rng.IntN(4)]
		if i := w.faults.next(choice.kind); w.faults.comes(i, 1) && choice.strike() {
			w.faults.befell(i)
		}
	})
}

// patience is how long after healing all must be over. An execution that may use few
// nodes may have the slow one, for all that it performs.
func (w *world) patience() int64 {
	few := func(r *run) bool { return r.long && r.request.Nodes > 0 }
	if slices.ContainsFunc(w.runs, few) && slices.ContainsFunc(w.machines, func(m *machine) bool { return m.remains == staysSlow }) {
		return 3 * healTime
	}
	return healTime
}

// spare returns a machine of a service that has at least so many others; one that is
// about to be taken away is none.
func (w *world) spare(others int) *machine {
	m := w.anyMachine()
	if len(m.service.staying()) <= others || m.twin {
		return nil
	}
	return m
}

// staying lists the machines that are not on a copy of another's folder.
func (v *service) staying() []*machine {
	return slices.DeleteFunc(slices.Clone(v.machines), func(m *machine) bool { return m.twin })
}

func (w *world) loseNode() bool {
	m := w.spare(1)
	if m != nil {
		m.remains = neverBack
	}
	return m != nil
}

func (w *world) cutLink() bool {
	m := w.spare(1)
	if m == nil {
		return false
	}
	m.remains, m.linkUp = staysCut, forever
	if a := m.agent; a != nil && a.session != nil {
		w.after(silence, "silent", a.session.cut)
	}
	return true
}

// partPeers cuts two nodes off from each other; a third can read from both.
func (w *world) partPeers() bool {
	m := w.spare(2)
	if m == nil {
		return false
	}
	all := m.service.staying()
	at := w.rng.IntN(len(all) - 1)
	if all[at] == m {
		at = len(all) - 1
	}
	m.peerUp[all[at].index], all[at].peerUp[m.index] = forever, forever
	return true
}

func (w *world) slowDown() bool {
	m := w.anyMachine()
	m.remains, m.slow = staysSlow, 2+6*w.rng.Float64()
	return true
}
