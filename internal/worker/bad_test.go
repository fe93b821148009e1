package worker_test

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"stint"
	"stint/internal/runner/command"
	"stint/internal/runner/sdk"
	"stint/internal/worker"
	"stint/program"
)

// sdkWorker is a worker that performs SDK programs too.
func sdkWorker() *worker.Worker {
	w := newWorker()
	w.SDK = &sdk.Runner{Processes: w.Command.(*command.Runner)}
	return w
}

// fussy is what the test binary is as an SDK program: it fails on lines with "bad",
// and on groups with such a value.
func fussy() program.Stages {
	return program.Stages{
		"first": {
			Map: program.Map(func(ctx *program.Context, line string, emit func(string, string)) error {
				if line == "hang" {
					ctx.Status(strconv.Itoa(os.Getpid()))
					<-make(chan bool)
				}
				if strings.Contains(line, "bad") {
					return errors.New("it is bad")
				}
				key, value, _ := strings.Cut(line, "\t")
				ctx.Count("fussy", "lines", 1)
				emit(key, value)
				return nil
			}),
			Combine: program.Combine(func(ctx *program.Context, _ string, values iter.Seq[string]) (string, error) {
				ctx.Count("fussy", "combined", 1)
				longest := ""
				for v := range values {
					if v == "clash" {
						return "", errors.New("they clash")
					}
					longest = max(longest, v)
				}
				return longest, nil
			}),
		},
		"last": {Reduce: program.Reduce(func(_ *program.Context, key string, values iter.Seq[string], emit func(string, string)) error {
			var all []string
			for v := range values {
				if v == "worse" {
					return errors.New("it is worse")
				}
				all = append(all, v)
			}
			emit(key, strings.Join(all, ","))
			return nil
		})},
	}
}

func ours() stint.Action { return stint.Action{SDK: []string{os.Args[0]}} }

// skipping starts a worker for an execution that leaves out bad records.
func skipping(t *testing.T, stages ...stint.StageSpec) *agent {
	t.Helper()
	return startWith(t, sdkWorker(), func(a *agent) { a.spec.SkipBadRecords = 0.01 }, stages...)
}

// firstOf performs the first stage over a text as one operation with a part.
func (a *agent) firstOf(text string) (worker.Record, string) {
	a.t.Helper()
	object, file := a.input("input", text)
	orders := []worker.Order{{Files: 1, Subset: stint.Subset{Pieces: []stint.Piece{{Object: object, Length: int64(len(text))}}}}}
	files := []*os.File{file}
	files = a.part(&orders[0], files)
	r := a.perform(0, orders, files...)[0]
	return r, a.partText(orders[0].Part)
}

func TestAnSDKProgramMapsCombinesAndReduces(t *testing.T) {
	t.Parallel()
	combine := ours()
	a := startWith(t, sdkWorker(), func(*agent) {}, sorted(ours(), 2, &combine), reduce(ours()))
	parts, ended := a.shuffled("a\t1\na\t3\nb\t2\nc\t1\na\t2\n", 8)
	if got := strings.Join(parts, ""); got != "b\t2\na\t3,2\nc\t1\n" && got != "a\t3,2\nc\t1\nb\t2\n" {
		t.Errorf("%q", got)
	}
	counted := make(map[string]int64)
	for _, r := range ended {
		for _, c := range r.Done.Counters {
			counted[c.Name] += c.Value
		}
	}
	// the program combines what it writes, where a key has several values, and is not asked again
	if counted["lines"] != 5 || counted["combined"] != 1 {
		t.Errorf("counted %v", counted)
	}
}

func TestAnSDKProgramEndsWithItsWorker(t *testing.T) {
	t.Parallel()
	one.Lock()
	defer one.Unlock()
	a, cmd := spawn(t, first(ours()))
	orders, files := a.pieces("hang\n", 100)
	a.send(worker.Message{Perform: &worker.Perform{Job: 1, Attempt: 1, Orders: orders}}, files...)
	for len(a.says) == 0 {
		a.receive()
	}
	pid, err := strconv.Atoi(a.says[0].Text)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd) //nolint:errcheck // it was only looked at
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if n == 1 || !errors.Is(err, unix.EINTR) {
			return // it has ended: without that the test does not
		}
	}
}

func TestBadRecordsOfAnSDKProgram(t *testing.T) {
	t.Parallel()
	text := "a\t1\nbad\nb\t2\n\xffbad\x00\n"
	t.Run("without the policy", func(t *testing.T) {
		a := startWith(t, sdkWorker(), func(*agent) {}, first(ours()))
		r, _ := a.firstOf(text)
		if r.Failed == nil || r.Failed.Error.Code != stint.Failed || !strings.Contains(r.Failed.Error.Message, "record 2: it is bad") {
			t.Errorf("%+v", r.Failed)
		}
	})
	t.Run("left out", func(t *testing.T) {
		a := skipping(t, first(ours()))
		r, part := a.firstOf(text)
		want := []stint.BadRecord{{Number: 1, Text: "bad", Error: "it is bad"}, {Number: 3, Text: "\uFFFDbad\x00", Error: "it is bad"}}
		d := a.done(map[uint32]worker.Record{0: r}, 0)
		if diff := cmp.Diff(want, d.Bad); diff != "" || part != "a\t1\nb\t2\n" || d.Op.BadRecords != 2 || d.Op.RecordsIn != 2 {
			t.Errorf("%q, %+v\n%s", part, d.Op, diff)
		}
	})
	t.Run("groups", func(t *testing.T) {
		a := skipping(t, sorted(ours(), 1, nil), reduce(ours()))
		orders, files := a.pieces("b\tworse\na\t1\nb\t1\nb\t2\nc\t3\n", 100)
		a.done(a.perform(0, orders, files...), 0)
		o, files := a.reading(0, 1, 0)
		files = a.part(&o, files)
		d := a.done(a.perform(1, []worker.Order{o}, files...), 0)
		want := []stint.BadRecord{{Number: 1, Text: "b", Error: "it is worse"}}
		if diff := cmp.Diff(want, d.Bad); diff != "" || a.partText(o.Part) != "a\t1\nc\t3\n" || d.Op.BadRecords != 3 || d.Op.RecordsIn != 2 {
			t.Errorf("%q, %+v\n%s", a.partText(o.Part), d.Op, diff)
		}
	})
}

// Records that a combiner leaves out are none of those that the operation has read.
func TestBadGroupsOfACombinerAreNotOfTheInput(t *testing.T) {
	t.Parallel()
	combine := ours()
	a := skipping(t, sorted(ours(), 1, &combine), reduce(ours()))
	orders, files := a.pieces("a\tclash\nb\t1\na\t2\nbad\n", 100)
	d := a.done(a.perform(0, orders, files...), 0)
	want := []stint.BadRecord{{Number: 3, Text: "bad", Error: "it is bad"}, {Number: -1, Text: "a", Error: "combine: they clash"}}
	if diff := cmp.Diff(want, d.Bad); diff != "" || d.Op.BadRecords != 3 || d.Op.RecordsIn != 3 || d.Op.RecordsOut != 1 {
		t.Errorf("%+v\n%s", d.Op, diff)
	}
}

// picky fails on lines with "bad", after it has written those before.
const picky = `while read -r line; do case "$line" in *bad*) echo "cannot read $line" >&2; exit 3;; esac; echo "$line"; done`

func TestTheBadRecordsOfACommandAreFound(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct{ records, bad int }{{1, 1}, {2, 1}, {3, 2}, {7, 1}, {33, 8}, {64, 3}, {1000, 9}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			lines := make([]string, c.records)
			for i := range lines {
				lines[i] = fmt.Sprintf("line %d", i)
			}
			for _, i := range random.Perm(c.records)[:c.bad] {
				lines[i] = fmt.Sprintf("bad %d", i)
			}
			var want []stint.BadRecord
			good := ""
			for i, l := range lines {
				if !strings.HasPrefix(l, "bad") {
					good += l + "\n"
					continue
				}
				want = append(want, stint.BadRecord{Number: int64(i), Text: l, Error: `program "sh": exit 3: cannot read ` + l})
			}
			a := skipping(t, first(sh(picky)))
			r, part := a.firstOf(strings.Join(lines, "\n") + "\n")
			d := a.done(map[uint32]worker.Record{0: r}, 0)
			if c.records == 1 { // there was no trial of it alone: it was alone
				want[0].Error = `program "sh": exit 3`
			}
			if diff := cmp.Diff(want, d.Bad); diff != "" || part != good {
				t.Errorf("%q, want %q\n%s", part, good, diff)
			}
			if d.Op.BadRecords != int64(c.bad) || d.Op.RecordsIn != int64(c.records-c.bad) || d.Op.RecordsOut != d.Op.RecordsIn || d.Part.Bytes != int64(len(good)) {
				t.Errorf("%+v", d.Op)
			}
		})
	}
}

func TestTheBadGroupsOfACommandAreFound(t *testing.T) {
	t.Parallel()
	a := skipping(t, sorted(sh("cat"), 1, nil), reduce(sh(picky)))
	orders, files := a.pieces("d\tx\nb\tbad\na\t1\nb\t1\nb\tbad\nc\t3\n", 100)
	a.done(a.perform(0, orders, files...), 0)
	o, files := a.reading(0, 1, 0)
	files = a.part(&o, files)
	d := a.done(a.perform(1, []worker.Order{o}, files...), 0)
	want := []stint.BadRecord{{Number: 1, Text: "b", Error: "program \"sh\": exit 3: cannot read b\tbad"}}
	if diff := cmp.Diff(want, d.Bad); diff != "" || a.partText(o.Part) != "a\t1\nc\t3\nd\tx\n" || d.Op.BadRecords != 3 || d.Op.RecordsIn != 3 {
		t.Errorf("%q, %+v\n%s", a.partText(o.Part), d.Op, diff)
	}
}

func TestAFailureThatNoRecordIsToBlameForStaysWhatItIs(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("x\n", 20) + strings.Repeat("bad\n", 65) + strings.Repeat("y\n", 15)
	for _, c := range []struct {
		name, script, text, want string
		skip                     float64
	}{
		{"without the policy", picky, "bad\nx\n", "exit 3", 0},
		{"on nothing", "exit 4", "a\nb\n", "exit 4", 0.01},
		{"on no input at all", "cat; exit 4", "", "exit 4", 0.01},
		{"on everything", "if read -r line; then exit 5; fi", many, "program fails on every record that was tried alone: exit 5", 0.01},
		{"on everything, which may be", "if read -r line; then exit 5; fi", many, "program fails on every record that was tried alone: exit 5", 1},
		{"on two together", `[ $(grep -c "[xy]") -lt 2 ] || exit 6`, "x\na\nb\ny\n", "exit 6", 0.01},
		{"on too many", picky, many, "bad_records: more than 64 of the operation's 100 records: program \"sh\": exit 3", 0.01},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := startWith(t, sdkWorker(), func(a *agent) { a.spec.SkipBadRecords = c.skip }, first(sh(c.script)))
			r, part := a.firstOf(c.text)
			f := r.Failed
			if f == nil || f.Error.Code != stint.Failed || !strings.Contains(f.Error.Message, c.want) || f.Exit == 0 || part != "" {
				t.Errorf("%+v, %q", f, part)
			}
			if strings.Contains(f.Error.Message, "bad_records") != strings.Contains(c.want, "bad_records") {
				t.Error(f.Error.Message)
			}
		})
	}
}

// Whichever records are bad, and in subsets of whatever size, they are found as long
// as the share is not out of all proportion.
func TestManyBadRecordsAreFound(t *testing.T) {
	t.Parallel()
	every := func(n, from int) func(int) bool { return func(i int) bool { return i%n == from } }
	for _, c := range []struct {
		name    string
		records int
		bad     func(int) bool
		count   int64
		skip    float64
	}{
		{"every 20th", 2000, every(20, 19), 100, 0.2},
		{"every 20th, all may be", 2000, every(20, 19), 100, 1},
		{"every 20th, fewer may be", 2000, every(20, 19), 100, 0.02},
		{"the first, the middle and the last", 201, every(100, 0), 3, 0.01},
		{"regular, with the first, the middle and the last", 321, every(20, 0), 17, 0.2},
		{"few records", 200, every(20, 19), 10, 0.2},
		{"a block", 2000, func(i int) bool { return i >= 700 && i < 1000 }, 300, 0.2},
		{"a small subset of nothing else", 64, func(int) bool { return true }, 64, 0.01},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, good := "", ""
			for i := range c.records {
				line := fmt.Sprintf("line %d\n", i)
				if c.bad(i) {
					line = "bad\n"
				} else {
					good += line
				}
				text += line
			}
			a := startWith(t, sdkWorker(), func(a *agent) { a.spec.SkipBadRecords = c.skip }, first(sh("exec awk '/bad/{exit 3}{print}'")))
			r, part := a.firstOf(text)
			if d := a.done(map[uint32]worker.Record{0: r}, 0); d.Op.BadRecords != c.count || part != good {
				t.Errorf("%+v, %d bytes of %d", d.Op, len(part), len(good))
			}
			if said := a.says[len(a.says)-1].Text; !strings.HasPrefix(said, fmt.Sprintf("found %d bad records: ", c.count)) {
				t.Errorf("it says %q in the end", said)
			}
		})
	}
}

func TestTheTrialsOfASearchAreBoundedAndTold(t *testing.T) {
	t.Parallel()
	w := sdkWorker()
	w.Trials = 30
	a := startWith(t, w, func(a *agent) { a.spec.SkipBadRecords = 0.2 }, first(sh(picky)))
	r, _ := a.firstOf(strings.Repeat(strings.Repeat("x\n", 9)+"bad\n", 20))
	if r.Failed == nil || r.Failed.Error.Code != stint.Failed || !strings.Contains(r.Failed.Error.Message, "bad_records: not all were found in 30 trials") || r.Failed.Exit != 3 {
		t.Errorf("%+v", r.Failed)
	}
	if said := a.says[len(a.says)-1].Text; said != "looking for bad records: 30 trials" {
		t.Errorf("it says %q in the end", said)
	}
}

// Trials know what they are, and leave neither counters nor checkpoints; the last
// performance has no checkpoint of the one that failed.
func TestTrialsLeaveNothing(t *testing.T) {
	t.Parallel()
	var notes string
	script := `echo "${STINT_TRIAL:-0} ${STINT_CHECKPOINT_DIR:+folder} $(ls $STINT_CHECKPOINT_DIR .)" | tr '\n' ' ' >>$NOTES; echo >>$NOTES
touch left; [ -z "$STINT_CHECKPOINT_DIR" ] || touch "$STINT_CHECKPOINT_DIR/saved"
echo reporter:counter:g,n,1 >&2; echo said >&2; ` + picky
	a := startWith(t, sdkWorker(), func(a *agent) {
		notes = filepath.Join(a.dir, "notes")
		a.spec.SkipBadRecords, a.spec.Environment["NOTES"] = 0.01, notes
	}, first(sh(script)))
	r, _ := a.firstOf("a\nbad\n")
	d := a.done(map[uint32]worker.Record{0: r}, 0)
	if len(d.Counters) != 1 || d.Counters[0].Value != 1 || d.Stderr != "said\n" {
		t.Errorf("%+v, stderr %q", d.Counters, d.Stderr)
	}
	b, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for i, l := range lines {
		trial := i > 0 && i < len(lines)-1
		if strings.HasPrefix(l, "1") != trial || strings.Contains(l, "folder") == trial || strings.Contains(l, "saved") || strings.Contains(l, "left") {
			t.Errorf("performance %d of %d: %q", i, len(lines), l)
		}
	}
	if len(lines) != 5 { // as ordered; nothing, and each half; the rest
		t.Errorf("%d performances", len(lines))
	}
}

func TestASearchIsEndedWithItsOperation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		grace time.Duration
	}{{"asked", time.Hour}, {"killed", 0}} {
		t.Run(c.name, func(t *testing.T) {
			var fifo string
			script := `if [ "$STINT_TRIAL" ]; then trap "exit 0" TERM; echo begun >$FIFO; while :; do :; done; fi; ` + picky
			a := startWith(t, sdkWorker(), func(a *agent) {
				fifo = filepath.Join(a.dir, "fifo")
				a.spec.SkipBadRecords, a.spec.Environment["FIFO"] = 0.01, fifo
				if err := unix.Mkfifo(fifo, 0o600); err != nil {
					t.Fatal(err)
				}
			}, first(sh(script)))
			orders, files := a.pieces("a\nbad\n", 100)
			a.send(worker.Message{Perform: &worker.Perform{Job: 1, Attempt: 1, Orders: orders}}, files...)
			if _, err := os.ReadFile(fifo); err != nil {
				t.Fatal(err)
			}
			a.stop(1, c.grace)
			if r := a.await(1)[0]; r.Interrupted == nil {
				t.Errorf("%+v", r)
			}
		})
	}
}
