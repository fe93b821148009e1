package program_test

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint/program"
)

// joining puts the values of a key together as text, so that their order is seen.
func joining() program.Stages {
	join := func(values iter.Seq[string]) string { return strings.Join(slices.Collect(values), "") }
	return program.Stages{
		"a": {
			Map: program.Map(func(ctx *program.Context, line string, emit func(string, string)) error {
				for i, word := range strings.Fields(line) {
					emit(word, fmt.Sprintf("%d.%d ", ctx.Record(), i))
				}
				if strings.HasSuffix(line, "7") {
					return errors.New("it ends with 7")
				}
				return nil
			}),
			Combine: program.Combine(func(_ *program.Context, _ string, values iter.Seq[string]) (string, error) {
				return join(values), nil
			}),
		},
		"b": {Reduce: program.Reduce(func(_ *program.Context, key string, values iter.Seq[string], emit func(string, string)) error {
			emit(key, join(values))
			return nil
		})},
	}
}

// someLines returns lines of few and of many different words.
func someLines(n int) []string {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	lines := make([]string, n)
	for i := range lines {
		var words []string
		for range random.IntN(9) {
			words = append(words, fmt.Sprint(random.IntN(1+random.IntN(n))))
		}
		lines[i] = strings.Join(words, " ")
	}
	return lines
}

func TestWhatIsGatheredMakesNoDifference(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 30, 3000} {
		lines := someLines(n)
		test := program.Test{Stages: joining(), Order: []string{"a", "b"}, Subsets: 3, Partitions: 2}
		want, err := test.Gathering(-1).Run(lines...)
		if err != nil {
			t.Fatal(err)
		}
		for _, budget := range []int64{1, 100, 3000, 30000, 1 << 20, 0} {
			got, err := test.Gathering(budget).Run(lines...)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%d lines, %d bytes:\n%s", n, budget, d)
			}
		}
	}
}

func TestKeysThatComeOnceAreSentAsTheyAre(t *testing.T) {
	t.Parallel()
	lines := make([]string, 1<<17)
	for i := range lines {
		lines[i] = fmt.Sprintf("%07d", i)
	}
	r, err := program.Test{Stages: wordcount(), Order: []string{"count", "total"}}.Run(slices.Concat(lines, lines[:1])...)
	if err != nil || len(r.Lines) != len(lines) || r.Lines[0] != lines[0]+"\t2" || r.Lines[1] != lines[1]+"\t1" {
		t.Errorf("%v, %d lines, want %d", err, len(r.Lines), len(lines))
	}
}

// failing sums the numbers behind keys, but not of the key x.
func failing(why error) program.Stages {
	sum := func(key string, values iter.Seq[int64]) (n int64, err error) {
		for v := range values {
			n += v
			if key == "x" {
				return 0, why
			}
			if key == "panic" {
				panic("here")
			}
		}
		return n, nil
	}
	return program.Stages{
		"a": {
			Map: program.Map(func(_ *program.Context, line string, emit func(string, string)) error {
				key, value, _ := strings.Cut(line, " ")
				for range 300 {
					emit(key, value)
				}
				return nil
			}),
			Combine: program.Combine(func(_ *program.Context, key string, values iter.Seq[int64]) (int64, error) { return sum(key, values) }),
		},
		"b": {Reduce: program.Reduce(func(_ *program.Context, key string, values iter.Seq[string], emit func(string, string)) error {
			emit(key, strings.Join(slices.Collect(values), " "))
			return nil
		})},
	}
}

func TestGroupsThatCannotBeCombinedAreBadOnce(t *testing.T) {
	t.Parallel()
	test := program.Test{Stages: failing(errors.New("no x")), Order: []string{"a", "b"}}
	for _, budget := range []int64{-1, 1, 1000, 0} {
		got, err := test.Gathering(budget).Run("x 1", "y 2", "panic 1", "n one")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Lines, []string{"y\t600"}) {
			t.Errorf("%d bytes: %q", budget, got.Lines)
		}
		var bad []string
		for _, b := range got.Bad {
			bad = append(bad, b.Record+": "+b.Reason[:4])
		}
		if want := []string{"n: valu", "panic: pani", "x: no x"}; !slices.Equal(bad, want) {
			t.Errorf("%d bytes: %q, want %q", budget, bad, want)
		}
	}
	test.Stages = failing(program.Fatal(errors.New("no disk")))
	if _, err := test.Run("x 1"); err == nil || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("%v", err)
	}
}
