package sim

import (
	"errors"

	"stint"
	"stint/internal/coord"
	"stint/internal/wire"
)

// store is the simulated record: what it has, a killed server finds again.
type store struct {
	world    *world
	epoch    stint.Epoch
	nodes    []stint.Node
	rows     []*row
	drains   []coord.DrainAsk
	snapshot int   // records between snapshots, drawn per seed
	full     int64 // until when its disk has no room

	downUntil int64 // until then it refuses everything
}

// row is one execution.
type row struct {
	plan    *planned
	request stint.Request
	created int64
	epoch   stint.Epoch
	version uint64
	settled bool
	core    []byte // of the last snapshot, encoded; nil: none
	coreAt  uint64
	origin  []byte         // snapshot that the execution came with from another service; nil: it was submitted here
	base    uint64         // its version
	history []coord.Record // all there ever were since, for the laws; a load reads those after coreAt
	book    *book
	home    string // URL of the storage with its saved state; empty: the service's own
}

// batch is what a drive commits at once.
type batch struct {
	row      *row
	epoch    stint.Epoch
	after    uint64
	records  []coord.Record
	settled  bool
	revive   bool // it was settled, under whatever epoch, and is so no more
	snapshot *coord.Snapshot
}

type pendingBatch struct {
	batch
	done func(error)
}

// journal is what one server process commits through.
type journal struct {
	server *server
	store  *store
	queue  []*pendingBatch // not being committed yet
	flying []*pendingBatch // one transaction
}

var (
	errRefused = errors.New("refused")
	errUnknown = errors.New("unknown")
)

func (s *store) of(id stint.ExecutionID) *row {
	for _, r := range s.rows {
		if r.plan.Spec.Execution == id {
			return r
		}
	}
	return nil
}

// isDown reports whether nothing can be read and written. Only a placed fault does that.
func (s *store) isDown() bool {
	down := s.downUntil > s.world.now
	if down {
		s.world.felt()
	}
	return down
}

func (s *store) takeOver() stint.Epoch {
	s.epoch++
	for _, r := range s.rows {
		if !r.settled {
			r.epoch = s.epoch
		}
	}
	return s.epoch
}

// saveNode keeps a node; another of the same name is lost.
func (s *store) saveNode(n stint.Node) (replaced []stint.NodeID) {
	known := false
	for i := range s.nodes {
		old := &s.nodes[i]
		switch {
		case old.ID == n.ID:
			*old, known = n, true
		case old.Name == n.Name && old.Status != stint.NodeLost:
			old.Status = stint.NodeLost
			replaced = append(replaced, old.ID)
		}
	}
	if !known {
		s.nodes = append(s.nodes, n)
	}
	return replaced
}

// commit queues a batch; done is called with its outcome unless the server is
// killed before.
func (j *journal) commit(b batch, done func(error)) {
	j.queue = append(j.queue, &pendingBatch{batch: b, done: done})
	j.begin()
}

func (j *journal) begin() {
	if len(j.flying) > 0 || len(j.queue) == 0 {
		return
	}
	j.flying, j.queue = j.queue, nil
	w, s := j.store.world, j.server
	took := j.duration()
	w.passes(journalling, s.service, nil)
	if v := s.service; v.killing && !w.healed {
		w.after(w.between(0, took), "fault", func() {
			if v.killing && v.server != nil {
				v.killNow()
			}
		})
	}
	s.later(took, "commit", func() {
		group := j.flying
		j.flying = nil
		j.land(group)
		if !s.dead {
			j.begin()
		}
	})
}

// duration draws how long a transaction takes.
func (j *journal) duration() int64 {
	w := j.store.world
	switch {
	case w.happens(commitSlow):
		return w.between(600*millisecond, 6*second)
	case !w.healed && w.chance(0.03):
		return w.between(8*millisecond, 600*millisecond)
	}
	return w.between(500, 8*millisecond)
}

// land ends a transaction: as a rule done, now and then nobody knows. Nothing of
// one that finds no room, or that could not be synced, is in the record; who asked
// for it hears no more than that its outcome is not known.
func (j *journal) land(group []*pendingBatch) {
	w := j.store.world
	var unknown bool
	written := true
	switch {
	case j.store.full > w.now:
		w.count(commitNoRoom)
		unknown, written = true, false
	case w.happens(commitSyncFailed):
		unknown, written = true, false
	default:
		unknown = w.befalls(commitUnknown, func() { written = w.chance(0.5) })
	}
	for _, p := range group {
		var outcome error
		switch {
		case j.store.isDown():
			outcome = errRefused
		case written:
			outcome = j.store.write(p.batch)
		}
		if unknown && outcome == nil {
			outcome = errUnknown
		}
		p.done(outcome)
	}
}

// killed decides what of the transaction under way is in the record.
func (j *journal) killed() {
	group := j.flying
	j.flying, j.queue = nil, nil
	w := j.store.world
	if len(group) == 0 {
		return
	}
	if j.store.full > w.now || w.chance(0.5) {
		w.count(commitLost)
		return
	}
	w.count(commitKept)
	for _, p := range group {
		_ = j.store.write(p.batch) // nobody is left to be told
	}
}

// write writes one batch, or refuses it.
func (s *store) write(b batch) error {
	r := b.row
	if r.version != b.after || b.revive && (!r.settled || b.epoch != s.epoch) || !b.revive && r.epoch != b.epoch {
		if b.epoch < s.epoch {
			s.world.count(commitFenced)
		}
		return errRefused
	}
	for i, rec := range b.records {
		s.world.books.enter(r, rec, b.after+uint64(i)+1)
	}
	r.history = append(r.history, b.records...)
	r.version += uint64(len(b.records))
	r.settled, r.epoch = b.settled, b.epoch
	if b.snapshot != nil {
		s.writeSnapshot(r, b.snapshot)
	}
	return nil
}

// writeSnapshot merges the chunks that changed into those that are kept.
func (s *store) writeSnapshot(r *row, snap *coord.Snapshot) {
	var kept coord.Snapshot
	if r.core != nil {
		s.world.must(wire.Unmarshal(r.core, &kept))
	}
	for _, c := range snap.Chunks {
		known := false
		for i := range kept.Chunks {
			if kept.Chunks[i].Stage == c.Stage && kept.Chunks[i].Index == c.Index {
				kept.Chunks[i], known = c, true
			}
		}
		if !known {
			kept.Chunks = append(kept.Chunks, c)
		}
	}
	kept.Version, kept.Core = snap.Version, snap.Core
	b, err := wire.Marshal(kept)
	s.world.must(err)
	r.core, r.coreAt = b, snap.Version
}

// load makes the state of an execution of what is kept, as its owner in an epoch
// has it.
func (s *store) load(r *row, epoch stint.Epoch) (state *coord.State, saved bool) {
	state = coord.New(r.plan.Plan, r.request, epoch, r.created)
	if r.core != nil {
		var snap coord.Snapshot
		s.world.must(wire.Unmarshal(r.core, &snap))
		var err error
		state, err = coord.Restore(r.plan.Plan, r.request, epoch, snap)
		if err != nil {
			s.world.breaks("fold", "snapshot of version %d: %v", r.coreAt, err)
			return coord.New(r.plan.Plan, r.request, epoch, r.created), false
		}
		s.world.count(snapshotRead)
	}
	for _, rec := range r.history[r.coreAt-r.base:] {
		state.Apply(rec)
	}
	return state, r.core != nil
}

// must ends the run for a fault of the simulation itself.
func (w *world) must(err error) {
	if err != nil {
		w.breaks("simulation", "%v", err)
	}
}
