package split

import (
	"errors"
	"io"
	"math"

	"stint"
)

// MaxRecord is the default limit of the length of a record, in bytes, without
// what ends it.
const MaxRecord = 64 << 20

const (
	bufferSize = 512 << 10 // fits into the second-level cache, so that counting costs little beside reading
	probeSize  = 4 << 10   // first read behind the end of a piece, where mostly one line is wanted
)

// Input is a piece and the file of its object.
type Input struct {
	Piece stint.Piece
	File  io.ReaderAt
}

// Reader reads the records of pieces, one piece after the other. It is an
// [io.Reader] and an [io.WriterTo]; WriteTo is the faster. Not safe for
// concurrent use. An error is final.
//
// Errors: [stint.Invalid] for a record longer than the limit, with the URL and the
// offset at which it begins, for an object that is shorter than listed, for one
// that is not compressed as its name says, and for a piece that is none;
// [stint.Unavailable] if reading fails.
type Reader struct {
	inputs   []Input
	format   Format
	decoders *Decoders
	piece    piece // nil: none is open
	buf      []byte
	left     []byte // of buf: not yet delivered by Read
	records  int64
	bytes    int64
	err      error

	recordsIn, recordsOut []byte // of pieces that are read record by record, one after the other
}

// piece reads one piece.
type piece interface {
	// next returns the next bytes to deliver, as a part of buf. None at all is no
	// end: that is io.EOF, which may come with the last bytes.
	next(buf []byte) ([]byte, error)
}

// NewReader returns a reader of the pieces' records. Decoders of compressed
// objects are kept in d; nil: no others will be read.
func NewReader(inputs []Input, f Format, d *Decoders) *Reader {
	if f.Limit <= 0 {
		f.Limit = MaxRecord
	}
	if f.Split == "" {
		f.Split = stint.SplitLines
	}
	if d == nil {
		d = &Decoders{}
	}
	return &Reader{inputs: inputs, format: f, decoders: d}
}

// Records returns the number of records read so far; all of them at [io.EOF].
func (r *Reader) Records() int64 { return r.records }

// Bytes returns how many bytes of the input these records take; an LF that was
// added is not counted. Of a compressed object it is the compressed bytes, once
// that was read to its end.
func (r *Reader) Bytes() int64 { return r.bytes }

// Read implements [io.Reader]. Into a p of at least 64 KiB bytes are read directly.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.left) == 0 {
		const direct = 64 << 10
		if len(p) >= direct && r.format.Limit >= direct {
			data, err := r.next(p[:min(int64(len(p)), r.format.Limit, bufferSize)])
			return copy(p, data), err // moves only bytes of a piece's first buffer
		}
		data, err := r.next(r.buffer())
		if err != nil {
			return 0, err
		}
		r.left = data
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// WriteTo implements [io.WriterTo].
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	return writeChunks(w, func() ([]byte, error) {
		if data := r.left; len(data) > 0 {
			r.left = nil
			return data, nil
		}
		return r.next(r.buffer())
	})
}

// writeChunks writes what next returns until next returns [io.EOF].
func writeChunks(w io.Writer, next func() ([]byte, error)) (int64, error) {
	var total int64
	for {
		data, err := next()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(data)
		total += int64(n)
		if err == nil && n < len(data) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, err
		}
	}
}

func (r *Reader) buffer() []byte {
	if r.buf == nil {
		r.buf = make([]byte, r.bufferLength())
	}
	return r.buf
}

// bufferLength is less than bufferSize if there is not so much to read.
func (r *Reader) bufferLength() int64 {
	n := int64(probeSize)
	for _, in := range r.inputs {
		compressed := stint.CodecOf(in.Piece.Object.URL, r.format.Compression) != stint.Plain
		if compressed || in.Piece.Length < 0 || in.Piece.Length > bufferSize || n > bufferSize {
			n = bufferSize
			break
		}
		n += in.Piece.Length
	}
	return min(n, bufferSize, r.format.Limit)
}

// next returns the next bytes to deliver, at least one, as a part of buf.
func (r *Reader) next(buf []byte) ([]byte, error) {
	for r.err == nil {
		if r.piece == nil {
			r.err = r.openPiece()
			continue
		}
		data, err := r.piece.next(buf)
		if errors.Is(err, io.EOF) {
			r.piece, err = nil, nil
		}
		r.err = err
		if len(data) > 0 && err == nil {
			return data, nil
		}
	}
	return nil, r.err
}

// openPiece begins the next piece, if that has bytes.
func (r *Reader) openPiece() error {
	if len(r.inputs) == 0 {
		return io.EOF
	}
	in := r.inputs[0]
	r.inputs = r.inputs[1:]
	p := in.Piece
	size := p.Object.Size
	if p.Offset < 0 || p.Length < 0 || p.Offset > math.MaxInt64-p.Length || size < 0 {
		return stint.Errorf(stint.Invalid, "piece of %s: offset %d, length %d of %d bytes", p.Object.URL, p.Offset, p.Length, size)
	}
	codec := stint.CodecOf(p.Object.URL, r.format.Compression)
	if (codec != stint.Plain || r.format.Split == stint.SplitFiles) && (p.Offset != 0 || p.Length != size) {
		return notWhole(p, codec)
	}
	switch r.format.Split {
	case stint.SplitLines, stint.SplitCount, "":
	case stint.SplitFiles:
		r.records++
	case stint.SplitRange:
		fallthrough
	default:
		return stint.Errorf(stint.Invalid, "piece of %s: split %.20q has no pieces; expected lines, count or files", p.Object.URL, string(r.format.Split))
	}
	if p.Offset >= min(p.Offset+p.Length, size) {
		return nil
	}
	var err error
	if codec != stint.Plain {
		r.piece, err = r.openCompressed(in, codec)
	} else {
		r.piece, err = r.openPlain(in)
	}
	return err
}

func notWhole(p stint.Piece, codec stint.Codec) error {
	what := "files are"
	if codec != stint.Plain {
		what = "compressed objects are"
	}
	return stint.Errorf(stint.Invalid, "not_splittable: piece of %s: %s read whole, not %d bytes at %d of %d", p.Object.URL, what, p.Length, p.Offset, p.Object.Size)
}

func (r *Reader) openPlain(in Input) (piece, error) {
	switch {
	case r.format.Split == stint.SplitFiles:
		return &filePiece{reader: r, in: in}, nil
	case r.format.isPlainLines():
		return newLinePiece(r, in), nil
	}
	return newRecordPiece(r, in)
}

// filePiece is an object as it is.
type filePiece struct {
	reader *Reader
	in     Input
	pos    int64
}

func (f *filePiece) next(buf []byte) ([]byte, error) {
	left := f.in.Piece.Object.Size - f.pos
	data := buf[:min(int64(len(buf)), left)]
	if err := f.in.read(data, f.pos); err != nil {
		return nil, err
	}
	f.pos += int64(len(data))
	f.reader.bytes += int64(len(data))
	if f.pos == f.in.Piece.Object.Size {
		return data, io.EOF
	}
	return data, nil
}

// read fills data from an offset.
func (in *Input) read(data []byte, at int64) error {
	o := in.Piece.Object
	n, err := in.File.ReadAt(data, at)
	if n == len(data) {
		return nil
	}
	return readError(o, at+int64(n), err)
}

// readError says why there is nothing to be read at an offset of an object.
func readError(o stint.Object, at int64, err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return stint.Errorf(stint.Invalid, "input changed: %s has %d bytes now, had %d; submit again", o.URL, at, o.Size)
	}
	if code := stint.CodeOf(err); code != stint.Internal {
		return stint.Errorf(code, "read %s at byte %d: %w", o.URL, at, err)
	}
	return stint.Errorf(stint.Unavailable, "read %s at byte %d: %w", o.URL, at, err)
}
