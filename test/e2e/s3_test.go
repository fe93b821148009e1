package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/errgroup"

	"stint"
	"stint/internal/object/s3test"
)

// gateway is a real S3 server with a bucket.
type gateway struct {
	*home
	*s3test.Server
	client *minio.Client
}

const bucketName = "data"

// newGateway starts the server, which ends with the test. Whatever the test runs
// from then on reaches it with the credentials of its environment.
func newGateway(t *testing.T, h *home) *gateway {
	t.Helper()
	g := &gateway{home: h, Server: s3test.Start(t)}
	t.Cleanup(h.isSound) // while storage is there
	g.Bucket(t, bucketName)
	var err error
	g.client, err = minio.New(strings.TrimPrefix(g.Credentials.Endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(g.Credentials.AccessKey, g.Credentials.SecretKey, ""), Region: g.Credentials.Region,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.env = append(h.env, g.Environ()...)
	return g
}

func (g *gateway) put(key, content string) {
	g.t.Helper()
	_, err := g.client.PutObject(g.t.Context(), bucketName, key, strings.NewReader(content), int64(len(content)), minio.PutObjectOptions{})
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) get(key string) string {
	g.t.Helper()
	o, err := g.client.GetObject(g.t.Context(), bucketName, key, minio.GetObjectOptions{})
	if err != nil {
		g.t.Fatal(err)
	}
	b, err := io.ReadAll(o)
	if err != nil {
		g.t.Fatalf("get %s: %v", key, err)
	}
	return string(b)
}

// keys returns the keys below a prefix, in order.
func (g *gateway) keys(prefix string) []string {
	g.t.Helper()
	var keys []string
	for o := range g.client.ListObjects(g.t.Context(), bucketName, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			g.t.Fatal(o.Err)
		}
		keys = append(keys, o.Key)
	}
	slices.Sort(keys)
	return keys
}

// outputOf returns the parts of an output in the bucket, by their names, and checks
// that nothing else is left there.
func (g *gateway) outputOf(prefix string) map[string]string {
	g.t.Helper()
	parts := make(map[string]string)
	success := false
	for _, key := range g.keys(prefix + "/") {
		switch name := strings.TrimPrefix(key, prefix+"/"); {
		case name == "_SUCCESS":
			success = true
		case strings.HasPrefix(name, "part-"):
			parts[name] = g.get(key)
		case name != "_manifest.json":
			g.t.Errorf("left below the output: %s", key)
		}
	}
	if !success {
		g.t.Errorf("output %s has no _SUCCESS", prefix)
	}
	return parts
}

// filesOf returns the parts of an output folder, by their names.
func (h *home) filesOf(output string) map[string]string {
	h.t.Helper()
	parts := make(map[string]string)
	names, _ := filepath.Glob(filepath.Join(output, "part-*"))
	for _, name := range names {
		parts[filepath.Base(name)] = h.read(name)
	}
	return parts
}

// upload puts the files of a folder below a prefix, under their relative names.
func (g *gateway) upload(folder, prefix string) {
	g.t.Helper()
	err := filepath.WalkDir(folder, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		relative, err := filepath.Rel(folder, path)
		if err == nil {
			g.put(prefix+"/"+filepath.ToSlash(relative), g.read(path))
		}
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

// wordCount is what counts words: in many operations, over cuts at any bytes.
func (h *home) wordCount(in, out string) []string {
	h.t.Helper()
	return []string{
		"run", "--map", "sh map.sh", "--reduce", "sh reduce.sh", "--file", h.write("map.sh", shellMap), "--file", h.write("reduce.sh", shellReduce),
		"--partitions", "3", "--subset-size", "1009", "--input", in, "--output", out,
	}
}

func TestBucketsAndFilesGiveTheSameBytes(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	g := newGateway(t, h)
	folder := h.text(12, 400)
	g.upload(folder, "in")
	h.up(3)
	h.ok(h.wordCount(folder, h.path("out"))...)
	want := h.filesOf(h.path("out"))
	if len(want) != 3 {
		t.Fatalf("%d parts", len(want))
	}
	x := h.execution(h.wordCount("s3://"+bucketName+"/in/", "s3://"+bucketName+"/out")...)
	if diff := cmp.Diff(want, g.outputOf("out")); diff != "" {
		t.Error(diff)
	}
	if x.Operations.Total < 20 {
		t.Errorf("%d operations: the objects were not cut", x.Operations.Total)
	}
	if printed := h.ok("output", string(x.ID)); printed != joined(want) {
		t.Errorf("what is printed has %d bytes, want %d", len(printed), len(joined(want)))
	}
	again := h.stint(h.wordCount("s3://"+bucketName+"/in/", "s3://"+bucketName+"/out")...)
	if again.code != 2 {
		t.Errorf("an output that is there was written again: exit code %d\n%s", again.code, again.err)
	}
}

func joined(parts map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range parts {
			if !yield(name) {
				return
			}
		}
	}) {
		b.WriteString(parts[name])
	}
	return b.String()
}

func TestCompressedObjectsAreReadAsWhatTheyHold(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	g := newGateway(t, h)
	g.put("in/a.txt", "one\ntwo")
	g.put("in/b.gz", zipped(t, "three\n")+zipped(t, "four"))
	g.put("in/c.zst", squeezed(t, "five\nsix\n"))
	h.up(2)
	h.ok("run", "--map", "cat", "--input", "s3://"+bucketName+"/in/*", "--output", h.path("out"), "--subset-size", "1")
	if got := joined(h.filesOf(h.path("out"))); got != "one\ntwo\nthree\nfour\nfive\nsix\n" {
		t.Errorf("read as %q", got)
	}
	g.put("bad/x.gz", "AB is no gzip")
	r := h.stint("run", "--map", "cat", "--input", "s3://"+bucketName+"/bad/", "--output", h.path("none"))
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	contains(t, r.err, "not_gzip", "41 42")
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func squeezed(t *testing.T, text string) string {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close() //nolint:errcheck // it writes nowhere
	return string(e.EncodeAll([]byte(text), nil))
}

func TestNamedCredentialsReachABucketAndAreNotShown(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	g := newGateway(t, h)
	g.put("in/x", "hello\n")
	h.env = nil // nodes have no credentials of their own
	h.up(2)
	if r := h.stint("run", "--map", "cat", "--input", "s3://lab@"+bucketName+"/in/", "--output", h.path("none")); r.code == 0 {
		t.Error("a set that is not there was used")
	}
	c := h.command("credentials", "set", "lab", "--endpoint", g.Credentials.Endpoint, "--region", g.Credentials.Region, "--access-key", g.Credentials.AccessKey)
	c.Stdin = strings.NewReader(g.Credentials.SecretKey + "\n")
	if r := h.finish(h.start(c)); r.code != 0 {
		t.Fatalf("set: %s", r.err)
	}
	h.ok("run", "--map", "cat", "--input", "s3://lab@"+bucketName+"/in/", "--output", "s3://lab@"+bucketName+"/out")
	if got := joined(g.outputOf("out")); got != "hello\n" {
		t.Errorf("output is %q", got)
	}
	list := h.ok("credentials", "list")
	contains(t, list, "lab", g.Credentials.Endpoint, "…test")
	h.isSound() // without the set, fsck cannot look at the output
	h.ok("credentials", "remove", "lab")
	if r := h.stint("run", "--map", "cat", "--input", "s3://lab@"+bucketName+"/in/", "--output", h.path("none")); r.code == 0 {
		t.Error("a set that was removed was used")
	}
	h.checkSecrecy(g.Credentials.SecretKey)
}

func TestProgramsDoNotSeeTheCredentialsOfTheirNode(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	g := newGateway(t, h)
	g.put("in/x", "hello\n")
	h.up(1)
	look := h.write("look.sh", "cat; env; tr '\\0' '\\n' < /proc/$PPID/environ\n")
	h.ok("run", "--map", "sh look.sh", "--file", look, "--input", "s3://"+bucketName+"/in/", "--output", h.path("out"))
	got := joined(h.filesOf(h.path("out")))
	contains(t, got, "hello\n", "STINT_INPUT=s3://"+bucketName+"/in/x\n")
	if strings.Contains(got, "AWS_") {
		t.Errorf("a program sees %s", got)
	}
}

// checkSecrecy looks for the secret in everything that was written.
func (h *home) checkSecrecy(secret string) {
	h.t.Helper()
	err := filepath.WalkDir(h.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(secret)) {
			h.t.Errorf("%s holds the secret", path)
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func TestSystemStorageInABucketOutlivesEverything(t *testing.T) {
	t.Parallel()
	l := newLong(t, 600)
	g := newGateway(t, l.home)
	storage := "s3://" + bucketName + "/system"
	up := l.upWith(3, "--storage", storage)
	id := strings.TrimSpace(l.ok(append(l.args, "--detach")...))
	l.until(l.operations / 3)
	l.ok("suspend", id)
	l.killAll(up)
	if err := os.RemoveAll(l.data); err != nil { // nothing but the bucket is left
		t.Fatal(err)
	}
	if len(g.keys("system/saved/"+id+"/")) == 0 {
		t.Error("nothing is saved in the bucket")
	}
	fresh := l.elsewhere("fresh")
	fresh.upWith(2)
	done := fresh.execution("resume", id, "--from", storage)
	if done.Status != stint.Completed || done.Operations.Reused == 0 {
		t.Errorf("status %s, %d reused", done.Status, done.Operations.Reused)
	}
	l.check(3)
}

func TestAnObjectThatChangesBetweenListingAndReadingIsFound(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	g := newGateway(t, h)
	for i := range 20 {
		g.put(fmt.Sprintf("in/%02d", i), fmt.Sprintf("%d\n", i))
	}
	h.up(1)
	mapper, performed := h.counter("0.2")
	run := h.begin("run", "--map", "sh count.sh", "--file", mapper, "--split", "files", "--subset-size", "1", "--input", "s3://"+bucketName+"/in/", "--output", h.path("out"))
	h.wait("the first operation", func() bool { return total(performed()) > 0 })
	g.put("in/19", "x\n") // as long as it was
	r := h.finish(run)
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	contains(t, r.err, "input changed", "in/19")
	if _, err := os.Stat(h.path("out/_SUCCESS")); err == nil {
		t.Error("there is an output")
	}
}

func TestAgentKilledWhileItBringsPartsToABucketCostsNothing(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	g := newGateway(t, h)
	const parts = 12
	in := h.numbered(40)
	reducer, performed := h.counter("0.3")
	h.holdBack(fmt.Sprint("reduce/", parts-1)) // what is staged is gone with the commit
	staged := func() int {
		return len(slices.DeleteFunc(g.keys("out/_stint/"), func(key string) bool { return !strings.Contains(key, "/part-") }))
	}
	h.up(3)
	run := h.begin("run", "--map", "cat", "--reduce", "sh count.sh", "--partitions", fmt.Sprint(parts), "--file", reducer, "--input", in, "--output", "s3://"+bucketName+"/out")
	for n := range 3 {
		h.wait("parts in the bucket", func() bool { return staged() > 3*n })
		h.kill(fmt.Sprintf("stint agent --data %s/agents/%d ", h.data, n+1))
	}
	h.open()
	if r := h.finish(run); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	output := g.outputOf("out")
	if diff := cmp.Diff(h.shell(`cat "$1"/* | sort`, in), sorted(joined(output))); diff != "" || len(output) != parts {
		t.Errorf("%d parts\n%s", len(output), diff)
	}
	if counts := performed(); len(counts) != parts || total(counts) > parts+3 {
		t.Errorf("operations performed: %v", counts)
	}
}

func TestTenThousandObjectsAreListedAndPlanned(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	g := newGateway(t, h)
	const objects = 10_000
	var group errgroup.Group
	group.SetLimit(32)
	for i := range objects {
		group.Go(func() error {
			text := fmt.Sprintf("%05d\n", i)
			_, err := g.client.PutObject(t.Context(), bucketName, "in/"+text[:5], strings.NewReader(text), int64(len(text)), minio.PutObjectOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	h.up(1)
	began := time.Now()
	var plan stint.PlanReport
	decode(t, h.ok("run", "--map", "cat", "--input", "s3://"+bucketName+"/in/", "--output", "s3://"+bucketName+"/out", "--dry-run", "--json"), &plan)
	t.Logf("%d objects listed and planned in %v", plan.Objects, time.Since(began))
	if plan.Objects != objects || plan.Bytes != 6*objects {
		t.Errorf("%d objects of %d bytes", plan.Objects, plan.Bytes)
	}
}

func TestInputOfTheWeb(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	var mu sync.Mutex
	ranges := make(map[string]bool)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		ranges[r.Header.Get("Range")] = true
		mu.Unlock()
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(w, r, "x.txt", time.Time{}, strings.NewReader(text.String()))
	}))
	t.Cleanup(server.Close)
	h.up(2)
	h.ok("run", "--map", "cat", "--input", server.URL+"/x.txt", "--subset-size", "20000", "--output", h.path("out"))
	if got := joined(h.filesOf(h.path("out"))); got != text.String() {
		t.Errorf("read as %d bytes, want %d", len(got), text.Len())
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ranges) < 5 {
		t.Errorf("asked for %v: the object was not cut", ranges)
	}
}
