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
	var q asked
	c := &cobra.Command{SilenceErrors: true, SilenceUsage: true, RunE: func(c *cobra.Command, args []string) (err error) {
		q, err = r.build(c, args)
		return err
	}}
	r.define(c)
	c.SetArgs(args)
	err := c.Execute()
	return q.request, q.uploads, err
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
		Replication: 2, Save: stint.SaveContinuous, Reuse: anExecution, Keep: 5400, CompleteErrors: new(true),
	}
	if diff := cmp.Diff(want, req); diff != "" {
		t.Error(diff)
	}
}

func TestFlagsTakeBackWhatAProgramSays(t *testing.T) {
	t.Parallel()
	req, _, err := request(t, "wordcount", "--complete-as-much-as-possible=false", "--skip-bad-records", "0%")
	if err != nil {
		t.Fatal(err)
	}
	if req.CompleteErrors == nil || *req.CompleteErrors || req.SkipBadRecords >= 0 {
		t.Errorf("%v, %v", req.CompleteErrors, req.SkipBadRecords)
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
		"./nosuch":                                "no such file",
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

func TestStreamFlagsBecomeStreamsOfTheProgram(t *testing.T) {
	t.Parallel()
	req, _, err := request(t, "--map", "cat", "--reduce", "AGGREGATE", "--mode", "hadoop", "--partitioner", "fields",
		"--stream", "mapred.text.key.partitioner.options=-k1,1", "--stream", "stream.num.map.output.key.fields=2")
	if err != nil {
		t.Fatal(err)
	}
	want := []stint.Stage{
		{
			Name: "map", Action: stint.Action{Command: []string{"cat"}}, Combine: &stint.Action{Native: "aggregate-combine"},
			Input: stint.Edge{Kind: stint.FromInput}, Streaming: &stint.Streaming{Mode: stint.StreamHadoop, KeyFields: 2, MustConsume: true},
		},
		{
			Name: "reduce", Action: stint.Action{Native: "aggregate"}, Streaming: &stint.Streaming{Mode: stint.StreamHadoop, MustConsume: true},
			Input: stint.Edge{Kind: stint.Shuffle, From: "map", Partitioner: &stint.Partitioner{Kind: stint.FieldPartition, Fields: "-k1,1"}},
		},
	}
	if diff := cmp.Diff(want, req.Program.Stages); diff != "" {
		t.Error(diff)
	}
	req, _, err = request(t, "--map", "cat", "--combine", "cat", "--reduce", "NONE", "--mode", "lines")
	if err != nil || len(req.Program.Stages) != 1 || req.Program.Stages[0].Combine != nil || req.Program.Stages[0].Streaming != nil {
		t.Errorf("%v: %+v", err, req.Program.Stages)
	}
	for args, want := range map[string]string{
		"--map cat --mode java":                                  "expected lines or hadoop",
		"identity --mode hadoop":                                 "go with --map",
		"--map cat --stream x":                                   "expected name=value",
		"--map cat --stream stream.map.output.field.separater=1": "did you mean stream.map.output.field.separator?",
		"--map cat --reduce cat --partitioner x":                 "expected one of HashPartitioner, KeyFieldBasedPartitioner",
		"--map cat --reduce cat --partitioner fields --stream mapred.partitioner.class=HashPartitioner":       "are the same",
		"--map cat --reduce cat --partitioner fields --stream mapreduce.partition.keypartitioner.options=-kx": `-kx: expected -k F`,
	} {
		if _, _, err := request(t, strings.Fields(args)...); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// What the flag says goes above the program, also where it says what is the default of others.
func TestSplitGoesAboveTheProgram(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]stint.Split{
		"index": stint.SplitFiles, "index --split lines": "", "wordcount": "", "wordcount --split files": stint.SplitFiles,
	} {
		req, _, err := request(t, append(strings.Fields(args), "--input", "/in")...)
		if err != nil || req.Program.Stages[0].Input.Split != want {
			t.Errorf("%s: %v, want split %q, %v", args, req.Program.Stages, want, err)
		}
	}
	if _, _, err := request(t, "wordcount", "--split="); exitCode(err) != exitUsage {
		t.Errorf("an empty --split: %v", err)
	}
}

func TestLinksInAProgramsFolderStayInIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, "program")
	for name, text := range map[string]string{"program.yaml": "name: p\nstages: [{name: map, command: [./run]}]\n", "lib/run.sh": "cat\n"} {
		if err := writeFile(filepath.Join(folder, name), strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	link(filepath.Join(folder, "lib/run.sh"), "run")
	link("nowhere", "dangling")
	if err := os.Symlink(folder, filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	l, err := load(filepath.Join(dir, "other")) // the folder itself may be a link
	if err != nil || len(l.program.Files) != 2 || l.program.Files[1].Name != "run" || l.program.Files[1].Size != 4 {
		t.Errorf("%+v %v", l.program.Files, err)
	}
	link("..", "lib/out") // a link to a folder, and back in
	if _, err := load(folder); err != nil {
		t.Errorf("a link to a folder inside: %v", err)
	}
	link("../../secret", "lib/secret") // to nothing
	if _, err := load(folder); err != nil {
		t.Errorf("a link to nothing: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link("../secret", ".hidden") // no file of the program
	_, err = load(folder)
	if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), `link_not_allowed: "lib/secret" -> "`+filepath.Join(dir, "secret")+`"`) {
		t.Errorf("a link out of the folder: %v", err)
	}
}
