package e2e

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"stint"
)

// onlyFile returns the one file of a folder below a storage.
func onlyFile(t *testing.T, folder ...string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(append(folder, "*")...))
	if err != nil || len(found) == 0 {
		t.Fatalf("nothing in %v: %v", folder, err)
	}
	return found[0]
}

func TestSavedStateThatIsNotWhatItWasIsRefusedByName(t *testing.T) {
	t.Parallel()
	g, id, storage := suspended(t)
	fresh := g.elsewhere("fresh")
	fresh.up(1)
	pristine := g.path("pristine")
	g.shell(`cp -a "$1" "$2"`, storage, pristine)
	listing, file := onlyFile(t, storage, "listings"), onlyFile(t, storage, "files")
	record, packs := saved(t, storage, id, "record-")[0], saved(t, storage, id, "pack-")
	if len(packs) < 2 {
		t.Fatalf("packs %v: want one of each node", packs)
	}
	change := func(path string, f func([]byte) []byte) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, f(b), 0o600)
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for _, c := range []struct {
		name   string
		damage func() error
		wants  []string
	}{
		{"record of a newer format", func() error {
			return change(record, func(b []byte) []byte { b[8] = 9; return b })
		}, []string{"format 9", "record-"}},
		{"record under the name of a later generation", func() error { return os.Rename(record, record[:len(record)-1]+"7") }, []string{"record-000007", "generation 1"}},
		{"record empty", func() error { return os.Truncate(record, 0) }, []string{"truncated"}},
		{"listing altered", func() error { return change(listing, flip) }, []string{filepath.Base(listing)}},
		{"listing gone", func() error { return os.Remove(listing) }, []string{filepath.Base(listing)}},
		{"program file gone", func() error { return os.Remove(file) }, []string{filepath.Base(file)}},
		{"program file altered", func() error { return change(file, flip) }, []string{filepath.Base(file)}},
		{"pack longer", func() error { return change(packs[0], func(b []byte) []byte { return append(b, 0) }) }, []string{filepath.Base(packs[0])}},
		{"one pack under the name of another", func() error {
			return change(packs[0], func([]byte) []byte { b, _ := os.ReadFile(packs[1]); return bytes.Clone(b) })
		}, []string{filepath.Base(packs[0])}},
		{"a pipe in the place of a pack", func() error { return errors.Join(os.Remove(packs[0]), syscall.Mkfifo(packs[0], 0o600)) }, []string{filepath.Base(packs[0])}},
		{"a link in the place of a pack", func() error {
			return errors.Join(os.Rename(packs[0], packs[0]+"x"), os.Symlink(packs[0]+"x", packs[0]))
		}, []string{filepath.Base(packs[0])}},
		{"half deleted", func() error { return errors.Join(os.Remove(record), os.Remove(packs[1])) }, []string{id, "record-"}},
		{"the storage's marker gone", func() error { return os.Remove(filepath.Join(storage, "stint-storage.json")) }, []string{storage, "not a storage"}},
		{"the storage of a newer format", func() error {
			return os.WriteFile(filepath.Join(storage, "stint-storage.json"), []byte(`{"format":2,"id":1}`), 0o600)
		}, []string{storage, "format 2"}},
	} {
		if err := c.damage(); err != nil {
			t.Fatal(err)
		}
		r := fresh.stint("resume", id, "--from", storage)
		if r.code != 2 {
			t.Errorf("%s: exit code %d", c.name, r.code)
		}
		contains(t, r.err, c.wants...)
		if out := fresh.ok("list", "--json"); strings.Contains(out, id) {
			t.Errorf("%s: the refused resume left something behind: %s", c.name, out)
		}
		g.shell(`rm -r "$1"; cp -a "$2" "$1"`, storage, pristine)
	}
	if x := fresh.execution("resume", id, "--from", storage); x.Status != stint.Completed {
		t.Errorf("status %s", x.Status)
	}
	g.check()
}

func TestAnOlderCopyOfSavedStateIsRefusedWhileTheExecutionGoesOn(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	storage, older := g.path("storage"), g.path("older")
	g.upWith(2, "--storage", storage)
	id := g.mapped()
	g.ok("suspend", id, "--grace", "0s")
	g.shell(`cp -a "$1" "$2"`, storage, older)
	g.ok("resume", id, "--detach")
	for _, from := range []string{older, storage} {
		r := g.stint("resume", id, "--from", from)
		if r.code != 2 {
			t.Errorf("from %s: exit code %d", from, r.code)
		}
		contains(t, r.err, id, "in progress")
	}
	g.open()
	g.ok("show", id, "--watch")
	g.check()
}

func TestAFullStorageDelaysASuspendAndLosesNothing(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	disk := g.upOnSmallDisk(2, "storage", 8)
	id := g.mapped()
	g.fill(disk + "/filler")
	suspend := g.begin("suspend", id, "--grace", "0s")
	g.wait("the reason", func() bool {
		x := g.execution("show", id)
		return x.Status == stint.Suspending && strings.Contains(x.Waiting, "no space left")
	})
	if left, err := os.ReadDir(disk + "/tmp"); err != nil || len(left) > 2 { // what is being tried again just now
		t.Errorf("left in the folder of temporary files: %v, %v", left, err)
	}
	if err := os.Remove(disk + "/filler"); err != nil {
		t.Fatal(err)
	}
	if r := g.finish(suspend); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	g.open()
	g.ok("resume", id)
	g.check()
}

func TestAServerDoesNotStartWithoutTheStorageThatItHasUsed(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	storage := g.path("storage")
	up := g.upWith(1, "--storage", storage)
	id := g.mapped()
	g.killAll(up)
	server := func() result {
		return g.stint("server", "--data", g.data, "--listen", "127.0.0.1:0", "--storage", storage)
	}
	if err := os.Rename(storage, storage+".away"); err != nil {
		t.Fatal(err)
	}
	for _, place := range []func() error{func() error { return nil }, func() error { return os.Mkdir(storage, 0o700) }} {
		if err := place(); err != nil {
			t.Fatal(err)
		}
		r := server()
		if r.code != 2 {
			t.Errorf("exit code %d", r.code)
		}
		contains(t, r.err, storage, "has used")
		if left, _ := filepath.Glob(filepath.Join(storage, "*")); len(left) > 0 {
			t.Errorf("written into the mount point: %v", left)
		}
	}
	if err := errors.Join(os.Remove(storage), os.Rename(storage+".away", storage)); err != nil {
		t.Fatal(err)
	}
	g.upWith(1, "--storage", storage)
	g.open()
	g.ok("show", id, "--watch")
	g.check()
}

func TestARecordThatHasLostItsLogIsRefused(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	up := g.upWith(1)
	id := g.mapped()
	for _, p := range g.processes("") { // so that none starts another
		_ = syscall.Kill(p.pid, syscall.SIGSTOP)
	}
	g.kill(" server ") // before its supervisor, whose end would wake it and have it close the record
	g.killAll(up)
	record := filepath.Join(g.data, "server", "store.db")
	if err := os.Rename(record+"-wal", record+".kept"); err != nil {
		t.Fatal(err)
	}
	r := g.stint("server", "--data", g.data, "--listen", "127.0.0.1:0")
	if r.code != 2 {
		t.Errorf("exit code %d", r.code)
	}
	contains(t, r.err, record, "-wal is missing")
	if err := os.Rename(record+".kept", record+"-wal"); err != nil {
		t.Fatal(err)
	}
	g.upWith(1)
	g.open()
	g.ok("show", id, "--watch")
	g.check()
}
