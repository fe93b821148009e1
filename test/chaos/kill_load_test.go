package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"stint"
	"stint/client"
	"stint/internal/runner/native"
)

// shape is a kind of execution of the load: while the load is on, one of each is
// there at any time.
type shape struct {
	name    string
	request stint.Request // without key, name and output
	want    string        // lines of the output, sorted
	stops   bool          // is suspended and resumed again and again
	ends    bool          // is terminated by and by
	fails   bool          // some operations fail until a file named after the execution is there
}

// task is an execution of the load that has not ended, or was not acknowledged.
type task struct {
	*shape
	key    string
	id     stint.ExecutionID // empty: not acknowledged
	ending bool              // somebody has asked for its end
}

// load keeps executions of every shape in progress on one service, and looks at
// whatever the service says of them.
type load struct {
	*site
	*promises
	random *rand.Rand
	ledger *ledger
	shapes []*shape
	asked  atomic.Int64 // submissions begun, each under a key of its own
	ended  atomic.Int64 // executions that have ended

	mu     sync.Mutex
	client *client.Client
	tasks  []*task
}

const callPatience = 10 * time.Second // of one call; a server that is killed may never answer it

// newLoad prepares the input and the programs of every shape.
func newLoad(s *site, r *rand.Rand) *load {
	s.t.Helper()
	l := &load{site: s, promises: newPromises(), random: r, ledger: s.ledger()}
	l.shapes = []*shape{l.wordcount(), l.streaming("streaming", 1), l.streaming("replicated", 2), l.graph(), l.small("small"), l.small("more"), l.stopping(), l.failing("failing"), l.failing("broken"), l.ending()}
	return l
}

const (
	loadKeys  = 11
	loadLines = 48
)

// pairs writes lines of a key and a number, each of twelve bytes, and returns them.
func (l *load) pairs(name string) (path string, lines []string) {
	l.t.Helper()
	for i := range loadLines {
		lines = append(lines, fmt.Sprintf("k%02d\t%07d\n", i%loadKeys, i))
	}
	return l.write(name, strings.Join(lines, "")), lines
}

func (l *load) wordcount() *shape {
	l.t.Helper()
	program, err := native.Program("wordcount", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	var text, want strings.Builder
	const repeats = 300
	words := []string{"ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "oak"}
	for range repeats {
		text.WriteString(strings.Join(words, " ") + "\n")
	}
	for _, w := range words {
		fmt.Fprintf(&want, "%s\t%d\n", w, repeats)
	}
	in := l.write("words.txt", text.String())
	return &shape{name: "wordcount", want: want.String(), request: stint.Request{Program: program, Inputs: []string{in}, SubsetSize: 1 << 10, Partitions: 3}}
}

// mapReduce is a program of two stages of commands.
func mapReduce(name string, mapper, reducer stint.Action) stint.Program {
	return stint.Program{Name: name, Stages: []stint.Stage{
		{Name: "map", Action: mapper, Input: stint.Edge{Kind: stint.FromInput}},
		{Name: "reduce", Action: reducer, Input: stint.Edge{Kind: stint.Shuffle, From: "map", Partitions: 2}},
	}}
}

// streaming leaves out some lines: those of its first operation, which has no output.
func (l *load) streaming(name string, replication int) *shape {
	in, lines := l.pairs(name + ".txt")
	l.write(name+".txt", strings.Repeat("# left out.\n", 3)+l.read(in))
	return &shape{name: name, want: sorted(lines...), request: stint.Request{
		Program: mapReduce(name, l.ledger.step("0.02", "sed", "/^#/d"), l.ledger.step("0.02", "cat")),
		Inputs:  []string{in}, SubsetSize: 36, Replication: replication,
	}}
}

// stopping saves a part of what it does as it goes along.
func (l *load) stopping() *shape {
	s := l.streaming("stopping", 1)
	s.stops = true
	s.request.Save = stint.SaveContinuous
	return s
}

// ending is terminated at some time, unless it has completed before.
func (l *load) ending() *shape {
	s := l.streaming("ending", 1)
	s.ends = true
	return s
}

// failing completes with errors, until it is mended and retried.
func (l *load) failing(name string) *shape {
	in, lines := l.pairs(name + ".txt")
	mended := `'` + l.path("mended") + `'/"$STINT_EXECUTION"`
	picky := l.ledger.step("0.01", "sh", "-c", `case "$STINT_OPERATION" in */0) [ -e `+mended+` ] || exit 3;; esac; exec cat`)
	yes := true
	return &shape{name: name, want: sorted(lines...), fails: true, request: stint.Request{
		Program: mapReduce(name, picky, l.ledger.step("0.01", "cat")),
		Inputs:  []string{in}, SubsetSize: 72, Attempts: 3, Backoff: 1, CompleteErrors: &yes,
	}}
}

// graph is a program with every kind of edge: pairs are summed by key, the sums are
// joined with the pairs that they were made of, beside a list of all pairs of one
// key, and what comes of it is marked and put together.
func (l *load) graph() *shape {
	in, lines := l.pairs("graph.txt")
	sums, listed := make(map[int]int), 0
	for i := range lines {
		sums[i%loadKeys] += i
		if i%loadKeys == 3 {
			listed++
		}
	}
	var want []string
	for i := range lines {
		want = append(want, fmt.Sprintf("k%02d %07d of %d beside %d!\n", i%loadKeys, i, sums[i%loadKeys], listed))
	}
	const sum = `$1 != k { if (k != "") print k "\t" s; k = $1; s = 0 } { s += $2 } END { if (k != "") print k "\t" s }`
	const join = `[ "$(cat list)" = "$(cat "$STINT_BROADCAST_LIST")" ] && exec awk -v n="$(wc -l < list)" '$1 != k { k = $1; s = $2; next } { print $1 " " $2 " of " s " beside " n }'`
	input := stint.Edge{Kind: stint.FromInput}
	shuffle := func(from string) stint.Edge { return stint.Edge{Kind: stint.Shuffle, From: from, Partitions: 3} }
	step := func(command ...string) stint.Action { return l.ledger.step("0.01", command...) }
	return &shape{name: "graph", want: sorted(want...), request: stint.Request{
		Inputs: []string{in}, SubsetSize: 120,
		Program: stint.Program{Name: "graph", Stages: []stint.Stage{
			{Name: "pairs", Action: step("cat"), Input: input},
			{Name: "list", Action: step("sed", "-n", "/^k03/p"), Input: input},
			{Name: "sum", Action: step("awk", sum), Input: shuffle("pairs")},
			{Name: "join", Action: step("sh", "-c", join), Input: shuffle("sum"), Beside: []stint.Edge{shuffle("pairs"), {Kind: stint.Broadcast, From: "list"}}},
			{Name: "mark", Action: step("sed", "s/$/!/"), Input: stint.Edge{Kind: stint.OneToOne, From: "join"}},
			{Name: "all", Action: step("cat"), Input: stint.Edge{Kind: stint.Gather, From: "mark"}},
		}},
	}}
}

// small is a short execution, of which very many are submitted.
func (l *load) small(name string) *shape {
	return &shape{name: name, want: "1\n2\n3\n", request: stint.Request{
		Program: stint.Program{Name: name, Stages: []stint.Stage{{Name: "map", Action: l.ledger.step("0", "cat"), Input: stint.Edge{Kind: stint.FromInput}}}},
		Inputs:  []string{"range:1..3"}, SubsetSize: 2, Replication: 1,
	}}
}

// disconnect has the next call use what the credentials say by then.
func (l *load) disconnect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.client = nil
}

func (l *load) connected() (*client.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		return l.client, nil
	}
	c, err := l.service()
	if err == nil {
		l.client = c
	}
	return l.client, err
}

// call makes one call; that it fails is no fault while processes are killed.
func (l *load) call(ctx context.Context, do func(context.Context, *client.Client) error) bool {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	c, err := l.connected()
	if err == nil {
		err = do(ctx, c)
	}
	if err == nil {
		return true
	}
	if _, broken := errors.AsType[*brokenPromise](err); broken {
		l.t.Error(err)
	}
	l.disconnect()
	return false
}

// keepBusy submits, looks at, suspends, resumes, retries and ends executions until
// the load is to be laid down, and then until every execution has ended.
func (l *load) keepBusy(ctx context.Context, down <-chan struct{}) {
	for _, s := range l.shapes {
		l.add(s)
	}
	tick := time.NewTicker(15 * time.Millisecond)
	defer tick.Stop()
	for {
		last := false
		select {
		case <-down:
			last = true
		default:
		}
		open := 0
		for _, t := range l.open() {
			if l.tend(ctx, t, last) {
				open++
			} else {
				l.remove(t)
				if !last {
					l.add(t.shape)
				}
			}
		}
		if last && open == 0 && len(l.open()) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (l *load) open() []*task {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.tasks)
}

func (l *load) add(s *shape) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tasks = append(l.tasks, &task{shape: s, key: fmt.Sprintf("%s-%d", s.name, l.asked.Add(1))})
}

func (l *load) remove(t *task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tasks = slices.DeleteFunc(l.tasks, func(o *task) bool { return o == t })
}

// tend takes a task one step further and reports whether it goes on. The last tasks are
// not stopped any more: with few of them that would be on and on.
func (l *load) tend(ctx context.Context, t *task, last bool) bool {
	if t.id == "" {
		l.submit(ctx, t)
		return true
	}
	x, ok := l.look(ctx, t)
	if !ok {
		return true
	}
	switch {
	case t.fails && x.Status == stint.CompletedErrors:
		l.mend(ctx, t)
	case x.Status.Final():
		return !l.settle(t, x)
	case x.Status == stint.Suspended:
		l.call(ctx, func(ctx context.Context, c *client.Client) error {
			_, err := c.Resume(ctx, t.id, stint.ResumeRequest{Nodes: l.random.IntN(3)})
			return err
		})
	case t.stops && !last && x.Status == stint.InProgress && l.random.IntN(8) == 0:
		l.call(ctx, func(ctx context.Context, c *client.Client) error {
			grace := []float64{0, 0.05, 5}[l.random.IntN(3)]
			_, err := c.Suspend(ctx, t.id, stint.SuspendRequest{Grace: &grace})
			return err
		})
	case t.ends && !t.ending && l.random.IntN(20) == 0:
		t.ending = true // it may have come to be, whatever the answer is
		l.call(ctx, func(ctx context.Context, c *client.Client) error {
			_, err := c.Terminate(ctx, t.id)
			return err
		})
	}
	return true
}

func (l *load) submit(ctx context.Context, t *task) {
	request := t.request
	request.Key, request.Name, request.Output = t.key, t.key, l.output(t.key)
	l.call(ctx, func(ctx context.Context, c *client.Client) error {
		x, err := c.Submit(ctx, request)
		if err != nil {
			return err
		}
		l.mu.Lock()
		t.id = x.ID
		l.mu.Unlock()
		return l.acknowledged(t.key, x.ID)
	})
}

func (l *load) output(key string) string { return l.path("out/" + key) }

// look shows an execution, and now and then its operations, and compares both with
// what was shown before.
func (l *load) look(ctx context.Context, t *task) (x stint.Execution, ok bool) {
	return x, l.call(ctx, func(ctx context.Context, c *client.Client) (err error) {
		if x, err = l.show(ctx, c, t.id); err != nil {
			return err
		}
		if x.Operations.Completed > 0 && !x.Status.Final() && l.random.IntN(4) == 0 {
			return l.seeOperations(ctx, c, t.id)
		}
		return nil
	})
}

// mend removes what an execution fails of and retries it.
func (l *load) mend(ctx context.Context, t *task) {
	l.write(filepath.Join("mended", string(t.id)), "")
	l.excuse(func(o operation) bool { return o.execution == t.id && !strings.HasPrefix(string(o.id), "map/") }) // they did without what failed
	l.call(ctx, func(ctx context.Context, c *client.Client) error {
		_, err := c.Retry(ctx, t.id)
		return err
	})
}

// settle looks at what an execution that has ended has left, unless something of a
// submission that was never recorded is still to be removed from there.
func (l *load) settle(t *task, x stint.Execution) bool {
	output := l.output(t.key)
	others, err := filepath.Glob(filepath.Join(output, "_stint", "x-*"))
	if err != nil {
		l.t.Error(err)
	}
	if len(others) > 0 && !slices.Contains(others, filepath.Join(output, "_stint", string(t.id))) {
		return false
	}
	l.ended.Add(1)
	switch {
	case x.Status == stint.Terminated && t.ending:
		if entries, err := os.ReadDir(output); err == nil && len(entries) == 1 && entries[0].Name() == "_stint" {
			l.ended.Add(-1)
			return false // a submission has come since
		} else if !errors.Is(err, os.ErrNotExist) {
			l.t.Errorf("%s %s is terminated and has left %s, %v", t.key, t.id, l.tree(output), err)
		}
		return true
	case x.Status != stint.Completed:
		l.t.Errorf("%s %s is %s: %s", t.key, t.id, x.Status, x.Reason())
		return true
	}
	entries, err := os.ReadDir(output)
	if err == nil {
		err = l.checkOutput(t, output, entries)
	}
	if err != nil {
		l.t.Errorf("%s %s: %v", t.key, t.id, err)
	}
	return true
}

// checkOutput checks an output, which is complete and has these entries, and removes it.
func (l *load) checkOutput(t *task, output string, entries []fs.DirEntry) error {
	var texts []string
	complete := false
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(output, e.Name()))
		if err != nil {
			return fmt.Errorf("%w; it holds %s", err, l.tree(output))
		}
		switch name := e.Name(); {
		case strings.HasPrefix(name, "part-"):
			texts = append(texts, string(b))
		case name == "_SUCCESS":
			complete = true
		case name != "_manifest.json":
			return fmt.Errorf("left in the output: %s", name)
		}
	}
	if got := sorted(texts...); got != t.want || !complete {
		return fmt.Errorf("the output is\n%s\nwant\n%s\nit holds %s", got, t.want, l.tree(output))
	}
	away := output + ".seen" // at once: a call that comes late finds all of it or nothing
	if err := os.Rename(output, away); err != nil {
		return err
	}
	return os.RemoveAll(away)
}

// tree lists what lies below a folder.
func (*load) tree(dir string) string {
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		found = append(found, path[len(dir):])
		return err
	})
	return fmt.Sprint(found, err)
}

// sweep looks at every execution that is open and returns the sum of the versions
// of all: whatever is committed makes it larger.
func (l *load) sweep(ctx context.Context) uint64 {
	for _, id := range l.ids() {
		l.call(ctx, func(ctx context.Context, c *client.Client) error {
			_, err := l.show(ctx, c, id)
			return err
		})
	}
	return l.committed()
}

// ids returns the executions that are open.
func (l *load) ids() []stint.ExecutionID {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []stint.ExecutionID
	for _, t := range l.tasks {
		if t.id != "" {
			ids = append(ids, t.id)
		}
	}
	return ids
}
