package main

import (
	"errors"
	"testing"

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
