package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"stint"
	"stint/internal/block"
	"stint/internal/failpoint"
	"stint/internal/link"
)

const (
	cacheShare  = 10               // the cache takes at most 1/cacheShare of the disk, and leaves as much free
	sweepEvery  = 10 * time.Second // between two looks at the cache
	removeAgain = 5 * time.Minute  // after a removal that failed
	keepMark    = "keep.json"      // in the folder of blocks that are cache
)

// cache is the output on this node that no execution in progress needs: blocks of
// executions that have ended, kept for reuse until a time, and dropped blocks of
// others. It gives way, oldest first, when it is larger than its share or the
// disk is short of room. Safe for concurrent use.
type cache struct {
	store  *block.Store
	folder *folder
	logger *slog.Logger

	mu      sync.Mutex
	ending  map[stint.ExecutionID]int64 // until when blocks are to be kept, of those being forgotten
	kept    map[stint.ExecutionID]kept
	dropped map[stint.ExecutionID][]stint.StageOps // of executions that are known to the loop
}

// kept is an execution whose blocks are cache. It is what keepMark holds.
type kept struct {
	Until int64 `json:"until"` // milliseconds since 1970
	Since int64 `json:"since"` // when it was last of use
	bytes int64
	left  bool // by a removal that failed; its logs went to storage before that
}

func newCache(store *block.Store, f *folder, logger *slog.Logger) *cache {
	return &cache{
		store: store, folder: f, logger: logger,
		ending: make(map[stint.ExecutionID]int64), kept: make(map[stint.ExecutionID]kept), dropped: make(map[stint.ExecutionID][]stint.StageOps),
	}
}

// keepBlocks says what becomes of the blocks of an execution that is about to be
// forgotten: they are cache until a time, in milliseconds since 1970; 0: they
// are removed.
func (l *loop) keepBlocks(x stint.ExecutionID, until int64) {
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	l.cache.ending[x] = until
}

// dropBlocks says that blocks of an execution are not needed any more.
func (l *loop) dropBlocks(d link.Drop) {
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	sets := l.cache.dropped[d.Execution]
	for _, s := range d.Ops {
		for _, r := range s.Ops {
			sets = addToStage(sets, s.Stage, r)
		}
	}
	l.cache.dropped[d.Execution] = sets
}

// settle does with the blocks of an execution that is forgotten what keepBlocks
// said. Those that cannot be marked as cache are not: they would stay for ever.
func (c *cache) settle(x stint.ExecutionID, now time.Time) error {
	c.mu.Lock()
	until := c.ending[x]
	delete(c.ending, x)
	delete(c.dropped, x)
	c.mu.Unlock()
	if until <= now.UnixMilli() {
		return c.remove(x, now)
	}
	failpoint.Reach("cache.before-mark")
	err := c.keep(x, kept{Until: until, Since: now.UnixMilli()})
	if err != nil {
		err = errors.Join(err, c.remove(x, now))
	}
	return err
}

// remove removes the blocks of an execution. Those that cannot be removed are cache
// whose time is soon over: it is tried again. Of no length, they keep no others from
// making room.
func (c *cache) remove(x stint.ExecutionID, now time.Time) error {
	err := c.store.Remove(x)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kept, x)
	if err != nil {
		again := now.Add(removeAgain).UnixMilli()
		c.kept[x] = kept{Until: again, Since: again, left: true}
	}
	return err
}

// keep marks the blocks of an execution as cache, durably. Without blocks there
// is nothing to keep.
func (c *cache) keep(x stint.ExecutionID, k kept) error {
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	err = writeSynced(c.mark(x), append(b, '\n'))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		k.bytes, err = c.store.BytesOn(x)
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[x] = k
	return nil
}

func (c *cache) mark(x stint.ExecutionID) string { return c.folder.at("blocks", string(x), keepMark) }

// restore reports whether the blocks of an execution are cache, as an earlier
// incarnation has marked them.
func (c *cache) restore(x stint.ExecutionID) (bool, error) {
	b, err := os.ReadFile(c.mark(x))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var k kept
	if json.Unmarshal(b, &k) != nil {
		k = kept{} // whatever it said, they may go
	}
	if k.bytes, err = c.store.BytesOn(x); err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[x] = k
	return true, nil
}

// has reports whether blocks of an execution are cache.
func (c *cache) has(x stint.ExecutionID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.kept[x]
	return ok
}

// isLeft reports whether blocks are left of a removal that failed.
func (c *cache) isLeft(x stint.ExecutionID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept[x].left
}

// release takes out of the cache what could not be removed of an execution that is
// performed here again: what it completes must not be taken for cache.
func (c *cache) release(x stint.ExecutionID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.kept[x]; !ok {
		return
	}
	delete(c.kept, x)
	if err := os.Remove(c.mark(x)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.logger.Error("mark of cache not removed", "execution", x, "err", err)
	}
}

// touch makes an execution the last that is removed: somebody wants to reuse it.
func (c *cache) touch(x stint.ExecutionID, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.kept[x]; ok {
		k.Since = now.UnixMilli()
		c.kept[x] = k
	}
}

// watch keeps the cache within its bounds until ctx is done. Executions are
// removed by the loop, which knows whether they are performed again.
func (c *cache) watch(ctx context.Context, post func(notice)) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		c.sweep(ctx, time.Now(), post)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sweep looks at the cache once.
func (c *cache) sweep(ctx context.Context, now time.Time, post func(notice)) {
	var s unix.Statfs_t
	if err := unix.Statfs(c.folder.dir, &s); err != nil {
		c.logger.WarnContext(ctx, "room on disk not known", "path", c.folder.dir, "err", err)
		return
	}
	c.mu.Lock()
	ended, dropped := maps.Clone(c.kept), make(map[stint.ExecutionID][]stint.StageOps)
	for x, sets := range c.dropped {
		dropped[x] = cloneStages(sets)
	}
	c.mu.Unlock()
	size := int64(0)
	for x, sets := range dropped {
		size += c.store.BytesOf(x, sets)
	}
	disk := room{total: int64(s.Blocks) * s.Bsize, free: int64(s.Bavail) * s.Bsize}
	for _, x := range outlivedBy(ended, now, disk.over(ended, size)) {
		post(&outlived{execution: x})
	}
	if size > 0 && disk.over(ended, size) > 0 {
		c.removeDropped(ctx, dropped, post)
	}
}

// giveWay makes room on the disk of a node that has not started, where nothing is
// performed, until begin does not fail for want of it. What is left of executions whose
// removal was cut off goes, and the cache gives way as it does later. Where that was not
// all that is wanted, as of a quota, or of room for files, the rest of the cache goes,
// oldest first. What cannot be read or removed fails no start that has room without it.
func giveWay(ctx context.Context, f *folder, logger *slog.Logger, begin func() error) error {
	store, err := block.Open(f.at("blocks"))
	if err != nil {
		return fmt.Errorf("open blocks: %w", err)
	}
	if err := store.RemoveLeftovers(); err != nil {
		logger.WarnContext(ctx, "removed executions not removed to their end", "err", err)
	}
	c := newCache(store, f, logger)
	for _, x := range store.Executions() {
		if _, err := c.restore(x); err != nil {
			logger.WarnContext(ctx, "mark of cache not read", "execution", x, "err", err)
		}
	}
	remove := func(x stint.ExecutionID) {
		if err := c.remove(x, time.Now()); err != nil {
			logger.WarnContext(ctx, "execution not removed", "execution", x, "err", err)
		}
	}
	c.sweep(ctx, time.Now(), func(n notice) {
		if o, ok := n.(*outlived); ok {
			remove(o.execution)
		}
	})
	err = begin()
	for _, x := range oldestFirst(c.kept) {
		if !isFull(err) {
			break
		}
		remove(x)
		err = begin()
	}
	return errors.Join(err, store.Close())
}

// room is what a disk has, in bytes.
type room struct{ total, free int64 }

// over returns by how many bytes the cache is too large.
func (r room) over(ended map[stint.ExecutionID]kept, dropped int64) int64 {
	size := dropped
	for _, k := range ended {
		size += k.bytes
	}
	share := r.total / cacheShare
	return max(size-share, share-r.free)
}

// outlivedBy returns the executions whose time is over and, oldest first, others
// until so many bytes are free.
func outlivedBy(ended map[stint.ExecutionID]kept, now time.Time, over int64) []stint.ExecutionID {
	list := oldestFirst(ended)
	for _, k := range ended {
		if k.Until <= now.UnixMilli() {
			over -= k.bytes
		}
	}
	return slices.DeleteFunc(list, func(x stint.ExecutionID) bool {
		k := ended[x]
		if k.Until <= now.UnixMilli() {
			return false
		}
		stays := over <= 0 || k.left // it makes no room before it can be removed
		if !stays {
			over -= k.bytes
		}
		return stays
	})
}

// oldestFirst sorts executions by when they were last of use.
func oldestFirst(ended map[stint.ExecutionID]kept) []stint.ExecutionID {
	return slices.SortedFunc(maps.Keys(ended), func(a, b stint.ExecutionID) int {
		return cmp.Or(cmp.Compare(ended[a].Since, ended[b].Since), cmp.Compare(a, b))
	})
}

// removeDropped removes segments of which nothing is needed any more.
func (c *cache) removeDropped(ctx context.Context, dropped map[stint.ExecutionID][]stint.StageOps, post func(notice)) {
	for x, sets := range dropped {
		removed, err := c.store.RemoveSegments(x, sets)
		if err != nil {
			c.logger.WarnContext(ctx, "segments not removed", "execution", x, "err", err)
		}
		if len(removed) == 0 {
			continue
		}
		c.mu.Lock()
		for _, s := range removed {
			for _, r := range s.Ops {
				c.dropped[x] = subtractFromStage(c.dropped[x], s.Stage, r)
			}
		}
		c.mu.Unlock()
		c.logger.InfoContext(ctx, "unneeded output removed", "execution", x, "count", countStages(removed))
		post(&blocksDropped{execution: x, ops: removed})
	}
}

// outlived says that blocks of an execution that has ended are to go.
type outlived struct{ execution stint.ExecutionID }

func (o *outlived) apply(l *loop, _ time.Time) {
	if l.executions[o.execution] != nil || l.errands.want(o.execution) {
		return // performed here again, or about to be, or being removed
	}
	l.keepBlocks(o.execution, 0)
	l.forget(o.execution, l.cache.isLeft(o.execution))
}

// blocksDropped says that blocks which nobody needs are not here any more.
type blocksDropped struct {
	execution stint.ExecutionID
	ops       []stint.StageOps
}

func (b *blocksDropped) apply(l *loop, _ time.Time) {
	if slices.Contains(l.ledger.Executions(), b.execution) {
		l.ledger.Dropped(b.execution, b.ops)
	}
}
