package native

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// literal is bytes that every match of a pattern contains. With fold they are
// in lower case and are contained in either case.
type literal struct {
	text string
	fold bool
}

// requiredLiteral returns the longest literal that every match of the expression
// contains; its text is empty if there is none.
func requiredLiteral(re *syntax.Regexp) literal {
	switch re.Op { //nolint:exhaustive // the others require nothing
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return foldedLiteral(re.Rune)
		}
		return exactLiteral(re.Rune)
	case syntax.OpCapture, syntax.OpPlus:
		return requiredLiteral(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return requiredLiteral(re.Sub[0])
		}
	case syntax.OpConcat:
		var best literal
		for _, sub := range re.Sub {
			if l := requiredLiteral(sub); len(l.text) > len(best.text) {
				best = l
			}
		}
		return best
	}
	return literal{}
}

// exactLiteral encodes the longest run without U+FFFD, which also stands for
// bytes that are not UTF-8.
func exactLiteral(runes []rune) literal {
	return literal{text: longestRun(runes, func(r rune) bool { return r != utf8.RuneError })}
}

// foldedLiteral takes the longest run of ASCII without k and s: those are also
// the lower case of the Kelvin sign and of the long s.
func foldedLiteral(runes []rune) literal {
	text := longestRun(runes, func(r rune) bool { return r < utf8.RuneSelf && !strings.ContainsRune("kKsS", r) })
	return literal{text: strings.ToLower(text), fold: true}
}

func longestRun(runes []rune, keep func(rune) bool) string {
	best, start := "", 0
	for i := 0; i <= len(runes); i++ {
		if i < len(runes) && keep(runes[i]) {
			continue
		}
		if run := string(runes[start:i]); len(run) > len(best) {
			best = run
		}
		start = i + 1
	}
	return best
}
