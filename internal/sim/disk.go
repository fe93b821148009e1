package sim

import (
	"errors"
	"maps"
	"slices"

	"stint"
)

// readable are the records of a log that can be read: up to the first that is not
// what was written.
func (l *slotLog) readable() []logRecord {
	if l.damaged {
		return l.records[:min(l.bad, len(l.records))]
	}
	return l.records
}

// damage has nothing be read of a log from a record on.
func (l *slotLog) damage(from int) {
	if !l.damaged || from < l.bad {
		l.damaged, l.bad = true, from
	}
}

// loseUnsynced is what a crash of the machine does to its disk. Of what was not
// synced each page survives or does not: a log is cut where the first is missing,
// whatever of it survived behind that, and of what the rest speaks of, some blocks
// are torn. Files and folders whose names were not on disk are gone with all that
// is in them.
func (f *folder) loseUnsynced(w *world) {
	for _, log := range f.logs {
		f.tear(w, log)
	}
	f.loseNames(w)
	f.loseCopies(w)
	for _, log := range f.logs { // an older completion of the same operation shares the fate of its block
		log.records = slices.DeleteFunc(log.records, func(r logRecord) bool {
			return r.done != nil && r.part == nil && f.blocks[blockKey{log.execution, r.grant.Stage, r.op}] == nil
		})
		log.synced, log.named = len(log.records), true
	}
	f.dropUnknown()
}

// tear cuts a log at the first record that has not survived.
func (f *folder) tear(w *world, log *slotLog) {
	records := log.readable()
	synced := min(log.synced, len(records))
	kept, behind := len(records), 0
	survive := w.rng.Float64()
	for i := synced; i < len(records); i++ {
		switch survives := w.chance(survive); {
		case !survives && kept == len(records):
			kept = i
		case survives && i > kept:
			behind++
		}
	}
	if behind > 0 {
		w.count(tailBroken)
	}
	for i, r := range records {
		key := blockKey{log.execution, r.grant.Stage, r.op}
		if r.done == nil || i < synced || r.part != nil || slices.Contains(f.copies, key) {
			continue // what was staged is elsewhere
		}
		if b := f.blocks[key]; i >= kept {
			delete(f.blocks, key)
		} else if b != nil && w.chance(0.3) {
			b.torn = true
			w.count(blockTorn)
		}
	}
	log.records, log.synced, log.damaged = records[:kept], kept, false
}

// loseNames removes the logs whose names were not on disk, and has the blocks of
// others be torn, whose segments were not.
func (f *folder) loseNames(w *world) {
	f.logs = slices.DeleteFunc(f.logs, func(log *slotLog) bool {
		if log.named || !w.chance(0.1) {
			return false
		}
		w.count(namesLost)
		gone := w.chance(0.5)
		for _, r := range log.records {
			key := blockKey{log.execution, r.grant.Stage, r.op}
			if b := f.blocks[key]; r.done != nil && b != nil && !slices.Contains(f.copies, key) {
				b.torn = true
			}
		}
		return gone
	})
}

// loseCopies cuts the log of copies, and has some of what it speaks of be torn.
func (f *folder) loseCopies(w *world) {
	kept := f.synced + w.rng.IntN(len(f.copies)-f.synced+1)
	for _, key := range f.copies[kept:] {
		delete(f.blocks, key)
		w.count(copiesLost)
	}
	for _, key := range f.copies[f.synced:kept] {
		if b := f.blocks[key]; b != nil && w.chance(0.3) {
			b.torn = true
			w.count(blockTorn)
		}
	}
	f.copies, f.synced = f.copies[:kept], kept
}

// dropUnknown removes the blocks of which no record speaks: they are the rest of
// something that was given up.
func (f *folder) dropUnknown() {
	known := make(map[blockKey]bool, len(f.blocks))
	for _, key := range f.copies {
		known[key] = true
	}
	for _, log := range f.logs {
		for _, r := range log.readable() {
			if r.done != nil {
				known[blockKey{log.execution, r.grant.Stage, r.op}] = true
			}
		}
	}
	maps.DeleteFunc(f.blocks, func(key blockKey, _ *block) bool { return !known[key] })
}

// rotLog alters a record of a log where it lies: nothing behind it is read any more.
func (w *world) rotLog() bool {
	f := w.anyMachine().folder
	logs := slices.DeleteFunc(slices.Clone(f.logs), func(l *slotLog) bool { return len(l.records) == 0 })
	if len(logs) == 0 {
		return false
	}
	log := logs[w.rng.IntN(len(logs))]
	log.damage(w.rng.IntN(len(log.records)))
	return true
}

// clone copies a folder as it is.
func (f *folder) clone() *folder {
	c := *f
	c.kept = maps.Clone(f.kept)
	c.logs, c.copies, c.blocks = nil, slices.Clone(f.copies), make(map[blockKey]*block, len(f.blocks))
	for _, log := range f.logs {
		own := *log
		own.records = slices.Clone(log.records)
		c.logs = append(c.logs, &own)
	}
	for key, b := range f.blocks {
		own := *b
		c.blocks[key] = &own
	}
	return &c
}

// restoreFolder puts an older copy of its folder in the place of what a machine
// has, as a snapshot of its disk that is taken back does.
func (w *world) restoreFolder() bool {
	m := w.anyMachine()
	if m.remains != 0 || m.twin {
		return false
	}
	copied := m.folder.clone()
	w.after(w.between(100*millisecond, 6*second), "restore", func() {
		if other := m.service.machineOf(copied.node); w.healed || m.remains != 0 || other != nil && other != m {
			return
		}
		m.kill()
		m.folder = copied
		w.dropRemade(copied)
		w.count(folderBack)
		w.after(w.between(100*millisecond, w.outage()+second), "restart", m.start)
	})
	return true
}

// swapFolders has two machines start on each other's folders, under their own names.
func (w *world) swapFolders() bool {
	a, b := w.anyMachine(), w.anyMachine()
	if a == b || a.service != b.service || a.twin || b.twin {
		return false
	}
	for _, m := range []*machine{a, b} {
		m.kill()
		w.after(w.between(100*millisecond, w.outage()+second), "restart", m.start)
	}
	a.folder, b.folder = b.folder, a.folder
	return true
}

// cloneMachine has another machine start on a copy of a folder that is in use. After a
// while somebody notices, and takes it away.
func (w *world) cloneMachine() bool {
	m := w.anyMachine()
	if m.agent == nil || m.twin || w.indexes >= len(m.peerUp)-4 { // as many may come with another service
		return false
	}
	twin := &machine{world: w, service: m.service, index: w.index(), name: m.name, slots: m.slots, slow: 1, folder: m.folder.clone(), twin: true}
	w.machines = append(w.machines, twin)
	m.service.machines = append(m.service.machines, twin)
	w.after(w.between(0, second), "start", func() {
		if !w.healed {
			twin.start()
		}
	})
	w.after(min(w.between(second, 12*second), w.healAt-w.now), "noticed", func() {
		twin.kill()
		twin.remains = neverBack
		is := func(o *machine) bool { return o == twin }
		w.machines, m.service.machines = slices.DeleteFunc(w.machines, is), slices.DeleteFunc(m.service.machines, is)
		if own := m.service.machineOf(twin.folder.node); own != nil {
			own.again()
		}
	})
	return true
}

// index numbers a machine.
func (w *world) index() int {
	w.indexes++
	return w.indexes - 1
}

// machineAt finds the machine at an address, or nil.
func (v *service) machineAt(address string) *machine {
	if i := slices.IndexFunc(v.machines, func(m *machine) bool { return m.address() == address }); i >= 0 {
		return v.machines[i]
	}
	return nil
}

// again has a person start the agent of a machine again.
func (m *machine) again() {
	m.kill()
	m.world.after(m.world.between(millisecond, 500*millisecond), "restart", m.start)
}

// refused has a person look after a node that the service refuses.
func (a *agentProcess) refused(why error) {
	if errors.Is(why, errUnknown) {
		return // it tries again
	}
	w := a.world
	a.later(w.between(100*millisecond, second), "refused", func() {
		if a.session != nil && a.session.attached {
			return
		}
		if errors.Is(why, errNameTaken) {
			a.machine.name += "x"
		}
		m := a.machine
		if s := m.service.server; errors.Is(why, errStale) && s != nil {
			m.folder.incarnation = max(m.folder.incarnation, s.member(m.folder.node).doc.Incarnation) // as the refusal says
		}
		m.again()
	})
}

// incarnate numbers a start of the agent on its folder. By the clock, and with some
// chance in case that is behind, it is a number that no other start has: none on a copy
// of the folder, and none before an older copy of it was put back.
func (m *machine) incarnate() {
	w := m.world
	m.folder.incarnation = max(m.folder.incarnation+1+stint.Incarnation(w.rng.Uint64N(incarnationGap)), stint.Incarnation((w.millis()+m.skew)*millisecond+w.now%millisecond))
}

const incarnationGap = 1 << 22
