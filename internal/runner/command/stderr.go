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

// messages reads a process's standard error: lines that begin with "reporter:",
// or what the stage has instead, are obeyed, all else goes to the attempt's log as it comes.
type messages struct {
	a    *stint.Attempt
	line []byte // the beginning of a line that may be a message
	text bool   // the present line is not one
	cr   bool   // a message ended in CR: an LF that follows belongs to it
}

// prefix is what a message begins with.
func (m *messages) prefix() string {
	if s := m.a.Streaming; s != nil && s.ReporterPrefix != "" {
		return s.ReporterPrefix
	}
	return reporterPrefix
}

// ends is the bytes of which each ends a line.
func (m *messages) ends() string {
	if asHadoop(m.a) {
		return "\n\r"
	}
	return "\n"
}

func asHadoop(a *stint.Attempt) bool {
	return a.Streaming != nil && a.Streaming.Mode == stint.StreamHadoop
}

// write takes the next bytes. It keeps at most one message's length of them.
func (m *messages) write(b []byte) {
	prefix, ends := m.prefix(), m.ends()
	for len(b) > 0 {
		if m.cr {
			m.cr = false
			if b[0] == '\n' {
				b = b[1:]
				continue
			}
		}
		if len(m.line) == 0 && b[0] != prefix[0] {
			m.text = true
		}
		if m.text {
			n := textLength(b, prefix[0], ends)
			m.a.Stderr.Write(b[:n]) //nolint:errcheck // the log of a process must not stop it
			m.text = strings.IndexByte(ends, b[n-1]) < 0
			b = b[n:]
			continue
		}
		n := bytes.IndexAny(b, ends) + 1
		if n == 0 {
			n = len(b)
		}
		m.line = append(m.line, b[:n]...)
		m.judge(prefix, ends)
		b = b[n:]
	}
}

// textLength returns how many bytes of b, which begins in a line of text, are
// text: up to the end of the line before one that may be a message.
func textLength(b []byte, first byte, ends string) int {
	n := len(b)
	for i := range len(ends) {
		if at := bytes.Index(b[:n], []byte{ends[i], first}); at >= 0 {
			n = at + 1
		}
	}
	return n
}

// judge decides whether the line so far can still become a message.
func (m *messages) judge(prefix, ends string) {
	last := m.line[len(m.line)-1]
	whole := strings.IndexByte(ends, last) >= 0
	n := min(len(m.line), len(prefix))
	switch {
	case string(m.line[:n]) != prefix[:n], len(m.line) > maxMessage, whole && n < len(prefix):
		m.a.Stderr.Write(m.line) //nolint:errcheck // the log of a process must not stop it
		m.text = !whole
	case !whole:
		return
	default:
		m.cr = last == '\r'
		m.obey(strings.TrimRight(string(m.line[len(prefix):]), "\r\n"))
	}
	m.line = m.line[:0]
}

// close takes the end of the stream for the end of its last line.
func (m *messages) close() {
	if len(m.line) > 0 {
		m.line = append(m.line, '\n')
		m.judge(m.prefix(), m.ends())
	}
}

func (m *messages) obey(s string) {
	if text, ok := strings.CutPrefix(s, statusPrefix); ok {
		if asHadoop(m.a) {
			text = strings.TrimSpace(text)
		}
		m.a.Status(strings.ToValidUTF8(text[:min(len(text), maxStatus)], "\uFFFD"))
		return
	}
	if rest, ok := strings.CutPrefix(s, counterPrefix); ok {
		if f := m.counterFields(rest); len(f) == 3 {
			if n, err := strconv.ParseInt(f[2], 10, 64); err == nil {
				m.a.Counters.Add(f[0], f[1], n)
				return
			}
		}
	}
	m.a.Counters.Add(counterGroup, "reporter_malformed", 1)
	m.a.Stderr.Write([]byte(m.prefix() + s + "\n")) //nolint:errcheck // the log of a process must not stop it
}

// counterFields separates group, name and amount. Hadoop takes no blanks before
// the amount, and more commas behind it.
func (m *messages) counterFields(s string) []string {
	s = strings.TrimSpace(s)
	if asHadoop(m.a) {
		return strings.Split(strings.TrimRight(s, ","), ",")
	}
	f := strings.Split(s, ",")
	f[len(f)-1] = strings.TrimSpace(f[len(f)-1])
	return f
}
