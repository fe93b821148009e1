package e2e

import (
	"fmt"
	"testing"

	"stint"
)

// What was given to a node before anybody knew that an operation takes long there does
// not wait for its end: the long one ends only when all others have.
func TestNothingWaitsBehindALongOperationWhileANodeIsIdle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		short int // operations before the long one: then workers are handed several at once
	}{{"few", 0}, {"after short ones", 60}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			h.up(2)
			gate := h.path("open")
			program := h.write("hold.sh", `case "$(cat)" in long) while [ ! -e `+gate+` ]; do sleep 0.02; done;; esac; echo x`)
			for i := range c.short {
				h.write(fmt.Sprintf("in/a%03d", i), "short")
			}
			h.write("in/b", "long")
			for i := range 7 {
				h.write(fmt.Sprintf("in/c%03d", i), "short")
			}
			id := h.execution("run", "--map", "sh hold.sh", "--file", program, "--split", "files", "--subset-size", "1", "--input", h.path("in"), "--output", "out", "--detach").ID
			h.wait("all but one", func() bool {
				return h.execution("show", string(id)).Operations.Completed >= int64(c.short+7)
			})
			h.write("open", "")
			h.wait("the end", func() bool { return h.execution("show", string(id)).Status == stint.Completed })
		})
	}
}
