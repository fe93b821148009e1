package chaos

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/object/s3test"
)

// walkFlag says how many requests of each kind a walk goes along.
var walkFlag = flag.Int("walk", 2, "how many requests of each kind fail in walks along the requests to storage, one in each run; 0: all")

const (
	bucket       = "data"
	smallObjects = 12
)

// stored is a service whose input, output and system storage lie in a bucket that it
// reaches through a proxy.
type stored struct {
	*site

	proxy  *storageProxy
	direct *minio.Client // past the proxy
	want   string
	runs   int
}

// newStored starts a service with so many agents. Beside a little text, the input
// has further objects of these contents.
func newStored(t *testing.T, nodes int, more ...string) (s *stored, up *running) {
	t.Helper()
	g := s3test.Start(t)
	g.Bucket(t, bucket)
	s = &stored{site: newSite(t), proxy: newStorageProxy(t, g.Credentials.Endpoint)}
	var err error
	s.direct, err = minio.New(strings.TrimPrefix(g.Credentials.Endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(g.Credentials.AccessKey, g.Credentials.SecretKey, ""), Region: g.Credentials.Region,
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Credentials.Endpoint = s.proxy.server.URL
	s.env = append(s.env, g.Environ()...)
	var all strings.Builder
	for i, text := range more {
		s.put(fmt.Sprintf("in/more-%d", i), text)
		all.WriteString(text)
	}
	for i := range smallObjects {
		var text strings.Builder
		for l := range 40 {
			fmt.Fprintf(&text, "key%02d\t%d %d\n", (i*7+l)%31, i, l*l)
		}
		s.put(fmt.Sprintf("in/%02d", i), text.String())
		all.WriteString(text.String())
	}
	s.want = sorted(all.String())
	return s, s.upStored(nodes)
}

func (s *stored) upStored(nodes int) *running {
	s.t.Helper()
	return s.up(nodes, "--storage", "s3://"+bucket+"/system")
}

func (s *stored) put(key, text string) {
	s.t.Helper()
	if _, err := s.direct.PutObject(s.t.Context(), bucket, key, strings.NewReader(text), int64(len(text)), minio.PutObjectOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stored) get(key string) string {
	s.t.Helper()
	o, err := s.direct.GetObject(s.t.Context(), bucket, key, minio.GetObjectOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := io.ReadAll(o)
	if err != nil {
		s.t.Fatalf("get %s: %v", key, err)
	}
	return string(b)
}

func (s *stored) keys(prefix string) []string {
	s.t.Helper()
	var keys []string
	for o := range s.direct.ListObjects(s.t.Context(), bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			s.t.Fatal(o.Err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// job returns the command that counts itself and shuffles the input, and the name of
// its output, another one each time. Its reduce operations wait for a file of that
// name if gated.
//
//nolint:revive // gated is how it goes
func (s *stored) job(gated bool) (args []string, output string) {
	s.t.Helper()
	s.runs++
	output = fmt.Sprintf("out-%d", s.runs)
	wait := ""
	if gated {
		wait = "until [ -e '" + s.path(output) + "' ]; do sleep 0.05; done\n"
	}
	mapper := s.write("map.sh", s.ledger().line()+"\nexec cat\n")
	reducer := s.write(output+".sh", s.ledger().line()+"\n"+wait+"exec cat\n")
	return []string{
		"run", "--map", "sh map.sh", "--reduce", "sh " + output + ".sh", "--partitions", "2", "--file", mapper, "--file", reducer,
		"--split", "files", "--subset-size", "1", "--input", "s3://" + bucket + "/in/", "--output", "s3://" + bucket + "/" + output,
	}, output
}

func (s *stored) open(output string) { s.write(output, "") }

// check checks that an output is what it is to be: each part is in the manifest,
// with its size and its sum, and nothing else is there; and no upload is open.
func (s *stored) check(output string) {
	s.t.Helper()
	var m struct {
		Parts []struct {
			Name  string `json:"name"`
			Bytes int    `json:"bytes"`
			Sum   string `json:"xxh3"`
		} `json:"parts"`
	}
	if err := json.Unmarshal([]byte(s.get(output+"/_manifest.json")), &m); err != nil {
		s.t.Fatal(err)
	}
	want := []string{output + "/_SUCCESS", output + "/_manifest.json"}
	var texts []string
	for _, p := range m.Parts {
		text := s.get(output + "/" + p.Name)
		if sum := fmt.Sprintf("%016x", xxh3.HashString(text)); len(text) != p.Bytes || sum != p.Sum {
			s.t.Errorf("%s of %s has %d bytes and sum %s, not %d and %s", p.Name, output, len(text), sum, p.Bytes, p.Sum)
		}
		texts, want = append(texts, text), append(want, output+"/"+p.Name)
	}
	if got := sorted(texts...); got != s.want {
		s.t.Errorf("%s has %d bytes, not those %d that it is to have", output, len(got), len(s.want))
	}
	if got := s.keys(output + "/"); !slices.Equal(got, want) {
		s.t.Errorf("%s consists of %v, not of %v", output, got, want)
	}
	for u := range s.direct.ListIncompleteUploads(s.t.Context(), bucket, "", true) {
		s.t.Errorf("an upload of %s is left open (%v)", u.Key, u.Err)
	}
}

// Each request of a small execution fails once after it was done, one in each run.
func TestEachRequestFailsOnceAfterItWasDone(t *testing.T) {
	t.Parallel()
	s, _ := newStored(t, 2)
	s.walk(after500, requests(), ofExecution(), s.perform)
}

// ofExecution lists the kinds of requests that every execution makes which reads and
// writes objects.
func ofExecution() []request {
	return []request{putObject, putIf, copyObject, listObjects, headObject, getObject, deleteMany}
}

// perform performs the job and checks its output.
func (s *stored) perform() {
	s.t.Helper()
	args, output := s.job(false)
	if r := s.run(args...); r.code != 0 {
		s.t.Errorf("exit code %d\n%s", r.code, r.err)
		return
	}
	s.check(output)
}

// A part of the output that is too long for one request.
func TestEachRequestOfALongPartFailsOnceAfterItWasDone(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("a long part ", 5000) + "\n"
	s, _ := newStored(t, 2, strings.Repeat(line, 17<<20/len(line))) // its lines are alike: all go to one part
	pieces := []request{beginUpload, uploadPart, endUpload}
	s.walk(after500, pieces, pieces, s.perform)
	if *allFlag {
		s.walk(lostAnswer, pieces, pieces, s.perform)
	}
}

// The same with a stop in the middle, whose state goes to system storage and comes
// back from there.
func TestEachRequestOfAStopFailsOnceAfterItWasDone(t *testing.T) {
	t.Parallel()
	s, _ := newStored(t, 2)
	s.walk(after500, requests(), ofExecution(), func() {
		args, output := s.job(true)
		id := strings.TrimSpace(s.ok(append(args, "--detach")...))
		s.wait("the map stage", func() bool { return s.execution("show", id).Stages[0].Operations.Completed == smallObjects })
		if r := s.run("suspend", id, "--grace", "0s"); r.code != 0 {
			s.t.Errorf("suspend: exit code %d\n%s", r.code, r.err)
			return
		}
		s.open(output)
		if r := s.run("resume", id); r.code != 0 {
			s.t.Errorf("resume: exit code %d\n%s", r.code, r.err)
			return
		}
		s.check(output)
	})
}

// walk performs something once for each request that it makes of each kind, which
// fails. Of some kinds it must make one.
func (s *stored) walk(what mischief, kinds, must []request, perform func()) {
	s.t.Helper()
	runs := 0
	for _, kind := range kinds {
		for k := 1; *walkFlag == 0 || k <= *walkFlag; k++ {
			r := &rule{what: what, kind: kind, at: k}
			s.proxy.set(r)
			perform()
			s.proxy.set()
			runs++
			if s.t.Failed() {
				s.t.Fatalf("with %s for the %s number %d", what, kind, k)
			}
			if s.proxy.count(r) == 0 {
				if k == 1 && slices.Contains(must, kind) {
					s.t.Errorf("no %s was made", kind)
				}
				break // it makes no more of them
			}
		}
	}
	s.t.Logf("%d runs", runs)
	s.checkPerformedOnce()
}

func (s *stored) checkPerformedOnce() {
	s.t.Helper()
	for o, attempts := range s.ledger().attempts() {
		if strings.HasPrefix(string(o.id), "map/") && len(attempts) > 1 {
			s.t.Errorf("%s was performed in attempts %v", o, attempts)
		}
	}
}

// Everything at a rate, with stops, kills and moves to another service in between.
func TestStorageThatMakesAllKindsOfMischief(t *testing.T) {
	t.Parallel()
	s, up := newStored(t, 3)
	var rules []*rule
	for _, what := range mischiefs() {
		rules = append(rules, &rule{what: what, share: 0.03, pause: 300 * time.Millisecond})
	}
	s.proxy.set(rules...)
	args, output := s.job(true)
	id := ""
	s.wait("an answer to the submission", func() bool {
		r := s.run(append(args, "--detach")...)
		id = strings.TrimSpace(r.out)
		if r.code != 0 && r.code != 5 { // it may be refused, never for good
			t.Fatalf("exit code %d\n%s", r.code, r.err)
		}
		return r.code == 0
	})
	s.wait("some map operations", func() bool { return s.shown(id).Operations.Completed >= 4 })
	s.the("agent", "agents/2 ").signal(9)
	s.patiently("suspend", id)
	s.patiently("resume", id, "--detach")
	s.wait("the map stage", func() bool {
		x := s.shown(id)
		return len(x.Stages) > 0 && x.Stages[0].Operations.Completed == smallObjects
	})
	s.patiently("suspend", id, "--grace", "0s")
	s.killAll(up)
	other := *s
	other.site = s.elsewhere("other")
	other.upStored(2)
	s.open(output)
	other.patiently("resume", id, "--from", "s3://"+bucket+"/system", "--detach")
	other.wait("the end", func() bool { return other.shown(id).Status.Final() })
	s.proxy.set()
	if x := other.execution("show", id); x.Status != stint.Completed {
		t.Fatalf("status %s: %v", x.Status, x.Error)
	}
	other.check(output)
	for _, r := range rules {
		t.Logf("%s: %d times", r.what, s.proxy.count(r))
	}
}

// shown returns the document of an execution, or an empty one if storage, which it
// may be read from, does not answer.
func (s *site) shown(id string) stint.Execution {
	s.t.Helper()
	r := s.run("show", id, "--json")
	var x stint.Execution
	if r.code == 5 {
		return x
	}
	if err := json.Unmarshal([]byte(r.out), &x); err != nil {
		s.t.Fatalf("show: exit code %d: %v\n%s", r.code, err, r.err)
	}
	return x
}

// patiently runs a command until it is not refused for a moment only.
func (s *site) patiently(args ...string) {
	s.t.Helper()
	s.wait(strings.Join(args, " "), func() bool {
		r := s.run(args...)
		if r.code != 0 && r.code != 5 {
			s.t.Fatalf("stint %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.err)
		}
		return r.code == 0
	})
}

// moreRefused is how many requests are refused after the reason was named: in the
// long run those of more than a minute.
func moreRefused() int {
	if *allFlag {
		return 250
	}
	return 30
}

// Storage refuses everything for a while. That is waited for, by its name.
func TestStorageThatIsAwayIsWaitedForByName(t *testing.T) {
	t.Parallel()
	for _, what := range []mischief{slowDown, expired, lostAnswer} {
		t.Run(string(what), func(t *testing.T) {
			if what == lostAnswer {
				extended(t)
			}
			t.Parallel()
			s, _ := newStored(t, 2)
			args, output := s.job(true)
			id := strings.TrimSpace(s.ok(append(args, "--detach")...))
			s.wait("the map stage", func() bool { return s.execution("show", id).Stages[0].Operations.Completed == smallObjects })
			r := &rule{what: what}
			s.proxy.set(r)
			s.open(output)
			said := ""
			s.wait("a reason", func() bool {
				said = s.execution("show", id).Waiting
				return strings.Contains(said, "s3://")
			})
			t.Log("it waits: ", said)
			refused := s.proxy.count(r)
			s.wait("further tries", func() bool { return s.proxy.count(r) > refused+moreRefused() })
			if x := s.execution("show", id); x.Status != stint.InProgress {
				t.Errorf("status %s: %v", x.Status, x.Error)
			}
			s.proxy.set()
			if r := s.run("show", id, "--watch"); r.code != 0 {
				t.Errorf("exit code %d\n%s", r.code, r.err)
			}
			if x := s.execution("show", id); x.Status != stint.Completed {
				t.Fatalf("status %s: %v", x.Status, x.Error)
			}
			s.check(output)
		})
	}
}

// Credentials have expired when the input is to be listed, and are valid again soon.
func TestCredentialsThatExpireWhilePlanningAreWaitedFor(t *testing.T) {
	t.Parallel()
	s, _ := newStored(t, 1)
	args, output := s.job(false)
	r := &rule{what: expired, kind: listObjects}
	s.proxy.set(r)
	run := s.begin(args...)
	s.wait("refused requests", func() bool { return s.proxy.count(r) > 10 })
	s.proxy.set()
	if r := s.finish(run); r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.err)
	}
	s.check(output)
}
