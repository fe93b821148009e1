package command

import (
	"strings"

	"stint"
)

// SplitArgs separates a command line into arguments as Hadoop Streaming does,
// which is not as a shell does: spaces separate; single or double quotes group
// and are removed; an opening or closing quote ends the argument before it, so
// that a"b c"d is three; nothing escapes; empty quotes vanish. Errors are
// [stint.Invalid]: no argument at all, a quote that is not closed, a NUL byte.
func SplitArgs(line string) ([]string, error) {
	if i := strings.IndexByte(line, 0); i >= 0 {
		return nil, stint.Errorf(stint.Invalid, "command %.80q: byte %d is NUL", line, i)
	}
	var args []string
	var quote byte
	start := 0
	add := func(end int) {
		if end > start {
			args = append(args, line[start:end])
		}
		start = end + 1
	}
	for i := range len(line) {
		switch c := line[i]; {
		case quote == 0 && (c == '"' || c == '\''):
			add(i)
			quote = c
		case quote == c && quote != 0:
			add(i)
			quote = 0
		case quote == 0 && c == ' ':
			add(i)
		}
	}
	if quote != 0 {
		return nil, stint.Errorf(stint.Invalid, "command %.80q: the quote %c at byte %d is not closed", line, quote, start-1)
	}
	add(len(line))
	if len(args) == 0 {
		return nil, stint.Errorf(stint.Invalid, "command %.80q: no program named", line)
	}
	return args, nil
}
