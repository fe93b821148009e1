package archive

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"stint"
)

// Bounds of an archive.
const (
	MaxEntries   = 100_000
	MaxFile      = 1 << 30 // bytes of one entry
	MaxUnpacked  = 4 << 30 // bytes of all
	maxPath      = 4096
	maxComponent = 255
	maxDepth     = 100      // components of a path
	maxNames     = 16 << 20 // bytes of the names of all entries
	maxDirectory = 64 << 20 // bytes of a zip's directory
	maxMembers   = 10_000   // of a gzip stream
	maxWindow    = 64 << 20 // of a zstd stream
	headLength   = 512
)

// Kind is the format of an archive.
type Kind string

// The formats.
const (
	Zip     Kind = "zip" // and jar
	Tar     Kind = "tar"
	TarGzip Kind = "tar.gz"
	TarZstd Kind = "tar.zst"
	None    Kind = "" // no archive
)

// Entry is a file in an archive.
type Entry struct {
	Name string // a relative path with slashes, without . and ..
	Size int64
	Mode uint32 // permission bits
}

// Source is where the bytes of an archive lie. Reads do not change it.
type Source interface {
	io.ReaderAt
}

// Detect tells the format of an archive by its first bytes.
func Detect(r Source, size int64) (Kind, error) {
	head := make([]byte, min(size, headLength))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return None, fmt.Errorf("read archive: %w", err)
	}
	const tarMagic = 257
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return Zip, nil
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return TarGzip, nil
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return TarZstd, nil
	case len(head) == headLength && string(head[tarMagic:tarMagic+5]) == "ustar":
		return Tar, nil
	}
	return None, nil
}

// Unknown refuses bytes that are none of what was expected, and shows the first.
func Unknown(r Source, size int64, expected string) error {
	if size == 0 {
		return stint.Errorf(stint.Invalid, "empty_upload: 0 bytes; expected %s", expected)
	}
	head := make([]byte, min(size, 4))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read archive: %w", err)
	}
	known := ""
	for magic, name := range map[string]string{"%PDF": " (PDF)", "\x89PNG": " (PNG)", "\x7fELF": " (ELF)", "\x00asm": " (WASM)", "7z\xbc\xaf": " (7z)", "Rar!": " (RAR)", "BZh": " (bzip2)", "\xfd7zX": " (xz)", "\xca\xfe\xba\xbe": " (Java class)"} {
		if strings.HasPrefix(string(head), magic) {
			known = name
		}
	}
	text := strings.TrimSpace(spaced(hex.EncodeToString(head)))
	return stint.Errorf(stint.Invalid, "unknown_type: first bytes %s%s; expected %s", text, known, expected)
}

func spaced(digits string) string {
	var b strings.Builder
	for i := 0; i < len(digits); i += 2 {
		b.WriteString(digits[i:i+2] + " ")
	}
	return b.String()
}

// Check looks at all of an archive and returns its files in their order, and what
// of it is left aside. Every byte is read.
func Check(r Source, size int64) (files []Entry, warnings []string, err error) {
	c := newChecker()
	err = each(r, size, func(h header, body io.Reader) error {
		return c.entry(h, body)
	})
	if err == nil {
		err = c.finish()
	}
	if err != nil {
		return nil, nil, err
	}
	return c.files, c.warnings, nil
}

// Walk calls visit for every file of an archive that [Check] has accepted, in the
// order of its entries. body is good during the call.
func Walk(r Source, size int64, visit func(e Entry, body io.Reader) error) error {
	return each(r, size, func(h header, body io.Reader) error {
		if h.kind != regular {
			return nil
		}
		name, err := cleanName(h)
		if err != nil {
			return err
		}
		counted := &exactReader{r: body, left: h.size, name: h.name}
		if err := visit(Entry{Name: name, Size: h.size, Mode: h.mode & 0o777}, counted); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, counted)
		return err
	})
}

// each shows every entry, as it stands.
func each(r Source, size int64, visit func(h header, body io.Reader) error) error {
	kind, err := Detect(r, size)
	if err != nil {
		return err
	}
	switch kind {
	case Zip:
		return eachZip(r, size, visit)
	case Tar:
		return eachTar(io.NewSectionReader(r, 0, size), visit)
	case TarGzip:
		return eachGzip(io.NewSectionReader(r, 0, size), visit)
	case TarZstd:
		return eachZstd(io.NewSectionReader(r, 0, size), visit)
	case None:
	}
	return Unknown(r, size, Expected)
}

// Expected names the formats for people.
const Expected = "zip, jar, tar, tar.gz or tar.zst"

// kind is what an entry is.
type kind int

const (
	regular kind = iota
	folder
	symlink
	hardLink
	other
)

// header is what an archive says of an entry.
type header struct {
	number  int    // from 1
	name    string // as it stands
	kind    kind
	what    string // for people, of other kinds
	size    int64
	mode    uint32 // with setuid, setgid and sticky as in a tar
	dropped string // what is left aside of it
	windows bool   // backslashes separate
}

// exactReader reads exactly as many bytes as were declared.
type exactReader struct {
	r    io.Reader
	left int64
	name string
}

// Read reads on. An end that comes early, or late, is an error.
func (e *exactReader) Read(b []byte) (int, error) {
	if e.left == 0 {
		var one [1]byte
		n, err := io.ReadFull(e.r, one[:])
		if n > 0 {
			return 0, stint.Errorf(stint.Invalid, "size_mismatch: %.200q is longer than it declares", e.name)
		}
		if !errors.Is(err, io.EOF) {
			return 0, refused(err, e.name)
		}
		return 0, io.EOF
	}
	if int64(len(b)) > e.left {
		b = b[:e.left]
	}
	n, err := e.r.Read(b)
	e.left -= int64(n)
	if errors.Is(err, io.EOF) {
		if e.left > 0 {
			return n, stint.Errorf(stint.Invalid, "size_mismatch: %.200q ends %d bytes before its declared size", e.name, e.left)
		}
		return n, nil // the end is looked for once more
	}
	if err != nil {
		return n, refused(err, e.name)
	}
	return n, nil
}
