package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"stint"
	"stint/internal/block"
)

// answer is what a source could not give of what it was asked for.
type answer struct {
	bad     []stint.Range // altered there, or not there although they should be
	silent  []stint.Range // could not be had now, which says nothing of them
	trouble error         // with silent: what this node itself met; nil: the other end did not answer
	why     string
}

// ask has a source give operations, named as the reader names them. One that does
// not answer is waited for as long as patience says. An error ends the search: it
// is not the source's.
type ask func(ctx context.Context, s *stint.Source, ops []stint.Range, patience time.Duration) (answer, error)

const (
	fetchPatience = 5 * time.Second        // for a node that does not answer
	otherPatience = 500 * time.Millisecond // if there is another source
)

// search looks for the output of operations of one stage, each in the first of
// its sources that has it.
type search struct {
	self    stint.NodeID // preferred before all others
	sources []stint.Source
	ask     ask
	atOnce  int // sources asked

	mu     sync.Mutex
	failed [][]stint.Range // of each source
	bad    []stint.BadCopy // Stage is not set
	nodes  []stint.NodeID  // that failed in some way
	silent []stint.NodeID  // those that did not answer
	why    []string
	fault  error // the first trouble
}

// run returns the operations that no source has given. The error is ctx's or
// that of an ask.
func (s *search) run(ctx context.Context, wanted []stint.Range) (lacking []stint.Range, err error) {
	s.sources = slices.Clone(s.sources)
	slices.SortStableFunc(s.sources, func(a, b stint.Source) int { return s.distance(a) - s.distance(b) })
	s.failed = make([][]stint.Range, len(s.sources))
	for len(wanted) > 0 {
		if wanted, err = s.round(ctx, wanted, &lacking); err != nil {
			return nil, err
		}
	}
	return lacking, nil
}

func (s *search) distance(source stint.Source) int {
	if source.Pack == nil && source.Node == s.self {
		return 0
	}
	return 1
}

// round asks each source for what it is the first to have of what is wanted, and
// returns what failed.
func (s *search) round(ctx context.Context, wanted []stint.Range, lacking *[]stint.Range) (failed []stint.Range, err error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.atOnce)
	for i := range s.sources {
		s.mu.Lock()
		ops := inBoth(wanted, without(s.sources[i].Ops, s.failed[i]))
		s.mu.Unlock()
		if len(ops) == 0 {
			continue
		}
		wanted = without(wanted, ops)
		patience := s.patience(i, ops)
		g.Go(func() error {
			a, err := s.ask(gctx, &s.sources[i], ops, patience)
			if err == nil {
				s.enter(i, a)
				s.mu.Lock()
				failed = union(failed, union(a.bad, a.silent))
				s.mu.Unlock()
			}
			return err
		})
	}
	*lacking = union(*lacking, wanted)
	return failed, g.Wait()
}

// patience returns how long to wait for a source: less if others have all of it.
func (s *search) patience(i int, ops []stint.Range) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for j := range s.sources {
		if j != i {
			ops = without(ops, without(s.sources[j].Ops, s.failed[j]))
		}
	}
	if len(ops) == 0 {
		return otherPatience
	}
	return fetchPatience
}

// enter notes how a source has failed.
func (s *search) enter(i int, a answer) {
	if len(a.bad)+len(a.silent) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	source := &s.sources[i]
	s.failed[i] = union(s.failed[i], union(a.bad, a.silent))
	if len(a.bad) > 0 {
		b := stint.BadCopy{Node: source.Node, Ops: a.bad}
		if source.Pack != nil {
			b = stint.BadCopy{Pack: source.Pack.Key, Ops: a.bad}
		}
		s.bad = append(s.bad, b)
	}
	if source.Pack == nil && !slices.Contains(s.nodes, source.Node) {
		s.nodes = append(s.nodes, source.Node)
	}
	if source.Pack == nil && len(a.silent) > 0 && !slices.Contains(s.silent, source.Node) {
		s.silent = append(s.silent, source.Node)
	}
	if !slices.Contains(s.why, a.why) {
		s.why = append(s.why, a.why)
	}
	if s.fault == nil {
		s.fault = a.trouble
	}
}

// lost says why operations could not be had: Unavailable if it is this node that
// cannot reach them.
func (s *search) lost(lacking []stint.Range) error {
	if s.fault != nil {
		return &stint.Error{Code: stint.Unavailable, Message: s.fault.Error()}
	}
	if len(s.why) == 0 {
		return &lostError{what: fmt.Sprintf("no node is named for operations %d to %d of the stage before", lacking[0].From, lacking[0].To-1)}
	}
	return &lostError{nodes: s.nodes, silent: s.silent, what: strings.Join(s.why[:min(len(s.why), 8)], "; ")}
}

// naming turns the reader's names of a source's operations into the source's own.
type naming struct {
	execution stint.ExecutionID
	stage     int
	shift     uint32 // modulo 2³²
}

func namingOf(x stint.ExecutionID, stage int, s *stint.Source) naming {
	if s.Origin == nil || len(s.Ops) == 0 {
		return naming{execution: x, stage: stage}
	}
	return naming{execution: s.Origin.Execution, stage: s.Origin.Stage, shift: s.Origin.First - s.Ops[0].From}
}

func (n naming) ref(op uint32) block.Ref {
	return block.Ref{Execution: n.execution, Stage: n.stage, Op: n.there(op)}
}

func (n naming) there(op uint32) uint32 { return op + n.shift }

func (n naming) here(op uint32) uint32 { return op - n.shift }

func (n naming) allThere(ops []stint.Range) []stint.Range { return moved(ops, n.shift) }

func (n naming) allHere(ops []stint.Range) []stint.Range { return moved(ops, -n.shift) }

func moved(ops []stint.Range, shift uint32) []stint.Range {
	out := make([]stint.Range, len(ops))
	for i, r := range ops {
		out[i] = stint.Range{From: r.From + shift, To: r.To + shift}
	}
	return out
}

// inBoth returns what is in both of two sorted lists.
func inBoth(a, b []stint.Range) []stint.Range {
	var out []stint.Range
	for len(a) > 0 && len(b) > 0 {
		from, to := max(a[0].From, b[0].From), min(a[0].To, b[0].To)
		if from < to {
			out = append(out, stint.Range{From: from, To: to})
		}
		if a[0].To < b[0].To {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// without returns what is in sorted list a and not in sorted list b.
func without(a, b []stint.Range) []stint.Range {
	var out []stint.Range
	for _, r := range a {
		for len(b) > 0 && b[0].To <= r.From {
			b = b[1:]
		}
		for _, cut := range b {
			if cut.From >= r.To {
				break
			}
			if cut.From > r.From {
				out = append(out, stint.Range{From: r.From, To: cut.From})
			}
			r.From = min(cut.To, r.To)
		}
		if r.From < r.To {
			out = append(out, r)
		}
	}
	return out
}

func union(a, b []stint.Range) []stint.Range {
	a = slices.Clone(a)
	for _, r := range b {
		a = stint.UnionRange(a, r)
	}
	return a
}

// copySpoiled says that a copy elsewhere was found altered, or is not where it
// should be. The server is told, so that nobody else is sent there.
type copySpoiled struct {
	execution stint.ExecutionID
	bad       stint.BadCopy
}

func (c *copySpoiled) apply(l *loop, _ time.Time) {
	if slices.Contains(l.ledger.Executions(), c.execution) {
		l.ledger.Bad(c.execution, c.bad)
	}
}
