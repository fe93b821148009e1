package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"stint"
)

// storage is long-term storage. All services have the same.
type storage struct {
	world   *world
	objects map[string]any  // by key: *pack, *checkpoint, *claim or *record
	refuses int64           // until when it does nothing
	denies  int64           // until when nobody may do anything
	fixed   int64           // until when nothing can be written
	taken   map[string]bool // keys of what a fault took away
}

// pack is an object with blocks of one stage.
type pack struct {
	stage  int
	blocks map[uint32]*block
}

// checkpoint is what an interrupted operation has saved of itself.
type checkpoint struct{ progress float64 }

// claim says who owns an execution in a generation.
type claim struct {
	generation uint64
	service    *service
	stale      bool // the server that asked for it was not the service's any more when it came
}

// record is what a service leaves when it suspends: all that a fresh one needs.
type record struct {
	generation uint64
	snapshot   []byte
	row        *row
	plan       *planned // as it was then
	book       *book    // as it was then
}

func savedPrefix(x stint.ExecutionID) string { return "saved/" + string(x) + "/" }

func ownerKey(x stint.ExecutionID, generation uint64) string {
	return fmt.Sprintf("%sowner-%06d", savedPrefix(x), generation)
}

func recordKey(x stint.ExecutionID, generation uint64) string {
	return fmt.Sprintf("%srecord-%06d", savedPrefix(x), generation)
}

// recordOf returns the record of a generation; nil if there is none.
func (s *storage) recordOf(x stint.ExecutionID, generation uint64) *record {
	rec, _ := s.objects[recordKey(x, generation)].(*record)
	return rec
}

// do has storage do something, after a while: it may refuse, or do it and not
// say so.
func (s *storage) do(act func() *stint.Error, then func(*stint.Error)) {
	w := s.world
	took := w.between(100, 20*millisecond)
	w.befalls(storageLate, func() { took += w.between(100*millisecond, 3*second) })
	w.after(took, "storage", func() {
		if s.refuses > w.now {
			w.felt()
			then(stint.Errorf(stint.Unavailable, "storage refuses"))
			return
		}
		if s.denies > w.now {
			w.felt()
			then(stint.Errorf(stint.Denied, "storage does not know these credentials"))
			return
		}
		err := act()
		if err == nil && w.happens(storageUnknown) {
			err = stint.Errorf(stint.Unavailable, "storage does not answer")
		}
		then(err)
	})
}

// refuse has storage refuse everything for a while.
func (w *world) refuseStorage() bool {
	if w.storage.refuses > w.now {
		return false
	}
	w.storage.refuses = min(w.now+w.between(50*millisecond, 6*second), w.healAt)
	return true
}

// write is do for something that is written: it may not be possible, or fail to
// get to the disk, and then nothing of it is there.
func (s *storage) write(act func() *stint.Error, then func(*stint.Error)) {
	s.do(func() *stint.Error {
		if err := s.unwritable(); err != nil {
			return err
		}
		return act()
	}, then)
}

// unwritable says why nothing can be written now; nil: it can.
func (s *storage) unwritable() *stint.Error {
	w := s.world
	switch {
	case s.fixed > w.now:
		return stint.Errorf(stint.Denied, "storage is read-only")
	case w.happens(syncFailed):
		return stint.Errorf(stint.Unavailable, "sync failed")
	}
	return nil
}

// denyStorage has the credentials for storage be no good for a while.
func (w *world) denyStorage() bool {
	if w.storage.denies > w.now {
		return false
	}
	w.storage.denies = min(w.now+w.between(50*millisecond, 5*second), w.healAt)
	return true
}

// fixStorage has storage be read-only for a while.
func (w *world) fixStorage() bool {
	if w.storage.fixed > w.now {
		return false
	}
	w.storage.fixed = min(w.now+w.between(50*millisecond, 5*second), w.healAt)
	return true
}

// putPack writes a pack. What a record names must not be replaced by less.
func (s *storage) putPack(key string, p *pack) {
	if old, there := s.objects[key].(*pack); there {
		for op := range old.blocks {
			if now := p.blocks[op]; old.stage != p.stage || now == nil {
				s.world.breaks("pack", "%s had operation %d of stage %d and is replaced by one without", key, op, old.stage)
			}
		}
	}
	s.objects[key] = p
}

// size stands for the number of bytes of a pack.
func (p *pack) size() int64 { return int64(100 * len(p.blocks)) }

// writer returns the service that has written a record or a claim; nil: it is something
// else, or came from a server whose time was over, for which nobody could wait.
func (s *storage) writer(key string) *service {
	switch o := s.objects[key].(type) {
	case *record:
		return o.book.service
	case *claim:
		if !o.stale {
			return o.service
		}
	}
	return nil
}

// owner returns the highest claim of an execution, nil if there is none, and the
// highest generation that has a record.
func (s *storage) owner(x stint.ExecutionID) (highest *claim, recorded uint64) {
	for key, o := range s.objects {
		if !strings.HasPrefix(key, savedPrefix(x)) {
			continue
		}
		switch o := o.(type) {
		case *claim:
			if highest == nil || o.generation > highest.generation {
				highest = o
			}
		case *record:
			recorded = max(recorded, o.generation)
		}
	}
	return highest, recorded
}

// claim makes the service of a server the owner in a generation, if nobody else is.
func (s *storage) claim(r *run, generation uint64, by *server) *stint.Error {
	key := ownerKey(r.id, generation)
	if _, there := s.objects[key]; there {
		s.world.count(claimRefused)
		return stint.Errorf(stint.Conflict, "owned_elsewhere: generation %d", generation)
	}
	c := &claim{generation: generation, service: by.service, stale: by.epoch != by.service.store.epoch}
	s.objects[key] = c
	if !r.cleared { // who claims what has ended owns nothing of it
		r.claims = append(r.claims, c)
	}
	s.world.note("claim", generation, uint64(by.service.index))
	return nil
}

// withdraw takes back a claim under which nothing was done.
func (s *storage) withdraw(r *run, c *claim) {
	s.world.count(claimWithdrawn)
	delete(s.objects, ownerKey(r.id, c.generation))
	r.claims = slices.DeleteFunc(r.claims, func(o *claim) bool { return o == c })
}

// deleteAll removes everything of an execution, from the last key to the first. It may
// come to an end on the way.
func (s *storage) deleteAll(x stint.ExecutionID) *stint.Error {
	keys := slices.DeleteFunc(sortedKeys(s.objects), func(key string) bool { return !strings.HasPrefix(key, savedPrefix(x)) })
	stays := 0 // it ends before these
	s.world.befalls(removalHalf, func() { stays = s.world.rng.IntN(len(keys) + 1) })
	for _, key := range slices.Backward(keys[stays:]) {
		delete(s.objects, key)
	}
	if stays > 0 {
		return stint.Errorf(stint.Unavailable, "storage refuses")
	}
	return nil
}

// takePack takes a pack away.
func (w *world) takePack() bool {
	keys := slices.DeleteFunc(sortedKeys(w.storage.objects), func(key string) bool {
		_, is := w.storage.objects[key].(*pack)
		return !is
	})
	if len(keys) == 0 {
		return false
	}
	key := keys[w.rng.IntN(len(keys))]
	delete(w.storage.objects, key)
	w.storage.taken[key] = true
	return true
}

func compareKeys(a, b blockKey) int {
	return cmp.Or(cmp.Compare(a.execution, b.execution), cmp.Compare(a.stage, b.stage), cmp.Compare(a.op, b.op))
}

// rotBlock alters a block on a node.
func (w *world) rotBlock() bool {
	return w.anyMachine().rotSome()
}

// rotSome alters one of the blocks on a machine.
func (m *machine) rotSome() bool {
	w := m.world
	keys := slices.SortedFunc(maps.Keys(m.folder.blocks), compareKeys)
	if len(keys) == 0 {
		return false
	}
	m.folder.blocks[keys[w.rng.IntN(len(keys))]].rotten = true
	return true
}

// rotPack alters a block in a pack.
func (w *world) rotPack() bool {
	keys := sortedKeys(w.storage.objects)
	for range 5 {
		if len(keys) == 0 {
			return false
		}
		p, is := w.storage.objects[keys[w.rng.IntN(len(keys))]].(*pack)
		if !is || len(p.blocks) == 0 {
			continue
		}
		ops := sortedKeys(p.blocks)
		p.blocks[ops[w.rng.IntN(len(ops))]].rotten = true
		return true
	}
	return false
}
