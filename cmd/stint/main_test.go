package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stint"
	"stint/internal/agent"
	"stint/internal/provider/local"
)

// commandLine runs a command line and returns its exit code and what it printed.
func commandLine(t *testing.T, environ []string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	a := &app{out: &o, errs: &e}
	code = a.run(t.Context(), args, environ)
	return code, o.String(), e.String()
}

func TestExitCodesFollowErrors(t *testing.T) {
	t.Parallel()
	for code, want := range map[stint.Code]int{
		stint.Invalid: 2, stint.NotFound: 2, stint.Conflict: 2, stint.Denied: 5, stint.Unavailable: 5, stint.Unknown: 5,
		stint.Failed: 1, stint.Lost: 1, stint.Canceled: 1, stint.Internal: 1,
	} {
		if got := exitCode(stint.Errorf(code, "x")); got != want {
			t.Errorf("exitCode(%s) = %d, want %d", code, got, want)
		}
	}
	if got := exitCode(errors.New("x")); got != exitFailed {
		t.Errorf("exitCode of an unknown error = %d", got)
	}
}

func TestOutcomesFollowTheStatus(t *testing.T) {
	t.Parallel()
	want := map[stint.ExecutionStatus]int{stint.Completed: exitDone, stint.CompletedErrors: exitIncomplete, stint.Suspended: exitSuspended}
	for _, s := range stint.ExecutionStatuses() {
		code, known := want[s]
		if !known {
			code = exitFailed
		}
		var got outcome
		if err := ended(s); err != nil && !errors.As(err, &got) || int(got) != code {
			t.Errorf("ended(%s) = %v, want exit code %d", s, err, code)
		}
	}
}

func TestUsageErrorsShowTheUsageOfThatCommandInALine(t *testing.T) {
	t.Parallel()
	code, out, errs := commandLine(t, nil, "node", "list", "--nosuch")
	if code != exitUsage || out != "" || !strings.Contains(errs, "usage: stint node list") || strings.Count(errs, "\n") != 2 {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, out, errs)
	}
}

func TestHelpWinsOverWhateverElseIsAsked(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"run", "--nodes", "many", "--help"}, {"show", "--help"}, {"node", "-h"}} {
		if code, out, errs := commandLine(t, nil, args...); code != exitDone || !strings.Contains(out, "Usage:") || errs != "" {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", args, code, out, errs)
		}
	}
}

func TestFlagGivenTwiceIsRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"list", "--search", "a", "--search", "a"}, {"list", "--json", "--json"}, {"list", "--data", "a", "--data", "b"}} {
		if code, _, errs := commandLine(t, nil, args...); code != exitUsage || !strings.Contains(errs, "twice") {
			t.Errorf("%v: exit code %d, stderr %q", args, code, errs)
		}
	}
}

func TestEnvironmentSetsWhatFlagsDoNot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, _, errs := commandLine(t, []string{"STINT_DATA=" + dir + "/a", "STINT_OPERATION=map/1"}, "list")
	if !strings.Contains(errs, dir+"/a") {
		t.Errorf("stderr %q", errs)
	}
	_, _, errs = commandLine(t, []string{"STINT_DATA=" + dir + "/a"}, "list", "--data", dir+"/b")
	if !strings.Contains(errs, dir+"/b") {
		t.Errorf("stderr %q", errs)
	}
}

func TestUnknownAndEmptySettingsAreRefused(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{"STINT_DATTA=/x", "STINT_TOKEN="} {
		if code, _, errs := commandLine(t, []string{setting}, "list"); code != exitUsage || !strings.Contains(errs, strings.Split(setting, "=")[0]) {
			t.Errorf("%s: exit code %d, stderr %q", setting, code, errs)
		}
	}
}

func TestDefaultDataFolderIsTheUsers(t *testing.T) {
	t.Parallel()
	for want, environ := range map[string][]string{
		"/data/stint":                {"HOME=/home/u", "XDG_DATA_HOME=/data"},
		"/home/u/.local/share/stint": {"XDG_DATA_HOME=relative", "HOME=/home/u"},
		"":                           nil,
	} {
		if got := defaultData(environ); got != want {
			t.Errorf("defaultData(%q) = %q, want %q", environ, got, want)
		}
	}
}

func TestANodeThatWasRemovedGivesUpItsFolder(t *testing.T) {
	t.Parallel()
	for _, attached := range []bool{true, false} {
		dir := folder(filepath.Join(t.TempDir(), "agent"))
		if err := os.Mkdir(string(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		var errs strings.Builder
		err := (&app{errs: &errs}).leave(dir, &agent.Refused{Attached: attached, Err: errors.New("it was removed")})
		var o outcome
		if stays := errors.As(err, &o) && o == local.DismissedExit; stays != attached || strings.Contains(errs.String(), "it was removed") != attached {
			t.Errorf("attached %v: %v; it said %q", attached, err, errs.String())
		}
		if _, err := os.Stat(string(dir)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("attached %v: the folder: %v", attached, err)
		}
	}
}
