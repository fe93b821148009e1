package object

import (
	"unicode/utf8"

	"stint"
)

// maxAlternatives bounds what the braces of one location expand to.
const maxAlternatives = 1000

// segment is the pattern for one name of a path.
type segment []element

// element matches one byte, one character, one character of a class, or any run.
type element struct {
	kind elementKind
	b    byte // matchByte
	not  bool // matchClass
	set  [][2]rune
}

type elementKind uint8

const (
	matchByte elementKind = iota
	matchChar
	matchClass
	matchRun
)

// isLiteral reports whether only one name matches, and which.
func (s segment) isLiteral() (string, bool) {
	b := make([]byte, len(s))
	for i, e := range s {
		if e.kind != matchByte {
			return "", false
		}
		b[i] = e.b
	}
	return string(b), true
}

// matchesHidden reports whether the pattern itself begins with a dot or an
// underscore, so that names left out otherwise are meant.
func (s segment) matchesHidden() bool {
	return len(s) > 0 && s[0].kind == matchByte && (s[0].b == '.' || s[0].b == '_')
}

// match needs time proportional to the product of the lengths at worst.
func (s segment) match(name string) bool {
	i, j := 0, 0
	run, from := -1, 0 // the latest matchRun, and where what follows it was tried
	for j < len(name) || i < len(s) {
		if i < len(s) && s[i].kind == matchRun {
			run, from = i, j
			i++
			continue
		}
		if i < len(s) && j < len(name) {
			if n := s[i].width(name[j:]); n > 0 {
				i++
				j += n
				continue
			}
		}
		if run < 0 || from >= len(name) {
			return false
		}
		_, n := utf8.DecodeRuneInString(name[from:])
		from += n
		i, j = run+1, from
	}
	return true
}

// width returns how many bytes of the beginning of name the element matches, 0 if none.
func (e element) width(name string) int {
	if e.kind == matchByte {
		if name[0] == e.b {
			return 1
		}
		return 0
	}
	r, n := utf8.DecodeRuneInString(name)
	if e.kind == matchClass && e.contains(r) == e.not {
		return 0
	}
	return n
}

func (e element) contains(r rune) bool {
	for _, s := range e.set {
		if s[0] <= r && r <= s[1] {
			return true
		}
	}
	return false
}

func hasGlob(path []symbol) bool {
	for _, c := range path {
		if c.glob && c.b != ',' {
			return true
		}
	}
	return false
}

// compileGlob turns a path into the patterns its braces expand to, each a list of segments.
func compileGlob(location string, path []symbol) ([][]segment, error) {
	alternatives, err := expandBraces(location, path)
	if err != nil {
		return nil, err
	}
	out := make([][]segment, len(alternatives))
	for i, a := range alternatives {
		if out[i], err = compileSegments(location, a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func expandBraces(location string, path []symbol) ([][]symbol, error) {
	todo, done := [][]symbol{path}, [][]symbol(nil)
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		open, parts, closing, err := firstBraces(location, p)
		if err != nil {
			return nil, err
		}
		if open < 0 {
			done = append(done, p)
		}
		for _, part := range parts {
			joined := append(append(append([]symbol(nil), p[:open]...), part...), p[closing+1:]...)
			todo = append(todo, joined)
		}
		if len(todo)+len(done) > maxAlternatives {
			return nil, stint.Errorf(stint.Invalid, "location %.80q: braces give more than %d alternatives", location, maxAlternatives)
		}
	}
	return done, nil
}

// firstBraces finds the first outermost pair of braces and what it separates; open is -1 if there is none.
func firstBraces(location string, p []symbol) (open int, parts [][]symbol, closing int, err error) {
	open, depth, from := -1, 0, 0
	for i := 0; i < len(p); i++ {
		if !p[i].glob {
			continue
		}
		switch p[i].b {
		case '[':
			if end := classEnd(p, i); end > 0 {
				i = end // braces within a class stand for themselves
			}
		case '{':
			depth++
			if depth == 1 {
				open, from = i, i+1
			}
		case ',':
			if depth == 1 {
				parts = append(parts, p[from:i])
				from = i + 1
			}
		case '}':
			if depth == 0 {
				return 0, nil, 0, badGlob(location, p[i], "} without {")
			}
			if depth--; depth == 0 {
				return open, append(parts, p[from:i]), i, nil
			}
		}
	}
	if depth > 0 {
		return 0, nil, 0, badGlob(location, p[open], "{ without }")
	}
	return -1, nil, 0, nil
}

// classEnd returns the index of the bracket that closes the class opened at i,
// or -1. As in a shell, a ] that comes first belongs to the class.
func classEnd(p []symbol, i int) int {
	j := i + 1
	if j < len(p) && (p[j].b == '!' || p[j].b == '^') {
		j++
	}
	for first := true; j < len(p) && p[j].b != '/'; j++ {
		if p[j].b == ']' && p[j].glob && !first {
			return j
		}
		first = false
	}
	return -1
}

func compileSegments(location string, p []symbol) ([]segment, error) {
	var out []segment
	var s segment
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c.b == '/':
			if len(s) > 0 {
				out = append(out, s)
			}
			s = nil
		case len(s) == 0 && isDoubleStar(p[i:]):
			return nil, badGlob(location, c, "** (a folder means all objects below it)")
		case c.glob && c.b == '*':
			if len(s) == 0 || s[len(s)-1].kind != matchRun {
				s = append(s, element{kind: matchRun})
			}
		case c.glob && c.b == '?':
			s = append(s, element{kind: matchChar})
		case c.glob && c.b == '[':
			end := classEnd(p, i)
			if end < 0 {
				return nil, badGlob(location, c, "[ without ]")
			}
			class, err := compileClass(location, p[i:end])
			if err != nil {
				return nil, err
			}
			s = append(s, class)
			i = end
		default:
			s = append(s, element{kind: matchByte, b: c.b})
		}
	}
	if len(s) > 0 {
		out = append(out, s)
	}
	return out, nil
}

// isDoubleStar reports whether p begins with a segment of two stars, which
// elsewhere means folders of any depth and here would quietly mean one.
func isDoubleStar(p []symbol) bool {
	star := func(c symbol) bool { return c.glob && c.b == '*' }
	return len(p) >= 2 && star(p[0]) && star(p[1]) && (len(p) == 2 || p[2].b == '/')
}

// compileClass reads p, which is [ and what follows it without the closing bracket.
func compileClass(location string, p []symbol) (element, error) {
	class := element{kind: matchClass}
	text := literal(p[1:])
	if text[0] == '!' || text[0] == '^' {
		class.not = true
		text = text[1:]
	}
	for text != "" {
		lo, n := utf8.DecodeRuneInString(text)
		text = text[n:]
		hi := lo
		if len(text) > 1 && text[0] == '-' {
			hi, n = utf8.DecodeRuneInString(text[1:])
			text = text[1+n:]
		}
		if hi < lo {
			return element{}, badGlob(location, p[0], "a range that ends before it begins in [ ]")
		}
		class.set = append(class.set, [2]rune{lo, hi})
	}
	return class, nil
}

func badGlob(location string, at symbol, what string) error {
	return stint.Errorf(stint.Invalid, "bad_glob: location %.80q: %s at byte %d", location, what, at.pos+1)
}

// prefix returns what every name that matches begins with.
func (s segment) prefix() string {
	var b []byte
	for _, e := range s {
		if e.kind != matchByte {
			break
		}
		b = append(b, e.b)
	}
	return string(b)
}
