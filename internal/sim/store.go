package sim

import (
	"errors"

	"stint"
	"stint/internal/coord"
	"stint/internal/plan"
	"stint/internal/wire"
)

// store is the simulated record: what it has, a killed server finds again.
type store struct {
	world    *world
	service  *service
	epoch    stint.Epoch
	nodes    []stint.Node
	rows     []*row
	drains   []coord.DrainAsk
	queue    []*pendingBatch // not being committed yet
	flying   []*pendingBatch // one transaction
	snapshot int             // records between snapshots, drawn per seed
}

// row is one execution.
type row struct {
	plan    *plan.Plan
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
	snapshot *coord.Snapshot
}

type pendingBatch struct {
	batch
	done func(error)
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
func (s *store) commit(b batch, done func(error)) {
	s.queue = append(s.queue, &pendingBatch{batch: b, done: done})
	s.begin()
}

func (s *store) begin() {
	if len(s.flying) > 0 || len(s.queue) == 0 {
		return
	}
	s.flying, s.queue = s.queue, nil
	group, epoch := s.flying, s.epoch
	w := s.world
	took := w.between(500, 8*millisecond)
	if !w.healed && w.chance(0.03) {
		took = w.between(8*millisecond, 600*millisecond)
	}
	if v := s.service; v.killing && !w.healed {
		w.after(w.between(0, took), "fault", func() {
			if v.killing && v.server != nil {
				v.killNow()
			}
		})
	}
	w.after(took, "commit", func() {
		if s.epoch != epoch || len(s.flying) == 0 || s.flying[0] != group[0] {
			return // the server was killed meanwhile
		}
		s.flying = nil
		s.land(group)
		s.begin()
	})
}

// land ends a transaction: as a rule done, now and then nobody knows.
func (s *store) land(group []*pendingBatch) {
	w := s.world
	unknown := w.happens(commitUnknown)
	written := !unknown || w.chance(0.5)
	for _, p := range group {
		var outcome error
		if written {
			outcome = s.write(p.batch)
		}
		if unknown && outcome == nil {
			outcome = errUnknown
		}
		p.done(outcome)
	}
}

// killed decides what of the transaction under way is in the record.
func (s *store) killed() {
	group := s.flying
	s.flying, s.queue = nil, nil
	if len(group) == 0 {
		return
	}
	if s.world.chance(0.5) {
		s.world.count(commitLost)
		return
	}
	s.world.count(commitKept)
	for _, p := range group {
		_ = s.write(p.batch) // nobody is left to be told
	}
}

// write writes one batch, or refuses it.
func (s *store) write(b batch) error {
	r := b.row
	if r.epoch != b.epoch || r.version != b.after {
		return errRefused
	}
	for i, rec := range b.records {
		s.world.books.enter(r, rec, b.after+uint64(i)+1)
	}
	r.history = append(r.history, b.records...)
	r.version += uint64(len(b.records))
	r.settled = b.settled
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

// load makes the state of an execution of what is kept.
func (s *store) load(r *row) (state *coord.State, saved bool) {
	state = coord.New(r.plan, r.request, r.epoch, r.created)
	if r.core != nil {
		var snap coord.Snapshot
		s.world.must(wire.Unmarshal(r.core, &snap))
		var err error
		state, err = coord.Restore(r.plan, r.request, r.epoch, snap)
		if err != nil {
			s.world.breaks("fold", "snapshot of version %d: %v", r.coreAt, err)
			return coord.New(r.plan, r.request, r.epoch, r.created), false
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
