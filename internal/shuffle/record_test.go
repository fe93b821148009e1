package shuffle

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

func TestRecordsHaveThisForm(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key, value []byte
		want       string
	}{
		{nil, nil, "\x00\x00"},
		{nil, []byte{}, "\x00\x01"},
		{[]byte("k"), nil, "\x01\x00k"},
		{[]byte("k"), []byte{}, "\x01\x01k"},
		{[]byte("key"), []byte("v"), "\x03\x02keyv"},
		{bytes.Repeat([]byte("k"), 200), bytes.Repeat([]byte("v"), 127), "\xc8\x01\x80\x01" + string(bytes.Repeat([]byte("k"), 200)) + string(bytes.Repeat([]byte("v"), 127))},
	} {
		b := AppendRecord(nil, c.key, c.value)
		if string(b) != c.want {
			t.Errorf("%q, %q: %q, want %q", c.key, c.value, b, c.want)
		}
		k, v, n, err := ReadRecord(append(b, "rest"...))
		if !bytes.Equal(k, c.key) || !bytes.Equal(v, c.value) || (v == nil) != (c.value == nil) || n != len(b) || err != nil {
			t.Errorf("%q: %q %q %d %v", b, k, v, n, err)
		}
		for cut := range b {
			if _, _, _, err := ReadRecord(b[:cut]); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q cut at %d: %v", b, cut, err)
			}
		}
	}
}

func TestLengthsOutOfBoundsAreDamage(t *testing.T) {
	t.Parallel()
	for _, b := range []string{
		"\x81\x80\x80\x08\x00",                     // key of MaxKey+1
		"\x00\x82\x80\x80\x20",                     // value of MaxValue+1
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", // over 64 bits
		"\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
	} {
		if _, _, _, err := ReadRecord([]byte(b)); stint.CodeOf(err) != stint.Lost {
			t.Errorf("%q: %v", b, err)
		}
	}
}

func TestLinesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, key, value string }{
		{"", "", "-"},
		{"word", "word", "-"},
		{"k\t", "k", "="},
		{"\t", "", "="},
		{"\tv", "", "=v"},
		{"k\tv\tw", "k", "=v\tw"},
		{"k\r", "k\r", "-"},
	} {
		k, v := ParseLine([]byte(c.line))
		if string(k) != c.key || val(v) != c.value {
			t.Errorf("%q: %q %q", c.line, k, val(v))
		}
		if back := AppendText([]byte("x"), k, v); string(back) != "x"+c.line+"\n" {
			t.Errorf("%q came back as %q", c.line, back)
		}
	}
}

func TestHashIsHadoops(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]uint32{ // WritableComparator.hashBytes without its sign, computed in another language
		"": 1, "a": 128, "ab": 4066, "abc": 126145, "the": 144592, "hello": 127791473, "Hadoop": 893989766,
		"word count": 355200826, "\xff": 30, "\x80\x80": 2147480513, "key with é and more": 911555424,
		"\x00\x00\x00\x00\x00": 28629151, "https://example.org/a?b=c": 142517419,
	} {
		for _, n := range []uint32{1, 2, 7, 1000, 1 << 20, 1<<31 - 1, 1 << 31} {
			if got := HashPartition([]byte(key), n); got != want%n {
				t.Errorf("%q of %d: %d, want %d", key, n, got, want%n)
			}
		}
	}
}

func TestGroupsAreTheRunsOfEqualKeys(t *testing.T) {
	t.Parallel()
	for _, skip := range []bool{false, true} { // values that are not read are passed over
		g := NewGroups(sliceSource(t, "a\t1", "a\t2", "b", "c\t", "c\t3", "c\t4"))
		var got []string
		for {
			key, err := g.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(key))
			for n := 0; !skip || n < 1; n++ {
				v, err := g.Value()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, val(v))
			}
		}
		want := []string{"a", "=1", "=2", "b", "-", "c", "=", "=3", "=4"}
		if skip {
			want = []string{"a", "=1", "b", "-", "c", "="}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
		if _, err := g.Next(); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if _, err := g.Value(); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
}

func TestErrorsOfTheSourcePassGroups(t *testing.T) {
	t.Parallel()
	src := sliceSource(t, "a\t1", "a\t2")
	src.err = io.ErrNoProgress
	g := NewGroups(src)
	if _, err := g.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Fatal(err)
	}
	if _, err := g.Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Fatal(err)
	}
}

// lines is a source that overwrites what it returned, as sources may.
type lines struct {
	lines [][]byte
	buf   []byte
	err   error
}

func sliceSource(t *testing.T, text ...string) *lines {
	t.Helper()
	s := &lines{err: io.EOF}
	for _, l := range text {
		s.lines = append(s.lines, []byte(l))
	}
	return s
}

func (s *lines) Next() (key, value []byte, err error) {
	clear(s.buf)
	if len(s.lines) == 0 {
		return nil, nil, s.err
	}
	s.buf = append(s.buf[:0], s.lines[0]...)
	s.lines = s.lines[1:]
	key, value = ParseLine(s.buf)
	return key, value, nil
}

func TestPrefixesAreInTheOrderOfTheirKeys(t *testing.T) {
	t.Parallel()
	var keys [][]byte
	for _, head := range []string{"", "a", "ab", "abcd", "abcdefg", "abcdefgh", "\xff\xff\xff\xff\xff\xff\xff\xff"} {
		for _, tail := range []string{"", "\x00", "\x00\x00", "\x01", "z", "\xff", "abcdefghijk"} {
			for n := 0; n <= len(head); n++ {
				keys = append(keys, []byte(head[:n]+tail))
			}
		}
	}
	for _, a := range keys {
		for _, b := range keys {
			p, q, want := prefixOf(a), prefixOf(b), bytes.Compare(a, b)
			if p < q && want >= 0 || p > q && want <= 0 || p == q && !isLong(p) && want != 0 {
				t.Fatalf("%q %x, %q %x", a, p, b, q)
			}
			if p >= lastPrefix {
				t.Fatalf("%q is behind all", a)
			}
		}
	}
}

func FuzzReadRecord(f *testing.F) {
	f.Add(AppendRecord(nil, []byte("key"), []byte("value")))
	f.Add(AppendRecord(nil, bytes.Repeat([]byte("k"), 300), nil))
	f.Add([]byte("\x81\x80\x40\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, v, n, err := ReadRecord(b)
		if err != nil {
			if n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) && stint.CodeOf(err) != stint.Lost {
				t.Fatal(n, err)
			}
			return
		}
		if n > len(b) || len(k) > MaxKey || len(v) > MaxValue {
			t.Fatal(n, len(k), len(v))
		}
		k2, v2, _, err := ReadRecord(AppendRecord(nil, k, v))
		if err != nil || !bytes.Equal(k, k2) || !bytes.Equal(v, v2) || (v == nil) != (v2 == nil) {
			t.Fatal(err)
		}
	})
}
