package e2e

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

// What a program does about its input, as $FAULT says, until $NOTES.mended is there:
//
//	record  it fails on the record whose value is x
//	crash   it is killed when it reads that record
//	always  it fails in operation $FAILING, whatever it reads
//	twice   it fails in the first two attempts of operation $FAILING
//	signal  it is killed in operation $FAILING
//
// It notes every performance of an operation in $NOTES; trials of the search for bad
// records are none.
const (
	faultyShell = `[ -n "$STINT_TRIAL" ] || echo "$STINT_OPERATION" >>"$NOTES"
[ -e "$NOTES.mended" ] && exec cat
if [ "$STINT_OPERATION" = "$FAILING" ]; then
	case "$FAULT" in
	always) echo nothing works >&2; exit 4 ;;
	twice) [ "$STINT_ATTEMPT" -gt 2 ] || exit 5 ;;
	signal) kill -9 $$ ;;
	esac
fi
while IFS= read -r line; do
	case "$FAULT $line" in
	record*x) echo "cannot add ${line#?}" >&2; exit 3 ;;
	crash*x) kill -9 $$ ;;
	esac
	printf '%s\n' "$line"
done
`
	faultyPython = `import os, signal, stint

notes, fault = os.environ["NOTES"], os.environ["FAULT"]

def work(ctx, line, emit):
    mended = os.path.exists(notes + ".mended")
    if ctx.record == 0:
        with open(notes, "a") as f:
            f.write(ctx.operation + "\n")
        if ctx.operation == os.environ["FAILING"] and not mended:
            if fault == "always" or fault == "twice" and ctx.attempt <= 2:
                raise stint.Fatal("nothing works")
            if fault == "signal":
                os.kill(os.getpid(), signal.SIGKILL)
    for one in line.splitlines():  # a whole file has several
        key, value = one.split("\t")
        if value == "x" and not mended:
            if fault == "record":
                raise ValueError("cannot add " + value)
            if fault == "crash":
                os.kill(os.getpid(), signal.SIGKILL)
        emit(key, value)

stint.main({"work": stint.Stage(map=work)})
`
)

// faulty are programs that leave their records as they are, and have four operations
// of two records, or two operations behind a shuffle. Of the records a to h, e is the
// one with the value x; acdg and the like come to one partition, bdfh to the other.
var faulty = map[string]string{
	"lines":  "  - {name: work, command: [sh, work.sh], input: {lines: 2}}\n",
	"keys":   "  - {name: read, native: identity, input: {lines: 2}}\n  - {name: work, command: [sh, work.sh], input: {from: read, shuffle: key, partitions: 2}}\n",
	"native": "  - {name: read, native: identity, input: {lines: 2}}\n  - {name: work, native: sum, input: {from: read, shuffle: key, partitions: 2}}\n",
	"sdk":    "  - {name: work, sdk: [python3, work.py], input: {lines: 2}}\n",
}

const faultyInput = "a\t1\nb\t2\nc\t3\nd\t4\ne\tx\nf\t6\ng\t7\nh\t8\n"

// policy is what becomes of errors, as flags say it and as a manifest does.
type policy struct{ flags, manifest string }

// Of eight records one is 12.5 %.
var policies = map[string]policy{
	"default":       {"", "{}"},
	"once":          {"--attempts 1", "{attempts: 1}"},
	"skip":          {"--attempts 2 --skip-bad-records 12.5%", "{attempts: 2, skip_bad_records: 12.5%}"},
	"skip few":      {"--attempts 2 --skip-bad-records 12.4%", "{attempts: 2, skip_bad_records: 12.4%}"},
	"complete":      {"--attempts 2 --complete-as-much-as-possible", "{attempts: 2, complete_as_much_as_possible: true}"},
	"both":          {"--attempts 2 --skip-bad-records 12.5% --complete-as-much-as-possible", "{attempts: 2, skip_bad_records: 12.5%, complete_as_much_as_possible: true}"},
	"both, too few": {"--attempts 2 --skip-bad-records 1% --complete-as-much-as-possible", "{attempts: 2, skip_bad_records: 1%, complete_as_much_as_possible: true}"},
}

// policyRow is a program, what is wrong, a policy, and what comes of it.
type policyRow struct {
	program, fault, policy string
	code                   int
	keys                   string // of the records in the output; empty: no output
	bad                    int64  // records left out
	performed              int    // how often the failing operation was; a second time in one attempt where records are found by trials
	failed                 int64  // attempts
	says                   string // in the cause of those, or in the execution's error
}

const (
	tooMany = "bad_records: stage work: 1 of 8 records, at most "
	notSum  = `sum: the value "x" of key "e"`
)

var policyRows = []policyRow{
	{"lines", "record", "default", 1, "", 0, 4, 4, "exit 3"},
	{"lines", "record", "once", 1, "", 0, 1, 1, "exit 3"},
	{"lines", "record", "skip", 0, "abcdfgh", 1, 2, 0, ""},
	{"lines", "record", "skip few", 1, "", 1, 2, 0, tooMany + "12.4 %"},
	{"lines", "record", "complete", 3, "abcdgh", 0, 2, 2, "exit 3"},
	{"lines", "record", "both", 0, "abcdfgh", 1, 2, 0, ""},
	{"lines", "record", "both, too few", 3, "abcdfgh", 1, 2, 0, tooMany + "1 %"},
	{"keys", "record", "default", 1, "", 0, 4, 4, "exit 3"},
	{"keys", "record", "once", 1, "", 0, 1, 1, "exit 3"},
	{"keys", "record", "skip", 0, "abcdfgh", 1, 2, 0, ""},
	{"keys", "record", "skip few", 1, "", 1, 2, 0, tooMany + "12.4 %"},
	{"keys", "record", "complete", 3, "bdfh", 0, 2, 2, "exit 3"},
	{"keys", "record", "both, too few", 3, "abcdfgh", 1, 2, 0, tooMany + "1 %"},
	{"native", "record", "default", 1, "", 0, 4, 4, notSum},
	{"native", "record", "once", 1, "", 0, 1, 1, notSum},
	{"native", "record", "skip", 0, "abcdfgh", 1, 1, 0, ""},
	{"native", "record", "skip few", 1, "", 1, 1, 0, tooMany + "12.4 %"},
	{"native", "record", "complete", 3, "bdfh", 0, 2, 2, notSum},
	{"native", "record", "both, too few", 3, "abcdfgh", 1, 1, 0, tooMany + "1 %"},
	{"sdk", "record", "default", 1, "", 0, 4, 4, "ValueError: cannot add x"},
	{"sdk", "record", "once", 1, "", 0, 1, 1, "ValueError: cannot add x"},
	{"sdk", "record", "skip", 0, "abcdfgh", 1, 1, 0, ""},
	{"sdk", "record", "skip few", 1, "", 1, 1, 0, tooMany + "12.4 %"},
	{"sdk", "record", "complete", 3, "abcdgh", 0, 2, 2, "ValueError: cannot add x"},
	{"sdk", "record", "both, too few", 3, "abcdfgh", 1, 1, 0, tooMany + "1 %"},

	{"lines", "crash", "once", 1, "", 0, 1, 1, "killed by SIGKILL"},
	{"lines", "crash", "skip", 0, "abcdfgh", 1, 2, 0, ""},
	{"keys", "crash", "skip", 0, "abcdfgh", 1, 2, 0, ""},
	{"sdk", "crash", "complete", 3, "abcdgh", 0, 2, 2, "killed by SIGKILL"},
	{"sdk", "crash", "both", 3, "abcdgh", 0, 2, 2, "killed by SIGKILL"}, // it could not say on which record

	{"lines", "always", "default", 1, "", 0, 4, 4, "exit 4"},
	{"lines", "always", "once", 1, "", 0, 1, 1, "exit 4"},
	{"lines", "always", "skip", 1, "", 0, 2, 2, "exit 4"}, // no record is to blame
	{"lines", "always", "complete", 3, "abcdgh", 0, 2, 2, "exit 4"},
	{"keys", "always", "default", 1, "", 0, 4, 4, "exit 4"},
	{"keys", "always", "both", 3, "bdfh", 0, 2, 2, "exit 4"},
	{"sdk", "always", "default", 1, "", 0, 4, 4, "nothing works"},
	{"sdk", "always", "both", 3, "abcdgh", 0, 2, 2, "nothing works"},

	{"lines", "twice", "default", 0, "abcdefgh", 0, 3, 2, "exit 5"},
	{"lines", "twice", "once", 1, "", 0, 1, 1, "exit 5"},
	{"lines", "twice", "complete", 3, "abcdgh", 0, 2, 2, "exit 5"},
	{"keys", "twice", "default", 0, "abcdefgh", 0, 3, 2, "exit 5"},
	{"keys", "twice", "skip", 1, "", 0, 2, 2, "exit 5"},
	{"sdk", "twice", "default", 0, "abcdefgh", 0, 3, 2, "nothing works"},

	{"lines", "signal", "default", 1, "", 0, 4, 4, "killed by SIGKILL"},
	{"lines", "signal", "both", 3, "abcdgh", 0, 2, 2, "killed by SIGKILL"},
	{"keys", "signal", "complete", 3, "bdfh", 0, 2, 2, "killed by SIGKILL"},
	{"sdk", "signal", "default", 1, "", 0, 4, 4, "killed by SIGKILL"},
	{"sdk", "signal", "complete", 3, "abcdgh", 0, 2, 2, "killed by SIGKILL"},
}

// statusOf is the status that belongs to an exit code.
var statusOf = map[int]stint.ExecutionStatus{0: stint.Completed, 1: stint.ExecutionFailed, 3: stint.CompletedErrors}

// faultyTest is a service with programs that fail.
type faultyTest struct{ *home }

func newFaultyTest(t *testing.T) faultyTest {
	t.Helper()
	f := faultyTest{newHome(t)}
	sdk := f.read("../../sdk/python/stint.py")
	for name := range faulty {
		f.program(name, name, "{backoff: 1ms}")
		if name == "sdk" {
			continue
		}
		f.write(name+"/work.sh", faultyShell)
	}
	f.write("sdk/stint.py", sdk)
	f.write("sdk/work.py", faultyPython)
	f.write("in.txt", faultyInput)
	f.up(2)
	return f
}

// program writes the manifest of a program into a folder.
func (f faultyTest) program(folder, name, onError string) {
	f.t.Helper()
	f.write(folder+"/program.yaml", "name: "+name+"\non_error: "+onError+"\nstages:\n"+faulty[name])
}

// in is the service in a test within the test.
func (f faultyTest) in(t *testing.T) faultyTest {
	t.Helper()
	h := *f.home
	h.t = t
	return faultyTest{&h}
}

// notes counts the performances of each operation, as the program noted them.
func (f faultyTest) notes(name string) map[string]int {
	f.t.Helper()
	b, err := os.ReadFile(f.path(name + ".notes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.t.Fatal(err)
	}
	counts := make(map[string]int)
	for op := range strings.FieldsSeq(string(b)) {
		counts[op]++
	}
	return counts
}

// records returns the records with those keys, with what e has of its own.
func records(keys string) string {
	var out strings.Builder
	for line := range strings.Lines(faultyInput) {
		if strings.Contains(keys, line[:1]) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// output returns the records in an output, sorted, and whether it is marked as
// complete.
func (f faultyTest) output(name string) (text string, complete bool) {
	f.t.Helper()
	parts, err := fs.Glob(os.DirFS(f.path(name)), "part-*")
	if err != nil {
		f.t.Fatal(err)
	}
	for _, part := range parts {
		text += f.read(f.path(name + "/" + part))
	}
	_, err = os.Stat(f.path(name + "/_SUCCESS"))
	return sorted(text), err == nil
}

func (r *policyRow) name() string { return r.program + ", " + r.fault + ", " + r.policy }

// failing is the operation that fails.
func (r *policyRow) failing() string {
	if r.program == "lines" || r.program == "sdk" {
		return "work/2"
	}
	return "work/0"
}

func TestFaultsUnderEveryPolicy(t *testing.T) {
	t.Parallel()
	f := newFaultyTest(t)
	for i := range policyRows {
		r := &policyRows[i]
		t.Run(r.name(), func(t *testing.T) {
			t.Parallel()
			f.in(t).check(r)
		})
	}
}

// run performs a program and returns its exit code and document.
func (f faultyTest) run(name, program, fault, failing string, flags ...string) (int, stint.Execution) {
	f.t.Helper()
	args := []string{
		"run", "./" + program, "--output", f.path(name), "--json",
		"--env", "NOTES=" + f.path(name+".notes"), "--env", "FAULT=" + fault, "--env", "FAILING=" + failing,
	}
	if !slices.Contains(flags, "--input") {
		args = append(args, "--input", f.path("in.txt"))
	}
	r := f.stint(append(args, flags...)...)
	if r.code != 0 && r.code != 1 && r.code != 3 {
		f.t.Fatalf("exit code %d: %s", r.code, r.err)
	}
	return r.code, document(f.t, r.out)
}

func (f faultyTest) check(r *policyRow) {
	f.t.Helper()
	name := strings.ReplaceAll(r.name(), ", ", "-")
	code, x := f.run(name, r.program, r.fault, r.failing(), strings.Fields(policies[r.policy].flags)...)
	f.checkEnd(r, name, code, &x)
	f.checkOutput(r, name, &x)
	f.checkLogs(r, string(x.ID))
	if len(x.Missing) > 0 && r.program == "native" {
		return // which is not to be mended
	}
	if len(x.Missing) > 0 {
		f.checkRetry(r, name, string(x.ID))
	} else if got := f.stint("retry", string(x.ID)); got.code != 2 {
		f.t.Errorf("a retry of what has nothing that failed for good: exit code %d, %s", got.code, got.err)
	}
}

// checkEnd checks what is said of the execution's end, and how often the failing
// operation was performed.
func (f faultyTest) checkEnd(r *policyRow, name string, code int, x *stint.Execution) {
	f.t.Helper()
	if code != r.code || x.Status != statusOf[r.code] {
		f.t.Errorf("exit code %d, status %s, want %d", code, x.Status, r.code)
	}
	said := ""
	if x.Error != nil {
		said = x.Error.Message
	}
	var failed int64
	for _, c := range x.Causes {
		failed += c.Attempts
		said += c.Message
	}
	if failed != r.failed || len(x.Causes) != min(int(failed), 1) {
		f.t.Errorf("causes %+v, want one of %d attempts", x.Causes, r.failed)
	}
	if !strings.Contains(said, r.says) || r.says == "" && said != "" {
		f.t.Errorf("it says %q, want %q", said, r.says)
	}
	bad := int64(0)
	for _, st := range x.Stages {
		bad += st.BadRecords
	}
	if bad != r.bad {
		f.t.Errorf("%d bad records, want %d", bad, r.bad)
	}
	if counts := f.notes(name); r.program != "native" && counts[r.failing()] != r.performed {
		f.t.Errorf("performed %v, want %s %d times", counts, r.failing(), r.performed)
	}
}

// checkOutput checks what is in the output, and that what is missing is said.
func (f faultyTest) checkOutput(r *policyRow, name string, x *stint.Execution) {
	f.t.Helper()
	text, complete := f.output(name)
	if d := cmp.Diff(records(r.keys), text); d != "" || complete != (r.code == 0) {
		f.t.Errorf("marked as complete: %v\n%s", complete, d)
	}
	missing := ""
	for _, m := range x.Missing {
		missing += string(m.Operation)
	}
	want := ""
	if r.code == 3 && r.failed > 0 {
		want = r.failing()
	}
	if missing != want {
		f.t.Errorf("missing %q, want %q", missing, want)
	}
	if r.code == 3 {
		contains(f.t, strings.ReplaceAll(f.read(f.path(name+"/_manifest.json")), `\"`, `"`), `"missing"`, want, r.says)
	}
	if r.code == 1 {
		f.wait("the end of the output's folder", func() bool {
			_, err := os.Stat(f.path(name))
			return errors.Is(err, fs.ErrNotExist)
		})
	}
}

// checkLogs checks that what failed and what was left out is found in logs and
// explained.
func (f faultyTest) checkLogs(r *policyRow, id string) {
	f.t.Helper()
	logs := func(args ...string) []stint.LogEntry {
		var l stint.Logs
		decode(f.t, f.ok(append([]string{"logs", id, "--json"}, args...)...), &l)
		return l.Entries
	}
	failed := logs("--failed")
	if int64(len(failed)) != r.failed {
		f.t.Errorf("%d failed attempts in the logs, want %d", len(failed), r.failed)
	}
	for _, e := range failed {
		if string(e.Operation) != r.failing() || e.Error == nil || !strings.Contains(e.Error.Message, r.says) {
			f.t.Errorf("%s: %v", e.Operation, e.Error)
		}
	}
	explained := f.ok("explain", id)
	if r.says != "" {
		contains(f.t, explained, r.says)
	}
	if r.bad == 0 {
		return
	}
	contains(f.t, explained, "1 records of 8 were left out", "--bad-records")
	entries := logs("--bad-records", "--search", "e")
	if len(entries) != 1 || len(entries[0].Bad) != 1 || string(entries[0].Operation) != r.failing() || !strings.HasPrefix(entries[0].Bad[0].Text, "e") {
		f.t.Errorf("bad records %+v", entries)
		return
	}
	contains(f.t, f.ok("logs", id, "--bad-records"), entries[0].Bad[0].String())
	contains(f.t, f.ok("show", id), "1 record of 8 that the program fails on; stint logs "+id+" --bad-records")
	if none := logs("--bad-records", "--search", "is in none"); len(none) > 0 {
		f.t.Errorf("found %+v", none)
	}
}

// checkRetry mends the program and checks that a retry completes the output and
// performs what failed, alone.
func (f faultyTest) checkRetry(r *policyRow, name, id string) {
	f.t.Helper()
	before := f.notes(name)
	f.write(name+".notes.mended", "")
	if x := f.execution("retry", id); x.Status != stint.Completed || len(x.Missing) > 0 {
		f.t.Errorf("retried: %s, without %v", x.Status, x.Missing)
	}
	before[r.failing()]++
	if d := cmp.Diff(before, f.notes(name)); d != "" {
		f.t.Errorf("performed in a retry: %s", d)
	}
	if text, complete := f.output(name); text != faultyInput || !complete {
		f.t.Errorf("after the retry, complete %v: %q", complete, text)
	}
}

// A manifest says what flags say, and flags go above it.
func TestManifestsSayWhatFlagsSay(t *testing.T) {
	t.Parallel()
	f := newFaultyTest(t)
	for name, p := range policies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := f.in(t)
			for i := range policyRows {
				r := &policyRows[i]
				if r.program != "lines" || r.fault != "record" || r.policy != name {
					continue
				}
				folder := strings.ReplaceAll(name, " ", "-")
				f.program("in-"+folder, "lines", strings.Replace(p.manifest, "}", ", backoff: 1ms}", 1))
				f.write("in-"+folder+"/work.sh", faultyShell)
				code, x := f.run("by-"+folder, "in-"+folder, r.fault, r.failing())
				f.checkEnd(r, "by-"+folder, code, &x)
				f.checkOutput(r, "by-"+folder, &x)

				// The contrary of what the manifest says.
				other := policyRow{"lines", "record", "", 1, "", 0, 3, 3, "exit 3"}
				code, x = f.run("over-"+folder, "in-"+folder, r.fault, r.failing(), "--attempts", "3", "--skip-bad-records", "0%", "--complete-as-much-as-possible=false")
				f.checkEnd(&other, "over-"+folder, code, &x)
				f.checkOutput(&other, "over-"+folder, &x)
			}
		})
	}
}

// What cannot be decoded fails at once under every policy: no further attempt mends
// it, and no record of it can be left out.
func TestAnObjectThatCannotBeReadUnderEveryPolicy(t *testing.T) {
	t.Parallel()
	f := newFaultyTest(t)
	for name := range faulty {
		f.write(name+"/program.yaml", strings.Replace(f.read(f.path(name+"/program.yaml")), "{lines: 2}", "{split: files}", 1))
		for policy, code := range map[string]int{"default": 1, "skip": 1, "complete": 3, "both": 3} {
			if name != "lines" && policy != "default" && policy != "both" {
				continue
			}
			t.Run(name+", "+policy, func(t *testing.T) {
				t.Parallel()
				f.in(t).checkObject(name, policy, code)
			})
		}
	}
}

func (f faultyTest) checkObject(program, policy string, code int) {
	f.t.Helper()
	in := program + "-" + policy
	f.write(in+"/a.txt", "a\t1\n")
	f.write(in+"/b.txt.gz", "b\t2\n")
	f.write(in+"/c.txt", "c\t3\n")
	run := func(name string, flags ...string) (int, stint.Execution) {
		return f.run(name, program, "none", "none", append(flags, "--input", f.path(in), "--subset-size", "1")...)
	}
	flags := strings.Fields(policies[policy].flags)
	got, x := run(in+"-out", flags...)
	if got != code || x.Status != statusOf[code] || len(x.Causes) != 1 || x.Causes[0].Attempts != 1 || !strings.HasPrefix(x.Causes[0].Message, "not_gzip: ") {
		f.t.Fatalf("exit code %d, %s, %+v", got, x.Status, x.Causes)
	}
	contains(f.t, f.ok("explain", string(x.ID)), "not_gzip: ", in+"/b.txt.gz", "expected 1f 8b")
	if code == 1 {
		return
	}
	if text, complete := f.output(in + "-out"); text != "a\t1\nc\t3\n" || complete || len(x.Missing) != 1 || x.Missing[0].Operation != x.Causes[0].First {
		f.t.Errorf("complete %v: %q, without %v", complete, text, x.Missing)
	}

	// Another object in its place is another input: what failed is not to be retried
	// with it, and what did not fail is reused by an execution that reads it.
	f.tool("sh", "-c", `gzip -nc "$1" >"$1.new" && mv "$1.new" "$1"`, "sh", f.path(in+"/b.txt.gz"))
	r := f.stint("retry", string(x.ID))
	if r.code != 3 {
		f.t.Errorf("retried with another input: exit code %d", r.code)
	}
	contains(f.t, r.err, "input changed")
	before := f.notes(in + "-out")
	got, again := run(in+"-out", append(flags, "--reuse", string(x.ID), "--overwrite")...)
	if got != 0 || again.Operations.Reused == 0 {
		f.t.Errorf("exit code %d, %d reused", got, again.Operations.Reused)
	}
	if text, complete := f.output(in + "-out"); text != "a\t1\nb\t2\nc\t3\n" || !complete {
		f.t.Errorf("complete %v: %q", complete, text)
	}
	if program == "lines" || program == "sdk" {
		before["work/1"]++
		if d := cmp.Diff(before, f.notes(in+"-out")); d != "" {
			f.t.Errorf("performed with another input: %s", d)
		}
	}
}

// An operation that failed is left alone for its back-off, and others are performed.
func TestOthersArePerformedDuringABackOff(t *testing.T) {
	t.Parallel()
	f := newFaultyTest(t)
	_, x := f.run("out", "lines", "twice", "work/2", "--backoff", "1h", "--detach")
	id := string(x.ID)
	f.wait("the others", func() bool {
		x = f.execution("show", id)
		return x.Operations.Completed == 3 && len(x.Causes) == 1
	})
	if d := cmp.Diff(map[string]int{"work/0": 1, "work/1": 1, "work/2": 1, "work/3": 1}, f.notes("out")); d != "" {
		t.Error(d)
	}
	contains(t, f.ok("explain", id), "exit 5")
	contains(t, f.ok("show", id), "work/2")
	f.ok("terminate", id)
}
