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

// bucketInput lists what a location names in a bucket: an object, a folder, which is
// what keys begin with up to a slash, or a glob of both.
func (l *lister) bucketInput(ctx context.Context, location string) error {
	at, err := parseBucketLocation(location)
	if err != nil {
		return err
	}
	key, err := at.tidyKey(location)
	if err != nil {
		return err
	}
	if slices.Contains(strings.Split(literal(key), "/"), stagingName) {
		return stint.Errorf(stint.Invalid, "reserved: input %.80q: %s is where outputs are put together", location, stagingName)
	}
	w := bucketWalk{lister: l, bucket: bucket{l.access, at.set, at.bucket}}
	folderOnly := len(key) < len(at.key)
	err = w.add(ctx, literal(key), folderOnly)
	if err == nil && w.matched == 0 && hasGlob(key) {
		err = w.globs(ctx, location, key)
	}
	if err != nil {
		return failure(inputFailure(err, w.url(literal(key))), "input %.80q", location)
	}
	if w.matched == 0 {
		return stint.Errorf(stint.NotFound, "input %.80q: no such object or folder", location)
	}
	return nil
}

// bucketWalk gathers what one location names.
type bucketWalk struct {
	*lister
	bucket
	mu      sync.Mutex
	matched int // objects and folders that the location named
}

func (w *bucketWalk) globs(ctx context.Context, location string, key []symbol) error {
	if strings.Contains(literal(key), "//") {
		return stint.Errorf(stint.Invalid, "bad_glob: location %.80q: a glob with an empty name between slashes", location)
	}
	patterns, err := compileGlob(location, key)
	if err != nil {
		return err
	}
	for _, p := range patterns {
		if err := w.glob(ctx, "", p); err != nil {
			return err
		}
	}
	return nil
}

// add adds an object of exactly this key and all below it as a folder.
//
//nolint:revive // folderOnly is what the location says
func (w *bucketWalk) add(ctx context.Context, key string, folderOnly bool) error {
	if key != "" && !folderOnly {
		info, err := w.stat(ctx, key)
		if err != nil && stint.CodeOf(err) != stint.NotFound {
			return err
		}
		if err == nil {
			w.count()
			if err := w.take(found{key, info.Size, info.ETag, info.StorageClass}); err != nil {
				return err
			}
		}
	}
	if key != "" {
		key += "/"
	}
	return w.folder(ctx, key)
}

func (w *bucketWalk) count() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.matched++
}

// folder adds the objects below a prefix but those with hidden names, of which
// each folder counts once.
func (w *bucketWalk) folder(ctx context.Context, below string) error {
	list, err := w.allBelow(ctx, below, MaxObjects)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		w.count()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	hidden := ""
	for _, o := range list {
		if hidden != "" && strings.HasPrefix(o.key, hidden) {
			continue
		}
		if hidden = hiddenPart(below, o.key); hidden != "" {
			w.skipped++
			continue
		}
		if o.isFolder() {
			continue // stands for a folder, where tools make them
		}
		if err := w.takeLocked(o); err != nil {
			return err
		}
	}
	return nil
}

// hiddenPart returns a key up to the first name below a prefix that is left out,
// nothing if there is none; with a slash if it is that of a folder.
func hiddenPart(below, key string) string {
	for i := len(below); i < len(key); {
		end := strings.IndexByte(key[i:], '/')
		if key[i] == '.' || key[i] == '_' {
			if end < 0 {
				return key
			}
			return key[:i+end+1]
		}
		if end < 0 {
			break
		}
		i += end + 1
	}
	return ""
}

func (w *bucketWalk) take(o found) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.takeLocked(o)
}

func (w *bucketWalk) takeLocked(o found) error {
	switch o.class {
	case "GLACIER", "DEEP_ARCHIVE":
		return stint.Errorf(stint.Invalid, "input_unavailable: %s: storage class %s", w.url(o.key), o.class)
	}
	if o.etag == "" {
		return stint.Errorf(stint.Invalid, "input_unavailable: %s: the server does not say in which version it is (ETag)", w.url(o.key))
	}
	return w.object(stint.Object{URL: w.url(o.key), Size: o.size, Version: o.etag})
}

// glob adds what lies below base, which is empty or ends with a slash, and matches
// the segments.
func (w *bucketWalk) glob(ctx context.Context, base string, pattern []segment) error {
	for len(pattern) > 1 {
		name, ok := pattern[0].isLiteral()
		if !ok {
			break
		}
		base, pattern = base+name+"/", pattern[1:]
	}
	if name, ok := pattern[0].isLiteral(); ok {
		return w.add(ctx, base+name, false)
	}
	matches, err := w.level(ctx, base, pattern)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(listedAtOnce)
	for _, m := range matches {
		g.Go(func() error {
			switch {
			case m.isFolder() && len(pattern) == 1:
				return w.folder(ctx, m.key)
			case m.isFolder():
				return w.glob(ctx, m.key, pattern[1:])
			}
			w.count()
			return w.take(m)
		})
	}
	return g.Wait()
}

// level returns what lies directly below base and matches the first of the
// segments: folders, and objects if it is the last.
func (w *bucketWalk) level(ctx context.Context, base string, pattern []segment) ([]found, error) {
	var matches []found
	var tooMany error
	err := w.each(ctx, minio.ListObjectsOptions{Prefix: base + pattern[0].prefix()}, func(o found) bool {
		name := strings.TrimSuffix(o.key[len(base):], "/")
		switch {
		case name == "" || !pattern[0].match(name):
		case (name[0] == '.' || name[0] == '_') && !pattern[0].matchesHidden(), name == stagingName:
			w.mu.Lock()
			defer w.mu.Unlock()
			w.skipped++
		case !o.isFolder() && len(pattern) > 1:
		default:
			matches = append(matches, o)
			tooMany = w.checkCount(len(matches))
		}
		return tooMany == nil
	})
	if err == nil {
		err = tooMany
	}
	return matches, err
}
