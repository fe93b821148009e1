package plan

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/blake3"

	"stint"
	"stint/internal/wire"
)

// identityFormat is hashed into every identity. It changes when operations of the
// same program over the same input no longer leave the same bytes, for instance
// because a native operator became another one.
const identityFormat = "stint operation 1"

// closure is what an operation's output depends on beside its input: what its
// stage performs, with what, and in which form the output is kept. The stages
// before are not in it: they are in the identities of what the operation reads.
type closure struct {
	Format      string              `json:"format"`
	Name        string              `json:"name"` // programs see it
	Action      stint.Action        `json:"action"`
	Combine     *stint.Action       `json:"combine"`
	Kind        stint.EdgeKind      `json:"kind"`
	Split       stint.Split         `json:"split"`
	Files       []stint.ProgramFile `json:"files"`
	Params      map[string]string   `json:"params"`
	Environment map[string]string   `json:"environment"`
	Compression string              `json:"compression"`
	Partitions  uint32              `json:"partitions"`
	Sorted      bool                `json:"sorted"`
	Part        bool                `json:"part"`
	NoOutput    bool                `json:"no_output"`
}

// closure returns what operations of a stage depend on beside their input. What
// may be left out and what is spelled out are the same.
func (p *Plan) closure(stage int) closure {
	st := &p.Spec.Stages[stage]
	c := closure{
		Format: identityFormat, Name: st.Name, Action: st.Action, Combine: st.Combine,
		Kind: st.Input.Kind, Split: st.Input.Split, Compression: p.Spec.Compression,
		Partitions: st.Partitions, Sorted: st.Sorted, Part: st.Part, NoOutput: st.NoOutput,
	}
	switch {
	case p.Listing.Range != nil:
		c.Split = stint.SplitRange
	case c.Split == "":
		c.Split = stint.SplitLines
	}
	if len(p.Spec.Program.Files) > 0 {
		c.Files = p.Spec.Program.Files
	}
	if len(p.Spec.Params) > 0 {
		c.Params = p.Spec.Params
	}
	if len(p.Spec.Environment) > 0 {
		c.Environment = p.Spec.Environment
	}
	return c
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
//   - the stage: its name, action, combiner, kind of input and split, the program's
//     files (names, digests, modes), parameters, environment, compression, and the
//     form of the output: number of partitions, sorted or not, block, part or none;
//   - of an operation that reads the input: its values, or URL, version, offset and
//     length of each of its pieces, in order;
//   - of a later one: the identities of all operations that it reads, in order,
//     and of a shuffle the partition.
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
	before  *Identities // of the stage before
	reads   stint.Digest
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
	ids := &Identities{plan: p, stage: stage, version: version}
	if stage > 0 {
		ids.before = p.Identities(stage-1, version)
	}
	if p.Spec.Stages[stage].Input.Kind == stint.Shuffle {
		ids.reads = ids.before.all(stint.Range{To: p.Spec.Stages[stage-1].Operations})
	}
	return ids
}

// Of returns the identity of operation op of the stage.
func (ids *Identities) Of(op uint32) stint.Digest {
	st := &ids.plan.Spec.Stages[ids.stage]
	b := ids.buf[:0]
	b = append(b, ids.plan.closures[ids.stage][:]...)
	switch {
	case ids.before == nil:
		b = ids.appendSubset(b, op)
	case st.Gather != nil:
		d := ids.before.all(ids.plan.Reads(ids.stage, op))
		b = append(b, d[:]...)
	default:
		b = append(b, ids.reads[:]...)
		b = binary.LittleEndian.AppendUint32(b, op)
	}
	ids.buf = b
	return blake3.Sum256(b)
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

// appendSubset appends the subset of an operation of the first stage in a form
// from which it could be read back: different subsets have different bytes.
func (ids *Identities) appendSubset(b []byte, op uint32) []byte {
	p := ids.plan
	if p.Listing.Range != nil {
		v := p.Spec.Stages[0].ValuesOf(op)
		return appendNumbers(b, v.First, v.Count)
	}
	c := p.cuts[op]
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
