package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/client"
)

// service returns a client of the test's service.
func (h *home) service() *client.Client {
	h.t.Helper()
	var known struct {
		Address string `json:"address"`
		Token   string `json:"token"`
		CA      string `json:"ca_pem"`
	}
	if err := json.Unmarshal([]byte(h.read(filepath.Join(h.data, "credentials"))), &known); err != nil {
		h.t.Fatal(err)
	}
	c, err := client.New(client.Config{URL: known.Address, Token: known.Token, CA: []byte(known.CA)})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(c.Close)
	return c
}

// graph is an execution of a program with every kind of edge. Pairs of a key and a
// number are summed by key; the sums are joined with the pairs that they were made
// of, beside a list of all pairs of one key; what comes of each operation of the join
// is marked, and then put together. Every operation tells of its performance.
type graph struct {
	*home
	request stint.Request
	want    string // sorted
}

const graphPairs = 240

func newGraph(t *testing.T) *graph {
	t.Helper()
	g := &graph{home: newHome(t)}
	var lines strings.Builder
	sums, listed := make(map[int]int), 0
	for i := range graphPairs {
		fmt.Fprintf(&lines, "k%02d\t%07d\n", i%17, i) // twelve bytes each
		sums[i%17] += i
		if i%17 == 3 {
			listed++
		}
	}
	var want []string
	for i := range graphPairs {
		want = append(want, fmt.Sprintf("k%02d %07d of %d beside %d!\n", i%17, i, sums[i%17], listed))
	}
	slices.Sort(want)
	g.want = strings.Join(want, "")

	input := stint.Edge{Kind: stint.FromInput}
	shuffle := func(from string) stint.Edge { return stint.Edge{Kind: stint.Shuffle, From: from, Partitions: 5} }
	g.request = stint.Request{
		Inputs: []string{g.write("in.txt", lines.String())}, Output: g.path("out"), SubsetSize: 120,
		Program: stint.Program{Name: "graph", Stages: []stint.Stage{
			{Name: "pairs", Action: g.step("cat"), Input: input},
			{Name: "list", Action: g.step("sed", "-n", "/^k03/p"), Input: input},
			{Name: "sum", Action: g.step("awk", `$1 != k { if (k != "") print k "\t" s; k = $1; s = 0 } { s += $2 } END { if (k != "") print k "\t" s }`), Input: shuffle("pairs")},
			{
				Name: "join", Action: g.step("sh", "-c", `[ "$(cat list)" = "$(cat "$STINT_BROADCAST_LIST")" ] && exec awk -v n="$(wc -l < list)" '$1 != k { k = $1; s = $2; next } { print $1 " " $2 " of " s " beside " n }'`),
				Input: shuffle("sum"), Beside: []stint.Edge{shuffle("pairs"), {Kind: stint.Broadcast, From: "list"}},
			},
			{Name: "mark", Action: g.step("sed", "s/$/!/"), Input: stint.Edge{Kind: stint.OneToOne, From: "join"}},
			{Name: "all", Action: g.step("cat"), Input: stint.Edge{Kind: stint.Gather, From: "mark"}},
		}},
	}
	return g
}

// step is a command that tells of its performance first and takes its time.
func (g *graph) step(command ...string) stint.Action {
	tell := fmt.Sprintf(`echo "$STINT_OPERATION" >> '%s'; sleep 0.05; exec "$0" "$@"`, g.path("performed"))
	return stint.Action{Command: append([]string{"sh", "-c", tell}, command...)}
}

// performed counts how often operations of a stage were performed.
func (g *graph) performed(stage string) map[string]int {
	g.t.Helper()
	b, err := os.ReadFile(g.path("performed"))
	if err != nil && !os.IsNotExist(err) {
		g.t.Fatal(err)
	}
	found := make(map[string]int)
	for op := range strings.FieldsSeq(string(b)) {
		if strings.HasPrefix(op, stage+"/") {
			found[op]++
		}
	}
	return found
}

func (g *graph) submit() string {
	g.t.Helper()
	x, err := g.service().Submit(g.t.Context(), g.request)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(x.ID)
}

// check waits for the end and checks the output, and that no more than so many
// operations were performed a second time.
func (g *graph) check(id string, again int) {
	g.t.Helper()
	if r := g.stint("show", id, "--watch"); r.code != 0 {
		g.t.Fatalf("show: exit code %d\n%s", r.code, r.err)
	}
	parts := g.parts(g.path("out"))
	if len(parts) != 1 {
		g.t.Errorf("%d parts, want 1", len(parts))
	}
	if diff := cmp.Diff(g.want, sorted(parts...)); diff != "" {
		g.t.Error(diff)
	}
	for stage, want := range map[string]int{"pairs": 24, "list": 24, "sum": 5, "join": 5, "mark": 5, "all": 1} {
		if counts := g.performed(stage); len(counts) != want || total(counts) > want+again {
			g.t.Errorf("stage %s: %d operations performed %d times, want %d and at most %d more: %v", stage, len(counts), total(counts), want, again, counts)
		}
	}
}

func TestAGraphOfStagesComputesWhatItSays(t *testing.T) {
	t.Parallel()
	g := newGraph(t)
	g.up(3)
	g.check(g.submit(), 0)
	once := strings.Join(g.parts(g.path("out")), "")

	// On one node it is the same, to the byte.
	other := newGraph(t)
	other.up(1)
	other.check(other.submit(), 0)
	if diff := cmp.Diff(once, strings.Join(other.parts(other.path("out")), "")); diff != "" {
		t.Errorf("it depends on the nodes: %s", diff)
	}
}

func TestAGraphSurvivesAgentsThatAreKilled(t *testing.T) {
	t.Parallel()
	g := newGraph(t)
	g.up(3)
	id := g.submit()
	for i, stage := range []string{"pairs", "join"} {
		g.wait("stage "+stage, func() bool { return total(g.performed(stage)) >= 2 })
		g.kill(fmt.Sprintf("stint agent --data %s/agents/%d ", g.data, i+1))
	}
	g.check(id, 2) // one in progress on each node that was killed
}

func TestAGraphIsSuspendedAndResumedWithFewerAgents(t *testing.T) {
	t.Parallel()
	g := newGraph(t)
	g.request.Program.Stages[5].Action = g.step("sh", "-c", g.gate()+"exec cat") // what has ended is not suspended
	up := g.up(3)
	id := g.submit()
	for i, stage := range []string{"list", "join"} {
		g.wait("stage "+stage, func() bool { return total(g.performed(stage)) >= 1 })
		g.ok("suspend", id)
		g.killAll(up)
		if err := os.RemoveAll(filepath.Join(g.data, "agents")); err != nil {
			t.Fatal(err)
		}
		up = g.up(2 - i)
		g.ok("resume", id, "--detach")
	}
	g.open()
	g.check(id, 3+2) // at most one in progress on each node
}

func TestAStageThatNoNodeHasRoomForIsRefused(t *testing.T) {
	t.Parallel()
	g := newGraph(t)
	g.up(1)
	g.request.Program.Stages[2].Resources = stint.Resources{Slots: 7}
	_, err := g.service().Submit(t.Context(), g.request)
	if stint.CodeOf(err) != stint.Conflict {
		t.Fatal(err)
	}
	contains(t, err.Error(), "cannot_place: stage sum needs 7 slots; largest node 1")
	g.request.Program.Stages[2].Resources = stint.Resources{Memory: 1 << 50}
	_, err = g.service().Submit(t.Context(), g.request)
	if stint.CodeOf(err) != stint.Conflict {
		t.Fatal(err)
	}
	contains(t, err.Error(), "cannot_place: stage sum needs 1024 TiB; largest node ")
}
