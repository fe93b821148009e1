package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"stint"
	"stint/internal/archive"
)

// file is an entry of an archive that a test makes.
type file struct {
	name, text string
	mode       int64
	kind       byte // of a tar; 0: a file
	link       string
	pax        map[string]string
}

func tarOf(tb testing.TB, files ...file) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Size: int64(len(f.text)), Mode: 0o644, Typeflag: tar.TypeReg, Linkname: f.link, PAXRecords: f.pax}
		if f.mode != 0 {
			h.Mode = f.mode
		}
		if f.kind != 0 {
			h.Typeflag = f.kind
		}
		if f.pax != nil {
			h.Format = tar.FormatPAX
		}
		if err := w.WriteHeader(h); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func zipOf(tb testing.TB, files ...file) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		if f.mode != 0 {
			h.ExternalAttrs = uint32(f.mode) << 16 //nolint:gosec // a mode
			h.CreatorVersion = 3 << 8
		}
		if strings.HasSuffix(f.name, "/") {
			h.Method = zip.Store
		}
		e, err := w.CreateHeader(h)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(e, f.text); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// stored makes a zip by hand, entry by entry, of one stored file each, whose
// headers a test may change.
type stored struct {
	bytes.Buffer
	directory bytes.Buffer
	count     int
}

// central is the part of the directory about an entry, and local what stands
// before its data.
func (s *stored) add(name, text string, change func(local, central []byte)) *stored {
	const version = 20
	local := binary.LittleEndian.AppendUint32(nil, 0x04034b50)
	fields := func(b []byte) []byte {
		for _, v := range []uint16{version, 0, 0, 0, 0} { // version, flags, method, time, date
			b = binary.LittleEndian.AppendUint16(b, v)
		}
		b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE([]byte(text)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
		return binary.LittleEndian.AppendUint16(b, 0)
	}
	local = append(fields(local), name...)
	central := binary.LittleEndian.AppendUint32(nil, 0x02014b50)
	central = fields(binary.LittleEndian.AppendUint16(central, version))
	central = append(central, make([]byte, 10)...)
	central = binary.LittleEndian.AppendUint32(central, uint32(s.Len()))
	central = append(central, name...)
	if change != nil {
		change(local, central)
	}
	s.Write(local)
	s.WriteString(text)
	s.directory.Write(central)
	s.count++
	return s
}

// again has the directory name the latest entry once more, under another name of
// the same length.
func (s *stored) again(name string) *stored {
	last := bytes.Clone(s.directory.Bytes()[s.directory.Len()-46-len(name):])
	copy(last[46:], name)
	s.directory.Write(last)
	s.count++
	return s
}

// end is the archive, with a comment.
func (s *stored) end(comment string) []byte {
	out := bytes.Clone(s.Bytes())
	at := len(out)
	out = append(out, s.directory.Bytes()...)
	out = binary.LittleEndian.AppendUint32(out, 0x06054b50)
	for _, v := range []uint16{0, 0, uint16(s.count), uint16(s.count)} {
		out = binary.LittleEndian.AppendUint16(out, v)
	}
	out = binary.LittleEndian.AppendUint32(out, uint32(s.directory.Len()))
	out = binary.LittleEndian.AppendUint32(out, uint32(at))
	out = binary.LittleEndian.AppendUint16(out, uint16(len(comment)))
	return append(out, comment...)
}

func gzipped(tb testing.TB, parts ...[]byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		w := gzip.NewWriter(&b)
		if _, err := w.Write(p); err != nil {
			tb.Fatal(err)
		}
		if err := w.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Bytes()
}

func zstded(tb testing.TB, b []byte) []byte {
	tb.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

func check(b []byte) ([]archive.Entry, []string, error) {
	return archive.Check(bytes.NewReader(b), int64(len(b)))
}

// contents are the files of an archive by name.
func contents(t *testing.T, b []byte) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := archive.Walk(bytes.NewReader(b), int64(len(b)), func(e archive.Entry, body io.Reader) error {
		text, err := io.ReadAll(body)
		out[fmt.Sprintf("%s %o", e.Name, e.Mode)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestArchivesOfEveryKindHaveTheSameFiles(t *testing.T) {
	t.Parallel()
	files := []file{{name: "./program.yaml", text: "name: p\n"}, {name: "lib/", kind: tar.TypeDir, mode: 0o755}, {name: "lib/run.sh", text: strings.Repeat("x", 100_000), mode: 0o755}, {name: "empty"}}
	zipped := []file{{name: "program.yaml", text: "name: p\n"}, {name: "lib/"}, {name: `lib\run.sh`, text: strings.Repeat("x", 100_000), mode: 0o100755}, {name: "empty"}}
	want := map[string]string{"program.yaml 644": "name: p\n", "lib/run.sh 755": strings.Repeat("x", 100_000), "empty 644": ""}
	plain := tarOf(t, files...)
	for name, c := range map[string]struct {
		kind archive.Kind
		b    []byte
	}{
		"tar":                        {archive.Tar, plain},
		"tar.gz":                     {archive.TarGzip, gzipped(t, plain)},
		"tar.gz of three members":    {archive.TarGzip, gzipped(t, plain[:700], nil, plain[700:])},
		"tar.zst":                    {archive.TarZstd, zstded(t, plain)},
		"zip":                        {archive.Zip, zipOf(t, zipped...)},
		"tar with padding":           {archive.Tar, append(bytes.Clone(plain), make([]byte, 10240)...)},
		"zip with a comment":         {archive.Zip, withComment(zipOf(t, zipped...), "a comment")},
		"tar with an owner, row U23": {archive.Tar, tarOf(t, append([]file{}, files...)...)},
	} {
		kind, err := archive.Detect(bytes.NewReader(c.b), int64(len(c.b)))
		if err != nil || kind != c.kind {
			t.Errorf("%s: kind %q, %v", name, kind, err)
		}
		list, warnings, err := check(c.b)
		if err != nil || len(list) != 3 || len(warnings) > 0 {
			t.Errorf("%s: %v %q %v", name, list, warnings, err)
			continue
		}
		if diff := cmp.Diff(want, contents(t, c.b)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func withComment(b []byte, comment string) []byte {
	b = bytes.Clone(b)
	binary.LittleEndian.PutUint16(b[len(b)-2:], uint16(len(comment)))
	return append(b, comment...)
}

// TestBadArchives has the rows of the list of bad inputs by their numbers. What
// there is no upload of (parts, quotas, forms, modules of WASM) has no rows.
func TestBadArchives(t *testing.T) {
	t.Parallel()
	one := func(name string) []byte { return tarOf(t, file{name: name, text: "x"}) }
	good := new(stored).add("a", "x", nil).end("")
	put := binary.LittleEndian.PutUint32
	for _, c := range []struct {
		row  string
		b    []byte
		want []string
	}{
		{"U1 nothing", nil, []string{"empty_upload: "}},
		{"U2 PDF", []byte("%PDF-1.7 and more"), []string{"unknown_type: first bytes 25 50 44 46 (PDF); expected zip, jar, tar"}},
		{"U2 one byte", []byte("x"), []string{"unknown_type: first bytes 78;"}},
		{"U2 ELF", []byte("\x7fELF\x02\x01"), []string{"unknown_type: ", "(ELF)"}},
		{"U13 NUL", zipOf(t, file{name: "a\x00b"}), []string{"bad_name: entry 1"}},
		{"U13 newline", one("a\nb"), []string{"bad_name: entry 1"}},
		{"U13 no UTF-8", zipOf(t, file{name: "caf\xe9"}), []string{"bad_name: entry 1"}},
		{"U13 no name", one("./."), []string{"bad_name: entry 1"}},
		{"U13 absolute", one("/etc/passwd"), []string{"path_escape: entry 1"}},
		{"U13 drive", zipOf(t, file{name: `C:\x`}), []string{"path_escape: entry 1"}},
		{"U14 zip", zipOf(t, file{name: "a"}, file{name: "b"}, file{name: "../evil"}), []string{`path_escape: entry 3: "../evil"`}},
		{"U14 tar", one("../evil"), []string{"path_escape: "}},
		{"U14 folder", zipOf(t, file{name: "../evil/"}), []string{"path_escape: "}},
		{"U16 cleans to outside", zipOf(t, file{name: "a/../../x"}), []string{"path_escape: "}},
		{"U16 cleans to inside", zipOf(t, file{name: "a/../x"}), []string{"path_escape: "}},
		{"U17 backslashes", zipOf(t, file{name: `..\..\x`}), []string{"path_escape: "}},
		{"U17 backslashes in a tar", one(`..\x`), []string{"path_escape: "}},
		{"U17 backslash that leads nowhere in a tar", one(`a\x`), []string{"bad_name: ", "backslash"}},
		{"U19 link then file", tarOf(t, file{name: "l", kind: tar.TypeSymlink, link: "."}, file{name: "l/x", text: "x"}), []string{"link_then_file: entry 2", "entry 1"}},
		{"U19 link then file above", tarOf(t, file{name: "l", kind: tar.TypeSymlink, link: "."}, file{name: "l/../../x", text: "x"}), []string{"path_escape: "}},
		{"U19 link", tarOf(t, file{name: "l", kind: tar.TypeSymlink, link: "a"}, file{name: "a"}), []string{`link_not_allowed: entry 1: "l"`}},
		{"U19 link in a zip", zipOf(t, file{name: "l", text: "a", mode: 0o120777}), []string{"link_not_allowed: entry 1"}},
		{"U20 hard link", tarOf(t, file{name: "h", kind: tar.TypeLink, link: "/etc/passwd"}), []string{"link_not_allowed: entry 1", "hard link"}},
		{"U20 hard link inside", tarOf(t, file{name: "a"}, file{name: "h", kind: tar.TypeLink, link: "a"}), []string{"link_not_allowed: entry 2"}},
		{"a pipe", tarOf(t, file{name: "p", kind: tar.TypeFifo}), []string{"bad_archive: entry 1", "pipe"}},
		{"a device", tarOf(t, file{name: "p", kind: tar.TypeChar}), []string{"bad_archive: entry 1", "device"}},
		{"U25 case", zipOf(t, file{name: "a/Read"}, file{name: "A/rEAD"}), []string{"duplicate_entry: entry 2", "entry 1"}},
		{"U25 Unicode form", one2(t, "caf\u00e9", "cafe\u0301"), []string{"duplicate_entry: entry 2"}},
		{"U26 twice", one2(t, "a", "a"), []string{"duplicate_entry: entry 2"}},
		{"U26 twice in a zip", zipOf(t, file{name: "a"}, file{name: "./a"}), []string{"duplicate_entry: entry 2"}},
		{"U26 file then folder", one2(t, "a", "a/b"), []string{"duplicate_entry: entry 2", "entry 1"}},
		{"U26 folder then file", one2(t, "a/b", "A"), []string{"duplicate_entry: entry 2"}},
		{"U28 component", one(strings.Repeat("a", 256)), []string{"name_too_long: entry 1", "255"}},
		{"U28 path", zipOf(t, file{name: strings.Repeat("abcdefg/", 600) + "x"}), []string{"name_too_long: entry 1", "4096"}},
		{"U32 overlapping entries", new(stored).add("a", strings.Repeat("x", 1000), nil).again("b").end(""), []string{"overlapping_entries: "}},
		{"U32 entry in an entry", quoting(), []string{"overlapping_entries: "}},
		{"U34 longer than declared", new(stored).add("a", "12345", func(local, central []byte) { put(local[22:], 3); put(central[24:], 3) }).end(""), []string{"size_mismatch: "}},
		{"U34 shorter than declared", new(stored).add("a", "12345", func(local, central []byte) { put(local[22:], 9); put(central[24:], 9) }).end(""), []string{"size_mismatch: "}},
		{"U35 declared 4 GiB", new(stored).add("a", "12345", func(local, central []byte) { put(local[22:], 0xfffffffe); put(central[24:], 0xfffffffe) }).end(""), []string{"size_mismatch: "}},
		{"U35 declared 2^63", new(stored).add("a", "12345", func(local, central []byte) { put(local[18:], 0xfffffffe); put(central[20:], 0xfffffffe) }).end(""), []string{"size_mismatch: "}},
		{"U35 declared in a tar", hugeTar(), []string{"size_mismatch: "}},
		{"U37 name differs", new(stored).add("abc", "x", func(local, _ []byte) { local[30] = 'x' }).end(""), []string{"bad_archive: entry 1", "name differs"}},
		{"U37 method differs", new(stored).add("abc", "x", func(local, _ []byte) { local[8] = 8 }).end(""), []string{"bad_archive: entry 1", "method differs"}},
		{"U37 size differs", new(stored).add("abc", "x", func(local, _ []byte) { local[22] = 9 }).end(""), []string{"bad_archive: entry 1", "size differs"}},
		{"U37 checksum differs", new(stored).add("abc", "x", func(local, _ []byte) { local[14]++ }).end(""), []string{"bad_archive: entry 1", "checksum differs"}},
		{"U37 entry that the directory does not have", hiddenEntry(), []string{"bad_archive: entry 2", "directory does not have"}},
		{"U38 data before", append([]byte("#!/bin/sh\n"), good...), []string{"unknown_type: "}},
		{"U38 data before that looks like an archive", append([]byte("PK\x05\x06 and more"), good...), []string{"ambiguous_archive: "}},
		{"U38 data behind", append(bytes.Clone(good), "more"...), []string{"ambiguous_archive: "}},
		{"U38 second end in the comment", new(stored).add("a", "x", nil).end("PK\x05\x06" + strings.Repeat("\x00", 18)), []string{"ambiguous_archive: "}},
		{"U38 long comment with a second end", new(stored).add("a", "x", nil).end(strings.Repeat("c", 60_000) + "PK\x05\x06"), []string{"ambiguous_archive: "}},
		{"U38 data behind a tar", append(one("a"), "more"...), []string{"ambiguous_archive: "}},
		{"U38 second tar", append(one("a"), one("b")...), []string{"ambiguous_archive: "}},
		{"U38 data behind gzip", append(gzipped(t, one("a")), "more and more"...), []string{"ambiguous_archive: "}},
		{"U38 data behind zstd", append(zstded(t, one("a")), "more and more"...), []string{"corrupt_entry: "}},
		{"U40 method 99", new(stored).add("a", "x", func(local, central []byte) { local[8], central[10] = 99, 99 }).end(""), []string{"unsupported_compression: entry 1", "method 99"}},
		{"U40 encrypted", new(stored).add("a", "x", func(local, central []byte) { local[6], central[8] = 1, 1 }).end(""), []string{"unsupported_compression: entry 1", "encrypted"}},
		{"U41 checksum", new(stored).add("lib/a.jar", "x", func(local, central []byte) { local[14]++; central[16]++ }).end(""), []string{`corrupt_entry: "lib/a.jar"`}},
		{"U43 sparse", tarOf(t, file{name: "a", pax: map[string]string{"comment": "x"}, text: "GNU.sparse"}), nil},
		{"U43 sparse of GNU", sparseTar(t), []string{"bad_archive: "}},
		{"U44 large header", largeHeader(t), []string{"header_too_large: "}},
		{"U44 path by PAX", tarOf(t, file{name: "a/../../" + strings.Repeat("long/", 60) + "x", text: "x"}), []string{"path_escape: "}},
		{"U46 empty members", append(gzipped(t, one("a")), bytes.Repeat(gzipped(t, nil), 20_000)...), []string{"too_many_members: ", "10000"}},
		{"U47 window", []byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"), []string{"window_too_large: ", "64 MiB"}},
		{"U53 manifest is a link", tarOf(t, file{name: "program.yaml", kind: tar.TypeSymlink, link: "other"}), []string{"link_not_allowed: ", "program.yaml"}},
		{"U56 jar that loads from elsewhere", zipOf(t, file{name: "META-INF/MANIFEST.MF", text: "Manifest-Version: 1.0\r\nClass-Path: a.jar htt\r\n p://evil.example/x.jar\r\n"}), []string{"bad_jar: entry 1", "Class-Path"}},
		{"W67 jar that loads from above", zipOf(t, file{name: "META-INF/MANIFEST.MF", text: "Class-Path: a.jar lib/../../x.jar\n"}), []string{"bad_jar: entry 1", "lib/../../x.jar"}},
		{"W67 jar that loads from a path", zipOf(t, file{name: "META-INF/MANIFEST.MF", text: "Class-Path: /opt/x.jar\n"}), []string{"bad_jar: entry 1", "/opt/x.jar"}},
		{"cut off zip", good[:len(good)-10], []string{"bad_archive: "}},
		{"cut off tar", one("a")[:600], []string{"bad_archive: "}},
		{"cut off file", tarOf(t, file{name: "a", text: strings.Repeat("x", 5000)})[:2000], []string{"size_mismatch: "}},
		{"cut off gzip", gzipped(t, one("a"))[:40], []string{"bad_archive: "}},
		{"damaged gzip", damaged(gzipped(t, one("a"))), []string{"corrupt_entry: "}},
		{"cut off zstd", zstded(t, one("a"))[:30], []string{"bad_archive: "}},
	} {
		t.Run(c.row, func(t *testing.T) {
			t.Parallel()
			files, _, err := check(c.b)
			if c.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if stint.CodeOf(err) != stint.Invalid {
				t.Fatalf("%v, files %v", err, files)
			}
			if !strings.HasPrefix(err.Error(), c.want[0]) {
				t.Errorf("%q does not begin with %q", err, c.want[0])
			}
			for _, want := range c.want[1:] {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func one2(tb testing.TB, names ...string) []byte {
	tb.Helper()
	var files []file
	for _, name := range names {
		files = append(files, file{name: name, text: "x"})
	}
	return tarOf(tb, files...)
}

// quoting has an entry whose header and data lie in the data of another.
func quoting() []byte {
	inner := new(stored).add("b", "inner", nil)
	outer := new(stored).add("a", inner.String(), nil)
	directory := bytes.Clone(inner.directory.Bytes())
	binary.LittleEndian.PutUint32(directory[42:], 31)
	outer.directory.Write(directory)
	outer.count++
	return outer.end("")
}

// hiddenEntry has an entry between two others that the directory does not name.
func hiddenEntry() []byte {
	s := new(stored).add("a", "x", nil)
	known := bytes.Clone(s.directory.Bytes())
	s.add("hidden", "x", nil)
	s.directory.Reset()
	s.directory.Write(known)
	s.count--
	return s.add("b", "x", nil).end("")
}

// hugeTar declares a file of 2^63-1 bytes, which base 256 can.
func hugeTar() []byte {
	b := make([]byte, 1024)
	copy(b, "a")
	copy(b[100:], "0000644\x00")
	copy(b[124:], "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff")
	b[156] = '0'
	copy(b[257:], "ustar\x0000")
	return checksummed(b)
}

func checksummed(b []byte) []byte {
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// sparseTar has a file with holes, in the way of GNU's tar.
func sparseTar(tb testing.TB) []byte {
	tb.Helper()
	b := tarOf(tb, file{name: "a", text: strings.Repeat("x", 512)})
	b[156] = 'S'
	copy(b[257:], "ustar  \x00")
	copy(b[386:], "00000000000\x0000000001000\x00")
	copy(b[483:], "00000001000\x00")
	return checksummed(b)
}

// largeHeader has a PAX header of 2 MiB.
func largeHeader(tb testing.TB) []byte {
	tb.Helper()
	const size = 2 << 20
	record := fmt.Sprintf("%d comment=%s\n", size, strings.Repeat("x", size-len("2097152 comment=\n")))
	head := make([]byte, 512)
	copy(head, "pax")
	copy(head[100:], "0000644\x00")
	copy(head[124:], fmt.Sprintf("%011o\x00", size))
	head[156] = 'x'
	copy(head[257:], "ustar\x0000")
	return append(append(checksummed(head), record...), tarOf(tb, file{name: "a"})...)
}

func damaged(b []byte) []byte {
	b[len(b)-6] ^= 1
	return b
}

// TestTooManyEntries is row U29.
func TestTooManyEntries(t *testing.T) {
	t.Parallel()
	block := tarOf(t, file{name: "aaaaaaa"})[:512]
	var b bytes.Buffer
	for i := range archive.MaxEntries + 1 {
		copy(block, fmt.Sprintf("%07d", i))
		b.Write(checksummed(block))
	}
	b.Write(make([]byte, 1024))
	if _, _, err := check(b.Bytes()); err == nil || !strings.HasPrefix(err.Error(), "too_many_entries: limit 100000") {
		t.Errorf("%v", err)
	}
	many := new(stored)
	for i := range 1000 {
		many.add(fmt.Sprint(i), "", nil)
	}
	if list, _, err := check(many.end("")); err != nil || len(list) != 1000 {
		t.Errorf("%d, %v", len(list), err)
	}
}

// counted is a zip of which the reads are counted.
type counted struct {
	*bytes.Reader
	bytes int64
}

// ReadAt reads and counts.
func (c *counted) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.Reader.ReadAt(p, at)
	c.bytes += int64(n)
	return n, err
}

// TestADirectoryIsReadNoFurtherThanItsLimit has a zip whose directory would be much
// larger in memory than on disk.
func TestADirectoryIsReadNoFurtherThanItsLimit(t *testing.T) {
	t.Parallel()
	many := new(stored).add("a", "", nil)
	one := many.directory.Len()
	many.directory.Write(bytes.Repeat(many.directory.Bytes(), 10*archive.MaxEntries))
	many.count = 10*archive.MaxEntries + 1
	b := many.end("")
	r := &counted{Reader: bytes.NewReader(b)}
	_, _, err := archive.Check(r, int64(len(b)))
	if err == nil || !strings.HasPrefix(err.Error(), "too_many_entries: limit 100000") || r.bytes > 3*archive.MaxEntries*int64(one) {
		t.Errorf("%v, after %d bytes of %d", err, r.bytes, len(b))
	}
	inner := new(stored) // a file that looks like a directory is none
	inner.add("inner", strings.Repeat("PK\x01\x02", 2*archive.MaxEntries), nil)
	if list, _, err := check(inner.end("")); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestNamesAreBounded has archives that are small when they are compressed, and
// whose names and folders would not be small.
func TestNamesAreBounded(t *testing.T) {
	t.Parallel()
	deep := make([]file, 1200)
	for i := range deep {
		deep[i] = file{name: fmt.Sprint(i) + strings.Repeat("/a", 99)}
	}
	long := make([]file, 4200)
	for i := range long {
		long[i] = file{name: fmt.Sprint(i) + strings.Repeat("/"+strings.Repeat("n", 200), 20)}
	}
	for _, c := range []struct {
		files []file
		want  string
	}{
		{deep[:900], ""},
		{deep, "too_many_entries: entry 1011: the folders that files lie in: limit 100000"},
		{long[:4000], ""},
		{long, "name_too_long: entry 4170: all names together: the limit is 16777216 bytes"},
		{[]file{{name: "a" + strings.Repeat("/a", 100)}}, "name_too_long: entry 1: \"a/a/a"},
	} {
		_, _, err := check(gzipped(t, tarOf(t, c.files...)))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%d files: %v, want %q", len(c.files), err, c.want)
		}
	}
}

// TestWhatAnArchiveUnpacksToIsBounded has rows U31 and U49: nested archives are
// files, and zeros that are compressed well are counted.
func TestWhatAnArchiveUnpacksToIsBounded(t *testing.T) {
	t.Parallel()
	nested := zipOf(t, file{name: "inner.zip", text: string(zipOf(t, file{name: "../evil"}))})
	if list, _, err := check(nested); err != nil || len(list) != 1 || list[0].Name != "inner.zip" {
		t.Errorf("nested: %v %v", list, err)
	}
	head := make([]byte, 512)
	copy(head, "zeros")
	copy(head[100:], "0000644\x00")
	copy(head[124:], fmt.Sprintf("%011o\x00", int64(archive.MaxFile+1)))
	head[156] = '0'
	copy(head[257:], "ustar\x0000")
	if _, _, err := check(append(checksummed(head), make([]byte, 4096)...)); err == nil || !strings.HasPrefix(err.Error(), "size_mismatch: ") {
		t.Errorf("one large file: %v", err)
	}
}

// TestBitsAreStripped is row U22.
func TestBitsAreStripped(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"tar": tarOf(t, file{name: "a", mode: 0o6755}),
		"zip": zipOf(t, file{name: "a", mode: 0o106755}),
		"pax": tarOf(t, file{name: "a", mode: 0o755, pax: map[string]string{"SCHILY.xattr.security.capability": "x"}}),
	} {
		list, warnings, err := check(b)
		if err != nil || len(list) != 1 || list[0].Mode != 0o755 || len(warnings) != 1 || !strings.Contains(warnings[0], "dropped") {
			t.Errorf("%s: %v %q %v", name, list, warnings, err)
		}
	}
}

// TestJarsAreAccepted is row U58.
func TestJarsAreAccepted(t *testing.T) {
	t.Parallel()
	b := zipOf(t, file{name: "META-INF/"}, file{name: "META-INF/MANIFEST.MF", text: "Manifest-Version: 1.0\nMulti-Release: true\nClass-Path: lib/b.jar\n"},
		file{name: "A.class", text: "1"}, file{name: "META-INF/versions/9/A.class", text: "2"}, file{name: "program.yaml", text: "name: p"})
	if list, warnings, err := check(b); err != nil || len(list) != 4 || len(warnings) > 0 {
		t.Errorf("%v %q %v", list, warnings, err)
	}
}

func FuzzArchive(f *testing.F) {
	plain := tarOf(f, file{name: "a", text: "x"}, file{name: "b/c", text: "y"})
	for _, seed := range [][]byte{
		plain, gzipped(f, plain), zstded(f, plain), zipOf(f, file{name: "a", text: "x"}, file{name: "b/", text: ""}),
		new(stored).add("a", "x", nil).end("c"), quoting(), hugeTar(), hiddenEntry(), sparseTar(f),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list, _, err := check(b)
		if err != nil {
			if stint.CodeOf(err) != stint.Invalid {
				t.Fatalf("code %s: %v", stint.CodeOf(err), err)
			}
			return
		}
		i := 0
		err = archive.Walk(bytes.NewReader(b), int64(len(b)), func(e archive.Entry, body io.Reader) error {
			n, err := io.Copy(io.Discard, body)
			if e != list[i] || n != e.Size || strings.Contains("/"+e.Name+"/", "/../") || strings.HasPrefix(e.Name, "/") || e.Name == "" {
				t.Fatalf("%+v, %d bytes, was %+v", e, n, list[i])
			}
			i++
			return err
		})
		if err != nil || i != len(list) {
			t.Fatalf("%d of %d: %v", i, len(list), err)
		}
	})
}

// TestBundles has row U52: a manifest in a folder is a file as any other.
func TestBundles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files                     []file
		folder, names, said, fail string
	}{
		"top":            {files: []file{{name: "p.yaml", text: "top"}, {name: "a/p.yaml"}, {name: "b"}}, names: "p.yaml a/p.yaml b", said: "a/p.yaml"},
		"in a folder":    {files: []file{{name: "x/"}, {name: "x/p.yaml", text: "top"}, {name: "x/a/b"}}, folder: "x/", names: "p.yaml a/b"},
		"none":           {files: []file{{name: "a"}, {name: "x/p.yaml"}}, fail: "no_manifest: "},
		"nothing":        {fail: "no_manifest: "},
		"too deep":       {files: []file{{name: "x/y/p.yaml"}}, fail: "no_manifest: "},
		"too long":       {files: []file{{name: "p.yaml", text: strings.Repeat("x", 101)}}, fail: "manifest_too_large: "},
		"folder of name": {files: []file{{name: "p.yaml/x"}}, fail: "no_manifest: "},
	} {
		b := zipOf(t, c.files...)
		got, err := archive.OpenBundle(bytes.NewReader(b), int64(len(b)), "p.yaml", 100)
		if c.fail != "" {
			if err == nil || !strings.HasPrefix(err.Error(), c.fail) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var names []string
		for _, e := range got.Files {
			names = append(names, e.Name)
		}
		if err != nil || string(got.Manifest) != "top" || got.Folder != c.folder || strings.Join(names, " ") != c.names || c.said != "" && !strings.Contains(strings.Join(got.Warnings, ""), c.said) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
