package object

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/zeebo/blake3"

	"stint"
)

const (
	tempFolder   = "tmp"
	maxKey       = 1024
	maxKeyPart   = 255
	copyBuffered = 256 << 10
)

// Storage is system storage: listings, program files, outputs that were given no
// location. Safe for concurrent use, also by several processes.
type Storage struct {
	dir string
	id  uint64
}

// OpenStorage opens the storage in the folder that a location names and makes it
// one, for its owner alone, if it is not. Who knows that it has been a storage
// calls [FindStorage].
func OpenStorage(location string) (*Storage, error) {
	dir, err := Path(location)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, tempFolder), 0o700); err != nil {
		return nil, failure(err, "open storage %q", dir)
	}
	if err := mark(dir); err != nil {
		return nil, err
	}
	return FindStorage(location)
}

// FindStorage opens the storage in the folder that a location names, which must
// be one already: [stint.NotFound] if there is no folder, [stint.Invalid] if it is
// something else, or the place where a file system is not mounted.
func FindStorage(location string) (*Storage, error) {
	dir, err := Path(location)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, stint.Errorf(stint.NotFound, "storage %q is not there", dir)
	case err != nil:
		return nil, failure(err, "open storage %q", dir)
	case !info.IsDir():
		return nil, stint.Errorf(stint.Invalid, "storage %q is not a folder", dir)
	}
	id, err := readMarker(dir)
	if err != nil {
		return nil, err
	}
	return &Storage{dir: dir, id: id}, nil
}

// ID returns the number by which the storage is told from others.
func (s *Storage) ID() uint64 { return s.id }

// Location returns the URL of what has, or could have, this key.
func (s *Storage) Location(key string) (string, error) {
	path, err := s.path(key)
	if err != nil {
		return "", err
	}
	return fileURL(path), nil
}

// path checks a key: segments of letters that a file may have, separated by
// slashes, none of them empty or hidden or the folder of temporary files.
func (s *Storage) path(key string) (string, error) {
	if key == "" || len(key) > maxKey {
		return "", stint.Errorf(stint.Invalid, "key %.80q: expected 1 to %d bytes", key, maxKey)
	}
	for i, part := range strings.Split(key, "/") {
		if part == "" || part[0] == '.' || len(part) > maxKeyPart || (i == 0 && (part == tempFolder || part == markerName)) {
			return "", stint.Errorf(stint.Invalid, "key %.80q: segment %.80q is empty, begins with a dot, is reserved, or is longer than %d bytes", key, part, maxKeyPart)
		}
	}
	for i := range len(key) {
		if key[i] < 0x20 || key[i] == 0x7f || key[i] == '\\' {
			return "", stint.Errorf(stint.Invalid, "key %.80q: byte %d is a control character or a backslash", key, i+1)
		}
	}
	return filepath.Join(s.dir, filepath.FromSlash(key)), nil
}

// Put stores all that r has under a key, in place of what was there. It is
// durable when Put returns; after an error the key has what it had.
func (s *Storage) Put(ctx context.Context, key string, r io.Reader) error {
	path, err := s.path(key)
	if err != nil {
		return err
	}
	temp, err := s.writeTemp(ctx, r)
	if err != nil {
		return failure(err, "put %s", key)
	}
	return s.publish(temp, path, key)
}

// PutBlob stores all that r has under its own digest, as prefix/<BLAKE3 in
// hexadecimal>, and returns digest and length. What is there already is not
// written again. More than limit bytes are [stint.Invalid] and leave nothing.
func (s *Storage) PutBlob(ctx context.Context, prefix string, r io.Reader, limit int64) (stint.Digest, int64, error) {
	if _, err := s.path(prefix); err != nil {
		return stint.Digest{}, 0, err
	}
	hash := blake3.New()
	counted := &io.LimitedReader{R: r, N: limit + 1}
	temp, err := s.writeTemp(ctx, io.TeeReader(counted, hash))
	if err != nil {
		return stint.Digest{}, 0, failure(err, "put blob under %s", prefix)
	}
	size := limit + 1 - counted.N
	if size > limit {
		return stint.Digest{}, 0, errors.Join(stint.Errorf(stint.Invalid, "put blob under %s: longer than %d bytes", prefix, limit), os.Remove(temp))
	}
	var digest stint.Digest
	hash.Sum(digest[:0])
	key := prefix + "/" + digest.String()
	path, err := s.path(key)
	if err != nil {
		return stint.Digest{}, 0, errors.Join(err, os.Remove(temp))
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() == size {
		if err := os.Remove(temp); err != nil {
			return stint.Digest{}, 0, failure(err, "put %s", key)
		}
		return digest, size, nil
	}
	return digest, size, s.publish(temp, path, key)
}

// writeTemp returns the path of a synced file that has all of r.
func (s *Storage) writeTemp(ctx context.Context, r io.Reader) (string, error) {
	if err := s.present(); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Join(s.dir, tempFolder), "put-")
	if err != nil {
		return "", failure(err, "create temporary file")
	}
	_, err = io.CopyBuffer(onlyWriter{f}, &stoppingReader{ctx.Err, r}, make([]byte, copyBuffered))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// onlyWriter hides ReadFrom, which would bypass the buffer and the checks.
type onlyWriter struct{ io.Writer }

// stoppingReader stops when what it reads is not wanted any more.
type stoppingReader struct {
	stopped func() error
	r       io.Reader
}

func (s *stoppingReader) Read(p []byte) (int, error) {
	if err := s.stopped(); err != nil {
		return 0, &stint.Error{Code: stint.Canceled, Err: err}
	}
	return s.r.Read(p)
}

// publish gives a temporary file its name, durably.
func (*Storage) publish(temp, path, key string) error {
	_, err := makeFolders(filepath.Dir(path))
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return failure(errors.Join(err, os.Remove(temp)), "put %s", key)
	}
	return syncFolder(filepath.Dir(path))
}

// Create stores all that r has under a key that has nothing. Of several that
// create one key at the same time, one succeeds; the error of the others is
// [stint.Conflict]. It is durable when Create returns.
func (s *Storage) Create(ctx context.Context, key string, r io.Reader) error {
	path, err := s.path(key)
	if err != nil {
		return err
	}
	temp, err := s.writeTemp(ctx, r)
	if err != nil {
		return failure(err, "create %s", key)
	}
	_, err = makeFolders(filepath.Dir(path))
	if err == nil {
		err = linkNew(temp, path)
	}
	if err = errors.Join(err, os.Remove(temp)); err != nil {
		return failure(err, "create %s", key)
	}
	return syncFolder(filepath.Dir(path))
}

// linkNew gives a file a second name, which must be free. A remote file system may
// say that it is taken when it was our own call, repeated, that took it.
func linkNew(temp, path string) error {
	err := os.Link(temp, path)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	ours, tempErr := os.Lstat(temp)
	there, pathErr := os.Lstat(path)
	if tempErr == nil && pathErr == nil && os.SameFile(ours, there) {
		return nil
	}
	return err
}

// Get opens what is stored under a key, at the state it has now. The error is
// [stint.NotFound] if there is nothing.
func (s *Storage) Get(ctx context.Context, key string) (*os.File, error) {
	path, err := s.path(key)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, &stint.Error{Code: stint.Canceled, Message: "get " + key, Err: err}
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0) // what is no file keeps nobody waiting
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, failure(s.absent(err), "get %s", key)
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(stint.Errorf(stint.NotFound, "get %s: no such key", key), f.Close())
	}
	return f, nil
}

// Delete removes what is stored under a key, durably. Nothing there is no error.
func (s *Storage) Delete(ctx context.Context, key string) error {
	path, err := s.path(key)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return &stint.Error{Code: stint.Canceled, Message: "delete " + key, Err: err}
	}
	err = os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.present()
	}
	if err != nil {
		return failure(s.absent(err), "delete %s", key)
	}
	return syncFolder(filepath.Dir(path))
}

// Entry is a key that has something.
type Entry struct {
	Key  string
	Size int64 // bytes
}

// Stat returns what is known of a key. The error is [stint.NotFound] if it has nothing.
func (s *Storage) Stat(ctx context.Context, key string) (Entry, error) {
	path, err := s.path(key)
	if err != nil {
		return Entry{}, err
	}
	if err := ctx.Err(); err != nil {
		return Entry{}, &stint.Error{Code: stint.Canceled, Message: "look at " + key, Err: err}
	}
	info, err := os.Lstat(path)
	if err != nil {
		return Entry{}, failure(s.absent(err), "look at %s", key)
	}
	if !info.Mode().IsRegular() {
		return Entry{}, stint.Errorf(stint.NotFound, "look at %s: no such key", key)
	}
	return Entry{Key: key, Size: info.Size()}, nil
}

// List returns the keys below a prefix, which ends with a slash, in byte order.
// None is no error.
func (s *Storage) List(ctx context.Context, prefix string) ([]Entry, error) {
	root, err := s.folder(prefix)
	if err != nil {
		return nil, err
	}
	var out []Entry
	err = walkFolder(ctx, root, strings.TrimSuffix(prefix, "/"), func(key string, info fs.FileInfo) {
		out = append(out, Entry{Key: key, Size: info.Size()})
	})
	if err == nil && len(out) == 0 {
		err = s.present()
	}
	if err != nil {
		return nil, failure(s.absent(err), "list %s", prefix)
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// Folders returns the names of what lies below a prefix, which ends with a slash,
// up to the next slash, sorted: one level of the keys, without walking the rest.
func (s *Storage) Folders(ctx context.Context, prefix string) ([]string, error) {
	root, err := s.folder(prefix)
	if err != nil {
		return nil, err
	}
	var out []string
	err = readFolder(ctx, root, func(e fs.DirEntry) error {
		if e.IsDir() && e.Name()[0] != '.' {
			out = append(out, e.Name())
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(out) == 0 {
		err = s.present()
	}
	if err != nil {
		return nil, failure(s.absent(err), "list %s", prefix)
	}
	slices.Sort(out)
	return out, nil
}

// DeleteAll removes all keys below a prefix, which ends with a slash, durably, the
// last in byte order first. It may be repeated; nothing there is no error.
func (s *Storage) DeleteAll(ctx context.Context, prefix string) error {
	root, err := s.deleteBelow(ctx, prefix, "")
	if err != nil {
		return err
	}
	if err := os.RemoveAll(root); err != nil {
		return failure(err, "delete %s", prefix)
	}
	if !exists(filepath.Dir(root)) {
		return nil
	}
	return syncFolder(filepath.Dir(root))
}

// DeleteAllBut is as [Storage.DeleteAll], but one key directly below the prefix
// stays, which must be there.
func (s *Storage) DeleteAllBut(ctx context.Context, prefix, name string) error {
	root, err := s.deleteBelow(ctx, prefix, prefix+name)
	if err != nil {
		return err
	}
	return syncFolder(root)
}

// deleteBelow removes the files of all keys below a prefix but one, and returns
// the prefix's folder.
func (s *Storage) deleteBelow(ctx context.Context, prefix, but string) (root string, err error) {
	if root, err = s.folder(prefix); err != nil {
		return "", err
	}
	list, err := s.List(ctx, prefix)
	if err != nil {
		return "", err
	}
	for _, e := range slices.Backward(list) {
		if err := ctx.Err(); err != nil {
			return "", &stint.Error{Code: stint.Canceled, Message: "delete " + prefix, Err: err}
		}
		if e.Key == but {
			continue
		}
		path := filepath.Join(s.dir, filepath.FromSlash(e.Key))
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", failure(err, "delete %s", e.Key)
		}
	}
	return root, nil
}

// folder checks a prefix, which ends with a slash, and returns its folder.
func (s *Storage) folder(prefix string) (string, error) {
	key, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return "", stint.Errorf(stint.Invalid, "prefix %.80q: does not end with a slash", prefix)
	}
	return s.path(key)
}

// walkFolder visits the files below a folder that may not be there. What vanishes
// meanwhile is left out.
func walkFolder(ctx context.Context, dir, key string, visit func(key string, info fs.FileInfo)) error {
	err := readFolder(ctx, dir, func(e fs.DirEntry) error {
		if e.Name()[0] == '.' {
			return nil // no key has such a segment
		}
		below := key + "/" + e.Name()
		if e.IsDir() {
			return walkFolder(ctx, filepath.Join(dir, e.Name()), below, visit)
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return nil
		}
		if err == nil {
			visit(below, info)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
