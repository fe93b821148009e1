package object

import (
	"context"
	"io"
	"slices"
	"sync"

	"stint"
)

const (
	blockBytes = 512 << 10 // that ReadAt asks for at least
	maxBlocks  = 4         // of one object, kept
)

// open returns a reader of a key in one version.
func (b bucket) open(ctx context.Context, key string, version found) *storedObject {
	ctx = context.WithoutCancel(ctx) // it is read after the call that opens it
	o := &storedObject{size: version.size, name: b.url(key)}
	o.ask = func(offset, length int64) (*stream, error) {
		return b.openRange(ctx, key, version.etag, offset, length, slowLimit, func(err error) error {
			if code := stint.CodeOf(err); code == stint.NotFound || code == stint.Conflict {
				return &stint.Error{Code: stint.Lost, Message: "external_change: " + b.url(key) + " is not what it was when it was opened", Err: err}
			}
			return err
		})
	}
	return o
}

// storedObject reads an object of a bucket: one answer for what Read reads in a
// row, one for each block that ReadAt needs.
type storedObject struct {
	ask  func(offset, length int64) (*stream, error)
	name string
	size int64
	at   int64
	row  *stream // that continues at at; nil: none is open

	mu     sync.Mutex
	blocks []readBlock // the oldest first
}

// readBlock is what came beyond what ReadAt was asked for.
type readBlock struct {
	at   int64
	data []byte
}

// Size returns how long the object is.
func (o *storedObject) Size() int64 { return o.size }

// Read returns what follows in the object.
func (o *storedObject) Read(p []byte) (int, error) {
	if o.at >= o.size {
		return 0, io.EOF
	}
	if o.row == nil {
		var err error
		if o.row, err = o.ask(o.at, o.size-o.at); err != nil {
			return 0, err
		}
	}
	n, err := o.row.Read(p)
	o.at += int64(n)
	return n, err
}

// Seek sets where Read goes on.
func (o *storedObject) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.at
	case io.SeekEnd:
		offset += o.size
	}
	if offset < 0 {
		return 0, stint.Errorf(stint.Invalid, "seek to byte %d of %s", offset, o.name)
	}
	if offset == o.at {
		return o.at, nil
	}
	o.at = offset
	return o.at, o.Close()
}

// ReadAt returns a range of the object. It may be called by several at once. Who
// reads a little reads on, so that more than is wanted comes at once, and is kept
// until it was read to its end.
func (o *storedObject) ReadAt(p []byte, offset int64) (int, error) {
	read := 0
	for read < len(p) {
		at := offset + int64(read)
		if at < 0 || at >= o.size {
			return read, io.EOF
		}
		n := o.fromBlocks(p[read:], at)
		if n == 0 {
			var err error
			if n, err = o.fetch(p[read:], at); err != nil {
				return read, err
			}
		}
		read += n
	}
	return read, nil
}

// fromBlocks returns how many bytes it had.
func (o *storedObject) fromBlocks(p []byte, at int64) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, b := range o.blocks {
		if b.at <= at && at < b.at+int64(len(b.data)) {
			n := copy(p, b.data[at-b.at:])
			if at+int64(n) == b.at+int64(len(b.data)) {
				o.blocks = slices.Delete(o.blocks, i, i+1)
			}
			return n
		}
	}
	return 0
}

// fetch asks for bytes, and keeps what comes beyond those that are wanted.
func (o *storedObject) fetch(p []byte, at int64) (int, error) {
	wanted := min(int64(len(p)), o.size-at)
	length := min(max(wanted, blockBytes), o.size-at)
	data := p[:wanted]
	if length > wanted {
		data = make([]byte, length)
	}
	s, err := o.ask(at, length)
	if err != nil {
		return 0, err
	}
	defer s.Close() //nolint:errcheck // only read
	if n, err := io.ReadFull(s, data); err != nil {
		return 0, stint.Errorf(stint.CodeOf(err), "read %s: %d of %d bytes came: %w", o.name, n, length, err)
	}
	if length == wanted {
		return len(data), nil
	}
	n := copy(p, data)
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.blocks) == maxBlocks {
		o.blocks = slices.Delete(o.blocks, 0, 1)
	}
	o.blocks = append(o.blocks, readBlock{at, data})
	return n, nil
}

// Close ends the answer that is open.
func (o *storedObject) Close() error {
	if o.row == nil {
		return nil
	}
	err := o.row.Close()
	o.row = nil
	return err
}
