package worker_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	godiff "github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/runner/command"
	"stint/internal/worker"
)

// hadoopCase is a job and what Hadoop Streaming made of it, see
// scripts/hadoop-vectors. Text has one character for each byte.
type hadoopCase struct {
	Name        string            `json:"name"`
	Mapper      string            `json:"mapper"`
	Combiner    string            `json:"combiner"`
	Reducer     string            `json:"reducer"`
	Reducers    int               `json:"reducers"`
	Partitioner string            `json:"partitioner"`
	InputFormat string            `json:"inputformat"`
	Properties  map[string]string `json:"properties"`
	Cmdenv      []string          `json:"cmdenv"`
	Files       map[string]string `json:"files"`
	Input       map[string]string `json:"input"`
	Repeat      int               `json:"repeat"`
	AnyOrder    bool              `json:"any_order"` // of lines within a part
	Fails       bool              `json:"fails"`
	Parts       map[string]string `json:"parts"`
	Counters    map[string]int64  `json:"counters"`
}

func bytesOf(text string) string {
	b := make([]byte, 0, len(text))
	for _, r := range text {
		b = append(b, byte(r))
	}
	return string(b)
}

func TestModeHadoopDoesAsHadoop(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/hadoop.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []hadoopCase
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 100 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) { c.run(t) })
	}
}

// program makes of a case's options what the command line makes of them.
func (c *hadoopCase) program() (stint.Program, error) {
	var p stint.Program
	mapper, err := command.SplitArgs(c.Mapper)
	if err != nil {
		return p, err
	}
	p.Stages = []stint.Stage{{Name: "first", Action: stint.Action{Command: mapper}, Input: stint.Edge{Kind: stint.FromInput}}}
	if c.Reducers > 0 && c.Reducer != "" {
		reduce, combine, err := command.Reducer(c.Reducer)
		if err != nil {
			return p, err
		}
		if c.Combiner != "" && combine == nil {
			args, err := command.SplitArgs(c.Combiner)
			if err != nil {
				return p, err
			}
			combine = &stint.Action{Command: args}
		}
		if reduce != nil {
			p.Stages[0].Combine = combine
			p.Stages = append(p.Stages, stint.Stage{Name: "last", Action: *reduce, Input: stint.Edge{Kind: stint.Shuffle, From: "first"}})
		}
	}
	properties := maps.Clone(c.Properties)
	if properties == nil {
		properties = make(map[string]string)
	}
	if c.Partitioner != "" {
		properties["mapred.partitioner.class"] = c.Partitioner
	}
	if c.InputFormat != "" {
		properties["mapred.input.format.class"] = c.InputFormat
	}
	err = command.Properties(&p, stint.StreamHadoop, properties)
	return p, err
}

// stages is what the plan makes of a program.
func (c *hadoopCase) stages(p stint.Program, pieces int) []stint.StageSpec {
	stages := make([]stint.StageSpec, len(p.Stages))
	for i := range p.Stages {
		stages[i] = stint.StageSpec{Stage: p.Stages[i], Partitions: 1, Part: i == len(p.Stages)-1}
	}
	stages[0].Operations = uint32(pieces)
	if len(stages) > 1 {
		stages[0].Sorted, stages[0].Partitions, stages[0].Partitioner = true, uint32(c.Reducers), stages[1].Input.Partitioner
		stages[1].Operations = uint32(c.Reducers)
	}
	return stages
}

func (c *hadoopCase) run(t *testing.T) {
	t.Helper()
	p, err := c.program()
	if err != nil {
		t.Fatal(err)
	}
	splits := c.splits(&p.Stages[0].Input)
	a := startWith(t, newWorker(), func(a *agent) {
		a.spec.Environment = make(map[string]string)
		for _, pair := range c.Cmdenv {
			name, value, _ := strings.Cut(pair, "=")
			a.spec.Environment[name] = value
		}
		for name, text := range c.Files {
			a.spec.Program.Files = append(a.spec.Program.Files, stint.ProgramFile{Name: name})
			if err := os.WriteFile(filepath.Join(a.dir, "files", name), []byte(bytesOf(text)), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}, c.stages(p, len(splits))...)
	ended := c.perform(a, splits, len(p.Stages))
	var reasons []string
	for _, r := range ended {
		if r.Failed != nil {
			reasons = append(reasons, r.Failed.Error.Error())
		}
	}
	if failed := len(reasons) > 0; failed != c.Fails {
		t.Fatalf("failed: %v, want %v: %q", failed, c.Fails, reasons)
	}
	if !c.Fails {
		c.compareParts(t, a)
		c.compareCounters(t, ended)
	}
}

// hadoopSplit is a part of a file that a map operation reads.
type hadoopSplit struct {
	file, text   string // of the whole file
	offset, size int
}

// splits cuts the input as Hadoop does, and orders it so: the largest first.
func (c *hadoopCase) splits(edge *stint.Edge) []hadoopSplit {
	var out []hadoopSplit
	for _, name := range slices.Sorted(maps.Keys(c.Input)) {
		if strings.ContainsAny(name[:1], "_.") {
			continue
		}
		text := strings.Repeat(bytesOf(c.Input[name]), max(c.Repeat, 1))
		if edge.Split != stint.SplitCount {
			out = append(out, hadoopSplit{name, text, 0, len(text)})
			continue
		}
		for at := 0; at < len(text); {
			n := 0
			for range edge.Count {
				line, _, _ := strings.Cut(text[at+n:], "\n")
				n = min(n+len(line)+1, len(text)-at)
			}
			out = append(out, hadoopSplit{name, text, at, n})
			at += n
		}
	}
	slices.SortStableFunc(out, func(x, y hadoopSplit) int { return cmp.Compare(y.size, x.size) })
	return out
}

// perform performs all operations, up to a stage in which one fails.
func (c *hadoopCase) perform(a *agent, splits []hadoopSplit, stages int) []worker.Record {
	a.t.Helper()
	var orders []worker.Order
	var files []*os.File
	for i, s := range splits {
		object, f := a.input(s.file, s.text)
		o := worker.Order{Op: uint32(i), Files: 1, Subset: stint.Subset{Pieces: []stint.Piece{
			{Object: object, Offset: int64(s.offset), Length: int64(s.size)},
		}}}
		files = append(files, f)
		if stages == 1 {
			files = a.part(&o, files)
		}
		orders = append(orders, o)
	}
	ended := slices.Collect(maps.Values(a.perform(0, orders, files...)))
	if stages == 1 || slices.ContainsFunc(ended, func(r worker.Record) bool { return r.Failed != nil }) {
		return ended
	}
	for p := range uint32(c.Reducers) {
		o, files := a.reading(p, uint32(len(splits)), p)
		files = a.part(&o, files)
		ended = append(ended, a.perform(1, []worker.Order{o}, files...)[p])
	}
	return ended
}

func (c *hadoopCase) compareParts(t *testing.T, a *agent) {
	t.Helper()
	got, want := make(map[string][]string), make(map[string][]string)
	for name, text := range c.Parts {
		want[name] = c.lines(bytesOf(text))
		var number int
		if _, err := fmt.Sscanf(name, "part-%05d", &number); err != nil {
			t.Fatal(err)
		}
		got[name] = c.lines(a.partText(fmt.Sprintf("part-%d", number)))
	}
	if d := godiff.Diff(want, got); d != "" {
		t.Errorf("parts:\n%s", d)
	}
	if _, err := os.Stat(filepath.Join(a.dir, "parts", fmt.Sprintf("part-%d", len(c.Parts)))); err == nil {
		t.Errorf("more than %d parts", len(c.Parts))
	}
}

func (c *hadoopCase) lines(text string) []string {
	lines := strings.SplitAfter(text, "\n")
	if c.AnyOrder {
		slices.Sort(lines)
	}
	return lines
}

func (c *hadoopCase) compareCounters(t *testing.T, ended []worker.Record) {
	t.Helper()
	got := make(map[string]int64)
	for _, r := range ended {
		for _, d := range r.Done.Counters {
			if d.Group != "stint" {
				got[d.Group+"/"+d.Name] += d.Value
			}
		}
	}
	const read = "org.apache.hadoop.mapreduce.TaskCounter/Map input records"
	if c.Properties["stream.minRecWrittenToEnableSkip_"] != "" {
		got[read] = c.Counters[read] // what a program leaves is not read at all
	}
	for name, n := range got {
		if n == 0 && c.Counters[name] == 0 {
			delete(got, name)
		}
	}
	want := maps.Clone(c.Counters)
	maps.DeleteFunc(want, func(_ string, n int64) bool { return n == 0 })
	if d := godiff.Diff(want, got); d != "" {
		t.Errorf("counters:\n%s", d)
	}
}
