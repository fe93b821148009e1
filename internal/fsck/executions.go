package fsck

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"stint"
	"stint/internal/coord"
	"stint/internal/server"
	"stint/internal/store"
)

// planReuse finds out which executions' blocks those stand on that are looked at.
func (l *look) planReuse(ctx context.Context) error {
	if l.db == nil {
		return nil
	}
	for x := range l.only {
		if e, err := l.db.Load(ctx, x); err == nil && e.Request.Reuse != "" {
			l.reused[e.Request.Reuse] = true
		}
	}
	return ctx.Err()
}

// lookAtExecutions replays and judges the executions of the record, one after the
// other.
func (l *look) lookAtExecutions(ctx context.Context) error {
	if l.db == nil {
		l.lookAtCopies()
		return nil
	}
	owner, err := l.db.Epoch(ctx)
	if err != nil {
		return l.badRecord(ctx, err)
	}
	for _, o := range l.outlines {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !l.concerns(o.ID) {
			l.name(ctx, o.ID)
			continue
		}
		if err := l.lookAtExecution(ctx, o, owner); err != nil {
			return err
		}
	}
	if l.only == nil {
		l.lookAtLeftBlocks()
	}
	return nil
}

// name notes what an execution refers to that is not looked at.
func (l *look) name(ctx context.Context, x stint.ExecutionID) {
	if e, err := l.db.Load(ctx, x); err == nil {
		l.refer(e)
	}
}

// refer notes what of storage an execution refers to.
func (l *look) refer(e store.Loaded) {
	l.blobs["listings/"+e.Listing.String()] = true
	for _, f := range e.Request.Program.Files {
		l.blobs["files/"+f.Digest.String()] = true
	}
}

// subject is an execution that is looked at.
type subject struct {
	id     stint.ExecutionID
	loaded store.Loaded
	state  *coord.State
	home   place

	elsewhere bool // it goes on, or has ended, with another service
}

// lookAtExecution replays one execution and compares what it says with what is there.
func (l *look) lookAtExecution(ctx context.Context, o store.Outline, owner stint.Epoch) error {
	where := fmt.Sprintf("%s#%s", l.recordPath(), o.ID)
	l.count(func(c *Looked) { c.Executions++ })
	e, err := l.db.Load(ctx, o.ID)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.find(ExecutionUnreadable, o.ID, where, "what the record has of %s cannot be read: %s", o.ID, cause(err))
		return nil
	}
	l.refer(e)
	if l.storage == nil {
		return nil // its listing is there; that it is not was said
	}
	state, err := l.replay(ctx, e, place{l.storage, l.location}, ExecutionUnreadable, where)
	if err != nil || state == nil {
		return err
	}
	l.count(func(c *Looked) { c.Operations += state.Document(e.Created).Operations.Total })
	if faults := judgeRecord(state, e, owner); len(faults) > 0 {
		l.find(ExecutionInconsistent, o.ID, where, "the record of %s makes no sense: %s", o.ID, strings.Join(faults, "; "))
		return nil // what follows from it is no finding
	}
	s := &subject{id: o.ID, loaded: e, state: state}
	if s.home, err = l.homeOf(ctx, state.Home()); err != nil {
		return l.unreachable(ctx, state.Home(), err)
	}
	whole, err := l.lookAtSaved(ctx, s)
	if err != nil {
		return l.unreachable(ctx, s.home.location, err)
	}
	if !state.Settled() {
		l.judgeFolders(s, whole)
	}
	if err := l.lookAtOutput(ctx, s); err != nil {
		return l.unreachable(ctx, e.Request.Output, err)
	}
	return nil
}

// unreachable notes that a place cannot be looked at.
func (l *look) unreachable(ctx context.Context, where string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.blind(where, err)
	return nil
}

// replay makes a state with the listing of a storage; nil if that cannot be done, of
// which findings are entered.
func (l *look) replay(ctx context.Context, e store.Loaded, from place, code Code, where string) (*coord.State, error) {
	key := from.location + "/listings/" + e.Listing.String()
	listing, err := server.ReadListing(ctx, from.storage, e.Listing)
	switch c := stint.CodeOf(err); {
	case err == nil:
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case c == stint.NotFound:
		l.find(ListingMissing, e.ID, key, "the listing of the input of %s is not in storage: its record cannot be read without", e.ID)
		return nil, nil //nolint:nilnil // see above
	case c == stint.Unavailable, c == stint.Denied:
		return nil, l.unreachable(ctx, from.location, err)
	default:
		l.find(ListingDamaged, e.ID, key, "the listing of the input of %s is not what it was: its record cannot be read without", e.ID)
		return nil, nil //nolint:nilnil // see above
	}
	state, err := server.Replay(listing, e)
	if err != nil {
		l.find(code, e.ID, where, "the journal of %s cannot be replayed: %s", e.ID, cause(err))
		return nil, nil //nolint:nilnil // see above
	}
	return state, nil
}

// judgeFolders compares where the record says that output lies with what folders have.
func (l *look) judgeFolders(s *subject, whole func(key string) bool) {
	find := func(node stint.NodeID, x stint.ExecutionID) (*holding, bool) {
		at := slices.IndexFunc(l.folders, func(f *folder) bool { return f.node == node })
		if at < 0 {
			return nil, false
		}
		if h := l.folders[at].held[x]; h != nil {
			return h, true
		}
		return &holding{dir: filepath.Join(l.folders[at].dir, "blocks", string(x))}, true
	}
	bad, elsewhere := judgeBlocks(s.state, find, whole)
	stages := s.state.Document(s.loaded.Created).Stages
	for _, m := range bad {
		h, _ := find(m.node, s.id)
		if h.torn {
			continue // which was said, and is why
		}
		what := func(code Code, ops []stint.Range, is string) {
			if len(ops) == 0 {
				return
			}
			text := fmt.Sprintf("output of %s on node %s is %s", operations(stages[m.stage].Name, ops), m.node, is)
			if m.alone {
				text += ", and no other copy is known"
			}
			l.find(code, s.id, fmt.Sprintf("%s/%s", h.dir, stages[m.stage].Name), "%s", text)
		}
		what(BlockDamaged, m.damaged, "not what it was")
		what(BlockMissing, m.missing, "not there")
	}
	for _, node := range elsewhere {
		l.pass("node "+string(node), "its folder is not among those on this machine; name it with --agent")
	}
}

// operations names some operations of a stage.
func operations(stage string, ops []stint.Range) string {
	first := stint.MakeOperationID(stage, ops[0].From)
	if n := stint.CountRanges(ops); n > 1 {
		return fmt.Sprintf("%d operations of stage %s, as %s,", n, stage, first)
	}
	return "operation " + string(first)
}

// lookAtLeftBlocks finds what folders have of executions that do not need it there, and
// damaged blocks that nothing but a cache has.
func (l *look) lookAtLeftBlocks() {
	over := make(map[stint.ExecutionID]string) // why nodes need nothing of it
	for _, o := range l.outlines {
		switch {
		case o.Settled:
			over[o.ID] = "which is over"
		case o.Status == stint.Suspended:
			over[o.ID] = "which is suspended"
		}
	}
	l.lookAtCopies()
	for _, f := range l.folders {
		for x, h := range f.held {
			why, left := over[x], true
			switch {
			case !l.known[x]:
				why = "which the record does not know"
			case why == "":
				left = false
			}
			if left && !h.cache {
				l.find(BlocksLeft, x, h.dir, "there are blocks of %s, %s", x, why)
			}
		}
		for _, x := range workOf(f) {
			if why := over[x]; why != "" || !l.known[x] {
				l.find(WorkLeft, x, filepath.Join(f.dir, "work", string(x)), "there are working folders of %s", x)
			}
		}
	}
}

// lookAtCopies finds blocks that are damaged in the folders of agents and that the
// record did not ask for, or that there is no record to ask for: they would be used
// if somebody asked.
func (l *look) lookAtCopies() {
	l.wide = true
	for _, f := range l.folders {
		for x, h := range f.held {
			l.lookAtCached(x, h)
		}
	}
}

// lookAtCached finds those of one execution. Segments that are gone were removed.
func (l *look) lookAtCached(x stint.ExecutionID, h *holding) {
	needs := ""
	if l.db != nil {
		needs = "; nothing needs them now"
	}
	for stage, bad := range h.bad {
		for _, r := range h.gone[stage] {
			bad = stint.SubtractRange(bad, r)
		}
		said := slices.ContainsFunc(l.findings, func(f Finding) bool {
			return f.Code == BlockDamaged && f.Execution == x && strings.HasPrefix(f.Place, h.dir+"/")
		})
		if n := stint.CountRanges(bad); n > 0 && !said {
			l.find(BlockDamaged, x, fmt.Sprintf("%s/%d", h.dir, stage), "%d blocks of stage %d of %s, as that of operation %d, are not what they were%s", n, stage, x, bad[0].From, needs)
		}
	}
}
