package object

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/zeebo/blake3"

	"stint"
	"stint/internal/failpoint"
)

// folderStorage is a storage in a folder: a key is the path of a file below it.
type folderStorage struct{ dir string }

func (s folderStorage) String() string { return s.dir }

func (s folderStorage) url(key string) string { return fileURL(s.path(key)) }

func (s folderStorage) path(key string) string { return filepath.Join(s.dir, filepath.FromSlash(key)) }

// storedFile is a file that is read.
type storedFile struct {
	*os.File
	size int64
}

// Size returns how long the file was when it was opened.
func (f storedFile) Size() int64 { return f.size }

func (s folderStorage) put(ctx context.Context, key string, r io.Reader) error {
	path := s.path(key)
	temp, err := s.writeTemp(ctx, r)
	if err != nil {
		return failure(err, "put %s", key)
	}
	if err := checkWanted(ctx, "put", key); err != nil { // to sync it may have taken long
		return errors.Join(err, os.Remove(temp))
	}
	return s.publish(temp, path, key)
}

func (s folderStorage) putBlob(ctx context.Context, prefix string, r io.Reader, limit int64) (stint.Digest, int64, error) {
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
	path := s.path(key)
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() == size {
		if err := os.Remove(temp); err != nil {
			return stint.Digest{}, 0, failure(err, "put %s", key)
		}
		return digest, size, nil
	}
	return digest, size, s.publish(temp, path, key)
}

// writeTemp returns the path of a synced file that has all of r.
func (s folderStorage) writeTemp(ctx context.Context, r io.Reader) (string, error) {
	if err := s.present(); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Join(s.dir, tempFolder), "put-")
	if err != nil {
		return "", failure(err, "create temporary file")
	}
	_, err = io.CopyBuffer(onlyWriter{f}, &stoppingReader{ctx.Err, r}, make([]byte, copyBuffered))
	if err == nil {
		err = cmp.Or(failpoint.Error("storage.before-sync"), f.Sync())
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
func (folderStorage) publish(temp, path, key string) error {
	_, err := makeFolders(filepath.Dir(path))
	failpoint.Reach("storage.before-rename")
	if err == nil {
		err = os.Rename(temp, path)
	}
	failpoint.Reach("storage.after-rename")
	if err != nil {
		return failure(errors.Join(err, os.Remove(temp)), "put %s", key)
	}
	return syncFolder(filepath.Dir(path))
}

func (s folderStorage) create(ctx context.Context, key string, r io.Reader) error {
	path := s.path(key)
	temp, err := s.writeTemp(ctx, r)
	if err != nil {
		return failure(err, "create %s", key)
	}
	_, err = makeFolders(filepath.Dir(path))
	if err == nil {
		err = linkNew(temp, path)
	}
	failpoint.Reach("storage.after-link")
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

func (s folderStorage) get(ctx context.Context, key string) (Stored, error) {
	path := s.path(key)
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
	return storedFile{f, info.Size()}, nil
}

func (s folderStorage) remove(ctx context.Context, key string) error {
	path := s.path(key)
	failpoint.Reach("storage.before-removing")
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.present()
	}
	if err != nil {
		return failure(s.absent(err), "delete %s", key)
	}
	return syncFolder(filepath.Dir(path))
}

func (s folderStorage) stat(ctx context.Context, key string) (Entry, error) {
	info, err := os.Lstat(s.path(key))
	if err != nil {
		return Entry{}, failure(s.absent(err), "look at %s", key)
	}
	if !info.Mode().IsRegular() {
		return Entry{}, stint.Errorf(stint.NotFound, "look at %s: no such key", key)
	}
	return Entry{Key: key, Size: info.Size()}, nil
}

func (s folderStorage) list(ctx context.Context, folder string) ([]Entry, error) {
	var out []Entry
	err := walkFolder(ctx, s.path(folder), folder, func(key string, info fs.FileInfo) {
		out = append(out, Entry{Key: key, Size: info.Size()})
	})
	if err == nil && len(out) == 0 {
		err = s.present()
	}
	if err != nil {
		return nil, failure(s.absent(err), "list %s", folder)
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

func (s folderStorage) folders(ctx context.Context, folder string) ([]string, error) {
	var out []string
	err := readFolder(ctx, s.path(folder), func(e fs.DirEntry) error {
		if e.IsDir() && e.Name()[0] != '.' {
			out = append(out, e.Name())
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(out) == 0 {
		err = s.present()
	}
	if err != nil {
		return nil, failure(s.absent(err), "list %s", folder)
	}
	slices.Sort(out)
	return out, nil
}

// removeBelow removes the folder of a prefix, or all in it but one file.
func (s folderStorage) removeBelow(ctx context.Context, folder, but string) error {
	list, err := s.list(ctx, folder)
	if err != nil {
		return err
	}
	for _, e := range slices.Backward(list) {
		if err := ctx.Err(); err != nil {
			return &stint.Error{Code: stint.Canceled, Message: "delete " + folder, Err: err}
		}
		if e.Key == but {
			continue
		}
		if err := os.Remove(s.path(e.Key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return failure(err, "delete %s", e.Key)
		}
		failpoint.Reach("storage.after-removing-one")
	}
	root := s.path(folder)
	if but != "" {
		return syncFolder(root)
	}
	failpoint.Reach("storage.before-removing-folder")
	if err := os.RemoveAll(root); err != nil {
		return failure(err, "delete %s", folder)
	}
	if !exists(filepath.Dir(root)) {
		return nil
	}
	return syncFolder(filepath.Dir(root))
}

// link gives a file a further name.
func (s folderStorage) link(ctx context.Context, from *Storage, theirs, key string) (bool, error) {
	there, ok := from.backing.(folderStorage)
	if !ok {
		return false, nil
	}
	source, err := there.get(ctx, theirs)
	if err != nil {
		return false, err
	}
	defer source.Close() //nolint:errcheck // only read
	if err := s.present(); err != nil {
		return false, err
	}
	path := s.path(key)
	if _, err := makeFolders(filepath.Dir(path)); err != nil {
		return false, failure(err, "take %s", key)
	}
	if os.Link(there.path(theirs), path) != nil {
		return false, nil
	}
	return true, syncFolder(filepath.Dir(path))
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

// leftoverAge is how old a temporary file must be to have nobody who writes it.
const leftoverAge = 24 * time.Hour

// tidy moves a file into every folder, and removes what uploads that were broken
// off have left.
func (s folderStorage) tidy(ctx context.Context, prefix string) error {
	if err := s.tryFolders(ctx, prefix); err != nil {
		return err
	}
	return s.removeLeftovers(ctx, prefix+"/a")
}

// tryFolders moves a file into every folder of keys: one may be a link or a mount
// point that leads to another file system.
func (s folderStorage) tryFolders(ctx context.Context, name string) error {
	return readFolder(ctx, s.dir, func(e fs.DirEntry) error {
		path := filepath.Join(s.dir, e.Name())
		info, err := os.Stat(path)
		if err != nil || !info.IsDir() || e.Name()[0] == '.' || e.Name() == tempFolder || e.Name() == name {
			return nil //nolint:nilerr // it is nothing that could have keys
		}
		key := e.Name() + "/" + name
		if err := s.put(ctx, key, strings.NewReader(name)); err != nil {
			return err
		}
		return s.remove(ctx, key)
	})
}

// removeLeftovers removes temporary files that are old by the clock of the file
// system, which wrote the key just now.
func (s folderStorage) removeLeftovers(ctx context.Context, key string) error {
	now, err := os.Stat(filepath.Join(s.dir, key))
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dir, tempFolder)
	return readFolder(ctx, dir, func(e fs.DirEntry) error {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || now.ModTime().Sub(info.ModTime()) < leftoverAge {
			return nil //nolint:nilerr // it is gone, or somebody's
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}
