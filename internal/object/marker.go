package object

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"

	"stint"
	"stint/internal/failpoint"
)

// markerName is the file that tells a storage from any other folder: from the
// empty one, too, that shows when the file system with the storage is not
// mounted. No key has this name.
const (
	markerName   = "stint-storage.json"
	markerFormat = 1
	maxMarker    = 4 << 10
)

// marker is what the file says.
type marker struct {
	Format int    `json:"format"`
	ID     uint64 `json:"id"` // drawn at random when the storage was made
}

// newMarker returns the file's bytes for a storage that is made.
func newMarker() ([]byte, error) {
	return encodeJSON(marker{Format: markerFormat, ID: rand.Uint64()>>1 + 1}) //nolint:gosec // tells storages apart, protects nothing
}

// decodeMarker says which storage the file's bytes are of; where is its place.
func decodeMarker(where string, b []byte, err error) (uint64, error) {
	var m marker
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	switch {
	case err == nil && m.Format > markerFormat:
		return 0, stint.Errorf(stint.Invalid, "storage %q has format %d, this version of Stint knows format %d: use a newer one", where, m.Format, markerFormat)
	case err != nil || m.Format != markerFormat || m.ID == 0:
		return 0, stint.Errorf(stint.Invalid, "storage %q: %s is altered or cannot be read: %v", where, markerName, err)
	}
	return m.ID, nil
}

// mark makes a folder a storage, unless it is one.
func (s folderStorage) mark(context.Context) error {
	dir := s.dir
	if err := os.MkdirAll(filepath.Join(dir, tempFolder), 0o700); err != nil {
		return failure(err, "open storage %q", dir)
	}
	path := filepath.Join(dir, markerName)
	if exists(path) {
		return nil
	}
	b, err := newMarker()
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Join(dir, tempFolder), "mark-")
	if err != nil {
		return failure(err, "mark storage %q", dir)
	}
	_, err = temp.Write(b)
	if err == nil {
		err = temp.Sync()
	}
	failpoint.Reach("marker.before-link")
	if err = errors.Join(err, temp.Close()); err == nil {
		err = linkNew(temp.Name(), path)
	}
	failpoint.Reach("marker.after-link")
	if errors.Is(err, fs.ErrExist) { // another was faster
		err = nil
	}
	if err = errors.Join(err, os.Remove(temp.Name())); err != nil {
		return failure(err, "mark storage %q", dir)
	}
	return syncFolder(dir)
}

// marker says which storage lies in the folder.
func (s folderStorage) marker(context.Context) (uint64, error) {
	dir := s.dir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, stint.Errorf(stint.NotFound, "storage %q is not there", dir)
	case err != nil:
		return 0, failure(err, "open storage %q", dir)
	case !info.IsDir():
		return 0, stint.Errorf(stint.Invalid, "storage %q is not a folder", dir)
	}
	f, err := os.OpenFile(filepath.Join(dir, markerName), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, stint.Errorf(stint.Invalid, "folder %q is not a storage of Stint, or its file system is not mounted: it has no %s", dir, markerName)
	}
	if err != nil {
		return 0, failure(err, "open storage %q", dir)
	}
	defer f.Close() //nolint:errcheck // only read
	b := make([]byte, maxMarker)
	n, err := f.Read(b)
	return decodeMarker(dir, b[:n], err)
}

// present is an error if the storage as a whole is not there. What is not in it
// then says nothing, and what is written would go somewhere else.
func (s folderStorage) present() error {
	if _, err := os.Lstat(filepath.Join(s.dir, markerName)); err != nil {
		return &stint.Error{Code: stint.Unavailable, Message: "storage " + s.dir + " is away: it has no " + markerName + "; is its file system mounted?", Err: err}
	}
	return nil
}

// absent is what an error means that may say that a key has nothing.
func (s folderStorage) absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		if away := s.present(); away != nil {
			return away
		}
	}
	return err
}
