package agent

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/block"
	"stint/internal/worker"
)

// reading says what an operation reads over one edge: one partition of a run of
// operations of an earlier stage.
type reading struct {
	execution stint.ExecutionID
	stage     int
	edge      int
	partition uint32
	ops       stint.Range
	doubt     bool // verify what lies here, too: an attempt has failed before
	job       stint.JobID
}

// stageNamed returns which stage of an execution has a name.
func stageNamed(spec *stint.Spec, name string) (int, error) {
	i := slices.IndexFunc(spec.Stages, func(s stint.StageSpec) bool { return s.Name == name })
	if i < 0 {
		return 0, stint.Errorf(stint.Internal, "stage %q is read, and is not there", name)
	}
	return i, nil
}

// readingOf returns what operation op of a stage reads over one of its edges,
// which is not that of the input.
func readingOf(spec *stint.Spec, stage *stint.StageSpec, edge int, op uint32) (reading, error) {
	e := stage.Edges()[edge]
	from, err := stageNamed(spec, e.From)
	if err != nil {
		return reading{}, err
	}
	r := reading{execution: spec.Execution, stage: from, edge: edge, ops: stint.Range{To: spec.Stages[from].Operations}}
	switch e.Kind {
	case stint.Shuffle:
		r.partition = op
	case stint.OneToOne:
		r.ops = stint.Range{From: op, To: op + 1}
	case stint.Gather:
		if len(stage.Gather) == 0 {
			break // all of them
		}
		if int(op)+1 >= len(stage.Gather) {
			return reading{}, stint.Errorf(stint.Internal, "stage %q gathers for %d operations; operation %d is not one", stage.Name, len(stage.Gather)-1, op)
		}
		r.ops = stint.Range{From: stage.Gather[op], To: stage.Gather[op+1]}
	case stint.Broadcast: // everything, as it is
	case stint.FromInput:
		fallthrough
	default:
		return reading{}, stint.Errorf(stint.Internal, "stage %q: nothing was put out for an edge of kind %q", stage.Name, e.Kind)
	}
	return r, nil
}

// sourcesOver returns where the output lies that a grant's operations read over
// one of their edges.
func sourcesOver(g *stint.Grant, edge int) stint.Reading {
	if edge == 0 {
		return stint.Reading{Sources: g.Sources, Missing: g.Missing}
	}
	return g.Beside[edge-1]
}

// openEdges finds what an operation reads of other stages: the runs of its own
// partition, and what is read as a broadcast.
func (p *preparer) openEdges(ctx context.Context, spec *stint.Spec, o *order) error {
	stage := &spec.Stages[o.grant.Stage]
	for edge, e := range stage.Edges() {
		if e.Kind == stint.FromInput {
			continue
		}
		r, err := readingOf(spec, stage, edge, o.wire.Op)
		if err != nil {
			return err
		}
		r.doubt, r.job = o.grant.Attempt > 1, o.grant.Job
		if e.Kind == stint.Broadcast {
			var path string
			path, err = p.broadcast(ctx, spec, r, sourcesOver(o.grant, edge))
			o.wire.Broadcasts = append(o.wire.Broadcasts, worker.Broadcast{Stage: e.From, Path: path})
		} else {
			err = p.find(ctx, r, sourcesOver(o.grant, edge), o.take)
		}
		if err != nil {
			return err
		}
	}
	slices.SortFunc(o.wire.Runs, func(a, b worker.Run) int { return cmp.Or(cmp.Compare(a.Edge, b.Edge), cmp.Compare(a.Op, b.Op)) })
	return nil
}

// find finds the output of operations before: here, on peers, in packs. What a
// source should have and has not is told, whether another has it or not.
func (p *preparer) find(ctx context.Context, r reading, from stint.Reading, take func(*portion)) error {
	var mu sync.Mutex
	s := &search{self: p.node, sources: from.Sources, atOnce: fetchesPerOrder}
	s.ask = func(ctx context.Context, source *stint.Source, ops []stint.Range, patience time.Duration) (answer, error) {
		got, a, err := p.portion(ctx, r, source, ops, patience)
		mu.Lock()
		defer mu.Unlock()
		take(&got)
		return a, err
	}
	lacking, err := s.run(ctx, without([]stint.Range{r.ops}, from.Missing))
	for _, bad := range s.bad {
		bad.Stage, bad.Job = r.stage, r.job
		p.spoiled(r.execution, bad)
	}
	if err == nil && len(lacking) > 0 {
		err = s.lost(lacking)
	}
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
			got.addLocal(index, section, worker.Run{Edge: r.edge, Op: op, Records: records, Sum: sum})
		}
	}
	return got, a, nil
}

// fromPack finds runs in a pack. They are verified here: there may be another
// copy, and a worker could only fail.
func (p *preparer) fromPack(ctx context.Context, r reading, s *stint.Source, n naming, ops []stint.Range) (got portion, a answer, err error) {
	pack, err := p.packs.get(ctx, r.execution, s.Storage, *s.Pack)
	if err != nil {
		a, err = packFault(ctx, ops, err)
		return portion{}, a, err
	}
	ranges, err := p.packRanges(r.execution, pack)
	if err != nil {
		return portion{}, answer{}, err
	}
	got.files, got.owned = []*os.File{ranges.file}, ranges.to != nil
	for op := range each(ops) {
		if ctx.Err() != nil {
			return got, answer{}, ctx.Err()
		}
		part, ok := pack.index.Find(n.there(op), r.partition)
		offset := part.Offset
		if ok {
			offset, ok, err = ranges.verify(pack, part)
		}
		switch {
		case ranges.failed() != nil:
			return got, answer{}, nodeFault(ranges.failed(), p.folder.work(r.execution))
		case err != nil:
			one, err := packFault(ctx, []stint.Range{{From: op, To: op + 1}}, err)
			if err != nil {
				return got, answer{}, err
			}
			a.bad, a.silent, a.why, a.trouble = union(a.bad, one.bad), union(a.silent, one.silent), one.why, one.trouble
		case !ok:
			a.bad, a.why = stint.AddToRanges(a.bad, op), fmt.Sprintf("output of the stage before is damaged in pack %s", s.Pack.Key)
		case part.Length > 0:
			got.runs = append(got.runs, worker.Run{Edge: r.edge, Op: op, Offset: offset, Length: part.Length, Records: part.Records, Sum: part.Sum})
		}
	}
	return got, a, nil
}

// packRanges are ranges of a pack as workers can read them: in the pack's own file,
// or copied into a scratch file if that is not on this machine.
type packRanges struct {
	file *os.File
	to   *scratchWriter // nil: the pack's own
	end  int64          // of what was copied
	sums *summer
}

func (p *preparer) packRanges(x stint.ExecutionID, pack *openPack) (*packRanges, error) {
	ranges := &packRanges{file: pack.local, sums: newSummer()}
	if pack.local != nil {
		return ranges, nil
	}
	scratch, err := p.scratch(x)
	if err != nil {
		return nil, nodeFault(err, p.folder.work(x))
	}
	ranges.file, ranges.to = scratch, &scratchWriter{file: scratch}
	return ranges, nil
}

// verify says where a range can be read, and whether it is what was written. The
// error is one of reading from elsewhere, unless it is that of failed.
func (p *packRanges) verify(pack *openPack, part block.PartIndex) (offset int64, whole bool, err error) {
	section := pack.section(part.Offset, part.Length)
	if p.to == nil {
		return part.Offset, p.sums.matches(section, part.Sum), nil
	}
	offset = p.end
	n, sum, err := p.sums.pass(section, p.to)
	p.end += n
	return offset, n == part.Length && sum == part.Sum, err
}

// failed returns why the scratch file could not be written.
func (p *packRanges) failed() error {
	if p.to == nil {
		return nil
	}
	return p.to.err
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
	n, got, err := s.pass(section, io.Discard)
	return err == nil && n == section.Size() && got == sum
}

// pass copies a section and returns how many bytes it had and their XXH3-64.
func (s *summer) pass(section *io.SectionReader, to io.Writer) (int64, uint64, error) {
	s.hash.Reset()
	n, err := io.CopyBuffer(io.MultiWriter(s.hash, to), section, s.buf)
	return n, s.hash.Sum64(), err
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
	nodes  []stint.NodeID
	silent []stint.NodeID // those that did not answer
	what   string
}

func (e *lostError) Error() string { return e.what }
