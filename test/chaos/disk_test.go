package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"stint"
)

// smallDisks is what disks of a given size take.
var smallDisks = feature{
	name: "disks of a given size and number of files (tmpfs with size= and nr_inodes=; as root)",
	probe: sync.OnceValue(func() error {
		dir, err := os.MkdirTemp("", "stint-chaos-disk-")
		if err != nil {
			return err
		}
		defer os.Remove(dir) //nolint:errcheck // empty
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,nr_inodes=10"); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		return unix.Unmount(dir, unix.MNT_DETACH)
	}),
}

// disk is a file system of its own in a folder of the site.
type disk struct {
	t   *testing.T
	dir string
}

// disk mounts a disk of so many MiB and files on a folder, until the test ends.
func (s *site) disk(dir string, size, files int) *disk {
	s.t.Helper()
	requires(s.t, smallDisks)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,nr_inodes=%d,mode=700", size, files)); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			s.t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return &disk{t: s.t, dir: dir}
}

// shortage is what a disk runs out of.
type shortage string

const (
	noSpace shortage = "space"
	noFiles shortage = "files"
)

const fillerName = ".filler"

// exhaust takes all that is left of something.
func (d *disk) exhaust(what shortage) {
	d.t.Helper()
	filler := filepath.Join(d.dir, fillerName)
	if err := os.Mkdir(filler, 0o700); err != nil {
		d.t.Fatal(err)
	}
	take := d.takeSpace
	if what == noFiles {
		take = d.takeFiles
	}
	if err := take(filler); !errors.Is(err, unix.ENOSPC) {
		d.t.Fatal(err)
	}
}

func (*disk) takeSpace(filler string) error {
	f, err := os.Create(filepath.Join(filler, "bytes"))
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is not whole anyhow
	for _, size := range []int{1 << 20, 4 << 10, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	return err
}

func (*disk) takeFiles(filler string) error {
	for n := 0; ; n++ {
		if err := os.WriteFile(filepath.Join(filler, fmt.Sprint(n)), nil, 0o600); err != nil {
			return err
		}
	}
}

// relieve gives back what was taken.
func (d *disk) relieve() {
	d.t.Helper()
	if err := os.RemoveAll(filepath.Join(d.dir, fillerName)); err != nil {
		d.t.Fatal(err)
	}
}

// stopped is an execution whose operations of one stage wait for a gate.
type stopped struct {
	*site
	*promises
	want string
	args []string
	id   stint.ExecutionID
}

const stoppedOperations = 12

// stopped prepares an execution whose map or reduce operations wait for [stopped.open].
func (s *site) stopped(stage string) *stopped {
	s.t.Helper()
	x := &stopped{site: s, promises: newPromises()}
	var lines []string
	for i := range stoppedOperations {
		lines = append(lines, fmt.Sprintf("key%d\t%07d\n", i%7, i)) // thirteen bytes each
	}
	x.want = sorted(lines...)
	in := s.write("in.txt", strings.Join(lines, ""))
	wait := "while [ ! -e '" + s.path("open") + "' ]; do sleep 0.02; done"
	gates := map[string]string{"map": ":", "reduce": ":"}
	gates[stage] = wait
	script := func(name string) string {
		return s.write(name+".sh", s.ledger().line()+"\n"+gates[name]+"\nexec cat\n")
	}
	x.args = []string{
		"run", "--map", "sh map.sh", "--reduce", "sh reduce.sh", "--file", script("map"), "--file", script("reduce"), "--partitions", "2",
		"--subset-size", "13", "--input", in, "--output", "out/x", "--backoff", "50ms", "--detach",
	}
	return x
}

func (x *stopped) open() { x.t.Helper(); x.write("open", "") }

// submit starts the execution and returns when so many operations were begun.
func (x *stopped) submit(begun int) {
	x.t.Helper()
	x.id = stint.ExecutionID(strings.TrimSpace(x.ok(x.args...)))
	x.wait(fmt.Sprintf("%d performances", begun), func() bool { return x.ledger().performances() >= begun })
	x.note()
}

// note notes what is completed.
func (x *stopped) note() {
	x.t.Helper()
	c, err := x.service()
	if err == nil {
		err = x.seeOperations(x.t.Context(), c, x.id)
	}
	if err != nil {
		x.t.Fatal(err)
	}
}

// told waits until the service says these words of the execution, as the reason for
// which it waits or in its explanation.
func (x *stopped) told(words ...string) string {
	x.t.Helper()
	var said string
	defer func() {
		if x.t.Failed() {
			x.t.Logf("it says: %s", said)
		}
	}()
	x.wait(fmt.Sprintf("the service to say %q", words), func() bool {
		doc := x.execution("show", string(x.id))
		said = doc.Waiting + "\n" + x.ok("explain", string(x.id))
		for _, w := range words {
			if !strings.Contains(said, w) {
				return false
			}
		}
		return true
	})
	return said
}

// checkEnd waits for the end, without a restart of anything, and checks it.
func (x *stopped) checkEnd() {
	x.t.Helper()
	if r := x.run("show", string(x.id), "--watch"); r.code != 0 {
		x.t.Errorf("show: exit code %d\n%s", r.code, r.err)
	}
	if doc := x.execution("show", string(x.id)); doc.Status != stint.Completed {
		x.t.Fatalf("status %s: %s", doc.Status, doc.Reason())
	}
	x.checkSorted(x.path("out/x"), x.want)
	for _, again := range x.again(x.ledger()) {
		x.t.Error(again)
	}
}

// eachShortage runs a test for a disk that runs out of space and for one that runs
// out of files.
func eachShortage(t *testing.T, test func(*testing.T, shortage)) {
	t.Helper()
	for _, what := range []shortage{noSpace, noFiles} {
		t.Run(string(what), func(t *testing.T) {
			t.Parallel()
			test(t, what)
		})
	}
}

func TestDiskOfANodeIsFullDuringMap(t *testing.T) {
	t.Parallel()
	eachShortage(t, func(t *testing.T, what shortage) { t.Helper(); fullDuring(t, what, "map", 1) })
}

func TestDiskOfANodeIsFullDuringReduce(t *testing.T) {
	t.Parallel()
	eachShortage(t, func(t *testing.T, what shortage) { t.Helper(); fullDuring(t, what, "reduce", stoppedOperations+1) })
}

// fullDuring lets the disk of the only node be full while operations of a stage are
// in progress.
func fullDuring(t *testing.T, what shortage, stage string, begun int) {
	t.Helper()
	s := newSite(t)
	d := s.disk(filepath.Join(s.data, "agents", "1"), 120, 400)
	s.up(1)
	x := s.stopped(stage)
	x.submit(begun)
	d.exhaust(what)
	t.Log(x.told("local-1", d.dir, "the disk is full")) // what is in progress waits, and the rest is not begun
	x.open()
	if stage == "map" && what == noSpace { // every operation leaves output on the disk of its node
		x.told("no space left on device", d.dir)
	}
	x.note()
	d.relieve()
	x.checkEnd()
}

func TestDiskOfTheOutputIsFull(t *testing.T) {
	t.Parallel()
	eachShortage(t, func(t *testing.T, what shortage) {
		t.Helper()
		s := newSite(t)
		d := s.disk(s.path("out"), 8, 60)
		s.up(2)
		x := s.stopped("reduce")
		x.submit(stoppedOperations + 1)
		d.exhaust(what)
		x.open()
		t.Log(x.told(d.dir, "no space left on device"))
		d.relieve()
		x.checkEnd()
	})
}

func TestStorageIsFullDuringSuspend(t *testing.T) {
	t.Parallel()
	eachShortage(t, func(t *testing.T, what shortage) {
		t.Helper()
		s := newSite(t)
		d := s.disk(s.path("storage"), 8, 200)
		s.up(2, "--storage", d.dir)
		x := s.stopped("reduce")
		x.submit(stoppedOperations + 1)
		d.exhaust(what)
		suspend := s.begin("suspend", string(x.id), "--grace", "0s")
		t.Log(x.told("saved", d.dir, "no space left on device"))
		if got := s.execution("show", string(x.id)).Status; got != stint.Suspending {
			t.Errorf("status %s", got)
		}
		d.relieve()
		if r := s.finish(suspend); r.code != 0 {
			t.Errorf("suspend: exit code %d\n%s", r.code, r.err)
		}
		x.open()
		s.ok("resume", string(x.id), "--detach")
		x.checkEnd()
	})
}

func TestDiskOfTheServerIsFull(t *testing.T) {
	t.Parallel()
	eachShortage(t, func(t *testing.T, what shortage) {
		t.Helper()
		s := newSite(t)
		d := s.disk(filepath.Join(s.data, "server"), 16, 200)
		s.up(2)
		x := s.stopped("map")
		x.submit(2)
		d.exhaust(what)
		x.open()
		r := s.run("run", "--map", "cat", "--input", "range:1..3", "--output", "out/more", "--detach")
		if what == noSpace { // the record lies in files that are there
			if r.code != 5 || !strings.Contains(r.err, "no_space") {
				t.Errorf("exit code %d\n%s", r.code, r.err)
			}
		}
		var list []stint.Execution
		s.decode(&list, "list")
		d.relieve()
		x.checkEnd()
		s.ok("run", "--map", "cat", "--input", s.path("in.txt"), "--output", "out/again")
	})
}
