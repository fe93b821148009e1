package main

import (
	"testing"
	"time"
)

func TestAMomentIsADateOrASpanFromNow(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"0s":                        now,
		"90s":                       now.Add(90 * time.Second),
		"2h":                        now.Add(2 * time.Hour),
		"2026-01-31T18:00:00+01:00": now.Add(5 * time.Hour),
		"2020-01-01T00:00:00Z":      time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		"-1h":                       {},
		"tomorrow":                  {},
		"2026-01-31":                {},
		"":                          {},
	} {
		if got, err := parseMoment("--at", text, now); (err != nil) != want.IsZero() || err == nil && !got.Equal(want) {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}
