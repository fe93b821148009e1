package native_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/runner/native"
)

// edges is a join's input: records by key, those of edge 0 first.
type edges struct {
	io.Reader
	records []edgeRecord
	last    int
}

type edgeRecord struct {
	key, value []byte
	edge       int
}

func (e *edges) Next() (key, value []byte, err error) {
	if len(e.records) == 0 {
		return nil, nil, io.EOF
	}
	r := e.records[0]
	e.records, e.last = e.records[1:], r.edge
	return r.key, r.value, nil
}

func (e *edges) Edge() int { return e.last }

// joined performs the stages of join.
func joined(t *testing.T, params map[string]string, left, right string) string {
	t.Helper()
	in := &edges{}
	for edge, text := range []string{left, right} {
		var side records
		if err := perform(t, []string{"join-left", "join-right"}[edge], params, strings.NewReader(text), &side); err != nil {
			t.Fatal(err)
		}
		for _, p := range side.pairs {
			in.records = append(in.records, edgeRecord{p[0], p[1], edge})
		}
	}
	slices.SortStableFunc(in.records, func(a, b edgeRecord) int { return bytes.Compare(a.key, b.key) })
	var out bytes.Buffer
	if err := perform(t, "join", params, in, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// naiveJoin joins by comparing every line with every other, and sorts.
func naiveJoin(kind string, left, right []string) []string {
	var out []string
	matched := make(map[int]bool)
	for _, l := range left {
		key, rest, _ := strings.Cut(l, ",")
		partners := 0
		for i, r := range right {
			other, more, _ := strings.Cut(r, ",")
			if key != other {
				continue
			}
			partners++
			matched[i] = true
			if kind != "semi" && kind != "anti" {
				out = append(out, key+","+rest+","+more)
			}
		}
		switch {
		case partners > 0 == (kind == "semi") && (kind == "semi" || kind == "anti"):
			out = append(out, key+","+rest)
		case partners == 0 && (kind == "left" || kind == "outer"):
			out = append(out, key+","+rest+",NONE")
		}
	}
	for i, r := range right {
		if key, more, _ := strings.Cut(r, ","); !matched[i] && (kind == "right" || kind == "outer") {
			out = append(out, key+",NONE,"+more)
		}
	}
	slices.Sort(out)
	return out
}

func TestJoinsAreThoseOfANaiveProgram(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(17, 18))
	for range 60 {
		var sides [2][]string
		for side := range sides {
			for i := range random.IntN(30) {
				sides[side] = append(sides[side], fmt.Sprintf("k%d,%c%d,x", random.IntN(12), "lr"[side], i))
			}
		}
		for _, kind := range []string{"inner", "left", "right", "outer", "semi", "anti"} {
			params := map[string]string{"kind": kind, "separator": ",", "empty": "NONE"}
			got := strings.Fields(joined(t, params, strings.Join(sides[0], "\n"), strings.Join(sides[1], "\n")))
			slices.Sort(got)
			if d := cmp.Diff(naiveJoin(kind, sides[0], sides[1]), got); d != "" && len(got)+len(naiveJoin(kind, sides[0], sides[1])) > 0 {
				t.Fatalf("%s of %q and %q: %s", kind, sides[0], sides[1], d)
			}
		}
	}
}

func TestFieldsOfAJoin(t *testing.T) {
	t.Parallel()
	got := joined(t, map[string]string{"left_key": "2", "right_key": "3", "kind": "outer"}, "a\tk\tb\nc\tk\n", "x\ty\tk\nx\ty\tz\t\n")
	if want := "k\ta\tb\tx\ty\nk\tc\tx\ty\nz\t\tx\ty\t\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := joined(t, map[string]string{"separator": " "}, "k\n", "k\n"); got != "k\n" {
		t.Errorf("keys without other fields: %q", got)
	}
}

func TestALineWithoutItsKeyIsABadRecord(t *testing.T) {
	t.Parallel()
	var bad []string
	a := &stint.Attempt{
		Action: stint.Action{Native: "join-right"}, Params: map[string]string{"right_key": "2"},
		Bad: func(record []byte, _ error) error { bad = append(bad, string(record)); return nil },
	}
	var out records
	if err := native.New().Perform(t.Context(), a, strings.NewReader("a\tb\nc\n\td\n"), &out); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(bad, []string{"c"}) || len(out.pairs) != 2 {
		t.Errorf("bad %q, good %q", bad, out.pairs)
	}
}

func TestAKeyWithManyLeftRecordsIsJoinedFromAFile(t *testing.T) {
	t.Parallel()
	in := &edges{}
	long := bytes.Repeat([]byte("x"), 1<<20)
	const rows = 70
	for range 2 {
		for i := range rows {
			value := append(fmt.Appendf(nil, "%d", i), long...)
			in.records = append(in.records, edgeRecord{[]byte("a"), value, 0})
		}
	}
	in.records = append(in.records, edgeRecord{[]byte("a"), nil, 1}, edgeRecord{[]byte("a"), []byte("r"), 1})
	in.records = append(in.records, edgeRecord{[]byte("b"), []byte("l"), 0}, edgeRecord{[]byte("b"), []byte("r"), 1})
	a := &stint.Attempt{Action: stint.Action{Native: "join"}, Scratch: t.TempDir()}
	var out bytes.Buffer
	if err := native.New().Perform(t.Context(), a, in, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 4*rows+2 || lines[4*rows] != "b\tl\tr" {
		t.Fatalf("%d lines, the last %.100q", len(lines), lines[len(lines)-2])
	}
	for i, line := range lines[:4*rows] {
		want := fmt.Sprintf("a\t%d%s%s", i%rows, long, []string{"", "\tr"}[i/(2*rows)])
		if line != want {
			t.Fatalf("line %d: %.50q…", i, line)
		}
	}
	if left, err := os.ReadDir(a.Scratch); err != nil || len(left) != 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}

func TestJoinRefusesWhatItCannotTake(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"kind": "cross", "left_key": "0", "right_key": "-1", "separator": ""} {
		if _, err := native.Program("join", map[string]string{name: value}); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%s=%q: %v", name, value, err)
		}
	}
	if err := perform(t, "join", nil, strings.NewReader("a\n"), io.Discard); stint.CodeOf(err) != stint.Invalid {
		t.Error(err)
	}
}
