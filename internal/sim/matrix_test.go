package sim

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"stint"
)

var updateMatrix = flag.Bool("update", false, "write docs/fault-matrix.md")

// positions is at how many passings of its phase a fault is placed.
const positions = 8

// matrixRow is a phase of the fault matrix. The letters are those of its columns.
type matrixRow struct {
	title   string
	phase   phase  // empty: it is not in the simulation
	scene   string // in which it is passed
	letters string
}

// matrixColumns are the faults of the matrix.
func matrixColumns() []struct{ code, name string } {
	return []struct{ code, name string }{
		{"SK", "server killed"},
		{"SP", "server paused"},
		{"LC", "leader changed"},
		{"DU", "store: outcome unknown"},
		{"DD", "store down"},
		{"AK", "agent killed"},
		{"AP", "agent paused"},
		{"AD", "agent's disk lost"},
		{"NS", "no space"},
		{"FE", "fsync fails"},
		{"BR", "bit rot"},
		{"PS", "partition"},
		{"P1", "partition one way"},
		{"MD", "message late, repeated"},
		{"OU", "storage: outcome unknown"},
		{"OD", "storage down"},
		{"CJ", "clock jumps"},
		{"OC", "operation crashes"},
		{"CR", "credential expired"},
	}
}

func matrixRows() []matrixRow {
	return []matrixRow{
		{"upload program", "", "", "r . r u w - - - f x q r r . u w . - f"},
		{"submit", submitting, "plain", "u u u u w - - - f x - u u . - - . - f"},
		{"plan and split", planning, "plain", ". . . . w - - - f x - . . - u w . - w"},
		{"place and dispatch", placing, "slow", ". . . u w . . . w x - . . . - - . - -"},
		{"start", starting, "slow", ". . . u . n r n w x - r r . - - . n r"},
		{"fetch input", fetching, "slow", ". . . . . n r n n n q r r . u w . n r"},
		{"run", performing, "slow", ". . . . . n r n n - - r r . - - . n r"},
		{"write block", writing, "slow", ". . . - - n r n n n q . . . - - . n ."},
		{"replicate", replicating, "copies", ". . . - - r r r r r q w w . - - . - r"},
		{"report done", reporting, "slow", "r r r u w n r n - - - r r . - - . - r"},
		{"journal and ack", journalling, "slow", "u u u u w - - - x x q - - - - - . - -"},
		{"serve shuffle", serving, "slow", ". . . - - r r r . . q r r . - - . - r"},
		{"stage output", staging, "slow", ". . . . . r r r n n q r r . u w . - r"},
		{"commit output", committing, "plain", "u u u u w - - - - - q - - - u w . - w"},
		{"cancel", cancelling, "terminate", "r r r u w . r . . . - r r . - - . . f"},
		{"suspend: collect", saving, "suspend", "r r r u w r r n r r q r r . u w . n w"},
		{"suspended", suspended, "suspend", ". . . . . . . . . - q . . - - . - . -"},
		{"resume: verify", verifying, "suspend", ". . . u w - - - - - f - - . u w . - f"},
		{"resume: place", resumePlacing, "suspend", ". . . u w n r n w n q r r . u w . n w"},
		{"limits and accounting", accounting, "slow", ". . . u w . . . - x - r r . - - . . -"},
		{"garbage collection", collecting, "terminate", ". . . u . . . . . . - . . . u . . - ."},
		{"node join and leave", joining, "slow", "r r r u w r r r w x - r r . - - . - f"},
		{"drain", draining, "drain", "r r r u w r r r w r q w w . u w . r w"},
		{"upgrade and migrate", "", "", "r . r x w r r r x x q r r . - - . r ."},
		{"backup and restore", "", "", "r r r u w . . . f x q . . - u w . . f"},
	}
}

// TestFaultMatrix places every fault in every phase, and nothing else, and compares what
// was covered with docs/fault-matrix.md.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	m := &matrix{passed: passings(t), counts: make(map[string]int)}
	var b strings.Builder
	for _, row := range matrixRows() {
		letters := strings.Fields(row.letters)
		if len(letters) != len(matrixColumns()) {
			t.Fatalf("%s has %d letters", row.title, len(letters))
		}
		fmt.Fprintf(&b, "| %s |", row.title)
		for i, col := range matrixColumns() {
			fmt.Fprintf(&b, " %s |", m.cell(t, &row, col.code, letters[i]))
		}
		b.WriteString("\n")
	}
	t.Logf("%d runs, in %d of which the fault came; %v", m.runs, m.struck, m.counts)
	if !raced { // at so few positions not all come
		compareDocument(t, m.document(b.String()))
	}
}

// matrix is what was found out of the cells so far.
type matrix struct {
	passed       map[string][]map[phase]int // by scene and seed
	runs, struck int
	counts       map[string]int // of cells, by how they are covered
	notes        notes
}

// cell places a fault in a phase as often as there are positions, and returns what the
// document says of it.
func (m *matrix) cell(t *testing.T, row *matrixRow, code, letter string) string {
	t.Helper()
	if letter == "-" {
		return ""
	}
	m.counts["that apply"]++
	struck, shown := 0, false
	if row.phase != "" && canStrike(code, row.phase) {
		for seed := range every() {
			m.runs++
			if r := placeOnce(t, row, code, letter, uint64(seed), m.passed[row.scene][seed][row.phase]); r.placed > 0 {
				struck++
				shown = shown || shows(code, letter, &r)
			}
		}
	}
	if struck > 0 && !shown && !raced {
		t.Errorf("%s, %s: none of %d runs shows what %q stands for", row.title, code, struck, letter)
	}
	m.struck += struck
	if struck > 0 {
		m.counts["covered here"]++
		return letter + " ✓"
	}
	note := m.notes.of(row.title, code)
	if note == "" {
		m.counts["not covered"]++
		return letter + " –"
	}
	if n, _ := strconv.Atoi(note); strings.HasPrefix(m.notes.texts[n-1], "`") {
		m.counts["covered by tests of the real thing"]++
	} else {
		m.counts["of which there is nothing to cover"]++
	}
	return letter + " " + note
}

// every is at how many positions a fault is placed: few under the race detector, which
// has nothing to see here.
func every() int {
	if raced {
		return 1
	}
	return positions
}

func canStrike(code string, p phase) bool {
	return slices.ContainsFunc(strikes(), func(s strike) bool { return s.code == code && !slices.Contains(s.missing, p) })
}

// passings performs every scene without a fault, once for each seed, and counts how often
// each phase is passed.
func passings(t *testing.T) map[string][]map[phase]int {
	t.Helper()
	out := make(map[string][]map[phase]int)
	for _, sc := range scenes() {
		for seed := range positions {
			r := simulate(schedule{seed: uint64(seed), chosen: true, scene: sc.name})
			if r.err != nil {
				t.Fatalf("scene %s, seed %d, without a fault: law %v", sc.name, seed, r.err)
			}
			out[sc.name] = append(out[sc.name], r.passed)
		}
	}
	return out
}

// placeOnce places a fault once, at a position that follows from the seed.
func placeOnce(t *testing.T, row *matrixRow, code, letter string, seed uint64, passed int) result {
	t.Helper()
	if passed == 0 {
		return result{}
	}
	nth := 1 + int(seed)*(passed-1)/(positions-1)
	s := schedule{seed: seed, chosen: true, scene: row.scene, at: []placement{{row.phase, nth, code}}}
	r := simulate(s)
	if r.err != nil {
		t.Errorf("%s, %s: law %v\n\t%s", row.title, code, r.err, s.command())
	} else if text := judge(row, letter, &s, &r); text != "" && r.placed > 0 {
		t.Errorf("%s, %s, %q: %s\n\t%s", row.title, code, letter, text, s.command())
	}
	return r
}

// shows reports whether that is to be seen in a run which a letter stands for, where it
// stands for more than that the run goes on.
func shows(code, letter string, r *result) bool {
	switch letter {
	case "n":
		return r.scene.begun > r.scene.operations || r.scene.reasons > 0 // what had not begun was no attempt
	case "q":
		return r.counters[badCopyFound] > 0
	case "f":
		return r.counters[verifyRefused] > 0 || code != "BR"
	}
	return true
}

// judge says in what a run is not what its letter says, as far as a run shows that.
func judge(row *matrixRow, letter string, s *schedule, r *result) string {
	e := &r.scene
	switch ended := e.status; {
	case row.scene == "terminate" && (ended == stint.Terminated || ended == stint.Completed):
	case ended != stint.Completed:
		return fmt.Sprintf("it is %s", ended)
	}
	quiet := row.scene == "plain" || row.scene == "slow" || row.scene == "copies"
	again := e.begun - e.operations
	switch {
	case again > 0 && e.reasons == 0 && quiet:
		return fmt.Sprintf("%d attempts more than operations, and no record says why", again)
	case (letter == "." || letter == "r" || letter == "u" || letter == "w") && again > 0 && quiet && s.short() && !repeats(s.at[0].fault):
		return fmt.Sprintf("%d attempts more than operations", again)
	}
	return ""
}

// repeats reports whether a fault takes attempts with it wherever it comes: the node
// that it hits has something in progress beside the phase.
func repeats(code string) bool {
	return slices.Contains([]string{"AK", "AD", "OC", "NS", "BR", "FE"}, code)
}

// documentPath is where the matrix is written down.
func documentPath() string { return filepath.Join("..", "..", "docs", "fault-matrix.md") }

// document is what is written down of the matrix.
func (m *matrix) document(table string) string {
	var b strings.Builder
	b.WriteString("\n| |")
	for _, c := range matrixColumns() {
		fmt.Fprintf(&b, " %s |", c.code)
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(matrixColumns())) + "\n" + table + "\n")
	for _, kind := range sortedKeys(m.counts) {
		fmt.Fprintf(&b, "Cells %s: %d. ", kind, m.counts[kind])
	}
	b.WriteString("\n\n")
	for i, c := range matrixColumns() {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %s", c.code, c.name)
	}
	b.WriteString(".\n\n")
	for i, text := range m.notes.texts {
		fmt.Fprintf(&b, "%d. %s\n", i+1, text)
	}
	return b.String() + "\n"
}

// compareDocument compares what is written down with what was run, or writes it down.
func compareDocument(t *testing.T, matrix string) {
	t.Helper()
	text, err := os.ReadFile(documentPath())
	if err != nil {
		t.Fatal(err)
	}
	const from, to = "<!-- matrix -->\n", "<!-- end -->"
	before, rest, _ := strings.Cut(string(text), from)
	_, after, found := strings.Cut(rest, to)
	if !found {
		t.Fatalf("%s has no %q and %q", documentPath(), from, to)
	}
	want := before + from + matrix + to + after
	switch {
	case want == string(text):
	case *updateMatrix:
		if err := os.WriteFile(documentPath(), []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what was run; -update writes it:\n%s", documentPath(), matrix)
	}
}
