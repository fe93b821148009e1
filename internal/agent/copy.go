package agent

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"stint"
	"stint/internal/block"
	"stint/internal/transfer"
)

// copier brings output that was put out elsewhere into this node's store. Safe
// for concurrent use.
type copier struct {
	node  stint.NodeID
	store *block.Store
	peers *http.Client
	packs *packs

	mu   sync.Mutex
	idle map[stint.ExecutionID][]*block.Copies // segments that nobody appends to
}

func newCopier(node stint.NodeID, store *block.Store, peers *http.Client, packs *packs) *copier {
	return &copier{node: node, store: store, peers: peers, packs: packs, idle: make(map[stint.ExecutionID][]*block.Copies)}
}

// copyHere does the errand: what is here already stays as it is.
func (c *copier) copyHere(ctx context.Context, e stint.Errand, result *stint.ErrandResult) error {
	to, err := c.take(e.Execution)
	if err != nil {
		return nodeFault(err, "blocks")
	}
	defer func() { c.giveBack(e.Execution, to) }()
	var missing []stint.Range
	for op := range each(e.Ops) {
		if _, err := c.store.Index(e.Execution, e.Stage, op); err == nil {
			result.Ops = stint.AddToRanges(result.Ops, op)
		} else {
			missing = stint.AddToRanges(missing, op)
		}
	}
	s := &search{self: c.node, sources: e.Sources, atOnce: 1}
	s.ask = func(ctx context.Context, source *stint.Source, ops []stint.Range, patience time.Duration) (answer, error) {
		if to.Full() {
			if err := c.replace(e.Execution, &to); err != nil {
				return answer{}, nodeFault(err, "blocks")
			}
		}
		d := &delivery{to: to, stage: e.Stage, naming: namingOf(e.Execution, e.Stage, source)}
		a, err := c.fill(ctx, source, ops, patience, d)
		result.Ops = union(result.Ops, d.kept)
		return a, err
	}
	result.Lost, err = s.run(ctx, missing)
	for _, bad := range s.bad {
		bad.Stage = e.Stage
		result.Bad = append(result.Bad, bad)
	}
	return err
}

// fill takes what one source has.
func (c *copier) fill(ctx context.Context, s *stint.Source, ops []stint.Range, patience time.Duration, d *delivery) (answer, error) {
	switch {
	case s.Pack != nil:
		pack, err := c.packs.get(ctx, d.to.Execution(), s.Storage, *s.Pack)
		if err != nil {
			return packFault(ctx, ops, err)
		}
		return d.each(ctx, ops, func(op uint32) (*io.SectionReader, block.Index, error) {
			idx, ok := pack.index.Block(op)
			if !ok {
				return nil, block.Index{}, stint.Errorf(stint.NotFound, "pack %s does not have operation %d", s.Pack.Key, op)
			}
			return pack.section(idx.Offset, idx.Length), idx, nil
		})
	case s.Node == c.node:
		return d.each(ctx, ops, func(op uint32) (*io.SectionReader, block.Index, error) {
			return c.store.OpenWhole(d.naming.execution, d.naming.stage, op)
		})
	}
	return c.fetch(ctx, s, ops, patience, d)
}

// fetch takes whole blocks from a peer.
func (c *copier) fetch(ctx context.Context, s *stint.Source, ops []stint.Range, patience time.Duration, d *delivery) (answer, error) {
	n := d.naming
	request := transfer.Request{Execution: n.execution, Stage: n.stage, Node: s.Node}
	left := n.allThere(ops)
	a, err := patiently(ctx, s, patience, &left, func() error {
		left = without(left, n.allThere(d.kept)) // those of an earlier try
		if len(left) == 0 {
			return nil
		}
		request.Ops = left
		_, err := transfer.FetchWhole(ctx, c.peers, s.Address, request, func(op uint32, parts []transfer.Part, r io.Reader) error {
			return d.keep(op, partsOfBlock(parts), r)
		})
		return err
	})
	if err != nil && ctx.Err() == nil {
		err = nodeFault(err, "blocks")
	}
	a.silent = without(a.silent, n.allThere(d.kept))
	return a.named(n), err
}

// delivery appends blocks of one source to a segment of copies.
type delivery struct {
	to     *block.Copies
	stage  int
	naming naming
	kept   []stint.Range // in the naming of the reader
}

// keep appends one block, which is op at its source.
func (d *delivery) keep(op uint32, parts []block.PartIndex, r io.Reader) error {
	here := d.naming.here(op)
	if err := d.to.Add(d.stage, here, parts, r); err != nil {
		return err
	}
	d.kept = stint.UnionRange(d.kept, stint.Range{From: here, To: here + 1})
	return nil
}

// each appends blocks that open finds under their names there.
func (d *delivery) each(ctx context.Context, ops []stint.Range, open func(op uint32) (*io.SectionReader, block.Index, error)) (answer, error) {
	var a answer
	for op := range each(ops) {
		if ctx.Err() != nil {
			return answer{}, ctx.Err()
		}
		there := d.naming.there(op)
		section, idx, err := open(there)
		if err == nil {
			err = d.keep(there, idx.Parts, section)
		}
		switch code := stint.CodeOf(err); {
		case err == nil:
		case code == stint.NotFound, code == stint.Lost, errors.Is(err, io.ErrUnexpectedEOF):
			a.bad, a.why = stint.AddToRanges(a.bad, op), err.Error()
		default:
			return answer{}, nodeFault(err, "blocks")
		}
	}
	return a, nil
}

func partsOfBlock(list []transfer.Part) []block.PartIndex {
	out := make([]block.PartIndex, len(list))
	for i, p := range list {
		out[i] = block.PartIndex{Partition: p.Partition, Length: p.Length, Records: p.Records, Sum: p.Sum}
	}
	return out
}

// openWhole opens a whole block for a peer.
func openWhole(store *block.Store, x stint.ExecutionID, stage int, op uint32) (*io.SectionReader, []transfer.Part, error) {
	section, idx, err := store.OpenWhole(x, stage, op)
	if err != nil {
		return nil, nil, err
	}
	parts := make([]transfer.Part, len(idx.Parts))
	for i, p := range idx.Parts {
		parts[i] = transfer.Part{Partition: p.Partition, Length: p.Length, Records: p.Records, Sum: p.Sum}
	}
	return section, parts, nil
}

// take returns a segment to append to, which is nobody else's until it is given back.
func (c *copier) take(x stint.ExecutionID) (*block.Copies, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.idle[x]); n > 0 {
		to := c.idle[x][n-1]
		c.idle[x] = c.idle[x][:n-1]
		return to, nil
	}
	return c.store.CreateCopies(x)
}

// replace takes a new segment for one that is full.
func (c *copier) replace(x stint.ExecutionID, to **block.Copies) error {
	fresh, err := c.store.CreateCopies(x)
	if err != nil {
		return err
	}
	full := *to
	*to = fresh
	return full.Close()
}

func (c *copier) giveBack(x stint.ExecutionID, to *block.Copies) {
	if to.Full() {
		_ = to.Close() // every write was answered for
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle[x] = append(c.idle[x], to)
}

// forget closes the segments of an execution; nothing of it is being copied.
func (c *copier) forget(x stint.ExecutionID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, to := range c.idle[x] {
		_ = to.Close() // every write was answered for
	}
	delete(c.idle, x)
}

// close closes all segments.
func (c *copier) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, list := range c.idle {
		for _, to := range list {
			_ = to.Close() // every write was answered for
		}
	}
	clear(c.idle)
}
