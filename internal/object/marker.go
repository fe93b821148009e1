package object

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"

	"stint"
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

// mark makes a folder a storage, unless it is one.
func mark(dir string) error {
	path := filepath.Join(dir, markerName)
	if exists(path) {
		return nil
	}
	b, err := encodeJSON(marker{Format: markerFormat, ID: rand.Uint64()>>1 + 1}) //nolint:gosec // tells storages apart, protects nothing
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
	if err = errors.Join(err, temp.Close()); err == nil {
		err = linkNew(temp.Name(), path)
	}
	if errors.Is(err, fs.ErrExist) { // another was faster
		err = nil
	}
	if err = errors.Join(err, os.Remove(temp.Name())); err != nil {
		return failure(err, "mark storage %q", dir)
	}
	return syncFolder(dir)
}

// readMarker says which storage lies in a folder: [stint.Invalid] if none does.
func readMarker(dir string) (uint64, error) {
	path := filepath.Join(dir, markerName)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, stint.Errorf(stint.Invalid, "folder %q is not a storage of Stint, or its file system is not mounted: it has no %s", dir, markerName)
	}
	if err != nil {
		return 0, failure(err, "open storage %q", dir)
	}
	defer f.Close() //nolint:errcheck // only read
	var m marker
	b := make([]byte, maxMarker)
	n, err := f.Read(b)
	if err == nil {
		err = json.Unmarshal(b[:n], &m)
	}
	switch {
	case err == nil && m.Format > markerFormat:
		return 0, stint.Errorf(stint.Invalid, "storage %q has format %d, this version of Stint knows format %d: use a newer one", dir, m.Format, markerFormat)
	case err != nil || m.Format != markerFormat || m.ID == 0:
		return 0, stint.Errorf(stint.Invalid, "storage %q: %s is altered or cannot be read: %v", dir, markerName, err)
	}
	return m.ID, nil
}

// present is an error if the storage as a whole is not there. What is not in it
// then says nothing, and what is written would go somewhere else.
func (s *Storage) present() error {
	if _, err := os.Lstat(filepath.Join(s.dir, markerName)); err != nil {
		return &stint.Error{Code: stint.Unavailable, Message: "storage " + s.dir + " is away: it has no " + markerName + "; is its file system mounted?", Err: err}
	}
	return nil
}

// absent is what an error means that may say that a key has nothing.
func (s *Storage) absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		if away := s.present(); away != nil {
			return away
		}
	}
	return err
}
