package program_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint/program"
)

// golden is the program whose frames are kept in internal/frame/testdata.
func golden() program.Stages {
	emitted := 0
	return program.Stages{"count": {Map: program.Map(func(ctx *program.Context, line []byte, emit func([]byte, []byte)) error {
		if ctx.Record() == 0 {
			emitted = 0
			ctx.Status("at work \u00fc")
		}
		if string(line) == "bad" {
			emit(line, nil)
			return errors.New("ValueError: it is bad")
		}
		ctx.Count("g", "lines", -1)
		for word := range bytes.FieldsSeq(line) {
			emit(word, []byte{byte('0' + emitted)})
			emitted++
		}
		if ctx.Record() == 3 {
			emit([]byte("end"), nil)
		}
		return nil
	})}}
}

// summing is that of the frames whose output is gathered.
func summing() program.Stages {
	return program.Stages{"sum": {
		Map: program.Map(func(_ *program.Context, line string, emit func(string, int)) error {
			for word := range strings.FieldsSeq(line) {
				if word == "bad" {
					return errors.New("ValueError: it is bad")
				}
				emit(word, 1)
			}
			return nil
		}),
		Combine: program.Combine(func(_ *program.Context, _ string, values iter.Seq[int]) (n int, err error) {
			for v := range values {
				n += v
			}
			return n, nil
		}),
	}}
}

func TestAProgramSaysTheGoldenBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stages program.Stages
		files  string
	}{{golden(), ""}, {summing(), "gather-"}} {
		in, err := os.ReadFile("../internal/frame/testdata/" + c.files + "worker.frames")
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile("../internal/frame/testdata/" + c.files + "program.frames")
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := program.Serve(t.Context(), c.stages, bytes.NewReader(slices.Concat(in, in)), &out); err != nil {
			t.Fatal(err)
		}
		if got := out.Bytes(); !bytes.Equal(got, slices.Concat(want, want)) {
			t.Errorf("%q, want %q twice", got, want)
		}
	}
}

func TestASplitInputGivesTheSameForAllPartitions(t *testing.T) {
	t.Parallel()
	lines := []string{"the cat", "and the dog", "\xff\xfe and", "", "the\tcat the"}
	want := []string{"and\t2", "cat\t2", "dog\t1", "the\t4", "\xff\xfe\t1"}
	for subsets := 1; subsets <= 7; subsets++ {
		for partitions := 1; partitions <= 4; partitions++ {
			r, err := program.Test{Stages: wordcount(), Order: []string{"count", "total"}, Subsets: subsets, Partitions: partitions}.Run(lines...)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(r.Lines)
			if d := cmp.Diff(want, r.Lines); d != "" {
				t.Errorf("%d subsets, %d partitions:\n%s", subsets, partitions, d)
			}
		}
	}
}

type point struct {
	X, Y float64
}

type name string

// each maps records of a type to themselves.
func each[T any]() program.Stages {
	return program.Stages{"only": {Map: program.Map(func(_ *program.Context, v T, emit func(T, program.None)) error {
		emit(v, program.None{})
		return nil
	})}}
}

func TestValuesOfATypeGoInAndOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stages    program.Stages
		in, out   string
		badReason string
	}{
		{each[string](), "a\xff", "a\xff", ""},
		{each[[]byte](), "a\xff", "a\xff", ""},
		{each[name](), "a\xff", "a\xff", ""},
		{each[int64](), "-9223372036854775808", "-9223372036854775808", ""},
		{each[int64](), "007", "7", ""},
		{each[int64](), "9223372036854775808", "", "out of range"},
		{each[int64](), "", "", "invalid syntax"},
		{each[int](), "x1", "", "invalid syntax"},
		{each[int8](), "128", "", "128 does not fit into int8"},
		{each[int8](), "-128", "-128", ""},
		{each[float64](), "1e3", "1000", ""},
		{each[float64](), "0.1", "0.1", ""},
		{each[float64](), "", "", "invalid syntax"},
		{each[point](), `{"X":1,"Y":0.5}`, `{"X":1,"Y":0.5}`, ""},
		{each[[]int](), `[1, 2]`, `[1,2]`, ""},
		{each[point](), `{"X":`, "", "JSON \"{\\\"X\\\":\": unexpected end"},
	} {
		r, err := program.Test{Stages: c.stages}.Run(c.in)
		switch {
		case err != nil:
			t.Errorf("%q: %v", c.in, err)
		case c.badReason != "":
			if len(r.Bad) != 1 || !strings.Contains(r.Bad[0].Reason, c.badReason) || r.Bad[0].Record != c.in || len(r.Lines) != 0 {
				t.Errorf("%q: %+v, %q", c.in, r.Bad, r.Lines)
			}
		case len(r.Bad) != 0 || !slices.Equal(r.Lines, []string{c.out}):
			t.Errorf("%q: %q %+v, want %q", c.in, r.Lines, r.Bad, c.out)
		}
	}
}

func TestBadGroupsAreLeftOutWhole(t *testing.T) {
	t.Parallel()
	stages := program.Stages{
		"a": {Map: program.Map(words)},
		"b": {Reduce: program.Reduce(func(ctx *program.Context, key string, values iter.Seq[int64], emit func(string, int64)) error {
			emit("first of "+key, ctx.Record())
			switch key {
			case "bad":
				return errors.New("no such word")
			case "panic":
				for range values {
					panic("here")
				}
			}
			return nil
		})},
	}
	r, err := program.Test{Stages: stages, Order: []string{"a", "b"}}.Run("bad panic a", "bad x bad panic")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"first of a\t0", "first of x\t6"}, r.Lines); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]program.BadRecord{{"b", 1, "bad", "no such word"}, {"b", 4, "panic", "panic: here"}}, r.Bad); d != "" {
		t.Error(d)
	}
}

func TestAnOperationFails(t *testing.T) {
	t.Parallel()
	failing := func(f func(emit func(string, string)) error) program.Stages {
		return program.Stages{"only": {Map: program.Map(func(_ *program.Context, _ string, emit func(string, string)) error { return f(emit) })}}
	}
	for _, c := range []struct {
		stages program.Stages
		order  []string
		want   string
	}{
		{failing(func(func(string, string)) error { return program.Fatal(errors.New("no table")) }), nil, "stage only: no table"},
		{failing(func(func(string, string)) error { return program.ErrStopped }), nil, "stage only: stopped"},
		{failing(func(emit func(string, string)) error {
			emit("", strings.Repeat("x", 300<<10))
			return errors.New("too late")
		}), nil, "record 1: too late (it cannot be left out: it has emitted more than 256 KiB)"},
		{program.Stages{"a": {}}, nil, `stage "a": the program has no function to reduce`},
		{wordcount(), []string{"sum"}, `stage "sum": the program has the stages count, total`},
		{wordcount(), nil, "the order of its stages is not given"},
	} {
		_, err := program.Test{Stages: c.stages, Order: c.order}.Run("a line")
		if !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestBadRecordsAreLeftOutWhereverAFrameEnds has records that were emitted in part
// when the frame of those before was full.
func TestBadRecordsAreLeftOutWhereverAFrameEnds(t *testing.T) {
	t.Parallel()
	stages := program.Stages{"only": {Map: program.Map(func(_ *program.Context, n int, emit func(string, string)) error {
		emit("k", strings.Repeat("x", 1000))
		emit("k", strings.Repeat("y", 1000))
		if n%2 == 1 {
			return errors.New("odd")
		}
		return nil
	})}}
	for size := 1000; size < 1003; size++ {
		lines := make([]string, size)
		for i := range lines {
			lines[i] = strconv.Itoa(i)
		}
		r, err := program.Test{Stages: stages}.Run(lines...)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Bad) != size/2 || len(r.Lines) != 2*(size-size/2) {
			t.Errorf("%d records: %d bad, %d lines", size, len(r.Bad), len(r.Lines))
		}
	}
}

func TestNoErrorIsNotFatal(t *testing.T) {
	t.Parallel()
	r, err := program.Test{Stages: program.Stages{"only": {Map: program.Map(func(_ *program.Context, line string, emit func(string, program.None)) error {
		emit(line, program.None{})
		return program.Fatal(nil)
	})}}}.Run("a line")
	if err != nil || !slices.Equal(r.Lines, []string{"a line"}) || len(r.Bad) != 0 {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestAKeyThatIsTooLongIsBad(t *testing.T) {
	t.Parallel()
	r, err := program.Test{Stages: program.Stages{"only": {Map: program.Map(func(_ *program.Context, _ string, emit func(string, string)) error {
		emit(strings.Repeat("x", 16<<20+1), "")
		return nil
	})}}}.Run("a line")
	if err != nil || len(r.Bad) != 1 || !strings.HasPrefix(r.Bad[0].Reason, "key_too_long: record 1:") {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestAProgramEndsAConversationThatIsNone(t *testing.T) {
	t.Parallel()
	in, err := os.ReadFile("../internal/frame/testdata/worker.frames")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ in, want string }{
		{"Great", "expected version 1, got 71"},
		{string(in[:len(in)-1]), "truncated_frame"},
		{string(in[:len(in)-20]), "truncated_stream: no end frame"},
		{string(in[len(in)-20:]), "type 3; expected 1"},
	} {
		if err := program.Serve(context.WithoutCancel(t.Context()), golden(), strings.NewReader(c.in), &bytes.Buffer{}); !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
