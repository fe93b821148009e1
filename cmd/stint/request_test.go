package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/zeebo/blake3"

	"stint"
)

// request parses the arguments of run.
func request(t *testing.T, args ...string) (stint.Request, []upload, error) {
	t.Helper()
	var r requestFlags
	var req stint.Request
	var uploads []upload
	c := &cobra.Command{SilenceErrors: true, SilenceUsage: true, RunE: func(c *cobra.Command, args []string) (err error) {
		req, uploads, err = r.build(c, args)
		return err
	}}
	r.define(c)
	c.SetArgs(args)
	return req, uploads, c.Execute()
}

func TestCommandsBecomeAStreamingProgram(t *testing.T) {
	t.Parallel()
	req, _, err := request(t, "--map", `python3 map.py "a b"`, "--combine", "sum.sh", "--reduce", "cat", "--split", "files", "--partitions", "3")
	if err != nil {
		t.Fatal(err)
	}
	want := []stint.Stage{
		{
			Name: "map", Action: stint.Action{Command: []string{"python3", "map.py", "a b"}}, Combine: &stint.Action{Command: []string{"sum.sh"}},
			Input: stint.Edge{Kind: stint.FromInput, Split: stint.SplitFiles},
		},
		{Name: "reduce", Action: stint.Action{Command: []string{"cat"}}, Input: stint.Edge{Kind: stint.Shuffle, From: "map"}},
	}
	if diff := cmp.Diff(want, req.Program.Stages); diff != "" || req.Partitions != 3 {
		t.Errorf("partitions %d\n%s", req.Partitions, diff)
	}
}

func TestPlainPathsBecomeAbsoluteAndURLsStay(t *testing.T) {
	t.Parallel()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	req, _, err := request(t, "identity", "--input", "a/*.txt", "--input", "s3://b/k", "--input", "/x", "--input", "range:1..9", "--output", "out")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(here, "a/*.txt"), "s3://b/k", "/x", "range:1..9"}
	if diff := cmp.Diff(want, req.Inputs); diff != "" || req.Output != filepath.Join(here, "out") {
		t.Errorf("output %s\n%s", req.Output, diff)
	}
}

func TestFilesAreNamedByTheirDigest(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "map.sh")
	if err := os.WriteFile(path, []byte("cat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	req, uploads, err := request(t, "--map", "./map.sh", "--file", path)
	if err != nil {
		t.Fatal(err)
	}
	want := stint.ProgramFile{Name: "map.sh", Digest: blake3.Sum256([]byte("cat\n")), Size: 4, Mode: 0o755}
	if diff := cmp.Diff([]stint.ProgramFile{want}, req.Program.Files); diff != "" || len(uploads) != 1 || uploads[0].path != path {
		t.Errorf("uploads %v\n%s", uploads, diff)
	}
}

func TestValuesOfFlagsReachTheRequest(t *testing.T) {
	t.Parallel()
	req, _, err := request(t, "wordcount", "--param", "fold=true", "--env", "A=1=2", "--cmdenv", "B=", "--subset-size", "2MiB", "--nodes", "4",
		"--slots", "2", "--attempts", "7", "--name", "n", "--compression", "none", "--overwrite",
		"--replication", "2", "--save", "continuous", "--reuse", anExecution, "--keep", "90m", "--complete-as-much-as-possible")
	if err != nil {
		t.Fatal(err)
	}
	req.Program = stint.Program{}
	want := stint.Request{
		Name: "n", Params: map[string]string{"fold": "true"}, Environment: map[string]string{"A": "1=2", "B": ""}, SubsetSize: 2 << 20,
		Nodes: 4, Slots: 2, Attempts: 7, Compression: "none", Overwrite: true, Inputs: []string{},
		Replication: 2, Save: stint.SaveContinuous, Reuse: anExecution, Keep: 5400, CompleteErrors: true,
	}
	if diff := cmp.Diff(want, req); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsTheDefaultIsLeftUnsaid(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]stint.Request{
		"":                             {},
		"--keep 24h --save on-suspend": {},
		"--keep 0":                     {Keep: -1},
		"--keep 1ms --save=continuous": {Keep: 1, Save: stint.SaveContinuous},
	} {
		req, _, err := request(t, append([]string{"noop", "--input", "range:1..2"}, strings.Fields(args)...)...)
		if err != nil || req.Keep != want.Keep || req.Save != want.Save {
			t.Errorf("%s: keep %d, save %q, %v", args, req.Keep, req.Save, err)
		}
	}
}

func TestRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for args, says := range map[string]string{
		"":                                        "--map",
		"--map  --reduce cat":                     "--map",
		"identity --env novalue":                  "name=value",
		"identity --env A=1 --env A=2":            "twice",
		"identity --split words":                  "lines or files",
		"identity --subset-size 0":                "at least 1",
		"identity --subset-size -5":               "at least 1",
		"identity --partitions -1":                "at least 1",
		"identity --file " + dir:                  "regular file",
		"identity --file /etc/hosts --file x":     "no such file",
		"identity --reduce cat":                   "--map",
		"--map cat --param a=b":                   "--env",
		"identity --input ":                       "--input",
		"--map cat --file /a/nosuch":              "/a/nosuch",
		"--map cat --combine cat":                 "--reduce",
		"wordcount identity":                      "",
		"nosuch":                                  "wordcount",
		"grep":                                    "pattern",
		"identity --compression gz":               "none",
		"--map cat --file /bin/sh --file /bin/sh": "same name",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			var given []string
			if args != "" {
				given = strings.Split(args, " ")
			}
			_, _, err := request(t, given...)
			if code := exitCode(err); err == nil || code != exitUsage && says != "" {
				t.Fatalf("exit code %d: %v", code, err)
			}
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%q does not say %q", err, says)
			}
		})
	}
}

func TestPathsThatAreNoTextBecomeURLs(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/a b#%?*": "/a b#%?*",
		"/a\nb %*": "file:///a%0Ab%20%25*",
		"/\xff#":   "file:///%FF%23",
		"/ü\x7f":   "file:///%C3%BC%7F",
		"/ü":       "/ü",
	} {
		if got, err := location(path); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", path, got, err, want)
		}
	}
}
