package main

import (
	"time"

	"stint"
)

// parseSpan reads the value of a flag that is a span of time.
func parseSpan(flag, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, stint.Errorf(stint.Invalid, "%s %.80q: expected a span of time, as 90s, 10m or 2h", flag, text)
	}
	return d, nil
}

// parseMoment reads the value of a flag that is a time: a date, or a span from now.
func parseMoment(flag, text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(d).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, stint.Errorf(stint.Invalid, "%s %.80q: expected a time, as 2026-01-31T18:00:00+01:00, or a span from now, as 90s or 2h", flag, text)
	}
	return t.UTC(), nil
}

// parseGrace reads --grace as requests want it.
func parseGrace(text string) (*float64, error) {
	d, err := parseSpan("--grace", text)
	if err != nil {
		return nil, err
	}
	seconds := d.Seconds()
	if _, err := stint.ParseGrace(&seconds); err != nil {
		return nil, stint.Errorf(stint.Invalid, "--grace %.80q: expected at most 24h", text)
	}
	return &seconds, nil
}
