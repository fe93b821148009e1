package plan

import (
	"fmt"
	"path"
	"regexp"

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
	smallSubset    = 1 << 20 // where we choose
	largeSubset    = 64 << 20
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
	cuts     []cut
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
	if err := checkCompression(req, listing); err != nil {
		return c, err
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
		c.SubsetSize = chosenSubset(listing, int64(c.Partitions))
	}
	return c, nil
}

// checkCompression refuses objects that are compressed by their suffix, unless
// their bytes are to be read as they are.
func checkCompression(req stint.Request, listing stint.Listing) error {
	if req.Compression == "none" {
		return nil
	}
	for _, o := range listing.Objects {
		switch suffix := path.Ext(o.URL); suffix {
		case ".gz", ".zst", ".bz2":
			return stint.Errorf(stint.Invalid, "input %s: files that end in %s are not decompressed by this version; --compression none reads their bytes as they are", o.URL, suffix)
		}
	}
	return nil
}

// chosenSubset makes operations over bytes that are large enough for what is
// combined and merged afterwards to stay small beside the input, and some
// thousand operations over values, each of which may be much work.
func chosenSubset(listing stint.Listing, partitions int64) int64 {
	total := totalSize(listing)
	least := ceil(total*partitions, autoPieces)
	if listing.Range != nil {
		return max(min(ceil(total, chosenValueOps), PartValues), least, 1)
	}
	size := int64(largeSubset)
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
	digest, err := programDigest(req.Program)
	if err != nil {
		return nil, err
	}
	p := &Plan{Listing: listing, digest: digest, Choice: choice, Spec: stint.Spec{
		Execution: id, Program: req.Program, Params: req.Params, Environment: req.Environment,
		Output: req.Output, Compression: req.Compression, Slots: req.Slots,
	}}
	stages := req.Program.Stages
	for i, st := range stages {
		spec := stint.StageSpec{Stage: st, Partitions: 1}
		last := i == len(stages)-1
		var parts []uint32
		switch st.Input.Kind {
		case stint.FromInput:
			var err error
			if spec, parts, err = p.fromInput(spec, last); err != nil {
				return nil, err
			}
		case stint.Shuffle:
			n := partitions(st, choice)
			spec.Operations, spec.Part = n, last && !st.NoOutput
			p.Spec.Stages[i-1].Partitions, p.Spec.Stages[i-1].Sorted = n, true
		case stint.Gather:
			return nil, stint.Errorf(stint.Invalid, "stage %q: a gather edge is made by the plan alone", st.Name)
		}
		p.Spec.Stages = append(p.Spec.Stages, spec)
		if parts != nil {
			p.Spec.Stages = append(p.Spec.Stages, gatherStage(st.Name, parts))
		}
	}
	if err := p.hashClosures(); err != nil {
		return nil, err
	}
	return p, p.checkPieces()
}

func partitions(st stint.Stage, c Choice) uint32 {
	if st.Input.Partitions > 0 {
		return uint32(st.Input.Partitions)
	}
	return uint32(c.Partitions)
}

// fromInput cuts the input. parts is not nil if the stage's operations must be
// gathered into parts: the first operation of each, and the number of all.
func (p *Plan) fromInput(spec stint.StageSpec, last bool) (_ stint.StageSpec, parts []uint32, err error) {
	output := last && !spec.NoOutput
	var n int64
	if r := p.Listing.Range; r != nil {
		spec.Values, spec.Each = r, p.Choice.SubsetSize
		n = ceil(r.Count, spec.Each)
		if output {
			n, parts = cutRange(&spec)
		}
	} else {
		if output {
			parts = p.cutParts(spec.Input.Split)
		} else {
			p.cutAll(spec.Input.Split)
		}
		n = int64(len(p.cuts))
	}
	if n > MaxOperations {
		return spec, nil, stint.Errorf(stint.Invalid, "stage %q: %d operations with subsets of %d; at most %d: give a larger --subset-size", spec.Name, n, p.Choice.SubsetSize, MaxOperations)
	}
	spec.Operations = uint32(n)
	if !output {
		return spec, nil, nil
	}
	if len(parts) == int(n)+1 { // every part is one operation
		spec.Part = true
		return spec, nil, nil
	}
	return spec, parts, nil
}

// cutRange cuts a generated range whose parts matter: each of [PartValues]
// values is cut by itself.
func cutRange(spec *stint.StageSpec) (n int64, parts []uint32) {
	count := spec.Values.Count
	spec.PerPart, spec.Each = PartValues, min(spec.Each, PartValues)
	perPart := ceil(PartValues, spec.Each)
	n = count/PartValues*perPart + ceil(count%PartValues, spec.Each)
	if n > MaxOperations {
		return n, nil
	}
	for op := int64(0); op < n; op += perPart {
		parts = append(parts, uint32(op))
	}
	return n, append(parts, uint32(n))
}

func gatherStage(from string, parts []uint32) stint.StageSpec {
	return stint.StageSpec{
		Stage: stint.Stage{
			Name: from + "-parts", Action: stint.Action{Native: "identity"},
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

// Subset returns the input of operation op of the first stage.
func (p *Plan) Subset(op uint32) stint.Subset {
	if p.Listing.Range != nil {
		values := p.Spec.Stages[0].ValuesOf(op)
		return stint.Subset{Values: &values}
	}
	c := p.cuts[op]
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

// Objects returns which objects of the listing, from … to-1, operation op of the
// first stage reads.
func (p *Plan) Objects(op uint32) (from, to int) {
	if p.Listing.Range != nil {
		return 0, 0
	}
	c := p.cuts[op]
	return int(c.object), int(c.object + max(c.count, 1))
}

// pieceBytes is what a piece takes in a message beside the object's names.
const pieceBytes = 64

// Fitting returns the end of the longest run of operations of the first stage
// that begins as ops does, ends no later, and whose subsets take at most so many
// bytes in a message; it is at least one operation.
func (p *Plan) Fitting(ops stint.Range, bytes int) uint32 {
	for n := ops.From; n < ops.To; n++ {
		c := p.cuts[n]
		for i := range max(c.count, 1) {
			o := p.Listing.Objects[c.object+i]
			bytes -= pieceBytes + len(o.URL) + len(o.Version)
		}
		if bytes < 0 {
			return max(n, ops.From+1)
		}
	}
	return ops.To
}

// Reads returns the operations of the stage before that operation op of a later
// stage reads.
func (p *Plan) Reads(stage int, op uint32) stint.Range {
	if g := p.Spec.Stages[stage].Gather; g != nil {
		return stint.Range{From: g[op], To: g[op+1]}
	}
	return stint.Range{To: p.Spec.Stages[stage-1].Operations}
}

var stageName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// ProgramDigest returns the digest of the program: its stages and its files.
func (p *Plan) ProgramDigest() stint.Digest { return p.digest }

// programDigest names a program by content: equal programs have equal digests,
// whatever they are called.
func programDigest(p stint.Program) (stint.Digest, error) {
	b, err := wire.Marshal(stint.Program{Stages: p.Stages, Files: p.Files})
	if err != nil {
		return stint.Digest{}, fmt.Errorf("digest of program %q: %w", p.Name, err)
	}
	return blake3.Sum256(b), nil
}

// CheckProgram refuses a program whose stages make no sense.
func CheckProgram(p stint.Program) error {
	if len(p.Stages) == 0 {
		return stint.Errorf(stint.Invalid, "program %q: no stages", p.Name)
	}
	seen := make(map[string]bool)
	for i, st := range p.Stages {
		if !stageName.MatchString(st.Name) {
			return stint.Errorf(stint.Invalid, "stage %d: name %.80q: expected a lower-case letter, then letters, digits, - or _", i, st.Name)
		}
		if seen[st.Name] || seen[st.Name+"-parts"] {
			return stint.Errorf(stint.Invalid, "stage %d: name %q is taken", i, st.Name)
		}
		seen[st.Name] = true
		if err := checkStage(p.Stages, i); err != nil {
			return err
		}
	}
	return nil
}

func checkStage(stages []stint.Stage, i int) error {
	st := stages[i]
	if err := checkAction(st.Name, st.Action); err != nil {
		return err
	}
	if st.Combine != nil {
		if err := checkAction(st.Name+" combine", *st.Combine); err != nil {
			return err
		}
	}
	switch st.Input.Kind {
	case stint.FromInput:
		switch st.Input.Split {
		case "", stint.SplitLines, stint.SplitFiles, stint.SplitRange:
		default:
			return stint.Errorf(stint.Invalid, "stage %q: split %.80q: one of lines, files", st.Name, st.Input.Split)
		}
		if i > 0 {
			return stint.Errorf(stint.Invalid, "stage %q: only the first stage reads the input", st.Name)
		}
	case stint.Shuffle:
		if i == 0 || st.Input.From != stages[i-1].Name {
			return stint.Errorf(stint.Invalid, "stage %q: reads from %.80q: expected the name of the stage before it", st.Name, st.Input.From)
		}
		if stages[i-1].NoOutput {
			return stint.Errorf(stint.Invalid, "stage %q: reads from %q, which leaves no output", st.Name, st.Input.From)
		}
		if st.Input.Partitions < 0 || st.Input.Partitions > MaxPartitions {
			return stint.Errorf(stint.Invalid, "stage %q: partitions %d: expected 1 to %d", st.Name, st.Input.Partitions, MaxPartitions)
		}
	case stint.Gather:
	default:
		return stint.Errorf(stint.Invalid, "stage %q: edge %.80q: one of input, shuffle", st.Name, st.Input.Kind)
	}
	return nil
}

func checkAction(where string, a stint.Action) error {
	if (len(a.Command) == 0) == (a.Native == "") {
		return stint.Errorf(stint.Invalid, "%s: expected exactly one of a command and a native operator", where)
	}
	if len(a.Command) > 0 && a.Command[0] == "" {
		return stint.Errorf(stint.Invalid, "%s: the command is empty", where)
	}
	return nil
}
