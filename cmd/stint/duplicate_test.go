package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/blake3"

	"stint"
)

const asking = "GET executions/" + anExecution + "/request"

func streamed() stint.Request {
	return stint.Request{
		Name: "n", Inputs: []string{"/in"}, Environment: map[string]string{"A": "1", "B": "2"}, Nodes: 2, SubsetSize: 5, Overwrite: true,
		Program: stint.Program{
			Name: "streaming", Type: stint.Custom,
			Stages: []stint.Stage{{Name: "map", Action: stint.Action{Command: []string{"cat"}}, Input: stint.Edge{Kind: stint.FromInput}}},
			Files:  []stint.ProgramFile{{Name: "f", Digest: stint.Digest{1}}, {Name: "g", Digest: stint.Digest{2}}},
		},
	}
}

// duplicated returns the request that "stint duplicate" submits for an execution
// with the given one.
func duplicated(t *testing.T, was stint.Request, args ...string) stint.Request {
	t.Helper()
	s := serve(t, map[string]any{nodes: items{}, asking: was, "POST executions": in(stint.Queued, 0), sendingX(): items{}})
	code, out, errs := s.stint(t, append([]string{"duplicate", anExecution, "--detach"}, args...)...)
	if code != exitDone || out != anExecution+"\n" {
		t.Fatalf("%v: exit code %d, stdout %q, stderr %q", args, code, out, errs)
	}
	body, ok := strings.CutPrefix(s.asked[len(s.asked)-1], "POST executions ")
	if !ok {
		t.Fatalf("asked %q", s.asked)
	}
	var req stint.Request
	if err := json.Unmarshal([]byte(body), &req); err != nil {
		t.Fatal(err)
	}
	if req.Key == "" || req.Key == was.Key {
		t.Errorf("key %q", req.Key)
	}
	req.Key = ""
	return req
}

// sendingX is the sending of a file that holds an x.
func sendingX() string { return "PUT files/" + stint.Digest(blake3.Sum256([]byte("x"))).String() }

func TestADuplicateIsTheSameButForWhatFlagsSay(t *testing.T) {
	t.Parallel()
	want := streamed()
	want.Overwrite = false
	if d := cmp.Diff(want, duplicated(t, streamed())); d != "" {
		t.Error(d)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := duplicated(t, streamed(), "--input", "/other", "--output", "/out", "--env", "B=3", "--nodes", "4", "--slots", "5", "--subset-size", "6", "--partitions", "7",
		"--attempts", "8", "--compression", "none", "--replication", "2", "--save", "continuous", "--reuse", anExecution, "--keep", "0", "--name", "m",
		"--complete-as-much-as-possible", "--overwrite", "--split", "files", "--map", "sed p", "--combine", "tac", "--reduce", "uniq -c", "--file", file)
	want = stint.Request{
		Name: "m", Inputs: []string{"/other"}, Output: "/out", Environment: map[string]string{"A": "1", "B": "3"}, Nodes: 4, Slots: 5, SubsetSize: 6, Partitions: 7,
		Attempts: 8, Compression: "none", Replication: 2, Save: stint.SaveContinuous, Reuse: anExecution, Keep: -1, CompleteErrors: new(true), Overwrite: true,
		Program: stint.Program{Name: "streaming", Type: stint.Custom, Stages: []stint.Stage{
			{
				Name: "map", Action: stint.Action{Command: []string{"sed", "p"}}, Combine: &stint.Action{Command: []string{"tac"}},
				Input: stint.Edge{Kind: stint.FromInput, Split: stint.SplitFiles},
			},
			{Name: "reduce", Action: stint.Action{Command: []string{"uniq", "-c"}}, Input: stint.Edge{Kind: stint.Shuffle, From: "map"}},
		}, Files: []stint.ProgramFile{{Name: "g", Digest: stint.Digest{2}}, {Name: "f", Digest: blake3.Sum256([]byte("x")), Size: 1, Mode: 0o600}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestADuplicateOfAShippedProgramTakesOtherParameters(t *testing.T) {
	t.Parallel()
	was, _, err := request(t, "grep", "--param", "pattern=a", "--param", "fixed=true", "--split", "files", "--input", "/in")
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := request(t, "grep", "--param", "pattern=b", "--param", "fixed=true", "--split", "files", "--input", "/in")
	if err != nil {
		t.Fatal(err)
	}
	want.Environment = nil
	if d := cmp.Diff(want, duplicated(t, was, "--param", "pattern=b")); d != "" {
		t.Error(d)
	}
}

func TestADuplicateThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	withOutput, shipped := streamed(), streamed()
	withOutput.Output = "file:///a b"
	shipped.Program = stint.Program{Name: "grep", Stages: []stint.Stage{{Name: "map", Action: stint.Action{Native: "grep"}}}}
	for args, c := range map[string]struct {
		was  stint.Request
		says string
	}{
		"ID":                         {withOutput, "give the duplicate its own with --output, or replace that with --output '/a b' --overwrite"},
		"ID --map tac":               {shipped, `this one is "grep"`},
		"ID --param nosuch=1":        {shipped, "nosuch"},
		"ID --param pattern=1":       {streamed(), "--env"},
		"ID --combine tac":           {streamed(), "--combine without --reduce"},
		"ID --reduce ''":             {streamed(), "no program named"},
		"ID --nodes 0":               {streamed(), "--nodes"},
		"ID --dry-run --detach":      {streamed(), "--dry-run and --detach"},
		"ID --split words":           {streamed(), "--split"},
		"wordcount --output /a":      {streamed(), "wordcount"},
		"x-zzzzzzzzzzzzzzzz --slots": {streamed(), "--slots"},
	} {
		s := serve(t, map[string]any{nodes: items{}, asking: c.was})
		given := append([]string{"duplicate"}, strings.Fields(strings.Replace(args, "ID", anExecution, 1))...)
		if code, _, errs := s.stint(t, given...); code != exitUsage || !strings.Contains(errs, c.says) || len(s.asked) > 0 {
			t.Errorf("%s: exit code %d, asked %q, %s", args, code, s.asked, errs)
		}
	}
}
