package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"stint"
	"stint/internal/block"
	"stint/internal/worker"
)

// recovery is what the logs of one execution say.
type recovery struct {
	completed []stint.StageOps
	latest    stint.JobID      // highest of the jobs of which the log has completed operations
	copies    []stint.StageOps // output of operations performed elsewhere
	begun     []stint.Begun    // and not completed
}

// recoverAll enters in store and ledger what the logs of earlier incarnations
// say, and verifies it: that every segment is long enough, and if deep every
// checksum. Blocks that are not whole are not completed operations any more, now
// and in all later incarnations. A log that cannot be read on counts as far as it could be. Of an execution whose
// blocks are cache the ledger learns nothing.
func recoverAll(ctx context.Context, cached *cache, ledger *Ledger, deep bool, logger *slog.Logger) error {
	store := cached.store
	for _, x := range store.Executions() {
		r, bad, err := recoverWhole(ctx, store, x, deep, logger)
		if err != nil {
			return err
		}
		ended, err := cached.restore(x)
		if err != nil {
			return fmt.Errorf("look at cache of execution %s: %w", x, err)
		}
		if ended {
			continue
		}
		ledger.Restore(x, r.completed, r.latest, r.begun)
		ledger.RestoreCopies(x, r.copies)
		if len(bad) > 0 {
			logger.WarnContext(ctx, "blocks not whole", "execution", x, "count", countStages(bad))
			ledger.Lost(x, bad)
		}
	}
	return nil
}

// recoverWhole is recoverExecution, but for blocks that are not whole: of these
// operations the store has what other attempts or nodes have left here, if that is.
// Those of which it has nothing are bad.
func recoverWhole(ctx context.Context, store *block.Store, x stint.ExecutionID, deep bool, logger *slog.Logger) (r recovery, bad []stint.StageOps, err error) {
	for range 2 { // the second time without what the first has condemned
		if r, err = recoverExecution(store, x); err != nil {
			logger.WarnContext(ctx, "log not read to its end", "execution", x, "err", err)
		}
		known, err := store.RemoveCondemned(x)
		if err != nil {
			logger.WarnContext(ctx, "condemned blocks not read to their end", "execution", x, "err", err)
		}
		found, err := store.Verify(ctx, x, deep)
		if err != nil {
			return r, nil, fmt.Errorf("verify execution %s: %w", x, err)
		}
		if err := store.Condemn(x, found); err != nil {
			return r, nil, err
		}
		if len(known)+len(found) == 0 {
			break
		}
		for _, s := range slices.Concat(known, found) {
			for _, r := range s.Ops {
				bad = addToStage(bad, s.Stage, r)
			}
		}
	}
	for _, s := range bad {
		bad = subtractAll(bad, s.Stage, store.Completed(x, s.Stage))
	}
	return r, bad, nil
}

func subtractAll(sets []stint.StageOps, stage int, ops []stint.Range) []stint.StageOps {
	for _, r := range ops {
		sets = subtractFromStage(cloneStages(sets), stage, r)
	}
	return sets
}

func recoverExecution(store *block.Store, x stint.ExecutionID) (recovery, error) {
	type attempt struct {
		job stint.JobID
		op  uint32
	}
	open := make(map[attempt]bool)
	ended := make(map[[2]int]int64) // when, by stage and operation
	var order []attempt
	var r recovery
	err := readLogs(store, x, func(rec worker.Record) error {
		switch {
		case rec.Begun != nil:
			for op := rec.Begun.Ops.From; op < rec.Begun.Ops.To; op++ {
				open[attempt{rec.Begun.Job, op}] = true
				order = append(order, attempt{rec.Begun.Job, op})
			}
		case rec.Done != nil:
			delete(open, attempt{rec.Done.Job, rec.Done.Op.Op})
			r.completed = addToStage(r.completed, rec.Done.Stage, stint.Range{From: rec.Done.Op.Op, To: rec.Done.Op.Op + 1})
			r.latest = max(r.latest, rec.Done.Job)
			if rec.Done.Block != nil && store.Condemned(x, rec.Done.Stage, rec.Done.Op.Op, *rec.Done.Block) {
				return nil // an earlier one may be whole
			}
			if o := [2]int{rec.Done.Stage, int(rec.Done.Op.Op)}; rec.Done.Op.End >= ended[o] { // of two the later one, in whichever segment
				ended[o] = rec.Done.Op.End
				return addBlock(store, x, rec.Done)
			}
		}
		return nil
	})
	err = errors.Join(err, store.ReadCopies(x, func(c block.Copied) error {
		r.copies = addToStage(r.copies, c.Stage, stint.Range{From: c.Op, To: c.Op + 1})
		return store.Add(x, c.Stage, c.Op, c.Block)
	}))
	for _, a := range order {
		if open[a] {
			r.begun = append(r.begun, stint.Begun{Job: a.job, Ops: stint.Range{From: a.op, To: a.op + 1}})
		}
	}
	return r, err
}

func countStages(sets []stint.StageOps) int {
	n := 0
	for _, s := range sets {
		n += stint.CountRanges(s.Ops)
	}
	return n
}

// addBlock enters the block of a completed operation. One that wrote nothing, and no
// part, has an empty block: it is here, and there is nothing to read.
func addBlock(store *block.Store, x stint.ExecutionID, d *worker.DoneRecord) error {
	switch {
	case d.Block != nil:
		return store.Add(x, d.Stage, d.Op.Op, *d.Block)
	case d.Part == nil:
		return store.Add(x, d.Stage, d.Op.Op, block.Index{})
	}
	return nil
}

// readLogs calls each with every record in the logs of an execution's slots. A
// log that cannot be read on does not keep it from the others.
func readLogs(store *block.Store, x stint.ExecutionID, each func(worker.Record) error) error {
	logs, err := store.Logs(x)
	if err != nil {
		return err
	}
	for _, log := range logs {
		err = errors.Join(err, readLog(log.Path, each))
	}
	return err
}

func readLog(path string, each func(worker.Record) error) error {
	log, err := block.OpenLog(path)
	if err != nil {
		return err
	}
	if err := errors.Join(worker.ReadLog(log, each), log.Close()); err != nil {
		return fmt.Errorf("read log %s: %w", path, err)
	}
	return nil
}

// again collects the completions that a server misses, as the logs have them:
// of an operation that completed more than once, the last. With an error it is what
// those logs have that could be read.
func again(store *block.Store, x stint.ExecutionID, missed []stint.StageOps) ([]stint.Done, error) {
	latest := make(map[[2]int]*worker.DoneRecord) // by stage and operation
	var order [][2]int
	err := readLogs(store, x, func(r worker.Record) error {
		d := r.Done
		if d == nil || !slices.ContainsFunc(missed, func(s stint.StageOps) bool { return s.Stage == d.Stage && stint.RangesContain(s.Ops, d.Op.Op) }) {
			return nil
		}
		o := [2]int{d.Stage, int(d.Op.Op)}
		if latest[o] == nil {
			order = append(order, o)
		}
		latest[o] = d
		return nil
	})
	list := make([]stint.Done, 0, len(order))
	for _, o := range order {
		d := latest[o]
		done := stint.Done{Job: d.Job, Stage: d.Stage, Ops: []stint.OpDone{d.Op}, Counters: d.Counters}
		if d.Part != nil {
			done.Parts = []stint.Part{*d.Part}
		}
		list = append(list, done)
	}
	return list, err
}
