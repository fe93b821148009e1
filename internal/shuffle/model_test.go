package shuffle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rec is a record of the model: text to read in a diff, "-" for an absent value.
type rec struct {
	Partition  uint32
	Key, Value string
}

func val(v []byte) string {
	if v == nil {
		return "-"
	}
	return "=" + string(v)
}

// model sorts as the package's documentation says, the simplest way there is.
func model(list []rec) []rec {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b rec) int {
		if a.Partition != b.Partition {
			return int(a.Partition) - int(b.Partition)
		}
		return strings.Compare(a.Key, b.Key)
	})
	return list
}

func sumModel(list []rec) []rec {
	var out []rec
	for _, r := range model(list) {
		n := len(out)
		if n == 0 || out[n-1].Key != r.Key || out[n-1].Partition != r.Partition {
			out = append(out, rec{r.Partition, r.Key, "=0"})
			n++
		}
		a, _ := strconv.Atoi(out[n-1].Value[1:])
		b, _ := strconv.Atoi(r.Value[1:])
		out[n-1].Value = "=" + strconv.Itoa(a+b)
	}
	return out
}

func sum(dst, _ []byte, values *Groups) ([]byte, error) {
	total := 0
	for {
		v, err := values.Value()
		if errors.Is(err, io.EOF) {
			return strconv.AppendInt(dst, int64(total), 10), nil
		}
		if err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(string(v))
		if err != nil {
			return nil, err
		}
		total += n
	}
}

// memoryOutput keeps what a writer writes.
type memoryOutput struct {
	parts []uint32
	bytes map[uint32]*bytes.Buffer
	count map[uint32]int64
}

func newOutput() *memoryOutput {
	return &memoryOutput{bytes: map[uint32]*bytes.Buffer{}, count: map[uint32]int64{}}
}

func (o *memoryOutput) Partition(p uint32) (io.Writer, error) {
	o.parts = append(o.parts, p)
	o.bytes[p] = &bytes.Buffer{}
	return o.bytes[p], nil
}

func (o *memoryOutput) AddRecords(n int64) { o.count[o.parts[len(o.parts)-1]] += n }

func (o *memoryOutput) records(tb testing.TB) []rec {
	tb.Helper()
	var out []rec
	for i, p := range o.parts {
		if i > 0 && o.parts[i-1] >= p {
			tb.Fatalf("partition %d after %d", p, o.parts[i-1])
		}
		list := decodeAll(tb, p, o.bytes[p].Bytes())
		if int64(len(list)) != o.count[p] || len(list) == 0 {
			tb.Fatalf("partition %d has %d records, %d were told", p, len(list), o.count[p])
		}
		out = append(out, list...)
	}
	return out
}

func decodeAll(tb testing.TB, p uint32, b []byte) []rec {
	tb.Helper()
	var out []rec
	for len(b) > 0 {
		k, v, n, err := ReadRecord(b)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, rec{p, string(k), val(v)})
		b = b[n:]
	}
	return out
}

func drain(src Source) ([]rec, error) {
	var out []rec
	for {
		k, v, err := src.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, rec{0, string(k), val(v)})
	}
}

// keySets are kinds of keys that take different ways through the sort.
func keySets() map[string]func(r *rand.Rand) []byte {
	return map[string]func(r *rand.Rand) []byte{
		"words":  func(r *rand.Rand) []byte { return []byte(strconv.Itoa(int(r.ExpFloat64() * 300))) },
		"equal":  func(*rand.Rand) []byte { return []byte("the same key every time") },
		"empty":  func(r *rand.Rand) []byte { return bytes.Repeat([]byte{0}, r.IntN(20)) },
		"random": func(r *rand.Rand) []byte { return randomBytes(r, 10) },
		"urls": func(r *rand.Rand) []byte {
			return fmt.Appendf(nil, "https://example.org/a/long/path/%d/%d", r.IntN(9), r.IntN(3000))
		},
		"prefixes": func(r *rand.Rand) []byte { return bytes.Repeat([]byte("a"), r.IntN(60)) },
		"bytes":    func(r *rand.Rand) []byte { return randomBytes(r, r.IntN(4)) },
	}
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// diff is cmp.Diff of long lists around the first difference.
func diff(want, got []rec) string {
	if slices.Equal(want, got) {
		return ""
	}
	i := 0
	for i < min(len(want), len(got)) && want[i] == got[i] {
		i++
	}
	return fmt.Sprintf("%d records, want %d; at %d:\n%s", len(got), len(want), i,
		cmp.Diff(want[i:min(i+5, len(want))], got[i:min(i+5, len(got))]))
}
