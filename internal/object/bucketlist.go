package object

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"stint"
)

const (
	pageLength   = 1000 // keys in one answer
	listedAtOnce = 8    // parts of one folder, or folders of a glob
	listTries    = 5    // of a page, beyond those of its request
)

// found is one entry of a list.
type found struct {
	key   string
	size  int64 // bytes
	etag  string
	class string // of storage
}

// isFolder reports whether an entry stands for what is below it.
func (f found) isFolder() bool { return strings.HasSuffix(f.key, "/") }

// each visits the entries below a prefix, behind a key: objects in byte order, and, unless
// it is recursive, what is below a further slash as one entry whose key ends with it. A page that breaks off is asked for again, from where it broke off: a
// list is never shorter than it should be. visit returns false to end it.
func (b bucket) each(ctx context.Context, options minio.ListObjectsOptions, visit func(found) bool) error {
	options.MaxKeys = pageLength
	for try := 1; ; try++ {
		c, err := b.client()
		if err != nil {
			return err
		}
		failed, seen := error(nil), false
		within, cancel := context.WithCancel(ctx)
		for o := range c.ListObjectsIter(within, b.name, options) {
			if failed = o.Err; failed != nil {
				break
			}
			seen, options.StartAfter = true, max(options.StartAfter, behind(o.Key, options.Recursive))
			if !visit(found{o.Key, o.Size, o.ETag, o.StorageClass}) {
				break
			}
		}
		cancel()
		if failed == nil {
			return b.listFailure(ctx, ctx.Err(), options.Prefix)
		}
		if seen {
			try = 1
		}
		err = b.listFailure(ctx, failed, options.Prefix)
		if stint.CodeOf(err) != stint.Unavailable || try >= listTries || noBucket(err) {
			return err
		}
		if pause(ctx, backoff(try)) != nil {
			return b.listFailure(ctx, ctx.Err(), options.Prefix)
		}
	}
}

// behind returns what a list goes on behind when it has come to a key: behind all
// that a common prefix stands for, if it has those.
//
//nolint:revive // recursive is what the list is
func behind(key string, recursive bool) string {
	if !recursive && strings.HasSuffix(key, "/") {
		return key + "\U0010FFFF"
	}
	return key
}

func (b bucket) listFailure(ctx context.Context, err error, below string) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &stint.Error{Code: stint.Canceled, Message: "list " + b.url(below), Err: ctx.Err()}
	case noBucket(err):
		return &stint.Error{Code: stint.NotFound, Message: "bucket " + b.name + " is not there", Err: err}
	}
	return bucketFailure(err, "list %s", b.url(below))
}

// allBelow returns every object whose key begins with a prefix, sorted. A long list
// is had in several pieces at once.
func (b bucket) allBelow(ctx context.Context, below string, limit int) ([]found, error) {
	var first []found
	more := false
	err := b.each(ctx, minio.ListObjectsOptions{Prefix: below, Recursive: true}, func(o found) bool {
		more = len(first) == pageLength
		if !more {
			first = append(first, o)
		}
		return !more
	})
	if err != nil || !more {
		return first, err
	}
	from := first[len(first)-1].key
	bounds, err := b.bounds(ctx, below, from)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	count := len(first)
	pieces := make([][]found, len(bounds)+1)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(listedAtOnce)
	for i := range pieces {
		options := minio.ListObjectsOptions{Prefix: below, Recursive: true, StartAfter: from}
		if i > 0 {
			options.StartAfter = bounds[i-1]
		}
		g.Go(func() error {
			return b.each(gctx, options, func(o found) bool {
				if i < len(bounds) && o.key > bounds[i] {
					return false
				}
				pieces[i] = append(pieces[i], o)
				mu.Lock()
				defer mu.Unlock()
				count++
				return count <= limit
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(append([][]found{first}, pieces...)...), nil
}

// bounds returns keys behind which to begin a piece of a list each: folders that
// are spread over the first page of them.
func (b bucket) bounds(ctx context.Context, below, from string) ([]string, error) {
	if below != "" && !strings.HasSuffix(below, "/") {
		return nil, nil
	}
	var folders []string
	entries := 0
	err := b.each(ctx, minio.ListObjectsOptions{Prefix: below, StartAfter: from}, func(o found) bool {
		if o.isFolder() && o.key > from {
			folders = append(folders, o.key)
		}
		entries++
		return entries < pageLength
	})
	if err != nil || len(folders) < 2 {
		return nil, err
	}
	const pieces = 4 * listedAtOnce
	step := max(1, len(folders)/pieces)
	var out []string
	for i := 0; i < len(folders); i += step {
		out = append(out, folders[i])
	}
	return out, nil
}
