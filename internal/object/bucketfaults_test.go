package object

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7"

	"stint"
	"stint/internal/object/s3test"
)

// faulty is a way to the server on which something may happen to each request: fault
// answers in its place, or returns false. After passed the server has answered; what
// it said is kept from the client if that returns true.
type faulty struct {
	mu     sync.Mutex
	count  int
	fault  faultFunc
	passed passedFunc

	front *httptest.Server
}

type (
	faultFunc  = func(n int, r *http.Request, w http.ResponseWriter) bool
	passedFunc = func(n int, r *http.Request) bool
)

func (f *faulty) next() (int, faultFunc, passedFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	return f.count, f.fault, f.passed
}

// set replaces what happens, from the next request on, which is the first.
func (f *faulty) set(fault faultFunc, passed passedFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count, f.fault, f.passed = 0, fault, passed
}

// end lets no request through any more, and returns when those that the server has have
// come to their ends: also when nobody waits for them.
func (f *faulty) end() { f.front.Close() }

// direct is the same ground without faults.
func (g ground) direct(server *s3test.Server) ground {
	g.access = &Access{Environment: server.Getenv, Scratch: g.access.Scratch}
	return g
}

// through is a ground whose requests go through faults.
func through(t *testing.T, server *s3test.Server, f *faulty) ground {
	t.Helper()
	target, err := url.Parse(server.Credentials.Endpoint)
	check(t, err)
	proxy := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = target.Scheme, target.Host, r.In.Host
	}}
	f.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(context.WithoutCancel(r.Context())) // the server ends what it has begun
		n, fault, passed := f.next()
		if fault != nil && fault(n, r, w) {
			return
		}
		if passed == nil {
			proxy.ServeHTTP(w, r)
			return
		}
		said := httptest.NewRecorder()
		proxy.ServeHTTP(said, r)
		if passed(n, r) {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(w.Header(), said.Header())
		w.WriteHeader(said.Code)
		_, _ = w.Write(said.Body.Bytes())
	}))
	t.Cleanup(f.end)
	g := bucketGround(t, server)
	g.access.Environment = func(name string) string {
		if name == "AWS_ENDPOINT_URL" {
			return f.front.URL
		}
		return server.Getenv(name)
	}
	return g
}

func TestBucketsInTrouble(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, test := range map[string]func(t *testing.T, server *s3test.Server){
		"a commit goes on after death at any request":         goesOnAfterDeath,
		"what was done and not heard of is found out":         findsOutWhatWasDone,
		"a list that breaks off goes on":                      listGoesOn,
		"an answer that breaks off is asked for again":        bodyGoesOn,
		"a server without conditions is refused":              refusesNoConditions,
		"uploads that nobody has ended are given up":          givesUpUploads,
		"keys and credentials":                                credentialSets,
		"codes of what a server answers":                      answersHaveCodes,
		"a commit that was outrun neither replaces nor mixes": outrunCommit,
		"a commit that was outrun leaves what came after":     outrunByAnother,
		"a commit that was cleared makes no output":           clearedMeanwhile,
		"a commit and a clear at once leave nothing":          clearedAtOnce,
		"a late commit deletes nothing of another":            lateLeavesOthers,
		"what is copied while it is cleared goes":             copiedMeanwhile,
		"a server that deletes under no condition will do":    clearsWithoutCondition,
		"a manifest names the turn that wrote it":             intentOfItsTurn,
		"the mark of one that is over is in nobody's way":     markOfTheEnded,
		"who deletes _SUCCESS too late gives it back":         successOfAnother,
		"what is cleared is gone after death at any request":  clearedAfterDeath,
		"a list with many folders is had in pieces":           listsInPieces,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, server) })
	}
}

// goesOnAfterDeath stops a commit at its n-th request, before the server has it or
// after it has answered, for every n.
func goesOnAfterDeath(t *testing.T, server *s3test.Server) {
	t.Helper()
	for _, c := range []struct {
		old   int
		after bool
	}{{0, true}, {3, false}, {3, true}} {
		deaths := 0
		for ended := false; !ended; deaths++ {
			ended = dieAt(t, server, c.old, deaths+1, c.after)
		}
		if deaths < 15 {
			t.Errorf("only %d requests", deaths)
		}
	}
}

//nolint:revive // after is where it dies
func dieAt(t *testing.T, server *s3test.Server, old, at int, after bool) (ended bool) {
	t.Helper()
	f := &faulty{}
	g := through(t, server, f)
	var was []string
	for i := range old {
		was = append(was, fmt.Sprint("old ", i))
	}
	if old > 0 {
		check(t, g.commit(t.Context(), "out", theirs, g.stage(t, "out", theirs, was...), false))
	}
	parts := g.stage(t, "out", ours, "one\n", "two\n")
	ctx, die := context.WithCancel(t.Context())
	defer die()
	stop := func(n int) bool {
		if n >= at {
			die()
		}
		return n >= at
	}
	if after {
		f.set(nil, func(n int, _ *http.Request) bool { return stop(n) })
	} else {
		f.set(func(n int, _ *http.Request, _ http.ResponseWriter) bool {
			if stop(n) {
				panic(http.ErrAbortHandler)
			}
			return false
		}, nil)
	}
	err := g.commit(ctx, "out", ours, parts, old > 0)
	f.end()
	g = g.direct(server)
	if err != nil && ctx.Err() == nil {
		t.Fatalf("request %d: %v", at, err)
	}
	m, readErr := g.access.ReadManifest(t.Context(), g.root+"/out")
	if _, success := g.found(t, "out")[successName]; success && readErr != nil {
		t.Errorf("request %d: %s without a manifest: %v", at, successName, readErr)
	}
	var all strings.Builder
	if readErr == nil {
		if _, err := g.access.Copy(t.Context(), &all, g.root+"/out", AllParts); err != nil || m.Execution == ours && all.String() != "one\ntwo\n" || m.Execution == theirs && all.String() != strings.Join(was, "") {
			t.Errorf("request %d: the output of %s is %q, %v", at, m.Execution, all.String(), err)
		}
	}
	if at%3 == 0 && (readErr != nil || m.Execution == theirs) {
		check(t, g.access.Clear(t.Context(), g.root+"/out", Turn{Execution: ours}))
		for name, content := range g.found(t, "out") {
			if !strings.HasPrefix(content, "old") && m.Execution != theirs && name != successName {
				t.Errorf("request %d: left %s: %q", at, name, content)
			}
		}
		if readErr == nil {
			g.checkIs(t, "out", theirs, was...)
		}
		return false
	}
	check(t, g.commit(t.Context(), "out", ours, parts, old > 0))
	g.checkIs(t, "out", ours, "one\n", "two\n")
	return err == nil
}

// findsOutWhatWasDone loses the answer to every first request that writes.
func findsOutWhatWasDone(t *testing.T, server *s3test.Server) {
	t.Helper()
	for name, lose := range map[string]func(w http.ResponseWriter){
		"cut": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"500": func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
	} {
		f := &faulty{}
		g := through(t, server, f)
		target := server.Credentials.Endpoint
		seen := map[string]bool{}
		var mu sync.Mutex
		f.set(func(_ int, r *http.Request, w http.ResponseWriter) bool {
			mu.Lock()
			defer mu.Unlock()
			id := r.Method + r.URL.String() + r.Header.Get("If-None-Match")
			if r.Method != http.MethodPut || seen[id] {
				return false
			}
			seen[id] = true
			out := r.Clone(r.Context())
			out.RequestURI = ""
			u, err := url.Parse(target + r.URL.RequestURI())
			check(t, err)
			out.URL = u
			answer, err := http.DefaultTransport.RoundTrip(out)
			check(t, err)
			check(t, answer.Body.Close())
			lose(w)
			return true
		}, nil)
		s := g.storage(t, "storage")
		check(t, s.Create(t.Context(), "saved/x/owner-1", strings.NewReader("mine")))
		wantCode(t, s.Create(t.Context(), "saved/x/owner-1", strings.NewReader("mine")), stint.Conflict, "owner-1")
		if got := get(t, s, "saved/x/owner-1"); got != "mine" {
			t.Errorf("%s: %q", name, got)
		}
		parts := g.stage(t, "out", ours, "one\n", "two\n")
		check(t, g.commit(t.Context(), "out", ours, parts, false))
		g.checkIs(t, "out", ours, "one\n", "two\n")
	}
}

func listGoesOn(t *testing.T, server *s3test.Server) {
	t.Helper()
	f := &faulty{}
	g := through(t, server, f)
	for i := range 2100 {
		g.write(t, fmt.Sprintf("in/%05d", i), "x")
	}
	var broken atomic.Int64
	f.set(func(n int, r *http.Request, w http.ResponseWriter) bool {
		if n%3 != 0 || !r.URL.Query().Has("list-type") {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}, func(n int, r *http.Request) bool {
		if n%2 == 0 && r.URL.Query().Has("list-type") {
			broken.Add(1)
			return true
		}
		return false
	})
	l, err := g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/in/"}})
	if err != nil || len(l.Objects) != 2100 || broken.Load() == 0 {
		t.Errorf("%d objects, %d answers lost, %v", len(l.Objects), broken.Load(), err)
	}
}

func listsInPieces(t *testing.T, server *s3test.Server) {
	t.Helper()
	g := bucketGround(t, server)
	for i := range 1500 {
		g.write(t, fmt.Sprintf("in/d%d/%d", i%50, i), "x")
	}
	g.write(t, "in/_hidden/a", "x")
	g.write(t, "in/top", "x")
	l, err := g.access.List(t.Context(), Inputs{Locations: []string{g.root}})
	if err != nil || len(l.Objects) != 1501 || l.Skipped != 1 {
		t.Errorf("%d objects, skipped %d, %v", len(l.Objects), l.Skipped, err)
	}
}

func bodyGoesOn(t *testing.T, server *s3test.Server) {
	t.Helper()
	f := &faulty{}
	g := through(t, server, f)
	content := strings.Repeat("0123456789", 300_000)
	g.write(t, "in", content)
	l, err := g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/in"}})
	check(t, err)
	f.set(func(n int, r *http.Request, w http.ResponseWriter) bool {
		var from, to int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil || n > 4 {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(to-from+1))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(content)))
		w.Header().Set("ETag", `"`+l.Objects[0].Version+`"`)
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(w, content[from:from+(to-from)/2])
		panic(http.ErrAbortHandler)
	}, nil)
	r, err := g.access.OpenRange(t.Context(), l.Objects[0], 7, 2_999_990)
	check(t, err)
	defer r.Close() //nolint:errcheck // only read
	if got, err := io.ReadAll(r); err != nil || string(got) != content[7:2_999_997] {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n, _, _ := f.next(); n <= 5 {
		t.Errorf("only %d requests", n-1)
	}
}

func refusesNoConditions(t *testing.T, server *s3test.Server) {
	t.Helper()
	f := &faulty{}
	g := through(t, server, f)
	s := g.storage(t, "storage")
	for name, forget := range map[string]string{"creates twice": "If-None-Match", "replaces any": "If-Match"} {
		var seen sync.Map
		f.set(func(_ int, r *http.Request, w http.ResponseWriter) bool {
			if r.Method != http.MethodPut || r.Header.Get(forget) == "" {
				return false
			}
			if _, again := seen.LoadOrStore(r.URL.Path, true); !again && forget == "If-None-Match" {
				return false
			}
			w.Header().Set("ETag", `"another"`)
			return true
		}, nil)
		if err := probed(g.access.Probe(t.Context(), g.root+"/out", ours, false)); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), forget) || strings.Contains(err.Error(), "nil") {
			t.Errorf("%s: %v", name, err)
		}
		if left := g.found(t, "out"); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
		if err := s.SelfTest(t.Context()); forget == "If-None-Match" && (stint.CodeOf(err) != stint.Invalid || strings.Contains(err.Error(), "nil")) {
			t.Errorf("%s: self-test: %v", name, err)
		}
	}
}

func givesUpUploads(t *testing.T, server *s3test.Server) {
	t.Helper()
	g := bucketGround(t, server)
	g.stage(t, "out", ours, "one\n")
	p, err := g.access.prefix(g.root + "/out")
	check(t, err)
	c, err := p.client()
	check(t, err)
	_, err = c.NewMultipartUpload(t.Context(), p.name, p.at("_stint/"+string(ours)+"/op-9-1"), minio.PutObjectOptions{})
	check(t, err)
	check(t, g.access.Clear(t.Context(), g.root+"/out", Turn{Execution: ours}))
	for u := range c.ListIncompleteUploads(t.Context(), p.name, "out", true) {
		t.Errorf("left the upload of %s %v", u.Key, u.Err)
	}
}

func credentialSets(t *testing.T, server *s3test.Server) {
	t.Helper()
	g := bucketGround(t, server)
	g.write(t, "in", "x")
	set := server.Credentials
	set.Name = "lab"
	bad := set
	bad.Name, bad.SecretKey = "bad", "wrong"
	named := strings.Replace(g.root, "s3://", "s3://lab@", 1)
	access := new(Access)
	list := func(root string) error {
		l, err := access.List(t.Context(), Inputs{Locations: []string{root + "/in"}})
		if err == nil && (len(l.Objects) != 1 || l.Objects[0].URL != root+"/in") {
			t.Errorf("%+v", l)
		}
		return err
	}
	wantCode(t, list(named), stint.Invalid, "unknown_credentials")
	access.SetCredentials([]stint.CredentialSet{bad, set})
	check(t, list(named))
	wantCode(t, list(strings.Replace(named, "lab@", "bad@", 1)), stint.Invalid, "input_forbidden")
	denied := probed(access.Probe(t.Context(), strings.Replace(named, "lab@", "bad@", 1)+"/out", ours, false))
	wantCode(t, denied, stint.Denied, "output ")
	if text := denied.Error(); strings.Contains(text, "\n") || strings.Contains(text, "is an object") {
		t.Errorf("%q says more than that it is denied", text)
	}
	bad.Name = "lab"
	access.SetCredentials([]stint.CredentialSet{bad})
	wantCode(t, list(named), stint.Invalid, "input_forbidden")
	access.SetCredentials([]stint.CredentialSet{set})
	check(t, list(named))
	_, err := access.OpenStorage(t.Context(), named+"/storage")
	check(t, err)
	_, err = access.FindStorage(t.Context(), "s3://lab@no-such-bucket/storage")
	wantCode(t, err, stint.NotFound, "no such bucket")
	wantCode(t, probed(access.Probe(t.Context(), "s3://lab@no-such-bucket/out", ours, false)), stint.NotFound, "no-such-bucket")
	wantCode(t, list("s3://lab@no-such-bucket"), stint.NotFound, "no-such-bucket")
}

func answersHaveCodes(t *testing.T, server *s3test.Server) {
	t.Helper()
	f := &faulty{}
	g := through(t, server, f)
	g.write(t, "in", "x")
	l, err := g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/in"}})
	check(t, err)
	for status, want := range map[int]struct {
		code stint.Code
		text string
	}{
		http.StatusForbidden:          {stint.Denied, "input_forbidden"},
		http.StatusNotFound:           {stint.Invalid, "input changed"},
		http.StatusPreconditionFailed: {stint.Invalid, "input changed"},
		http.StatusServiceUnavailable: {stint.Unavailable, "in"},
	} {
		f.set(func(_ int, _ *http.Request, w http.ResponseWriter) bool { w.WriteHeader(status); return true }, nil)
		_, err := g.access.OpenRange(t.Context(), l.Objects[0], 0, 1)
		wantCode(t, err, want.code, want.text)
	}
	f.set(func(_ int, r *http.Request, w http.ResponseWriter) bool {
		if !r.URL.Query().Has("list-type") {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		_, _ = io.WriteString(w, `<ListBucketResult><Name>b</Name><Contents><Key>ice/a</Key><ETag>"1"</ETag><Size>1</Size><StorageClass>GLACIER</StorageClass></Contents></ListBucketResult>`)
		return true
	}, nil)
	_, err = g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/ice"}})
	wantCode(t, err, stint.Invalid, "input_unavailable")
	wantCode(t, err, stint.Invalid, "GLACIER")
	_, err = g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/_stint/x"}})
	wantCode(t, err, stint.Invalid, "reserved")
}

// outrunCommit holds a call back at each of its requests until another call of the
// same commit has come to its end.
func outrunCommit(t *testing.T, server *s3test.Server) {
	t.Helper()
	for at := 1; ; at++ {
		f := &faulty{}
		slow := through(t, server, f)
		fast := slow.direct(server)
		check(t, fast.commit(t.Context(), "out", theirs, fast.stage(t, "out", theirs, "1", "2", "3"), false))
		parts := fast.stage(t, "out", ours, "one\n", "two\n")
		held := false
		f.set(func(n int, _ *http.Request, _ http.ResponseWriter) bool {
			if n == at {
				held = true
				if err := fast.commit(t.Context(), "out", ours, parts, true); err != nil {
					t.Errorf("request %d: %v", at, err)
				}
			}
			return false
		}, nil)
		if err := slow.commit(t.Context(), "out", ours, parts, true); err != nil {
			t.Errorf("request %d: %v", at, err)
		}
		f.end()
		fast.checkIs(t, "out", ours, "one\n", "two\n")
		if !held {
			if at < 15 {
				t.Errorf("only %d requests", at)
			}
			return
		}
		check(t, os.RemoveAll(slow.dir))
	}
}

// outrunByAnother holds a call back at each of its requests until another call of
// the same commit has come to its end, and another execution has replaced that
// output; and clears what the call has left. Only names that it deletes at that
// moment cannot be saved: a bucket deletes under no condition.
func outrunByAnother(t *testing.T, server *s3test.Server) {
	t.Helper()
	third := stint.ExecutionID("x-" + strings.Repeat("c", 16))
	looked := 0
	for at := 1; ; at++ {
		f := &faulty{}
		slow := through(t, server, f)
		fast := slow.direct(server)
		check(t, fast.commit(t.Context(), "out", theirs, fast.stage(t, "out", theirs, "1", "2", "3"), false))
		parts := fast.stage(t, "out", ours, "one\n", "two\n")
		held, deletes := false, false
		f.set(func(n int, r *http.Request, _ http.ResponseWriter) bool {
			if n == at {
				held, deletes = true, r.Method == http.MethodPost || r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/part-")
				check(t, fast.commit(t.Context(), "out", ours, parts, true))
				check(t, fast.commit(t.Context(), "out", third, fast.stage(t, "out", third, "a", "b", "c"), true))
			}
			return false
		}, nil)
		err := slow.commit(t.Context(), "out", ours, parts, true)
		f.end()
		if !held {
			check(t, err)
			if looked < 10 {
				t.Errorf("looked at %d outputs", looked)
			}
			return
		}
		check(t, fast.access.Clear(t.Context(), fast.root+"/out", Turn{Execution: ours}))
		if !deletes {
			looked++
			fast.checkIs(t, "out", third, "a", "b", "c")
		}
		check(t, os.RemoveAll(slow.dir))
	}
}

// clearedMeanwhile holds a commit back at each of its requests until its execution was
// cleared, and its output taken back. Whatever it does then, nothing is there that
// could be taken for an output, nor anything that is in the way of the next.
func clearedMeanwhile(t *testing.T, server *s3test.Server) {
	t.Helper()
	turn := Turn{Execution: ours, Generation: 2, Stint: 3}
	for at := 1; ; at++ {
		f := &faulty{}
		slow := through(t, server, f)
		fast := slow.direct(server)
		parts := fast.stage(t, "out", ours, "one\n", "two\n")
		held := false
		f.set(func(n int, _ *http.Request, _ http.ResponseWriter) bool {
			if n == at {
				held = true
				check(t, fast.access.Clear(t.Context(), fast.root+"/out", turn))
			}
			return false
		}, nil)
		_, err := slow.access.Commit(t.Context(), slow.root+"/out", turn, "prog@blake3:00", parts, false)
		f.end()
		if !held {
			check(t, err)
			if at < 15 {
				t.Errorf("only %d requests", at)
			}
			return
		}
		if left := fast.found(t, "out"); len(left) > 0 {
			t.Errorf("request %d: left %v", at, left)
		}
		check(t, fast.commit(t.Context(), "out", theirs, fast.stage(t, "out", theirs, "a", "b", "c"), false))
		fast.checkIs(t, "out", theirs, "a", "b", "c")
		check(t, os.RemoveAll(slow.dir))
	}
}

// clearedAfterDeath stops the taking back of an output at each of its requests, and
// repeats it.
func clearedAfterDeath(t *testing.T, server *s3test.Server) {
	t.Helper()
	turn := Turn{Execution: ours, Stint: 1}
	for at := 1; ; at++ {
		f := &faulty{}
		g := through(t, server, f)
		parts := g.stage(t, "out", ours, "one\n", "two\n")
		_, err := g.access.Commit(t.Context(), g.root+"/out", turn, "prog@blake3:00", parts, false)
		check(t, err)
		ctx, die := context.WithCancel(t.Context())
		died := false
		f.set(nil, func(n int, _ *http.Request) bool {
			if n >= at {
				died = true
				die()
			}
			return n >= at
		})
		err = g.access.Clear(ctx, g.root+"/out", turn)
		die()
		f.end()
		g = g.direct(server)
		if !died {
			check(t, err)
		}
		if m, err := g.access.ReadManifest(t.Context(), g.root+"/out"); err == nil {
			var all strings.Builder
			if _, err := g.access.Copy(t.Context(), &all, g.root+"/out", AllParts); err != nil {
				t.Errorf("request %d: a manifest of stint %d is there, and %v", at, m.Stint, err)
			}
		} else if _, success := g.found(t, "out")[successName]; success {
			t.Errorf("request %d: %s without a manifest", at, successName)
		}
		check(t, g.access.Clear(t.Context(), g.root+"/out", turn))
		if left := g.found(t, "out"); len(left) > 0 {
			t.Errorf("request %d: left %v", at, left)
		}
		if !died {
			return
		}
	}
}
