package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"stint"
)

// seatedLoop is a loop whose slots are seated with executions, each with a worker
// that takes what it is handed and with operations that are ready.
func seatedLoop(t *testing.T, takes map[stint.ExecutionID]stint.Resources, seats ...stint.ExecutionID) *loop {
	t.Helper()
	l := newTestLoop(t)
	l.slots, l.hello.Memory = nil, 8<<30
	for x, r := range takes {
		e := l.execution(x)
		e.spec = overRange(x, 100, stint.Action{Native: "noop"})
		e.spec.Stages[0].Resources = r
		g := grant(x, 1, 0, 100)
		for op := range uint32(100) {
			e.ready = append(e.ready, &order{grant: &g})
			e.ready[op].wire.Op = op
		}
	}
	for _, x := range seats {
		l.slots = append(l.slots, &slot{execution: x, ready: true, process: &process{execution: x, orders: make(chan batch, maxDepth)}})
	}
	return l
}

// inHand feeds the slots and returns how many operations each has.
func (l *loop) inHand(now time.Time) (list []int) {
	l.feed(now)
	for _, s := range l.slots {
		list = append(list, len(s.queue))
	}
	return list
}

// end ends what a slot has in hand.
func (l *loop) end(i int) { l.slots[i].queue = nil }

func TestWhatIsInHandWeighsNoMoreThanThereAreSlots(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		takes stint.Resources
		want  []int
	}{
		{stint.Resources{}, []int{1, 1, 1, 1}},
		{stint.Resources{Slots: 2}, []int{1, 1, 0, 0}},
		{stint.Resources{Slots: 3}, []int{1, 0, 0, 0}},
		{stint.Resources{Slots: 99}, []int{1, 0, 0, 0}}, // alone, as it was granted
		{stint.Resources{Memory: 2 << 30}, []int{1, 1, 1, 1}},
		{stint.Resources{Memory: 4 << 30}, []int{1, 1, 0, 0}},
		{stint.Resources{Memory: 5 << 30}, []int{1, 0, 0, 0}},
	} {
		l := seatedLoop(t, map[stint.ExecutionID]stint.Resources{execX: c.takes}, execX, execX, execX, execX)
		for range 3 {
			equal(t, "in hand", l.inHand(now), c.want)
			l.end(0) // the others go on; the first is fed again
		}
		equal(t, "in hand of others", len(l.slots[1].queue), c.want[1])
	}
}

func TestHeavyAndLightOperationsTakeTurns(t *testing.T) {
	t.Parallel()
	now := time.Now()
	l := seatedLoop(t, map[stint.ExecutionID]stint.Resources{execX: {}, execY: {Slots: 4}}, execX, execX, execX, execY)
	equal(t, "the light ones come first", l.inHand(now), []int{1, 1, 1, 0})
	l.end(0)
	equal(t, "the slots are emptied for the heavy one", l.inHand(now), []int{0, 1, 1, 0})
	l.end(1)
	l.end(2)
	equal(t, "the heavy one is alone", l.inHand(now), []int{0, 0, 0, 1})
	equal(t, "and stays so", l.inHand(now), []int{0, 0, 0, 1})
	l.end(3)
	equal(t, "then the light ones again", l.inHand(now), []int{1, 1, 1, 0})
	for i := range 3 {
		l.end(i)
	}
	equal(t, "and so on", l.inHand(now), []int{0, 0, 0, 1})
}

func TestSlotsAreNotEmptiedForAnExecutionThatIsPerformed(t *testing.T) {
	t.Parallel()
	l := seatedLoop(t, map[stint.ExecutionID]stint.Resources{execX: {}, execY: {Slots: 3}}, execY, execY, execX, "")
	equal(t, "the light one has what is left", l.inHand(time.Now()), []int{1, 0, 1, 0})
}

func TestSlotsAreNotEmptiedForWhatIsNotThereAnyMore(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, change := range map[string]func(*loop){
		"given back":  func(l *loop) { l.executions[execY].ready = nil },
		"forgotten":   func(l *loop) { delete(l.executions, execY) },
		"moved":       func(l *loop) { l.slots[2].execution = execX },
		"to be ended": func(l *loop) { l.slots[2].drain = true },
		"not ready":   func(l *loop) { l.slots[2].ready = false },
	} {
		l := seatedLoop(t, map[stint.ExecutionID]stint.Resources{execX: {}, execY: {Slots: 3}}, execX, execX, execY)
		l.inHand(now)
		l.end(0)
		equal(t, name+": emptied", l.inHand(now), []int{0, 1, 0})
		change(l)
		if got := l.inHand(now); got[0] != 1 {
			t.Errorf("%s: in hand %v", name, got)
		}
	}
}

func TestAnExecutionHasNoMoreSeatsThanItsOperationsLeaveRoomFor(t *testing.T) {
	t.Parallel()
	for slots, want := range map[int]int{0: 4, 1: 4, 2: 2, 3: 1, 4: 1, 9: 1} {
		l := seatedLoop(t, map[stint.ExecutionID]stint.Resources{execX: {Slots: slots}}, "", "", "", "")
		if accepted, why := l.ledger.Accept(grant(execX, 1, 0, 100)); !accepted {
			t.Fatal(why)
		}
		l.executions[execX].files = provided
		demands := l.demands(time.Now())
		if len(demands) != 1 || demands[0].limit != want {
			t.Errorf("%d slots: %+v, want a limit of %d", slots, demands, want)
		}
	}
}

func TestANodeHasTheMemoryOfItsMachineOrLess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		groups string
		files  map[string]string
		want   int64
	}{
		"no groups":              {"", nil, 16 << 30},
		"no limit":               {"0::/a/b\n", map[string]string{"a/b/memory.max": "max\n"}, 16 << 30},
		"a limit":                {"0::/a/b\n", map[string]string{"a/b/memory.max": "1073741824\n"}, 1 << 30},
		"of a group around":      {"0::/a/b\n", map[string]string{"a/b/memory.max": "max", "a/memory.max": "2147483648"}, 2 << 30},
		"the least of them":      {"0::/a/b\n", map[string]string{"a/b/memory.max": "4294967296", "memory.max": "2147483648"}, 2 << 30},
		"more than there is":     {"0::/\n", map[string]string{"memory.max": "99999999999999"}, 16 << 30},
		"the older kind":         {"5:cpu:/x\n4:hugetlb,memory:/c\n", map[string]string{"memory/c/memory.limit_in_bytes": "1048576", "c/memory.max": "5"}, 1 << 20},
		"another controller":     {"5:cpu:/x\n", map[string]string{"x/memory.max": "5", "memory/x/memory.limit_in_bytes": "5"}, 16 << 30},
		"what cannot be read":    {"nonsense\n0::/a\n", map[string]string{"a/memory.max": "much"}, 16 << 30},
		"a path that leads away": {"0::/../../a\n", map[string]string{"a/memory.max": "1024"}, 1024},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write := func(text string, path ...string) {
				file := filepath.Join(append([]string{dir}, path...)...)
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			write("MemTotal:       16777216 kB\nMemFree:        1 kB\n", "proc", "meminfo")
			write(c.groups, "proc", "self", "cgroup")
			for file, text := range c.files {
				write(text, "groups", file)
			}
			equal(t, "memory", memoryBytes(filepath.Join(dir, "proc"), filepath.Join(dir, "groups")), c.want)
		})
	}
	equal(t, "nothing is known", memoryBytes(t.TempDir(), t.TempDir()), int64(0))
	if memoryBytes("/proc", "/sys/fs/cgroup") < 1<<20 {
		t.Error("this machine has no memory")
	}
}
