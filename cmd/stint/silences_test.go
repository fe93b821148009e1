package main

import (
	"testing"
	"time"

	"stint"
)

func TestSilencesOfNodesAreInOrder(t *testing.T) {
	t.Parallel()
	got, err := parseSilences("2s", "90s")
	if want := (silences{away: 2 * time.Second, lost: 90 * time.Second}); err != nil || got != want {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for _, bad := range [][2]string{{"500ms", "90s"}, {"90s", "90s"}, {"2m", "90s"}, {"soon", "90s"}, {"2s", "later"}, {"-2s", "90s"}} {
		if _, err := parseSilences(bad[0], bad[1]); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%v: %v, want a refusal", bad, err)
		}
	}
}
