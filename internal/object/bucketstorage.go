package object

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/zeebo/blake3"

	"stint"
)

// uploadAge is how old an upload must be to have nobody who continues it.
const uploadAge = 24 * time.Hour

// bucketStorage is a storage below a prefix of a bucket: a key is what follows the
// prefix and a slash.
type bucketStorage struct{ prefix }

func (s bucketStorage) url(key string) string { return s.bucket.url(s.at(key)) }

// mark makes a prefix a storage, unless it is one.
func (s bucketStorage) mark(ctx context.Context) error {
	if there, err := s.exists(ctx, s.at(markerName)); err != nil || there {
		return err
	}
	b, err := newMarker()
	if err != nil {
		return err
	}
	_, err = s.write(ctx, s.at(markerName), b, condition{absent: true})
	if stint.CodeOf(err) == stint.Conflict { // another was faster
		return nil
	}
	return err
}

// marker says which storage lies below the prefix.
func (s bucketStorage) marker(ctx context.Context) (uint64, error) {
	b, _, err := s.read(ctx, s.at(markerName), maxMarker)
	switch {
	case noBucket(err):
		return 0, stint.Errorf(stint.NotFound, "storage %q is not there: there is no such bucket", s)
	case stint.CodeOf(err) == stint.NotFound:
		return 0, stint.Errorf(stint.Invalid, "%q is not a storage of Stint: it has no %s", s, markerName)
	case err != nil:
		return 0, err
	}
	return decodeMarker(s.String(), b, nil)
}

// present is an error if the storage as a whole is not there.
func (s bucketStorage) present(ctx context.Context) error {
	_, _, err := s.read(ctx, s.at(markerName), maxMarker)
	if stint.CodeOf(err) == stint.NotFound {
		return &stint.Error{Code: stint.Unavailable, Message: "storage " + s.String() + " is away: it has no " + markerName, Err: err}
	}
	return err
}

// absent is what an error means that may say that a key has nothing.
func (s bucketStorage) absent(ctx context.Context, err error) error {
	if stint.CodeOf(err) == stint.NotFound {
		if away := s.present(ctx); away != nil {
			return away
		}
	}
	return err
}

func (s bucketStorage) put(ctx context.Context, key string, r io.Reader) error {
	all, err := s.access.newSpool(ctx, r)
	if err != nil {
		return failure(err, "put %s", key)
	}
	defer all.close()
	if err := s.present(ctx); err != nil {
		return err
	}
	return s.upload(ctx, s.at(key), all, all.size)
}

func (s bucketStorage) putBlob(ctx context.Context, folder string, r io.Reader, limit int64) (stint.Digest, int64, error) {
	hash := blake3.New()
	all, err := s.access.newSpool(ctx, io.TeeReader(io.LimitReader(r, limit+1), hash))
	if err != nil {
		return stint.Digest{}, 0, failure(err, "put blob under %s", folder)
	}
	defer all.close()
	if all.size > limit {
		return stint.Digest{}, 0, stint.Errorf(stint.Invalid, "put blob under %s: longer than %d bytes", folder, limit)
	}
	if err := s.present(ctx); err != nil {
		return stint.Digest{}, 0, err
	}
	var digest stint.Digest
	hash.Sum(digest[:0])
	key := s.at(folder + "/" + digest.String())
	there, err := s.bucket.stat(ctx, key)
	if stint.CodeOf(err) == stint.NotFound || err == nil && there.Size != all.size {
		err = s.upload(ctx, key, all, all.size)
	}
	return digest, all.size, err
}

func (s bucketStorage) create(ctx context.Context, key string, r io.Reader) error {
	all, err := s.access.newSpool(ctx, r)
	if err != nil {
		return failure(err, "create %s", key)
	}
	defer all.close()
	b, err := all.bytes()
	if err != nil {
		return failure(err, "create %s", key)
	}
	if err := s.present(ctx); err != nil {
		return err
	}
	_, err = s.write(ctx, s.at(key), b, condition{absent: true})
	return err
}

func (s bucketStorage) get(ctx context.Context, key string) (Stored, error) {
	info, err := s.bucket.stat(ctx, s.at(key))
	if err != nil {
		return nil, s.absent(ctx, err)
	}
	return s.open(ctx, s.at(key), found{size: info.Size, etag: info.ETag}), nil
}

func (s bucketStorage) remove(ctx context.Context, key string) error {
	if err := s.present(ctx); err != nil {
		return err
	}
	return s.bucket.remove(ctx, s.at(key))
}

func (s bucketStorage) stat(ctx context.Context, key string) (Entry, error) {
	info, err := s.bucket.stat(ctx, s.at(key))
	if err != nil {
		return Entry{}, s.absent(ctx, err)
	}
	return Entry{Key: key, Size: info.Size}, nil
}

func (s bucketStorage) list(ctx context.Context, folder string) ([]Entry, error) {
	all, err := s.allBelow(ctx, s.at(folder)+"/", MaxObjects)
	if err == nil && len(all) == 0 {
		err = s.present(ctx)
	}
	if err != nil {
		return nil, s.absent(ctx, err)
	}
	var out []Entry
	for _, o := range all {
		key := strings.TrimPrefix(o.key, s.at(""))
		if checkKey(key) == nil {
			out = append(out, Entry{Key: key, Size: o.size})
		}
	}
	return out, nil
}

func (s bucketStorage) folders(ctx context.Context, folder string) ([]string, error) {
	below := s.at(folder) + "/"
	var out []string
	err := s.each(ctx, minio.ListObjectsOptions{Prefix: below}, func(o found) bool {
		if name := o.key[len(below):]; o.isFolder() && name != "" && name[0] != '.' {
			out = append(out, strings.TrimSuffix(name, "/"))
		}
		return true
	})
	if err == nil && len(out) == 0 {
		err = s.present(ctx)
	}
	if err != nil {
		return nil, s.absent(ctx, err)
	}
	slices.Sort(out)
	return out, nil
}

// removeBelow deletes the keys of one kind together, pack-… or owner-…, and the
// kinds one after the other, the last in byte order first.
func (s bucketStorage) removeBelow(ctx context.Context, folder, but string) error {
	list, err := s.list(ctx, folder)
	if err != nil {
		return err
	}
	var batch []string
	kind := ""
	for _, e := range slices.Backward(list) {
		if e.Key == but {
			continue
		}
		if k := kindOfKey(e.Key); k != kind || len(batch) == pageLength {
			if err := s.removeBatch(ctx, batch); err != nil {
				return err
			}
			kind, batch = k, nil
		}
		batch = append(batch, s.at(e.Key))
	}
	return s.removeBatch(ctx, batch)
}

func (s bucketStorage) removeBatch(ctx context.Context, keys []string) error {
	if err := ctx.Err(); err != nil {
		return &stint.Error{Code: stint.Canceled, Message: "delete objects", Err: err}
	}
	if len(keys) == 0 {
		return nil
	}
	return s.bucket.remove(ctx, keys...)
}

// kindOfKey returns a key up to the first hyphen of its last name.
func kindOfKey(key string) string {
	i := strings.LastIndexByte(key, '/') + 1
	kind, _, _ := strings.Cut(key[i:], "-")
	return key[:i] + kind
}

// link copies within the object storage that both are in.
func (s bucketStorage) link(ctx context.Context, from *Storage, theirs, key string) (bool, error) {
	there, ok := from.backing.(bucketStorage)
	if !ok || !there.isWith(s.bucket) {
		return false, nil
	}
	info, err := there.bucket.stat(ctx, there.at(theirs))
	if err != nil {
		return false, there.absent(ctx, err)
	}
	if err := s.present(ctx); err != nil {
		return false, err
	}
	err = s.copy(ctx, there.bucket, there.at(theirs), info.ETag, info.Size, s.at(key))
	if code := stint.CodeOf(err); code == stint.Denied || code == stint.Invalid { // keys that reach one bucket may not reach the other
		return false, nil
	}
	return err == nil, err
}

// isWith reports whether two buckets are reached at one place with the same keys.
func (b bucket) isWith(other bucket) bool {
	mine, err := b.access.credentials(b.set)
	theirs, err2 := other.access.credentials(other.set)
	mine.Name, theirs.Name = "", ""
	return err == nil && err2 == nil && mine == theirs
}

// tidy gives up uploads below the prefix that nobody has ended.
func (s bucketStorage) tidy(ctx context.Context, _ string) error {
	return s.abortUploads(ctx, s.at(""), uploadAge)
}
