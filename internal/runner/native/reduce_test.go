package native_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/runner/native"
	"stint/internal/shuffle"
)

// pairs makes records of lines; one without TAB has no value.
func pairs(lines string) *records {
	r := &records{}
	for line := range strings.Lines(lines) {
		key, value := shuffle.ParseLine([]byte(strings.TrimSuffix(line, "\n")))
		r.pairs = append(r.pairs, [2][]byte{key, value})
	}
	return r
}

func TestReducersOnRecordsAndOnLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, n, in, records, lines string }{
		{"distinct", "", "a\t1\na\t2\nb\nb\t3\nc\t\n", "a\t1\nb\nc\t\n", "a\t1\nb\nc\t\n"},
		{"distinct", "", "", "", ""},
		{"count", "", "a\t1\na\t2\nb\nc\t\n", "a\t2\nb\t1\nc\t1\n", "count\t4\n"},
		{"count", "", "", "", "count\t0\n"},
		{"sums", "", "a\t1 2\na\t3\na\t-1 0 99999999999999999999\nb\t7\n", "a\t3 2 99999999999999999999\nb\t7\n", "a\t3 2 99999999999999999999\nb\t7\n"},
		{"top", "2", "a\t1\nb\t30\nc\t4\nd\t30\n", "b\t30\nd\t30\n", "b\t30\nd\t30\n"},
		{"top", "", "a\t-1.5\nb\t-1.25\nc\t0\n", "c\t0\nb\t-1.25\na\t-1.5\n", "c\t0\nb\t-1.25\na\t-1.5\n"},
		{"top", "1", "", "", ""},
	} {
		params := map[string]string{}
		if c.n != "" {
			params["n"] = c.n
		}
		var out bytes.Buffer
		if err := perform(t, c.name, params, pairs(c.in), &out); err != nil || out.String() != c.records {
			t.Errorf("%s of records %q: %q, %v", c.name, c.in, out.String(), err)
		}
		if got := mustPerform(t, c.name, params, c.in); got != c.lines {
			t.Errorf("%s of lines %q: %q", c.name, c.in, got)
		}
	}
	for name, in := range map[string]string{"sums": "a\t1 x\n", "top": "a\t12x\n"} {
		err := perform(t, name, nil, pairs(in), new(bytes.Buffer))
		if stint.CodeOf(err) != stint.Failed || !strings.Contains(err.Error(), `key "a"`) {
			t.Errorf("%s of %q: %v", name, in, err)
		}
	}
	if err := perform(t, "top", map[string]string{"n": "0"}, pairs(""), new(bytes.Buffer)); stint.CodeOf(err) != stint.Invalid {
		t.Error(err)
	}
}

func TestReducersLeaveOutWhatIsBad(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want, bad string }{
		{"sum", "a\t1\na\t2\nb\t1\nb\tx\nb\t3\nc\t4\nd\n", "a\t3\nc\t4\n", `b: 3 from record 3: sum: the value "x" of key "b"; d: 1 from record 7: sum: the value (none) of key "d"`},
		{"sums", "a\t1 2\nb\t1 x\nb\t1 1\nc\t3\n", "a\t1 2\nc\t3\n", `b: 2 from record 2: sums: the value "1 x" of key "b"`},
		{"top", "a\t1\nb\tx\nc\t2\n", "c\t2\na\t1\n", `b: 0 from record 2: top: the value "x" of key "b"`},
	} {
		var bad []string
		a := &stint.Attempt{Action: stint.Action{Native: c.name}, Bad: func(record []byte, why error) error {
			r, ok := errors.AsType[*stint.RecordError](why)
			if !ok {
				t.Fatal(why)
			}
			reason, _, _ := strings.Cut(r.Err.Error(), " is not ")
			bad = append(bad, fmt.Sprintf("%s: %d from record %d: %s", record, r.Count, r.Number+1, reason))
			return nil
		}}
		for _, in := range []io.Reader{pairs(c.in), strings.NewReader(c.in)} {
			bad = nil
			var out bytes.Buffer
			if err := native.New().Perform(t.Context(), a, in, &out); err != nil || out.String() != c.want {
				t.Errorf("%s: %q, %v", c.name, out.String(), err)
			}
			if got := strings.Join(bad, "; "); got != c.bad {
				t.Errorf("%s leaves out %s", c.name, got)
			}
		}
	}
}

func TestTheTopIsThatOfASort(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(9, 10))
	for range 100 {
		type row struct {
			key string
			n   int
		}
		var rows []row
		var in strings.Builder
		for i := range random.IntN(60) {
			r := row{fmt.Sprintf("k%d", i), random.IntN(30) - 10}
			rows = append(rows, r)
			fmt.Fprintf(&in, "%s\t%d\n", r.key, r.n)
		}
		slices.SortFunc(rows, func(a, b row) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.key, b.key)) })
		n := 1 + random.IntN(20)
		var want strings.Builder
		for _, r := range rows[:min(n, len(rows))] {
			fmt.Fprintf(&want, "%s\t%d\n", r.key, r.n)
		}
		got := mustPerform(t, "top", map[string]string{"n": fmt.Sprint(n)}, in.String())
		if d := gocmp.Diff(want.String(), got); d != "" {
			t.Fatal(d)
		}
	}
}

// combined performs a combiner on the values of one key.
func combined(t *testing.T, name string, values ...[]byte) []byte {
	t.Helper()
	r := &records{}
	for _, v := range values {
		r.pairs = append(r.pairs, [2][]byte{[]byte("k"), v})
	}
	groups := shuffle.NewGroups(r)
	key, err := groups.Next()
	if err != nil {
		t.Fatal(err)
	}
	out, err := native.Combiners()[name]()(nil, key, groups)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCombiningPartsIsCombiningAll(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(11, 12))
	for range 200 {
		var numbers, any [][]byte
		for range 2 + random.IntN(8) {
			n := new(big.Int).Lsh(big.NewInt(random.Int64()-random.Int64()), uint(random.IntN(70)))
			numbers = append(numbers, fmt.Appendf(nil, "%d %d", random.IntN(100), n))
			any = append(any, [][]byte{nil, {}, []byte("x"), []byte("y")}[random.IntN(4)])
		}
		for name, values := range map[string][][]byte{"sums": numbers, "distinct": any} {
			at := 1 + random.IntN(len(values)-1)
			whole := combined(t, name, values...)
			parts := combined(t, name, combined(t, name, values[:at]...), combined(t, name, values[at:]...))
			if !bytes.Equal(whole, parts) || (whole == nil) != (parts == nil) {
				t.Fatalf("%s of %q: %q, in parts %q", name, values, whole, parts)
			}
		}
		if got := combined(t, "distinct", any...); !bytes.Equal(got, any[0]) || (got == nil) != (any[0] == nil) {
			t.Fatalf("first of %q: %q", any, got)
		}
	}
}
