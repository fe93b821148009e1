package agent

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stint"
	"stint/internal/link"
	"stint/internal/worker"
)

func (p *peer) suspend(t *testing.T, grace time.Duration, jobs ...stint.JobID) {
	t.Helper()
	p.send(t, link.ServerMessage{Suspend: &stint.Suspend{Execution: execX, Jobs: jobs, Grace: grace.Milliseconds()}})
}

// awaitFile waits until a program has made a file.
func awaitFile(t *testing.T, path string) {
	t.Helper()
	eventually(t, path, func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
}

// awaitInterrupted waits until operation 0 was interrupted.
func (p *peer) awaitInterrupted(t *testing.T) stint.Interrupted {
	t.Helper()
	p.await(t, "operation 0 interrupted", func(s *tally) bool { return s.interrupted[0].End != 0 })
	i := p.tally.interrupted[0]
	if i.Start == 0 || i.End < i.Start {
		t.Errorf("times of %+v", i)
	}
	return i
}

func TestSuspendReturnsWhatHasNotBegunAndLetsTheRestComplete(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 2)
	dir := t.TempDir()
	script := fmt.Sprintf(`cd %s; touch begun-${STINT_OPERATION#map/}; until [ -e go ]; do sleep 0.01; done`, dir)
	a.send(t, link.ServerMessage{Spec: overRange(execX, 100, shell(script))})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 40)})
	a.grant(t, stint.Grant{Execution: execX, Job: 2, Ops: ops(40, 50)})
	awaitFile(t, filepath.Join(dir, "begun-0"))
	awaitFile(t, filepath.Join(dir, "begun-1"))
	a.suspend(t, time.Minute)
	a.await(t, "all but two given back", func(s *tally) bool { return stint.CountRanges(s.returnedOps()) == 48 })
	equal(t, "returned", a.tally.returnedOps(), []stint.Range{ops(2, 50)})
	write(t, dir, map[string]string{"go": ""})
	a.awaitDone(t, 2)
	if len(a.tally.failures)+len(a.tally.interrupted) > 0 || len(a.tally.begun) != 2 {
		t.Errorf("%s", &a.tally)
	}
	a.grant(t, stint.Grant{Execution: execX, Job: 3, Ops: ops(2, 50)})
	a.awaitDone(t, 50)
}

func TestASuspendOfAJobLeavesTheOthers(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	begun := filepath.Join(t.TempDir(), "begun")
	a.send(t, link.ServerMessage{Spec: overRange(execX, 10, shell(fmt.Sprintf(`touch %s; [ $STINT_OPERATION != map/0 ] || exec sleep 60`, begun)))})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 4)})
	a.grant(t, stint.Grant{Execution: execX, Job: 2, Ops: ops(4, 10)})
	awaitFile(t, begun)
	a.suspend(t, 0, 1, 17)
	a.awaitInterrupted(t)
	a.awaitDone(t, 6)
	equal(t, "returned", a.tally.returnedOps(), []stint.Range{ops(1, 4)})
}

// counting saves how far it came when it is asked to end, and goes on from there.
const counting = `
	n=$(cat "$STINT_CHECKPOINT_DIR/state" 2>/dev/null || echo 0)
	trap 'echo $((n+1)) > "$STINT_CHECKPOINT_DIR/state"; exit 0' TERM
	cat > /dev/null
	[ $n -ge 2 ] && echo counted $n && rm "$STINT_CHECKPOINT_DIR/state" && exit 0
	touch "$BEGUN-$n"
	while :; do sleep 0.02; done`

func TestAnInterruptedOperationGoesOnFromItsCheckpointWhereverItIs(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	b, _ := s.start(t, nodeB, t.TempDir(), 1)
	input := inputFile(t, "a line\n")
	output := "file://" + filepath.Join(t.TempDir(), "out")
	spec := mapOnly(execX, 1, output, "sh", "-c", counting)
	begun := filepath.Join(t.TempDir(), "begun")
	spec.Environment = map[string]string{"BEGUN": begun}
	grant := stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 1), Subsets: cut(input, 1)}
	if r := a.errand(t, stint.Errand{ID: "p", Kind: stint.ErrandProbe, Execution: execX, Output: output}); r.Error != nil {
		t.Fatalf("probe: %v", r.Error)
	}
	for n, p := range []*peer{a, b} {
		p.send(t, link.ServerMessage{Spec: spec})
		grant.Job++
		p.grant(t, grant)
		awaitFile(t, fmt.Sprintf("%s-%d", begun, n))
		p.suspend(t, time.Minute)
		c := p.awaitInterrupted(t).Checkpoint
		if c == nil || c.Op != 0 || c.Key != fmt.Sprintf("saved/%s/checkpoint-0-0-%d-%d", execX, grant.Job, p.hello.Incarnation) || c.Bytes == 0 {
			t.Fatalf("checkpoint %+v", c)
		}
		grant.Checkpoints = []stint.Checkpoint{*c}
	}
	grant.Job++
	a.grant(t, grant) // where something older was saved, and went to storage
	a.awaitDone(t, 1)
	commit := stint.Errand{ID: "c", Kind: stint.ErrandCommit, Execution: execX, Output: output, Program: "p", Parts: partsOf(a)}
	if r := a.errand(t, commit); r.Error != nil {
		t.Fatalf("commit: %v", r.Error)
	}
	if got := readOutput(t, output, 1); got != "counted 2\n" {
		t.Errorf("output %q", got)
	}
}

// An agent may end between the end of an operation in storage and the server's word
// that it knows: then nobody knows of the archive, and the folder is all there is.
func TestASavedFolderStaysUntilTheServerKnows(t *testing.T) {
	t.Parallel()
	s := newService(t)
	node := t.TempDir()
	spec := overRange(execX, 1, shell(counting))
	begun := filepath.Join(t.TempDir(), "begun")
	spec.Environment = map[string]string{"BEGUN": begun}
	checkpoints := filepath.Join(node, "work", string(execX), "checkpoints")
	grant := stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 1)}

	a, stop := s.start(t, nodeA, node, 1)
	a.mute = true
	a.send(t, link.ServerMessage{Spec: spec})
	a.grant(t, grant)
	awaitFile(t, begun+"-0")
	a.suspend(t, time.Minute)
	if i := a.awaitInterrupted(t); i.Checkpoint == nil {
		t.Fatalf("%+v", i)
	}
	stop()
	if b := must(os.ReadFile(filepath.Join(checkpoints, "0-0", "state")))(t); string(b) != "1\n" {
		t.Errorf("the folder has %q", b)
	}

	a, _ = s.start(t, nodeA, node, 1)
	a.send(t, link.ServerMessage{Spec: spec})
	grant.Job++
	a.grant(t, grant) // without a checkpoint
	awaitFile(t, begun+"-1")
	a.suspend(t, time.Minute)
	i := a.awaitInterrupted(t)
	eventually(t, "no folder", func() bool {
		left := must(filepath.Glob(filepath.Join(checkpoints, "0-0*")))(t)
		return len(left) == 0
	})
	grant.Job++
	grant.Checkpoints = []stint.Checkpoint{*i.Checkpoint}
	a.grant(t, grant)
	a.awaitDone(t, 1)
}

func TestASavedFolderGoesOnceTheServerKnowsUnlessItsOperationCameBack(t *testing.T) {
	t.Parallel()
	granted := func(l *loop) { l.accept(grant(execX, 2, 0, 1)) }
	saved := &checkpointSaved{execution: execX, interrupted: stint.Interrupted{Job: 1, Op: 0, Checkpoint: &stint.Checkpoint{Key: "saved/x/b"}}}
	save := func(l *loop) { saved.apply(l, time.Now()) }
	for name, c := range map[string]struct {
		steps []func(*loop)
		stays bool
	}{
		"it is gone":                         {steps: []func(*loop){save}},
		"another came":                       {steps: []func(*loop){save, func(l *loop) { l.accept(grant(execX, 2, 1, 2)) }}},
		"it is back":                         {[]func(*loop){save, granted}, true},
		"it came back while this was stored": {[]func(*loop){granted, save}, true},
		"it came back and failed, and the folder has more": {[]func(*loop){save, granted, func(l *loop) {
			l.ledger.Next(execX, 1)
			l.ledger.Fail(execX, stint.Failure{Job: 2, Op: 0, Error: &stint.Error{Code: stint.Failed}})
		}}, true},
	} {
		l := newTestLoop(t, grant(execX, 1, 0, 1))
		e := l.execution(execX)
		e.spec = overRange(execX, 2, shell(""))
		l.ledger.Next(execX, 1)
		dir := worker.CheckpointDir(l.checkpoints(execX), 0, 0)
		write(t, dir, map[string]string{"position": "1", "results": "one"})
		write(t, filepath.Dir(dir), map[string]string{filepath.Base(worker.CheckpointOrigin(dir)): "saved/x/a"})
		want := tree(t, filepath.Dir(dir))
		e.tasks++
		for _, step := range c.steps {
			step(l)
		}
		r, _ := l.ledger.Report(execX)
		ack := &arrived{message: link.ServerMessage{Ack: &link.Ack{Execution: execX, Seq: r.Seq - 1, Incarnation: r.Incarnation}}}
		ack.apply(l, time.Now())
		equal(t, name+", not known yet", tree(t, filepath.Dir(dir)), want)
		ack.message.Ack.Seq++
		ack.apply(l, time.Now())
		if c.stays {
			equal(t, name, tree(t, filepath.Dir(dir)), want)
		} else if list := must(os.ReadDir(filepath.Dir(dir)))(t); len(list) != 1 || !strings.HasSuffix(list[0].Name(), ".gone") || e.tasks != 1 {
			t.Errorf("%s: %v, %d tasks", name, list, e.tasks)
		}
		if len(e.saved) != 0 {
			t.Errorf("%s: %+v are waited for", name, e.saved)
		}
	}
}

func TestWhateverAProgramDoesItEndsInTime(t *testing.T) {
	t.Parallel()
	const soon, overdue = 200 * time.Millisecond, -2 * overdue
	for name, c := range map[string]struct {
		script string
		grace  time.Duration
		saved  bool
		note   string
	}{
		"it ignores SIGTERM":               {`trap '' TERM; touch $BEGUN; while :; do sleep 1; done`, soon, false, ""},
		"it saved itself before":           {`echo x > $STINT_CHECKPOINT_DIR/state; touch $BEGUN; exec sleep 60`, soon, true, ""},
		"its checkpoint is of 10 GB":       {`truncate -s 10G $STINT_CHECKPOINT_DIR/state; touch $BEGUN; exec sleep 60`, soon, false, "checkpoint not saved: it holds more than 1024 MiB"},
		"it removes its checkpoint folder": {`rm -r $STINT_CHECKPOINT_DIR; touch $BEGUN; exec sleep 60`, soon, false, ""},
		"it saves a socket":                {`mkfifo $STINT_CHECKPOINT_DIR/fifo; touch $BEGUN; exec sleep 60`, soon, false, "left out of the checkpoint: 1 "},
		"it kills its worker":              {`echo x > $STINT_CHECKPOINT_DIR/state; trap 'kill -9 $PPID' TERM; touch $BEGUN; while :; do sleep 0.02; done`, time.Minute, true, ""},
		"it halts its worker":              {`echo x > $STINT_CHECKPOINT_DIR/state; kill -STOP $PPID; touch $BEGUN; exec sleep 60`, overdue, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			a, _ := s.start(t, nodeA, t.TempDir(), 1)
			spec := overRange(execX, 2, shell(`[ $STINT_OPERATION = map/1 ] || { `+c.script+`; }`))
			begun := filepath.Join(t.TempDir(), "begun")
			spec.Environment = map[string]string{"BEGUN": begun}
			a.send(t, link.ServerMessage{Spec: spec})
			a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 1)})
			awaitFile(t, begun)
			a.suspend(t, c.grace)
			i := a.awaitInterrupted(t)
			if (i.Checkpoint != nil) != c.saved || !strings.HasPrefix(i.Note, c.note) || c.note == "" && i.Note != "" {
				t.Errorf("checkpoint %+v, note %q", i.Checkpoint, i.Note)
			}
			a.grant(t, stint.Grant{Execution: execX, Job: 2, Ops: ops(1, 2)})
			a.awaitDone(t, 1)
			if n := len(a.tally.failures); n > 0 {
				t.Errorf("%d failures: %+v", n, a.tally.failures)
			}
		})
	}
}

func TestASecondSuspendShortensTheGracePeriod(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	begun := filepath.Join(t.TempDir(), "begun")
	a.send(t, link.ServerMessage{Spec: overRange(execX, 1, shell("touch "+begun+"; exec sleep 60"))})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 1)})
	awaitFile(t, begun)
	a.suspend(t, time.Hour)
	a.suspend(t, 0)
	a.suspend(t, time.Hour)
	a.awaitInterrupted(t)
}

func TestForgetEndsWhatHasTimeYet(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, _ := s.start(t, nodeA, dir, 1)
	begun := filepath.Join(t.TempDir(), "begun")
	a.send(t, link.ServerMessage{Spec: overRange(execX, 1, shell("touch "+begun+"; exec sleep 60"))})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 1)})
	awaitFile(t, begun)
	a.suspend(t, time.Hour)
	a.send(t, link.ServerMessage{Forget: &link.Forget{Execution: execX}})
	eventually(t, "an empty work folder", func() bool {
		list, err := os.ReadDir(filepath.Join(dir, "work"))
		return err == nil && len(list) == 0
	})
}

func TestInputThatDoesNotComeIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	silent := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer silent.Close() //nolint:errcheck // the test is over
	mapping := stint.Stage{Name: "map", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput, Split: stint.SplitLines}}
	reducing := stint.Stage{Name: "reduce", Action: stint.Action{Native: "sum"}, Input: stint.Edge{Kind: stint.Shuffle, From: "map"}}
	a.send(t, link.ServerMessage{Spec: &stint.Spec{Execution: execX, Stages: []stint.StageSpec{
		{Stage: mapping, Operations: 1, Partitions: 2, Sorted: true}, {Stage: reducing, Operations: 2, Partitions: 1},
	}}})
	sources := []stint.Source{{Node: nodeB, Address: silent.Addr().String(), Ops: []stint.Range{ops(0, 1)}}}
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Stage: 1, Ops: ops(0, 2), Sources: sources})
	conn := must(silent.Accept())(t)
	defer conn.Close() //nolint:errcheck // the test is over
	a.suspend(t, time.Hour)
	a.await(t, "both given back", func(s *tally) bool { return stint.CountRanges(s.returnedOps()) == 2 })
}

func TestACheckpointThatIsLostIsDoneWithout(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	a.send(t, link.ServerMessage{Spec: overRange(execX, 2, shell(`[ -z "$(ls $STINT_CHECKPOINT_DIR)" ]`))})
	gone := stint.Checkpoint{Op: 0, Key: "saved/x/checkpoint-0-0-1-1", Bytes: 1, Sum: 2}
	away := gone
	away.Op, away.Storage = 1, "file:///no/such/storage"
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 2), Checkpoints: []stint.Checkpoint{gone, away}})
	a.await(t, "one done and one failed", func(s *tally) bool { return len(s.done) == 1 && len(s.failures) == 1 })
	f := a.tally.failures[0]
	if a.tally.done["1/0"] != 1 || f.Op != 1 || f.Error.Code != stint.Unavailable || !strings.Contains(f.Error.Message, "/no/such/storage") {
		t.Errorf("%s", &a.tally)
	}
}
