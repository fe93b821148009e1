package coord

import (
	"fmt"
	"slices"
	"testing"

	"stint"
)

func TestMessagesOfOneCauseAreAlike(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{`exit 1`, `exit 2`, `exit 137`},
		{`record "a b" at 17: not a number`, `record "" at 4: not a number`},
		{`part x-abcdefgh23456789 is gone`, `part x-zzzzzzzz23456789 is gone`},
		{`digest 00aabbccddeeff0011 differs`, `digest deadbeefdeadbeef00 differs`},
		{`no 'x'`, `no 'yy'`},
	} {
		for _, message := range same {
			if likeness(message) != likeness(same[0]) {
				t.Errorf("%q is %q and %q is %q", same[0], likeness(same[0]), message, likeness(message))
			}
		}
	}
	different := []string{`exit 1`, `killed by SIGKILL`, `record "a" at 3: not a number`, `record "a" at 3: not a date`}
	for i, message := range different {
		if slices.ContainsFunc(different[:i], func(o string) bool { return likeness(o) == likeness(message) }) {
			t.Errorf("%q is like one of %q", message, different[:i])
		}
	}
}

func TestCausesAreFewAndTheMostFrequentComesFirst(t *testing.T) {
	t.Parallel()
	s := &script{t: t, now: 1000}
	for _, line := range [][]string{{"execution", "attempts=100", "map=3", "reduce=1"}, {"begin"}, {"attach", "n1"}} {
		s.command(line[0], line[1:])
	}
	fail := func(op uint32, message string) {
		s.state.addCause(stint.Failure{Node: "n1", Stage: 0, Op: op, Error: stint.Errorf(stint.Failed, "%s", message)})
	}
	for i := range 2 * mostCauses {
		fail(0, "fault of kind "+string(rune('a'+i%26))+string(rune('a'+i/26)))
	}
	for i := range 5 {
		fail(2, fmt.Sprintf("fault of kind bb, %d", i))
		fail(1, "fault of kind ab")
	}
	got := s.state.Document(2000).Causes
	if len(got) != mostCauses {
		t.Fatalf("%d causes", len(got))
	}
	if c := got[0]; c.Message != "fault of kind ab" || c.Attempts != 6 || c.First != "map/0" || len(c.Nodes) != 1 {
		t.Errorf("the first is %+v", c)
	}
}

// A share is compared as it is said: 29 of 100 are 29 %, though 0.29 times 100 is
// less than 29 where fractions are binary.
func TestAShareOfBadRecordsIsComparedExactly(t *testing.T) {
	t.Parallel()
	of := reducing()
	of.req.SkipBadRecords = 0.29
	s := of.performing(t, of.plan(t, earlier, files(1)), ranges(0, 1), nil)
	sums := &s.stages[0].sums
	for _, c := range []struct {
		bad    int64
		tooBad bool
	}{{28, false}, {29, false}, {30, true}} {
		sums.BadRecords, sums.RecordsIn = c.bad, 100-c.bad
		if err := s.tooBadOf(0); (err != nil) != c.tooBad {
			t.Errorf("%d of 100: %v", c.bad, err)
		}
	}
}

// left is old with records left out, as its operations reported.
func left(old *State, k int, bad, read int64) *State {
	old.stages[k].sums.BadRecords, old.stages[k].sums.RecordsIn = bad, read
	return old
}

// Records that operations left out which are taken over count in the execution
// that takes them over: it may have been allowed fewer.
func TestRecordsLeftOutBeforeCountWhereOperationsAreTakenOver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		share float64
		now   []int // files
		more  int64 // bad records of the last operation, of 100
		want  string
	}{
		{"all, within the share", 0.2, []int{1, 2, 3, 4}, 0, ""},
		{"all, beyond it", 0.1, []int{1, 2, 3, 4}, 0, "bad_records: stage map: 80 of 400 records, at most 10 %"},
		{"half of them, and one more that is worse", 0.28, []int{1, 2, 5}, 45, "bad_records: stage map: 85 of 300 records, at most 28 %"},
		{"half of them, and one more that is bad", 0.3, []int{1, 2, 5}, 45, ""},
	} {
		of := reducing()
		of.req.SkipBadRecords = 0.5
		old := left(of.performing(t, of.plan(t, earlier, files(1, 2, 3, 4)), ranges(0, 4), nil), 0, 80, 320)
		of.req.SkipBadRecords = c.share
		for _, id := range []stint.ExecutionID{another, earlier} {
			s, _ := Adopt(old, of.plan(t, id, files(c.now...)), of.req, 2, 9000, everything(old), nil)
			snap := s.SnapshotAll()
			s, err := Restore(s.plan, of.req, 3, snap)
			if err != nil {
				t.Fatal(err)
			}
			for n := range uint32(len(s.stages[0].ops)) {
				if s.stages[0].ops[n].state == pending {
					completeOp(s, 0, n)
					s.stages[0].sums.BadRecords += c.more
					s.stages[0].sums.RecordsIn += 100 - c.more
					s.judgeRecords(0)
				}
			}
			got := ""
			if s.fatal != nil {
				got = s.fatal.Message
			}
			if got != c.want {
				t.Errorf("%s, by %s: %q, want %q", c.name, id, got, c.want)
			}
		}
	}
}

// What operations have left out that are taken over is known of each.
func TestOnlyRecordsOfTheOperationsThatAreTakenOverCount(t *testing.T) {
	t.Parallel()
	of := reducing()
	of.req.SkipBadRecords = 0.5
	old := of.performing(t, of.plan(t, earlier, files(1, 2, 3, 4)), ranges(0, 4), nil)
	for n, bad := range []int64{40, 0, 0, 8} {
		old.stages[0].countRecords(uint32(n), records{100 - bad, bad}, false)
	}
	kept := everything(old)
	old, err := Restore(old.plan, of.req, 1, old.SnapshotAll())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		now  []int // files
		want records
	}{
		{[]int{1, 2, 3, 4}, records{352, 48}},
		{[]int{2, 3}, records{200, 0}},
		{[]int{1, 5}, records{60, 40}},
		{[]int{5}, records{}},
	} {
		for _, id := range []stint.ExecutionID{another, earlier} {
			s, _ := Adopt(old, of.plan(t, id, files(c.now...)), of.req, 2, 9000, kept, nil)
			s, err := Restore(s.plan, of.req, 3, s.SnapshotAll())
			if err != nil {
				t.Fatal(err)
			}
			if got := s.stages[0].records(); got != c.want {
				t.Errorf("files %v, by %s: %+v, want %+v", c.now, id, got, c.want)
			}
			for n := range uint32(len(s.stages[0].ops)) { // performed again, by a program that leaves nothing out
				s.stages[0].countRecords(n, records{10, 0}, !s.stages[0].ops[n].counted)
				if !s.stages[0].ops[n].counted {
					s.stages[0].sums.RecordsIn += 10
				}
			}
			if got, want := s.stages[0].records(), (records{10 * int64(len(c.now)), 0}); got != want {
				t.Errorf("files %v, by %s, performed again: %+v, want %+v", c.now, id, got, want)
			}
		}
	}
}

// A snapshot of a build that did not know of each operation how many records it has
// read is read, and the sums of the stage count.
func TestASnapshotWithoutTheRecordsOfEachOperationIsRead(t *testing.T) {
	t.Parallel()
	of := reducing()
	s := left(of.performing(t, of.plan(t, earlier, files(1, 2, 3)), ranges(0, 2), nil), 0, 20, 80)
	snap := s.SnapshotAll()
	of.req.SkipBadRecords = 0.5
	s, err := Restore(s.plan, of.req, 2, snap)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.stages[0].records(); got != (records{80, 20}) {
		t.Errorf("%+v", got)
	}
	completeOp(s, 0, 2)
	again, err := Restore(s.plan, of.req, 3, s.SnapshotAll())
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(s, again); d != "" {
		t.Errorf("the snapshot gives another state (-live +restored):\n%s", d)
	}
}
