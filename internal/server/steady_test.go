package server

import (
	"testing"
	"time"
)

func TestTheTimeGoesOnWhenTheWallClockIsSetBack(t *testing.T) {
	t.Parallel()
	const hour = int64(3600_000)
	c, start := &steady{}, int64(1_700_000_000_000)
	for _, step := range []struct {
		what      string
		wall      int64
		ran       time.Duration
		wantSince int64
	}{
		{"at first", start, 0, 0},
		{"a second later", start + 1000, time.Second, 1000},
		{"set back by three hours", start - 3*hour + 1000, time.Second, 1000},
		{"a second after that", start - 3*hour + 2000, 2 * time.Second, 2000},
		{"parts of a millisecond", start - 3*hour, 2*time.Second + 600*time.Microsecond, 2000},
		{"more of them", start - 3*hour, 2*time.Second + 1200*time.Microsecond, 2001},
		{"all of them count", start - 3*hour, 2*time.Second + 2400*time.Microsecond, 2002},
		{"and go on to", start - 3*hour, 2*time.Second + 3*time.Millisecond, 2003},
		{"set right", start + 3000, 3 * time.Second, 3000},
		{"set forwards", start + hour, 4 * time.Second, hour},
		{"of who has read its clocks earlier", start + hour - 50, 4*time.Second - 50*time.Millisecond, hour},
		{"after that", start, 5 * time.Second, hour + 1000},
	} {
		if got := c.millis(step.wall, step.ran) - start; got != step.wantSince {
			t.Errorf("%s: %d ms since the start, want %d", step.what, got, step.wantSince)
		}
	}
}
