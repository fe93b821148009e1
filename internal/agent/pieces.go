package agent

import (
	"context"
	"fmt"
	"os"
	"slices"

	"stint"
	"stint/internal/object"
	"stint/internal/split"
)

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

// fetches reports whether something that operation op of a grant reads has to be
// brought here.
func fetches(g *stint.Grant, op uint32) bool {
	return len(g.Subsets) > 0 && slices.ContainsFunc(g.Subsets[op-g.Ops.From].Pieces, func(p stint.Piece) bool { return object.Remote(p.Object.URL) })
}

// openPieces opens what an operation of a first stage reads: files as they are, of
// other objects a copy of what the operation needs.
func (p *preparer) openPieces(ctx context.Context, spec *stint.Spec, o *order) error {
	pieces := o.wire.Subset.Pieces
	if fetches(o.grant, o.wire.Op) {
		done, err := p.courier.begin(ctx, pieces)
		if err != nil {
			return err
		}
		defer done.fetched()
		o.release = done.dropped
	}
	format, err := split.FormatOf(&spec.Stages[o.grant.Stage].Stage, spec.Compression)
	if err != nil {
		return err
	}
	for _, piece := range pieces {
		var f *os.File
		var err error
		if object.Remote(piece.Object.URL) {
			f, err = p.copyPiece(ctx, spec.Execution, piece, format)
		} else {
			f, err = object.Open(ctx, piece.Object)
		}
		if err != nil {
			return inputError(err, piece.Object.URL)
		}
		o.add(f)
	}
	return nil
}

// inputError gives the error of an input the code that it has as a failure: what
// no other attempt can mend is Invalid. What was listed and is denied may be allowed
// again.
func inputError(err error, url string) *stint.Error {
	e := nodeFault(err, url)
	if slices.Contains([]stint.Code{stint.NotFound, stint.Conflict}, e.Code) {
		return &stint.Error{Code: stint.Invalid, Message: e.Message}
	}
	return e
}

// openPart opens where an operation writes its part: the staged file, or one
// without a name that is brought to where the output goes when it is written.
func (p *preparer) openPart(spec *stint.Spec, o *order) error {
	g := o.grant
	o.wire.Part = fmt.Sprintf("part-%05d.%d-%d-%d", o.wire.Op, g.Attempt, g.Job, p.incarnation)
	var f *os.File
	var err error
	if o.wire.Upload = object.Remote(spec.Output); o.wire.Upload {
		f, err = p.scratch(spec.Execution)
	} else {
		f, err = object.CreatePart(spec.Output, spec.Execution, o.wire.Part)
	}
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
