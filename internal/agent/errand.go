package agent

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"stint"
	"stint/internal/failpoint"
	"stint/internal/link"
	"stint/internal/object"
	"stint/internal/wire"
)

const (
	maxErrands = 8       // at once
	maxListing = 1 << 30 // bytes, encoded
	listings   = "listings"
)

// errands are those in progress, and those that wait for them or to be answered.
type errands struct {
	running []string // their ids
	waiting []stint.Errand
	results []stint.ErrandResult // not sent
}

// add takes an errand on, unless it was taken on and is not done.
func (q *errands) add(e stint.Errand) {
	if !slices.Contains(q.running, e.ID) && !slices.ContainsFunc(q.waiting, func(w stint.Errand) bool { return w.ID == e.ID }) {
		q.waiting = append(q.waiting, e)
	}
}

// next starts errands that wait and sends results.
func (q *errands) next(l *loop) {
	for len(q.waiting) > 0 && len(q.running) < maxErrands {
		e := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.running = append(q.running, e.ID)
		q.start(l, e)
	}
	for len(q.results) > 0 && l.say(link.AgentMessage{Result: &q.results[0]}) {
		q.results = slices.Clone(q.results[1:]) // the one sent is not overwritten
	}
}

// start does an errand in a task of its own. One that reads or writes blocks of an
// execution ends when that is forgotten.
func (*errands) start(l *loop, e stint.Errand) {
	storage, perform, post := l.storage, l.errand, l.post
	done := &errandDone{errand: e}
	task := func(ctx context.Context) {
		if ctx.Err() == nil {
			done.result = perform(ctx, e, storage)
		}
		done.stopped = ctx.Err() != nil
		post(done)
	}
	if !needsBlocks(e.Kind) {
		l.tasks.start(task)
		return
	}
	done.execution = l.execution(e.Execution)
	if done.execution.forgotten == nil && e.Kind == stint.ErrandCopy { // a node that attaches meanwhile says so, and is told to forget what is over
		l.ledger.AddCopies(e.Execution, e.Stage, nil)
	}
	done.execution.task(task)
}

// giveUp drops those that wait and read or write blocks of an execution that is
// forgotten: the numbers of its operations may mean others when it comes again.
func (q *errands) giveUp(x stint.ExecutionID) {
	q.waiting = slices.DeleteFunc(q.waiting, func(e stint.Errand) bool { return e.Execution == x && needsBlocks(e.Kind) })
}

// want reports whether one waits that reads or writes blocks of an execution.
func (q *errands) want(x stint.ExecutionID) bool {
	return slices.ContainsFunc(q.waiting, func(e stint.Errand) bool { return e.Execution == x && needsBlocks(e.Kind) })
}

// needsBlocks reports whether an errand reads or writes blocks of its execution.
func needsBlocks(kind stint.ErrandKind) bool {
	return kind == stint.ErrandSave || kind == stint.ErrandCopy
}

// errandDone brings the outcome of an errand.
type errandDone struct {
	errand    stint.Errand
	result    stint.ErrandResult
	stopped   bool       // it was not brought to an end: nobody is told anything
	execution *execution // whose task it was, if of any
}

func (d *errandDone) apply(l *loop, _ time.Time) {
	q := &l.errands
	q.running = slices.DeleteFunc(q.running, func(id string) bool { return id == d.errand.ID })
	if d.execution != nil {
		d.execution.tasks--
	}
	if d.stopped {
		return
	}
	if d.errand.Kind == stint.ErrandCopy && d.execution.forgotten == nil {
		l.ledger.AddCopies(d.errand.Execution, d.errand.Stage, d.result.Ops)
	}
	if d.errand.Kind == stint.ErrandSave && d.execution.forgotten == nil && len(d.result.Lost) > 0 {
		l.ledger.Dropped(d.errand.Execution, []stint.StageOps{{Stage: d.errand.Stage, Ops: d.result.Lost}})
	}
	q.results = append(q.results, d.result)
}

// errand does one errand.
func (s *site) errand(ctx context.Context, e stint.Errand, storage *object.Storage) stint.ErrandResult {
	result := stint.ErrandResult{ID: e.ID}
	var err error
	switch e.Kind {
	case stint.ErrandList:
		err = list(ctx, s.agent.Access, e, storage, &result)
	case stint.ErrandProbe:
		err = s.probe(ctx, e)
	case stint.ErrandCommit:
		result.Bytes, err = s.commit(ctx, e)
	case stint.ErrandClear:
		err = s.clearAll(ctx, e)
	case stint.ErrandSave:
		err = s.save(ctx, e, &result)
	case stint.ErrandCopy:
		err = s.copier.copyHere(ctx, e, &result)
	case stint.ErrandVerify:
		err = s.verify(ctx, e, &result)
	case stint.ErrandInventory:
		s.inventory(e.Execution, &result)
	case stint.ErrandAdopt:
		err = adopt(ctx, s.agent.Access, e, &result)
	case stint.ErrandCompare:
		err = compare(ctx, s.agent.Access, e, &result)
	case stint.ErrandLog:
		result.Logs, err = s.findLogs(e)
	case stint.ErrandRecord: // is the server's own
		fallthrough
	default:
		err = stint.Errorf(stint.Invalid, "errand %.80q is not one for a node", string(e.Kind))
	}
	result.Error = stint.AsError(err)
	if unused, ok := errors.AsType[*unusedClaim](err); ok {
		result.Claimed = unused.claimed
	}
	failpoint.Reach("errand.before-result")
	return result
}

// inputsOf returns what an errand lists.
func inputsOf(e stint.Errand) object.Inputs {
	return object.Inputs{Locations: e.Inputs, Named: e.NamedInputs, Lines: e.Lines, Delimiters: e.Delimiters, Compression: e.Compression}
}

// list writes the listing of the inputs to system storage.
func list(ctx context.Context, access *object.Access, e stint.Errand, storage *object.Storage, result *stint.ErrandResult) error {
	inputs := inputsOf(e)
	listing, err := access.List(ctx, inputs)
	if err == nil && e.Output != "" {
		err = access.CheckApart(inputs, listing, e.Output)
	}
	if err != nil {
		return err
	}
	b, err := wire.Marshal(listing)
	if err != nil {
		return err
	}
	result.Objects = int64(len(listing.Objects))
	result.Digest, _, err = storage.PutBlob(ctx, listings, bytes.NewReader(b), maxListing)
	return err
}
