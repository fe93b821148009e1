package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"stint"
	"stint/internal/block"
	"stint/internal/object"
	"stint/internal/transfer"
	"stint/internal/worker"
)

// order is one operation with what it needs, ready for a worker; or why it
// could not be made ready.
type order struct {
	grant   *stint.Grant
	wire    worker.Order
	files   []*os.File // in the order's sequence
	own     []*os.File // those of them to be closed; the others are the block store's
	failure *stint.Failure
}

// close closes the order's files.
func (o *order) close() {
	for _, f := range o.own {
		_ = f.Close() // nothing was written through them here
	}
	o.own = nil
}

// preparer opens what operations read and write. Safe for concurrent use.
type preparer struct {
	node        stint.NodeID
	incarnation stint.Incarnation
	folder      *folder
	store       *block.Store
	peers       *http.Client
	missed      func(x stint.ExecutionID, stage int, ops []stint.Range) // is told of blocks that this node should have and has not
}

// bare reports whether operations of a grant need nothing opened.
func bare(stage *stint.StageSpec, g *stint.Grant) bool {
	return stage.Input.Kind == stint.FromInput && len(g.Subsets) == 0 && !stage.Part
}

// prepare makes the operations of a run ready, one after the other. It returns
// early, with what is ready, when ctx is done.
func (p *preparer) prepare(ctx context.Context, spec *stint.Spec, r Run) []*order {
	list := make([]*order, 0, r.Ops.Len())
	for op := r.Ops.From; op < r.Ops.To; op++ {
		start := time.Now()
		o := &order{grant: r.Grant, wire: worker.Order{Op: op}}
		err := p.open(ctx, spec, o)
		if ctx.Err() != nil {
			o.close()
			break
		}
		if err != nil {
			o.close()
			o.failure = failed(r.Grant, op, start, err)
		}
		list = append(list, o)
	}
	return list
}

func failed(g *stint.Grant, op uint32, start time.Time, err error) *stint.Failure {
	f := &stint.Failure{Job: g.Job, Op: op, Start: start.UnixMilli(), End: time.Now().UnixMilli(), Error: stint.AsError(err)}
	if lost, ok := errors.AsType[*lostError](err); ok {
		f.Error = &stint.Error{Code: stint.Lost, Message: err.Error()}
		f.Sources = lost.nodes
	}
	return f
}

// open opens what operation o.wire.Op reads, and its part.
func (p *preparer) open(ctx context.Context, spec *stint.Spec, o *order) error {
	stage, op := &spec.Stages[o.grant.Stage], o.wire.Op
	var err error
	if stage.Input.Kind == stint.FromInput {
		o.wire.Subset = subsetOf(stage, o.grant, op)
		err = openPieces(ctx, o)
	} else {
		err = p.openRuns(ctx, spec, o)
	}
	if err == nil && stage.Part {
		err = p.openPart(spec, o)
	}
	o.wire.Files = len(o.files)
	return err
}

// subsetOf returns what an operation of a first stage reads.
func subsetOf(stage *stint.StageSpec, g *stint.Grant, op uint32) stint.Subset {
	switch {
	case stage.Values != nil:
		values := stage.ValuesOf(op)
		return stint.Subset{Values: &values}
	case len(g.Subsets) > 0:
		return g.Subsets[op-g.Ops.From]
	}
	return stint.Subset{}
}

func openPieces(ctx context.Context, o *order) error {
	for _, piece := range o.wire.Subset.Pieces {
		f, err := object.Open(ctx, piece.Object)
		if err != nil {
			return inputError(err, piece.Object.URL)
		}
		o.add(f)
	}
	return nil
}

// inputError gives the error of an input the code that it has as a failure: what
// no other attempt can mend is Invalid.
func inputError(err error, url string) *stint.Error {
	e := nodeFault(err, url)
	if slices.Contains([]stint.Code{stint.NotFound, stint.Denied, stint.Conflict}, e.Code) {
		return &stint.Error{Code: stint.Invalid, Message: e.Message}
	}
	return e
}

func (p *preparer) openPart(spec *stint.Spec, o *order) error {
	g := o.grant
	o.wire.Part = fmt.Sprintf("part-%05d.%d-%d-%d", o.wire.Op, g.Attempt, g.Job, p.incarnation)
	f, err := object.CreatePart(spec.Output, spec.Execution, o.wire.Part)
	if err != nil {
		return nodeFault(err, spec.Output)
	}
	o.add(f)
	return nil
}

func (o *order) add(f *os.File) {
	o.files = append(o.files, f)
	o.own = append(o.own, f)
}

// reading says what an operation of a later stage reads: one partition of a run
// of operations of an earlier one.
type reading struct {
	execution stint.ExecutionID
	stage     int
	partition uint32
	ops       stint.Range
}

func readingOf(spec *stint.Spec, stage *stint.StageSpec, op uint32) (reading, error) {
	from := slices.IndexFunc(spec.Stages, func(s stint.StageSpec) bool { return s.Name == stage.Input.From })
	if from < 0 {
		return reading{}, stint.Errorf(stint.Internal, "stage %q reads from %q, which is not there", stage.Name, stage.Input.From)
	}
	r := reading{execution: spec.Execution, stage: from}
	if stage.Input.Kind == stint.Gather {
		if int(op)+1 >= len(stage.Gather) {
			return reading{}, stint.Errorf(stint.Internal, "stage %q gathers for %d operations; operation %d is not one", stage.Name, len(stage.Gather)-1, op)
		}
		r.ops = stint.Range{From: stage.Gather[op], To: stage.Gather[op+1]}
		return r, nil
	}
	r.partition = op
	r.ops = stint.Range{To: spec.Stages[from].Operations}
	return r, nil
}

// openRuns finds the output of the operations before: here, or on peers.
func (p *preparer) openRuns(ctx context.Context, spec *stint.Spec, o *order) error {
	r, err := readingOf(spec, &spec.Stages[o.grant.Stage], o.wire.Op)
	if err != nil {
		return err
	}
	holders, err := holdersOf(r.ops, o.grant.Sources)
	if err != nil {
		return err
	}
	got := make([]portion, len(holders))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(fetchesPerOrder)
	for i, h := range holders {
		g.Go(func() (err error) {
			if h.node == p.node {
				got[i], err = p.local(r, h)
			} else {
				got[i], err = p.fetch(gctx, r, h)
			}
			return err
		})
	}
	err = g.Wait()
	for i := range got {
		o.take(&got[i])
	}
	slices.SortFunc(o.wire.Runs, func(a, b worker.Run) int { return int(int64(a.Op) - int64(b.Op)) })
	return err
}

// portion is what one node has of what an operation reads. The runs' File is an
// index into files.
type portion struct {
	files []*os.File
	owned bool
	runs  []worker.Run
}

// take adds a portion to the order.
func (o *order) take(p *portion) {
	for i := range p.runs {
		p.runs[i].File += len(o.files)
	}
	o.wire.Runs = append(o.wire.Runs, p.runs...)
	o.files = append(o.files, p.files...)
	if p.owned {
		o.own = append(o.own, p.files...)
	}
}

// holder is a node and what it holds of what an operation reads.
type holder struct {
	node    stint.NodeID
	address string
	ops     []stint.Range
}

// holdersOf says which node to ask for which operations.
func holdersOf(ops stint.Range, sources []stint.Source) ([]holder, error) {
	var list []holder
	var held []stint.Range
	for _, s := range sources {
		if part := stint.ClipRanges(s.Ops, ops); len(part) > 0 {
			list = append(list, holder{node: s.Node, address: s.Address, ops: part})
			held = append(held, part...)
		}
	}
	slices.SortFunc(held, func(a, b stint.Range) int { return cmp.Compare(a.From, b.From) })
	next := ops.From
	for _, r := range append(held, stint.Range{From: ops.To, To: ops.To}) {
		if r.From > next {
			return nil, &lostError{what: fmt.Sprintf("the grant names no node for operations %d to %d of the stage before", next, r.From-1)}
		}
		next = max(next, r.To)
	}
	return list, nil
}

// local finds runs in this node's own segments.
func (p *preparer) local(r reading, h holder) (portion, error) {
	var got portion
	index := make(map[*os.File]int)
	var missing []stint.Range
	for _, ops := range h.ops {
		for op := ops.From; op < ops.To; op++ {
			section, records, sum, err := p.store.Open(r.execution, r.stage, op, r.partition)
			if stint.CodeOf(err) == stint.NotFound {
				missing = stint.AddToRanges(missing, op)
				continue
			}
			if err != nil {
				return portion{}, nodeFault(err, p.folder.dir)
			}
			if section.Size() > 0 {
				got.addLocal(index, section, worker.Run{Op: op, Records: records, Sum: sum})
			}
		}
	}
	if len(missing) > 0 {
		p.missed(r.execution, r.stage, missing)
		return portion{}, &lostError{nodes: []stint.NodeID{p.node}, what: (&transfer.MissingError{Ops: missing}).Error()}
	}
	return got, nil
}

func (p *portion) addLocal(index map[*os.File]int, section *io.SectionReader, run worker.Run) {
	segment, offset, length := section.Outer()
	f := segment.(*os.File) // as block.Store.Open says
	at, known := index[f]
	if !known {
		at = len(p.files)
		index[f] = at
		p.files = append(p.files, f)
	}
	run.File, run.Offset, run.Length = at, offset, length
	p.runs = append(p.runs, run)
}

// lostError says that inputs are not where they should be.
type lostError struct {
	nodes []stint.NodeID
	what  string
}

func (e *lostError) Error() string { return e.what }
