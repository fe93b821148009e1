package plan

import (
	"fmt"
	"slices"

	"github.com/zeebo/blake3"

	"stint"
	"stint/internal/wire"
)

// Bounds of what a plan may be.
const (
	MaxOperations  = 10_000_000  // of one stage
	MaxPartitions  = 10_000      // of one shuffle
	MaxPieces      = 100_000_000 // operations of a stage times partitions of its shuffle
	MaxPackedFiles = 256         // objects in one operation; each is an open descriptor
	PartBytes      = 64 << 20    // of the input, for a part of a program without a shuffle
	PartValues     = 1 << 16     // of a generated range, for the same
	chosenValueOps = 4096
	smallSubset    = 1 << 20    // where we choose; that of a large input is in the template
	autoPieces     = 10_000_000 // operations times partitions, where we choose
	bytesPerPart   = 64 << 20   // of the input, for a partition of a shuffle
	valuesPerPart  = 1 << 20
	maxAutoParts   = 256
)

// Choice is what was decided for an execution when it was planned, and is kept
// with its record, because a plan must come out the same when it is made again.
type Choice struct {
	SubsetSize int64 `json:"subset_size"` // bytes, or values of a range
	Exact      bool  `json:"exact"`       // given by the user: no packing
	Partitions int   `json:"partitions"`  // of shuffles that leave it open
}

// Plan is the separation of one execution. It does not change once made and may
// be read by any number of goroutines.
type Plan struct {
	Spec     stint.Spec
	Listing  stint.Listing
	Choice   Choice
	graph    graph
	cuts     [][]cut // by stage that reads objects of the input
	digest   stint.Digest
	closures []stint.Digest // of the stages
}

// cut is the subset of one operation: count whole objects from object on, or,
// with count 0, the bytes offset … offset+length-1 of one.
type cut struct {
	object, count  uint32
	offset, length int64
}

// Choose decides what the request leaves open, from the request and the listing
// alone: a program whose output depends on how its input was cut gives the same
// on any number of nodes.
func Choose(req stint.Request, listing stint.Listing) (Choice, error) {
	c := Choice{SubsetSize: req.SubsetSize, Exact: req.SubsetSize > 0, Partitions: req.Partitions}
	if req.SubsetSize < 0 {
		return c, stint.Errorf(stint.Invalid, "subset size %d: expected 1 or more", req.SubsetSize)
	}
	if req.Partitions < 0 || req.Partitions > MaxPartitions {
		return c, stint.Errorf(stint.Invalid, "partitions %d: expected 1 to %d", req.Partitions, MaxPartitions)
	}
	total := totalSize(listing)
	if c.Partitions == 0 {
		per := int64(bytesPerPart)
		if listing.Range != nil {
			per = valuesPerPart
		}
		c.Partitions = int(min(max(ceil(total, per), 1), maxAutoParts))
	}
	if c.SubsetSize == 0 {
		c.SubsetSize = chosenSubset(listing, int64(c.Partitions), TemplateOf(req.Program.Type).SubsetSize)
	}
	return c, nil
}

// chosenSubset makes operations over bytes that are large enough for what is
// combined and merged afterwards to stay small beside the input, and some
// thousand operations over values, each of which may be much work. Subsets of a
// large input are of the size that is given.
func chosenSubset(listing stint.Listing, partitions, large int64) int64 {
	total := totalSize(listing)
	least := ceil(total*partitions, autoPieces)
	if listing.Range != nil {
		return max(min(ceil(total, chosenValueOps), PartValues), least, 1)
	}
	size := large
	switch {
	case total <= 32<<20:
		size = smallSubset
	case total <= 256<<20:
		size = smallSubset * 8
	case total <= 2<<30:
		size = smallSubset * 16
	}
	return ceil(max(size, least), 64<<10) * (64 << 10)
}

func totalSize(l stint.Listing) int64 {
	if l.Range != nil {
		return l.Range.Count
	}
	var n int64
	for _, o := range l.Objects {
		n += o.Size
	}
	return n
}

func ceil(n, d int64) int64 { return (n + d - 1) / d }

// Make separates an execution. The errors are refusals: the program or the
// request is wrong, and says where.
func Make(id stint.ExecutionID, req stint.Request, listing stint.Listing, choice Choice) (*Plan, error) {
	if err := CheckProgram(req.Program); err != nil {
		return nil, err
	}
	if listing.Range != nil && len(req.Program.Inputs) > 1 {
		return nil, stint.Errorf(stint.Invalid, "program %q has %d inputs: a range of numbers can only be the input of one that has no other", req.Program.Name, len(req.Program.Inputs))
	}
	digest, err := DigestOf(req.Program)
	if err != nil {
		return nil, err
	}
	p := &Plan{Listing: listing, digest: digest, Choice: choice, Spec: stint.Spec{
		Execution: id, Program: req.Program, Params: req.Params, Environment: req.Environment,
		Output: req.Output, Compression: req.Compression, Slots: req.Slots, SkipBadRecords: max(req.SkipBadRecords, 0),
	}}
	if err := p.makeStages(); err != nil {
		return nil, err
	}
	p.graph = graphOf(p.Spec.Stages)
	if err := p.hashClosures(); err != nil {
		return nil, err
	}
	return p, p.checkPieces()
}

// makeStages makes the stages of the program, and behind them one that gathers
// parts, where that is needed.
func (p *Plan) makeStages() error {
	stages := p.Spec.Program.Stages
	last := len(stages) - 1
	groups, err := groupShuffles(stages)
	if err != nil {
		return err
	}
	var parts []uint32
	root := partsRoot(stages)
	for i := range stages {
		spec := stint.StageSpec{Stage: stages[i], Partitions: 1, Part: i == last && !stages[i].NoOutput}
		spec.Resources = ResourcesOf(&p.Spec.Program, &spec.Stage)
		if g := groups[i]; g != nil {
			spec.Partitions, spec.Sorted = p.partitions(g), true
			if g.partitioner.Kind != stint.HashPartition {
				by := g.partitioner
				spec.Partitioner = &by
			}
		}
		switch from := p.upstream(&stages[i]); spec.Input.Kind {
		case stint.FromInput:
			n, starts, err := p.fromInput(&spec, i, root)
			if err != nil {
				return err
			}
			if i == root {
				parts = starts
			}
			spec.Operations = n
		case stint.Shuffle:
			spec.Operations = from.Partitions
		case stint.OneToOne:
			spec.Operations = from.Operations
		case stint.Gather:
			spec.Operations, spec.Gather = 1, stint.GatherMap{0, from.Operations}
		case stint.Broadcast: // only beside another
		}
		p.Spec.Stages = append(p.Spec.Stages, spec)
	}
	if n := p.Spec.Stages[last].Operations; root >= 0 && len(parts) != int(n)+1 {
		p.Spec.Stages[last].Part = false
		p.Spec.Stages = append(p.Spec.Stages, gatherStage(stages[last].Name, parts))
	}
	return nil
}

// upstream returns the stage that the input of a stage comes from, nil if that is
// the execution's input.
func (p *Plan) upstream(st *stint.Stage) *stint.StageSpec {
	at := slices.IndexFunc(p.Spec.Stages, func(s stint.StageSpec) bool { return s.Name == st.Input.From })
	if st.Input.Kind == stint.FromInput || at < 0 {
		return nil
	}
	return &p.Spec.Stages[at]
}

// partsRoot returns the stage whose cuts of the input are those of the parts of
// the output: the last, or one that the last reads operation by operation, through
// others or not. -1: the number of parts does not depend on cuts.
func partsRoot(stages []stint.Stage) int {
	at := len(stages) - 1
	if stages[at].NoOutput {
		return -1
	}
	for stages[at].Input.Kind == stint.OneToOne {
		at = slices.IndexFunc(stages, func(s stint.Stage) bool { return s.Name == stages[at].Input.From })
	}
	if stages[at].Input.Kind != stint.FromInput {
		return -1
	}
	return at
}

func (p *Plan) partitions(g *shuffles) uint32 {
	if g.partitions > 0 {
		return uint32(g.partitions)
	}
	return uint32(max(p.Choice.Partitions, 1))
}

// fromInput cuts the input of a stage and returns how many operations there are.
// The cuts of the root are those of parts: the first operation of each, and the
// number of all.
func (p *Plan) fromInput(spec *stint.StageSpec, stage, root int) (ops uint32, parts []uint32, err error) {
	p.cuts = append(p.cuts, slices.Repeat([][]cut{nil}, stage+1-len(p.cuts))...)
	var n int64
	switch {
	case p.Listing.Range != nil && stage == root:
		n, parts = p.cutRangeParts(spec)
	case p.Listing.Range != nil:
		spec.Values, spec.Each = p.Listing.Range, p.eachOf(spec)
		n = ceil(spec.Values.Count, spec.Each)
	default:
		from, to := p.objectsOf(spec.Input.From)
		if spec.Input.Split == stint.SplitCount {
			if err := p.checkCuts(spec.Name, from, to); err != nil {
				return 0, nil, err
			}
		}
		c := &cutter{plan: p, split: spec.Input.Split}
		if stage == root {
			parts = c.cutParts(from, to)
		} else {
			c.cutShare(share{from: from, to: to})
		}
		p.cuts[stage], n = c.cuts, int64(len(c.cuts))
	}
	if n > MaxOperations {
		return 0, nil, stint.Errorf(stint.Invalid, "stage %q: %s with subsets of %d; at most %d: give a larger --subset-size", spec.Name, countText(n), p.Choice.SubsetSize, MaxOperations)
	}
	return uint32(n), parts, nil
}

func countText(n int64) string {
	if n == MaxOperations+1 { // where cutting stops
		return "too many operations"
	}
	return fmt.Sprintf("%d operations", n)
}

// objectsOf returns which objects of the listing are those of one of the
// program's inputs: from … to-1.
func (p *Plan) objectsOf(input string) (from, to int) {
	all := p.Listing.Objects
	if len(p.Spec.Program.Inputs) == 0 {
		return 0, len(all)
	}
	from = slices.IndexFunc(all, func(o stint.Object) bool { return o.Input == input })
	if from < 0 {
		return 0, 0
	}
	for to = from; to < len(all) && all[to].Input == input; {
		to++
	}
	return from, to
}

// eachOf returns how many values of a generated range an operation has.
func (p *Plan) eachOf(spec *stint.StageSpec) int64 {
	if spec.Input.Split == stint.SplitCount {
		return spec.Input.Count
	}
	return p.Choice.SubsetSize
}

// cutRangeParts cuts a generated range whose parts matter: each of [PartValues]
// values is cut by itself, or nearly so many if the program says how many values an
// operation has.
func (p *Plan) cutRangeParts(spec *stint.StageSpec) (n int64, parts []uint32) {
	spec.Values, spec.Each = p.Listing.Range, p.eachOf(spec)
	count, perPart := spec.Values.Count, int64(PartValues)
	if spec.Input.Split == stint.SplitCount {
		perPart = max(PartValues/spec.Each, 1) * spec.Each
	}
	spec.PerPart, spec.Each = perPart, min(spec.Each, perPart)
	each := ceil(perPart, spec.Each) // operations of a part
	n = count/perPart*each + ceil(count%perPart, spec.Each)
	if n > MaxOperations {
		return n, nil
	}
	for op := int64(0); op < n; op += each {
		parts = append(parts, uint32(op))
	}
	return n, append(parts, uint32(n))
}

func gatherStage(from string, parts []uint32) stint.StageSpec {
	return stint.StageSpec{
		Stage: stint.Stage{
			Name: from + partsOf, Action: stint.Action{Native: "identity"},
			Input: stint.Edge{Kind: stint.Gather, From: from},
		},
		Operations: uint32(len(parts) - 1), Partitions: 1, Part: true, Gather: parts,
	}
}

func (p *Plan) checkPieces() error {
	for _, st := range p.Spec.Stages {
		if n := int64(st.Operations) * int64(st.Partitions); n > MaxPieces {
			return stint.Errorf(stint.Invalid, "stage %q: %d operations x %d partitions make %d pieces; at most %d: give a larger --subset-size", st.Name, st.Operations, st.Partitions, n, MaxPieces)
		}
	}
	return nil
}

// Subset returns the input of operation op of a stage that reads the input.
func (p *Plan) Subset(stage int, op uint32) stint.Subset {
	if p.Listing.Range != nil {
		values := p.Spec.Stages[stage].ValuesOf(op)
		return stint.Subset{Values: &values}
	}
	c := p.cuts[stage][op]
	if c.count == 0 {
		return stint.Subset{Pieces: []stint.Piece{{Object: p.Listing.Objects[c.object], Offset: c.offset, Length: c.length}}}
	}
	pieces := make([]stint.Piece, c.count)
	for i := range pieces {
		o := p.Listing.Objects[int(c.object)+i]
		pieces[i] = stint.Piece{Object: o, Length: o.Size}
	}
	return stint.Subset{Pieces: pieces}
}

// Objects returns which objects of the listing, from … to-1, operation op of a
// stage that reads the input reads.
func (p *Plan) Objects(stage int, op uint32) (from, to int) {
	if p.Listing.Range != nil {
		return 0, 0
	}
	c := p.cuts[stage][op]
	return int(c.object), int(c.object + max(c.count, 1))
}

// pieceBytes is what a piece takes in a message beside the object's names.
const pieceBytes = 64

// Fitting returns the end of the longest run of operations of a stage that reads
// the input which begins as ops does, ends no later, and whose subsets take at most
// so many bytes in a message; it is at least one operation.
func (p *Plan) Fitting(stage int, ops stint.Range, bytes int) uint32 {
	for n := ops.From; n < ops.To; n++ {
		c := p.cuts[stage][n]
		for i := range max(c.count, 1) {
			o := p.Listing.Objects[c.object+i]
			bytes -= pieceBytes + len(o.URL) + len(o.Version) + len(o.Input)
		}
		if bytes < 0 {
			return max(n, ops.From+1)
		}
	}
	return ops.To
}

// MostRecords returns how many records a stage can read at most; 0: that is not
// known from the listing.
func (p *Plan) MostRecords(stage int) int64 {
	switch st := &p.Spec.Stages[stage]; {
	case !p.ReadsInput(stage):
		return 0
	case st.Values != nil:
		return st.Values.Count
	default:
		n, wholes := int64(0), st.Input.Split == stint.SplitFiles
		from, to := p.objectsOf(st.Input.From)
		for _, o := range p.Listing.Objects[from:to] {
			switch {
			case wholes:
				n++
			case stint.CodecOf(o.URL, p.Spec.Compression) != stint.Plain:
				return 0
			default:
				n += o.Size // each takes a byte at least
			}
		}
		return n
	}
}

// ProgramDigest returns the digest of the program: all of it but what it is called.
func (p *Plan) ProgramDigest() stint.Digest { return p.digest }

// DigestOf names a program by content: equal programs have equal digests,
// whatever they are called.
func DigestOf(p stint.Program) (stint.Digest, error) {
	called := p.Name
	p.Name, p.Type, p.Description = "", "", ""
	b, err := wire.Marshal(p)
	if err != nil {
		return stint.Digest{}, fmt.Errorf("digest of program %q: %w", called, err)
	}
	return blake3.Sum256(b), nil
}

// Delimiters returns, by the names of the inputs that [Lines] is of, what ends their
// lines, as the stages have it, where that is not LF.
func Delimiters(p stint.Program) map[string]string {
	out := make(map[string]string)
	for _, st := range p.Stages {
		if e := st.Input; e.Kind == stint.FromInput && e.Split == stint.SplitCount && e.Delimiter != "" {
			out[e.From] = e.Delimiter
		}
	}
	return out
}

// Lines returns after how many lines a program wants its inputs separated, by
// their names: see [stint.SplitCount]. Those that it does not are not in it.
func Lines(p stint.Program) map[string]int64 {
	out := make(map[string]int64)
	for _, st := range p.Stages {
		if st.Input.Kind == stint.FromInput && st.Input.Split == stint.SplitCount {
			out[st.Input.From] = st.Input.Count
		}
	}
	return out
}
