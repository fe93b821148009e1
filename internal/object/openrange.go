package object

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/minio/minio-go/v7"

	"stint"
)

// OpenRange reads length bytes of a listed object from an offset, if it still is
// what was listed; all of them come, or an error. An answer that breaks off is
// asked for again for a bounded time.
//
// Errors: [stint.Invalid] that begins with "input changed" if the object is gone or
// another version; with the word of what a server of the web does that it should
// not. [stint.Denied] with input_forbidden if it must not be read: it could be listed,
// so that this may be mended. What may pass is [stint.Unavailable].
func (a *Access) OpenRange(ctx context.Context, o stint.Object, offset, length int64) (io.ReadCloser, error) {
	if offset < 0 || length < 0 || offset > o.Size || length > o.Size-offset {
		return nil, stint.Errorf(stint.Invalid, "read %d bytes from byte %d of %s, which has %d", length, offset, o.URL, o.Size)
	}
	switch {
	case isBucketLocation(o.URL):
		return a.openBucketRange(ctx, o, offset, length)
	case isWebLocation(o.URL):
		return a.openWeb(ctx, o, offset, length)
	}
	f, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return &fileRange{io.NewSectionReader(f, offset, length), f, o}, nil
}

// fileRange is a range of a file that is looked at again at its end.
type fileRange struct {
	*io.SectionReader
	file   *os.File
	object stint.Object
}

// Read returns an error at the end if the file has changed since it was opened.
func (r *fileRange) Read(p []byte) (int, error) {
	n, err := r.SectionReader.Read(p)
	if errors.Is(err, io.EOF) {
		if changed := Check(r.file, r.object); changed != nil {
			return n, changed
		}
	}
	return n, err
}

// Close closes the file.
func (r *fileRange) Close() error { return r.file.Close() }

// openBucketRange reads a range of an object of a bucket.
func (a *Access) openBucketRange(ctx context.Context, o stint.Object, offset, length int64) (io.ReadCloser, error) {
	l, err := parseBucketLocation(o.URL)
	if err != nil {
		return nil, err
	}
	b := bucket{a, l.set, l.bucket}
	return b.openRange(ctx, literal(l.key), o.Version, offset, length, a.slow(), func(err error) error { return openFailure(err, o) })
}

// openRange reads a range of a key in the version of an ETag.
func (b bucket) openRange(ctx context.Context, key, etag string, offset, length int64, slow time.Duration, explain func(error) error) (*stream, error) {
	return newStream(ctx, b.url(key), offset, length, slow, func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
		c, err := b.client()
		if err != nil {
			return nil, explain(err)
		}
		var options minio.GetObjectOptions
		if err := errors.Join(options.SetRange(offset, offset+length-1), options.SetMatchETag(etag)); err != nil {
			return nil, stint.Errorf(stint.Invalid, "read %s: %w", b.url(key), err)
		}
		body, info, _, err := c.GetObject(ctx, b.name, key, options)
		if err == nil && info.ETag != etag {
			err = errors.Join(stint.Errorf(stint.Conflict, "version %s", info.ETag), body.Close())
		}
		if err != nil {
			return nil, explain(bucketFailure(err, "read %s", b.url(key)))
		}
		return body, nil
	})
}

// changed says that an object is not what was listed.
func changed(o stint.Object, now string) error {
	return stint.Errorf(stint.Invalid, "input changed: %s was version %s, is %s; submit again", o.URL, o.Version, now)
}

// openFailure says what an error of reading a listed object means for it.
func openFailure(err error, o stint.Object) error {
	switch stint.CodeOf(err) {
	case stint.NotFound:
		return changed(o, "gone")
	case stint.Conflict:
		return changed(o, "another")
	case stint.Denied:
		return forbidden(stint.Denied, err, o.URL)
	case stint.Invalid, stint.Lost, stint.Unavailable, stint.Unknown, stint.Canceled, stint.Failed, stint.Internal:
	}
	return err
}

// inputFailure gives an error of an input that is being listed the code that it has as
// one: who asks for what must not be read is told so.
func inputFailure(err error, url string) error {
	if stint.CodeOf(err) != stint.Denied {
		return err
	}
	return forbidden(stint.Invalid, err, url)
}

func forbidden(code stint.Code, err error, url string) error {
	return &stint.Error{Code: code, Message: "input_forbidden: " + url, Err: err}
}
