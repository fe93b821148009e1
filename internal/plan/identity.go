package plan

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zeebo/blake3"

	"stint"
	"stint/internal/wire"
)

// identityFormat is hashed into every identity. It changes when operations of the
// same program over the same input no longer leave the same bytes, for instance
// because a native operator became another one.
const identityFormat = "stint operation 2"

// closure is what an operation's output depends on beside its input: what its
// stage performs, with what, and in which form the output is kept. The stages
// before are not in it: they are in the identities of what the operation reads.
type closure struct {
	Format      string              `json:"format"`
	Name        string              `json:"name"` // programs see it
	Action      stint.Action        `json:"action"`
	Combine     *stint.Action       `json:"combine"`
	Edges       []closureEdge       `json:"edges"`
	Streaming   stint.Streaming     `json:"streaming"`
	Combining   *stint.Streaming    `json:"combining,omitempty"` // of the combiner; nil: as where nothing is said
	Files       []stint.ProgramFile `json:"files"`
	Params      map[string]string   `json:"params"`
	Environment map[string]string   `json:"environment"`
	Compression string              `json:"compression"`
	Skip        bool                `json:"skip"` // records on which the program fails
	Partitions  uint32              `json:"partitions"`
	Partitioner stint.Partitioner   `json:"partitioner"`
	Ranges      uint32              `json:"ranges,omitempty"` // partitions of the stage whose ranges this one leaves
	Sorted      bool                `json:"sorted"`
	Part        bool                `json:"part"`
	NoOutput    bool                `json:"no_output"`
}

// closureEdge is an edge without what the identities of the operations upstream
// say.
type closureEdge struct {
	Kind      stint.EdgeKind `json:"kind"`
	Input     string         `json:"input"` // name of the program's input
	Split     stint.Split    `json:"split"`
	Count     int64          `json:"count"`
	Delimiter string         `json:"delimiter"`
}

// closure returns what operations of a stage depend on beside their input. What
// may be left out and what is spelled out are the same.
func (p *Plan) closure(stage int) closure {
	st := &p.Spec.Stages[stage]
	c := closure{
		Format: identityFormat, Name: st.Name, Action: st.Action, Combine: st.Combine,
		Streaming: streamingOf(st.Streaming), Compression: p.Spec.Compression, Skip: p.Spec.SkipBadRecords > 0,
		Partitions: st.Partitions, Partitioner: spelledOut(st.Partitioner), Sorted: st.Sorted, Part: st.Part, NoOutput: st.NoOutput,
		Files: p.filesOf(st), Environment: p.environmentOf(st),
	}
	if at := slices.IndexFunc(p.Spec.Stages, func(s stint.StageSpec) bool { return s.Partitioner != nil && s.Partitioner.From == st.Name }); at >= 0 {
		c.Ranges = p.Spec.Stages[at].Partitions // of the first, as the operation is told
	}
	if st.Combine != nil {
		c.Combining = p.combining(st.Name)
	}
	for _, e := range st.Edges() {
		c.Edges = append(c.Edges, p.closureEdge(e))
	}
	if len(p.Spec.Params) > 0 {
		c.Params = p.Spec.Params
	}
	return c
}

func (p *Plan) closureEdge(e stint.Edge) closureEdge {
	c := closureEdge{Kind: e.Kind, Split: e.Split, Count: e.Count, Delimiter: e.Delimiter}
	if e.Kind != stint.FromInput {
		return c
	}
	switch c.Input = e.From; {
	case p.Listing.Range != nil:
		c.Split, c.Count = stint.SplitRange, 0 // how many values an operation has, its values say
	case c.Split == "":
		c.Split = stint.SplitLines
	}
	c.Delimiter = ending(e)
	return c
}

// streamingOf spells out how a command reads and writes records.
func streamingOf(s *stint.Streaming) stint.Streaming {
	var c stint.Streaming
	if s != nil {
		c = *s
	}
	c.Mode = cmp.Or(c.Mode, stint.StreamLines)
	c.KeyFields = cmp.Or(c.KeyFields, 1)
	c.Separator, c.InputSeparator, c.OutputSeparator = cmp.Or(c.Separator, "\t"), cmp.Or(c.InputSeparator, "\t"), cmp.Or(c.OutputSeparator, "\t")
	c.ReporterPrefix = cmp.Or(c.ReporterPrefix, "reporter:")
	return c
}

// combining returns how a combiner of the output of a stage reads and writes: as the
// first stage does that reads it. Nil: as where nothing is said.
func (p *Plan) combining(from string) *stint.Streaming {
	at := slices.IndexFunc(p.Spec.Stages, func(s stint.StageSpec) bool {
		return slices.ContainsFunc(s.Edges(), func(e stint.Edge) bool { return e.Kind == stint.Shuffle && e.From == from })
	})
	if at < 0 {
		return nil
	}
	c := streamingOf(p.Spec.Stages[at].Streaming)
	if c == streamingOf(nil) {
		return nil
	}
	return &c
}

// filesOf returns the files that a stage uses, by name.
func (p *Plan) filesOf(st *stint.StageSpec) []stint.ProgramFile {
	var out []stint.ProgramFile
	for _, f := range p.Spec.Program.Files {
		if len(st.Files) == 0 || slices.Contains(st.Files, f.Name) {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b stint.ProgramFile) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// environmentOf returns the environment of a stage: the program's, above it that
// of the stage, above that the request's.
func (p *Plan) environmentOf(st *stint.StageSpec) map[string]string {
	var out map[string]string
	for _, more := range []map[string]string{p.Spec.Program.Environment, st.Environment, p.Spec.Environment} {
		if out == nil && len(more) > 0 {
			out = make(map[string]string)
		}
		maps.Copy(out, more)
	}
	return out
}

// hashClosures makes the digests of all stages' closures.
func (p *Plan) hashClosures() error {
	for k := range p.Spec.Stages {
		b, err := wire.Marshal(p.closure(k))
		if err != nil {
			return fmt.Errorf("digest of stage %q: %w", p.Spec.Stages[k].Name, err)
		}
		p.closures = append(p.closures, blake3.Sum256(b))
	}
	return nil
}

// Identity returns the identity of one operation: a BLAKE3 digest of all that its
// output depends on. Operations with the same identity leave the same output,
// whatever their numbers are and whatever execution they belong to. It is made of
//
//   - the stage: its name, action, combiner, streaming (its own and, with a combiner,
//     that of the stage behind the shuffle), kinds of edges, split and
//     delimiter, the files that it uses (names, digests, modes), parameters,
//     environment, compression, and the form of the output: number of partitions and
//     partitioner, sorted or not, block, part or none;
//   - for an edge to the input: the operation's values, or URL, version, offset and
//     length of each of its pieces, in order;
//   - for every other edge: the identities of all operations that it reads, in order,
//     and of shuffles the partition.
//
// Not in it are the operation's number, its attempt, the execution's id and the
// node, though a command is told them.
//
// It takes time in proportion to what the operation reads. [Plan.Identities] is for many.
func (p *Plan) Identity(stage int, op uint32) stint.Digest {
	return p.Identities(stage, nil).Of(op)
}

// Identities knows the identities of the operations of one stage, and makes them
// when asked: none is kept. One goroutine may use it at a time.
type Identities struct {
	plan    *Plan
	stage   int
	edges   []*Identities // of the stages upstream; nil: the input
	whole   []stint.Digest
	total   *stint.Digest // of all operations, once asked for
	version func(stint.Object) string
	buf     []byte
}

// Identities returns the identities of a stage. version says which version of an
// object counts, if not the one that was listed: that of an earlier listing for
// an object whose content is known to be the same. nil: the one that was listed.
func (p *Plan) Identities(stage int, version func(stint.Object) string) *Identities {
	if version == nil {
		version = func(o stint.Object) string { return o.Version }
	}
	all := make([]*Identities, stage+1)
	for _, k := range append(slices.Clone(p.Ancestors(stage)), stage) { // each after those upstream
		ids := &Identities{plan: p, stage: k, version: version, whole: make([]stint.Digest, p.Edges(k))}
		for n := range p.Edges(k) {
			var up *Identities
			if from := p.Upstream(k, n); from != Input {
				up = all[from]
			}
			if ids.edges = append(ids.edges, up); p.Whole(k, n) {
				ids.whole[n] = up.everything()
			}
		}
		all[k] = ids
	}
	return all[stage]
}

// Of returns the identity of operation op of the stage.
func (ids *Identities) Of(op uint32) stint.Digest {
	p := ids.plan
	b := ids.buf[:0]
	b = append(b, p.closures[ids.stage][:]...)
	for n, up := range ids.edges {
		switch {
		case up == nil:
			b = ids.appendSubset(b, op)
		case p.Whole(ids.stage, n):
			b = append(b, ids.whole[n][:]...)
		case p.Spec.Stages[ids.stage].Gather != nil:
			d := up.all(p.Reads(ids.stage, n, op))
			b = append(b, d[:]...)
		default:
			d := up.Of(op)
			b = append(b, d[:]...)
		}
	}
	if p.Spec.Stages[ids.stage].Input.Kind == stint.Shuffle {
		b = binary.LittleEndian.AppendUint32(b, op)
	}
	ids.buf = b
	return blake3.Sum256(b)
}

// everything returns one digest of the identities of all operations.
func (ids *Identities) everything() stint.Digest {
	if ids.total == nil {
		d := ids.all(stint.Range{To: ids.plan.Spec.Stages[ids.stage].Operations})
		ids.total = &d
	}
	return *ids.total
}

// all returns one digest of the identities of a run of operations.
func (ids *Identities) all(ops stint.Range) stint.Digest {
	h := blake3.New()
	for op := ops.From; op < ops.To; op++ {
		d := ids.Of(op)
		_, _ = h.Write(d[:]) // never fails
	}
	var sum stint.Digest
	h.Sum(sum[:0])
	return sum
}

// appendSubset appends the subset of an operation that reads the input in a form
// from which it could be read back: different subsets have different bytes.
func (ids *Identities) appendSubset(b []byte, op uint32) []byte {
	p := ids.plan
	if p.Listing.Range != nil {
		v := p.Spec.Stages[ids.stage].ValuesOf(op)
		return appendNumbers(b, v.First, v.Count)
	}
	c := p.cuts[ids.stage][op]
	if c.count == 0 {
		return ids.appendPiece(b, p.Listing.Objects[c.object], c.offset, c.length)
	}
	for _, o := range p.Listing.Objects[c.object : c.object+c.count] {
		b = ids.appendPiece(b, o, 0, o.Size)
	}
	return b
}

func (ids *Identities) appendPiece(b []byte, o stint.Object, offset, length int64) []byte {
	version := ids.version(o)
	b = append(appendNumbers(b, int64(len(o.URL))), o.URL...)
	b = append(appendNumbers(b, int64(len(version))), version...)
	return appendNumbers(b, offset, length)
}

func appendNumbers(b []byte, list ...int64) []byte {
	for _, n := range list {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return b
}
