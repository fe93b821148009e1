package worker

import (
	"fmt"
	"strings"
)

// maxStderr is how many bytes of what an attempt says on standard error are kept
// of its beginning, and as many of its end.
const maxStderr = 64 << 10

// tail keeps the first bytes written to it, and the last: those in a ring once it
// is full.
type tail struct {
	head []byte
	buf  []byte
	next int   // where the oldest byte of buf lies, once that is full
	lost int64 // bytes between head and buf
}

func (t *tail) reset() { *t = tail{head: t.head[:0], buf: t.buf[:0]} }

// Write keeps what is to be kept of b. It does not fail.
func (t *tail) Write(b []byte) (int, error) {
	n := len(b)
	first := min(maxStderr-len(t.head), len(b))
	t.head = append(t.head, b[:first]...)
	b = b[first:]
	if skip := len(b) - maxStderr; skip > 0 {
		b = b[skip:]
		t.lost += int64(skip)
	}
	grow := min(maxStderr-len(t.buf), len(b))
	t.buf = append(t.buf, b[:grow]...)
	b = b[grow:]
	t.lost += int64(len(b))
	for len(b) > 0 {
		m := copy(t.buf[t.next:], b)
		b = b[m:]
		t.next = (t.next + m) % maxStderr
	}
	return n, nil
}

// String returns what is kept. Where bytes were dropped it says how many, and goes
// on from a line's beginning.
func (t *tail) String() string {
	end := string(t.buf[t.next:]) + string(t.buf[:t.next])
	if t.lost == 0 {
		return string(t.head) + end
	}
	lost := t.lost
	if cut, rest, ok := strings.Cut(end, "\n"); ok && rest != "" {
		lost, end = lost+int64(len(cut))+1, rest
	}
	return fmt.Sprintf("%s\n[%d bytes are left out here]\n%s", t.head, lost, end)
}
