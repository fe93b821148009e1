package object

import (
	"path/filepath"
	"strings"

	"stint"
)

// CheckApart refuses an output that an input would hold, and an input that the
// output would hold: the next listing would take results for data, and a commit
// that replaces an output would remove what it was made of. Inputs are as of
// [List], listing is what they name now. Symbolic links are followed.
//
// The error is [stint.Invalid] and names both locations.
func CheckApart(inputs []string, listing stint.Listing, output string) error {
	path, err := Path(output)
	if err != nil {
		return err
	}
	folder := resolved(path)
	for _, in := range inputs {
		holds, err := holds(in, folder)
		if err != nil {
			return err
		}
		if holds {
			return stint.Errorf(stint.Invalid, "output %q lies in input %.80q: name a folder outside of all inputs", path, in)
		}
	}
	return checkNoneBelow(folder, path, listing)
}

// checkNoneBelow asks the file system once for each folder of the listing, which
// is sorted.
func checkNoneBelow(folder, output string, listing stint.Listing) error {
	dir, real := "", ""
	for _, o := range listing.Objects {
		path, err := Path(o.URL)
		if err != nil {
			return err
		}
		if d := filepath.Dir(path); d != dir {
			dir, real = d, resolved(d)
		}
		if isWithin(real, folder) {
			return stint.Errorf(stint.Invalid, "input %q lies in output %q: name another folder for the output", path, output)
		}
	}
	return nil
}

// holds reports whether an input names the folder or one above it, which need not exist.
func holds(input, folder string) (bool, error) {
	if strings.HasPrefix(input, "range:") {
		return false, nil
	}
	path, err := parseLocation(input)
	if err != nil {
		return false, err
	}
	if name := literal(path); !hasGlob(path) || exists(name) {
		return isWithin(folder, resolved(name)), nil
	}
	patterns, err := compileGlob(input, path)
	if err != nil {
		return false, err
	}
	for _, pattern := range patterns {
		if globHolds(pattern, folder) {
			return true, nil
		}
	}
	return false, nil
}

// globHolds reports whether a pattern matches the folder or one above it.
func globHolds(pattern []segment, folder string) bool {
	base := "/"
	for len(pattern) > 0 {
		name, ok := pattern[0].isLiteral()
		if !ok {
			break
		}
		base, pattern = filepath.Join(base, name), pattern[1:]
	}
	base = resolved(base)
	if !isWithin(folder, base) {
		return false
	}
	names := strings.FieldsFunc(strings.TrimPrefix(folder, base), func(r rune) bool { return r == '/' })
	if len(names) < len(pattern) {
		return false
	}
	for i, p := range pattern {
		if !p.match(names[i]) || isHidden(names[i]) && !p.matchesHidden() {
			return false
		}
	}
	return true
}

// isWithin reports whether a clean absolute path is the folder or lies in it.
func isWithin(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// resolved follows the links of as much of a path as exists.
func resolved(path string) string {
	for rest := ""; ; path = filepath.Dir(path) {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Join(real, rest)
		}
		if path == "/" {
			return filepath.Join(path, rest)
		}
		rest = filepath.Join(filepath.Base(path), rest)
	}
}
