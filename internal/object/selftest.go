package object

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"stint"
)

// leftoverAge is how old a temporary file must be to have nobody who writes it.
const leftoverAge = 24 * time.Hour

// SelfTest finds out whether the storage does what is relied on: of two that
// create a key one fails, what was put is found by its key and in the list, and a
// file can be moved from the folder of temporary files to every other. It removes
// what uploads that were broken off have left, a day after. The error names the
// storage and what it does not do.
func (s *Storage) SelfTest(ctx context.Context) error {
	prefix := "selftest-" + strconv.FormatUint(rand.Uint64(), 36) //nolint:gosec // a name that nobody has
	err := s.tryAll(ctx, prefix)
	if err = errors.Join(err, s.DeleteAll(context.WithoutCancel(ctx), prefix+"/")); err != nil {
		return failure(err, "storage %q cannot be relied on", s.dir)
	}
	return nil
}

func (s *Storage) tryAll(ctx context.Context, prefix string) error {
	key := prefix + "/a"
	if err := s.Create(ctx, key, strings.NewReader("first")); err != nil {
		return err
	}
	if err := s.Create(ctx, key, strings.NewReader("second")); stint.CodeOf(err) != stint.Conflict {
		return stint.Errorf(stint.Invalid, "a key that was created can be created again: two servers could own one execution: %v", err)
	}
	if err := s.reads(ctx, key, "first"); err != nil {
		return err
	}
	if err := s.Put(ctx, key, strings.NewReader("third")); err != nil {
		return err
	}
	if err := s.reads(ctx, key, "third"); err != nil {
		return err
	}
	list, err := s.List(ctx, prefix+"/")
	if err != nil || len(list) != 1 || list[0].Key != key || list[0].Size != int64(len("third")) {
		return errors.Join(err, stint.Errorf(stint.Invalid, "what was put is not in the list: %v", list))
	}
	if err := s.tryFolders(ctx, prefix); err != nil {
		return err
	}
	return s.removeLeftovers(ctx, key)
}

func (s *Storage) reads(ctx context.Context, key, want string) error {
	f, err := s.Get(ctx, key)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err == nil && string(b) != want {
		err = stint.Errorf(stint.Invalid, "%q was put and %q is read", want, b)
	}
	return err
}

// tryFolders moves a file into every folder of keys: one may be a link or a mount
// point that leads to another file system.
func (s *Storage) tryFolders(ctx context.Context, name string) error {
	return readFolder(ctx, s.dir, func(e fs.DirEntry) error {
		path := filepath.Join(s.dir, e.Name())
		info, err := os.Stat(path)
		if err != nil || !info.IsDir() || e.Name()[0] == '.' || e.Name() == tempFolder || e.Name() == name {
			return nil //nolint:nilerr // it is nothing that could have keys
		}
		key := e.Name() + "/" + name
		if err := s.Put(ctx, key, strings.NewReader(name)); err != nil {
			return err
		}
		return s.Delete(ctx, key)
	})
}

// removeLeftovers removes temporary files that are old by the clock of the file
// system, which wrote the key just now.
func (s *Storage) removeLeftovers(ctx context.Context, key string) error {
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
