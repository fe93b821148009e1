package object

import (
	"context"
	"os"
	"path/filepath"
)

// Take stores under a key what from, which may be this storage, has under another:
// the same file under a further name where that can be, as what is stored is never
// changed, and a copy of it elsewhere. It is durable when Take returns. The error is
// [stint.NotFound] if from has nothing there.
func (s *Storage) Take(ctx context.Context, from *Storage, theirs, key string) error {
	path, err := s.path(key)
	if err != nil {
		return err
	}
	source, err := from.Get(ctx, theirs)
	if err != nil {
		return err
	}
	defer source.Close() //nolint:errcheck // only read
	if err := s.present(); err != nil {
		return err
	}
	if _, err := makeFolders(filepath.Dir(path)); err != nil {
		return failure(err, "take %s", key)
	}
	if os.Link(source.Name(), path) == nil {
		return syncFolder(filepath.Dir(path))
	}
	return s.Put(ctx, key, source)
}
