package worker

import "strings"

// maxStderr is how many bytes of what an attempt says on standard error are kept.
const maxStderr = 64 << 10

// tail keeps the last bytes written to it: a ring once it is full.
type tail struct {
	buf  []byte
	next int // where the oldest byte lies, once buf is full
	lost bool
}

func (t *tail) reset() { t.buf, t.next, t.lost = t.buf[:0], 0, false }

// Write keeps the end of b. It does not fail.
func (t *tail) Write(b []byte) (int, error) {
	n := len(b)
	if len(b) > maxStderr {
		b, t.lost = b[len(b)-maxStderr:], true
	}
	grow := min(maxStderr-len(t.buf), len(b))
	t.buf = append(t.buf, b[:grow]...)
	b = b[grow:]
	for len(b) > 0 {
		t.lost = true
		m := copy(t.buf[t.next:], b)
		b = b[m:]
		t.next = (t.next + m) % maxStderr
	}
	return n, nil
}

// String returns what is kept, from a line's beginning if bytes before it were
// dropped.
func (t *tail) String() string {
	s := string(t.buf[t.next:]) + string(t.buf[:t.next])
	if t.lost {
		if _, rest, ok := strings.Cut(s, "\n"); ok && rest != "" {
			return rest
		}
	}
	return s
}
