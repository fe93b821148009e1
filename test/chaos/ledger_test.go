package chaos

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/client"
)

// ledger is a file outside the data folder in which programs write down that they
// were started.
type ledger struct {
	t    *testing.T
	path string
}

// ledger returns the site's file of performances.
func (s *site) ledger() *ledger { return &ledger{t: s.t, path: s.path("performed")} }

// line is a command of a shell script that appends one line for this attempt. It
// is written at once and as a whole.
func (l *ledger) line() string {
	return `echo "$STINT_EXECUTION $STINT_OPERATION $STINT_ATTEMPT" >> '` + l.path + `'`
}

// step is a command of an action that is written down before it is performed, and
// that sleeps for so many seconds first.
func (l *ledger) step(seconds string, command ...string) stint.Action {
	return stint.Action{Command: append([]string{"sh", "-c", l.line() + "; sleep " + seconds + `; exec "$0" "$@"`}, command...)}
}

// operation is an operation of an execution.
type operation struct {
	execution stint.ExecutionID
	id        stint.OperationID
}

func (o operation) String() string { return string(o.execution) + " " + string(o.id) }

// attempts returns the numbers of the attempts that were begun, in the order in
// which they were.
func (l *ledger) attempts() map[operation][]int {
	l.t.Helper()
	b, err := os.ReadFile(l.path)
	if err != nil && !os.IsNotExist(err) {
		l.t.Fatal(err)
	}
	found := make(map[operation][]int)
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			l.t.Fatalf("%s: line %q is not whole", l.path, line)
		}
		n, err := strconv.Atoi(fields[2])
		if err != nil {
			l.t.Fatalf("%s: line %q: %v", l.path, line, err)
		}
		o := operation{stint.ExecutionID(fields[0]), stint.OperationID(fields[1])}
		found[o] = append(found[o], n)
	}
	return found
}

// performances counts the lines.
func (l *ledger) performances() int {
	l.t.Helper()
	b, err := os.ReadFile(l.path)
	if err != nil && !os.IsNotExist(err) {
		l.t.Fatal(err)
	}
	return bytes.Count(b, []byte{'\n'})
}

// promises is what the service has said and has to keep. Several may add to it at once.
type promises struct {
	mu        sync.Mutex
	completed map[operation]int                           // operations shown as completed, with their attempts then
	final     map[stint.ExecutionID]stint.ExecutionStatus // statuses that do not change again
	versions  map[stint.ExecutionID]uint64                // the latest version shown
	keys      map[string]stint.ExecutionID                // acknowledged submissions
}

// brokenPromise is what no fault excuses.
type brokenPromise struct{ text string }

func (b *brokenPromise) Error() string { return b.text }

func broken(format string, args ...any) error {
	return &brokenPromise{text: "broken promise: " + fmt.Sprintf(format, args...)}
}

func newPromises() *promises {
	return &promises{
		completed: make(map[operation]int), final: make(map[stint.ExecutionID]stint.ExecutionStatus),
		versions: make(map[stint.ExecutionID]uint64), keys: make(map[string]stint.ExecutionID),
	}
}

// shown is what a document says that no later one takes back.
type shown struct {
	version uint64
	final   stint.ExecutionStatus
}

// before returns what was shown of an execution so far.
func (p *promises) before(id stint.ExecutionID) shown {
	p.mu.Lock()
	defer p.mu.Unlock()
	return shown{p.versions[id], p.final[id]}
}

// show asks for an execution's document and sees it. Several may do so at once.
func (p *promises) show(ctx context.Context, c *client.Client, id stint.ExecutionID) (stint.Execution, error) {
	before := p.before(id)
	x, err := c.Show(ctx, id)
	if stint.CodeOf(err) == stint.NotFound {
		return x, broken("%s is not known any more: %v", id, err)
	}
	if err == nil {
		err = p.after(&x, before)
	}
	return x, err
}

// see notes what a document says that was asked for after all others were seen, and
// reports what of it breaks a promise.
func (p *promises) see(x *stint.Execution) error { return p.after(x, p.before(x.ID)) }

// after notes what a document says, and compares it with what was shown before it
// was asked for.
func (p *promises) after(x *stint.Execution, before shown) error {
	if x.Version < before.version {
		return broken("%s is shown at version %d after version %d", x.ID, x.Version, before.version)
	}
	if before.final != "" && before.final != x.Status {
		return broken("%s is %s after it was %s", x.ID, x.Status, before.final)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.versions[x.ID] = max(p.versions[x.ID], x.Version)
	if x.Status.Final() && x.Status != stint.CompletedErrors { // which may be retried
		p.final[x.ID] = x.Status
	}
	return nil
}

// committed returns the sum of the versions of all executions.
func (p *promises) committed() (sum uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range p.versions {
		sum += v
	}
	return sum
}

// acknowledged notes that a submission under a key was answered.
func (p *promises) acknowledged(key string, id stint.ExecutionID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if was, known := p.keys[key]; known && was != id {
		return broken("key %s gave %s after it gave %s", key, id, was)
	}
	p.keys[key] = id
	return nil
}

// known returns the acknowledged submissions by their keys.
func (p *promises) known() map[string]stint.ExecutionID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.keys)
}

// seeOperations notes which operations of an execution are shown as completed.
func (p *promises) seeOperations(ctx context.Context, c *client.Client, id stint.ExecutionID) error {
	for op, err := range c.Operations(ctx, id, "", stint.OpCompleted) {
		if err != nil {
			return err
		}
		p.mu.Lock()
		if o := (operation{id, op.ID}); p.completed[o] == 0 {
			p.completed[o] = op.Attempts
		}
		p.mu.Unlock()
	}
	return nil
}

// excuse forgets that operations were shown as completed which have a reason to be
// performed once more.
func (p *promises) excuse(reason func(operation) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.completed, func(o operation, _ int) bool { return reason(o) })
}

// again returns the operations that were begun once more after they were shown as
// completed, in words.
func (p *promises) again(l *ledger) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []string
	for o, attempts := range l.attempts() {
		completed, shown := p.completed[o]
		if latest := slices.Max(attempts); shown && latest > completed {
			found = append(found, fmt.Sprintf("%s was shown as completed after attempt %d, and attempt %d was begun", o, completed, latest))
		}
	}
	slices.Sort(found)
	return found
}

// parts returns the text of the parts of an output, in order; it must be complete.
func (s *site) parts(output string) []string {
	s.t.Helper()
	if _, err := os.Stat(filepath.Join(output, "_SUCCESS")); err != nil {
		s.t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(output, "part-*"))
	if err != nil {
		s.t.Fatal(err)
	}
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = s.read(name)
	}
	return texts
}

// sorted returns the lines of texts in bytewise order.
func sorted(texts ...string) string {
	lines := slices.Sorted(strings.Lines(strings.Join(texts, "")))
	return strings.Join(lines, "")
}

// checkSorted checks that an output consists of exactly these lines, in any order.
func (s *site) checkSorted(output, want string) {
	s.t.Helper()
	if diff := cmp.Diff(want, sorted(s.parts(output)...)); diff != "" {
		s.t.Errorf("%s (-want +got):\n%s", output, diff)
	}
}
