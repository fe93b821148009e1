package native_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/runner/native"
	"stint/internal/shuffle"
)

// sortLines sorts lines as the program does: the keys of a sample are split into
// ranges, lines are sorted into them, and their parts put one after the other.
func sortLines(t *testing.T, params map[string]string, text string, partitions uint32) string {
	t.Helper()
	splitters := splittersOf(t, params, text, partitions)
	program, err := native.Program("sort", params)
	if err != nil {
		t.Fatal(err)
	}
	config := shuffle.Config{Partitions: partitions, Partition: shuffle.RangePartitioner(splitters), Dir: t.TempDir()}
	if c := program.Stages[2].Combine; c != nil {
		config.Combine = native.Combiners()[c.Native]()
	}
	w, err := shuffle.NewWriter(config)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() //nolint:errcheck // spill files have no name
	sink := struct {
		io.Writer
		shuffle.Sink
	}{Sink: w}
	if err := perform(t, "order", params, strings.NewReader(text), sink); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := w.Visit(func(_ uint32, records shuffle.Source) error {
		return perform(t, "sorted", params, struct {
			io.Reader
			shuffle.Source
		}{Source: records}, &out)
	}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// lineSampler gives every third line as a sample.
type lineSampler struct{ io.Reader }

func (s lineSampler) Sample(_ int64, each func([]byte) error) error {
	text, err := io.ReadAll(s.Reader)
	if err != nil {
		return err
	}
	for i, line := range bytes.Split(bytes.TrimSuffix(text, []byte{'\n'}), []byte{'\n'}) {
		if i%3 == 0 {
			if err := each(line); err != nil {
				return err
			}
		}
	}
	return nil
}

func splittersOf(t *testing.T, params map[string]string, text string, partitions uint32) [][]byte {
	t.Helper()
	var keys, out bytes.Buffer
	if err := perform(t, "sample", params, lineSampler{strings.NewReader(text)}, &keys); err != nil {
		t.Fatal(err)
	}
	a := &stint.Attempt{Action: stint.Action{Native: "splitters"}, Params: params, Ranges: partitions}
	if err := native.New().Perform(t.Context(), a, &keys, &out); err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(out.Bytes(), []byte{'\n'})
	lines = lines[:len(lines)-1]
	if len(lines) != int(partitions)-1 || !slices.IsSortedFunc(lines, bytes.Compare) {
		t.Fatalf("splitters for %d partitions: %q", partitions, lines)
	}
	return lines
}

// gnuSort sorts with the machine's sort.
func gnuSort(t *testing.T, text string, options ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "sort", options...)
	c.Env = []string{"LC_ALL=C"}
	c.Stdin = strings.NewReader(text)
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// sortCases are parameters, and the options of sort that are the same.
func sortCases() map[string]map[string]string {
	return map[string]map[string]string{
		"":                        {},
		"-r":                      {"reverse": "true"},
		"-u":                      {"unique": "true"},
		"-r -u":                   {"reverse": "true", "unique": "true"},
		"-n":                      {"numeric": "true"},
		"-n -r":                   {"numeric": "true", "reverse": "true"},
		"-n -u":                   {"numeric": "true", "unique": "true"},
		"-n -s":                   {"numeric": "true", "stable": "true"},
		"-k2,2":                   {"key": "-k2,2"},
		"-k2,2 -r":                {"key": "2,2", "reverse": "true"},
		"-k2,2r":                  {"key": "-k2,2r"},
		"-k2,2r -s":               {"key": "-k 2,2r", "stable": "true"},
		"-k2n -k1,1r":             {"key": "-k2n -k1,1r"},
		"-k2b,2b":                 {"key": "-k2b,2b"},
		"-k2.2,2.3":               {"key": "-k2.2,2.3"},
		"-k2.2b,3.1bn -r":         {"key": "-k2.2b,3.1bn", "reverse": "true"},
		"-t : -k2,2 -u":           {"separator": ":", "key": "-k2,2", "unique": "true"},
		"-t : -k2,2nr":            {"separator": ":", "key": "-k2,2nr"},
		"-t : -k3":                {"separator": ":", "key": "-k3"},
		"-t : -k2.2,3.2 -k1nr -s": {"separator": ":", "key": "-k2.2,3.2 -k1nr", "stable": "true"},
		"-t : -k9,9 -k2,2n -r":    {"separator": ":", "key": "-k9,9 -k2,2n", "reverse": "true"},
	}
}

func TestLinesAreSortedAsSortDoes(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	texts := []string{"one line\n", "b\na\n\na\n", "no end"}
	for round := range 12 {
		var text strings.Builder
		for range 400 {
			for range random.IntN(4) {
				switch random.IntN(5) {
				case 0:
					fmt.Fprintf(&text, "%s%d", []string{"", "-", "00", "-0", "+"}[random.IntN(5)], random.IntN(30))
				case 1:
					fmt.Fprintf(&text, "%d.%s", random.IntN(3), []string{"", "5", "50", "05", "4999"}[random.IntN(5)])
				case 2:
					text.WriteString(strings.Repeat(string(rune('a'+random.IntN(3))), random.IntN(12)))
				case 3:
					text.Write([][]byte{{0}, {1}, {2}, {0, 1}, {244}, {245}, {246}, {254}, {255}, {9}, {'\r'}}[random.IntN(11)])
				case 4:
					text.WriteString(strings.Repeat("7", 190+random.IntN(3)*10+random.IntN(2)))
				}
				text.WriteString([]string{" ", ":", "  ", "\t", ""}[(random.IntN(5)+round)%5])
			}
			text.WriteByte('\n')
		}
		texts = append(texts, text.String())
	}
	for options, params := range sortCases() {
		for i, text := range texts {
			want := gnuSort(t, text, strings.Fields(options)...)
			for _, partitions := range []uint32{1, 7} {
				if got := sortLines(t, params, text, partitions); got != want {
					t.Fatalf("sort %s of text %d in %d partitions: %s", options, i, partitions, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
				}
			}
		}
	}
}

func TestPartitionsOfASortAreOfEqualLength(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	random := rand.New(rand.NewPCG(7, 8))
	for range 60_000 {
		fmt.Fprintf(&text, "%f\n", random.NormFloat64())
	}
	splitters := splittersOf(t, nil, text.String(), 8)
	partition := shuffle.RangePartitioner(splitters)
	var counts [8]int
	for line := range strings.Lines(text.String()) {
		counts[partition([]byte(strings.TrimSuffix(line, "\n")), 8)]++
	}
	for p, n := range counts {
		if n < 6500 || n > 8500 {
			t.Errorf("partition %d has %d of 60000 lines", p, n)
		}
	}
}

func TestSplittersOfVeryManyKeysAreMadeOfSome(t *testing.T) {
	t.Parallel()
	var keys strings.Builder
	const n = 5 << 20
	for i := range n {
		fmt.Fprintf(&keys, "%08d\n", (i*7919)%n)
	}
	a := &stint.Attempt{Action: stint.Action{Native: "splitters"}, Ranges: 4}
	var out bytes.Buffer
	if err := native.New().Perform(t.Context(), a, strings.NewReader(keys.String()), &out); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Fields(out.String()) {
		var got int
		if _, err := fmt.Sscanf(line, "%d", &got); err != nil || got < n*(i+1)/4-n/100 || got > n*(i+1)/4+n/100 {
			t.Errorf("splitter %d of %d keys: %s, %v", i, n, line, err)
		}
	}
}

func TestParametersOfSortThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value, want string
	}{
		{"key", "0", "counted from 1"},
		{"key", "-k1.0", "counted from 1"},
		{"key", "-k2,0", "counted from 1"},
		{"key", "-kx", "counted from 1"},
		{"key", "-k1,2q", "counted from 1"},
		{"separator", "::", "one byte"},
		{"separator", "\n", "one byte"},
		{"numeric", "yes", "true or false"},
		{"order", "up", "expected one of key, separator"},
	} {
		_, err := native.Program("sort", map[string]string{c.name: c.value})
		if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%q: %v", c.name, c.value, err)
		}
	}
}
