package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/blake3"

	"stint"
	"stint/client"
)

const (
	watching   = "GET executions/" + anExecution + "/events"
	suspending = "POST executions/" + anExecution + "/suspend"
	resuming   = "POST executions/" + anExecution + "/resume"
	retrying   = "POST executions/" + anExecution + "/retry"
	showing    = "GET executions/" + anExecution
	nodes      = "GET nodes"
)

// items is a list as the service sends it.
type items map[string]any

func TestSuspendWaitsUntilItIsAndTellsTheReceipt(t *testing.T) {
	t.Parallel()
	done := in(stint.Suspended, 4)
	done.Receipts = []stint.Receipt{{Kind: "suspend", OperationsKept: 4, SavedBytes: 5 << 20, WorkLost: 1.5}}
	s := serve(t, map[string]any{
		suspending: in(stint.Suspending, 3),
		watching:   events{in(stint.InProgress, 2), in(stint.Suspending, 3), in(stint.Suspending, 4), done, in(stint.Completed, 10)},
	})
	code, out, errs := s.stint(t, "suspend", anExecution, "--grace", "2500ms")
	if code != exitDone || out != "" {
		t.Errorf("exit code %d, stdout %q", code, out)
	}
	mentions(t, errs, "suspended", "4 operations kept, 5.0 MiB saved, 1.5 core-seconds of work lost", "4 of 10", "stint resume "+anExecution+" --server "+s.url)
	if d := cmp.Diff([]string{suspending + ` {"grace_seconds":2.5}`}, s.asked); d != "" {
		t.Error(d)
	}
}

func TestSuspendSaysWhyItCannotBe(t *testing.T) {
	t.Parallel()
	refusal := stint.Errorf(stint.Conflict, "execution is completed")
	for says, answers := range map[string]map[string]any{
		"execution is completed":            {suspending: refusal},
		"it is completed":                   {suspending: in(stint.Suspending, 9), watching: events{in(stint.Suspending, 9), in(stint.InProgress, 10), in(stint.Completed, 10)}},
		"resumed before it was suspended":   {suspending: in(stint.Suspending, 3), watching: events{in(stint.Suspending, 3), in(stint.InProgress, 4)}},
		anExecution + "/suspend: not found": {},
	} {
		if code, _, errs := serve(t, answers).stint(t, "suspend", anExecution); code != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("%s: exit code %d, %s", says, code, errs)
		}
	}
}

func TestSuspendedJobsAreTold(t *testing.T) {
	t.Parallel()
	x := in(stint.InProgress, 3)
	x.Held = []string{"j-2", "j-3"}
	s := serve(t, map[string]any{suspending: x})
	code, _, errs := s.stint(t, "suspend", anExecution, "--job", "j-2", "--job", "j-3")
	if code != exitDone {
		t.Errorf("exit code %d", code)
	}
	mentions(t, errs, "j-2 j-3")
	if d := cmp.Diff([]string{suspending + ` {"grace_seconds":10,"jobs":["j-2","j-3"]}`}, s.asked); d != "" {
		t.Error(d)
	}
}

func TestResumeWaitsAndEndsAsTheExecutionDoes(t *testing.T) {
	t.Parallel()
	for status, want := range map[stint.ExecutionStatus]int{
		stint.Completed: exitDone, stint.CompletedErrors: exitIncomplete, stint.Suspended: exitSuspended, stint.ExecutionFailed: exitFailed, stint.Terminated: exitFailed,
	} {
		s := serve(t, map[string]any{
			nodes:    items{"items": []stint.Node{}},
			resuming: stint.Resumption{Execution: in(stint.InProgress, 4), Reused: 4},
			watching: events{in(stint.Suspended, 3), in(stint.InProgress, 5), in(status, 10)},
		})
		code, out, _ := s.stint(t, "resume", anExecution, "--json")
		if code != want || !strings.Contains(out, `"status": "`+string(status)+`"`) {
			t.Errorf("%s: exit code %d, stdout %s", status, code, out)
		}
	}
}

func TestWhatResumeIsToldReachesTheService(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"": `{}`,
		"--nodes 2 --slots 3 --redo --take-over --from /a/b": `{"nodes":2,"slots":3,"from":"file:///a/b","redo":true,"take_over":true}`,
		"--at 2099-01-31T18:00:00+01:00":                     `{"at":"2099-01-31T17:00:00Z"}`,
		"--job j-1 --job j-2":                                `{"jobs":["j-1","j-2"]}`,
	} {
		s := serve(t, map[string]any{nodes: items{}, resuming: stint.Resumption{Execution: in(stint.InProgress, 4)}})
		code, out, errs := s.stint(t, append([]string{"resume", anExecution, "--detach"}, strings.Fields(args)...)...)
		if code != exitDone || out != anExecution+"\n" {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", args, code, out, errs)
		}
		if d := cmp.Diff([]string{resuming + " " + want}, s.asked); d != "" {
			t.Errorf("%s: %s", args, d)
		}
	}
}

func TestAScheduledExecutionIsNotAtRest(t *testing.T) {
	t.Parallel()
	waits := in(stint.Suspended, 4)
	waits.ResumeAt = &time.Time{}
	s := serve(t, map[string]any{
		nodes:    items{},
		resuming: stint.Resumption{Execution: waits},
		watching: events{waits, in(stint.InProgress, 5), in(stint.Completed, 10)},
	})
	if code, _, errs := s.stint(t, "resume", anExecution, "--at", "1h"); code != exitDone {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

func TestADryRunListsWhatIsReusedAndWhatIsDoneAgainAndWhy(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]any{nodes: items{}, resuming: stint.Resumption{
		Execution: in(stint.Suspended, 4), Reused: 3, Redone: []stint.Redone{{Stage: "map", Operations: 1, Reason: "its input has changed"}},
		Changes: []stint.Change{{Kind: stint.ObjectChanged, URL: "file:///in/a"}}, Changed: 20, Touched: 2, Faults: []string{"pack p is missing"},
	}})
	code, out, errs := s.stint(t, "resume", anExecution, "--dry-run")
	mentions(t, errs, "without --redo")
	want := anExecution + `  3 of 10 operations are reused
  map: 1 completed operation performed again: its input has changed
  input changed: /in/a
  and 21 more changes of the input
  saved state: pack p is missing
`
	if d := cmp.Diff(want, out); d != "" || code != exitDone {
		t.Errorf("exit code %d, %s", code, d)
	}
	if d := cmp.Diff([]string{resuming + ` {"dry_run":true}`}, s.asked); d != "" {
		t.Error(d)
	}
}

func TestFailuresOfBeforeAreNotToldAgain(t *testing.T) {
	t.Parallel()
	old, later := in(stint.InProgress, 9), in(stint.Completed, 10)
	old.Failures = []stint.Failure{{Op: 1, Attempt: 1, Error: stint.Errorf(stint.Failed, "the first")}}
	later.Failures = []stint.Failure{{Op: 1, Attempt: 2, Error: stint.Errorf(stint.Failed, "the second")}}
	s := serve(t, map[string]any{retrying: old, watching: events{old, later}})
	code, _, errs := s.stint(t, "retry", anExecution)
	if code != exitDone || strings.Contains(errs, "the first") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	mentions(t, errs, "attempt 2 failed", "the second")
}

func TestRetryWaitsAndMoveDoesNot(t *testing.T) {
	t.Parallel()
	moving := "POST executions/" + anExecution + "/move"
	s := serve(t, map[string]any{
		retrying: in(stint.InProgress, 9), watching: events{in(stint.InProgress, 9), in(stint.Completed, 10)},
		moving: in(stint.InProgress, 4),
	})
	if code, _, errs := s.stint(t, "retry", anExecution); code != exitDone {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if code, _, errs := s.stint(t, "move", anExecution, "--job", "j-7", "--grace", "0s"); code != exitDone {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if d := cmp.Diff([]string{retrying, moving + ` {"job":"j-7","grace_seconds":0}`}, s.asked); d != "" {
		t.Error(d)
	}
}

func TestANodeIsDrainedByItsNameAndWaitedFor(t *testing.T) {
	t.Parallel()
	node := func(s stint.NodeStatus) stint.Node { return stint.Node{ID: aNode, Name: "local-1", Status: s} }
	list := func(s stint.NodeStatus) items {
		return items{"items": []stint.Node{node(s), {ID: "n-b", Name: "twin"}, {ID: "n-c", Name: "twin"}}}
	}
	draining := "POST nodes/" + aNode + "/drain"
	s := serve(t, map[string]any{
		draining: node(stint.NodeDraining),
		nodes:    inTurn{list(stint.NodeReady), list(stint.NodeDraining), list(stint.NodeDrained)},
	})
	if code, _, errs := s.stint(t, "node", "drain", "local-1"); code != exitDone || !strings.Contains(errs, "drained") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if code, _, errs := s.stint(t, "node", "evacuate", aNode, "--by", "2099-01-01T00:00:00Z", "--detach"); code != exitDone {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if d := cmp.Diff([]string{draining + " {}", draining + ` {"by":"2099-01-01T00:00:00Z"}`}, s.asked); d != "" {
		t.Error(d)
	}
	s.given["DELETE nodes/"+aNode] = stint.Errorf(stint.Conflict, "it is ready")
	for args, says := range map[string]string{"remove local-1": "it is ready", "drain nosuch": "local-1, twin", "drain twin": "2 nodes have this name", "evacuate local-1 --by soon": "--by"} {
		if code, _, errs := s.stint(t, append([]string{"node"}, strings.Fields(args)...)...); code != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("%s: exit code %d, %s", args, code, errs)
		}
	}
}

func TestADrainThatSomebodyUndoesFails(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]any{
		"POST nodes/" + aNode + "/drain": stint.Node{ID: aNode, Status: stint.NodeDraining},
		nodes:                            items{"items": []stint.Node{{ID: aNode, Status: stint.NodeReady}}},
	})
	if code, _, errs := s.stint(t, "node", "drain", aNode); code != exitUsage || !strings.Contains(errs, "it is ready") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

func TestDurabilityAndSavedStateAreShown(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]any{
		showing + "/durability": stint.Durability{Replication: 2, Saved: 7, Nodes: []stint.NodeRisk{{Node: aNode, Operations: 3, CoreSeconds: 4.25}}},
		"GET saved?from=file%3A%2F%2F%2Fs": items{"items": []stint.SavedExecution{
			{ID: anExecution, Program: "p@1", Operations: stint.OperationCounts{Total: 9, Completed: 2}, Owner: &stint.Owner{Address: "far:1"}},
			{ID: "x-b", Error: stint.Errorf(stint.Invalid, "the record is cut off")},
		}},
	})
	code, out, _ := s.stint(t, "show", anExecution, "--durability")
	if code != exitDone {
		t.Errorf("exit code %d", code)
	}
	mentions(t, out, aNode, "3 operations", "4.2", "7 operations")
	code, out, _ = s.stint(t, "list", "--from", "/s")
	if code != exitDone {
		t.Errorf("exit code %d", code)
	}
	mentions(t, out, anExecution, "2/9", "far:1", "the record is cut off")
}

func TestADryRunOfARequestShowsThePlan(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	sending := "PUT files/" + stint.Digest(blake3.Sum256([]byte("x"))).String()
	s := serve(t, map[string]any{nodes: items{}, sending: items{}, "POST plan": stint.PlanReport{
		Objects: 3, Bytes: 5 << 20, Compressed: 1, Largest: &stint.Object{URL: "file:///in/a.gz", Size: 4 << 20}, SubsetSize: 2 << 20,
		Subsets: 4, Operations: 6, Parts: 2, Reused: 1,
		Stages: []stint.StagePlan{{Name: "map", Reads: []string{"input left", "broadcast of keys"}, Operations: 4, Partitions: 2, Reused: 1}},
	}})
	code, out, errs := s.stint(t, "run", "identity", "--input", "/in", "--file", file, "--dry-run")
	if code != exitDone {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if len(s.asked) != 2 || s.asked[0] != sending+" x" {
		t.Errorf("asked %q", s.asked)
	}
	mentions(t, out, "3 objects, 5.0 MiB; 1 compressed, which are not cut", "/in/a.gz, 4.0 MiB", "4, of at most 2.0 MiB", "system storage, 2 parts",
		"map    input left, broadcast of keys  4           1       2")
}

func TestControlThatMakesNoSenseIsRefusedBeforeItIsAsked(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for args, says := range map[string]string{
		"suspend":                         "accepts 1 arg",
		"suspend y-1":                     "y-1",
		"suspend ID --grace soon":         "--grace",
		"suspend ID --grace -1s":          "--grace",
		"suspend ID --grace 25h":          "at most 24h",
		"suspend ID --job 7":              "--job",
		"move ID":                         "which job",
		"move ID --job j-0":               "--job",
		"resume ID --at yesterday":        "--at",
		"resume ID --at -1h":              "--at",
		"resume ID --from ":               "--from",
		"resume ID --nodes 0":             "--nodes",
		"resume ID --job j-1 --from /a":   "--job and --from",
		"resume ID --at 1h --redo":        "--at and --redo",
		"resume ID --dry-run --detach":    "--dry-run and --detach",
		"run identity --replication 0":    "--replication",
		"run identity --save never":       "--save",
		"run identity --reuse last":       "--reuse",
		"run identity --keep forever":     "--keep",
		"run identity --dry-run --detach": "--dry-run and --detach",
		"list --from /a --search b":       "--from and --search",
		"show ID --durability --watch":    "--watch and --durability",
	} {
		var given []string
		for arg := range strings.SplitSeq(args, " ") {
			given = append(given, strings.ReplaceAll(arg, "ID", anExecution))
		}
		if code, _, errs := s.stint(t, given...); code != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("%s: exit code %d, %s", args, code, errs)
		}
	}
	if len(s.asked) > 0 {
		t.Error(s.asked)
	}
}

// ownService makes a session of a service that ends with its lifeline, and a
// context that was stopped.
func ownService(t *testing.T, s *answers) (context.Context, *session) {
	t.Helper()
	c, err := client.New(client.Config{URL: s.url})
	if err != nil {
		t.Fatal(err)
	}
	own := exec.CommandContext(t.Context(), "cat")
	lifeline, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	own.Stdin = lifeline
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	_ = lifeline.Close()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	return ctx, &session{Client: c, own: own, end: end}
}

func TestCtrlCSuspendsOnAServiceOfOurOwn(t *testing.T) {
	t.Parallel()
	conflict := stint.Errorf(stint.Conflict, "not now")
	for name, c := range map[string]struct {
		answers map[string]any
		code    int
		says    []string
	}{
		"in progress": {
			map[string]any{suspending: in(stint.Suspending, 4), watching: events{in(stint.Suspending, 4), in(stint.Suspended, 5)}},
			exitSuspended,
			[]string{"Ctrl-C again", "suspended after", "stint resume " + anExecution},
		},
		"just completed": {map[string]any{suspending: conflict, showing: in(stint.Completed, 10)}, exitDone, []string{"completed after"}},
		"suspended by others": {
			map[string]any{suspending: conflict, showing: in(stint.Suspending, 4), watching: events{in(stint.Suspended, 5)}},
			exitSuspended,
			[]string{"suspended after"},
		},
		"terminated by others": {
			map[string]any{suspending: conflict, showing: in(stint.Terminating, 4), watching: events{in(stint.Terminated, 5)}},
			exitFailed,
			[]string{"terminated after"},
		},
		"queued": {map[string]any{suspending: conflict, showing: in(stint.Queued, 0)}, exitSuspended, []string{"not now", "stopped before it was suspended", "stint resume " + anExecution}},
	} {
		c.answers["GET executions?limit=500"] = items{"items": []stint.Execution{in(stint.InProgress, 4), in(stint.Completed, 10)}}
		s := serve(t, c.answers)
		ctx, own := ownService(t, s)
		var errs strings.Builder
		a := &app{errs: &errs, out: &errs}
		var got outcome
		if err := a.attend(ctx, own, in(stint.InProgress, 4), waitFlags{}); err != nil && !errors.As(err, &got) || int(got) != c.code {
			t.Errorf("%s: %v, want exit code %d", name, err, c.code)
		}
		mentions(t, errs.String(), c.says...)
		if own.own.ProcessState == nil {
			t.Errorf("%s: the service goes on", name)
		}
	}
}

func TestCtrlCLeavesAServiceOfOthers(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	ctx, own := ownService(t, s)
	if err := own.stop(); err != nil {
		t.Fatal(err)
	}
	own.own = nil
	var errs strings.Builder
	a := &app{errs: &errs}
	var got outcome
	if err := a.attend(ctx, own, in(stint.InProgress, 4), waitFlags{}); !errors.As(err, &got) || got != exitInterrupted || len(s.asked) > 0 {
		t.Errorf("%v, asked %q", err, s.asked)
	}
	mentions(t, errs.String(), "goes on without this command")
}

func TestWhatWasNotSuspendedGoesOnByItselfWithAServiceOfOurOwn(t *testing.T) {
	t.Parallel()
	conflict := stint.Errorf(stint.Conflict, "it is not suspended")
	for status, follows := range map[stint.ExecutionStatus]bool{stint.InProgress: true, stint.Queued: true, stint.Completed: false, stint.Suspended: false} {
		s := serve(t, map[string]any{resuming: conflict, showing: in(status, 3)})
		_, own := ownService(t, s)
		a := &app{errs: &strings.Builder{}}
		r, err := a.resumeOn(t.Context(), own, anExecution, stint.ResumeRequest{})
		if (err == nil) != follows || follows && r.Execution.Status != status {
			t.Errorf("%s: %v %v", status, r.Execution.Status, err)
		}
		if _, err := a.resumeOn(t.Context(), own, anExecution, stint.ResumeRequest{DryRun: true}); err == nil {
			t.Errorf("%s: a dry run is no resume", status)
		}
		if err := own.stop(); err != nil {
			t.Error(err)
		}
		own.own = nil
		if _, err := a.resumeOn(t.Context(), own, anExecution, stint.ResumeRequest{}); err == nil || strings.Contains(err.Error(), "--watch") != follows {
			t.Errorf("%s: on a service of others: %v", status, err)
		}
	}
}

func TestTheLineThatResumesCanBePasted(t *testing.T) {
	t.Parallel()
	for want, a := range map[string]*app{
		"stint resume x-1":                          {data: "/home/u/.local/share/stint", home: "/home/u/.local/share/stint"},
		"stint resume x-1 --data /tmp/d":            {data: "/tmp/d", home: "/h"},
		`stint resume x-1 --data '/tmp/it'\''s $x'`: {data: "/tmp/it's $x", home: "/h"},
		"stint resume x-1 --server https://a:1":     {data: "/tmp/d", server: "https://a:1"},
	} {
		if got := a.resumeLine("x-1"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestTheEndSaysWhatWasLeftOutAndWhatTheProgramSaid(t *testing.T) {
	t.Parallel()
	failure := stint.Failure{Stage: 0, Op: 3, Attempt: 4, Node: aNode, Stderr: "Traceback\n  KeyError: \x1bx\n\n", Error: stint.Errorf(stint.Failed, "program \"python3\": exit 1")}
	x := in(stint.ExecutionFailed, 9)
	x.Stages = []stint.StageReport{{Name: "map", RecordsIn: 99_994, BadRecords: 6}, {Name: "reduce", RecordsIn: 7}}
	x.Failures = []stint.Failure{failure}
	x.Error = stint.Errorf(stint.Failed, "operation map/3 failed on node %s in attempt 4: %s", aNode, failure.Error)
	missing := x
	missing.Status, missing.Error = stint.CompletedErrors, nil
	missing.Missing = []stint.Missing{{Operation: "map/3", Error: failure.Error}, {Operation: "map/4", Error: failure.Error}}
	left := "6 records of 100000 that the program fails on; stint logs " + anExecution + " --bad-records"

	s := serve(t, map[string]any{retrying: in(stint.InProgress, 8), watching: events{x}, "GET executions/" + anExecution: x})
	_, _, errs := s.stint(t, "retry", anExecution)
	mentions(t, errs, "  left out: "+left+"\n", "in attempt 4: program \"python3\": exit 1: KeyError: ?x\n")
	_, out, _ := s.stint(t, "show", anExecution)
	mentions(t, out, left, "exit 1: KeyError: ?x\n")

	s = serve(t, map[string]any{retrying: in(stint.InProgress, 8), watching: events{missing}})
	_, _, errs = s.stint(t, "retry", anExecution)
	mentions(t, errs, "without map/3: program \"python3\": exit 1: KeyError: ?x\n", "without map/4: program \"python3\": exit 1\n")
}

func TestAnOutputOfTheServicesCredentialsIsNotRead(t *testing.T) {
	t.Parallel()
	x := in(stint.Completed, 10)
	x.Output.Location = "s3://lab@data/out@1"
	s := serve(t, map[string]any{"GET executions/" + anExecution: x})
	code, _, errs := s.stint(t, "output", anExecution)
	if code != exitUnreachable {
		t.Errorf("exit code %d", code)
	}
	mentions(t, errs, `unknown_credentials: output s3://lab@data/out@1: the set "lab" is the service's`, "AWS_ACCESS_KEY_ID", "read s3://data/out@1 ")
}

// heard passes on what is written, and says when a text was.
type heard struct {
	text string
	said chan struct{}
}

func (h *heard) Write(b []byte) (int, error) {
	if strings.Contains(string(b), h.text) {
		close(h.said)
	}
	return len(b), nil
}

func TestALongListingIsTold(t *testing.T) {
	t.Parallel()
	answers := map[string]any{"--dry-run": stint.PlanReport{}, "--detach": in(stint.Queued, 0)}
	for flag, answer := range answers {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			h := &heard{text: "stint: waiting for the service to list the input s3://data/in and 1 more\n", said: make(chan struct{})}
			service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/plan") || r.URL.Path == "/v1/executions" {
					<-h.said // nothing is answered before
					_ = json.NewEncoder(w).Encode(answer)
					return
				}
				_ = json.NewEncoder(w).Encode(items{"items": []stint.Node{}})
			}))
			t.Cleanup(service.Close)
			a := &app{out: io.Discard, errs: h}
			environ := []string{"STINT_SERVER=" + service.URL, "STINT_TOKEN=secret", "STINT_DATA=" + t.TempDir()}
			if code := a.run(t.Context(), []string{"run", "identity", "--input", "s3://data/in", "--input", "s3://data/b", flag}, environ); code != exitDone {
				t.Errorf("exit code %d", code)
			}
		})
	}
}
