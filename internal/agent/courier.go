package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/semaphore"

	"stint"
	"stint/internal/object"
	"stint/internal/split"
)

const (
	fetchesPerSlot = 2        // operations whose input is brought here at once, for each slot
	minScratch     = 1 << 30  // bytes that copies of input may take
	maxScratch     = 64 << 30 // likewise
	tailRequest    = 64 << 10 // bytes asked for behind the end of a piece, at first
	maxTailRequest = 8 << 20  // bytes
)

// openRange opens a byte range of the version of an object that was listed.
type openRange func(ctx context.Context, o stint.Object, offset, length int64) (io.ReadCloser, error)

// courier bounds what is brought to this node for operations to read: how much at
// once, and how much room its copies take. Safe for concurrent use.
type courier struct {
	open    openRange
	fetches *semaphore.Weighted
	room    *semaphore.Weighted
	total   int64 // of room
}

// newCourier returns the courier of a node with so many slots, and so many bytes
// free for its folder, of which copies may take a quarter.
func newCourier(open openRange, slots int, free int64) *courier {
	total := min(max(free/4, minScratch), maxScratch)
	return &courier{open: open, fetches: semaphore.NewWeighted(int64(slots * fetchesPerSlot)), room: semaphore.NewWeighted(total), total: total}
}

// leave is one operation's leave to bring its input here, and the room for that.
type leave struct {
	fetched func() // everything is here
	dropped func() // the copies are gone, or are the worker's
}

// begin waits until the input of an operation may be brought here.
func (c *courier) begin(ctx context.Context, pieces []stint.Piece) (leave, error) {
	var n int64
	for _, p := range pieces {
		if object.Remote(p.Object.URL) {
			n += p.Length
		}
	}
	n = min(n, c.total)
	if err := c.room.Acquire(ctx, n); err != nil {
		return leave{}, err
	}
	dropped := sync.OnceFunc(func() { c.room.Release(n) })
	if err := c.fetches.Acquire(ctx, 1); err != nil {
		dropped()
		return leave{}, err
	}
	return leave{fetched: func() { c.fetches.Release(1) }, dropped: dropped}, nil
}

// copyPiece copies the records of a piece, and the bytes before and behind that it
// takes to find them, into a file without a name, at the same offsets.
func (p *preparer) copyPiece(ctx context.Context, x stint.ExecutionID, piece stint.Piece, format split.Format) (*os.File, error) {
	f, err := p.scratch(x)
	if err != nil {
		return nil, err
	}
	if err := p.courier.copyTo(ctx, f, piece, format); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// copyTo copies what reading a piece takes. It reads the piece, as the operation
// will: so it comes to the same bytes.
func (c *courier) copyTo(ctx context.Context, to *os.File, piece stint.Piece, format split.Format) error {
	if err := to.Truncate(piece.Object.Size); err != nil {
		return err
	}
	if format.Whole(piece.Object.URL) {
		format = split.Format{Split: stint.SplitFiles, Compression: "none"}
	}
	from := &parcel{
		object: piece.Object, to: to, end: piece.Offset + piece.Length, tail: tailRequest,
		open: func(offset, length int64) (io.ReadCloser, error) { return c.open(ctx, piece.Object, offset, length) },
	}
	defer from.close()
	_, err := split.NewReader([]split.Input{{Piece: piece, File: from}}, format, nil).WriteTo(io.Discard)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if from.err != nil {
		return from.err
	}
	if stint.CodeOf(err) == stint.Invalid {
		return nil // the operation comes to the same, and says so
	}
	return err
}

// parcel reads an object over the network, and keeps in a file what it has read.
type parcel struct {
	object stint.Object
	to     *os.File
	end    int64 // of the piece
	tail   int64 // length of the next request that begins behind end
	open   func(offset, length int64) (io.ReadCloser, error)

	body io.ReadCloser // nil: no request is open
	pos  int64         // of body
	left int64         // bytes that body still has
	err  error         // that reading has ended with
}

// ReadAt reads on where the last call ended, or asks anew.
func (p *parcel) ReadAt(b []byte, off int64) (int, error) {
	if off != p.pos {
		p.close()
		p.pos = off
	}
	n := 0
	for n < len(b) && p.err == nil {
		if p.pos >= p.object.Size {
			return n, io.EOF
		}
		var read int
		read, p.err = p.read(b[n:])
		n += read
	}
	return n, p.err
}

// read reads some bytes at pos.
func (p *parcel) read(b []byte) (int, error) {
	if p.left == 0 {
		p.close()
		length := p.next()
		body, err := p.open(p.pos, length)
		if err != nil {
			return 0, err
		}
		p.body, p.left = body, length
	}
	n, err := p.body.Read(b[:min(int64(len(b)), p.left)])
	if n > 0 {
		if _, werr := p.to.WriteAt(b[:n], p.pos); werr != nil {
			return n, werr
		}
	}
	p.pos += int64(n)
	p.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
		if p.left > 0 {
			err = stint.Errorf(stint.Unavailable, "read %s: the answer ended at byte %d", p.object.URL, p.pos)
		}
	}
	return n, err
}

// next returns how long the next request is: to a little behind the end of the
// piece, where mostly one record goes on, and then more and more.
func (p *parcel) next() int64 {
	if p.pos < p.end {
		return min(p.end+tailRequest, p.object.Size) - p.pos
	}
	n := min(p.tail, p.object.Size-p.pos)
	p.tail = min(2*p.tail, maxTailRequest)
	return n
}

func (p *parcel) close() {
	if p.body != nil {
		_ = p.body.Close() // it was only read
	}
	p.body, p.left = nil, 0
}
