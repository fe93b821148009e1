package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"stint"
)

func eachTar(from io.Reader, visit func(h header, body io.Reader) error) error {
	r := &zeroTail{r: from}
	t := tar.NewReader(r)
	for number := 1; ; number++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return onlyZeros(r)
		}
		if errors.Is(err, tar.ErrFieldTooLong) {
			return stint.Errorf(stint.Invalid, "header_too_large: entry %d: a header of more than 1 MiB", number)
		}
		if err != nil {
			return refusedAt(err, number)
		}
		if number > MaxEntries {
			return stint.Errorf(stint.Invalid, "too_many_entries: limit %d", MaxEntries)
		}
		ours, err := tarHeader(h, number)
		if err != nil {
			return err
		}
		if err := visit(ours, t); err != nil {
			return err
		}
	}
}

func tarHeader(h *tar.Header, number int) (header, error) {
	const modeBits = 0o7777
	out := header{number: number, name: h.Name, size: h.Size, mode: uint32(h.Mode) & modeBits}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return out, sparse(out)
		}
		if strings.HasPrefix(key, "SCHILY.xattr.") || strings.HasPrefix(key, "LIBARCHIVE.xattr.") {
			out.dropped = "extended attributes"
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeCont:
	case tar.TypeDir:
		out.kind = folder
	case tar.TypeSymlink:
		out.kind = symlink
	case tar.TypeLink:
		out.kind = hardLink
	case tar.TypeGNUSparse:
		return out, sparse(out)
	case tar.TypeChar, tar.TypeBlock:
		out.kind, out.what = other, "a device"
	case tar.TypeFifo:
		out.kind, out.what = other, "a pipe"
	default:
		out.kind, out.what = other, "of an unknown kind"
	}
	return out, nil
}

func sparse(h header) error {
	return stint.Errorf(stint.Invalid, "bad_archive: entry %d: %.200q is a sparse file: archive it without holes", h.number, h.name)
}

// onlyZeros reads the padding behind the end of a tar.
func onlyZeros(r *zeroTail) error {
	buffer := make([]byte, 32<<10)
	for {
		n, err := r.Read(buffer)
		for _, b := range buffer[:n] {
			if b != 0 {
				return stint.Errorf(stint.Invalid, "ambiguous_archive: there are bytes behind the end of the tar")
			}
		}
		if errors.Is(err, io.EOF) && r.zeros < headLength {
			return stint.Errorf(stint.Invalid, "bad_archive: the tar is cut off: it does not end with a block of zeros")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return refused(err, "the end")
		}
	}
}

// zeroTail counts the zeros at the end of what was read: a tar ends with some.
type zeroTail struct {
	r     io.Reader
	zeros int64
}

// Read reads on.
func (z *zeroTail) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	kept := len(bytes.TrimRight(p[:n], "\x00"))
	if kept > 0 {
		z.zeros = 0
	}
	z.zeros += int64(n - kept)
	return n, err
}

// bounded refuses to read more than an archive may have when it is unpacked.
type bounded struct {
	r    io.Reader
	left int64
}

// streamBytes bounds a tar that is compressed: its files, and headers.
const streamBytes = MaxUnpacked + MaxEntries*4<<10

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, stint.RefuseTooLarge(MaxUnpacked, "unpacked_too_large: limit %d bytes", int64(MaxUnpacked))
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func eachGzip(r io.Reader, visit func(h header, body io.Reader) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	z, err := gzip.NewReader(in)
	if err != nil {
		return refusedAt(err, 1)
	}
	z.Multistream(false)
	return eachTar(&bounded{r: &members{z: z, in: in}, left: streamBytes}, visit)
}

// members reads the members of a gzip stream one after the other, and counts them.
type members struct {
	z     *gzip.Reader
	in    *bufio.Reader
	count int
}

func (m *members) Read(p []byte) (int, error) {
	for {
		n, err := m.z.Read(p)
		if n > 0 && errors.Is(err, io.EOF) {
			err = nil
		}
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		if m.count++; m.count >= maxMembers {
			return 0, stint.Errorf(stint.Invalid, "too_many_members: limit %d gzip members", maxMembers)
		}
		switch err := m.z.Reset(m.in); {
		case errors.Is(err, io.EOF):
			return 0, io.EOF
		case errors.Is(err, gzip.ErrHeader):
			return 0, stint.Errorf(stint.Invalid, "ambiguous_archive: there are bytes behind the end of the gzip stream")
		case err != nil:
			return 0, err
		}
		m.z.Multistream(false)
	}
}

func eachZstd(r io.Reader, visit func(h header, body io.Reader) error) error {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return refusedAt(err, 1)
	}
	defer z.Close()
	return eachTar(&bounded{r: z, left: streamBytes}, visit)
}

// refusedAt makes the refusal of an archive that cannot be read at an entry.
func refusedAt(err error, number int) error {
	if known, ok := errors.AsType[*stint.Error](err); ok {
		return known
	}
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return stint.Errorf(stint.Invalid, "window_too_large: limit %d MiB", maxWindow>>20)
	}
	return stint.Errorf(stint.Invalid, "bad_archive: entry %d: %s", number, err)
}
