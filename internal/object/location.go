package object

import (
	"strings"

	"stint"
)

const allowedLocations = "expected file:///absolute/path, a plain absolute path, s3://BUCKET/KEY, or http(s)://HOST/PATH"

// symbol is one byte of a location's path.
type symbol struct {
	b    byte
	glob bool // written as it is, so that it may have a meaning in a glob
	pos  int  // offset in the location as given
}

// ParseLocation checks a location and returns its URL in one spelling:
// file:///absolute/path, without empty segments and a final slash, s3://bucket/key
// without a final slash, or a URL of the web. Glob characters of the location stay
// glob characters. A location that cannot be reached by a node, or is ambiguous, is
// [stint.Invalid].
func ParseLocation(s string) (string, error) {
	switch {
	case isBucketLocation(s):
		l, err := parseBucketLocation(s)
		if err != nil {
			return "", err
		}
		key, err := l.tidyKey(s)
		return l.canonical(key), err
	case isWebLocation(s):
		return parseWebLocation(s)
	}
	path, err := parseLocation(s)
	if err != nil {
		return "", err
	}
	b := append(make([]byte, 0, len(s)+16), "file://"...)
	for _, c := range path {
		if c.glob {
			b = append(b, c.b)
		} else {
			b = appendEscaped(b, c.b)
		}
	}
	return string(b), nil
}

// Path returns the path of the file that a location names; glob characters stand
// for themselves. Errors as of [ParseLocation].
func Path(location string) (string, error) {
	path, err := parseLocation(location)
	if err != nil {
		return "", err
	}
	return literal(path), nil
}

// fileURL is the inverse of [Path]: the URL that names an absolute path and nothing else.
func fileURL(path string) string {
	b := append(make([]byte, 0, len(path)+16), "file://"...)
	for i := range len(path) {
		b = appendEscaped(b, path[i])
	}
	return string(b)
}

func literal(path []symbol) string {
	b := make([]byte, len(path))
	for i, c := range path {
		b[i] = c.b
	}
	return string(b)
}

func appendEscaped(dst []byte, b byte) []byte {
	const digits = "0123456789ABCDEF"
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', strings.IndexByte("/-._~=+@:,", b) >= 0:
		return append(dst, b)
	}
	return append(dst, '%', digits[b>>4], digits[b&15])
}

func parseLocation(s string) ([]symbol, error) {
	if err := checkControl(s); err != nil {
		return nil, err
	}
	if strings.HasPrefix(s, "/") {
		path := make([]symbol, len(s))
		for i := range len(s) {
			path[i] = symbol{b: s[i], glob: isGlobByte(s[i]), pos: i}
		}
		return tidy(s, path)
	}
	start, err := urlPathStart(s)
	if err != nil {
		return nil, err
	}
	path, err := decodeURLPath(s, start)
	if err != nil {
		return nil, err
	}
	return tidy(s, path)
}

func checkControl(s string) error {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return stint.Errorf(stint.Invalid, "location %.80q: control character at byte %d; in a URL it is written %%%02X", shown(s), i+1, s[i])
		}
	}
	return nil
}

// shown is a location that could not be read as it may be shown: without what may
// be a password.
func shown(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	i := strings.LastIndexByte(rest, '@')
	if !ok || i < 0 || !strings.Contains(rest[:i], ":") {
		return s
	}
	return scheme + "://…" + rest[i:]
}

// isGlobByte includes the comma, which separates alternatives within braces.
func isGlobByte(b byte) bool { return strings.IndexByte("*?[]{},", b) >= 0 }

// urlPathStart returns where the path of a file URL begins: file:///p, file://localhost/p, file:/p.
func urlPathStart(s string) (int, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || strings.Contains(scheme, "/") {
		return 0, stint.Errorf(stint.Invalid, "location %.80q: not absolute; %s", s, allowedLocations)
	}
	if !strings.EqualFold(scheme, "file") {
		return 0, stint.Errorf(stint.Invalid, "location %.80q: scheme %.20q is not known here; %s", s, scheme, allowedLocations)
	}
	start := len("file:")
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		host, _, _ := strings.Cut(after, "/")
		if host != "" && !strings.EqualFold(host, "localhost") {
			return 0, stint.Errorf(stint.Invalid, "location %.80q: host %.80q; %s", s, host, allowedLocations)
		}
		start += len("//") + len(host)
	}
	if start >= len(s) || s[start] != '/' {
		return 0, stint.Errorf(stint.Invalid, "location %.80q: not absolute; %s", s, allowedLocations)
	}
	return start, nil
}

func decodeURLPath(s string, start int) ([]symbol, error) {
	path := make([]symbol, 0, len(s)-start)
	for i := start; i < len(s); i++ {
		c := symbol{b: s[i], glob: isGlobByte(s[i]), pos: i}
		switch s[i] {
		case '#':
			return nil, stint.Errorf(stint.Invalid, "bad_url: location %.80q: # at byte %d begins a fragment; a # in a name is written %%23", s, i+1)
		case '%':
			if i+2 >= len(s) || unhex(s[i+1]) > 15 || unhex(s[i+2]) > 15 {
				return nil, stint.Errorf(stint.Invalid, "bad_url: location %.80q: %% at byte %d is not followed by two hexadecimal digits", s, i+1)
			}
			c.b = unhex(s[i+1])<<4 | unhex(s[i+2])
			c.glob = false
			if c.b == 0 || c.b == '/' {
				return nil, stint.Errorf(stint.Invalid, "bad_url: location %.80q: %s at byte %d cannot be part of a file's name", s, s[i:i+3], i+1)
			}
			i += 2
		}
		path = append(path, c)
	}
	return path, nil
}

// unhex returns the value of a hexadecimal digit, and more than 15 for any other byte.
func unhex(b byte) byte {
	switch {
	case '0' <= b && b <= '9':
		return b - '0'
	case 'a' <= b && b <= 'f':
		return b - 'a' + 10
	case 'A' <= b && b <= 'F':
		return b - 'A' + 10
	}
	return 255
}

// tidy drops empty segments and "." and refuses "..", which means one thing to
// people and another to the file system where a link is in the way.
func tidy(s string, path []symbol) ([]symbol, error) {
	out := make([]symbol, 0, len(path))
	for i := 0; i < len(path); {
		j := i + 1
		for j < len(path) && path[j].b != '/' {
			j++
		}
		switch literal(path[i+1 : j]) {
		case "", ".":
		case "..":
			return nil, stint.Errorf(stint.Invalid, "location %.80q: .. at byte %d; name the folder itself", s, path[i+1].pos+1)
		default:
			out = append(out, path[i:j]...)
		}
		i = j
	}
	if len(out) == 0 {
		out = append(out, symbol{b: '/'})
	}
	return out, nil
}
