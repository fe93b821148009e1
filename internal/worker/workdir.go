package worker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"stint"
)

// workDir is the working directory of the slot's processes: it holds links to
// the program's files and nothing else when an operation begins.
type workDir struct {
	path    string
	files   string // folder with the program's files
	program []stint.ProgramFile
	made    bool
}

// mark returns the modification time that a directory is given when it is made.
// Whoever makes, removes or renames something in it changes the time.
func mark() time.Time { return time.Unix(1, 0) }

// prepare makes the directory, anew unless it is as it was made.
func (d *workDir) prepare() error {
	if d.clean() {
		return nil
	}
	d.made = false
	if err := d.remake(); err != nil {
		return stint.Errorf(stint.Unavailable, "make working directory: %w", err)
	}
	d.made = true
	return nil
}

func (d *workDir) clean() bool {
	if !d.made {
		return false
	}
	fi, err := os.Lstat(d.path)
	return err == nil && fi.IsDir() && fi.ModTime().Equal(mark())
}

func (d *workDir) remake() error {
	if err := removeAll(d.path); err != nil {
		return err
	}
	if err := os.Mkdir(d.path, 0o700); err != nil {
		return err
	}
	for _, f := range d.program {
		if filepath.Base(f.Name) != f.Name || !filepath.IsLocal(f.Name) {
			return stint.Errorf(stint.Invalid, "program file %.80q: a name without slashes is expected", f.Name)
		}
		if err := os.Symlink(filepath.Join(d.files, f.Name), filepath.Join(d.path, f.Name)); err != nil {
			return err
		}
	}
	return os.Chtimes(d.path, mark(), mark())
}

// removeAll removes a tree in which a program may have taken rights away.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	walk := filepath.WalkDir(path, func(p string, e fs.DirEntry, _ error) error {
		if e != nil && e.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return nil
	})
	return errors.Join(walk, os.RemoveAll(path))
}
