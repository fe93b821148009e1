package sim

import (
	"slices"
	"strings"
	"testing"
)

func TestSchedulesAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	k := kept{
		law: "books", planted: "a second completion counts", why: "two nodes report the same operation",
		schedule: schedule{
			seed: 4711, chosen: true, heal: 12 * second, scene: "slow", at: []placement{{writing, 3, "AK"}, {committing, 1, "SK"}},
			only: []instance{{linkDown, 1}, {serverKilled, 3}, {serverKilled, 5}},
		},
	}
	again, err := parseKept(k.String())
	if err != nil {
		t.Fatal(err)
	}
	if again.String() != k.String() {
		t.Errorf("%s\nread and written again is\n%s", &k, &again)
	}
	const want = "go test ./internal/sim -run 'TestSeed$' -seed=4711 -faults='link down:1;server killed:3,5' -at='write block/3/AK;commit output/1/SK' -scene=slow -heal=12000"
	if got := k.command(); got != want {
		t.Errorf("the command is\n%s\nwant\n%s", got, want)
	}
}

func TestSchedulesAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"faults: server killed":    "is not KIND:NUMBER",
		"faults: server killled:1": "server killed, ",
		"faults: server killed:-1": "is not a number from 0",
		"at: write block/1":        "is not PHASE/NUMBER/FAULT",
		"at: write block/0/AK":     "is not a number from 1",
		"at: write blocks/1/AK":    "is none of",
		"at: write block/1/A":      "is none of the faults",
		"seed: x":                  "invalid syntax",
		"see: 1":                   "is not law, planted, seed",
	} {
		if _, err := parseKept(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestAScheduleIsShrunkToWhatBreaksTheLaw has a law be broken by two faults together, of
// which the later comes at ten seconds, at the end.
func TestAScheduleIsShrunkToWhatBreaksTheLaw(t *testing.T) {
	t.Parallel()
	var happened []instance
	for n := range 60 {
		happened = append(happened, instance{sessionCut, n})
	}
	run := func(s schedule) result {
		r := result{ended: 40 * second, happened: s.only}
		if s.heal > 0 {
			r.ended = s.heal + 10*second
		}
		if slices.Contains(s.only, happened[13]) && slices.Contains(s.only, happened[44]) && (s.heal == 0 || s.heal > 10*second) {
			r.err = &violation{law: "live"}
		} else if len(s.only) > 30 {
			r.err = &violation{law: "another"}
		}
		return r
	}
	broken := run(all(1).exactly(happened))
	got := shrink(run, all(1), &broken, 200)
	if !slices.Equal(got.only, []instance{happened[13], happened[44]}) || got.heal < 10*second || got.heal > 12*second {
		t.Errorf("it is shrunk to %s, healed at %d ms", got.faultsText(), got.heal/millisecond)
	}
	if got := shrink(run, all(1), &broken, 0); got.chosen {
		t.Errorf("without a try it is shrunk to %s", got.faultsText())
	}
}
