package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"stint"
)

// sortedKeys returns the keys of a map in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

const packOps = 3 // operations in one pack, at most

// run runs an errand and says what became of it.
func (a *agentProcess) run(e stint.Errand) {
	w := a.world
	if slices.Contains(a.errands, e.ID) {
		return // it is the same
	}
	a.errands = append(a.errands, e.ID)
	if e.Kind == stint.ErrandCopy || e.Kind == stint.ErrandSave {
		a.machine.folder.reopen(e.Execution)
	}
	if e.Kind == stint.ErrandCopy {
		delete(a.forgotten, e.Execution)
		a.ledger.AddCopies(e.Execution, e.Stage, nil) // it is announced from here on
	}
	forgets := a.forgets
	a.later(w.between(millisecond, 200*millisecond), "errand", func() {
		if needsBlocks := e.Kind == stint.ErrandSave || e.Kind == stint.ErrandCopy; needsBlocks && a.forgets != forgets && a.forgotten[e.Execution] {
			a.end(e) // it was forgotten meanwhile
			return
		}
		if w.happens(errandUnavailable) {
			a.answer(e, &stint.ErrandResult{Error: stint.Errorf(stint.Unavailable, "not now")})
			return
		}
		switch e.Kind {
		case stint.ErrandCommit:
			a.asOwner(e, func(r *run, result *stint.ErrandResult) {
				if result.Error = w.storage.unwritable(); result.Error == nil {
					result.Bytes, result.Error = r.commit(w, &e, a.machine.service)
				}
				if result.Error == nil && !retryable(e.Missing) {
					result.Error = w.storage.deleteAll(e.Execution)
				}
			})
		case stint.ErrandClear:
			a.asOwner(e, func(r *run, result *stint.ErrandResult) {
				if result.Error = w.storage.unwritable(); result.Error == nil {
					r.clear(w, &e, a.machine.service)
					result.Error = w.storage.deleteAll(e.Execution)
				}
			})
		case stint.ErrandSave:
			w.saves++ // a run of its own, whose packs are no other's
			e.Prefix = fmt.Sprintf("%s-%d", e.Prefix, w.saves)
			a.save(e, e.Ops, &stint.ErrandResult{})
		case stint.ErrandCopy:
			a.copyHere(e)
		case stint.ErrandList:
			a.listInput(e)
		case stint.ErrandCompare:
			a.compare(e)
		case stint.ErrandInventory:
			a.inventory(e)
		case stint.ErrandAdopt:
			a.adoptParts(e)
		case stint.ErrandProbe:
			a.answer(e, &stint.ErrandResult{})
		case stint.ErrandVerify, stint.ErrandLog, stint.ErrandRecord:
			w.breaks("simulation", "errand %s", e.Kind)
		}
	})
}

// end ends an errand without a word.
func (a *agentProcess) end(e stint.Errand) {
	a.errands = slices.DeleteFunc(a.errands, func(id string) bool { return id == e.ID })
}

// answer ends an errand and sends its result, in this session or the next.
func (a *agentProcess) answer(e stint.Errand, result *stint.ErrandResult) {
	a.end(e)
	result.ID = e.ID
	if a.dead {
		return
	}
	lost := false
	if a.session != nil && a.world.befalls(errandUnanswered, func() { lost = a.world.chance(0.5) }) {
		a.session.cut() // the server sends the errand again, here or elsewhere
		if lost {
			return
		}
	}
	a.results = append(a.results, result)
	a.sendResults()
}

func (a *agentProcess) sendResults() {
	for ; a.session != nil && len(a.results) > 0; a.results = a.results[1:] {
		a.session.sendUp(toServer{result: a.results[0]})
	}
}

// asOwner does what only the owner of an execution may do.
func (a *agentProcess) asOwner(e stint.Errand, act func(*run, *stint.ErrandResult)) {
	w, result := a.world, &stint.ErrandResult{}
	w.passes(ownersErrand(e.Kind), a.machine.service, a.machine)
	w.storage.do(func() *stint.Error {
		highest, _ := w.storage.owner(e.Execution)
		if highest != nil && highest.generation > e.Generation {
			if highest.service == a.machine.service {
				result.Claimed = highest.generation
				result.Error = stint.Errorf(stint.Unavailable, "generation %d is claimed and not used", highest.generation)
				return nil
			}
			w.count(fenced)
			result.Error = stint.Errorf(stint.Conflict, "owned_elsewhere: generation %d", highest.generation)
			return nil
		}
		r := w.runOf(e.Execution)
		if _, there := w.storage.objects[ownerKey(e.Execution, e.Generation)]; e.Generation > 1 && !there && !r.committed {
			if e.Kind == stint.ErrandCommit { // whoever has ended it since has removed the claims
				result.Error = stint.Errorf(stint.Conflict, "owned_elsewhere: the claim of generation %d is gone", e.Generation)
			} else {
				result.Error = w.storage.deleteAll(e.Execution)
			}
			return nil
		}
		if e.Kind == stint.ErrandCommit && r.committed && !r.partial && !slices.Equal(r.parts, e.Parts) { // of another owner, who is known by the parts
			result.Error = stint.Errorf(stint.Conflict, "owned_elsewhere: it has come to its end elsewhere")
			return nil
		}
		act(r, result)
		return nil
	}, func(err *stint.Error) {
		if err != nil {
			result = &stint.ErrandResult{Error: err}
		}
		if result.Error != nil && result.Error.Code == stint.Denied { // it may be allowed again
			result.Error = stint.Errorf(stint.Unavailable, "%s", result.Error.Message)
		}
		a.answer(e, result)
	})
}

// save writes blocks into packs, one after the other.
func (a *agentProcess) save(e stint.Errand, rest []stint.Range, result *stint.ErrandResult) {
	w := a.world
	p := &pack{stage: e.Stage, blocks: make(map[uint32]*block)}
	named := stint.Pack{Key: fmt.Sprintf("%s-%d", e.Prefix, len(result.Packs)), Stage: e.Stage}
	for len(rest) > 0 && len(p.blocks) < packOps {
		op := rest[0].From
		rest = stint.SubtractRange(rest, stint.Range{From: op, To: op + 1})
		if b := a.machine.folder.blocks[blockKey{e.Execution, e.Stage, op}]; b.whole() && !w.happens(readFailed) {
			p.blocks[op] = &block{content: b.content}
			named.Ops = stint.AddToRanges(named.Ops, op)
		} else {
			w.count(badCopyFound)
			result.Lost = stint.AddToRanges(result.Lost, op)
		}
	}
	if len(p.blocks) == 0 {
		a.saved(e, result)
		return
	}
	named.Bytes = p.size()
	w.passes(saving, a.machine.service, a.machine)
	w.storage.write(func() *stint.Error {
		w.storage.putPack(named.Key, p)
		w.count(packWritten)
		return nil
	}, func(err *stint.Error) {
		switch {
		case a.dead:
		case a.forgotten[e.Execution]:
			a.end(e)
		case err != nil:
			a.answer(e, &stint.ErrandResult{Error: err})
		default:
			result.Packs = append(result.Packs, named)
			a.later(w.between(100, 30*millisecond), "save", func() { a.save(e, rest, result) })
		}
	})
}

// saved ends an errand that saved: what was not whole is not announced any more.
func (a *agentProcess) saved(e stint.Errand, result *stint.ErrandResult) {
	if len(result.Lost) > 0 {
		lost := []stint.StageOps{{Stage: e.Stage, Ops: result.Lost}}
		a.machine.folder.free(e.Execution, lost)
		a.ledger.Dropped(e.Execution, lost)
	}
	a.answer(e, result)
}

// copyHere brings blocks of others into this node's folder, as long as there is room.
func (a *agentProcess) copyHere(e stint.Errand) {
	result := &stint.ErrandResult{}
	for _, ops := range e.Ops {
		for op := ops.From; op < ops.To && result.Error == nil; op++ {
			a.copyOne(&e, op, result)
		}
	}
	a.ledger.AddCopies(e.Execution, e.Stage, result.Ops)
	a.answer(e, result)
}

// copyOne brings one block, unless it is here.
func (a *agentProcess) copyOne(e *stint.Errand, op uint32, result *stint.ErrandResult) {
	w := a.world
	key := blockKey{e.Execution, e.Stage, op}
	if b := a.machine.folder.blocks[key]; b != nil && !b.torn {
		result.Ops = stint.AddToRanges(result.Ops, op)
		return
	}
	c, how, _ := a.search(e.Sources, key, func(bad stint.BadCopy) { result.Bad = append(result.Bad, bad) })
	if how != found {
		result.Lost = stint.AddToRanges(result.Lost, op)
		return
	}
	w.passes(replicating, a.machine.service, a.machine)
	if a.machine.fullUntil > w.now {
		w.felt()
		w.count(copyNoRoom)
		result.Error = stint.Errorf(stint.Unavailable, "no room for copies")
		return
	}
	a.machine.folder.keep(key, c)
	w.count(blockCopied)
	result.Ops = stint.AddToRanges(result.Ops, op)
}

// drop removes output that no operation needs any more, if space is wanted.
func (a *agentProcess) drop(x stint.ExecutionID, sets []stint.StageOps) {
	if a.world.chance(0.4) {
		return
	}
	a.world.count(outputDropped)
	a.world.passes(collecting, a.machine.service, a.machine)
	a.ledger.Dropped(x, sets)
	a.machine.folder.free(x, sets)
}
