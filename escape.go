package stint

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Unescape returns the bytes that an escaped text stands for: \0, \n, \r, \t, \\
// and \xNN, with two hexadecimal digits, stand for one byte each, all else for
// itself. So any bytes can be written as text. An error has code [Invalid].
func Unescape(text string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out.WriteByte(text[i])
			continue
		}
		b, length := escaped(text[i+1:])
		if length == 0 {
			_, size := utf8.DecodeRuneInString(text[i+1:])
			return "", Errorf(Invalid, `bad_escape: %.80q: %q at byte %d; expected \0, \n, \r, \t, \\ or \xNN with two hexadecimal digits`, text, text[i:i+1+size], i)
		}
		out.WriteByte(b)
		i += length
	}
	return out.String(), nil
}

// escaped returns the byte that is written behind a backslash, and the length of
// that; 0 if nothing is written so.
func escaped(text string) (b byte, length int) {
	if text == "" {
		return 0, 0
	}
	if at := strings.IndexByte(`0nrt\`, text[0]); at >= 0 {
		return "\x00\n\r\t\\"[at], 1
	}
	if text[0] != 'x' || len(text) < 3 {
		return 0, 0
	}
	n, err := strconv.ParseUint(text[1:3], 16, 8)
	if err != nil {
		return 0, 0
	}
	return byte(n), 3
}

// Escape writes bytes as text that [Unescape] takes: as they are where they are
// UTF-8 without control characters.
func Escape(bytes string) string {
	const hex = "0123456789abcdef"
	var out strings.Builder
	for len(bytes) > 0 {
		r, size := utf8.DecodeRuneInString(bytes)
		at := strings.IndexByte("\x00\n\r\t\\", bytes[0])
		switch {
		case at >= 0:
			out.WriteString(`\` + `0nrt\`[at:at+1])
		case r < ' ' || r == 0x7f || r == utf8.RuneError && size == 1:
			out.WriteString(`\x` + hex[bytes[0]>>4:][:1] + hex[bytes[0]&15:][:1])
		default:
			out.WriteString(bytes[:size])
		}
		bytes = bytes[size:]
	}
	return out.String()
}
