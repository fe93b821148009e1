package native_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/runner/native"
	"stint/internal/shuffle"
)

func perform(t *testing.T, name string, params map[string]string, in io.Reader, out io.Writer) error {
	t.Helper()
	a := &stint.Attempt{Action: stint.Action{Native: name}, Params: params}
	a.Bad = func(_ []byte, why error) error { return why }
	return native.New().Perform(t.Context(), a, in, out)
}

func mustPerform(t *testing.T, name string, params map[string]string, in string) string {
	t.Helper()
	var whole, dribbled bytes.Buffer
	if err := perform(t, name, params, strings.NewReader(in), &whole); err != nil {
		t.Fatal(err)
	}
	if len(in) < 10000 {
		if err := perform(t, name, params, iotest.OneByteReader(strings.NewReader(in)), &dribbled); err != nil {
			t.Fatal(err)
		}
		if whole.String() != dribbled.String() {
			t.Fatalf("%s of %q: depends on how the input comes: %q, %q", name, in, whole.String(), dribbled.String())
		}
	}
	return whole.String()
}

// naiveWords counts words as the package's documentation says.
func naiveWords(text, fold string) []string {
	if fold == "true" {
		b := []byte(text)
		for i, c := range b {
			if 'A' <= c && c <= 'Z' {
				b[i] += 32
			}
		}
		text = string(b)
	}
	counts := make(map[string]int)
	start := -1
	for i := range len(text) + 1 {
		space := i == len(text) || strings.IndexByte(" \t\n\v\f\r", text[i]) >= 0
		if space && start >= 0 {
			counts[text[start:i]]++
			start = -1
		} else if !space && start < 0 {
			start = i
		}
	}
	var out []string
	for w, n := range counts {
		out = append(out, fmt.Sprintf("%s\t%d", w, n))
	}
	slices.Sort(out)
	return out
}

func checkWords(t *testing.T, text, fold string) {
	t.Helper()
	got := strings.Split(mustPerform(t, "wordcount", map[string]string{"fold": fold}, text), "\n")
	got = got[:len(got)-1]
	slices.Sort(got)
	want := naiveWords(text, fold)
	if !slices.Equal(got, want) {
		t.Fatalf("words of %.200q (fold %s):\n%s", text, fold, cmp.Diff(want, got))
	}
}

func TestWordsAreCountedAsANaiveProgramDoes(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", " ", "a", "a a", "\n\n", "one two\tone\r\n", "\x00 \x00\x00 a\x00", "\xff\xfe \xff\xfe",
		"12345678 12345678 1234567 123456789", strings.Repeat("x", 100) + " " + strings.Repeat("x", 101),
		"tab\vvt\fff\x1cfs\x85nel\u00a0nbsp", "ABCz abcZ @[`{ \xc1\xda", strings.Repeat("long-word-", 60000) + " end",
	} {
		checkWords(t, text, "false")
		checkWords(t, text, "true")
	}
	random := rand.New(rand.NewPCG(1, 2))
	var big strings.Builder
	for range 60000 {
		for range random.IntN(20) {
			big.WriteByte(byte('A' + random.IntN(40)))
		}
		big.WriteByte(" \n\t\v"[random.IntN(4)])
	}
	checkWords(t, big.String(), "false")
}

func FuzzWordcount(f *testing.F) {
	f.Add([]byte("a b\na\xff\x00\r"), false)
	f.Add([]byte("ABC \x8d\x89\xa0 12345678 123456789012345678"), true)
	f.Fuzz(func(t *testing.T, text []byte, fold bool) { checkWords(t, string(text), fmt.Sprint(fold)) })
}

func TestAWordThatIsTooLongIsRefused(t *testing.T) {
	t.Parallel()
	err := perform(t, "wordcount", nil, strings.NewReader(strings.Repeat("x", 40<<20)), io.Discard)
	if stint.CodeOf(err) != stint.Failed || !strings.Contains(err.Error(), "a word of more than 16777216 bytes") {
		t.Fatal(err)
	}
}

func TestInputErrorsAreReturned(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk")
	for _, name := range []string{"wordcount", "grep", "sum", "identity"} {
		in := io.MultiReader(strings.NewReader("a\t1\n"), iotest.ErrReader(cause))
		if err := perform(t, name, map[string]string{"pattern": "a"}, in, io.Discard); !errors.Is(err, cause) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACanceledAttemptEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, name := range []string{"wordcount", "grep", "sum", "identity"} {
		a := &stint.Attempt{Action: stint.Action{Native: name}, Params: map[string]string{"pattern": "a"}}
		if err := native.New().Perform(ctx, a, strings.NewReader("a\t1\n"), io.Discard); stint.CodeOf(err) != stint.Canceled {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// naiveGrep filters line by line.
func naiveGrep(text string, match func(string) bool) string {
	var out strings.Builder
	for text != "" {
		line, rest, found := strings.Cut(text, "\n")
		if match(line) {
			out.WriteString(line)
			if found {
				out.WriteByte('\n')
			}
		}
		text = rest
	}
	return out.String()
}

// checkGrep compares with the naive program; the bits of flags are fixed,
// ignore_case and invert.
func checkGrep(t *testing.T, pattern, text string, flags uint8) {
	t.Helper()
	fixed, ignoreCase, invert := flags&1 != 0, flags&2 != 0, flags&4 != 0
	expr := pattern
	if fixed {
		expr = regexp.QuoteMeta(expr)
	}
	if ignoreCase {
		expr = "(?i:" + expr + ")"
	}
	params := map[string]string{"pattern": pattern, "fixed": fmt.Sprint(fixed), "ignore_case": fmt.Sprint(ignoreCase), "invert": fmt.Sprint(invert)}
	re, err := regexp.Compile(expr)
	literal := fixed && !ignoreCase
	if err != nil && !literal || pattern == "" || strings.Contains(pattern, "\n") {
		if err := perform(t, "grep", params, strings.NewReader(text), io.Discard); stint.CodeOf(err) != stint.Invalid {
			t.Fatalf("pattern %q accepted: %v", pattern, err)
		}
		return
	}
	match := func(line string) bool { return strings.Contains(line, pattern) }
	if !literal {
		match = re.MatchString
	}
	want := naiveGrep(text, func(line string) bool { return match(line) != invert })
	if got := mustPerform(t, "grep", params, text); got != want {
		t.Fatalf("pattern %q, fixed %t, ignore case %t, invert %t, text %.300q:\ngot  %.300q\nwant %.300q", pattern, fixed, ignoreCase, invert, text, got, want)
	}
	params["count"] = "true"
	n := strings.Count(want, "\n")
	if want != "" && !strings.HasSuffix(want, "\n") {
		n++
	}
	if got := mustPerform(t, "grep", params, text); got != fmt.Sprintf("%s\t%d\n", pattern, n) {
		t.Fatalf("count of pattern %q: %q, want %d", pattern, got, n)
	}
}

func TestLinesAreFoundAsANaiveProgramDoes(t *testing.T) {
	t.Parallel()
	texts := []string{
		"", "\n", "a", "abc\n", "x\nabc\nabc\ny\nabcabc", "ABC\r\nabc\r\n", "k\u212a\ns\u017f\n\xff\xfd\n\ufffd\n",
		"foobar\nfoobaz\nfobar\nfoo\n", "aaa\n\n\nbbb\n", strings.Repeat("filler line\n", 100000) + "abc\n" + strings.Repeat("z", 1200<<10) + "abc\nend",
	}
	patterns := []string{
		"a", "abc", "^abc$", "a.c", "foo(bar|baz)", "(x|abc)+y?", "k", "ks", "abck", "[^b]", "\\s", "$", "^$", "\\x{fffd}", "a\xff",
		"(?i)AbC", "b{2,3}", "(foo)?bar", "zab", ".*c", "(", "", "a\nb", "z+abc",
	}
	for _, text := range texts {
		for _, pattern := range patterns {
			for flags := range uint8(8) {
				if len(text) > 100000 && (flags&3 == 2 || !slices.Contains([]string{"a", "abc", "zab", "^abc$"}, pattern)) {
					continue // the naive program would take seconds
				}
				checkGrep(t, pattern, text, flags)
			}
		}
	}
}

func FuzzGrep(f *testing.F) {
	f.Add("fo+b(a|r)", "foob\nfooba\n\nx\xff", uint8(3))
	f.Add("\u017fk", "SK\n", uint8(2))
	f.Fuzz(func(t *testing.T, pattern, text string, flags uint8) {
		if strings.Contains(pattern, "\x00") {
			return // no parameter may have one
		}
		checkGrep(t, pattern, text, flags)
	})
}

func TestSumsAreExact(t *testing.T) {
	t.Parallel()
	huge := "9223372036854775807"
	cases := []struct{ in, want string }{
		{"", ""},
		{"a\t1\na\t2\nb\t-3\n", "a\t3\nb\t-3\n"},
		{"a\t" + huge + "\na\t" + huge + "\n", "a\t18446744073709551614\n"},
		{"a\t-9223372036854775808\na\t-1\n", "a\t-9223372036854775809\n"},
		{"a\t+0007\na\t-7\n", "a\t0\n"},
		{"\t1\n\t1\n", "\t2\n"},
		{"a\t" + strings.Repeat("9", 100) + "\na\t1\n", "a\t1" + strings.Repeat("0", 100) + "\n"},
		{"a\t999999999999999999\n" + strings.Repeat("a\t999999999999999999\n", 9), "a\t9999999999999999990\n"},
	}
	for _, c := range cases {
		if d := cmp.Diff(c.want, mustPerform(t, "sum", nil, c.in)); d != "" {
			t.Errorf("%.80q: %s", c.in, d)
		}
	}
	for _, bad := range []string{"a\t\n", "a\n", "a\t1.5\n", "a\t-\n", "a\t 1\n", "a\t0x1\n", "a\t1_000\n", "a\t1\na\tx\n", "a\t" + strings.Repeat("1", 30) + "_1\n"} {
		err := perform(t, "sum", nil, strings.NewReader(bad), io.Discard)
		if stint.CodeOf(err) != stint.Failed || !strings.Contains(err.Error(), `key "a"`) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSumsAreThoseOfBigIntegers(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		want, in := new(big.Int), strings.Builder{}
		for range 1 + random.IntN(20) {
			n := new(big.Int).Lsh(big.NewInt(int64(random.Uint64())), uint(random.IntN(3)*random.IntN(20)))
			want.Add(want, n)
			fmt.Fprintf(&in, "k\t%s\n", n)
		}
		if d := cmp.Diff("k\t"+want.String()+"\n", mustPerform(t, "sum", nil, in.String())); d != "" {
			t.Fatal(d)
		}
	}
}

// records is both ends of the binary form.
type records struct {
	bytes.Buffer
	pairs [][2][]byte
}

func (r *records) Next() (key, value []byte, err error) {
	if len(r.pairs) == 0 {
		return nil, nil, io.EOF
	}
	p := r.pairs[0]
	r.pairs = r.pairs[1:]
	return p[0], p[1], nil
}

func (r *records) Emit(key, value []byte) error {
	r.pairs = append(r.pairs, [2][]byte{bytes.Clone(key), bytes.Clone(value)})
	return nil
}

func TestRecordsPassAsSuchWhereBothSidesCan(t *testing.T) {
	t.Parallel()
	pairs := [][2][]byte{{[]byte("a\tb"), nil}, {[]byte("a\n"), {}}, {{}, []byte("v")}}
	var out records
	if err := perform(t, "identity", nil, &records{pairs: pairs}, &out); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(pairs, out.pairs); d != "" {
		t.Fatal(d)
	}
	out.pairs = nil
	if err := perform(t, "sum", nil, &records{pairs: [][2][]byte{{[]byte("a\tb"), []byte("1")}, {[]byte("a\tb"), []byte("2")}}}, &out); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([][2][]byte{{[]byte("a\tb"), []byte("3")}}, out.pairs); d != "" {
		t.Fatal(d)
	}
}

func TestIdentityAndNoop(t *testing.T) {
	t.Parallel()
	text := "a\tb\n\xff\x00\r\nno end"
	if d := cmp.Diff(text, mustPerform(t, "identity", nil, text)); d != "" {
		t.Error(d)
	}
	if got := mustPerform(t, "noop", nil, text); got != "" {
		t.Error(got)
	}
}

func TestCombiningPartsGivesTheSumOfAll(t *testing.T) {
	t.Parallel()
	add := native.Combiners()["sum"]()
	combine := func(values ...string) string {
		r := &records{}
		for _, v := range values {
			r.pairs = append(r.pairs, [2][]byte{[]byte("k"), []byte(v)})
		}
		groups := shuffle.NewGroups(r)
		key, err := groups.Next()
		if err != nil {
			t.Fatal(err)
		}
		out, err := add([]byte(">"), key, groups)
		if err != nil {
			t.Fatal(err)
		}
		return string(out[1:])
	}
	whole := combine("1", "9223372036854775807", "-5", "9223372036854775807")
	parts := combine(combine("1", "9223372036854775807"), combine("-5"), combine("9223372036854775807"))
	if whole != parts || whole != "18446744073709551610" {
		t.Fatal(whole, parts)
	}
}

func TestUnknownNamesAreRefusedWithTheAllowedOnes(t *testing.T) {
	t.Parallel()
	cases := []struct {
		program string
		params  map[string]string
		code    stint.Code
		want    string
	}{
		{"wordcout", nil, stint.NotFound, "expected one of grep, identity, index, join, logstats, montecarlo, noop, sort, wordcount"},
		{"wordcount", map[string]string{"fould": "true"}, stint.Invalid, "expected one of fold"},
		{"wordcount", map[string]string{"fold": "yes"}, stint.Invalid, "expected true or false"},
		{"noop", map[string]string{"x": "1"}, stint.Invalid, "it has no parameters"},
		{"grep", nil, stint.Invalid, "missing_param: program grep needs parameter pattern"},
		{"grep", map[string]string{"pattern": "("}, stint.Invalid, "missing closing )"},
		{"grep", map[string]string{"pattern": "a", "count": "1"}, stint.Invalid, "expected true or false"},
	}
	for _, c := range cases {
		_, err := native.Program(c.program, c.params)
		if stint.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v", c.program, c.params, err)
		}
	}
	if err := perform(t, "nope", nil, strings.NewReader(""), io.Discard); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), "distinct, grep, ") {
		t.Error(err)
	}
	if err := native.CheckAction("nope"); stint.CodeOf(err) != stint.Invalid {
		t.Error(err)
	}
}

func TestShippedProgramsUseOperatorsThatExist(t *testing.T) {
	t.Parallel()
	all := native.Programs()
	counting, err := native.Program("grep", map[string]string{"pattern": "a", "count": "true"})
	if err != nil {
		t.Fatal(err)
	}
	if len(counting.Stages) != 2 || len(all) != 9 {
		t.Fatal(counting, all)
	}
	for _, p := range append(all, counting) {
		for _, s := range p.Stages {
			if err := native.CheckAction(s.Action.Native); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
			if s.Combine != nil && native.Combiners()[s.Combine.Native] == nil {
				t.Errorf("%s: combiner %s", p.Name, s.Combine.Native)
			}
		}
	}
}
