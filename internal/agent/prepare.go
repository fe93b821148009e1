package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/block"
	"stint/internal/object"
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
	packs       *packs
	missed      func(x stint.ExecutionID, stage int, ops []stint.Range) // is told of blocks that this node should have and has not
	bad         func(x stint.ExecutionID, bad stint.BadCopy)            // is told of blocks that others should have and have not
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
	doubt     bool // verify what lies here, too: an attempt has failed before
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

// openRuns finds the output of the operations before: here, on peers, in packs.
// What a source should have and has not is told, whether another has it or not.
func (p *preparer) openRuns(ctx context.Context, spec *stint.Spec, o *order) error {
	r, err := readingOf(spec, &spec.Stages[o.grant.Stage], o.wire.Op)
	if err != nil {
		return err
	}
	r.doubt = o.grant.Attempt > 1
	var mu sync.Mutex
	s := &search{self: p.node, sources: o.grant.Sources, atOnce: fetchesPerOrder}
	s.ask = func(ctx context.Context, source *stint.Source, ops []stint.Range, patience time.Duration) (answer, error) {
		got, a, err := p.portion(ctx, r, source, ops, patience)
		mu.Lock()
		defer mu.Unlock()
		o.take(&got)
		return a, err
	}
	lacking, err := s.run(ctx, without([]stint.Range{r.ops}, o.grant.Missing))
	for _, bad := range s.bad {
		bad.Stage = r.stage
		p.spoiled(r.execution, bad)
	}
	if err == nil && len(lacking) > 0 {
		err = s.lost(lacking)
	}
	slices.SortFunc(o.wire.Runs, func(a, b worker.Run) int { return int(int64(a.Op) - int64(b.Op)) })
	return err
}

// spoiled tells that a copy cannot be used. Of this node's own output it says so
// by itself.
func (p *preparer) spoiled(x stint.ExecutionID, bad stint.BadCopy) {
	if bad.Node == p.node {
		p.missed(x, bad.Stage, bad.Ops)
	} else {
		p.bad(x, bad)
	}
}

// portion opens what one source has of what an operation reads.
func (p *preparer) portion(ctx context.Context, r reading, s *stint.Source, ops []stint.Range, patience time.Duration) (portion, answer, error) {
	n := namingOf(r.execution, r.stage, s)
	switch {
	case s.Pack != nil:
		return p.fromPack(ctx, r, s, n, ops)
	case s.Node == p.node:
		return p.local(r, n, ops)
	}
	return p.fetch(ctx, r, s, n, ops, patience)
}

// portion is what one source has of what an operation reads. The runs' File is an
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

// local finds runs in this node's own segments.
func (p *preparer) local(r reading, n naming, ops []stint.Range) (portion, answer, error) {
	var got portion
	var a answer
	var sums *summer
	if r.doubt {
		sums = newSummer()
	}
	index := make(map[*os.File]int)
	for op := range each(ops) {
		section, records, sum, err := p.store.Open(n.execution, n.stage, n.there(op), r.partition)
		if stint.CodeOf(err) == stint.NotFound {
			a.bad, a.why = stint.AddToRanges(a.bad, op), "this node should have output of the stage before and has not"
			continue
		}
		if err != nil {
			return portion{}, answer{}, nodeFault(err, p.folder.dir)
		}
		if r.doubt && !sums.matches(section, sum) {
			a.bad, a.why = stint.AddToRanges(a.bad, op), "output of the stage before is damaged on this node"
			continue
		}
		if section.Size() > 0 {
			got.addLocal(index, section, worker.Run{Op: op, Records: records, Sum: sum})
		}
	}
	return got, a, nil
}

// fromPack finds runs in a pack. They are verified here: there may be another
// copy, and a worker could only fail.
func (p *preparer) fromPack(ctx context.Context, r reading, s *stint.Source, n naming, ops []stint.Range) (portion, answer, error) {
	pack, err := p.packs.get(ctx, r.execution, s.Storage, *s.Pack)
	if err != nil {
		a, err := packFault(ctx, ops, err)
		return portion{}, a, err
	}
	var got portion
	var a answer
	sums, index := newSummer(), make(map[*os.File]int)
	for op := range each(ops) {
		if ctx.Err() != nil {
			return portion{}, answer{}, ctx.Err()
		}
		part, ok := pack.index.Find(n.there(op), r.partition)
		section := pack.section(part.Offset, part.Length)
		if !ok || !sums.matches(section, part.Sum) {
			a.bad, a.why = stint.AddToRanges(a.bad, op), fmt.Sprintf("output of the stage before is damaged in pack %s", s.Pack.Key)
			continue
		}
		if part.Length > 0 {
			got.addLocal(index, section, worker.Run{Op: op, Records: part.Records, Sum: part.Sum})
		}
	}
	return got, a, nil
}

// packFault says what an error of opening a pack means for what is in it.
func packFault(ctx context.Context, ops []stint.Range, err error) (answer, error) {
	if ctx.Err() != nil {
		return answer{}, ctx.Err()
	}
	if code := stint.CodeOf(err); code == stint.NotFound || code == stint.Lost {
		return answer{bad: ops, why: err.Error()}, nil
	}
	return answer{silent: ops, why: err.Error(), trouble: err}, nil
}

// summer compares checksums, with one buffer for many. Not for concurrent use.
type summer struct {
	hash *xxh3.Hasher
	buf  []byte
}

func newSummer() *summer { return &summer{hash: xxh3.New(), buf: make([]byte, 64<<10)} }

// matches reads a section and compares its XXH3-64. A section that cannot be read
// has another.
func (s *summer) matches(section *io.SectionReader, sum uint64) bool {
	s.hash.Reset()
	n, err := io.CopyBuffer(struct{ io.Writer }{s.hash}, section, s.buf)
	return err == nil && n == section.Size() && s.hash.Sum64() == sum
}

// each yields the operations of ranges.
func each(ops []stint.Range) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for _, r := range ops {
			for op := r.From; op < r.To; op++ {
				if !yield(op) {
					return
				}
			}
		}
	}
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
