package agent

import (
	"bytes"
	"context"
	"slices"
	"time"

	"stint"
	"stint/internal/link"
	"stint/internal/object"
	"stint/internal/wire"
	"stint/internal/worker"
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
		var spec *stint.Spec
		if known := l.executions[e.Execution]; known != nil {
			spec = known.spec
		}
		storage, perform, post := l.storage, l.errand, l.post
		l.tasks.start(func(ctx context.Context) {
			post(&errandDone{result: perform(ctx, e, storage, spec)})
		})
	}
	for len(q.results) > 0 && l.say(link.AgentMessage{Result: &q.results[0]}) {
		q.results = slices.Clone(q.results[1:]) // the one sent is not overwritten
	}
}

// errandDone brings the outcome of an errand.
type errandDone struct{ result stint.ErrandResult }

func (d *errandDone) apply(l *loop, _ time.Time) {
	q := &l.errands
	q.running = slices.DeleteFunc(q.running, func(id string) bool { return id == d.result.ID })
	q.results = append(q.results, d.result)
}

// errand does one errand.
func (s *site) errand(ctx context.Context, e stint.Errand, storage *object.Storage, spec *stint.Spec) stint.ErrandResult {
	result := stint.ErrandResult{ID: e.ID}
	var err error
	switch e.Kind {
	case stint.ErrandList:
		err = list(ctx, e, storage, &result)
	case stint.ErrandProbe:
		err = object.Probe(ctx, e.Output, e.Execution, e.Overwrite)
	case stint.ErrandCommit:
		result.Bytes, err = object.Commit(ctx, e.Output, e.Execution, e.Program, e.Parts, e.Overwrite)
	case stint.ErrandClear:
		err = object.Clear(ctx, e.Output, e.Execution)
	case stint.ErrandLog:
		result.Text, err = s.log(e, spec)
	default:
		err = stint.Errorf(stint.Invalid, "errand %.80q: expected list, probe, commit, clear or log", string(e.Kind))
	}
	result.Error = stint.AsError(err)
	return result
}

// list writes the listing of the inputs to system storage.
func list(ctx context.Context, e stint.Errand, storage *object.Storage, result *stint.ErrandResult) error {
	listing, err := object.List(ctx, e.Inputs)
	if err == nil && e.Output != "" {
		err = object.CheckApart(e.Inputs, listing, e.Output)
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

// log returns the kept stderr of the latest attempt of an operation on this node.
func (s *site) log(e stint.Errand, spec *stint.Spec) (string, error) {
	name, op, err := e.Operation.Split()
	if err != nil {
		return "", err
	}
	if spec == nil {
		return "", stint.Errorf(stint.NotFound, "log of operation %s: this node does not know execution %s", e.Operation, e.Execution)
	}
	stage := slices.IndexFunc(spec.Stages, func(s stint.StageSpec) bool { return s.Name == name })
	found, end, text := false, int64(0), ""
	err = readLogs(s.store, e.Execution, func(r worker.Record) error {
		switch {
		case r.Done != nil && r.Done.Stage == stage && r.Done.Op.Op == op && r.Done.Op.End >= end:
			found, end, text = true, r.Done.Op.End, r.Done.Stderr
		case r.Failed != nil && r.Failed.Stage == stage && r.Failed.Op == op && r.Failed.End >= end:
			found, end, text = true, r.Failed.End, r.Failed.Stderr
		}
		return nil
	})
	if err == nil && !found {
		err = stint.Errorf(stint.NotFound, "log of operation %s: no attempt of it has ended on this node", e.Operation)
	}
	return text, err
}
