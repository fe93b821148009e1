package api

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads the tokens of a JSON text (RFC 8259). Its errors are problems
// that say where the text stops being JSON.
type scanner struct {
	data []byte
	pos  int
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek skips space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.pos == len(s.data) {
		return 0
	}
	return s.data[s.pos]
}

// expect reads one punctuation byte.
func (s *scanner) expect(b byte) error {
	if s.peek() != b || s.pos == len(s.data) {
		return s.syntax(fmt.Sprintf("expected %q", b))
	}
	s.pos++
	return nil
}

// list reads what stands between two brackets, separated by commas.
func (s *scanner) list(open, end byte, item func() error) error {
	if err := s.expect(open); err != nil {
		return err
	}
	if s.peek() == end {
		return s.expect(end)
	}
	for {
		if err := item(); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case end:
			s.pos++
			return nil
		default:
			return s.syntax(fmt.Sprintf("expected , or %c", end))
		}
	}
}

// holdsNUL says what is bad about a string that is text otherwise.
const holdsNUL = "a NUL"

// string reads a string. bad says what it holds that is no text, if it does.
func (s *scanner) string() (text, bad string, err error) {
	if err := s.expect('"'); err != nil {
		return "", "", err
	}
	var out []byte
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			if bad == "" && !utf8.Valid(out) {
				bad = "bytes that are not UTF-8"
			}
			return string(out), bad, nil
		case c == '\\':
			r, err := s.escape()
			if err != nil {
				return "", "", err
			}
			switch {
			case r == utf8.RuneError:
				bad = "half of a surrogate pair"
			case r == 0 && bad == "":
				bad = holdsNUL
			}
			out = utf8.AppendRune(out, r)
		case c < ' ':
			return "", "", s.syntax(fmt.Sprintf("expected control character 0x%02x escaped", c))
		default:
			out = append(out, c)
			s.pos++
		}
	}
	return "", "", s.syntax(`expected "`)
}

// escape reads an escape sequence; a lone surrogate gives [utf8.RuneError].
func (s *scanner) escape() (rune, error) {
	if s.pos+1 >= len(s.data) {
		s.pos = len(s.data)
		return 0, s.syntax("expected an escape")
	}
	s.pos += 2
	switch c := s.data[s.pos-1]; c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return s.unicode()
	}
	s.pos--
	return 0, s.syntax(`expected one of "\/bfnrtu`)
}

// unicode reads the digits of \uXXXX, and the second half of a pair.
func (s *scanner) unicode() (rune, error) {
	high, err := s.hex()
	if err != nil || !utf16.IsSurrogate(high) {
		return high, err
	}
	if s.pos+1 >= len(s.data) || s.data[s.pos] != '\\' || s.data[s.pos+1] != 'u' {
		return utf8.RuneError, nil
	}
	s.pos += 2
	low, err := s.hex()
	if err != nil {
		return 0, err
	}
	return utf16.DecodeRune(high, low), nil
}

func (s *scanner) hex() (rune, error) {
	var b [2]byte
	if s.pos+4 > len(s.data) {
		s.pos = len(s.data)
		return 0, s.syntax("expected four hexadecimal digits")
	}
	if _, err := hex.Decode(b[:], s.data[s.pos:s.pos+4]); err != nil {
		return 0, s.syntax("expected four hexadecimal digits")
	}
	s.pos += 4
	return rune(binary.BigEndian.Uint16(b[:])), nil
}

// number reads a number and returns it as it stands there.
func (s *scanner) number(pointer string) (string, error) {
	start := s.pos
	for s.pos < len(s.data) && !isDelimiter(s.data[s.pos]) {
		s.pos++
	}
	literal := string(s.data[start:s.pos])
	if isNumber(literal) {
		return literal, nil
	}
	s.pos = start
	if literal == "" || !looksNumeric(literal) {
		return "", s.syntax("expected a value")
	}
	p := refuse(http.StatusBadRequest, "bad_number", "%.200s: %.80q is not a JSON number", printable(pointer), literal)
	p.Pointer = pointer
	return "", p
}

func isDelimiter(c byte) bool {
	switch c {
	case ',', ']', '}', ':', '"', '[', '{', ' ', '\t', '\n', '\r':
		return true
	}
	return false
}

// looksNumeric tells 01, +1, .5, NaN and Infinity from what is no attempt at a number.
func looksNumeric(s string) bool {
	return s == "NaN" || s == "Infinity" || (s[0] >= '0' && s[0] <= '9') || s[0] == '-' || s[0] == '+' || s[0] == '.'
}

// isNumber reports whether s is a number by the grammar of JSON.
func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole, s := digits(s)
	if whole == "" || (len(whole) > 1 && whole[0] == '0') {
		return false
	}
	if rest, ok := strings.CutPrefix(s, "."); ok {
		var fraction string
		if fraction, s = digits(rest); fraction == "" {
			return false
		}
	}
	if s == "" {
		return true
	}
	if s[0] != 'e' && s[0] != 'E' {
		return false
	}
	s = s[1:]
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	exponent, s := digits(s)
	return exponent != "" && s == ""
}

// digits separates the digits that s begins with from the rest.
func digits(s string) (run, rest string) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}

// syntax refuses the text at the current position.
func (s *scanner) syntax(expected string) error {
	line, column := s.place(s.pos)
	if s.pos >= len(s.data) {
		return refuse(http.StatusBadRequest, "bad_json", "unexpected end at line %d column %d: %s", line, column, expected)
	}
	r, _ := utf8.DecodeRune(s.data[s.pos:])
	return refuse(http.StatusBadRequest, "bad_json", "unexpected %q at line %d column %d: %s", r, line, column, expected)
}

// place returns the line and the column of a byte, both from 1.
func (s *scanner) place(at int) (line, column int) {
	before := s.data[:at]
	return 1 + bytes.Count(before, []byte{'\n'}), at - bytes.LastIndexByte(before, '\n')
}
