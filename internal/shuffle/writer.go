package shuffle

import (
	"encoding/binary"
	"errors"
	"io"
	"sort"

	"stint"
)

// Combiner makes one value of all values of a key: it appends that value to dst
// and returns it. It reads the values with [Groups.Value] up to io.EOF and must
// be exact, associative and independent of order, and give back a value that it
// made: it is called once for all values of a key, or for parts of them and then
// for what it made of the parts, as memory allows, and the result must be the
// same. It is called for single values too. Not called concurrently.
type Combiner func(dst, key []byte, values *Groups) ([]byte, error)

// Config says what a [Writer] does.
type Config struct {
	Partitions uint32      // 1 … MaxPartitions
	Budget     int64       // bytes of memory for records and their index; at least 1 MiB is used
	Dir        string      // where spill files are made; they have no name there
	Partition  Partitioner // nil: HashPartition
	Combine    Combiner    // nil: records stay as they are
}

// Output is where the partitions of a [Writer] go, as a block.
type Output interface {
	// Partition begins partition p, which is higher than the one before. What is
	// written to the result until the next call is that partition's.
	Partition(p uint32) (io.Writer, error)
	// AddRecords says that n more records were written to the partition.
	AddRecords(n int64)
}

// Writer sorts the records of one operation by (partition, key, order of
// emission) in bounded memory. It is a [Sink]. Not for concurrent use.
type Writer struct {
	cfg     Config
	arena   arena
	entries []entry
	sorter  sorter
	spills  []spill
	scratch scratch
	enc     encoder
	merge   Merge // of one partition of the spills, after another
	records int64
}

// spill is the records that filled the memory once: the partitions that had
// any, in order, each a sorted run.
type spill []partitionRun

type partitionRun struct {
	partition uint32
	run       Run
}

const (
	minBudget    = 1 << 20
	minEntries   = 1 << 10
	bytesOfEntry = 2 * 16 // and its place in the sorter's spare list
)

// NewWriter returns a writer; nothing is allocated before the first record. The
// error has code Invalid for a number of partitions out of range.
func NewWriter(cfg Config) (*Writer, error) {
	if cfg.Partitions < 1 || cfg.Partitions > MaxPartitions {
		return nil, stint.Errorf(stint.Invalid, "%d partitions: 1 to %d", cfg.Partitions, MaxPartitions)
	}
	if cfg.Partition == nil {
		cfg.Partition = HashPartition
	}
	cfg.Budget = max(cfg.Budget, minBudget)
	w := &Writer{cfg: cfg, scratch: scratch{dir: cfg.Dir}}
	w.sorter.arena = &w.arena
	w.merge.budget = cfg.Budget
	w.merge.scratch.dir = cfg.Dir
	return w, nil
}

// Emit takes a record. Errors have code Failed for a key over [MaxKey] or a
// value over [MaxValue]; others are those of spill files.
func (w *Writer) Emit(key, value []byte) error {
	if len(key) > MaxKey || len(value) > MaxValue {
		return tooLong(w.records, key, value)
	}
	p := w.cfg.Partition(key, w.cfg.Partitions)
	if p >= w.cfg.Partitions {
		return stint.Errorf(stint.Internal, "partition %d of key %.40q: at most %d", p, key, w.cfg.Partitions-1)
	}
	if err := w.makeRoom(len(key) + len(value)); err != nil {
		return err
	}
	w.entries = append(w.entries, entry{prefix: prefixOf(key), ref: w.arena.add(p, key, value)})
	w.records++
	return nil
}

// Records returns the number of records emitted since the last Reset.
func (w *Writer) Records() int64 { return w.records }

// makeRoom spills if a record of n bytes would take the memory over the budget.
func (w *Writer) makeRoom(n int) error {
	more := w.arena.grows(n + 2*binary.MaxVarintLen32)
	full := len(w.entries) == cap(w.entries)
	if more == 0 && !full {
		return nil
	}
	entries := cap(w.entries)
	if full {
		entries = w.growTo()
	}
	if len(w.entries) > 0 && w.arena.held+more+int64(entries)*bytesOfEntry > w.cfg.Budget {
		return w.spill()
	}
	if full {
		w.entries = append(make([]entry, 0, entries), w.entries...)
	}
	return nil
}

// growTo returns the next capacity of the entries: twice as many, or as many as
// the budget has room for if the records go on being of the same size.
func (w *Writer) growTo() int {
	n := len(w.entries)
	if n < minEntries {
		return minEntries
	}
	fit := w.cfg.Budget / (w.arena.held/int64(n) + bytesOfEntry)
	return max(n+n/8, min(2*n, int(fit)))
}

// Finish writes the records to out: partitions in order, those without records
// left out, each one's records sorted, combined and encoded. After it only Reset
// and Close may be called.
func (w *Writer) Finish(out Output) error {
	return w.Visit(func(partition uint32, records Source) error {
		to, err := out.Partition(partition)
		if err != nil {
			return err
		}
		n, err := w.enc.writeFrom(records, to)
		if err != nil {
			return err
		}
		out.AddRecords(n)
		return nil
	})
}

// Visit calls each with the sorted and combined records of every partition that
// has any, in order, instead of Finish. The source is valid during the call;
// what it leaves unread is passed over.
func (w *Writer) Visit(each func(partition uint32, records Source) error) error {
	if len(w.spills) == 0 {
		return w.visitMemory(each)
	}
	if err := w.spill(); err != nil {
		return err
	}
	w.arena, w.entries, w.sorter.spare = arena{}, nil, nil // the budget is for the merge now
	return w.visitSpills(each)
}

func (w *Writer) visitMemory(each func(uint32, Source) error) error {
	list := w.entries
	if cap(w.sorter.spare) < len(list) {
		w.sorter.spare = make([]entry, cap(list))
	}
	w.sorter.spare = w.sorter.spare[:cap(w.sorter.spare)]
	if w.cfg.Partitions > 1 {
		w.sorter.byPartition(list, w.cfg.Partitions)
	}
	for len(list) > 0 {
		p := partitionOf(list[0].ref)
		n := partitionEnd(list, p)
		w.sorter.sort(list[:n], 0)
		if err := each(p, w.combined(&memoryRun{arena: &w.arena, list: list[:n]})); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

func partitionEnd(list []entry, p uint32) int {
	return sort.Search(len(list), func(i int) bool { return partitionOf(list[i].ref) > p })
}

// spill writes what is in memory to the spill file, sorted and combined.
func (w *Writer) spill() error {
	var s spill
	err := w.visitMemory(func(p uint32, records Source) error {
		run, err := w.scratch.add(&w.enc, records)
		run.Order = uint32(len(w.spills))
		s = append(s, partitionRun{p, run})
		return err
	})
	w.spills = append(w.spills, s)
	w.entries = w.entries[:0]
	w.arena.clear()
	return err
}

func (w *Writer) visitSpills(each func(uint32, Source) error) error {
	at := make([]int, len(w.spills)) // in each spill, the first run that was not visited
	for {
		p, runs := w.nextPartition(at)
		if len(runs) == 0 {
			return nil
		}
		err := w.merge.start(runs)
		if err == nil {
			err = each(p, w.combined(&w.merge))
		}
		if err != nil {
			return err
		}
	}
}

// nextPartition returns the lowest partition not visited, and its runs.
func (w *Writer) nextPartition(at []int) (lowest uint32, runs []Run) {
	for i, s := range w.spills {
		if at[i] < len(s) && (len(runs) == 0 || s[at[i]].partition < lowest) {
			lowest, runs = s[at[i]].partition, []Run{{}}
		}
	}
	runs = runs[:0]
	for i, s := range w.spills {
		if at[i] < len(s) && s[at[i]].partition == lowest {
			runs = append(runs, s[at[i]].run)
			at[i]++
		}
	}
	return lowest, runs
}

// Reset makes the writer ready for the records of another operation, keeping
// its memory. It may be called at any time and drops what was emitted.
func (w *Writer) Reset() error {
	w.entries, w.spills, w.records = w.entries[:0], nil, 0
	w.arena.clear()
	return errors.Join(w.scratch.close(), w.merge.Close())
}

// Close frees memory and spill files. It may be called twice.
func (w *Writer) Close() error {
	err := w.Reset()
	w.arena, w.entries, w.sorter.spare = arena{}, nil, nil
	return err
}

// memoryRun is the sorted records of one partition in memory.
type memoryRun struct {
	arena *arena
	list  []entry
}

// Next implements Source.
func (m *memoryRun) Next() (key, value []byte, err error) {
	record, err := m.nextRaw()
	if err != nil {
		return nil, nil, err
	}
	h, _ := readHeader(record) // written by the arena
	key, value = h.slice(record)
	return key, value, nil
}

func (m *memoryRun) nextRaw() ([]byte, error) {
	if len(m.list) == 0 {
		return nil, io.EOF
	}
	b := m.arena.at(m.list[0].ref)
	m.list = m.list[1:]
	h, _ := readHeader(b) // written by the arena
	return b[:h.size()], nil
}

// combined returns the source with the values of each key made one, if the
// writer does that.
func (w *Writer) combined(src Source) Source {
	if w.cfg.Combine == nil {
		return src
	}
	return &combinedSource{groups: NewGroups(src), combine: w.cfg.Combine, value: make([]byte, 0, 32)}
}

type combinedSource struct {
	groups  *Groups
	combine Combiner
	value   []byte
}

// Next implements Source.
func (c *combinedSource) Next() (key, value []byte, err error) {
	key, err = c.groups.Next()
	if err != nil {
		return nil, nil, err
	}
	c.value, err = c.combine(c.value[:0], key, c.groups)
	if err != nil {
		return nil, nil, err
	}
	if len(c.value) > MaxValue {
		return nil, nil, tooLong(0, key, c.value)
	}
	return key, c.value, nil
}
