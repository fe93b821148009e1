package stint_test

import (
	"testing"

	"stint"
)

func TestAnOperationWeighsTheSlotsWhoseMemoryItTakes(t *testing.T) {
	t.Parallel()
	const gib = int64(1) << 30
	for _, c := range []struct {
		takes  stint.Resources
		slots  int
		memory int64
		want   int
		fits   bool
	}{
		{stint.Resources{}, 4, 8 * gib, 1, true},
		{stint.Resources{Slots: 3}, 4, 8 * gib, 3, true},
		{stint.Resources{Memory: 2 * gib}, 4, 8 * gib, 1, true},
		{stint.Resources{Memory: 2*gib + 1}, 4, 8 * gib, 2, true},
		{stint.Resources{Memory: 8 * gib}, 4, 8 * gib, 4, true},
		{stint.Resources{Memory: 8*gib + 1}, 4, 8 * gib, 4, false},
		{stint.Resources{Memory: gib, Slots: 2}, 4, 8 * gib, 2, true},
		{stint.Resources{Memory: 6 * gib, Slots: 2}, 4, 8 * gib, 3, true},
		{stint.Resources{Slots: 5}, 4, 8 * gib, 5, false},
		{stint.Resources{Memory: 512 * gib}, 4, 0, 1, true},
		{stint.Resources{Memory: 1 << 62}, 1 << 16, 1<<62 + 1, 1 << 16, true},
		{stint.Resources{Memory: 1<<62 + 1}, 1 << 16, 1 << 62, 1 << 16, false},
	} {
		if got := c.takes.Weight(c.slots, c.memory); got != c.want {
			t.Errorf("%+v of %d slots and %d bytes weighs %d, want %d", c.takes, c.slots, c.memory, got, c.want)
		}
		if got := c.takes.FitIn(c.slots, c.memory); got != c.fits {
			t.Errorf("%+v fits into %d slots and %d bytes: %v", c.takes, c.slots, c.memory, got)
		}
	}
}
