package split

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"stint"
)

// Limits of what a compressed object may hold: a bomb is no input.
const (
	maxExpanded  = 1 << 40 // bytes
	maxExpansion = 1000    // times its compressed bytes, once it is more than freeExpanded
	freeExpanded = 1 << 30
	maxWindow    = 128 << 20 // of zstd, as its own program allows
)

// Decoders keeps decoders, and their memory, from one object to the next. Not
// safe for concurrent use.
type Decoders struct {
	gzip *gzip.Reader
	zstd *zstd.Decoder
	in   *bufio.Reader
}

// Close frees what is kept.
func (d *Decoders) Close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
	*d = Decoders{}
}

// openCompressed begins an object that is compressed.
func (r *Reader) openCompressed(in Input, codec stint.Codec) (piece, error) {
	src := &compressed{in: in, codec: codec}
	if err := r.decoders.open(src); err != nil {
		return nil, err
	}
	switch {
	case r.format.Split == stint.SplitFiles:
		return &fileStream{reader: r, src: src}, nil
	case r.format.isPlainLines():
		return &lineStream{reader: r, src: src, lines: lineLengths{url: in.Piece.Object.URL, limit: r.format.Limit}}, nil
	}
	return &counted{piece: newRecordStream(r, in.Piece.Object.URL, src), reader: r, length: in.Piece.Length}, nil
}

// open gives a compressed object its decoder.
func (d *Decoders) open(c *compressed) error {
	if d.in == nil {
		d.in = bufio.NewReaderSize(nil, 128<<10)
	}
	c.raw.in = c.in
	d.in.Reset(&c.raw)
	switch c.codec {
	case stint.Gzip:
		if d.gzip == nil {
			d.gzip = new(gzip.Reader)
		}
		c.decoder = &gzipMembers{in: d.in, z: d.gzip}
	case stint.Zstd:
		head, _ := d.in.Peek(4) // what cannot be read is not there when it is decoded either
		if !isZstd(head) {
			return c.explain(errForeign)
		}
		if d.zstd == nil {
			var err error
			if d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow)); err != nil {
				return fmt.Errorf("make zstd decoder: %w", err)
			}
		}
		if err := d.zstd.Reset(d.in); err != nil {
			return c.explain(err)
		}
		c.decoder = d.zstd
	case stint.Bzip2:
		head, _ := d.in.Peek(3)
		if !bytes.Equal(head, []byte("BZh")[:len(head)]) {
			return c.explain(errForeign)
		}
		c.decoder = bzip2.NewReader(d.in)
	case stint.Plain:
		c.decoder = d.in
	}
	return nil
}

// isZstd reports whether a frame of zstd, or one to be skipped, begins so.
func isZstd(head []byte) bool {
	frame, skipped := []byte{0x28, 0xb5, 0x2f, 0xfd}, []byte{0x2a, 0x4d, 0x18}
	if len(head) > 0 && head[0]>>4 == 5 {
		return bytes.Equal(head[1:], skipped[:len(head)-1])
	}
	return bytes.Equal(head, frame[:len(head)])
}

// compressed is what a compressed object holds.
type compressed struct {
	in      Input
	codec   stint.Codec
	raw     rawBytes
	decoder io.Reader
	length  int64 // read so far
}

// rawBytes are the bytes of an object, as they are.
type rawBytes struct {
	in  Input
	pos int64
	err error // that reading failed with
}

// Read reads on.
func (r *rawBytes) Read(p []byte) (int, error) {
	n := min(int64(len(p)), r.in.Piece.Object.Size-r.pos)
	if n == 0 {
		return 0, io.EOF
	}
	if r.err = r.in.read(p[:n], r.pos); r.err != nil {
		return 0, r.err
	}
	r.pos += n
	return int(n), nil
}

// Read reads what the object holds.
func (c *compressed) Read(p []byte) (int, error) {
	n, err := c.decoder.Read(p)
	c.length += int64(n)
	if size := c.in.Piece.Object.Size; isBomb(c.length, size) {
		return 0, stint.Errorf(stint.Invalid, "expansion_limit: %s holds more than %d bytes in %d; the limit is %d times its size, and 1 TiB", c.in.Piece.Object.URL, c.length, size, maxExpansion)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return n, c.explain(err)
	}
	return n, err
}

// isBomb reports whether so many bytes are too many to have been compressed to size.
func isBomb(length, size int64) bool {
	return length > maxExpanded || length > freeExpanded && length/maxExpansion > size
}

// Why an object cannot be decoded, beside what decoders say.
var (
	errForeign  = errors.New("it is not compressed so")
	errTrailing = errors.New("something else follows")
)

// explain makes the error of a decoder one of the object.
func (c *compressed) explain(err error) error {
	if c.raw.err != nil {
		return c.raw.err
	}
	url, name := c.in.Piece.Object.URL, c.codecName()
	switch {
	case errors.Is(err, errForeign):
		return stint.Errorf(stint.Invalid, "not_%s: %s begins with % x; expected % x", name, url, c.head(), c.magic())
	case errors.Is(err, errTrailing), errors.Is(err, zstd.ErrMagicMismatch), errors.Is(err, bzip2.StructuralError("bad magic value in continuation file")):
		return stint.Errorf(stint.Invalid, "trailing_data: %s has something else behind its %s data", url, name)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return stint.Errorf(stint.Invalid, "truncated_%s: %s ends at byte %d within its data", name, url, c.raw.pos)
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return stint.Errorf(stint.Invalid, "window_too_large: %s was compressed with a larger window than 128 MiB: compress it without --ultra or --long above 27", url)
	}
	return stint.Errorf(stint.Invalid, "corrupt_%s: %s, at about byte %d: %w", name, url, c.raw.pos, err)
}

func (c *compressed) codecName() string {
	switch c.codec {
	case stint.Gzip:
		return "gzip"
	case stint.Zstd:
		return "zstd"
	case stint.Bzip2:
		return "bzip2"
	case stint.Plain:
	}
	return "plain"
}

func (c *compressed) magic() []byte {
	switch c.codec {
	case stint.Gzip:
		return []byte{0x1f, 0x8b}
	case stint.Zstd:
		return []byte{0x28, 0xb5, 0x2f, 0xfd}
	case stint.Bzip2:
		return []byte("BZh")
	case stint.Plain:
	}
	return nil
}

// head returns the first bytes of the object.
func (c *compressed) head() []byte {
	b := make([]byte, min(int64(len(c.magic())), c.in.Piece.Object.Size))
	n, _ := c.in.File.ReadAt(b, 0) // they have been read before
	return b[:n]
}

// gzipMembers reads the members of a gzip file one after the other.
type gzipMembers struct {
	in    *bufio.Reader
	z     *gzip.Reader
	open  bool
	begun bool // a member was read
}

// Read reads on in the present member, or in the next.
func (g *gzipMembers) Read(p []byte) (int, error) {
	for {
		if !g.open {
			if err := g.begin(); err != nil {
				return 0, err
			}
		}
		n, err := g.z.Read(p)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		g.open = false
		if n > 0 {
			return n, nil
		}
	}
}

// begin begins the next member. The error is io.EOF if there is none.
func (g *gzipMembers) begin() error {
	head, err := g.in.Peek(2)
	switch {
	case len(head) == 0 && g.begun:
		return err
	case !bytes.Equal(head, []byte{0x1f, 0x8b}[:len(head)]) && g.begun:
		return errTrailing
	case !bytes.Equal(head, []byte{0x1f, 0x8b}[:len(head)]):
		return errForeign
	}
	if err := g.z.Reset(g.in); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	g.z.Multistream(false)
	g.open, g.begun = true, true
	return nil
}

// counted adds the length of a compressed piece once that was read to its end.
type counted struct {
	piece
	reader *Reader
	length int64
}

func (c *counted) next(buf []byte) ([]byte, error) {
	data, err := c.piece.next(buf)
	if errors.Is(err, io.EOF) {
		c.reader.bytes += c.length
	}
	return data, err
}

// fileStream is what a compressed object holds, as it is.
type fileStream struct {
	reader *Reader
	src    *compressed
}

func (f *fileStream) next(buf []byte) ([]byte, error) {
	n, err := f.src.Read(buf)
	if errors.Is(err, io.EOF) {
		f.reader.bytes += f.src.in.Piece.Length
	}
	return buf[:n], err
}

// lineStream is the lines of a compressed object. Where the last has no LF one is
// added.
type lineStream struct {
	reader *Reader
	src    *compressed
	lines  lineLengths
	pos    int64
	open   bool // the last byte was not LF
}

func (l *lineStream) next(buf []byte) ([]byte, error) {
	n, err := l.src.Read(buf)
	if n == 0 && errors.Is(err, io.EOF) {
		return l.finish(buf)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	data := buf[:n]
	count := int64(bytes.Count(data, newline))
	if err := l.lines.check(l.pos, data, count); err != nil {
		return nil, err
	}
	l.pos += int64(n)
	l.reader.records += count
	if n > 0 {
		l.open = data[n-1] != '\n'
	}
	return data, nil // an end comes again
}

func (l *lineStream) finish(buf []byte) ([]byte, error) {
	l.reader.bytes += l.src.in.Piece.Length
	if !l.open {
		return nil, io.EOF
	}
	l.reader.records++
	return append(buf[:0], '\n'), io.EOF
}
