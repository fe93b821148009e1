package object

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
}

// OpenStorage opens the storage in the folder that a location names and creates
// the folder, for its owner alone, if it is not there.
func OpenStorage(location string) (*Storage, error) {
	dir, err := Path(location)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, tempFolder), 0o700); err != nil {
		return nil, failure(err, "open storage %q", dir)
	}
	return &Storage{dir: dir}, nil
}

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
		if part == "" || part[0] == '.' || len(part) > maxKeyPart || (i == 0 && part == tempFolder) {
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
	f, err := os.Open(path)
	if err != nil {
		return nil, failure(err, "get %s", key)
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
		return nil
	}
	if err != nil {
		return failure(err, "delete %s", key)
	}
	return syncFolder(filepath.Dir(path))
}
