package shuffle

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"unsafe"
)

// Run is the encoded, sorted records of one partition of one upstream operation.
type Run struct {
	R      io.ReaderAt
	Offset int64  // of the first byte in R
	Length int64  // bytes
	Edge   int    // records with equal keys come in the order of their runs' edges: which of the edges that the operation reads over
	Order  uint32 // and within an edge in this order: the upstream operation's number
	Sum    uint64 // XXH3-64 of the bytes, checked as they are read to the end; 0: not checked
}

// RunError says which run could not be read. Its cause has code Lost if the
// bytes are damaged or missing, and otherwise is the error of the reader.
type RunError struct {
	Edge  int
	Order uint32
	Err   error
}

// Error names the operation, the edge unless it is the first, and the cause.
func (e *RunError) Error() string {
	if e.Edge > 0 {
		return fmt.Sprintf("read output of operation %d over edge %d: %v", e.Order, e.Edge, e.Err)
	}
	return fmt.Sprintf("read output of operation %d: %v", e.Order, e.Err)
}

// Unwrap returns the cause.
func (e *RunError) Unwrap() error { return e.Err }

// MergeConfig says what a [Merge] may use.
type MergeConfig struct {
	Budget int64  // bytes of memory for buffers; at least 1 MiB is used
	Dir    string // where spill files are made; they have no name there
}

// Merge is the records of sorted runs in order. It is a [Source]. Not for
// concurrent use.
type Merge struct {
	budget  int64
	scratch scratch
	enc     encoder
	cursors []cursor // in the order of their runs
	tree    []player // loser tree: [0] is the winner, the parent of place n is n/2, cursor i plays from place len+i
	buffers []byte
	begun   bool // the winner's record was returned
	err     error
}

// player is a cursor in the tree with the prefix of its record, lastPrefix at its end.
type player struct {
	prefix uint64
	cursor int
}

// Bounds of what is read from a run at once, and of how many are merged at once
// unless all are in memory.
const (
	minRead = 64 << 10
	maxRead = 4 << 20
	maxFan  = 256
)

// NewMerge begins to merge. It reads all runs at once if they fit into the
// budget, and merges some of them to a file first if there are too many. Runs
// may be given in any order; those of equal Edge and Order stay as given. Errors are
// [*RunError] where a run is to blame.
func NewMerge(runs []Run, cfg MergeConfig) (*Merge, error) {
	m := &Merge{budget: max(cfg.Budget, minBudget), scratch: scratch{dir: cfg.Dir}}
	runs = slices.Clone(runs)
	slices.SortStableFunc(runs, func(a, b Run) int {
		return cmp.Or(cmp.Compare(a.Edge, b.Edge), cmp.Compare(a.Order, b.Order))
	})
	if err := m.start(runs); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Close frees memory and spill files. It may be called twice.
func (m *Merge) Close() error {
	m.cursors, m.tree, m.buffers, m.begun, m.err = nil, nil, nil, false, errClosed
	return m.scratch.close()
}

var errClosed = errors.New("merge is closed")

// start begins to merge sorted runs, which it may alter, in place of others.
func (m *Merge) start(runs []Run) error {
	m.begun, m.err = false, nil
	runs = slices.DeleteFunc(runs, func(r Run) bool { return r.Length == 0 })
	for _, r := range runs {
		if r.Length < 0 || r.Offset < 0 || r.Offset+r.Length < 0 {
			return &RunError{r.Edge, r.Order, corrupt("range of %d bytes at %d", r.Length, r.Offset)}
		}
	}
	for !m.fits(runs) {
		at, n := m.shortest(runs)
		if n < 2 {
			break // one of each edge, which have to stay apart
		}
		if err := m.mergeSome(runs[at : at+n : at+n]); err != nil {
			return err
		}
		runs = slices.Delete(runs, at+1, at+n)
	}
	if err := m.open(runs); err != nil {
		return err
	}
	m.plant()
	return nil
}

// fits reports whether the runs can be merged within the budget: all from
// memory, or not too many through buffers that are worth a read.
func (m *Merge) fits(runs []Run) bool {
	all := int64(len(runs)) * int64(unsafe.Sizeof(cursor{})+unsafe.Sizeof(player{}))
	for _, r := range runs {
		all += r.Length
	}
	return len(runs) <= m.fan() || all <= m.budget
}

func (m *Merge) fan() int { return int(min(m.budget/minRead, maxFan)) }

// shortest returns which runs to merge first: as many neighbours of one edge as
// are needed, or as there are, and of those the shortest.
func (m *Merge) shortest(runs []Run) (at, n int) {
	most := max(min(m.fan(), len(runs)-m.fan()+1), 2)
	var least int64
	for start := 0; start < len(runs); {
		end := start + 1
		for end < len(runs) && runs[end].Edge == runs[start].Edge {
			end++
		}
		if size := min(most, end-start); size >= n {
			i, sum := shortestOf(runs[start:end], size)
			if size > n || sum < least {
				at, n, least = start+i, size, sum
			}
		}
		start = end
	}
	return at, n
}

// shortestOf returns where n runs that follow each other are the shortest, and
// their length.
func shortestOf(runs []Run, n int) (at int, least int64) {
	var sum int64
	for _, r := range runs[:n] {
		sum += r.Length
	}
	least = sum
	for i := n; i < len(runs); i++ {
		sum += runs[i].Length - runs[i-n].Length
		if sum < least {
			at, least = i-n+1, sum
		}
	}
	return at, least
}

// mergeSome puts one run in the spill file in the place of the first of runs,
// with the records of all of them.
func (m *Merge) mergeSome(runs []Run) error {
	inner := Merge{budget: m.budget, buffers: m.buffers}
	edge, order := runs[0].Edge, runs[0].Order
	if err := inner.start(slices.Clone(runs)); err != nil {
		return err
	}
	run, err := m.scratch.add(&m.enc, &inner)
	if err != nil {
		return err
	}
	m.buffers = inner.buffers
	run.Edge, run.Order = edge, order
	runs[0] = run
	return nil
}

// open makes a cursor for every run and reads its first record.
func (m *Merge) open(runs []Run) error {
	sizes, total := m.allot(runs)
	if int64(cap(m.buffers)) < total {
		m.buffers = make([]byte, total)
	}
	free := m.buffers[:cap(m.buffers)]
	m.cursors = slices.Grow(m.cursors[:0], len(runs))[:len(runs)]
	for i, r := range runs {
		n := sizes[i]
		m.cursors[i].reset(r, free[:0:n])
		free = free[n:]
		if err := m.advance(i); err != nil {
			return err
		}
	}
	return nil
}

// allot divides the budget: short runs get what they need, the others equal parts.
func (m *Merge) allot(runs []Run) (sizes []int64, total int64) {
	share := m.budget / int64(max(len(runs), 1))
	rest, long := m.budget, int64(0)
	for _, r := range runs {
		if r.Length <= share {
			rest -= r.Length
		} else {
			long++
		}
	}
	share = max(min(rest/max(long, 1), maxRead), minRead)
	all := int64(0)
	for _, r := range runs {
		all += r.Length
	}
	if all <= m.budget {
		share = all
	}
	sizes = make([]int64, len(runs))
	for i, r := range runs {
		sizes[i] = min(r.Length, share)
		total += sizes[i]
	}
	return sizes, total
}

// plant plays all cursors against each other.
func (m *Merge) plant() {
	k := len(m.cursors)
	m.tree = slices.Grow(m.tree[:0], k)[:k]
	winners := make([]player, 2*k)
	for i := range k {
		winners[k+i] = player{m.cursors[i].prefix, i}
	}
	for n := k - 1; n >= 1; n-- {
		winner, loser := winners[2*n], winners[2*n+1]
		if m.before(loser, winner) {
			winner, loser = loser, winner
		}
		winners[n], m.tree[n] = winner, loser
	}
	if k > 0 {
		m.tree[0] = winners[1]
	}
}

// before reports whether a's record comes before b's.
func (m *Merge) before(a, b player) bool {
	if a.prefix != b.prefix {
		return a.prefix < b.prefix
	}
	if isLong(a.prefix) {
		c := bytes.Compare(m.cursors[a.cursor].key[prefixLen:], m.cursors[b.cursor].key[prefixLen:])
		if c != 0 {
			return c < 0
		}
	}
	return a.cursor < b.cursor
}

// Next returns the next record. Errors are [*RunError] where a run is to blame.
func (m *Merge) Next() (key, value []byte, err error) {
	c, err := m.next()
	if err != nil {
		return nil, nil, err
	}
	return c.key, c.value, nil
}

// Edge returns the edge of the record that was returned last.
func (m *Merge) Edge() int {
	if !m.begun || len(m.tree) == 0 {
		return 0
	}
	return m.cursors[m.tree[0].cursor].edge
}

func (m *Merge) nextRaw() ([]byte, error) {
	c, err := m.next()
	if err != nil {
		return nil, err
	}
	return c.raw, nil
}

func (m *Merge) next() (*cursor, error) {
	if m.err != nil {
		return nil, m.err
	}
	if m.begun {
		m.err = m.advance(m.tree[0].cursor)
		if m.err != nil {
			return nil, m.err
		}
		m.replay()
	}
	m.begun = true
	if len(m.tree) == 0 || m.tree[0].prefix == lastPrefix {
		m.err = io.EOF
		return nil, m.err
	}
	return &m.cursors[m.tree[0].cursor], nil
}

// replay plays the cursor that won, which has another record now, from its place up.
func (m *Merge) replay() {
	i := m.tree[0].cursor
	p := player{m.cursors[i].prefix, i}
	for n := (len(m.tree) + i) / 2; n >= 1; n /= 2 {
		if q := m.tree[n]; q.prefix < p.prefix || q.prefix == p.prefix && m.before(q, p) {
			m.tree[n], p = p, q
		}
	}
	m.tree[0] = p
}

func (m *Merge) advance(i int) error {
	c := &m.cursors[i]
	if c.next() {
		return nil
	}
	err := c.slow()
	if err == nil {
		return nil
	}
	if own, ok := c.r.(*scratch); ok {
		return fmt.Errorf("read spill file in %s: %w", own.dir, err)
	}
	return &RunError{c.edge, c.order, err}
}
