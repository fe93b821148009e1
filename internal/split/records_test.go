package split_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/split"
)

// wanted is what readers of a format are held to: the whole content cut by the
// rule, byte by byte.
func wanted(content string, f split.Format) (out string, count int64) {
	if f.Hadoop && content == "\ufeff" {
		return "", 0 // an object of a byte order mark alone is empty
	}
	var b strings.Builder
	for at := 0; at < len(content); {
		end, after := endOf(content, at, f)
		record := content[at:end]
		if f.Hadoop && at == 0 {
			record = strings.TrimPrefix(record, "\ufeff")
		}
		if f.Offsets != "" {
			b.WriteString(strconv.Itoa(at) + f.Offsets)
		}
		b.WriteString(record + "\n")
		count++
		at = after
	}
	return b.String(), count
}

func endOf(content string, at int, f split.Format) (end, after int) {
	for i := at; i < len(content); i++ {
		switch {
		case f.Delimiter != "" && strings.HasPrefix(content[i:], f.Delimiter):
			return i, i + len(f.Delimiter)
		case f.Delimiter != "":
		case f.Hadoop && strings.HasPrefix(content[i:], "\r\n"):
			return i, i + 2
		case content[i] == '\n', f.Hadoop && content[i] == '\r':
			return i, i + 1
		}
	}
	return len(content), len(content)
}

// readPieces reads each piece with a reader of its own and puts together what they
// deliver.
func readPieces(t *testing.T, inputs []split.Input, f split.Format) (out string, count, size int64) {
	t.Helper()
	var b bytes.Buffer
	for _, in := range inputs {
		r := split.NewReader([]split.Input{in}, f, nil)
		if _, err := r.WriteTo(&b); err != nil {
			t.Fatalf("read %d bytes at %d: %v", in.Piece.Length, in.Piece.Offset, err)
		}
		count, size = count+r.Records(), size+r.Bytes()
	}
	return b.String(), count, size
}

func formats() map[string]split.Format {
	return map[string]split.Format{
		"one byte":             {Delimiter: ";"},
		"two bytes":            {Delimiter: "ab"},
		"overlaps itself":      {Delimiter: "aa"},
		"overlaps itself by 2": {Delimiter: "abab"},
		"of one byte thrice":   {Delimiter: "\n\n\n"},
		"overlaps by 1":        {Delimiter: "a\na"},
		"with LF in it":        {Delimiter: ";\n"},
		"Hadoop":               {Hadoop: true},
		"Hadoop, delimiter":    {Hadoop: true, Delimiter: "ab"},
		"offsets":              {Offsets: "\t"},
		"Hadoop, offsets":      {Hadoop: true, Offsets: ": "},
		"offsets, delimiter":   {Delimiter: "aba", Offsets: "\t"},
	}
}

func TestEveryCutGivesEveryRecordOnceInEveryFormat(t *testing.T) {
	t.Parallel()
	for name, f := range formats() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(7, 11))
			for range 3000 {
				content := randomText(rng, "ab;\n\r", rng.IntN(40))
				if rng.IntN(4) == 0 {
					content = "\ufeff" + content
				}
				checkCuts(t, content, f, randomCuts(rng, len(content)))
			}
		})
	}
}

func TestEveryCutGivesEveryRecordOnceInLongText(t *testing.T) {
	t.Parallel()
	for name, f := range formats() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(5, 3))
			for _, alphabet := range []string{"a", "ab", "\n", "xyz\r\n", "0123456789abcdefghijklmnopqrstuvwxyz;\n"} {
				content := randomText(rng, alphabet, 200_000)
				checkCuts(t, content, f, randomCuts(rng, len(content)))
			}
		})
	}
}

func randomText(rng *rand.Rand, alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return string(b)
}

func randomCuts(rng *rand.Rand, n int) []int {
	at := make([]int, rng.IntN(6))
	for i := range at {
		at[i] = rng.IntN(n + 1)
	}
	return at
}

func checkCuts(t *testing.T, content string, f split.Format, at []int) {
	t.Helper()
	want, count := wanted(content, f)
	got, n, size := readPieces(t, cut(content, at...), f)
	if got != want || n != count || n > 0 && size != int64(len(content)) {
		t.Fatalf("content %.200q cut at %v: %d records of %d bytes, want %d of %d\n%s", content, at, n, size, count, len(content), cmp.Diff(want, got))
	}
}

// longest notes how much is read at once.
type longest struct {
	io.ReaderAt
	read int
}

func (l *longest) ReadAt(p []byte, off int64) (int, error) {
	l.read = max(l.read, len(p))
	return l.ReaderAt.ReadAt(p, off)
}

func TestWhereARecordBeginsIsFoundInBoundedMemory(t *testing.T) {
	t.Parallel()
	for _, size := range []int{5_000_000, 5_000_001} {
		content := "b" + strings.Repeat("a", size)
		file := &longest{ReaderAt: strings.NewReader(content)}
		object := stint.Object{URL: "file:///x", Size: int64(len(content))}
		inputs := []split.Input{
			{Piece: stint.Piece{Object: object, Length: 4_000_000}, File: file},
			{Piece: stint.Piece{Object: object, Offset: 4_000_000, Length: object.Size - 4_000_000}, File: file},
		}
		_, count, _ := readPieces(t, inputs, split.Format{Delimiter: "aa"})
		if want := int64(size/2 + size%2); count != want {
			t.Errorf("%d records, want %d", count, want)
		}
		if file.read > 1<<20 {
			t.Errorf("%d bytes were read at once", file.read)
		}
	}
}

func TestReadersOfRecordsKeepTheContractOfReaders(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("one\r\ntwo\rthree\n", 20_000)
	f := split.Format{Hadoop: true}
	want, _ := wanted(content, f)
	if err := iotest.TestReader(split.NewReader(cut(content, 5, 100_000), f, nil), []byte(want)); err != nil {
		t.Error(err)
	}
}

func TestRecordOverTheLimitIsFoundInEveryFormat(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		format  split.Format
		content string
		at      string
	}{
		"delimiter": {split.Format{Delimiter: ";;"}, "ok;;" + strings.Repeat("x", 11) + ";;ok", "byte 4 "},
		"endless":   {split.Format{Delimiter: ";;"}, "ok;;" + strings.Repeat("x", 2_000_000), "byte 4 "},
		"Hadoop":    {split.Format{Hadoop: true}, "ok\r" + strings.Repeat("x", 11) + "\nok", "byte 3 "},
		"offsets":   {split.Format{Offsets: "\t"}, strings.Repeat("x", 11), "byte 0 "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.format.Limit = 10
			_, err := io.Copy(io.Discard, split.NewReader(cut(tc.content), tc.format, nil))
			if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), tc.at) {
				t.Errorf("error is %v, want invalid at %s", err, tc.at)
			}
			tc.format.Limit = int64(len(tc.content))
			if _, err := io.Copy(io.Discard, split.NewReader(cut(tc.content), tc.format, nil)); err != nil {
				t.Errorf("with a limit of all bytes: %v", err)
			}
		})
	}
}

func TestPiecesByCountAreReadAsLines(t *testing.T) {
	t.Parallel()
	content := "a\nb\nc\nd\ne"
	for i, want := range []string{"a\nb\n", "c\nd\n", "e\n"} {
		in := cut(content, 4, 8)[i]
		got, err := io.ReadAll(split.NewReader([]split.Input{in}, split.Format{Split: stint.SplitCount}, nil))
		if err != nil || string(got) != want {
			t.Errorf("piece %d is %q, %v; want %q", i, got, err, want)
		}
	}
}

func formatOf(t *testing.T, stage *stint.Stage, compression string) split.Format {
	t.Helper()
	f, err := split.FormatOf(stage, compression)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFormatOfAStage(t *testing.T) {
	t.Parallel()
	stage := &stint.Stage{Input: stint.Edge{Kind: stint.FromInput, Split: stint.SplitCount, Delimiter: "|"}}
	if got, want := formatOf(t, stage, "none"), (split.Format{Split: stint.SplitCount, Delimiter: "|", Compression: "none"}); got != want {
		t.Errorf("format is %+v, want %+v", got, want)
	}
	stage.Input.Delimiter = `\0\xff`
	if got := formatOf(t, stage, ""); got.Delimiter != "\x00\xff" {
		t.Errorf("records end with %q", got.Delimiter)
	}
	if _, err := split.FormatOf(&stint.Stage{Input: stint.Edge{Delimiter: `\q`}}, ""); stint.CodeOf(err) != stint.Invalid {
		t.Errorf("a bad escape: %v", err)
	}
	stage.Streaming = &stint.Streaming{Mode: stint.StreamHadoop, Offsets: true}
	if got := formatOf(t, stage, ""); !got.Hadoop || got.Offsets != "\t" {
		t.Errorf("format of a Hadoop stage with offsets is %+v", got)
	}
	stage.Streaming.InputSeparator = "="
	if got := formatOf(t, stage, ""); got.Offsets != "=" {
		t.Errorf("offsets end with %q, want the stage's separator", got.Offsets)
	}
}

// FuzzFormats: whatever the bytes, the cuts and the delimiter, every record comes once.
func FuzzFormats(f *testing.F) {
	f.Add("a\r\nb\rc\n", "", uint16(2), uint16(5), true)
	f.Add("aaaaaaa", "aa", uint16(3), uint16(4), false)
	f.Add("\ufeffx\n\n\ny", "\n\n", uint16(1), uint16(6), true)
	f.Fuzz(func(t *testing.T, content, delimiter string, a, b uint16, hadoop bool) {
		at := []int{int(a) % (len(content) + 1), int(b) % (len(content) + 1)}
		slices.Sort(at)
		checkCuts(t, content, split.Format{Delimiter: delimiter, Hadoop: hadoop, Offsets: "\t"}, at)
	})
}

func BenchmarkRecords(b *testing.B) {
	for _, length := range []int{8, 80, 1000} {
		content := strings.Repeat(strings.Repeat("x", length-1)+"\n", (64<<20)/length)
		for _, name := range []string{"Hadoop", "offsets", "with LF in it"} {
			f := formats()[name]
			if f.Delimiter != "" {
				f.Delimiter = "x\n"
			}
			b.Run(fmt.Sprintf("line=%d/%s", length, name), func(b *testing.B) {
				b.SetBytes(int64(len(content)))
				for b.Loop() {
					if _, err := split.NewReader(cut(content), f, nil).WriteTo(nothing{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
