package command

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"stint"
)

// find returns the path of the attempt's program: in the working directory,
// then, unless its name has a slash, in PATH. A file in the working directory
// that may not be executed is made executable.
func (r *Runner) find(a *stint.Attempt) (string, error) {
	if len(a.Action.Command) == 0 || a.Action.Command[0] == "" {
		return "", stint.Errorf(stint.Invalid, "op_start_failed: stage %q: its command names no program", a.Stage)
	}
	name := a.Action.Command[0]
	if filepath.IsAbs(name) {
		return name, nil
	}
	local := filepath.Join(a.Dir, name)
	if fi, err := os.Stat(local); err == nil && fi.Mode().IsRegular() {
		return local, makeExecutable(local, fi.Mode())
	}
	if strings.Contains(name, "/") {
		return "", stint.Errorf(stint.Invalid, "op_start_failed: program %.80q: no such file among the program's files", name)
	}
	return r.found.lookup(name, lookupEnv(a.Environ, "PATH"))
}

// found is what was found in a PATH last, where it is found again as long as it
// is there: to ask every directory costs as much as a tenth of a short process.
type found struct{ name, path, at string }

func (f *found) lookup(name, path string) (string, error) {
	if f.name == name && f.path == path {
		if fi, err := os.Stat(f.at); err == nil && executable(fi) {
			return f.at, nil
		}
	}
	at, err := findInPath(name, path)
	*f = found{}
	if err == nil {
		*f = found{name: name, path: path, at: at}
	}
	return at, err
}

func executable(fi fs.FileInfo) bool {
	return fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}

func makeExecutable(path string, mode fs.FileMode) error {
	if mode&0o111 != 0 {
		return nil
	}
	if err := os.Chmod(path, mode.Perm()|0o555); err != nil {
		return stint.Errorf(stint.Unavailable, "make program executable: %w", err)
	}
	return nil
}

func findInPath(name, path string) (string, error) {
	blocked := ""
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue // a directory that is not the same everywhere
		}
		p := filepath.Join(dir, name)
		fi, err := os.Stat(p)
		switch {
		case err != nil || !fi.Mode().IsRegular():
		case executable(fi):
			return p, nil
		default:
			blocked = p
		}
	}
	if blocked != "" {
		return "", stint.Errorf(stint.Invalid, "op_start_failed: program %.80q: %s is not executable", name, blocked)
	}
	return "", stint.Errorf(stint.Invalid, "op_start_failed: program %.80q: neither among the program's files nor in PATH (%.400s)", name, path)
}

// startError says why a program that was found could not be started: as
// [stint.Invalid] where the program is to blame, [stint.Unavailable] where the node is.
func startError(a *stint.Attempt, path string, err error) error {
	name := a.Action.Command[0]
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		if _, serr := os.Stat(a.Dir); serr != nil {
			return stint.Errorf(stint.Unavailable, "start program %.80q: working directory: %w", name, serr)
		}
		return stint.Errorf(stint.Invalid, "op_start_failed: program %.80q: %s", name, missing(path))
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return stint.Errorf(stint.Invalid, "op_start_failed: program %.80q: %s is not executable", name, path)
	case errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.ELIBBAD):
		return stint.Errorf(stint.Invalid, "op_start_failed: program %.80q: %s is not executable: %s", name, path, fileKind(path))
	case errors.Is(err, syscall.E2BIG):
		return stint.Errorf(stint.Invalid, "op_start_failed: program %.80q: its arguments and environment are too long", name)
	case errors.Is(err, syscall.EINVAL):
		return stint.Errorf(stint.Invalid, "op_start_failed: program %.80q: an argument or environment variable contains NUL", name)
	}
	return stint.Errorf(stint.Unavailable, "start program %.80q: %w", name, err)
}

// missing says what is missing when the kernel says that path is: the file, or
// what should interpret it.
func missing(path string) string {
	if _, err := os.Stat(path); err != nil {
		return path + " does not exist"
	}
	if interpreter := shebang(path); interpreter != "" {
		return fmt.Sprintf("interpreter %.200s of %s not found", interpreter, path)
	}
	return "the loader that " + path + " asks for is not found"
}

func shebang(path string) string {
	line, _, _ := bytes.Cut(head(path, 256), []byte("\n"))
	rest, ok := bytes.CutPrefix(line, []byte("#!"))
	if words := bytes.Fields(rest); ok && len(words) > 0 {
		return string(words[0])
	}
	return ""
}

// fileKind says what a file is that is not a program of this machine.
func fileKind(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		if len(head(path, 1)) == 0 {
			return "it is empty"
		}
		return "it is neither a program of this machine nor a script that begins with #! and its interpreter"
	}
	defer f.Close() //nolint:errcheck // it was only read
	machine := strings.ToLower(strings.TrimPrefix(f.Machine.String(), "EM_"))
	return fmt.Sprintf("ELF %s; nodes have %s", machine, runtime.GOARCH)
}

// head returns at most n bytes from the start of a file, none if it cannot be read.
func head(path string, n int64) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // it was only read
	b, err := io.ReadAll(io.LimitReader(f, n))
	if err != nil {
		return nil
	}
	return b
}
