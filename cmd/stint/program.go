package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stint"
	"stint/client"
	"stint/internal/archive"
	"stint/internal/manifest"
	"stint/internal/runner/native"
)

// loaded is a program that was read from a path, with its files.
type loaded struct {
	program  stint.Program
	uploads  []upload
	manifest []byte
	warnings []string
	scratch  string // folder with what was unpacked; empty: none
}

// discard removes what was unpacked.
func (l *loaded) discard() error {
	if l.scratch == "" {
		return nil
	}
	return os.RemoveAll(l.scratch)
}

// isPath reports whether PROGRAM can only be a path: names have no slashes and no
// endings of archives and manifests.
func isPath(program string) bool {
	return strings.ContainsRune(program, os.PathSeparator) || program == "." || program == ".." || isManifest(program) || isArchive(program)
}

func isManifest(path string) bool {
	return strings.HasSuffix(path, ".yaml") || strings.HasSuffix(path, ".yml")
}

// isArchive reports whether a file is called as archives are.
func isArchive(path string) bool {
	return slices.ContainsFunc([]string{".zip", ".jar", ".tar", ".tar.gz", ".tgz", ".tar.zst"}, func(ending string) bool {
		return strings.HasSuffix(path, ending)
	})
}

// detect tells the format of a file, and refuses what is called as archives are and
// is none.
func detect(path string, f *os.File, size int64) (archive.Kind, error) {
	kind, err := archive.Detect(f, size)
	if err == nil && kind == archive.None && isArchive(path) {
		err = stint.Errorf(stint.Invalid, "bad_archive: %s: %s", path, archive.Unknown(f, size, archive.Expected))
	}
	return kind, err
}

// load reads the program at a path: a folder with a manifest, a manifest, with the
// files beside it, or an archive. The caller discards it, also after an error.
func load(path string) (loaded, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return loaded{}, stint.Errorf(stint.NotFound, "program %s: there is no such file or folder", path)
	case err != nil:
		return loaded{}, stint.Errorf(stint.Invalid, "program: %w", err)
	case info.IsDir():
		return loadManifest(filepath.Join(path, manifest.FileName))
	case !info.Mode().IsRegular():
		return loaded{}, stint.Errorf(stint.Invalid, "program %s: expected a manifest, a folder with %s, or an archive", path, manifest.FileName)
	}
	f, err := os.Open(path)
	if err != nil {
		return loaded{}, stint.Errorf(stint.Invalid, "program: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	kind, err := detect(path, f, info.Size())
	switch {
	case err != nil:
		return loaded{}, err
	case kind != archive.None:
		return loadArchive(path, f, info.Size())
	}
	return loadManifest(path)
}

// loadManifest reads a manifest and describes the files beside it.
func loadManifest(path string) (loaded, error) {
	var l loaded
	text, err := readManifest(path)
	if err != nil {
		return l, err
	}
	l.manifest = text
	parsed, warnings, err := manifest.Parse(path, text)
	if err != nil {
		return l, err
	}
	beside, err := filesBeside(path)
	if err != nil {
		return l, err
	}
	chosen, said, err := manifest.Resolve(parsed, beside)
	if err != nil {
		return l, fmt.Errorf("%s: %w", path, err)
	}
	l.program, l.warnings = chosen, slices.Concat(warnings, said)
	if err := checkLinks(filepath.Dir(path), chosen.Files); err != nil {
		return l, err
	}
	return l, l.describe(filepath.Dir(path))
}

// readManifest reads no more than a manifest may have.
func readManifest(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, stint.Errorf(stint.NotFound, "program: there is no %s", path)
	}
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "program: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(io.LimitReader(f, manifest.MaxBytes+1))
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "program: %w", err)
	}
	return text, nil
}

// checkLinks refuses a program's file that is a link out of its folder: what lies
// there is no part of the program.
func checkLinks(folder string, files []stint.ProgramFile) error {
	root, err := filepath.Abs(folder)
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return stint.Errorf(stint.Invalid, "program: %w", err)
	}
	for _, f := range files {
		path := filepath.Join(root, filepath.FromSlash(f.Name))
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			return stint.Errorf(stint.Invalid, "program: %w", err)
		}
		if inside, err := filepath.Rel(root, target); err != nil || !filepath.IsLocal(inside) {
			return stint.Errorf(stint.Invalid, "link_not_allowed: %q -> %q leads out of the program's folder: put the file itself there", f.Name, target)
		}
	}
	return nil
}

// filesBeside lists the files in the folder of a manifest and below, but the
// manifest. Links to files are files; links to folders and whatever else is there
// are left out.
func filesBeside(path string) ([]stint.ProgramFile, error) {
	root, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "list the files of program %s: %w", path, err)
	}
	var out []stint.ProgramFile
	err = filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() || p == filepath.Join(root, filepath.Base(path)) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if len(out) == archive.MaxEntries {
			return stint.Errorf(stint.Invalid, "too_many: more than %d files", archive.MaxEntries)
		}
		out = append(out, stint.ProgramFile{Name: filepath.ToSlash(name), Size: info.Size(), Mode: uint32(info.Mode().Perm())})
		return nil
	})
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "list the files of program %s: %w", path, err)
	}
	return out, nil
}

// describe reads the chosen files, which lie below a folder, for their digests.
func (l *loaded) describe(folder string) error {
	for i, f := range l.program.Files {
		u, err := describeFile(filepath.Join(folder, filepath.FromSlash(f.Name)))
		if err != nil {
			return err
		}
		u.file.Name, u.file.Mode = f.Name, f.Mode
		l.program.Files[i] = u.file
		l.uploads = append(l.uploads, u)
	}
	return nil
}

// loadArchive reads an archive and unpacks the files that the program has.
func loadArchive(path string, f *os.File, size int64) (loaded, error) {
	var l loaded
	b, err := archive.OpenBundle(f, size, manifest.FileName, manifest.MaxBytes)
	if err != nil {
		return l, fmt.Errorf("%s: %w", path, err)
	}
	l.manifest = b.Manifest
	parsed, warnings, err := manifest.Parse(path+"/"+manifest.FileName, b.Manifest)
	if err != nil {
		return l, err
	}
	beside := make([]stint.ProgramFile, len(b.Files))
	for i, e := range b.Files {
		beside[i] = stint.ProgramFile{Name: e.Name, Size: e.Size, Mode: e.Mode}
	}
	chosen, said, err := manifest.Resolve(parsed, beside)
	if err != nil {
		return l, fmt.Errorf("%s: %w", path, err)
	}
	l.program, l.warnings = chosen, slices.Concat(b.Warnings, warnings, said)
	if l.scratch, err = os.MkdirTemp("", "stint-program-"); err != nil {
		return l, fmt.Errorf("unpack program: %w", err)
	}
	wanted := make(map[string]bool, len(chosen.Files))
	for _, f := range chosen.Files {
		wanted[b.Folder+f.Name] = true
	}
	err = archive.Walk(f, size, func(e archive.Entry, body io.Reader) error {
		if !wanted[e.Name] {
			return nil
		}
		return writeFile(filepath.Join(l.scratch, filepath.FromSlash(strings.TrimPrefix(e.Name, b.Folder))), body)
	})
	if err != nil {
		return l, fmt.Errorf("unpack program: %w", err)
	}
	return l, l.describe(l.scratch)
}

func writeFile(path string, body io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}

// shippedProgram returns the program that ships under a name; false: there is none.
func shippedProgram(name string, params map[string]string) (stint.Program, bool, error) {
	if !slices.Contains(shippedNames(), name) {
		return stint.Program{}, false, nil
	}
	p, err := native.Program(name, params)
	return p, true, err
}

// lookUp finds a program that was named and does not ship: in the service's
// registry, or else at a path that is called so.
func lookUp(ctx context.Context, c *client.Client, named string) (loaded, error) {
	name, version, err := stint.SplitProgramName(named)
	if err != nil {
		return loaded{}, err
	}
	p, err := c.Program(ctx, name, version)
	if err == nil {
		return loaded{program: p.Program}, nil
	}
	if _, missing := os.Stat(named); stint.CodeOf(err) != stint.NotFound || missing != nil {
		return loaded{}, err
	}
	return load(named)
}

// settle finishes a request whose program is known: what the flags say of its
// separation, its parameters, its inputs.
func (r *requestFlags) settle(req *stint.Request) error {
	if _, err := req.Program.CheckParams(req.Params); err != nil {
		return err
	}
	if r.split != "" {
		r.separate(req.Program.Stages)
	}
	return r.place(req)
}

// separate has the stages that read the input separate it as --split says, whatever
// their program says.
func (r *requestFlags) separate(stages []stint.Stage) {
	for i := range stages {
		if e := &stages[i].Input; e.Kind == stint.FromInput {
			e.Split, e.Count = r.edgeSplit(), 0
		}
	}
}

// place gives the locations of --input to the inputs of the program: NAME=LOCATION
// if those have names.
func (r *requestFlags) place(req *stint.Request) error {
	var err error
	names := req.Program.Inputs
	if len(names) == 0 {
		req.NamedInputs = nil
		req.Inputs, err = locations(r.inputs)
		return err
	}
	req.Inputs, req.NamedInputs = nil, make(map[string][]string)
	for _, given := range r.inputs {
		name, text, ok := strings.Cut(given, "=")
		if !ok || !slices.Contains(names, name) {
			hint := ""
			if near := stint.Nearest(name, names); ok && near != "" {
				hint = "; did you mean " + near + "?"
			}
			return stint.Errorf(stint.Invalid, "--input %.200q: program %s has the inputs %s: give each as --input NAME=LOCATION%s", given, req.Program.Name, strings.Join(names, ", "), hint)
		}
		where, err := locations([]string{text})
		if err != nil {
			return err
		}
		req.NamedInputs[name] = append(req.NamedInputs[name], where...)
	}
	var missing []string
	for _, name := range names {
		if len(req.NamedInputs[name]) == 0 {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return stint.Errorf(stint.Invalid, "program %s has the inputs %s, and no location was given for %s: give --input %s=LOCATION",
			req.Program.Name, strings.Join(names, ", "), strings.Join(missing, ", "), missing[0])
	}
	return nil
}
