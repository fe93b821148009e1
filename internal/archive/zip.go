package archive

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	"stint"
)

const (
	localLength      = 30
	localSignature   = "PK\x03\x04"
	centralSignature = "PK\x01\x02"
	endSignature     = "PK\x05\x06"
	dataSignature    = "PK\x07\x08"
	endLength        = 22
	descriptorFlag   = 0x8
	encryptedFlag    = 0x1
)

func eachZip(r Source, size int64, visit func(h header, body io.Reader) error) error {
	d := &directory{Source: r}
	z, err := zip.NewReader(d, size)
	d.known = true
	if refusal, ok := errors.AsType[*stint.Error](err); ok {
		return refusal
	}
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return stint.Errorf(stint.Invalid, "bad_archive: %s", err)
	}
	if len(z.File) > MaxEntries {
		return stint.Errorf(stint.Invalid, "too_many_entries: %d; limit %d", len(z.File), MaxEntries)
	}
	if err := checkEnd(r, size, z.Comment); err != nil {
		return err
	}
	if err := checkLayout(r, size, z.File); err != nil {
		return err
	}
	for i, f := range z.File {
		if err := zipEntry(f, i+1, visit); err != nil {
			return err
		}
	}
	return nil
}

// directory is an archive until its directory is known. It refuses to read a
// directory that is too large to be taken into memory: how many entries there are
// is known only after that.
type directory struct {
	Source
	known   bool
	bytes   int64
	entries int
}

// ReadAt reads from the archive. The end of the archive is looked for first, and so
// may be counted twice.
func (d *directory) ReadAt(p []byte, at int64) (int, error) {
	n, err := d.Source.ReadAt(p, at)
	if d.known {
		return n, err
	}
	d.bytes += int64(n)
	d.entries += bytes.Count(p[:n], []byte(centralSignature))
	switch {
	case d.entries > 2*MaxEntries:
		return 0, stint.Errorf(stint.Invalid, "too_many_entries: limit %d", MaxEntries)
	case d.bytes > maxDirectory:
		return 0, stint.Errorf(stint.Invalid, "header_too_large: the directory: limit %d MiB", maxDirectory>>20)
	}
	return n, err
}

func zipEntry(f *zip.File, number int, visit func(h header, body io.Reader) error) error {
	h := header{number: number, name: f.Name, size: int64(f.UncompressedSize64), mode: zipMode(f), windows: true} //nolint:gosec // below 0 is refused
	switch mode := f.Mode(); {
	case strings.HasSuffix(f.Name, "/") || mode.IsDir():
		h.kind = folder
	case mode&fs.ModeSymlink != 0:
		h.kind = symlink
	case mode&fs.ModeType != 0:
		h.kind, h.what = other, "a device or a pipe"
	}
	if h.kind != regular {
		return visit(h, strings.NewReader(""))
	}
	if f.Flags&encryptedFlag != 0 {
		return stint.Errorf(stint.Invalid, "unsupported_compression: entry %d: %.200q is encrypted", number, f.Name)
	}
	if f.Method != zip.Store && f.Method != zip.Deflate {
		return stint.Errorf(stint.Invalid, "unsupported_compression: entry %d: %.200q: method %d; expected 0 (stored) or 8 (deflate)", number, f.Name, f.Method)
	}
	body, err := f.Open()
	if err != nil {
		return stint.Errorf(stint.Invalid, "bad_archive: entry %d: %.200q: %s", number, f.Name, err)
	}
	return errors.Join(visit(h, body), body.Close())
}

// zipMode returns the permission bits; archives from systems without them have
// files that everybody may read.
func zipMode(f *zip.File) uint32 {
	mode := f.Mode()
	bits := uint32(mode.Perm())
	if f.ExternalAttrs>>16 == 0 {
		bits = 0o644
	}
	if mode&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if mode&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if mode&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// checkEnd refuses an archive that does not end where its directory says, or whose
// comment looks like another end.
func checkEnd(r Source, size int64, comment string) error {
	if strings.Contains(comment, endSignature) {
		return stint.Errorf(stint.Invalid, "ambiguous_archive: the comment holds a second end of the directory")
	}
	end := make([]byte, len(endSignature))
	at := size - endLength - int64(len(comment))
	if at < 0 {
		return stint.Errorf(stint.Invalid, "bad_archive: the directory does not fit")
	}
	if _, err := r.ReadAt(end, at); err != nil {
		return stint.Errorf(stint.Invalid, "bad_archive: %s", err)
	}
	if string(end) != endSignature {
		return stint.Errorf(stint.Invalid, "ambiguous_archive: there are bytes behind the end of the archive")
	}
	return nil
}

// located is an entry and where its data begins.
type located struct {
	file   *zip.File
	number int
	data   int64
}

// checkLayout refuses an archive whose entries do not lie one behind the other
// from its first byte to its directory, with local headers that say the same.
func checkLayout(r Source, size int64, files []*zip.File) error {
	all := make([]located, len(files))
	for i, f := range files {
		data, err := f.DataOffset()
		if err != nil {
			return stint.Errorf(stint.Invalid, "bad_archive: entry %d: %.200q: %s", i+1, f.Name, err)
		}
		all[i] = located{file: f, number: i + 1, data: data}
	}
	slices.SortFunc(all, func(a, b located) int { return cmp.Compare(a.data, b.data) })
	at := int64(0)
	for _, l := range all {
		next, err := checkLocal(r, size, l, at)
		if err != nil {
			return err
		}
		at = next
	}
	head := make([]byte, len(centralSignature))
	if _, err := r.ReadAt(head, at); err != nil || string(head) != centralSignature && string(head) != endSignature {
		return stint.Errorf(stint.Invalid, "ambiguous_archive: there are bytes between the entries and the directory, at %d", at)
	}
	return nil
}

// checkLocal compares the local header at a place with the directory, and returns
// where the next entry begins.
func checkLocal(r Source, size int64, l located, at int64) (next int64, err error) {
	f := l.file
	refuse := func(code, what string) error {
		return stint.Errorf(stint.Invalid, "%s: entry %d: %.200q: %s", code, l.number, f.Name, what)
	}
	if l.data < at+localLength {
		return 0, refuse("overlapping_entries", "it begins before the entry before it ends")
	}
	head := make([]byte, localLength)
	if _, err := r.ReadAt(head, at); err != nil {
		return 0, refuse("bad_archive", "its local header is cut off")
	}
	if string(head[:4]) != localSignature {
		if at == 0 {
			return 0, stint.Errorf(stint.Invalid, "ambiguous_archive: there are bytes before the first entry")
		}
		return 0, refuse("bad_archive", "there are bytes before it that belong to no entry")
	}
	nameLength, extra := int64(binary.LittleEndian.Uint16(head[26:])), int64(binary.LittleEndian.Uint16(head[28:]))
	name := make([]byte, nameLength)
	if _, err := r.ReadAt(name, at+localLength); err != nil {
		return 0, refuse("bad_archive", "its local header is cut off")
	}
	switch {
	case at+localLength+nameLength+extra < l.data:
		return 0, refuse("bad_archive", "there is an entry before it that the directory does not have")
	case at+localLength+nameLength+extra > l.data:
		return 0, refuse("overlapping_entries", "its header lies in another entry")
	case !bytes.Equal(name, []byte(f.Name)):
		return 0, refuse("bad_archive", "name differs between the directory and the entry itself")
	case binary.LittleEndian.Uint16(head[8:]) != f.Method:
		return 0, refuse("bad_archive", "method differs between the directory and the entry itself")
	}
	packed := int64(f.CompressedSize64) //nolint:gosec // below 0 is refused
	if packed < 0 || packed > size-l.data {
		return 0, refuse("size_mismatch", "it declares more bytes than there are")
	}
	if f.Flags&descriptorFlag != 0 {
		return l.data + packed + descriptorLength(r, l.data+packed, f), nil
	}
	if err := sameSizes(head, f); err != "" {
		return 0, refuse("bad_archive", err)
	}
	return l.data + packed, nil
}

// sameSizes compares sizes and checksum with the directory's; those that do not
// fit are elsewhere.
func sameSizes(head []byte, f *zip.File) string {
	const elsewhere = 0xffffffff
	crc, packed, size := binary.LittleEndian.Uint32(head[14:]), binary.LittleEndian.Uint32(head[18:]), binary.LittleEndian.Uint32(head[22:])
	switch {
	case crc != f.CRC32:
		return "checksum differs between the directory and the entry itself"
	case packed != elsewhere && uint64(packed) != f.CompressedSize64, size != elsewhere && uint64(size) != f.UncompressedSize64:
		return "size differs between the directory and the entry itself"
	}
	return ""
}

// descriptorLength returns how long the sizes are that follow an entry's data: with
// or without a signature, in 4 or 8 bytes each.
func descriptorLength(r Source, at int64, f *zip.File) int64 {
	b := make([]byte, 24)
	n, _ := r.ReadAt(b, at) // what is cut off is no descriptor
	b = b[:n]
	signed := int64(0)
	if bytes.HasPrefix(b, []byte(dataSignature)) {
		signed = 4
	}
	const short, long = 12, 20
	rest := b[min(signed, int64(n)):]
	if len(rest) >= long && binary.LittleEndian.Uint64(rest[4:]) == f.CompressedSize64 && binary.LittleEndian.Uint64(rest[12:]) == f.UncompressedSize64 {
		return signed + long
	}
	return signed + short
}

// refused makes the refusal of an entry whose bytes cannot be read.
func refused(err error, name string) error {
	if known, ok := errors.AsType[*stint.Error](err); ok {
		return known
	}
	switch {
	case errors.Is(err, zip.ErrChecksum):
		return stint.Errorf(stint.Invalid, "corrupt_entry: %.200q: its bytes do not have the checksum that it declares", name)
	case errors.Is(err, zip.ErrFormat):
		return stint.Errorf(stint.Invalid, "size_mismatch: %.200q is not as long as it declares", name)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return stint.Errorf(stint.Invalid, "size_mismatch: %.200q is cut off", name)
	}
	return stint.Errorf(stint.Invalid, "corrupt_entry: %.200q: %s", name, err)
}
