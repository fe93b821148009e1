package agent

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"stint"
	"stint/internal/block"
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
	release func() // gives back the room of copies; nil: there are none
}

// close closes the order's files.
func (o *order) close() {
	for _, f := range o.own {
		_ = f.Close() // nothing was written through them here
	}
	o.own = nil
	if o.release != nil {
		o.release()
	}
}

// preparer opens what operations read and write. Safe for concurrent use.
type preparer struct {
	node        stint.NodeID
	incarnation stint.Incarnation
	folder      *folder
	store       *block.Store
	peers       *http.Client
	packs       *packs
	broadcasts  *broadcasts
	courier     *courier
	missed      func(x stint.ExecutionID, stage int, ops []stint.Range) // is told of blocks that this node should have and has not
	bad         func(x stint.ExecutionID, bad stint.BadCopy)            // is told of blocks that others should have and have not
}

// bare reports whether operations of a grant need nothing opened.
func bare(stage *stint.StageSpec, g *stint.Grant) bool {
	return stage.Input.Kind == stint.FromInput && len(g.Subsets) == 0 && !stage.Part && len(stage.Beside) == 0
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
		f.Sources, f.Silent = lost.nodes, lost.silent
	}
	return f
}

// open opens what operation o.wire.Op reads, and its part.
func (p *preparer) open(ctx context.Context, spec *stint.Spec, o *order) error {
	stage, op := &spec.Stages[o.grant.Stage], o.wire.Op
	var err error
	if stage.Input.Kind == stint.FromInput {
		o.wire.Subset = subsetOf(stage, o.grant, op)
		err = p.openPieces(ctx, spec, o)
	}
	if err == nil {
		err = p.openEdges(ctx, spec, o)
	}
	if err == nil && stage.Part {
		err = p.openPart(spec, o)
	}
	o.wire.Files = len(o.files)
	return err
}
