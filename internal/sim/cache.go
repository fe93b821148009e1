package sim

import (
	"maps"
	"slices"

	"stint"
	"stint/internal/coord"
)

// defaultKeep is how long nodes keep output of an execution that has ended, in
// seconds, if its request does not say.
const defaultKeep = 24 * 60 * 60

// keep notes until when nodes keep the blocks of an execution that has just been
// settled.
func (s *server) keep(d *drive) {
	delete(s.kept, d.id) // it may have ended before, and have been retried
	seconds := d.row.request.Keep
	if seconds == 0 {
		seconds = defaultKeep
	}
	if d.state.Status() != stint.Terminated && seconds > 0 {
		s.kept[d.id] = s.world.millis() + seconds*1000
	}
}

// forgetting is what a node is told that still has to do with an execution that is
// not live.
func (s *server) forgetting(x stint.ExecutionID) *coord.Forget {
	return &coord.Forget{Keep: s.kept[x]}
}

// settle does with the blocks of a forgotten execution what the server said: they
// are removed, or cache until a time.
func (a *agentProcess) settle(x stint.ExecutionID, said *coord.Forget) {
	f, w := a.machine.folder, a.world
	if said.Keep <= w.millis() {
		f.remove(x)
		return
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(f.blocks)), func(key blockKey) bool { return key.execution == x }) {
		f.remove(x)
		return
	}
	w.count(cacheKept)
	f.keepUntil(w, x, said.Keep)
}

// keepUntil has blocks of an execution be cache until a time.
func (f *folder) keepUntil(w *world, x stint.ExecutionID, until int64) {
	f.kept[x] = until
	w.after((until-w.millis())*millisecond, "outlived", func() {
		if f.kept[x] == until {
			f.remove(x)
		}
	})
}

func (f *folder) isKept(x stint.ExecutionID) bool {
	_, kept := f.kept[x]
	return kept
}

// reopen removes what is cache of an execution that is performed here again: it is of
// before.
func (f *folder) reopen(x stint.ExecutionID) {
	if f.isKept(x) {
		f.remove(x)
	}
}

// evict has a node remove the oldest of its cache, as if its disk were short.
func (w *world) evict() bool {
	m := w.anyMachine()
	kept := sortedKeys(m.folder.kept)
	if m.agent == nil || len(kept) == 0 {
		return false
	}
	m.folder.remove(kept[w.rng.IntN(len(kept))])
	return true
}

// checkCache checks that a node has blocks of nothing but executions that have ended
// and may be kept.
func (w *world) checkCache(m *machine) {
	f := m.folder
	for key := range f.blocks {
		if !f.isKept(key.execution) {
			w.breaks("live", "node %s still keeps operation %d of stage %d of %s", f.node, key.op, key.stage, key.execution)
		}
	}
	for _, log := range f.logs {
		if !f.isKept(log.execution) {
			w.breaks("live", "node %s still keeps a log of %s", f.node, log.execution)
		}
	}
	for x, until := range f.kept {
		r := w.runOf(x)
		ended := slices.ContainsFunc(w.books.all, func(e *book) bool {
			return e.run == r && e.status.Final() && (e.status != stint.Terminated || r.retried) // of the time before it was retried
		})
		if !ended || r.request.Keep < 0 || until <= w.millis() {
			w.breaks("cache", "node %s keeps blocks of %s", f.node, x)
		}
	}
}

// dropRemade removes from an older copy of a folder what it has of executions that were
// retried, or went on with another input: nothing tells output of before from output
// of now on a disk that comes back, see "What it does not show" in docs/simulation.md.
func (w *world) dropRemade(f *folder) {
	for _, r := range w.runs {
		if r.retried || r.rebased {
			f.remove(r.id)
		}
	}
}
