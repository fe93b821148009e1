package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stint"
)

// Logs are there, and can be searched, when the execution is over, its nodes are
// gone and the service was started anew.
func TestLogsOutliveTheNodes(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.write("in", "a\nb\nc\nd\n")
	mapper := h.write("map.sh", `echo "$STINT_OPERATION saw $(cat)" >&2
if [ "$STINT_OPERATION" = map/2 ] && mkdir "$MARK" 2>/dev/null; then exit 3; fi
`)
	up := h.up(2)
	id := h.execution("run", "--map", "sh map.sh", "--file", mapper, "--env", "MARK="+h.path("mark"), "--subset-size", "2", "--input", in).ID
	find := func(args ...string) stint.Logs {
		t.Helper()
		var l stint.Logs
		decode(t, h.ok(append([]string{"logs", string(id), "--json"}, args...)...), &l)
		return l
	}
	check := func() {
		t.Helper()
		if l := find(); len(l.Entries) != 5 || l.More {
			t.Errorf("%d entries of 4 operations, one of which failed once: %+v", len(l.Entries), l)
		}
		if l := find("--search", "saw b"); len(l.Entries) != 1 || l.Entries[0].Operation != "map/1" || l.Entries[0].Status != stint.OpCompleted {
			t.Errorf("search: %+v", l)
		}
		if l := find("--failed"); len(l.Entries) != 1 || l.Entries[0].Operation != "map/2" || !strings.Contains(l.Entries[0].Text, "saw c") {
			t.Errorf("failed: %+v", l)
		}
		if l := find("--operation", "map/2"); len(l.Entries) != 2 {
			t.Errorf("both attempts of one operation: %+v", l)
		}
		contains(t, h.ok("logs", string(id), "--operation", "map/3"), "== map/3 on ", "map/3 saw d")
	}
	check()
	entries := find().Entries
	h.wait("the logs of all nodes are in storage", func() bool { // each puts its own there, in its own time
		return !slices.ContainsFunc(entries, func(e stint.LogEntry) bool {
			stored, _ := filepath.Glob(h.path("data/storage/logs/" + string(id) + "/" + string(e.Node) + "-*"))
			return len(stored) == 0
		})
	})
	h.killAll(up)
	if err := os.RemoveAll(h.path("data/agents")); err != nil {
		t.Fatal(err)
	}
	h.up(1)
	check()
	contains(t, h.ok("logs", string(id), "--follow"), "map/0 saw a", "map/3 saw d", "exit 3")
}

// What explains how an execution went says where records went, too.
func TestExplainSaysWhereRecordsWentAndWhatFailed(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.write("in", strings.Repeat("a b\nc\n", 500))
	h.up(2)
	x := h.execution("run", "wordcount", "--input", in, "--subset-size", "200")
	var e stint.Explanation
	decode(t, h.ok("explain", string(x.ID), "--json"), &e)
	if len(e.Balances) != 2 || len(e.Stages) != 2 {
		t.Fatalf("%+v", e)
	}
	for _, b := range e.Balances {
		if !b.Complete || !b.Equal {
			t.Errorf("%+v", b)
		}
	}
	if e.Balances[0].RecordsIn != 1000 || e.Balances[0].BytesOut != 3000 {
		t.Errorf("%+v", e.Balances[0])
	}
	contains(t, h.ok("explain", string(x.ID)), "it is completed", "STAGE", "equal")
	failed := h.stint("run", "--map", "sh -c 'echo broken >&2; exit 7'", "--input", in, "--attempts", "1", "--json")
	id := document(t, failed.out).ID
	contains(t, h.ok("explain", string(id)), "it is failed", "exit 7", "stint logs "+string(id))
}

// An execution that is terminated leaves no logs, those of an earlier stint neither.
func TestTerminatedExecutionsLeaveNoLogs(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.write("in", "a\nb\n")
	h.up(1)
	id := h.execution("run", "--map", "sh -c 'echo here >&2; while [ ! -e "+h.path("go")+" ]; do sleep 0.1; done'", "--slots", "1", "--subset-size", "2", "--attempts", "1", "--input", in, "--detach").ID
	logs := func() bool {
		found, _ := os.ReadDir(h.path("data/storage/logs/" + string(id)))
		return len(found) > 0
	}
	h.wait("one is in progress", func() bool { return document(t, h.ok("show", string(id), "--json")).Operations.InProgress == 1 })
	h.write("go", "")
	h.wait("it is over", func() bool { return h.status(string(id)).Final() })
	h.wait("there are logs", logs)
	if err := os.Remove(h.path("go")); err != nil {
		t.Fatal(err)
	}
	id = h.execution("run", "--map", "sh -c 'echo here >&2; [ $STINT_OPERATION = map/0 ] || sleep 1000'", "--slots", "1", "--subset-size", "2", "--input", in, "--detach").ID
	h.wait("one has completed", func() bool { return document(t, h.ok("show", string(id), "--json")).Operations.Completed == 1 })
	h.ok("suspend", string(id), "--grace", "0s")
	h.wait("there are logs of the first stint", logs)
	h.ok("resume", string(id), "--detach")
	h.ok("terminate", string(id))
	h.wait("there are none", func() bool { return h.status(string(id)) == stint.Terminated && !logs() })
}
