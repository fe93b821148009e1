package object

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"stint"
	"stint/internal/object/s3test"
)

// heldGround is a ground with a second way to the same places, through other faults,
// and a third one through none.
func heldGround(t *testing.T, server *s3test.Server, f, second *faulty) (slow, other, direct ground) {
	t.Helper()
	slow, other = through(t, server, f), through(t, server, second)
	other.root, other.dir = slow.root, slow.dir
	return slow, other, slow.direct(server)
}

// clearedAtOnce holds a commit at one of its requests, and a clear of its execution at
// one of those until the commit has ended. Whatever they have done, nothing is left:
// neither an output that was taken back, nor a piece of one. Of all pairs of requests
// every sixth is tried.
func clearedAtOnce(t *testing.T, server *s3test.Server) {
	t.Helper()
	pairs := 0
	for i := 1; ; i++ {
		for j := 1 + i%6; ; j += 6 {
			atCommit, atClear := clearAtOnce(t, server, i, j)
			pairs++
			if !atCommit {
				if pairs < 60 {
					t.Errorf("only %d pairs", pairs)
				}
				return
			}
			if !atClear {
				break
			}
		}
	}
}

// clearAtOnce holds the i-th request of a commit and the j-th of a clear, and says
// which of them had one.
func clearAtOnce(t *testing.T, server *s3test.Server, i, j int) (atCommit, atClear bool) {
	t.Helper()
	var ofCommit, ofClear faulty
	slow, clearing, direct := heldGround(t, server, &ofCommit, &ofClear)
	turn := Turn{Execution: ours, Generation: 2, Stint: 3}
	parts := direct.stage(t, "out", ours, "one\n", "two\n")
	held, going, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	goOn := sync.OnceFunc(func() { close(going) })
	defer goOn()
	ofCommit.set(func(n int, _ *http.Request, _ http.ResponseWriter) bool {
		if n == i {
			close(held)
			<-going
		}
		return false
	}, nil)
	go func() {
		_, err := slow.access.Commit(t.Context(), slow.root+"/out", turn, "prog@blake3:00", parts, false)
		ended <- err
	}()
	select {
	case <-held:
	case err := <-ended:
		check(t, err)
		return false, false
	}
	var at string
	var said error
	ofClear.set(func(n int, r *http.Request, _ http.ResponseWriter) bool {
		if n == j {
			atClear, at = true, r.Method+" "+r.URL.Path
			goOn()
			said = <-ended
		}
		return false
	}, nil)
	check(t, clearing.access.Clear(t.Context(), clearing.root+"/out", turn))
	if !atClear {
		goOn()
		said = <-ended
	}
	ofCommit.end()
	if left := direct.found(t, "out"); len(left) > 0 {
		t.Errorf("commit held at %d, clear at %d (%s): left %v; the commit says %v", i, j, at, left, said)
	}
	check(t, os.RemoveAll(slow.dir))
	return true, atClear
}

// copiedMeanwhile has a clear take back the parts of a commit, and what is staged is
// gone later than the commit has copied it once more: nobody knows of these copies but
// the commit.
func copiedMeanwhile(t *testing.T, server *s3test.Server) {
	t.Helper()
	var ofCommit, ofClear faulty
	slow, clearing, direct := heldGround(t, server, &ofCommit, &ofClear)
	parts := direct.stage(t, "out", ours, "one\n")
	held, going, cleared := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	ofClear.set(func(_ int, r *http.Request, _ http.ResponseWriter) bool {
		if r.URL.Query().Has("uploads") { // comes after the parts, and before what is staged
			close(held)
			<-going
		}
		return false
	}, nil)
	copied, ended := false, false
	ofCommit.set(func(_ int, r *http.Request, _ http.ResponseWriter) bool {
		switch {
		case r.Header.Get("X-Amz-Copy-Source") != "":
			copied = true
			go func() { cleared <- clearing.access.Clear(t.Context(), clearing.root+"/out", Turn{Execution: ours}) }()
			select {
			case <-held:
			case err := <-cleared:
				t.Errorf("cleared without a look at uploads: %v", err)
				cleared <- err
			}
		case copied && !ended && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+intentName):
			ended = true
			close(going)
			check(t, <-cleared)
		}
		return false
	}, nil)
	_, err := slow.access.Commit(t.Context(), slow.root+"/out", Turn{Execution: ours}, "prog@blake3:00", parts, false)
	wantCode(t, err, stint.Lost, "nothing is staged")
	if left := direct.found(t, "out"); len(left) > 0 || !ended {
		t.Errorf("came to its end: %v, left %v", ended, left)
	}
}

// lateLeavesOthers clears an execution while its commit is held at each of its
// requests, and lets another commit when that commit is about to delete what says
// that it goes on: it deletes nothing that has come meanwhile.
func lateLeavesOthers(t *testing.T, server *s3test.Server) {
	t.Helper()
	turn := Turn{Execution: ours, Generation: 2, Stint: 3}
	came := 0
	for at, more := 1, true; more; at++ {
		var held, other atomic.Bool
		var f faulty
		slow, _, direct := heldGround(t, server, &f, new(faulty))
		parts := direct.stage(t, "out", ours, "one\n", "two\n")
		f.set(func(n int, r *http.Request, _ http.ResponseWriter) bool {
			if n == at {
				check(t, direct.access.Clear(t.Context(), direct.root+"/out", turn))
				held.Store(true)
			} else if held.Load() && r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/"+manifestName) && other.CompareAndSwap(false, true) {
				check(t, direct.commit(t.Context(), "out", theirs, direct.stage(t, "out", theirs, "a", "b", "c"), false))
			}
			return false
		}, nil)
		_, err := slow.access.Commit(t.Context(), slow.root+"/out", turn, "prog@blake3:00", parts, false)
		f.end()
		if more = held.Load(); other.Load() {
			came++
			wantCode(t, err, stint.Lost, "nothing is staged")
			direct.checkIs(t, "out", theirs, "a", "b", "c")
		}
		check(t, os.RemoveAll(slow.dir))
	}
	if came == 0 {
		t.Error("no commit has deleted its mark")
	}
}

// clearsWithoutCondition has a server that refuses to delete under a condition.
func clearsWithoutCondition(t *testing.T, server *s3test.Server) {
	t.Helper()
	var f faulty
	g := through(t, server, &f)
	turn := Turn{Execution: ours, Stint: 1}
	_, err := g.access.Commit(t.Context(), g.root+"/out", turn, "prog@blake3:00", g.stage(t, "out", ours, "one\n"), false)
	check(t, err)
	refused := false
	f.set(func(_ int, r *http.Request, w http.ResponseWriter) bool {
		if r.Method != http.MethodDelete || r.Header.Get("If-Match") == "" {
			return false
		}
		refused = true
		w.WriteHeader(http.StatusNotImplemented)
		return true
	}, nil)
	check(t, g.access.Clear(t.Context(), g.root+"/out", turn))
	if left := g.found(t, "out"); len(left) > 0 || !refused {
		t.Errorf("refused: %v, left %v", refused, left)
	}
}

// begunInBucket is a place at which a commit of ours has written its intent.
func begunInBucket(t *testing.T, server *s3test.Server, turn Turn, content ...string) (ground, outputPrefix, []stint.Part) {
	t.Helper()
	g := bucketGround(t, server)
	parts := g.stage(t, "out", ours, content...)
	p, err := g.access.placeOf(g.root+"/out", ours)
	check(t, err)
	o, ok := p.(outputPrefix)
	if !ok {
		t.Fatalf("%T is no place in a bucket", p)
	}
	turn.Execution = ours
	in, err := makeIntent(turn, "prog@blake3:00", parts, nil)
	check(t, err)
	check(t, o.begin(t.Context(), in, top{}, begun{}, false))
	return g, o, parts
}

// intentOfItsTurn: a commit goes on with an intent of its own turn alone, so that the
// manifest names the turn of the commit that has written it.
func intentOfItsTurn(t *testing.T, server *s3test.Server) {
	t.Helper()
	g, _, parts := begunInBucket(t, server, Turn{Generation: 1, Stint: 4}, "one\n", "two\n")
	check(t, g.commitIn(t, Turn{Generation: 2, Stint: 4}, parts))
	m, err := g.access.ReadManifest(t.Context(), g.root+"/out")
	if err != nil || m.Generation != 2 || m.Stint != 4 {
		t.Errorf("the manifest says generation %d, stint %d, %v", m.Generation, m.Stint, err)
	}
}

// markOfTheEnded: a mark that a commit has left whose execution is over is in nobody's
// way, whenever it came.
func markOfTheEnded(t *testing.T, server *s3test.Server) {
	t.Helper()
	g, o, parts := begunInBucket(t, server, Turn{}, "one\n", "two\n")
	_, err := outputPrefix{o.prefix, theirs}.putMark(t.Context(), top{}, nil)
	check(t, err)
	check(t, g.commit(t.Context(), "out", ours, parts, false))
	g.checkIs(t, "out", ours, "one\n", "two\n")
}

// successOfAnother: who has deleted _SUCCESS too late gives it back.
func successOfAnother(t *testing.T, server *s3test.Server) {
	t.Helper()
	for name, drop := range map[string]func(context.Context, outputPrefix) error{
		"finish": func(ctx context.Context, o outputPrefix) error { return o.keepSuccess(ctx, Manifest{Execution: ours}) },
		"clear": func(ctx context.Context, o outputPrefix) error {
			return o.takeBack(ctx, Turn{Execution: ours, Stint: 1})
		},
	} {
		var f faulty
		slow, _, direct := heldGround(t, server, &f, new(faulty))
		p, err := slow.access.placeOf(slow.root+"/out", ours)
		check(t, err)
		o, ok := p.(outputPrefix)
		if !ok {
			t.Fatalf("%T is no place in a bucket", p)
		}
		_, err = o.putMark(t.Context(), top{}, nil)
		check(t, err)
		came := false
		f.set(func(_ int, r *http.Request, _ http.ResponseWriter) bool {
			if r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/"+successName) && !came {
				came = true
				check(t, direct.commit(t.Context(), "out", theirs, direct.stage(t, "out", theirs, "a", "b"), false))
			}
			return false
		}, nil)
		if err := drop(t.Context(), o); err != nil || !came {
			t.Errorf("%s: %v, %v", name, came, err)
		}
		direct.checkIs(t, "out", theirs, "a", "b")
		check(t, os.RemoveAll(slow.dir))
	}
}
