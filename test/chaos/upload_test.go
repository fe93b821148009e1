package chaos

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // what the record of a service is written with

	"stint"
)

// uploadBytes is the size of a program that is on its way for some seconds at uploadRate.
const (
	uploadBytes = 3 << 20
	uploadRate  = "4mbit"
)

// largeProgram writes a folder with a program that has a file of a size, of content
// that cannot be compressed.
func (s *site) largeProgram(name string, size int) (folder string) {
	s.t.Helper()
	s.write(filepath.Join(name, "program.yaml"), "name: "+name+"\nstages:\n  - name: map\n    command: [cat, data]\n")
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	s.write(filepath.Join(name, "data"), string(b))
	return s.path(name)
}

// received is how much of the upload under way the server has; 0 if there is none.
func (s *site) received() (bytes int64) {
	s.t.Helper()
	paths, err := filepath.Glob(filepath.Join(s.data, "server", "uploads", "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

// checkUploaded checks that programs, and nothing else, are registered, each as one
// version that uploading it once more does not change, and that nothing is left over.
func (s *site) checkUploaded(folders ...string) {
	s.t.Helper()
	var before, after []stint.RegisteredProgram
	s.decode(&before, "program", "list")
	for _, folder := range folders {
		s.ok("program", "upload", folder)
	}
	s.decode(&after, "program", "list")
	versions := func(list []stint.RegisteredProgram) (text string) {
		for _, p := range list {
			if p.Uploaded != nil {
				text += fmt.Sprintf("%s@%s ", p.Name, p.Version)
			}
		}
		return text
	}
	if got := versions(after); got != versions(before) || strings.Count(got, "@") != len(folders) {
		s.t.Errorf("registered: %s, and after another upload %s", versions(before), got)
	}
	if n := s.received(); n > 0 {
		s.t.Errorf("%d bytes of uploads are left over", n)
	}
}

// The connection of an upload stops in its middle, for a moment: the same upload goes
// on to its end.
func TestAnUploadThatStopsInTheMiddleGoesOn(t *testing.T) {
	t.Parallel()
	s := newServed(t, 0)
	s.user.limit(uploadRate)
	server := s.the(s.stint + " server")
	var folders []string
	for i, c := range []struct {
		what       string
		stop, goOn func()
	}{
		{"both ways", func() { s.network.cut([]*host{s.user}, []*host{s.server}) }, func() { s.network.join([]*host{s.user}, []*host{s.server}) }},
		{"the server is not heard", func() { s.network.drop(s.server, s.user, 100) }, func() { s.network.join([]*host{s.user}, []*host{s.server}) }},
		{"the user is not heard", func() { s.network.drop(s.user, s.server, 100) }, func() { s.network.join([]*host{s.user}, []*host{s.server}) }},
		{"the server is paused", func() { server.signal(unix.SIGSTOP) }, func() { server.signal(unix.SIGCONT) }},
	} {
		folder := s.largeProgram(fmt.Sprintf("large%d", i), uploadBytes)
		folders = append(folders, folder)
		upload := s.begin("program", "upload", folder)
		s.wait("the middle of an upload", func() bool { return s.received() > uploadBytes/4 })
		c.stop()
		had, looks := int64(0), 0
		s.wait("an upload that does not go on", func() bool {
			if now := s.received(); now > had {
				had, looks = now, 0
			}
			looks++
			return looks > 20
		})
		if had >= uploadBytes {
			t.Errorf("%s: all had arrived", c.what)
		}
		c.goOn()
		if r := s.finish(upload); r.code != 0 {
			t.Errorf("%s: exit code %d\n%s", c.what, r.code, r.err)
		}
	}
	s.network.drop(s.user, s.server, 25)
	s.network.drop(s.server, s.user, 25)
	lossy := s.largeProgram("lossy", uploadBytes/32)
	s.patiently("program", "upload", lossy) // a connection may not come to be in time
	s.network.join([]*host{s.user}, []*host{s.server})
	s.checkUploaded(append(folders, lossy)...)
}

// Each request of an upload to system storage fails once after it was done.
func TestEachRequestOfAnUploadFailsOnceAfterItWasDone(t *testing.T) {
	t.Parallel()
	s, _ := newStored(t, 1)
	var folders []string
	s.walk(after500, requests(), []request{putObject, getObject, headObject}, func() {
		folder := s.largeProgram(fmt.Sprintf("kept%d", len(folders)), 1000)
		folders = append(folders, folder)
		s.ok("program", "upload", folder)
	})
	s.checkUploaded(folders...)
}

// System storage is away while a program is uploaded. A moment of that is waited for;
// later the upload is refused, and leaves nothing.
func TestAnUploadWhileStorageIsAway(t *testing.T) {
	t.Parallel()
	s, _ := newStored(t, 1)
	var folders []string
	for _, what := range []mischief{slowDown, expired, lostAnswer} {
		folder := s.largeProgram(fmt.Sprintf("kept%d", len(folders)), 1000)
		folders = append(folders, folder)
		r := &rule{what: what, kind: getObject} // nobody else reads now
		s.proxy.set(r)
		upload := s.begin("program", "upload", folder)
		s.wait("refused requests", func() bool { return s.proxy.count(r) > 10 })
		s.proxy.set()
		if r := s.finish(upload); r.code != 0 {
			t.Errorf("%s: exit code %d\n%s", what, r.code, r.err)
		}
	}
	s.checkUploaded(folders...)
	if *allFlag {
		s.proxy.set(&rule{what: slowDown})
		r := s.run("program", "upload", s.largeProgram("refused", 1000))
		s.proxy.set()
		if r.code != 5 || !strings.Contains(r.err, "s3://") {
			t.Errorf("exit code %d\n%s", r.code, r.err)
		}
		s.checkUploaded(folders...)
	}
}

// Another process holds the record while a program is to be written there. A moment
// of that is waited for; later the upload is refused.
func TestAnUploadWhileTheRecordIsHeld(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.up(1)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.data, "server", "store.db")+"?_txlock=immediate&_pragma=busy_timeout(60000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // nothing was written
	hold := func() (release func()) {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return func() { _ = tx.Rollback() } // it has written nothing
	}
	folder := s.largeProgram("kept", 1000)
	release := hold()
	upload := s.begin("program", "upload", folder)
	looks := 0
	s.wait("an upload that has arrived, and waits", func() bool {
		if s.received() > 1000 {
			looks++
		}
		return looks > 20
	})
	release()
	if r := s.finish(upload); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	if *allFlag {
		release := hold()
		r := s.run("program", "upload", s.largeProgram("refused", 1000))
		release()
		if r.code != 5 || !strings.Contains(r.err, "record_held") {
			t.Errorf("exit code %d\n%s", r.code, r.err)
		}
		t.Log(r.err)
	}
	s.checkUploaded(folder)
}
