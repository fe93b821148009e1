package stint_test

import (
	"testing"
	"time"

	"stint"
)

func TestAGracePeriodIsTakenToTheMillisecond(t *testing.T) {
	t.Parallel()
	for ms := range 20_000 {
		want := time.Duration(ms) * time.Millisecond
		if got, err := stint.ParseGrace(new(want.Seconds())); got != want || err != nil {
			t.Fatalf("%v seconds are %v, %v", want.Seconds(), got, err)
		}
	}
}
