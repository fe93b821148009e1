package split_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"stint"
	"stint/internal/split"
)

func gzipped(tb testing.TB, members ...string) string {
	tb.Helper()
	var b bytes.Buffer
	for _, m := range members {
		w := gzip.NewWriter(&b)
		_, err := io.WriteString(w, m)
		if err := errors.Join(err, w.Close()); err != nil {
			tb.Fatal(err)
		}
	}
	return b.String()
}

func zstdFrames(tb testing.TB, frames ...string) string {
	tb.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer e.Close() //nolint:errcheck // it writes nowhere
	var b []byte
	for _, f := range frames {
		b = e.EncodeAll([]byte(f), b)
	}
	return string(b)
}

// helloBzip2 is "hello\nworld\n" as bzip2 writes it: no package here can.
const helloBzip2 = "QlpoOTFBWSZTWWtfsd0AAAJBgAAQBkSQgCAAMQwIIaNpCAcjroeLuSKcKEg1r9jugA=="

// input is a whole object of a name.
func input(name, content string) split.Input {
	o := stint.Object{URL: "file:///data/" + name, Size: int64(len(content)), Version: "v"}
	return split.Input{Piece: stint.Piece{Object: o, Length: o.Size}, File: strings.NewReader(content)}
}

func TestCompressedObjectsAreReadAsWhatTheyHold(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a line of text\n", 300_000)
	skippable := "\x52\x2a\x4d\x18\x03\x00\x00\x00abc"
	for name, tc := range map[string]struct {
		in     split.Input
		format split.Format
		want   string
		count  int64
	}{
		"gzip":                   {in: input("a.gz", gzipped(t, "one\ntwo\n")), want: "one\ntwo\n", count: 2},
		"gzip without last LF":   {in: input("a.gz", gzipped(t, "one\ntwo")), want: "one\ntwo\n", count: 2},
		"gzip of two members":    {in: input("a.gz", gzipped(t, "one\nt", "wo\nthree\n")), want: "one\ntwo\nthree\n", count: 3},
		"gzip of nothing":        {in: input("a.gz", gzipped(t, "")), want: "", count: 0},
		"gzip, empty members":    {in: input("a.gz", gzipped(t, "", "a\n", "", "", "b\n", "")), want: "a\nb\n", count: 2},
		"gzip, long":             {in: input("a.gz", gzipped(t, long)), want: long, count: 300_000},
		"gzip, whole":            {in: input("a.gz", gzipped(t, "one\ntwo")), format: split.Format{Split: stint.SplitFiles}, want: "one\ntwo", count: 1},
		"gzip, CR":               {in: input("a.gz", gzipped(t, "\ufeffone\r\ntwo\r")), format: split.Format{Hadoop: true}, want: "one\ntwo\n", count: 2},
		"gzip, offsets":          {in: input("a.gz", gzipped(t, "one\nt", "wo\nx")), format: split.Format{Offsets: "\t"}, want: "0\tone\n4\ttwo\n8\tx\n", count: 3},
		"gzip, delimiter":        {in: input("a.gz", gzipped(t, "one;;two;;")), format: split.Format{Delimiter: ";;"}, want: "one\ntwo\n", count: 2},
		"gzip, as it is":         {in: input("a.gz", "no gzip\n"), format: split.Format{Compression: "none"}, want: "no gzip\n", count: 1},
		"zstd":                   {in: input("a.zst", zstdFrames(t, "one\ntwo\n")), want: "one\ntwo\n", count: 2},
		"zstd of frames":         {in: input("a.zst", zstdFrames(t, "one\nt", "", "wo\nthree")), want: "one\ntwo\nthree\n", count: 3},
		"zstd, long":             {in: input("a.zst", zstdFrames(t, long)), want: long, count: 300_000},
		"zstd, skippable frames": {in: input("a.zst", skippable+zstdFrames(t, "one\n")+skippable), want: "one\n", count: 1},
		"zstd, whole":            {in: input("a.zst", zstdFrames(t, long)), format: split.Format{Split: stint.SplitFiles}, want: long, count: 1},
		"bzip2":                  {in: input("a.bz2", hello(t)), want: "hello\nworld\n", count: 2},
		"bzip2 of two streams":   {in: input("a.bz2", hello(t)+hello(t)), want: "hello\nworld\nhello\nworld\n", count: 4},
		"empty object":           {in: input("a.gz", ""), want: "", count: 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var decoders split.Decoders
			defer decoders.Close()
			for range 2 { // the second time with the decoders of the first
				r := split.NewReader([]split.Input{tc.in}, tc.format, &decoders)
				got, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, string(got)); diff != "" {
					t.Error(diff)
				}
				if r.Records() != tc.count || r.Bytes() != tc.in.Piece.Length {
					t.Errorf("%d records of %d bytes, want %d of %d", r.Records(), r.Bytes(), tc.count, tc.in.Piece.Length)
				}
			}
		})
	}
}

func hello(tb testing.TB) string {
	tb.Helper()
	b, err := base64.StdEncoding.DecodeString(helloBzip2)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func TestPiecesOfPlainAndCompressedObjectsAreReadInOrder(t *testing.T) {
	t.Parallel()
	inputs := []split.Input{
		input("a", "1\n2"), input("b.gz", gzipped(t, "3\n")), input("c.zst", zstdFrames(t, "4")), input("d.gz", gzipped(t, "5")),
		input("e.bz2", hello(t)), input("f", "7"),
	}
	for _, f := range []split.Format{{}, {Hadoop: true}} {
		got, err := io.ReadAll(split.NewReader(slices.Clone(inputs), f, nil))
		if err != nil || string(got) != "1\n2\n3\n4\n5\nhello\nworld\n7\n" {
			t.Errorf("read %q, %v", got, err)
		}
	}
}

func TestDamagedObjectsAreInvalid(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("some text that is long enough\n", 1000)
	gz, zst, bz := gzipped(t, text), zstdFrames(t, text), hello(t)
	flip := func(s string, at int) string { return s[:at] + string(s[at]^0x55) + s[at+1:] }
	for name, tc := range map[string]struct{ file, content, want string }{
		"plain content, gzip":      {"x.gz", "AB, not gzip", "not_gzip: file:///data/x.gz begins with 41 42; expected 1f 8b"},
		"plain content, one byte":  {"x.gz", "A", "not_gzip: file:///data/x.gz begins with 41; "},
		"plain content, zstd":      {"x.zst", "not zstd", "not_zstd: file:///data/x.zst begins with 6e 6f 74 20; expected 28 b5 2f fd"},
		"plain content, bzip2":     {"x.bz2", "no", "not_bzip2: file:///data/x.bz2 begins with 6e 6f; expected 42 5a 68"},
		"garbage, gzip":            {"x.gz", gz + "garbage", "trailing_data: "},
		"zeros, gzip":              {"x.gz", gz + "\x00\x00", "trailing_data: "},
		"garbage, zstd":            {"x.zst", zst + "garbage", "trailing_data: "},
		"garbage, bzip2":           {"x.bz2", bz + "garbage", "trailing_data: "},
		"cut, gzip":                {"x.gz", gz[:len(gz)-9], "truncated_gzip: "},
		"cut in the sum, gzip":     {"x.gz", gz[:len(gz)-1], "truncated_gzip: "},
		"cut in the head, gzip":    {"x.gz", gz[:1], "truncated_gzip: "},
		"cut behind magic, gzip":   {"x.gz", gz[:2], "truncated_gzip: "},
		"cut in 2nd member, gzip":  {"x.gz", gz + gz[:7], "truncated_gzip: "},
		"cut, zstd":                {"x.zst", zst[:len(zst)-5], "truncated_zstd: "},
		"cut in the head, zstd":    {"x.zst", zst[:3], "truncated_zstd: "},
		"cut, bzip2":               {"x.bz2", bz[:len(bz)-5], "truncated_bzip2: "},
		"cut in the head, bzip2":   {"x.bz2", bz[:2], "truncated_bzip2: "},
		"flipped sum, gzip":        {"x.gz", flip(gz, len(gz)-6), "corrupt_gzip: "},
		"flipped, zstd":            {"x.zst", flip(zst, len(zst)-2), "corrupt_zstd: "},
		"flipped, bzip2":           {"x.bz2", flip(bz, 12), "corrupt_bzip2: "},
		"large window, zstd":       {"x.zst", "\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00", "window_too_large: "},
		"bomb":                     {"x.zst", bomb(t, 1100), "expansion_limit: "},
		"record too long, in gzip": {"x.gz", gzipped(t, "ok\n"+strings.Repeat("x", split.MaxRecord+1)), "record too long: the record at byte 3 "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var decoders split.Decoders
			defer decoders.Close()
			_, err := io.Copy(io.Discard, split.NewReader([]split.Input{input(tc.file, tc.content)}, split.Format{}, &decoders))
			if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error is %v, want invalid with %q", err, tc.want)
			}
			again := []split.Input{input("y.gz", gzipped(t, "y\n")), input("y.zst", zstdFrames(t, "z\n"))}
			if b, err := io.ReadAll(split.NewReader(again, split.Format{}, &decoders)); err != nil || string(b) != "y\nz\n" {
				t.Errorf("the next objects are read as %q, %v", b, err)
			}
		})
	}
}

// bomb returns so many MiB of LFs in very few bytes.
func bomb(tb testing.TB, mebibytes int) string {
	tb.Helper()
	return strings.Repeat(zstdFrames(tb, strings.Repeat("\n", 16<<20)), mebibytes/16+1)
}

func TestCutsOfCompressedObjectsAreRefused(t *testing.T) {
	t.Parallel()
	in := input("x.gz", gzipped(t, "one\ntwo\n"))
	in.Piece.Offset, in.Piece.Length = 5, 3
	_, err := io.ReadAll(split.NewReader([]split.Input{in}, split.Format{}, nil))
	if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), "not_splittable: ") {
		t.Errorf("error is %v, want not_splittable", err)
	}
}

func TestReadErrorOfACompressedObjectIsTheNodesFault(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"x.gz", "x.zst", "x.bz2"} {
		in := input(name, "0123456789")
		in.File = brokenFile{err: syscall.EIO}
		_, err := io.ReadAll(split.NewReader([]split.Input{in}, split.Format{}, nil))
		if stint.CodeOf(err) != stint.Unavailable || !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: error is %v, want unavailable by EIO", name, err)
		}
		in.File = strings.NewReader("012")
		if _, err := io.ReadAll(split.NewReader([]split.Input{in}, split.Format{}, nil)); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%s: error of a shortened object is %v, want invalid", name, err)
		}
	}
}

func TestManyEmptyMembersComeToAnEnd(t *testing.T) {
	t.Parallel()
	in := input("x.gz", strings.Repeat(gzipped(t, ""), 100_000)+gzipped(t, "end\n"))
	b, err := io.ReadAll(split.NewReader([]split.Input{in}, split.Format{}, nil))
	if err != nil || string(b) != "end\n" {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestWhatIsABomb(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		length, size int64
		bomb         bool
	}{
		{1 << 30, 1, false}, {1<<30 + 1, 1, true}, {2 << 30, 1 << 20, true}, {2 << 30, 1 << 22, false}, {1 << 40, 1 << 38, false}, {1<<40 + 1, 1 << 38, true},
	} {
		if got := split.IsBomb(tc.length, tc.size); got != tc.bomb {
			t.Errorf("%d bytes out of %d: a bomb %v, want %v", tc.length, tc.size, got, tc.bomb)
		}
	}
}

// FuzzCompressed: whatever the bytes, reading ends, and a failure is the object's.
func FuzzCompressed(f *testing.F) {
	f.Add(gzipped(f, "one\ntwo\n", "three"), uint8(0))
	f.Add(zstdFrames(f, "one\ntwo\n", "three"), uint8(1))
	f.Add(hello(f), uint8(2))
	f.Fuzz(func(t *testing.T, content string, codec uint8) {
		name := []string{"x.gz", "x.zst", "x.bz2"}[codec%3]
		_, err := io.Copy(io.Discard, split.NewReader([]split.Input{input(name, content)}, split.Format{}, nil))
		if err != nil && stint.CodeOf(err) != stint.Invalid {
			t.Errorf("error is %v", err)
		}
	})
}

func BenchmarkCompressed(b *testing.B) {
	content := strings.Repeat("2024-05-01 12:00:00 GET /index.html 200 1234 some agent or other\n", 500_000)
	for name, compressed := range map[string]string{"x.gz": gzipped(b, content), "x.zst": zstdFrames(b, content)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			var d split.Decoders
			for b.Loop() {
				if _, err := split.NewReader([]split.Input{input(name, compressed)}, split.Format{}, &d).WriteTo(nothing{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestTheCodecIsThatOfTheNameNotOfItsQuery(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]stint.Codec{
		"file:///a.gz":                        stint.Gzip,
		"file:///a.gz%3Fx=1":                  stint.Plain,
		"s3://bucket/a.zst":                   stint.Zstd,
		"https://host/a.bz2":                  stint.Bzip2,
		"https://host/a.gz?signature=a.b/c.d": stint.Gzip,
		"http://host/list?file=a.gz":          stint.Plain,
		"http://host/a.txt?":                  stint.Plain,
	} {
		if got := stint.CodecOf(url, ""); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
		if got := stint.CodecOf(url, "none"); got != stint.Plain {
			t.Errorf("%s: %q though nothing is compressed", url, got)
		}
	}
}
