package native

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"regexp/syntax"
	"strconv"

	"stint"
	"stint/internal/shuffle"
)

const searchSize = 1 << 20

// grep writes the lines that match, as they are, or how many they are. A line
// is matched without its LF; one without LF at the end of the input is a line.
func grep(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	s, err := newSearch(a.Params)
	if err != nil {
		return err
	}
	if !s.counting {
		return eachLines(ctx, in, func(lines []byte) error { return s.filter(lines, out) })
	}
	err = eachLines(ctx, in, func(lines []byte) error { return s.filter(lines, &s.matches) })
	if err != nil {
		return err
	}
	return emitTo(out, func(sink shuffle.Sink) error {
		return sink.Emit([]byte(a.Params["pattern"]), strconv.AppendInt(nil, int64(s.matches), 10))
	})
}

// lineCount counts the lines written to it. What is written ends where a line
// does.
type lineCount int64

// Write counts.
func (n *lineCount) Write(b []byte) (int, error) {
	*n += lineCount(bytes.Count(b, []byte{'\n'}))
	if len(b) > 0 && b[len(b)-1] != '\n' {
		*n++
	}
	return len(b), nil
}

// search is a pattern, ready to be looked for.
type search struct {
	re       *regexp.Regexp // nil: the literal is the whole pattern
	literal  []byte         // every match contains it; empty: nothing known
	fold     bool           // the literal is in lower case, for text that is
	invert   bool
	counting bool
	matches  lineCount
	folded   []byte // text in lower case
}

func newSearch(params map[string]string) (*search, error) {
	given, err := settle("grep", grepParams(), params)
	if err != nil {
		return nil, err
	}
	s := &search{invert: given.flag("invert"), counting: given.flag("count")}
	pattern, fixed, ignoreCase := given["pattern"], given.flag("fixed"), given.flag("ignore_case")
	if pattern == "" {
		return nil, stint.Errorf(stint.Invalid, "grep: parameter pattern is empty")
	}
	if bytes.ContainsRune([]byte(pattern), '\n') {
		return nil, stint.Errorf(stint.Invalid, "grep: pattern %.80q contains a line end, which no line does", pattern)
	}
	if fixed && !ignoreCase {
		s.literal = []byte(pattern)
		return s, nil
	}
	expr := pattern
	if fixed {
		expr = regexp.QuoteMeta(expr)
	}
	if ignoreCase {
		expr = "(?i:" + expr + ")"
	}
	return s, s.compile(pattern, expr)
}

// compile makes the search of a pattern that is written as an expression.
func (s *search) compile(pattern, expr string) error {
	re, err := regexp.Compile(expr)
	if err != nil {
		return stint.Errorf(stint.Invalid, "grep: pattern %.80q: %w", pattern, err)
	}
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return stint.Errorf(stint.Invalid, "grep: pattern %.80q: %w", pattern, err)
	}
	tree = tree.Simplify()
	l := requiredLiteral(tree)
	s.re, s.literal, s.fold = re, []byte(l.text), l.fold
	if tree.Op == syntax.OpLiteral && !l.fold && l.text == string(tree.Rune) {
		s.re = nil
	}
	return nil
}

// eachLines calls each with the input in pieces of whole lines.
func eachLines(ctx context.Context, in io.Reader, each func([]byte) error) error {
	buf := make([]byte, searchSize)
	n := 0
	for {
		if err := stopped(ctx); err != nil {
			return err
		}
		if len(buf)-n < searchSize/4 {
			buf = doubled(buf)
		}
		m, err := in.Read(buf[n:])
		n += m
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return err
		}
		end := n
		if !last {
			end = bytes.LastIndexByte(buf[n-m:n], '\n') + 1
			if end == 0 {
				continue
			}
			end += n - m
		}
		if end > 0 {
			if err := each(buf[:end]); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		n = copy(buf, buf[end:n])
	}
}

// filter writes the lines of text that are wanted, neighbours together.
func (s *search) filter(text []byte, out io.Writer) error {
	from, to := 0, 0 // lines that are wanted and not yet written
	for at := 0; at < len(text); {
		start, end := s.next(text, at)
		lo, hi := start, end
		if s.invert {
			lo, hi = at, start
		}
		if lo != to {
			if err := writeSome(out, text[from:to]); err != nil {
				return err
			}
			from = lo
		}
		to, at = hi, end
	}
	return writeSome(out, text[from:to])
}

func writeSome(out io.Writer, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := out.Write(b)
	return err
}

// next returns where the first line at or after at that matches begins and ends,
// its LF included; the end of the text, twice, if there is none.
func (s *search) next(text []byte, at int) (start, end int) {
	if len(s.literal) == 0 {
		return s.nextLine(text, at)
	}
	hay := text
	if s.fold {
		hay = s.lower(text, at)
	}
	for at < len(text) {
		i := bytes.Index(hay[at:], s.literal)
		if i < 0 {
			break
		}
		start = at + bytes.LastIndexByte(text[at:at+i], '\n') + 1
		end = lineEnd(text, at+i)
		if s.re == nil || s.re.Match(trimLF(text[start:end])) {
			return start, end
		}
		at = end
	}
	return len(text), len(text)
}

// lower returns the text in lower case; at 0 it makes it.
func (s *search) lower(text []byte, at int) []byte {
	if at == 0 {
		s.folded = append(s.folded[:0], text...)
		lowerASCII(s.folded)
	}
	return s.folded
}

func (s *search) nextLine(text []byte, at int) (start, end int) {
	for at < len(text) {
		end := lineEnd(text, at)
		if s.re.Match(trimLF(text[at:end])) {
			return at, end
		}
		at = end
	}
	return len(text), len(text)
}

func lineEnd(text []byte, at int) int {
	if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(text)
}

func trimLF(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		return line[:n-1]
	}
	return line
}
