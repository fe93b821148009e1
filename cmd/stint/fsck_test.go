package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"stint/internal/fsck"
)

func TestFsckEndsWithTheWorstThatItFound(t *testing.T) {
	t.Parallel()
	blind := []fsck.Unlooked{{Place: "storage", Failure: true}}
	for _, c := range []struct {
		found    fsck.Severity
		unlooked []fsck.Unlooked
		want     error
	}{
		{"", nil, nil},
		{fsck.Leftover, []fsck.Unlooked{{Place: "elsewhere"}}, nil},
		{fsck.Repairable, nil, outcome(exitIncomplete)},
		{fsck.Repairable, blind, outcome(exitUnreachable)},
		{"", blind, outcome(exitUnreachable)},
		{fsck.Lost, blind, outcome(exitFailed)},
	} {
		r := &fsck.Report{Unlooked: c.unlooked}
		if c.found != "" {
			r.Findings = []fsck.Finding{{Severity: c.found}}
		}
		if got := fsckOutcome(r); !errors.Is(got, c.want) {
			t.Errorf("%q, %v: %v, want %v", c.found, c.unlooked, got, c.want)
		}
	}
}

func TestALockIsHeldOnItsOwnDeviceAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // a test's
	if anyFlocked([]string{t.TempDir(), dir}) {
		t.Error("held before it is taken")
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if !anyFlocked([]string{t.TempDir(), dir}) {
		t.Error("not held")
	}
	name, err := lockedName(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	const locks = "1: POSIX  ADVISORY  WRITE 17 00:1b:3 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 WHICH 0 EOF\n"
	inode := name[strings.LastIndexByte(name, ':'):]
	for _, c := range []struct {
		which string
		want  bool
	}{
		{name, true},
		{"f1:02" + inode, false},
		{name + "0", false},
	} {
		if got := flockedIn(strings.ReplaceAll(locks, "WHICH", c.which), file.Name()); got != c.want {
			t.Errorf("%s: %t", c.which, got)
		}
	}
}
