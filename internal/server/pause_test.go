package server

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestBubbleAWatcherIsToldOfTheEndAtOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		changes []time.Duration // when something changes
		over    time.Duration   // from when on it is over
		want    time.Duration
	}{
		"a change waits for others":       {[]time.Duration{10 * time.Millisecond}, time.Hour, watchEvery},
		"a late change does not":          {[]time.Duration{300 * time.Millisecond}, time.Hour, 300 * time.Millisecond},
		"the end comes first":             {[]time.Duration{10 * time.Millisecond}, 5 * time.Millisecond, 10 * time.Millisecond},
		"the end comes soon after others": {[]time.Duration{10 * time.Millisecond, 20 * time.Millisecond}, 15 * time.Millisecond, 20 * time.Millisecond},
		"nothing changes":                 {nil, time.Hour, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				changed := make(chan struct{}, 1)
				for _, after := range tc.changes {
					time.AfterFunc(after, func() { signal(changed) })
				}
				over := func() bool { return time.Since(began) >= tc.over }
				if !pause(t.Context(), changed, over) || time.Since(began) != tc.want {
					t.Errorf("waited %v, want %v", time.Since(began), tc.want)
				}
			})
		})
	}
}
