package shuffle_test

import (
	"bufio"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"stint"
	"stint/internal/shuffle"
)

// The file was made by Hadoop's own partitioner, see scripts/hadoop-vectors: a
// line "opt", options and separator, then keys in hexadecimal and their partition.
func TestFieldsArePartitionedAsByHadoop(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/keyfields.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read only
	var partition shuffle.Partitioner
	var what string
	keys := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "opt\t"); ok {
			partition, what = options(t, strings.Split(rest, "\t")), rest
			continue
		}
		text, number, _ := strings.Cut(lines.Text(), "\t")
		key, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		keys++
		if got := partition(key, 1000003); strconv.Itoa(int(got)) != number {
			t.Errorf("%q: key %q in %d, want %s", what, key, got, number)
		}
		if partition(key, 1) != 0 {
			t.Errorf("%q: key %q of one partition", what, key)
		}
	}
	if keys < 2500 {
		t.Errorf("%d keys", keys)
	}
}

// options makes a partitioner, or sees that it is refused as it should be.
func options(t *testing.T, line []string) shuffle.Partitioner {
	t.Helper()
	p, err := shuffle.FieldPartitioner(line[0], line[1])
	if refused := len(line) > 2; refused != (stint.CodeOf(err) == stint.Invalid) || !refused && err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return p
}

func FuzzFieldPartitioner(f *testing.F) {
	f.Add("-k1,2", "", []byte("a\tb\tc"))
	f.Add("-k2.3nr,3.1 -k 1", "::", []byte("a::b\xff::"))
	f.Add("-k-7.-3,-2.-9", ",", []byte(",,"))
	f.Fuzz(func(t *testing.T, options, separator string, key []byte) {
		p, err := shuffle.FieldPartitioner(options, separator)
		if err != nil {
			if stint.CodeOf(err) != stint.Invalid {
				t.Fatal(err)
			}
			return
		}
		if n := p(key, 7); n >= 7 || n != p(key, 7) {
			t.Fatal(n)
		}
	})
}

func TestJavaTextIsAlwaysUTF8(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                     "",
		"plain":                "plain",
		"a\xffb":               "a\uFFFDb",
		"\xe2\x82":             "\uFFFD",  // a beginning is replaced once
		"\xe2\x82A":            "\uFFFDA", //
		"\xed\xa0\x80":         "\uFFFD",  // a surrogate too
		"\xe0\x80\x80":         "\uFFFD\uFFFD\uFFFD",
		"\xf0\x9f\x98":         "\uFFFD",
		"\xf4\x90\x80\x80":     "\uFFFD\uFFFD\uFFFD\uFFFD",
		"\xc0\x80":             "\uFFFD\uFFFD",
		"\uFFFD \xef\xbf\xbd":  "\uFFFD \uFFFD",
		"\U0001F600\xf0\x9f":   "\U0001F600\uFFFD",
		"\xf5\x80\x80\x80 end": "\uFFFD\uFFFD\uFFFD\uFFFD end",
	} {
		got := shuffle.AppendJavaText([]byte("x"), []byte(in))
		if string(got) != "x"+want || !utf8.Valid(got) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestStringsCompareAsInJava(t *testing.T) {
	t.Parallel()
	inOrder := []string{"", "a", "aa", "b", "é", "日本", "\uD7FF", "\U00010000", "\U0001F600", "\U0001F601", "\U0010FFFF", "\uE000", "\uFFFD", "\uFFFF"}
	for i, a := range inOrder {
		for j, b := range inOrder {
			got := shuffle.CompareJavaText([]byte(a), []byte(b))
			if got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("%q and %q: %d", a, b, got)
			}
		}
	}
}
