package worker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/worker"
)

// begin orders operations of a job and returns once a program says something.
func (a *agent) begin(job stint.JobID, ops ...uint32) {
	a.t.Helper()
	orders := make([]worker.Order, len(ops))
	for i, op := range ops {
		orders[i] = worker.Order{Op: op, Subset: stint.Subset{Values: &stint.Values{Count: 1}}}
	}
	said := len(a.says)
	a.send(worker.Message{Perform: &worker.Perform{Job: job, Attempt: 1, Orders: orders}})
	for len(a.says) == said {
		a.receive()
	}
}

func (a *agent) stop(job stint.JobID, grace time.Duration) {
	a.t.Helper()
	a.send(worker.Message{Stop: &worker.Stop{Job: job, Grace: grace.Milliseconds()}})
}

// checkpoint returns what an operation's program wrote into its folder as
// "state", and whether there is a folder.
func (a *agent) checkpoint(op uint32) (string, bool) {
	a.t.Helper()
	dir := worker.CheckpointDir(filepath.Join(a.dir, "checkpoints"), 0, op)
	b, err := os.ReadFile(filepath.Join(dir, "state"))
	if err != nil && !os.IsNotExist(err) {
		a.t.Fatal(err)
	}
	_, err = os.Stat(dir)
	return string(b), err == nil
}

func TestStopEndsWhatIsInProgressAndTellsWhatItDropped(t *testing.T) {
	t.Parallel()
	a := start(t, first(sh("echo reporter:status:ready >&2; sleep 60")), first(op("noop")))
	a.begin(1, 1, 2, 3)
	a.send(worker.Message{Perform: &worker.Perform{Job: 2, Stage: 1, Attempt: 1, Orders: []worker.Order{{Op: 6, Subset: stint.Subset{Values: &stint.Values{Count: 1}}}}}})
	a.stop(1, 0)
	ended := a.await(2)
	i := ended[1].Interrupted
	if i == nil || i.Job != 1 || i.End < i.Start || i.Start == 0 {
		t.Errorf("in progress: %+v", ended[1])
	}
	a.done(ended, 6)
	for len(a.drops) == 0 { // what it has dropped is told by itself
		a.receive()
	}
	if d := cmp.Diff([]stint.Range{{From: 2, To: 4}}, a.drops, equal()); d != "" {
		t.Error(d)
	}
	for _, r := range a.log() {
		if r.Begun != nil && slices.Contains([]uint32{2, 3}, r.Begun.Ops.From) {
			t.Errorf("operation %d began", r.Begun.Ops.From)
		}
	}
}

func TestWhatWaitsIsGivenBackAloneIfThatIsAsked(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "go")
	a := start(t, first(sh("echo reporter:status:ready >&2; while [ ! -e "+gate+" ]; do sleep 0.01; done; cat")))
	a.begin(1, 1, 2, 3)
	a.send(worker.Message{Stop: &worker.Stop{Job: 1, Waiting: true}})
	for len(a.drops) == 0 {
		a.receive()
	}
	if d := cmp.Diff([]stint.Range{{From: 2, To: 4}}, a.drops, equal()); d != "" {
		t.Error(d)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a.done(a.await(1), 1)
}

func TestWhatIsInProgressMayCompleteWithinTheGracePeriod(t *testing.T) {
	t.Parallel()
	a := start(t, first(sh("cat; echo reporter:status:ready >&2; sleep 0.2")))
	a.begin(1, 1)
	a.stop(1, time.Minute)
	a.done(a.await(1), 1)
}

func TestALaterStopCanOnlyShortenTheGracePeriod(t *testing.T) {
	t.Parallel()
	a := start(t, first(sh("echo reporter:status:ready >&2; sleep 60")))
	for op, graces := range [][]time.Duration{{time.Hour, 0}, {50 * time.Millisecond, time.Hour}} {
		job := stint.JobID(op + 1)
		a.begin(job, uint32(op))
		for _, grace := range graces {
			a.stop(job, grace)
		}
		if r := a.await(1)[uint32(op)]; r.Interrupted == nil {
			t.Errorf("operation %d: %+v", op, r)
		}
	}
}

func TestABuiltInOperatorIsInterruptedAtTheEndOfTheGracePeriod(t *testing.T) {
	t.Parallel()
	a := start(t, first(sh("echo reporter:status:ready >&2; sleep 0.1")), first(op("hang")))
	a.begin(1, 1)
	a.send(worker.Message{Perform: &worker.Perform{Job: 2, Stage: 1, Attempt: 1, Orders: []worker.Order{{Op: 2, Subset: stint.Subset{Values: &stint.Values{Count: 1}}}}}})
	a.done(a.await(1), 1)
	for !slices.ContainsFunc(a.told, func(r worker.Record) bool { return r.Begun != nil && r.Begun.Job == 2 }) {
		a.receive()
	}
	a.stop(2, 10*time.Millisecond)
	if r := a.await(1)[2]; r.Interrupted == nil {
		t.Errorf("%+v", r)
	}
}

func TestTheCheckpointFolderIsKeptUntilTheOperationHasCompleted(t *testing.T) {
	t.Parallel()
	a := start(t, first(sh(`
		cat
		state=$(cat $STINT_CHECKPOINT_DIR/state 2>/dev/null)
		echo "reporter:status:found $state" >&2
		case $state in
		"")  echo 1 > $STINT_CHECKPOINT_DIR/state; exit 3 ;;
		1)   trap 'echo 2 > $STINT_CHECKPOINT_DIR/state; exit 0' TERM; while :; do sleep 0.02; done ;;
		*)   chmod 0 $STINT_CHECKPOINT_DIR
		esac`)))
	a.begin(1, 7)
	if r := a.await(1)[7]; r.Failed == nil {
		t.Fatalf("first attempt: %+v", r)
	}
	a.begin(2, 7)
	a.stop(2, time.Minute)
	if r := a.await(1)[7]; r.Interrupted == nil {
		t.Fatalf("second attempt: %+v", r)
	}
	if state, _ := a.checkpoint(7); state != "2\n" {
		t.Errorf("it saved %q", state)
	}
	a.begin(3, 7)
	a.done(a.await(1), 7)
	if _, there := a.checkpoint(7); there {
		t.Error("the folder is left")
	}
	var found []string
	for _, s := range a.says {
		found = append(found, s.Text)
	}
	if d := cmp.Diff([]string{"found ", "found 1", "found 2"}, found); d != "" {
		t.Error(d)
	}
}

func TestACheckpointFolderThatTheProgramRemovedOrReplacedIsNoFault(t *testing.T) {
	t.Parallel()
	a := start(t, first(sh(`cat; echo "reporter:status:$(ls $STINT_CHECKPOINT_DIR | wc -l)" >&2; rm -r $STINT_CHECKPOINT_DIR; ln -s / $STINT_CHECKPOINT_DIR; [ $STINT_ATTEMPT = 2 ]`)))
	a.begin(1, 1)
	if r := a.await(1)[1]; r.Failed == nil {
		t.Fatalf("%+v", r)
	}
	a.send(worker.Message{Perform: &worker.Perform{Job: 2, Attempt: 2, Orders: []worker.Order{{Op: 1, Subset: stint.Subset{Values: &stint.Values{Count: 1}}}}}})
	a.done(a.await(1), 1)
	if _, there := a.checkpoint(1); there || a.says[1].Text != "0" {
		t.Errorf("a folder is left: %v; it found %s files", there, a.says[1].Text)
	}
}

func TestTheSumOfTheInputIsOfTheBytesOfThePieces(t *testing.T) {
	t.Parallel()
	const text = "one\ntwo\nthree and more\nfour\nfive"
	a := start(t, first(op("identity")))
	for size := 1; size <= len(text); size += 3 {
		orders, files := a.pieces(text, size)
		n := len(orders)
		two := []stint.Piece{orders[0].Subset.Pieces[0], orders[n-1].Subset.Pieces[0]}
		orders = append(orders, worker.Order{Op: uint32(n), Files: 2, Subset: stint.Subset{Pieces: two}})
		files = append(files, a.open(filepath.Join(a.dir, "input")), a.open(filepath.Join(a.dir, "input")))
		ended := a.perform(0, orders, files...)
		for _, o := range orders {
			read := ""
			for _, p := range o.Subset.Pieces {
				read += text[p.Offset : p.Offset+p.Length]
			}
			if got, want := a.done(ended, o.Op).Op.InputSum, xxh3.HashString(read); got != want {
				t.Errorf("pieces of %d bytes, operation %d: %x, want %x", size, o.Op, got, want)
			}
		}
	}
}

func TestInputThatIsNotReadOrHasNoBytesHasNoSum(t *testing.T) {
	t.Parallel()
	a := start(t, first(sh("head -c 1")))
	text := strings.Repeat("line\n", 1<<20)
	orders, files := a.pieces(text, len(text))
	orders = append(orders, worker.Order{Op: 1, Subset: stint.Subset{Values: &stint.Values{Count: 3}}})
	for op, r := range a.perform(0, orders, files...) {
		if r.Done == nil || r.Done.Op.InputSum != 0 {
			t.Errorf("operation %d: %+v", op, r)
		}
	}
}

func TestEveryOperationFindsAnEmptyFolderOfItsOwn(t *testing.T) {
	t.Parallel()
	a := start(t, first(sh(`
		echo "reporter:status:${STINT_CHECKPOINT_DIR##*/} has $(ls -A $STINT_CHECKPOINT_DIR | wc -l), $(stat -c %a $STINT_CHECKPOINT_DIR)" >&2
		case $STINT_OPERATION in
		*/2) echo kept > $STINT_CHECKPOINT_DIR/state ;;
		*/4) chmod 755 $STINT_CHECKPOINT_DIR ;;
		esac`)))
	var want []string
	for op := uint32(1); op <= 6; op++ {
		a.begin(stint.JobID(op), op)
		a.done(a.await(1), op)
		if _, there := a.checkpoint(op); there {
			t.Errorf("the folder of operation %d is left", op)
		}
		want = append(want, fmt.Sprintf("0-%d has 0, 700", op))
	}
	var found []string
	for _, s := range a.says {
		found = append(found, s.Text)
	}
	if d := cmp.Diff(want, found); d != "" {
		t.Error(d)
	}
}
