package object

import (
	"path/filepath"
	"strings"

	"stint"
)

// CheckApart refuses an output that an input would hold, and an input that the
// output would hold: the next listing would take results for data, and a commit
// that replaces an output would remove what it was made of. Inputs are as of
// [Access.List], listing is what they name now. Symbolic links are followed.
//
// The error is [stint.Invalid] and names both locations.
func (a *Access) CheckApart(inputs Inputs, listing stint.Listing, output string) error {
	if isBucketLocation(output) {
		return a.checkBucketApart(inputs, listing, output)
	}
	path, err := Path(output)
	if err != nil {
		return err
	}
	folder := resolved(path)
	for _, in := range inputs.all() {
		if Remote(in) {
			continue
		}
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

// checkBucketApart is [Access.CheckApart] for an output in a bucket, whatever the
// set of credentials that leads there.
func (a *Access) checkBucketApart(inputs Inputs, listing stint.Listing, output string) error {
	out, err := a.prefix(output)
	if err != nil {
		return err
	}
	for _, in := range inputs.all() {
		if !isBucketLocation(in) {
			continue
		}
		l, err := parseBucketLocation(in)
		if err != nil {
			return err
		}
		key, err := l.tidyKey(in)
		if err != nil {
			return err
		}
		if holds, err := bucketHolds(in, key, out.key); err != nil || holds && a.sameBucket(out.bucket, l) {
			return orElse(err, stint.Errorf(stint.Invalid, "output %q lies in input %.80q: name a prefix outside of all inputs", out, in))
		}
	}
	for _, o := range listing.Objects {
		if !isBucketLocation(o.URL) {
			continue
		}
		l, err := parseBucketLocation(o.URL)
		if err != nil {
			return err
		}
		if key := literal(l.key); l.bucket == out.name && (out.key == "" || strings.HasPrefix(key, out.at(""))) && a.sameBucket(out.bucket, l) {
			return stint.Errorf(stint.Invalid, "input %q lies in output %q: name another prefix for the output", o.URL, out)
		}
	}
	return nil
}

// sameBucket reports whether a location leads to the bucket: with another set of
// credentials perhaps, but at the same endpoint.
func (a *Access) sameBucket(b bucket, l bucketLocation) bool {
	mine, err := a.credentials(b.set)
	theirs, err2 := a.credentials(l.set)
	return b.name == l.bucket && (err != nil || err2 != nil || mine.Endpoint == theirs.Endpoint)
}

// bucketHolds reports whether an input names a key or a folder above it.
func bucketHolds(input string, key []symbol, output string) (bool, error) {
	if !hasGlob(key) {
		name := literal(key)
		return name == "" || name == output || strings.HasPrefix(output, name+"/"), nil
	}
	patterns, err := compileGlob(input, key)
	if err != nil {
		return false, err
	}
	for _, pattern := range patterns {
		base, rest := literalBase(pattern)
		if globHolds(base, rest, "/"+output) {
			return true, nil
		}
	}
	return false, nil
}

// checkNoneBelow asks the file system once for each folder of the listing, which
// is sorted.
func checkNoneBelow(folder, output string, listing stint.Listing) error {
	dir, real := "", ""
	for _, o := range listing.Objects {
		if Remote(o.URL) {
			continue
		}
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
		base, rest := literalBase(pattern)
		if globHolds(resolved(base), rest, folder) {
			return true, nil
		}
	}
	return false, nil
}

// literalBase separates the names that a pattern begins with.
func literalBase(pattern []segment) (string, []segment) {
	base := "/"
	for len(pattern) > 0 {
		name, ok := pattern[0].isLiteral()
		if !ok {
			break
		}
		base, pattern = filepath.Join(base, name), pattern[1:]
	}
	return base, pattern
}

// globHolds reports whether a pattern below a path matches the folder or one above it.
func globHolds(base string, pattern []segment, folder string) bool {
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
