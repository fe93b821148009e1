package sim

import (
	"fmt"
	"slices"

	"stint"
)

// phase names something that happens again and again in a run, at which a fault can
// be placed.
type phase string

// The phases that there are in the simulation.
const (
	submitting    phase = "submit"
	planning      phase = "plan and split"
	placing       phase = "place and dispatch"
	starting      phase = "start"
	fetching      phase = "fetch input"
	performing    phase = "run"
	writing       phase = "write block"
	replicating   phase = "replicate"
	reporting     phase = "report done"
	journalling   phase = "journal and ack"
	serving       phase = "serve shuffle"
	staging       phase = "stage output"
	committing    phase = "commit output"
	cancelling    phase = "cancel"
	saving        phase = "suspend: collect"
	suspended     phase = "suspended"
	verifying     phase = "resume: verify"
	resumePlacing phase = "resume: place"
	accounting    phase = "limits and accounting"
	collecting    phase = "garbage collection"
	joining       phase = "node join and leave"
	draining      phase = "drain"
)

// phases lists them in the order of the fault matrix.
func phases() []phase {
	return []phase{
		submitting, planning, placing, starting, fetching, performing, writing, replicating, reporting, journalling, serving, staging,
		committing, cancelling, saving, suspended, verifying, resumePlacing, accounting, collecting, joining, draining,
	}
}

// ownersErrand is the phase of an errand that only the owner of an execution may have done.
func ownersErrand(k stint.ErrandKind) phase {
	if k == stint.ErrandCommit {
		return committing
	}
	return collecting
}

// passes says that a phase is passed in a service, on machine m if it is on one: a fault
// that is placed there comes as the next that happens.
func (w *world) passes(p phase, v *service, m *machine) {
	f := &w.faults
	if f.passed == nil || w.healed {
		return
	}
	f.passed[p]++
	for _, at := range f.script.at {
		if at.phase == p && at.nth == f.passed[p] {
			w.after(0, "placed", func() { w.strike(at, v, m) })
		}
	}
}

// strike has a placed fault come.
func (w *world) strike(at placement, v *service, m *machine) {
	if m == nil {
		m = v.machines[0]
		if i := slices.IndexFunc(v.machines, (*machine).busy); i >= 0 {
			m = v.machines[i]
		}
	}
	h := &hit{world: w, phase: at.phase, service: v, machine: m}
	i := slices.IndexFunc(strikes(), func(s strike) bool { return s.code == at.fault })
	if strikes()[i].do(h) {
		w.felt()
	}
}

// felt notes that a placed fault has done something.
func (w *world) felt() {
	if w.faults.passed != nil {
		w.faults.placed++
	}
}

// busy reports whether something is being performed on the machine.
func (m *machine) busy() bool {
	return m.agent != nil && slices.ContainsFunc(m.agent.slots, func(s *slot) bool { return s.current != nil })
}

// hit is where a placed fault comes to.
type hit struct {
	*world
	phase   phase
	service *service
	machine *machine
}

// strike is a fault that can be placed.
type strike struct {
	code    string          // as the columns of the fault matrix have it
	do      func(*hit) bool // false: nothing was befallen, or it is felt later
	missing []phase         // at which it would have nothing to do with what happens then
}

// strikes lists the faults that can be placed.
func strikes() []strike {
	reads := []phase{planning, fetching, staging} // of what the simulation does not keep in storage
	onNodes := []phase{starting, fetching, performing, writing, replicating, serving, resumePlacing}
	uncertified := []phase{submitting, planning, placing, staging, journalling, cancelling, suspended, accounting, joining}
	return []strike{
		{code: "SK", do: (*hit).killServer},
		{code: "SP", do: (*hit).pauseServer},
		{code: "LC", do: (*hit).changeServer},
		{code: "DU", do: func(h *hit) bool { return h.force(commitUnknown, 1) }},
		{code: "DD", do: func(h *hit) bool { return h.until(&h.service.store.downUntil) && false }},
		{code: "AK", do: (*hit).killAgent},
		{code: "AP", do: (*hit).pauseAgent},
		{code: "AD", do: (*hit).loseFolder},
		{code: "NS", do: (*hit).fill, missing: []phase{submitting, planning}},
		{code: "FE", do: (*hit).failSync, missing: onNodes},
		{code: "BR", do: (*hit).rot, missing: []phase{journalling, staging, committing}},
		{code: "PS", do: (*hit).partition},
		{code: "P1", do: (*hit).partitionOneWay},
		{code: "MD", do: (*hit).delay},
		{code: "OU", do: func(h *hit) bool { return h.force(storageUnknown, 1) }, missing: append(reads, resumePlacing)},
		{code: "OD", do: func(h *hit) bool { return h.until(&h.storage.refuses) && false }, missing: reads},
		{code: "CJ", do: (*hit).jump},
		{code: "OC", do: (*hit).crashWorkers},
		{code: "CR", do: (*hit).expire, missing: uncertified},
	}
}

// check reports whether there is such a phase and such a fault.
func (p *placement) check() error {
	if !slices.Contains(phases(), p.phase) {
		return fmt.Errorf("at: %q is none of %q", p.phase, phases())
	}
	if !slices.ContainsFunc(strikes(), func(s strike) bool { return s.code == p.fault }) {
		return fmt.Errorf("at: %q is none of the faults that can be placed", p.fault)
	}
	return nil
}

// span is how long a placed fault lasts, by the seed: mostly shorter than a node may
// be silent, sometimes so long that it is away, or lost.
func (w *world) span() int64 {
	return []int64{second, 2 * second, 400 * millisecond, 5 * second, 1200 * millisecond, 9 * second, 2500 * millisecond, lostAfter + 4*second}[w.seed%8]
}

// short reports whether what is placed passes before anybody is taken to be away.
func (s *schedule) short() bool { return s.seed%8 != 3 && s.seed%8 != 5 && s.seed%8 != 7 }

// force has a fault that comes by chance come so many times from now on. It is felt when
// it does.
func (h *hit) force(k fault, times int) bool {
	h.faults.forced[k] += times
	return false
}

// until has something last for the time that a placed fault does.
func (h *hit) until(at *int64) bool {
	*at = h.now + h.span()
	h.faults.lasts = max(h.faults.lasts, *at)
	return true
}

func (h *hit) killServer() bool {
	if h.service.server == nil {
		return false
	}
	h.service.killNow()
	return true
}

func (h *hit) pauseServer() bool {
	s := h.service.server
	if s == nil {
		return false
	}
	h.until(&s.paused)
	s.whileSilent()
	return true
}

func (h *hit) changeServer() bool {
	if h.service.server == nil {
		return false
	}
	h.service.takeOver()
	return true
}

func (h *hit) pauseAgent() bool {
	m := h.machine
	if m.agent == nil {
		return false
	}
	h.until(&m.pausedUntil)
	if s := m.agent.session; s != nil {
		h.after(silence, "silent", func() {
			if m.pausedUntil > h.now {
				s.serverSide()
			}
		})
	}
	return true
}

// fill has no room be left: on the disk of the record, or on that of the node.
func (h *hit) fill() bool {
	if h.phase == journalling {
		return h.until(&h.service.store.full)
	}
	return h.until(&h.machine.fullUntil)
}

// partition cuts a machine off from the server and from all others.
func (h *hit) partition() bool {
	m := h.machine
	h.until(&m.linkUp)
	for _, o := range h.service.machines {
		m.peerUp[o.index], o.peerUp[m.index] = m.linkUp, m.linkUp
	}
	if a := m.agent; a != nil && a.session != nil && m.linkUp > h.now+silence {
		h.after(silence, "silent", a.session.cut)
	}
	return true
}

// expire has the credentials for storage be no good, or those of the machine where
// nothing is stored: its session ends, nobody begins another with it before it is given
// others, and no peer talks to it.
func (h *hit) expire() bool {
	if slices.Contains([]phase{committing, saving, verifying, resumePlacing, draining, collecting}, h.phase) {
		return h.until(&h.storage.denies) && false
	}
	m := h.machine
	h.until(&m.upCut)
	for _, o := range h.service.machines {
		m.peerUp[o.index], o.peerUp[m.index] = m.upCut, m.upCut
	}
	if a := m.agent; a != nil && a.session != nil {
		a.session.cut()
	}
	return true
}

// partitionOneWay has a machine be heard and not hear, or hear and not be heard, and
// keeps it from asking others.
func (h *hit) partitionOneWay() bool {
	m := h.machine
	way := &m.upCut
	if h.seed%2 == 0 {
		way = &m.downCut
	}
	h.until(way)
	for _, o := range h.service.machines {
		m.peerUp[o.index] = *way
	}
	a := m.agent
	if a == nil || a.session == nil || *way <= h.now+silence {
		return true
	}
	if s := a.session; way == &m.upCut {
		s.server.later(silence, "silent", s.serverSide)
	} else {
		h.after(silence, "silent", s.agentEnds)
	}
	return true
}

// delay has messages come late, in another session, and twice.
func (h *hit) delay() bool {
	if h.machine.agent == nil || h.machine.agent.session == nil {
		return false
	}
	h.force(messageRepeated, 6)
	h.force(messageLate, 6)
	h.machine.agent.session.cut()
	return false
}

// jump sets the clocks of the server and of the machine, in opposite directions.
func (h *hit) jump() bool {
	jump := int64(3 * 3600_000)
	if h.seed%2 == 0 {
		jump = -jump
	}
	h.service.skew += jump
	h.machine.skew -= jump
	return true
}

// crashWorkers kills the workers of a machine that are performing something, as soon as
// there are any.
func (h *hit) crashWorkers() bool {
	m := h.machine
	if !m.busy() {
		if !h.over() {
			h.after(5*millisecond, "placed", func() { h.crashWorkers() })
		}
		return false
	}
	for i, s := range m.agent.slots {
		if s.current != nil {
			m.agent.killWorker(i)
		}
	}
	h.felt()
	return false
}

// failSync has the next sync fail: of a part or a pack, or of the record.
func (h *hit) failSync() bool {
	if slices.Contains([]phase{staging, saving, draining}, h.phase) {
		return h.force(syncFailed, 1)
	}
	return h.force(commitSyncFailed, 1)
}

// rot alters a block on the machine, or else on another, or else in a pack. Of what a
// resume looks at, it takes away a pack.
func (h *hit) rot() bool {
	if h.phase == verifying {
		return h.takePack()
	}
	for _, at := range append([]*machine{h.machine}, h.service.machines...) {
		if at.rotSome() {
			return true
		}
	}
	return h.rotPack()
}

// killAgent kills the agent of a machine, which comes back soon.
func (h *hit) killAgent() bool {
	m := h.machine
	if m.agent == nil {
		return false
	}
	m.kill()
	h.after(h.between(100*millisecond, second), "restart", m.start)
	return true
}

// loseFolder kills it, and it comes back with nothing.
func (h *hit) loseFolder() bool {
	if !h.killAgent() {
		return false
	}
	h.machine.replaceFolder()
	return true
}
