package chaos

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"

	"stint"
	"stint/client"
	"stint/internal/object/s3test"
)

// allScenes returns the scenes that pass every failpoint, the shorter ones first.
func allScenes() []scene {
	return []scene{
		{"registry", playRegistry},
		{"shuffle", playShuffle},
		{"terminate", playTerminate},
		{"retreat", playRetreat},
		{"again", playAgain},
		{"errors", playErrors},
		{"suspend", playSuspend},
		{"take-back", playTakeBack},
		{"record-after-end", playRecordAfterEnd},
		{"record-taken-back", playRecordTakenBack},
		{"withdraw", playWithdraw},
		{"elsewhere", playElsewhere},
		{"and-back", playAndBack},
		{"damage", playDamage},
		{"fewer", playFewer},
		{"dismissed", playDismissed},
		{"swept", playSwept},
		{"rotation", playRotation},
		{"bucket", playBucket},
		{"bucket-suspend", playBucketSuspend},
	}
}

const (
	sceneLines = 12
	sceneMaps  = 4
	sceneParts = 2
)

// pairs writes lines of a key and a number, and returns them sorted.
func (s *stage) pairs() (path, want string) {
	s.t.Helper()
	var lines []string
	for i := range sceneLines {
		lines = append(lines, fmt.Sprintf("k%02d\t%07d\n", i%5, i))
	}
	return s.write("in.txt", strings.Join(lines, "")), sorted(lines...)
}

// pipeline is a request of two stages with a shuffle, whose reduce operations wait
// for a file if they are gated.
func (s *stage) pipeline(output string, reducer stint.Action) (r stint.Request, want string) {
	s.t.Helper()
	in, want := s.pairs()
	return stint.Request{
		Program: mapReduce("pipeline", s.ledger().step("0", "cat"), reducer),
		Inputs:  []string{in}, SubsetSize: sceneLines / sceneMaps * 12, Output: output,
	}, want
}

// gate is an action that begins when a file is there.
func (s *stage) gate() stint.Action {
	return stint.Action{Command: []string{"sh", "-c", s.ledger().line() + "; while [ ! -e '" + s.path("open") + "' ]; do sleep 0.02; done; exec cat"}}
}

func (s *stage) open() { s.write("open", "") }

// archive is a program with a file, as people upload it.
func (s *stage) archive() []byte {
	s.t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct{ name, text string }{
		{"program.yaml", "name: kept\nstages:\n  - name: map\n    command: [sh, count.sh]\n"},
		{"count.sh", s.ledger().line() + "\nexec cat\n"},
	} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.text))}); err != nil {
			s.t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	return b.Bytes()
}

// playRegistry uploads a program, runs it with sets of credentials coming and
// going, and removes it.
func playRegistry(s *stage) {
	s.serve(1)
	packed := s.archive()
	upload := func(ctx context.Context, c *client.Client) error {
		_, err := c.UploadProgram(ctx, "", int64(len(packed)), bytes.NewReader(packed))
		return err
	}
	s.must("an upload", upload)
	s.must("a file", func(ctx context.Context, c *client.Client) error {
		return c.PutFile(ctx, stint.Digest(blake3.Sum256(packed)), int64(len(packed)), bytes.NewReader(packed))
	})
	set := stint.CredentialSet{Name: "other", AccessKey: "a", SecretKey: "b"}
	s.must("credentials", func(ctx context.Context, c *client.Client) error {
		_, err := c.SetCredentials(ctx, set)
		return err
	})
	var program stint.RegisteredProgram
	s.must("the program", func(ctx context.Context, c *client.Client) (err error) {
		list, err := c.Credentials(ctx)
		if err == nil && len(list) != 1 {
			return broken("credentials %v", list)
		}
		if program, err = c.Program(ctx, "kept", ""); stint.CodeOf(err) == stint.NotFound {
			return broken("the program that was uploaded: %v", err)
		}
		return err
	})
	in, want := s.pairs()
	out := s.path("out")
	id := s.submit("kept", stint.Request{Program: program.Program, Inputs: []string{in}, SubsetSize: 36, Output: out, Keep: -1})
	s.until(id, stint.Completed)
	s.checkOutput(out, want)
	s.checkPerformed(sceneMaps)
	gone := func(err error) error {
		if stint.CodeOf(err) == stint.NotFound {
			return nil // the answer of an earlier call did not come
		}
		return err
	}
	s.must("a removal", func(ctx context.Context, c *client.Client) error { return gone(c.RemoveCredentials(ctx, "other")) })
	s.must("a removal", func(ctx context.Context, c *client.Client) error { return gone(c.RemoveProgram(ctx, "kept", "")) })
	s.must("what is left", func(ctx context.Context, c *client.Client) error {
		list, err := c.Credentials(ctx)
		if err == nil && len(list) != 0 {
			return broken("credentials %v after they were removed", list)
		}
		if _, err := c.Program(ctx, "kept", ""); stint.CodeOf(err) != stint.NotFound {
			return errors.Join(err, errors.New("the program is still there"))
		}
		return err
	})
	s.finish()
}

// playShuffle runs a pipeline with two copies of everything in between, drains a
// node meanwhile and takes that back.
func playShuffle(s *stage) {
	s.serve(2)
	out := s.path("out")
	r, want := s.pipeline(out, s.gate())
	r.Replication = 2
	id := s.submit("shuffle", r)
	s.completed(id, sceneMaps)
	s.await("two copies of everything", func(ctx context.Context, c *client.Client) (bool, error) {
		for op, err := range c.Operations(ctx, id, "map", stint.OpCompleted) {
			if err != nil || len(op.Copies) < 2 {
				return false, err
			}
		}
		return true, nil
	})
	node := s.drain()
	s.open()
	s.until(id, stint.Completed)
	s.checkOutput(out, want)
	s.checkPerformed(sceneMaps + sceneParts)
	s.must("the drain taken back", func(ctx context.Context, c *client.Client) error {
		_, err := c.Drain(ctx, node, stint.DrainRequest{Undo: true})
		return err
	})
	s.finish()
}

// drain drains a node, and checks that it is so from its answer on.
func (s *stage) drain() (node stint.NodeID) {
	s.t.Helper()
	s.must("a drain", func(ctx context.Context, c *client.Client) error {
		list, err := c.Nodes(ctx)
		if err != nil {
			return err
		}
		node = list[0].ID
		_, err = c.Drain(ctx, node, stint.DrainRequest{})
		return err
	})
	s.await("a drained node", func(ctx context.Context, c *client.Client) (bool, error) {
		list, err := c.Nodes(ctx)
		for _, n := range list {
			if n.ID == node && n.Status == stint.NodeReady {
				return false, broken("node %s is ready after it was drained", node)
			}
		}
		return err == nil, err
	})
	return node
}

// playTerminate ends an execution in its midst: nothing of it stays.
func playTerminate(s *stage) {
	s.serve(1)
	out := s.path("out")
	r, _ := s.pipeline(out, s.gate())
	id := s.submit("terminate", r)
	s.completed(id, sceneMaps)
	s.bring(id, "the end", func(ctx context.Context, c *client.Client) error {
		_, err := c.Terminate(ctx, id)
		return err
	}, stint.Terminated)
	s.until(id, stint.Terminated)
	s.checkGone(out)
	s.finish()
}

// checkGone checks that an output that was cleared is not there.
func (s *stage) checkGone(out string) {
	s.t.Helper()
	s.wait("nothing left of the output "+out, func() bool {
		_, err := os.Stat(out)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// playRetreat ends an execution whose output has begun to be committed: the process
// that does so is held up, and dies when the end is decided.
func playRetreat(s *stage) {
	held := s.path("held")
	if err := os.Mkdir(held, 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.orders = append(s.orders, "output.after-part:1:stop:"+held)
	s.serve(1)
	out := s.path("out")
	r, want := s.pipeline(out, s.ledger().step("0", "cat"))
	id := s.submit("retreat", r)
	var pid int
	s.await("the commit", func(context.Context, *client.Client) (bool, error) {
		_, pid = strikerIn(held)
		return pid != 0, nil
	})
	s.bring(id, "the end", func(ctx context.Context, c *client.Client) error {
		_, err := c.Terminate(ctx, id)
		return err
	}, stint.Terminating, stint.Terminated, stint.Completed)
	_ = unix.Kill(pid, unix.SIGKILL) // it may have died by now
	s.until(id, stint.Terminated, stint.Completed)
	if s.final[id] == stint.Completed { // it was quicker than the wish
		s.checkOutput(out, want)
	} else {
		s.checkGone(out)
	}
	s.finish()
}

// playAgain runs a pipeline twice to the same place, and once more to another with
// what the second one has completed.
func playAgain(s *stage) {
	s.serve(1)
	out := s.path("out")
	r, want := s.pipeline(out, s.ledger().step("0", "cat"))
	first := s.submit("first", r)
	s.until(first, stint.Completed)
	s.must("a refusal", func(ctx context.Context, c *client.Client) error {
		if _, err := c.Submit(ctx, r); stint.CodeOf(err) != stint.Conflict {
			return errors.Join(err, errors.New("the output of another execution is not refused"))
		}
		return nil
	})
	r.Overwrite = true
	second := s.submit("second", r)
	s.until(second, stint.Completed)
	s.checkOutput(out, want)
	r.Overwrite, r.Output, r.Reuse = false, s.path("elsewhere"), second
	third := s.submit("third", r)
	s.until(third, stint.Completed)
	s.checkOutput(r.Output, want)
	s.checkPerformed(2 * (sceneMaps + sceneParts))
	s.finish()
}

// playErrors lets an execution complete without an operation, and has that performed
// after all.
func playErrors(s *stage) {
	s.serve(1)
	out, yes := s.path("out"), true
	r, want := s.pipeline(out, stint.Action{Command: []string{"sh", "-c", s.ledger().line() + `; case "$STINT_OPERATION" in */0) [ -e '` + s.path("mended") + `' ] || exit 3;; esac; exec cat`}})
	r.Attempts, r.Backoff, r.CompleteErrors = 1, 1, &yes
	id := s.submit("errors", r)
	s.until(id, stint.CompletedErrors)
	s.write("mended", "")
	s.bring(id, "a retry", func(ctx context.Context, c *client.Client) error {
		_, err := c.Retry(ctx, id)
		return err
	}, stint.Queued, stint.InProgress, stint.Completed)
	s.until(id, stint.Completed)
	s.checkOutput(out, want)
	s.checkPerformed(sceneMaps + sceneParts + 1)
	s.finish()
}

// simulation is a request of operations that save themselves when they are to stop,
// and end when a file is there.
func (s *stage) simulation(output string) (r stint.Request, want string) {
	s.t.Helper()
	script := s.ledger().line() + `
read seed
n=0
[ -e "$STINT_CHECKPOINT_DIR/n" ] && n=$(cat "$STINT_CHECKPOINT_DIR/n")
trap 'echo $n > "$STINT_CHECKPOINT_DIR/n"; exit 0' TERM
n=$((n + 1))
: > '` + s.path("begun") + `'.$seed
[ $seed = 1 ] || while [ ! -e '` + s.path("open") + `' ]; do sleep 0.02; done
echo "seed $seed"
`
	return stint.Request{
		Program: stint.Program{Name: "simulation", Stages: []stint.Stage{
			{Name: "map", Action: stint.Action{Command: []string{"sh", "-c", script}}, Input: stint.Edge{Kind: stint.FromInput}},
			{Name: "reduce", Action: s.ledger().step("0", "cat"), Input: stint.Edge{Kind: stint.Shuffle, From: "map", Partitions: 1}},
		}},
		Inputs: []string{"range:1..3"}, SubsetSize: 1, Output: output,
	}, "seed 1\nseed 2\nseed 3\n"
}

// halfway starts a simulation and returns when one operation has completed and
// another has begun.
func (s *stage) halfway(output string) (id stint.ExecutionID, want string) {
	s.t.Helper()
	r, want := s.simulation(output)
	id = s.submit("simulation", r)
	s.completed(id, 1)
	s.midst()
	return id, want
}

// midst waits until an operation of the simulation has begun.
func (s *stage) midst() {
	s.t.Helper()
	s.wait("an operation in its midst", func() bool {
		found, _ := filepath.Glob(s.path("begun.[23]"))
		return len(found) > 0
	})
}

// suspend suspends an execution and waits until it is.
func (s *stage) suspend(id stint.ExecutionID) {
	s.t.Helper()
	grace := 5.0
	s.bring(id, "a suspend", func(ctx context.Context, c *client.Client) error {
		_, err := c.Suspend(ctx, id, stint.SuspendRequest{Grace: &grace})
		return err
	}, stint.Suspending, stint.Suspended)
	s.until(id, stint.Suspended)
}

// resume has an execution go on.
func (s *stage) resume(id stint.ExecutionID, r stint.ResumeRequest) {
	s.t.Helper()
	s.await("a resume", func(ctx context.Context, c *client.Client) (bool, error) {
		x, err := c.Show(ctx, id)
		if err == nil && x.Status != stint.Suspended {
			return true, nil
		}
		if err != nil && stint.CodeOf(err) != stint.NotFound {
			return false, err
		}
		_, err = c.Resume(ctx, id, r)
		return err == nil, err
	})
}

// playSuspend suspends an execution, stops everything in order, starts it again and
// has the execution go on.
func playSuspend(s *stage) {
	s.serve(1)
	out := s.path("out")
	id, want := s.halfway(out)
	s.suspend(id)
	s.rest()
	s.serve(1)
	s.until(id, stint.Suspended)
	s.open()
	s.resume(id, stint.ResumeRequest{})
	s.until(id, stint.Completed)
	s.checkOutput(out, want)
	s.checkPerformed(5)
	s.finish()
}

// playTakeBack takes a suspend back that is not complete.
func playTakeBack(s *stage) {
	s.serve(1)
	out := s.path("out")
	r, want := s.pipeline(out, s.stubborn())
	id := s.submit("stubborn", r)
	s.wait("a reduce operation in its midst", func() bool {
		_, err := os.Stat(s.path("begun"))
		return err == nil
	})
	grace := 30.0
	s.bring(id, "a suspend", func(ctx context.Context, c *client.Client) error {
		_, err := c.Suspend(ctx, id, stint.SuspendRequest{Grace: &grace})
		return err
	}, stint.Suspending)
	s.bring(id, "taking it back", func(ctx context.Context, c *client.Client) error {
		_, err := c.Resume(ctx, id, stint.ResumeRequest{})
		return err
	}, stint.InProgress, stint.Resuming)
	s.open()
	s.until(id, stint.Completed)
	s.checkOutput(out, want)
	s.checkPerformed(sceneMaps + sceneParts)
	s.finish()
}

// stubborn is an action that does not end when it is asked to.
func (s *stage) stubborn() stint.Action {
	return stint.Action{Command: []string{"sh", "-c", "trap '' TERM; " + s.ledger().line() + "; : > '" + s.path("begun") + "'; while [ ! -e '" + s.path("open") + "' ]; do sleep 0.02; done; exec cat"}}
}

// suspendHeld begins to suspend an execution, whose record stays on its way to
// storage until release is called.
func (s *stage) suspendHeld(output string) (id stint.ExecutionID, want string, release func()) {
	s.t.Helper()
	held := s.path("held")
	if err := os.Mkdir(held, 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.orders = append(s.orders, "suspend.after-claim-before-record:1:hold:"+held)
	s.serve(1)
	id, want = s.halfway(output)
	grace := 5.0
	s.bring(id, "a suspend", func(ctx context.Context, c *client.Client) error {
		_, err := c.Suspend(ctx, id, stint.SuspendRequest{Grace: &grace})
		return err
	}, stint.Suspending, stint.Suspended)
	s.await("a record on its way", func(context.Context, *client.Client) (bool, error) {
		_, pid := strikerIn(held)
		return pid != 0, nil
	})
	return id, want, func() { s.write("held/released", "") }
}

// playRecordAfterEnd ends an execution whose record is on its way to storage: it
// comes there when nobody wants it any more.
func playRecordAfterEnd(s *stage) {
	out := s.path("out")
	id, _, release := s.suspendHeld(out)
	s.bring(id, "the end", func(ctx context.Context, c *client.Client) error {
		_, err := c.Terminate(ctx, id)
		return err
	}, stint.Terminating, stint.Terminated)
	looks := 0
	s.await("an end that waits for the record", func(ctx context.Context, c *client.Client) (bool, error) {
		x, err := c.Show(ctx, id)
		if err == nil && x.Status.Final() && s.struck() == "" {
			return false, broken("%s is %s while its record is on its way", id, x.Status)
		}
		looks++
		return looks > 25 || x.Status.Final(), err
	})
	release()
	s.until(id, stint.Terminated)
	s.checkGone(out)
	s.finish()
}

// playRecordTakenBack takes a suspend back while its record is on its way.
func playRecordTakenBack(s *stage) {
	out := s.path("out")
	id, want, release := s.suspendHeld(out)
	s.bring(id, "taking it back", func(ctx context.Context, c *client.Client) error {
		_, err := c.Resume(ctx, id, stint.ResumeRequest{})
		return err
	}, stint.InProgress, stint.Resuming)
	release()
	s.open()
	s.until(id, stint.Completed)
	s.checkOutput(out, want)
	s.checkPerformed(5)
	s.finish()
}

// playWithdraw ends a suspended execution that this service has claimed once more,
// as one does that dies before it has recorded that it resumes.
func playWithdraw(s *stage) {
	s.serve(1)
	out := s.path("out")
	id, _ := s.halfway(out)
	s.suspend(id)
	saved := filepath.Join(s.data, "storage", "saved", string(id))
	var owner stint.Owner
	if err := json.Unmarshal([]byte(s.read(filepath.Join(saved, "owner-000001"))), &owner); err != nil {
		s.t.Fatal(err)
	}
	owner.Generation = 2
	b, err := json.Marshal(owner)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(saved, "owner-000002"), b, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.bring(id, "the end", func(ctx context.Context, c *client.Client) error {
		_, err := c.Terminate(ctx, id)
		return err
	}, stint.Terminated)
	s.until(id, stint.Terminated)
	s.checkGone(out)
	s.finish()
}

// playElsewhere suspends an execution on one service and has it go on on another.
func playElsewhere(s *stage) {
	s.serve(1)
	out := s.path("out")
	id, want := s.halfway(out)
	s.suspend(id)
	s.rest()
	s.open()
	storage := s.data + "/storage"
	s.data = s.path("elsewhere")
	s.serve(1)
	s.resume(id, stint.ResumeRequest{From: storage})
	s.until(id, stint.Completed)
	s.checkOutput(out, want)
	s.checkPerformed(5)
	s.finish()
}

// playAndBack has an execution go on on another service and come back.
func playAndBack(s *stage) {
	s.serve(1)
	out, home := s.path("out"), s.data
	id, want := s.halfway(out)
	s.suspend(id)
	s.rest()
	s.data = s.path("elsewhere")
	s.serve(1)
	begun, _ := filepath.Glob(s.path("begun.[23]"))
	for _, path := range begun {
		if err := os.Remove(path); err != nil {
			s.t.Fatal(err)
		}
	}
	s.resume(id, stint.ResumeRequest{From: home + "/storage"})
	s.midst()
	s.suspend(id)
	s.rest()
	s.data, s.promises = home, newPromises() // here it is known as it was when it left
	s.open()
	s.serve(1)
	s.until(id, stint.Suspended)
	s.resume(id, stint.ResumeRequest{})
	s.until(id, stint.Completed)
	s.checkOutput(out, want)
	s.finish()
}

// playDamage cuts what a node keeps while it is away: that is made again.
func playDamage(s *stage) {
	s.serve(1)
	out := s.path("out")
	r, want := s.pipeline(out, s.gate())
	id := s.submit("damage", r)
	s.completed(id, sceneMaps)
	s.rest()
	segments, _ := filepath.Glob(filepath.Join(s.data, "agents", "1", "blocks", string(id), "*.seg"))
	cut := 0
	for _, path := range segments {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			if err := os.Truncate(path, info.Size()-1); err != nil {
				s.t.Fatal(err)
			}
			cut++
		}
	}
	if cut == 0 {
		s.t.Fatalf("no segment has a block: %v", segments)
	}
	s.serve(1)
	s.open()
	s.until(id, stint.Completed)
	s.checkOutput(out, want)
	s.finish()
}

// playFewer starts the service with fewer agents while one that is left out has what
// an execution needs, changes its mind, and does so again.
func playFewer(s *stage) {
	s.serve(2)
	out := s.path("out")
	r, want := s.pipeline(out, s.gate())
	r.Nodes = 2
	id := s.submit("fewer", r)
	s.completed(id, sceneMaps)
	s.rest()
	s.serve(1)
	agent := filepath.Join(s.data, "agents", "2")
	s.await("the second agent to be drained", func(ctx context.Context, c *client.Client) (bool, error) {
		nodes, err := c.Nodes(ctx)
		return !exists(agent) || slices.ContainsFunc(nodes, func(n stint.Node) bool { return n.Status == stint.NodeDraining }), err
	})
	s.rest()
	s.serve(2)
	s.rest()
	s.serve(1)
	s.await("the second agent to be gone", func(ctx context.Context, c *client.Client) (bool, error) {
		_, err := c.Nodes(ctx)
		return !exists(agent+".retiring") && !exists(agent), err
	})
	s.open()
	s.until(id, stint.Completed)
	s.checkOutput(out, want)
	s.finish()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// playDismissed removes a node that is away, whose agent then comes back.
func playDismissed(s *stage) {
	s.serve(2)
	s.rest()
	s.serve(1)
	s.await("a node removed", func(ctx context.Context, c *client.Client) (bool, error) {
		list, err := c.Nodes(ctx)
		if err != nil {
			return false, err
		}
		for _, n := range list {
			if n.Name == "local-2" {
				return false, c.RemoveNode(ctx, n.ID)
			}
		}
		return true, nil
	})
	s.rest()
	s.serve(2)
	s.finish()
}

// bucket starts a server of object storage with a bucket, which the service reaches.
func (s *stage) bucket() (server *s3test.Server, storage string) {
	s.t.Helper()
	server = s3test.Start(s.t)
	server.Bucket(s.t, "bucket")
	s.env = append(s.env, server.Environ()...)
	return server, "s3://bucket/storage"
}

// checkBucket checks an output below a prefix of the bucket.
func (s *stage) checkBucket(server *s3test.Server, prefix, want string) {
	s.t.Helper()
	s.checkOutput(filepath.Join(server.Dir, "bucket", prefix), want)
}

// playBucket runs a pipeline twice to the same place in object storage, with system
// storage there, too, and ends a third one.
func playBucket(s *stage) {
	server, storage := s.bucket()
	s.serve(1, "--storage", storage)
	r, want := s.pipeline("s3://bucket/out", s.ledger().step("0", "cat"))
	s.until(s.submit("first", r), stint.Completed)
	r.Overwrite = true
	s.until(s.submit("second", r), stint.Completed)
	s.checkBucket(server, "out", want)
	s.checkPerformed(2 * (sceneMaps + sceneParts))
	r, _ = s.pipeline("s3://bucket/ended", s.gate())
	id := s.submit("ended", r)
	s.completed(id, sceneMaps)
	s.beginUpload(server, "ended/_stint/"+string(id)+"/part-00000.9")
	s.bring(id, "the end", func(ctx context.Context, c *client.Client) error {
		_, err := c.Terminate(ctx, id)
		return err
	}, stint.Terminated)
	s.until(id, stint.Terminated)
	s.wait("nothing left of the output", func() bool {
		found, _ := filepath.Glob(filepath.Join(server.Dir, "bucket", "ended", "*", "*", "*"))
		return len(found) == 0
	})
	s.finish()
}

// beginUpload leaves what an agent leaves that dies in the midst of a large part.
func (s *stage) beginUpload(server *s3test.Server, key string) {
	s.t.Helper()
	c, err := minio.NewCore(strings.TrimPrefix(server.Credentials.Endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(server.Credentials.AccessKey, server.Credentials.SecretKey, ""), Region: server.Credentials.Region,
	})
	if err == nil {
		_, err = c.NewMultipartUpload(s.t.Context(), "bucket", key, minio.PutObjectOptions{})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// playSwept has a service come upon the word about an execution that has ended, whose
// time is over.
func playSwept(s *stage) {
	s.serve(1)
	s.rest() // soon after its start a service looks for such words, and then not for long
	b, err := json.Marshal(stint.Ended{Status: stint.Completed, Generation: 2, At: time.Unix(1, 0), Until: time.Unix(2, 0)})
	if err != nil {
		s.t.Fatal(err)
	}
	folder := filepath.Join(s.data, "storage", "saved", "x-aaaaaaaaaaaaaaaa")
	if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(filepath.Join(folder, "ended"), b, 0o600)); err != nil {
		s.t.Fatal(err)
	}
	s.serve(1)
	s.await("the word gone", func(context.Context, *client.Client) (bool, error) {
		_, err := os.Stat(folder)
		return errors.Is(err, fs.ErrNotExist), nil
	})
	s.finish()
}

// playRotation performs more operations than the log of one slot takes.
func playRotation(s *stage) {
	s.serve(1)
	id := s.submit("rotation", stint.Request{
		Inputs: []string{"range:1..140000"}, SubsetSize: 1, Output: s.path("out"),
		Program: stint.Program{Name: "many", Stages: []stint.Stage{{Name: "map", Action: stint.Action{Native: "noop"}, Input: stint.Edge{Kind: stint.FromInput}}}},
	})
	s.completed(id, 140000) // which to list at each look would take long
	s.until(id, stint.Completed)
	s.finish()
}

// playBucketSuspend suspends an execution whose saved state goes to object storage.
func playBucketSuspend(s *stage) {
	server, storage := s.bucket()
	s.serve(1, "--storage", storage)
	id, want := s.halfway("s3://bucket/out")
	s.suspend(id)
	s.open()
	s.resume(id, stint.ResumeRequest{})
	s.until(id, stint.Completed)
	s.checkBucket(server, "out", want)
	s.checkPerformed(5)
	s.finish()
}
