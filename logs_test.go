package stint_test

import (
	"testing"
	"time"

	"stint"
)

func TestWhichEntriesOfALogAreWanted(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	bad := []stint.BadRecord{{Number: 3, Text: "e\tx", Error: "cannot add"}}
	for _, c := range []struct {
		name  string
		query stint.LogQuery
		entry stint.LogEntry
		want  bool
	}{
		{"all", stint.LogQuery{}, stint.LogEntry{Status: stint.OpCompleted}, true},
		{"failed", stint.LogQuery{Failed: true}, stint.LogEntry{Status: stint.OpFailed, Error: stint.Errorf(stint.Failed, "exit 3")}, true},
		{"failed, of one that completed", stint.LogQuery{Failed: true}, stint.LogEntry{Status: stint.OpCompleted}, false},
		{"failed, of one that was stopped", stint.LogQuery{Failed: true}, stint.LogEntry{Status: stint.OpFailed, Error: stint.Errorf(stint.Canceled, "stopped")}, false},
		{"of an operation", stint.LogQuery{Operation: "map/1"}, stint.LogEntry{Operation: "map/1"}, true},
		{"of another operation", stint.LogQuery{Operation: "map/1"}, stint.LogEntry{Operation: "map/10"}, false},
		{"with bad records", stint.LogQuery{Bad: true}, stint.LogEntry{Bad: bad}, true},
		{"without bad records", stint.LogQuery{Bad: true}, stint.LogEntry{}, false},
		{"text of a bad record", stint.LogQuery{Search: "e\t"}, stint.LogEntry{Bad: bad}, true},
		{"reason of a bad record", stint.LogQuery{Search: "not add"}, stint.LogEntry{Bad: bad}, true},
		{"text", stint.LogQuery{Search: "said"}, stint.LogEntry{Text: "it said"}, true},
		{"error", stint.LogQuery{Search: "exit 3"}, stint.LogEntry{Error: stint.Errorf(stint.Failed, "exit 3")}, true},
		{"nowhere", stint.LogQuery{Search: "exit 4"}, stint.LogEntry{Error: stint.Errorf(stint.Failed, "exit 3"), Text: "said", Bad: bad}, false},
		{"later", stint.LogQuery{After: at.Add(-1)}, stint.LogEntry{}, true},
		{"not later", stint.LogQuery{After: at}, stint.LogEntry{}, false},
	} {
		c.entry.End = at
		if got := c.query.Wants(&c.entry); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestBadRecordsAreCountedFromOne(t *testing.T) {
	t.Parallel()
	for want, b := range map[string]stint.BadRecord{
		`bad record 4: cannot add: "e\tx"`: {Number: 3, Text: "e\tx", Error: "cannot add"},
		`bad record: cannot add: "x"`:      {Number: -1, Text: "x", Error: "cannot add"},
	} {
		if got := b.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
