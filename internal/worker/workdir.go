package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"stint"
)

// workDir is the working directory of the slot's processes: when an operation
// begins it holds links to those of the program's files that its stage uses, in
// folders as their names say, a link to each of its broadcasts under the name of
// the stage that put it out, and nothing else.
type workDir struct {
	path    string
	files   string // folder with the program's files
	program []stint.ProgramFile

	made       bool
	stage      int         // for which it was made
	broadcasts []Broadcast // likewise
	folders    []string    // it and those in it
}

// mark returns the modification time that a directory is given when it is made.
// Whoever makes, removes or renames something in it changes the time.
func mark() time.Time { return time.Unix(1, 0) }

// prepare makes the directory, anew unless it is as it was made for such an
// operation.
func (d *workDir) prepare(number int, stage *stint.StageSpec, broadcasts []Broadcast) error {
	if d.made && d.stage == number && slices.Equal(d.broadcasts, broadcasts) && d.clean() {
		return nil
	}
	d.made, d.stage, d.broadcasts = false, number, broadcasts
	if err := d.remake(stage); err != nil {
		if stint.CodeOf(err) == stint.Invalid {
			return err
		}
		return stint.Errorf(stint.Unavailable, "make working directory: %w", err)
	}
	d.made = true
	return nil
}

func (d *workDir) clean() bool {
	for _, folder := range d.folders {
		fi, err := os.Lstat(folder)
		if err != nil || !fi.IsDir() || !fi.ModTime().Equal(mark()) {
			return false
		}
	}
	return true
}

// remake empties the directory, which stays: a process may be in it that performs
// many operations.
func (d *workDir) remake(stage *stint.StageSpec) error {
	if err := d.empty(); err != nil {
		return err
	}
	d.folders = []string{d.path}
	for _, f := range d.program {
		if len(stage.Files) > 0 && !slices.Contains(stage.Files, f.Name) {
			continue
		}
		if err := CheckFileName(f.Name); err != nil {
			return err
		}
		if err := d.link(f.Name, filepath.Join(d.files, f.Name)); err != nil {
			return fmt.Errorf("link program file %.80q: %w", f.Name, err)
		}
	}
	for _, b := range d.broadcasts {
		if err := d.link(b.Stage, b.Path); err != nil {
			return fmt.Errorf("link output of stage %q: %w", b.Stage, err)
		}
	}
	for _, folder := range d.folders {
		if err := os.Chtimes(folder, mark(), mark()); err != nil {
			return err
		}
	}
	return nil
}

// empty removes what is in the directory, or makes it.
func (d *workDir) empty() error {
	info, err := os.Lstat(d.path)
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		return errors.Join(removeAll(d.path), os.Mkdir(d.path, 0o700))
	}
	list, err := os.ReadDir(d.path)
	for _, e := range list {
		err = errors.Join(err, removeAll(filepath.Join(d.path, e.Name())))
	}
	return err
}

// link makes a link under a name, and the folders that the name goes through. It
// is Invalid if another link is in its way.
func (d *workDir) link(name, target string) error {
	if err := d.makeFolders(filepath.Dir(name)); err != nil {
		return err
	}
	err := os.Symlink(target, filepath.Join(d.path, name))
	if errors.Is(err, fs.ErrExist) {
		return taken(name)
	}
	return err
}

func (d *workDir) makeFolders(name string) error {
	if name == "." {
		return nil
	}
	if err := d.makeFolders(filepath.Dir(name)); err != nil {
		return err
	}
	path := filepath.Join(d.path, name)
	err := os.Mkdir(path, 0o700)
	switch {
	case err == nil:
		d.folders = append(d.folders, path)
	case !errors.Is(err, fs.ErrExist):
		return err
	case !slices.Contains(d.folders, path):
		return taken(name)
	}
	return nil
}

func taken(name string) error {
	return stint.Errorf(stint.Invalid, "the working directory has %.80q twice: a file and a folder, or a file and a broadcast", name)
}

// CheckFileName refuses names of program files that are not a plain relative path
// below the working directory.
func CheckFileName(name string) error {
	if name == "." || !filepath.IsLocal(name) || filepath.Clean(name) != name {
		return stint.Errorf(stint.Invalid, "program file %.80q: expected a relative path below the working directory, without . and ..", name)
	}
	return nil
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
