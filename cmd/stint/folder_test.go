package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stint"
	"stint/internal/object"
)

func testFolder(t *testing.T) folder {
	t.Helper()
	f, err := (&app{data: filepath.Join(t.TempDir(), "data")}).openFolder()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFolderHasOneOwnerAndSaysWho(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	if f.held() {
		t.Error("held before anybody took it")
	}
	l, err := f.take()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.name(holder{PID: 4711, Address: "https://127.0.0.1:7843", Since: time.Unix(1700000000, 0)}); err != nil {
		t.Fatal(err)
	}
	_, err = f.take()
	if !f.held() || stint.CodeOf(err) != stint.Conflict || !strings.Contains(err.Error(), "process 4711 at https://127.0.0.1:7843 since") {
		t.Errorf("held %v, take() = %v", f.held(), err)
	}
	inherited, err := unix.Dup(int(l.file.Fd())) // as by a process that is being started
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited) //nolint:errcheck // nothing is written
	l.release()
	if f.held() {
		t.Error("held after it was released")
	}
	again, err := f.take()
	if err != nil {
		t.Fatal(err)
	}
	again.release()
}

func TestFolderIsPrivateAndNeedsAParent(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	fi, err := os.Stat(string(f))
	if err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	if _, err := (&app{data: filepath.Join(t.TempDir(), "no", "data")}).openFolder(); stint.CodeOf(err) != stint.Invalid {
		t.Errorf("without a parent: %v", err)
	}
	if err := os.WriteFile(f.at("node.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&app{data: string(f)}).openFolder(); stint.CodeOf(err) != stint.Invalid {
		t.Errorf("an agent's folder: %v", err)
	}
}

func TestADataFolderOfAnyNameHasSystemStorage(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"/data", "/a b", "/100%", "/a#1", "/what?", "/run*[1]", "/grüße", "/a%20b"} {
		location, err := object.ParseLocation(folder(data).storage())
		if err != nil {
			t.Errorf("%s: %v", data, err)
			continue
		}
		if path, err := object.Path(location); err != nil || path != data+"/storage" {
			t.Errorf("system storage of %s is %s: %q, %v", data, location, path, err)
		}
	}
}
