package split_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/split"
)

// linesWithMultiples is the rule, told naively.
func linesWithMultiples(text string, stride int) []string {
	var out []string
	for at := 0; at < len(text); {
		end := len(text)
		if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if (at+stride-1)/stride*stride < end {
			out = append(out, strings.TrimSuffix(text[at:end], "\n"))
		}
		at = end
	}
	return out
}

func sample(t *testing.T, stride int64, f split.Format, inputs ...split.Input) []string {
	t.Helper()
	r := split.NewReader(inputs, f, nil)
	var out []string
	if err := r.Sample(stride, func(record []byte) error {
		out = append(out, string(record))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after a sample %d bytes are read, %v", n, err)
	}
	if r.Records() != int64(len(out)) {
		t.Errorf("%d records counted of %d", r.Records(), len(out))
	}
	return out
}

func TestASampleIsTheRecordsAtMultiplesOfTheStrideHoweverTheInputIsCut(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 300 {
		var text strings.Builder
		longest := []int{3, 40, 300, 9000}[round%4]
		for range random.IntN(200) {
			text.WriteString(strings.Repeat(string(rune('a'+random.IntN(26))), random.IntN(longest)))
			text.WriteByte('\n')
		}
		if round%3 == 0 {
			text.WriteString("without end")
		}
		s := text.String()
		stride := 1 + random.IntN(2000)
		o := stint.Object{URL: "file:///t", Size: int64(len(s))}
		var got []string
		for at := int64(0); at < o.Size; {
			n := min(1+random.Int64N(5000), o.Size-at)
			in := split.Input{Piece: stint.Piece{Object: o, Offset: at, Length: n}, File: strings.NewReader(s)}
			got = append(got, sample(t, int64(stride), split.Format{}, in)...)
			at += n
		}
		if d := cmp.Diff(linesWithMultiples(s, stride), got); d != "" {
			t.Fatalf("round %d, stride %d, %d bytes: %s", round, stride, len(s), d)
		}
	}
}

// countingReader counts the bytes that are read.
type countingReader struct {
	r io.ReaderAt
	n int
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.n += n
	return n, err
}

func TestASampleReadsLittle(t *testing.T) {
	t.Parallel()
	s := strings.Repeat("a line of some length\n", 1<<19)
	c := &countingReader{r: strings.NewReader(s)}
	o := stint.Object{URL: "file:///t", Size: int64(len(s))}
	got := sample(t, 1<<16, split.Format{}, split.Input{Piece: stint.Piece{Object: o, Length: o.Size}, File: c})
	if len(got) < 150 || c.n > len(s)/5 {
		t.Errorf("%d records and %d of %d bytes read", len(got), c.n, len(s))
	}
}

func TestASampleOfCompressedAndOtherRecordsReadsThemWhole(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&text, "record %d %s\n", i, strings.Repeat("x", i%97))
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := io.WriteString(w, text.String()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	o := stint.Object{URL: "file:///t.gz", Size: int64(packed.Len())}
	in := split.Input{Piece: stint.Piece{Object: o, Length: o.Size}, File: bytes.NewReader(packed.Bytes())}
	want := linesWithMultiples(text.String(), 1000)
	if d := cmp.Diff(want, sample(t, 1000, split.Format{}, in)); d != "" {
		t.Error("gzip: " + d)
	}
	if d := cmp.Diff(slices.Concat(want, want), sample(t, 1000, split.Format{}, in, in)); d != "" {
		t.Error("the sample of an object depends on those before it: " + d)
	}
	s := strings.ReplaceAll(text.String(), "\n", ";")
	o = stint.Object{URL: "file:///t", Size: int64(len(s))}
	var got []string
	for _, cut := range [][2]int64{{0, 7777}, {7777, o.Size - 7777}} {
		in := split.Input{Piece: stint.Piece{Object: o, Offset: cut[0], Length: cut[1]}, File: strings.NewReader(s)}
		got = append(got, sample(t, 1000, split.Format{Delimiter: ";"}, in)...)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error("another delimiter: " + d)
	}
}

func TestASampleOfARangeIsTheMultiplesInIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values stint.Values
		want   []string
	}{
		{stint.Values{First: 1, Count: 30}, []string{"10", "20", "30"}},
		{stint.Values{First: -15, Count: 20}, []string{"-10", "0"}},
		{stint.Values{First: 10, Count: 1}, []string{"10"}},
		{stint.Values{First: 11, Count: 9}, nil},
		{stint.Values{First: 9223372036854775800, Count: 7}, []string{"9223372036854775800"}},
		{stint.Values{}, nil},
	} {
		var got []string
		r := split.NewValues(c.values)
		if err := r.Sample(10, func(record []byte) error {
			got = append(got, string(record))
			return nil
		}); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v: %q, %v", c.values, got, err)
		}
	}
}

func TestObjectsAreGivenOneByOne(t *testing.T) {
	t.Parallel()
	texts := []string{"one\n", "", "three, without end", "four\n"}
	var inputs []split.Input
	for i, s := range texts {
		o := stint.Object{URL: fmt.Sprintf("file:///%d", i), Size: int64(len(s))}
		inputs = append(inputs, split.Input{Piece: stint.Piece{Object: o, Length: o.Size}, File: strings.NewReader(s)})
	}
	r := split.NewReader(inputs, split.Format{Split: stint.SplitFiles}, nil)
	var got []string
	err := r.Objects(func(o stint.Object, content io.Reader) error {
		if o.URL == "file:///3" {
			return nil // what is not read counts too
		}
		b, err := io.ReadAll(content)
		got = append(got, o.URL+" "+string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"file:///0 one\n", "file:///1 ", "file:///2 three, without end"}, got); d != "" {
		t.Error(d)
	}
	if r.Records() != 4 || r.Bytes() != 27 {
		t.Errorf("%d records, %d bytes", r.Records(), r.Bytes())
	}
}
