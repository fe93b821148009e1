package object

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"stint"
)

// Limits of a listing.
const (
	MaxObjects = 1_000_000     // objects, and folders that are walked
	MaxValues  = 1_000_000_000 // numbers of a generated range
	MaxCuts    = 10_000_000    // operations of one object that is separated by lines
)

// Inputs says what a listing is of.
type Inputs struct {
	Locations   []string            // of a program whose input has no name
	Named       map[string][]string // instead, of one whose inputs have names: by name
	Lines       map[string]int64    // by name: after how many lines its objects may be cut, see [stint.Listing]; "" is the input without a name
	Delimiters  map[string]string   // by name: what ends those lines, as text that [stint.Unescape] takes, where it is not LF
	Compression string              // as in [stint.Request]
}

// all returns the locations of all inputs.
func (in Inputs) all() []string {
	out := slices.Clone(in.Locations)
	for _, list := range in.Named {
		out = append(out, list...)
	}
	return out
}

// List returns the objects that the inputs name, sorted by name of the input and
// URL, each once.
//
// A location is a file, a folder (every file below it), a glob of both, the same in
// a bucket, where a folder is what keys begin with up to a slash, one object of the
// web, or alone range:FIRST..LAST, both ends included. Names that begin with a dot
// or an underscore are left out and counted where the location does not spell them
// out. Symbolic links are followed. What vanishes meanwhile is not listed; what
// appears meanwhile may be.
//
// Errors: [stint.NotFound] if a location names nothing; [stint.Denied] for a file
// or folder that cannot be read; [stint.Invalid] for a location that is not
// understood or must not be read, a loop of links, something that is not a file,
// more than [MaxObjects], and lines of an object that is compressed.
func (a *Access) List(ctx context.Context, in Inputs) (stint.Listing, error) {
	locations := in.all()
	for _, location := range locations {
		if strings.HasPrefix(location, "range:") {
			return listRange(location, len(locations))
		}
	}
	l := lister{access: a}
	for _, location := range in.Locations {
		if err := l.input(ctx, location); err != nil {
			return stint.Listing{}, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Named)) {
		l.name = name
		for _, location := range in.Named[name] {
			if err := l.input(ctx, location); err != nil {
				return stint.Listing{}, err
			}
		}
	}
	slices.SortFunc(l.objects, Compare)
	listing := stint.Listing{Objects: slices.CompactFunc(l.objects, func(a, b stint.Object) bool { return Compare(a, b) == 0 }), Skipped: l.skipped}
	if len(in.Lines) == 0 {
		return listing, nil
	}
	var err error
	listing.Cuts, err = a.cuts(ctx, listing.Objects, in)
	return listing, err
}

// Compare orders the objects of a listing.
func Compare(a, b stint.Object) int {
	return cmp.Or(strings.Compare(a.Input, b.Input), strings.Compare(a.URL, b.URL))
}

func listRange(in string, inputs int) (stint.Listing, error) {
	if inputs > 1 {
		return stint.Listing{}, stint.Errorf(stint.Invalid, "input %.80q: a range must be the only input, there are %d", in, inputs)
	}
	first, last, ok := strings.Cut(strings.TrimPrefix(in, "range:"), "..")
	a, errA := strconv.ParseInt(first, 10, 64)
	b, errB := strconv.ParseInt(last, 10, 64)
	if !ok || errA != nil || errB != nil || strconv.FormatInt(a, 10) != first || strconv.FormatInt(b, 10) != last {
		return stint.Listing{}, stint.Errorf(stint.Invalid, "input %.80q: expected range:FIRST..LAST with whole numbers, as range:1..1000", in)
	}
	if a > b {
		return stint.Listing{}, stint.Errorf(stint.Invalid, "input %.80q: the range ends before it begins", in)
	}
	// The difference of any two int64 fits into a uint64.
	if uint64(b)-uint64(a) >= MaxValues {
		return stint.Listing{}, stint.Errorf(stint.Invalid, "input %.80q: a range holds at most %d numbers", in, MaxValues)
	}
	return stint.Listing{Range: &stint.Values{First: a, Count: b - a + 1}}, nil
}

// lister gathers what the inputs name.
type lister struct {
	access  *Access
	name    string // of the input that locations belong to
	objects []stint.Object
	skipped int64
	folders int
	matched int       // files and folders that the current input named
	above   []inodeID // the folders that lead to the current one, to notice loops
}

type inodeID struct {
	dev uint64 // of the file system
	ino uint64 //nolint:unused // within it; compared as a part of the whole
}

func (l *lister) input(ctx context.Context, location string) error {
	switch {
	case isBucketLocation(location):
		return l.bucketInput(ctx, location)
	case isWebLocation(location):
		o, err := l.access.listWeb(ctx, location)
		if err != nil {
			return failure(err, "input %.80q", shown(location))
		}
		return l.object(o)
	}
	path, err := parseLocation(location)
	if err != nil {
		return err
	}
	name := literal(path)
	_, err = os.Stat(name)
	if err == nil || !hasGlob(path) {
		if err := l.add(ctx, name); err != nil {
			return failure(err, "input %.80q", location)
		}
		if l.matched == 0 {
			return stint.Errorf(stint.NotFound, "input %.80q: no such file or folder", location)
		}
		l.matched = 0
		return nil
	}
	patterns, err := compileGlob(location, path)
	if err != nil {
		return err
	}
	for _, p := range patterns {
		if err := l.glob(ctx, "/", p); err != nil {
			return failure(err, "input %.80q", location)
		}
	}
	if l.matched == 0 {
		return stint.Errorf(stint.NotFound, "input %.80q: nothing matches", location)
	}
	l.matched = 0
	return nil
}

// glob adds what lies below base and matches the segments.
func (l *lister) glob(ctx context.Context, base string, pattern []segment) error {
	for len(pattern) > 0 {
		name, ok := pattern[0].isLiteral()
		if !ok {
			break
		}
		base = filepath.Join(base, name)
		pattern = pattern[1:]
	}
	if len(pattern) == 0 {
		return l.add(ctx, base)
	}
	var names []string
	err := readFolder(ctx, base, func(e fs.DirEntry) error {
		switch {
		case !pattern[0].match(e.Name()):
		case isHidden(e.Name()) && !pattern[0].matchesHidden():
			l.skipped++
		default:
			names = append(names, e.Name())
			return l.checkCount(len(names))
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	for _, name := range names {
		if err == nil {
			err = l.glob(ctx, filepath.Join(base, name), pattern[1:])
		}
	}
	return err
}

// add adds a file, or all files below a folder. What has vanished is passed over.
func (l *lister) add(ctx context.Context, path string) error {
	info, err := statListed(path)
	if err != nil || info == nil {
		return err
	}
	l.matched++
	if !info.IsDir() {
		return l.file(path, info)
	}
	return l.folder(ctx, path, info)
}

// statListed returns nothing if there is nothing.
func statListed(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil:
		return info, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		if link, lerr := os.Lstat(path); lerr == nil && link.Mode()&fs.ModeSymlink != 0 {
			// Without the cause, which would say that the link itself has vanished.
			return nil, stint.Errorf(stint.NotFound, "%q is a symbolic link to nothing", path)
		}
		return nil, nil //nolint:nilnil // documented: vanished
	case errors.Is(err, syscall.ELOOP):
		return nil, failure(err, "%q is a symbolic link in a loop", path)
	}
	return nil, failure(err, "look at %q", path)
}

func (l *lister) file(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return stint.Errorf(stint.Invalid, "%q is a %s: only files and folders can be read", path, kindOf(info.Mode()))
	}
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.R_OK, unix.AT_EACCESS); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return failure(err, "read %q", path)
	}
	return l.object(stint.Object{URL: fileURL(path), Size: info.Size(), Version: Version(info)})
}

func (l *lister) object(o stint.Object) error {
	o.Input = l.name
	l.objects = append(l.objects, o)
	return l.checkCount(len(l.objects))
}

func (l *lister) folder(ctx context.Context, path string, info fs.FileInfo) error {
	id := idOf(info)
	if slices.Contains(l.above, id) {
		return stint.Errorf(stint.Invalid, "%q leads back to a folder above it through a symbolic link", path)
	}
	l.above = append(l.above, id)
	defer func() { l.above = l.above[:len(l.above)-1] }()
	l.folders++
	if err := l.checkCount(l.folders); err != nil {
		return err
	}
	// Folders are walked after this one is closed, so that depth costs no descriptors.
	var folders []string
	err := readFolder(ctx, path, func(e fs.DirEntry) error {
		if isHidden(e.Name()) {
			l.skipped++
			return nil
		}
		below := filepath.Join(path, e.Name())
		info, err := statListed(below)
		if err != nil || info == nil {
			return err
		}
		if info.IsDir() {
			folders = append(folders, below)
			return l.checkCount(l.folders + len(folders))
		}
		return l.file(below, info)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, f := range folders {
		if err == nil {
			err = l.add(ctx, f)
		}
	}
	return err
}

func (*lister) checkCount(n int) error {
	if n > MaxObjects {
		return stint.Errorf(stint.Invalid, "too_many_inputs: more than %d objects or folders; put small files into archives", MaxObjects)
	}
	return nil
}

// readFolder calls each for the entries of a folder, in no order, a batch at a
// time, so that a folder of any length takes little memory.
func readFolder(ctx context.Context, path string, each func(fs.DirEntry) error) error {
	d, err := os.Open(path)
	if err != nil {
		return failure(err, "read folder %q", path)
	}
	defer d.Close() //nolint:errcheck // only read
	for {
		if err := ctx.Err(); err != nil {
			return &stint.Error{Code: stint.Canceled, Err: err}
		}
		entries, err := d.ReadDir(1024)
		for _, e := range entries {
			if err := each(e); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return failure(err, "read folder %q", path)
		}
	}
}

func isHidden(name string) bool { return name[0] == '.' || name[0] == '_' }

func idOf(info fs.FileInfo) inodeID {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return inodeID{dev: st.Dev, ino: st.Ino}
	}
	return inodeID{}
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}
