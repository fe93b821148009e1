package block

import (
	"bytes"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/zeebo/xxh3"
	"pgregory.net/rapid"

	"stint"
)

// machine is a store beside a model of it: a list of what was written, and which
// of it was condemned.
type machine struct {
	dir     string
	store   *Store
	writers []*Writer
	files   []*os.File
	written []version // in the order of the logs
	current map[uint32]int
}

// version is one block of an operation: its content by partition.
type version struct {
	op        uint32
	index     Index
	parts     map[uint32][]byte
	condemned bool
}

func newMachine(t *rapid.T) *machine {
	dir, err := os.MkdirTemp("", "blocks")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{dir: dir, current: make(map[uint32]int)}
	m.open(t)
	return m
}

func (m *machine) open(t *rapid.T) {
	var err error
	if m.store, err = Open(m.dir); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) end(t *rapid.T) {
	m.close(t)
	if err := os.RemoveAll(m.dir); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) close(t *rapid.T) {
	for _, f := range m.files {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	m.writers, m.files = nil, nil
	if err := m.store.Close(); err != nil {
		t.Fatal(err)
	}
}

// begin begins a segment.
func (m *machine) begin(t *rapid.T) {
	if len(m.writers) == 3 {
		t.Skip("enough are open")
	}
	id, data, log, err := m.store.CreateSegment(exec1)
	if err != nil {
		t.Fatal(err)
	}
	m.writers, m.files = append(m.writers, NewWriter(data, id, 0)), append(m.files, data, log)
}

// write writes a block, or gives it up half way.
func (m *machine) write(t *rapid.T) {
	if len(m.writers) == 0 {
		t.Skip("no segment is open")
	}
	w := m.writers[rapid.IntRange(0, len(m.writers)-1).Draw(t, "writer")]
	v := version{op: rapid.Uint32Range(0, 5).Draw(t, "op"), parts: make(map[uint32][]byte)}
	for _, p := range rapid.SliceOfNDistinct(rapid.Uint32Range(0, 4), 0, 3, rapid.ID).Draw(t, "partitions") {
		v.parts[p] = rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "content")
	}
	if err := w.Begin(); err != nil {
		t.Fatal(err)
	}
	for p := range uint32(5) {
		b, there := v.parts[p]
		if !there {
			continue
		}
		out, err := w.Partition(p)
		if err == nil {
			_, err = out.Write(b)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.AddRecords(int64(p))
	}
	if rapid.IntRange(0, 4).Draw(t, "fate") == 0 {
		if err := w.Discard(); err != nil {
			t.Fatal(err)
		}
		return
	}
	var err error
	if v.index, err = w.Commit(); err == nil {
		err = m.store.Add(exec1, 0, v.op, v.index)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.current[v.op] = len(m.written)
	m.written = append(m.written, v)
}

// condemn condemns what the store has of an operation.
func (m *machine) condemn(t *rapid.T) {
	op := rapid.Uint32Range(0, 5).Draw(t, "op")
	if err := m.store.Condemn(exec1, []stint.StageOps{{Ops: []stint.Range{{From: op, To: op + 1}}}}); err != nil && len(m.written) > 0 {
		t.Fatal(err)
	}
	if i, there := m.current[op]; there {
		m.written[i].condemned = m.written[i].index.Length > 0 // nothing cannot be damaged
		delete(m.current, op)
	}
}

// restart opens the store anew and enters what the logs say, as an agent does.
func (m *machine) restart(t *rapid.T) {
	m.close(t)
	m.open(t)
	clear(m.current)
	if len(m.written) == 0 {
		return
	}
	for range 2 {
		for i := range m.written {
			v := &m.written[i]
			if err := m.store.Add(exec1, 0, v.op, v.index); err != nil {
				t.Fatal(err)
			}
			if !v.condemned {
				m.current[v.op] = i
			}
		}
		if _, err := m.store.RemoveCondemned(exec1); err != nil {
			t.Fatal(err)
		}
	}
}

// check compares the store with the model.
func (m *machine) check(t *rapid.T) {
	var want []stint.Range
	for op := range uint32(6) {
		i, there := m.current[op]
		for p := range uint32(5) {
			r, records, sum, err := m.store.Open(exec1, 0, op, p)
			if !there {
				if stint.CodeOf(err) != stint.NotFound {
					t.Fatalf("operation %d: %v", op, err)
				}
				continue
			}
			content := m.written[i].parts[p]
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, content) || sum != xxh3.Hash(content) || len(content) > 0 && records != int64(p) {
				t.Fatalf("operation %d, partition %d: %x, %d records, %v; written %x", op, p, got, records, err, content)
			}
		}
		if there {
			want = stint.AddToRanges(want, op)
		}
	}
	same := func(a, b stint.Range) bool { return a.From == b.From && a.To == b.To }
	if got := m.store.Completed(exec1, 0); !slices.EqualFunc(got, want, same) {
		t.Fatalf("completed are %v, want %v", got, want)
	}
	bad, err := m.store.Verify(t.Context(), exec1, true)
	if len(bad) > 0 || err != nil {
		t.Fatalf("bad are %v, %v", bad, err)
	}
}

func TestAStoreIsWhatWasWrittenAndNotCondemned(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		defer m.end(t)
		t.Repeat(map[string]func(*rapid.T){"begin": m.begin, "write": m.write, "condemn": m.condemn, "restart": m.restart, "": m.check})
	})
}
