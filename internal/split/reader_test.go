package split_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/split"
)

// records is the rule that readers are held to: what lies between LFs.
func records(content string) []string {
	lines := strings.SplitAfter(content, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\n")
	}
	return lines
}

func object(content string) stint.Object {
	return stint.Object{URL: "file:///data/in.txt", Size: int64(len(content)), Version: "v"}
}

// cut returns pieces that end at the given offsets and cover the content.
func cut(content string, at ...int) []split.Input {
	slices.Sort(at)
	at = append(at, len(content))
	var out []split.Input
	from := 0
	for _, to := range at {
		p := stint.Piece{Object: object(content), Offset: int64(from), Length: int64(to - from)}
		out = append(out, split.Input{Piece: p, File: strings.NewReader(content)})
		from = to
	}
	return out
}

type result struct {
	Records []string
	Count   int64
	Bytes   int64
}

// read reads pieces each with a reader of its own, as operations do, or all with one.
//
//nolint:revive // together is a dimension of the table
func read(t *testing.T, together bool, limit int64, inputs ...split.Input) result {
	t.Helper()
	var res result
	groups := [][]split.Input{inputs}
	if !together {
		groups = nil
		for _, in := range inputs {
			groups = append(groups, []split.Input{in})
		}
	}
	for _, g := range groups {
		r := split.NewReader(g, split.Format{Split: stint.SplitLines, Limit: limit}, nil)
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("read %d pieces: %v", len(g), err)
		}
		if len(b) > 0 && b[len(b)-1] != '\n' {
			t.Fatalf("output %q does not end with LF", b)
		}
		var viaWriteTo bytes.Buffer
		w := split.NewReader(g, split.Format{Limit: limit}, nil)
		n, err := w.WriteTo(&viaWriteTo)
		if err != nil || n != int64(len(b)) || viaWriteTo.String() != string(b) || w.Records() != r.Records() || w.Bytes() != r.Bytes() {
			t.Fatalf("WriteTo gave %d bytes %q, %v; Read gave %q", n, viaWriteTo.String(), err, b)
		}
		got := records(string(b))
		if int64(len(got)) != r.Records() {
			t.Fatalf("Records() = %d, delivered %q", r.Records(), got)
		}
		res.Records = append(res.Records, got...)
		res.Count += r.Records()
		res.Bytes += r.Bytes()
	}
	return res
}

func TestEveryCutGivesEveryRecordOnce(t *testing.T) {
	t.Parallel()
	contents := map[string]string{
		"empty":            "",
		"one byte":         "a",
		"only line ends":   "\n\n\n",
		"LF":               "one\ntwo\nthree\n",
		"no final LF":      "one\ntwo\nthree",
		"CRLF":             "one\r\ntwo\r\n\r\nthree\r\n",
		"CRLF, final CR":   "one\r\ntwo\r",
		"lone CR":          "one\rtwo\nthree\r\r\n",
		"UTF-8":            "ä\nüß€\n𝄞𝄞\n",
		"byte order mark":  "\xef\xbb\xbfone\ntwo\n",
		"NUL and not text": "\x00\n\xff\xfe\n\x00",
		"a long line":      "x\n" + strings.Repeat("y", 40) + "\nz\n",
	}
	for name, content := range contents {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := result{Records: records(content), Bytes: int64(len(content))}
			want.Count = int64(len(want.Records))
			for _, limit := range []int64{40, 0} {
				for i := range len(content) + 1 {
					for j := i; j <= len(content); j++ {
						for _, together := range []bool{false, true} {
							got := read(t, together, limit, cut(content, i, j)...)
							if len(want.Records) == 0 {
								got.Records = want.Records
							}
							if d := cmp.Diff(want, got); d != "" {
								t.Fatalf("cut at %d and %d, limit %d, together %v: (-want +got)\n%s", i, j, limit, together, d)
							}
						}
					}
				}
			}
		})
	}
}

func TestRecordBelongsToThePieceInWhichItBegins(t *testing.T) {
	t.Parallel()
	const content = "aaa\nbbb\nccc\n"
	for _, tc := range []struct {
		offset, length int64
		want           string
	}{
		{0, 1, "aaa\n"},
		{0, 4, "aaa\n"},
		{0, 5, "aaa\nbbb\n"},
		{1, 3, ""},
		{1, 4, "bbb\n"},
		{3, 1, ""},
		{4, 1, "bbb\n"},
		{4, 4, "bbb\n"},
		{5, 7, "ccc\n"},
		{8, 0, ""},
		{11, 1, ""},
		{12, 0, ""},
		{20, 5, ""},
		{0, 1 << 40, content},
	} {
		in := split.Input{Piece: stint.Piece{Object: object(content), Offset: tc.offset, Length: tc.length}, File: strings.NewReader(content)}
		got, err := io.ReadAll(split.NewReader([]split.Input{in}, split.Format{Split: stint.SplitLines}, nil))
		if err != nil || string(got) != tc.want {
			t.Errorf("piece %d+%d: got %q, %v, want %q", tc.offset, tc.length, got, err, tc.want)
		}
	}
}

func TestRecordOverTheLimitNamesFileAndOffset(t *testing.T) {
	t.Parallel()
	for _, limit := range []int64{1, 2, 7, 100, 70_000, 600_000} {
		long := strings.Repeat("x", int(limit))
		for name, tc := range map[string]struct {
			content string
			at      int // of the record that is too long, -1 if none
		}{
			"at the limit":             {"\n" + long + "\n\n" + long, -1},
			"at the limit with CR":     {long[1:] + "\r\n", -1},
			"first":                    {"x" + long + "\n", 0},
			"first without LF":         {"x" + long, 0},
			"CR counts":                {long + "\r\n", 0},
			"after others":             {"\n\n" + long + "\nx" + long + "\n\n", 3 + int(limit)},
			"last without LF":          {"\n\nx" + long, 2},
			"very long, after a short": {"\n" + long + long + long + "\n", 1},
		} {
			for _, at := range []int{0, 1} { // the record is found in either piece of a cut
				inputs := cut(tc.content, min(at, len(tc.content)))
				_, err := io.Copy(io.Discard, split.NewReader(inputs, split.Format{Split: stint.SplitLines, Limit: limit}, nil))
				direct := struct{ io.Reader }{split.NewReader(inputs, split.Format{Split: stint.SplitLines, Limit: limit}, nil)}
				_, derr := io.CopyBuffer(struct{ io.Writer }{io.Discard}, direct, make([]byte, 1<<20))
				if fmt.Sprint(err) != fmt.Sprint(derr) {
					t.Errorf("%s, limit %d: WriteTo says %v, Read says %v", name, limit, err, derr)
				}
				if tc.at < 0 && err != nil {
					t.Errorf("%s, limit %d: %v", name, limit, err)
				}
				if tc.at < 0 {
					continue
				}
				want := fmt.Sprintf("record too long: the record at byte %d of file:///data/in.txt is longer than %d bytes", tc.at, limit)
				if stint.CodeOf(err) != stint.Invalid || err.Error() != want {
					t.Errorf("%s, limit %d: got %v, want %s", name, limit, err, want)
				}
			}
		}
	}
}

// endless is a file of one record, as long as one likes.
type endless struct{ read int64 }

func (e *endless) ReadAt(p []byte, _ int64) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.read += int64(len(p))
	return len(p), nil
}

func TestEndlessRecordIsReadNoFurtherThanNeeded(t *testing.T) {
	t.Parallel()
	o := stint.Object{URL: "file:///x", Size: 1 << 50}
	file := &endless{}
	_, err := io.Copy(io.Discard, split.NewReader([]split.Input{{Piece: stint.Piece{Object: o, Length: 10}, File: file}}, split.Format{}, nil))
	if stint.CodeOf(err) != stint.Invalid || file.read > split.MaxRecord+(1<<20) {
		t.Errorf("read %d bytes, then %v", file.read, err)
	}
	file = &endless{}
	n, err := io.Copy(io.Discard, split.NewReader([]split.Input{{Piece: stint.Piece{Object: o, Offset: 5, Length: 10_000_000}, File: file}}, split.Format{}, nil))
	if n != 0 || err != nil || file.read > 10_000_001 {
		t.Errorf("a piece in which no record begins gave %d bytes, %v, after reading %d", n, err, file.read)
	}
}

func TestSmallPieceReadsLittleBehindItsEnd(t *testing.T) {
	t.Parallel()
	content := strings.Repeat(strings.Repeat("x", 99)+"\n", 10_000)
	file := &countingFile{ReaderAt: strings.NewReader(content)}
	in := split.Input{Piece: stint.Piece{Object: object(content), Offset: 1050, Length: 1000}, File: file}
	got, err := io.ReadAll(split.NewReader([]split.Input{in}, split.Format{}, nil))
	if err != nil || len(got) != 1000 || file.read > 6000 {
		t.Errorf("got %d bytes, %v, from %d", len(got), err, file.read)
	}
}

type countingFile struct {
	io.ReaderAt
	read int
}

func (c *countingFile) ReadAt(p []byte, off int64) (int, error) {
	c.read += len(p)
	return c.ReaderAt.ReadAt(p, off)
}

func TestShortenedObjectIsFound(t *testing.T) {
	t.Parallel()
	const content = "one\ntwo\nthree\n"
	for _, kind := range []stint.Split{stint.SplitLines, stint.SplitFiles} {
		for n := range len(content) {
			in := split.Input{Piece: stint.Piece{Object: object(content), Length: int64(len(content))}, File: strings.NewReader(content[:n])}
			_, err := io.ReadAll(split.NewReader([]split.Input{in}, split.Format{Split: kind}, nil))
			want := fmt.Sprintf("input changed: file:///data/in.txt has %d bytes now, had %d; submit again", n, len(content))
			if stint.CodeOf(err) != stint.Invalid || err.Error() != want {
				t.Errorf("%s cut to %d bytes: got %v, want %s", kind, n, err, want)
			}
		}
	}
}

func TestGrownObjectIsReadAsListed(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"one\ntwo", "one\ntwo\n"} {
		for i := range len(content) + 1 {
			inputs := cut(content, i)
			for j := range inputs {
				inputs[j].File = strings.NewReader(content + "more\nand more\n")
			}
			if d := cmp.Diff([]string{"one", "two"}, read(t, true, 0, inputs...).Records); d != "" {
				t.Errorf("%q cut at %d: (-want +got)\n%s", content, i, d)
			}
		}
	}
}

type brokenFile struct{ err error }

func (b brokenFile) ReadAt([]byte, int64) (int, error) { return 0, b.err }

func TestReadErrorIsTheNodesFault(t *testing.T) {
	t.Parallel()
	cause := errors.New("input/output error")
	in := split.Input{Piece: stint.Piece{Object: stint.Object{URL: "file:///x", Size: 9}, Length: 9}, File: brokenFile{cause}}
	r := split.NewReader([]split.Input{in}, split.Format{}, nil)
	for range 2 { // an error is final
		_, err := io.ReadAll(r)
		if stint.CodeOf(err) != stint.Unavailable || !errors.Is(err, cause) || !strings.Contains(err.Error(), "file:///x") {
			t.Errorf("got %v", err)
		}
	}
}

func TestFilesAreDeliveredWholeAndAsTheyAre(t *testing.T) {
	t.Parallel()
	contents := []string{"no LF", "", "\r\n\x00", strings.Repeat("long", 300_000)}
	var inputs []split.Input
	for _, c := range contents {
		inputs = append(inputs, cut(c)...)
	}
	r := split.NewReader(inputs, split.Format{Split: stint.SplitFiles, Limit: 10}, nil)
	got, err := io.ReadAll(r)
	want := strings.Join(contents, "")
	if err != nil || string(got) != want {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(want))
	}
	if r.Records() != 4 || r.Bytes() != int64(len(want)) {
		t.Errorf("%d records of %d bytes", r.Records(), r.Bytes())
	}
}

func TestPiecesThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	o := object("0123456789")
	for name, tc := range map[string]struct {
		kind  stint.Split
		piece stint.Piece
	}{
		"negative offset":   {stint.SplitLines, stint.Piece{Object: o, Offset: -1, Length: 2}},
		"negative length":   {stint.SplitLines, stint.Piece{Object: o, Length: -2}},
		"overflow":          {stint.SplitLines, stint.Piece{Object: o, Offset: 5, Length: 1<<63 - 1}},
		"negative size":     {stint.SplitLines, stint.Piece{Object: stint.Object{Size: -1}}},
		"part of a file":    {stint.SplitFiles, stint.Piece{Object: o, Length: 5}},
		"range over pieces": {stint.SplitRange, stint.Piece{Object: o, Length: 10}},
		"unknown kind":      {"csv", stint.Piece{Object: o, Length: 10}},
	} {
		in := split.Input{Piece: tc.piece, File: strings.NewReader("0123456789")}
		if _, err := io.ReadAll(split.NewReader([]split.Input{in}, split.Format{Split: tc.kind}, nil)); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestReadAndWriteToMix(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("some line\n", 200_000) + "last"
	for _, size := range []int{1, 3, 5000, 64 << 10, 1 << 20, 4 << 20} {
		r := split.NewReader(cut(content, 7, 1_000_003, 1_500_000), split.Format{}, nil)
		var out bytes.Buffer
		p := make([]byte, size)
		n, err := r.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(p[:n])
		if _, err := r.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		if out.String() != content+"\n" || r.Records() != 200_001 || r.Bytes() != int64(len(content)) {
			t.Errorf("first read of %d: %d bytes, %d records of %d", size, out.Len(), r.Records(), r.Bytes())
		}
	}
}

func TestReaderKeepsTheContractOfReaders(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("some line\n", 30_000) + "last"
	if err := iotest.TestReader(split.NewReader(cut(content, 5, 100_000), split.Format{}, nil), []byte(content+"\n")); err != nil {
		t.Error(err)
	}
}

// FuzzCuts: any cut of any content gives every record exactly once, in order.
func FuzzCuts(f *testing.F) {
	f.Add("one\ntwo\r\nthree", uint16(3), uint16(8), uint8(0))
	f.Add("\r\n\r\n", uint16(1), uint16(2), uint8(5))
	f.Add("ä€𝄞\nx", uint16(1), uint16(4), uint8(12))
	f.Add("", uint16(0), uint16(0), uint8(1))
	f.Fuzz(func(t *testing.T, content string, a, b uint16, limit uint8) {
		want := records(content)
		longest := 1
		for _, r := range want {
			longest = max(longest, len(r))
		}
		inputs := cut(content, int(a)%(len(content)+1), int(b)%(len(content)+1))
		got := read(t, limit%2 == 0, int64(longest)+int64(limit), inputs...)
		if !slices.Equal(got.Records, want) || got.Bytes != int64(len(content)) {
			t.Fatalf("%q cut at %d and %d gave %q", content, a, b, got.Records)
		}
		// One byte less than the longest record needs is noticed, whatever the cut.
		if longest > 1 {
			var err error
			for _, in := range inputs {
				_, e := io.Copy(io.Discard, split.NewReader([]split.Input{in}, split.Format{Limit: int64(longest) - 1}, nil))
				err = errors.Join(err, e)
			}
			if stint.CodeOf(err) != stint.Invalid {
				t.Fatalf("%q cut at %d and %d with limit %d: %v", content, a, b, longest-1, err)
			}
		}
	})
}

// BenchmarkLines reads a file of plain lines from the page cache.
func BenchmarkLines(b *testing.B) {
	for _, line := range []int{8, 80, 1000} {
		path := filepath.Join(b.TempDir(), "in.txt")
		const size = 256 << 20
		content := bytes.Repeat([]byte(strings.Repeat("x", line-1)+"\n"), size/line)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			b.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		defer file.Close() //nolint:errcheck // only read
		o := stint.Object{URL: "file://" + path, Size: int64(len(content))}
		for _, piece := range []int64{64 << 10, 64 << 20} {
			b.Run(fmt.Sprintf("line=%d/piece=%dKiB", line, piece>>10), func(b *testing.B) {
				b.SetBytes(o.Size)
				for b.Loop() {
					var inputs []split.Input
					for off := int64(0); off < o.Size; off += piece {
						inputs = append(inputs, split.Input{Piece: stint.Piece{Object: o, Offset: off + 1, Length: min(piece, o.Size-off)}, File: file})
					}
					if _, err := split.NewReader(inputs, split.Format{}, nil).WriteTo(nothing{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// nothing is a writer without ReadFrom.
type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }
