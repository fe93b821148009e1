package shuffle

import (
	"unicode/utf16"
	"unicode/utf8"
)

// AppendJavaText appends text as Java makes a string of its bytes, in UTF-8 again:
// what is no UTF-8 is replaced by U+FFFD, which stands for as many bytes at a time
// as Java's decoder takes together.
func AppendJavaText(dst, text []byte) []byte { return appendJavaText(dst, text) }

func appendJavaText(dst, text []byte) []byte {
	if utf8.Valid(text) {
		return append(dst, text...)
	}
	for len(text) > 0 {
		if text[0] < utf8.RuneSelf {
			dst, text = append(dst, text[0]), text[1:]
			continue
		}
		if r, n := utf8.DecodeRune(text); r != utf8.RuneError || n > 1 {
			dst, text = append(dst, text[:n]...), text[n:]
			continue
		}
		dst, text = append(dst, "\uFFFD"...), text[malformed(text):]
	}
	return dst
}

// malformed returns how many bytes Java takes together of those that text begins
// with and that are no UTF-8: the beginning of a character, or a surrogate.
func malformed(text []byte) int {
	b := text[0]
	continued := func(i int) bool { return i < len(text) && text[i]&0xc0 == 0x80 }
	switch {
	case b >= 0xe0 && b <= 0xef:
		if !continued(1) || b == 0xe0 && text[1] < 0xa0 {
			return 1
		}
		if !continued(2) {
			return 2
		}
		return 3 // a surrogate
	case b >= 0xf0 && b <= 0xf4:
		if !continued(1) || b == 0xf0 && text[1] < 0x90 || b == 0xf4 && text[1] > 0x8f {
			return 1
		}
		if !continued(2) {
			return 2
		}
		return 3
	}
	return 1
}

// javaStringHash is String.hashCode of valid UTF-8.
func javaStringHash(text []byte) int32 {
	var h int32
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
			h = 31*h + hi
			r = lo
		}
		h = 31*h + r
	}
	return h
}

// CompareJavaText compares valid UTF-8 as Java compares strings: by UTF-16 code
// units, where characters beyond U+FFFF come before those from U+E000 on.
func CompareJavaText(a, b []byte) int {
	for len(a) > 0 && len(b) > 0 {
		r, n := utf8.DecodeRune(a)
		s, m := utf8.DecodeRune(b)
		if r != s {
			return int(unit(r)) - int(unit(s))
		}
		a, b = a[n:], b[m:]
	}
	return len(a) - len(b)
}

// unit returns the first code unit of a character, and for one of two characters
// with the same first unit something of the same order.
func unit(r rune) int64 {
	hi, lo := utf16.EncodeRune(r)
	if hi == utf8.RuneError {
		return int64(r) << 16
	}
	return int64(hi)<<16 | int64(lo)
}
