package command

import (
	"bytes"
	"strconv"
	"strings"

	"stint"
)

// maxMessage is the length of the longest line that is understood as a message;
// a longer one is text like any other.
const maxMessage = 4 << 10

// maxStatus is how many bytes of a status text are passed on.
const maxStatus = 256

const (
	reporterPrefix = "reporter:"
	counterPrefix  = "counter:"
	statusPrefix   = "status:"
)

// messages reads a process's standard error: lines that begin with "reporter:"
// are obeyed, all else goes to the attempt's log as it comes.
type messages struct {
	a    *stint.Attempt
	line []byte // the beginning of a line that may be a message
	text bool   // the present line is not one
}

// write takes the next bytes. It keeps at most one message's length of them.
func (m *messages) write(b []byte) {
	for len(b) > 0 {
		if len(m.line) == 0 && b[0] != reporterPrefix[0] {
			m.text = true
		}
		if m.text {
			n := textLength(b)
			m.a.Stderr.Write(b[:n]) //nolint:errcheck // the log of a process must not stop it
			m.text = b[n-1] != '\n'
			b = b[n:]
			continue
		}
		n := bytes.IndexByte(b, '\n') + 1
		if n == 0 {
			n = len(b)
		}
		m.line = append(m.line, b[:n]...)
		m.judge()
		b = b[n:]
	}
}

// textLength returns how many bytes of b, which begins in a line of text, are
// text: up to the end of the line before one that may be a message.
func textLength(b []byte) int {
	if i := bytes.Index(b, []byte("\n"+reporterPrefix[:1])); i >= 0 {
		return i + 1
	}
	return len(b)
}

// judge decides whether the line so far can still become a message.
func (m *messages) judge() {
	whole := m.line[len(m.line)-1] == '\n'
	n := min(len(m.line), len(reporterPrefix))
	switch {
	case string(m.line[:n]) != reporterPrefix[:n], len(m.line) > maxMessage, whole && n < len(reporterPrefix):
		m.a.Stderr.Write(m.line) //nolint:errcheck // the log of a process must not stop it
		m.text = !whole
	case !whole:
		return
	default:
		m.obey(strings.TrimRight(string(m.line[len(reporterPrefix):]), "\r\n"))
	}
	m.line = m.line[:0]
}

// close takes the end of the stream for the end of its last line.
func (m *messages) close() {
	if len(m.line) > 0 {
		m.line = append(m.line, '\n')
		m.judge()
	}
}

func (m *messages) obey(s string) {
	if text, ok := strings.CutPrefix(s, statusPrefix); ok {
		m.a.Status(strings.ToValidUTF8(text[:min(len(text), maxStatus)], "\uFFFD"))
		return
	}
	if rest, ok := strings.CutPrefix(s, counterPrefix); ok {
		f := strings.Split(rest, ",")
		if len(f) == 3 {
			if n, err := strconv.ParseInt(strings.TrimSpace(f[2]), 10, 64); err == nil {
				m.a.Counters.Add(f[0], f[1], n)
				return
			}
		}
	}
	m.a.Counters.Add(counterGroup, "reporter_malformed", 1)
	m.a.Stderr.Write([]byte(reporterPrefix + s + "\n")) //nolint:errcheck // the log of a process must not stop it
}
