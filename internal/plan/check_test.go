package plan

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"stint"
)

var (
	input   = stint.Edge{Kind: stint.FromInput}
	oneSlot = stint.Resources{Slots: 1}
)

func shuffleOf(from string) stint.Edge   { return stint.Edge{Kind: stint.Shuffle, From: from} }
func gatherOf(from string) stint.Edge    { return stint.Edge{Kind: stint.Gather, From: from} }
func oneToOneOf(from string) stint.Edge  { return stint.Edge{Kind: stint.OneToOne, From: from} }
func broadcastOf(from string) stint.Edge { return stint.Edge{Kind: stint.Broadcast, From: from} }

// with returns a stage with further edges.
func with(st stint.Stage, beside ...stint.Edge) stint.Stage {
	st.Beside = beside
	return st
}

func refused(t *testing.T, p stint.Program, says string) {
	t.Helper()
	err := CheckProgram(p)
	if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), says) {
		t.Errorf("%+v: %v, want one that says %q", p, err, says)
	}
}

func TestStagesThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	changed := func(edge stint.Edge, change func(*stint.Stage)) stint.Stage {
		st := stage("map", edge)
		change(&st)
		return st
	}
	partitions := func(n int) stint.Edge { return stint.Edge{Kind: stint.Shuffle, From: "map", Partitions: n} }
	by := func(p stint.Partitioner) stint.Edge {
		return stint.Edge{Kind: stint.Shuffle, From: "map", Partitioner: &p}
	}
	counted := func(count int64) stint.Edge {
		return stint.Edge{Kind: stint.FromInput, Split: stint.SplitCount, Count: count}
	}
	many := []stint.Stage{stage("s0", input)}
	for i := range MaxStages {
		many = append(many, stage(fmt.Sprint("s", i+1), oneToOneOf(fmt.Sprint("s", i))))
	}
	for _, c := range []struct {
		says   string
		stages []stint.Stage
	}{
		{"no stages", nil},
		{"at most 200", many},
		{"name \"Map\"", []stint.Stage{stage("Map", input)}},
		{"name \"\"", []stint.Stage{stage("", input)}},
		{"name \"../x\"", []stint.Stage{stage("../x", input)}},
		{"taken", []stint.Stage{stage("map", input), stage("map", shuffleOf("map"))}},
		{"taken by what may gather", []stint.Stage{stage("map-parts", input), stage("map", shuffleOf("map-parts"))}},
		{"exactly one", []stint.Stage{changed(input, func(s *stint.Stage) { s.Action.Command = []string{"cat"} })}},
		{"exactly one", []stint.Stage{changed(input, func(s *stint.Stage) { s.Action.SDK = []string{"cat"} })}},
		{"exactly one", []stint.Stage{{Name: "map", Input: input}}},
		{"combine", []stint.Stage{changed(input, func(s *stint.Stage) { s.Combine = &stint.Action{} })}},
		{"command is empty", []stint.Stage{{Name: "map", Action: stint.Action{Command: []string{""}}, Input: input}}},
		{"command is empty", []stint.Stage{{Name: "map", Action: stint.Action{SDK: []string{""}}, Input: input}}},

		{"unknown_reference: stage \"b\": reads \"mpa\", which is no stage; did you mean \"map\"?", []stint.Stage{stage("map", input), stage("b", shuffleOf("mpa"))}},
		{"there is map, other", []stint.Stage{stage("map", input), stage("other", input), stage("b", shuffleOf("qqqqqq"))}},
		{"unknown_reference", []stint.Stage{stage("map", shuffleOf(""))}},
		{"not before it", []stint.Stage{stage("map", shuffleOf("map"))}},
		{"not before it", []stint.Stage{stage("a", shuffleOf("b")), stage("b", input)}},
		{"unused: stage \"a\"", []stint.Stage{stage("map", input), stage("a", shuffleOf("map")), stage("b", shuffleOf("map"))}},
		{"unused: stage \"map\"", []stint.Stage{stage("map", input), stage("more", input)}},
		{"only the last stage can be without output", []stint.Stage{changed(input, func(s *stint.Stage) { s.NoOutput = true }), stage("reduce", shuffleOf("map"))}},
		{"stage \"map\" is shuffled by \"a\" and read as it is by \"b\": put an identity stage between", []stint.Stage{stage("map", input), stage("a", shuffleOf("map")), with(stage("b", shuffleOf("a")), broadcastOf("map"))}},

		{"edge \"pipe\": one of", []stint.Stage{stage("map", stint.Edge{Kind: "pipe"})}},
		{"edge \"broadcast\" as the only one", []stint.Stage{stage("map", input), stage("b", broadcastOf("map"))}},
		{"edge \"gather\" beside", []stint.Stage{stage("map", input), with(stage("b", input), gatherOf("map"))}},
		{"edge \"one-to-one\" beside", []stint.Stage{stage("map", input), with(stage("b", input), oneToOneOf("map"))}},
		{"edge \"input\" beside", []stint.Stage{stage("map", input), with(stage("b", oneToOneOf("map")), input)}},
		{"edge \"shuffle\" beside", []stint.Stage{stage("map", input), stage("more", input), with(stage("b", oneToOneOf("map")), shuffleOf("more"))}},
		{"reads \"map\" twice", []stint.Stage{stage("map", input), with(stage("b", shuffleOf("map")), shuffleOf("map"))}},
		{"reads \"map\" twice", []stint.Stage{stage("map", input), with(stage("b", input), broadcastOf("map"), broadcastOf("map"))}},
		{"duplicate: stage \"b\": commands find the outputs of stages \"a-1\" and \"a_1\" under the same variable", []stint.Stage{
			stage("a-1", input), stage("a_1", input), with(stage("b", input), broadcastOf("a-1"), broadcastOf("a_1")),
		}},

		{"partitions 10001", []stint.Stage{stage("map", input), stage("reduce", partitions(MaxPartitions+1))}},
		{"partitions -1", []stint.Stage{stage("map", input), stage("reduce", partitions(-1))}},
		{"partitions are those of a shuffle", []stint.Stage{stage("map", stint.Edge{Kind: stint.FromInput, Partitions: 2})}},
		{"partitions are those of a shuffle", []stint.Stage{stage("map", input), stage("b", stint.Edge{Kind: stint.OneToOne, From: "map", Partitioner: &stint.Partitioner{Kind: stint.HashPartition}})}},
		{"same number of partitions: 3 or 4", []stint.Stage{stage("map", input), stage("a", partitions(3)), with(stage("b", partitions(4)), shuffleOf("a"))}},
		{"same number of partitions: 3 or 4", []stint.Stage{
			stage("map", input), stage("other", input), stage("a", partitions(3)),
			with(stage("b", shuffleOf("map")), shuffleOf("other")), with(stage("c", stint.Edge{Kind: stint.Shuffle, From: "other", Partitions: 4}), broadcastOf("a"), broadcastOf("b")),
		}},
		{"same partitioner", []stint.Stage{stage("map", input), stage("more", input), with(stage("b", by(stint.Partitioner{Kind: stint.FieldPartition})), shuffleOf("more"))}},
		{"partitioner \"dice\": one of", []stint.Stage{stage("map", input), stage("b", by(stint.Partitioner{Kind: "dice"}))}},
		{"fields and a separator", []stint.Stage{stage("map", input), stage("b", by(stint.Partitioner{Kind: stint.HashPartition, Fields: "-k1"}))}},
		{"from is for range", []stint.Stage{stage("map", input), stage("b", by(stint.Partitioner{Kind: stint.FieldPartition, From: "map"}))}},
		{"unknown_reference: stage \"b\": partitions by the ranges of \"sampel\", which stage \"map\" does not read as a broadcast; did you mean \"sample\"?", []stint.Stage{
			stage("sample", input), with(stage("map", input), broadcastOf("sample")), stage("b", by(stint.Partitioner{Kind: stint.RangePartition, From: "sampel"})),
		}},

		{"split \"words\"", []stint.Stage{stage("map", stint.Edge{Kind: stint.FromInput, Split: "words"})}},
		{"count 0", []stint.Stage{stage("map", counted(0))}},
		{"count 3: it is for", []stint.Stage{stage("map", stint.Edge{Kind: stint.FromInput, Count: 3})}},
		{"by another count", []stint.Stage{stage("map", counted(2)), with(stage("b", counted(3)), broadcastOf("map"))}},
		{"an SDK program is given lines", []stint.Stage{{Name: "map", Action: stint.Action{SDK: []string{"./p"}}, Input: stint.Edge{Kind: stint.FromInput, Delimiter: "\x00"}}}},
		{"stage \"map\": delimiter: bad_escape", []stint.Stage{stage("map", stint.Edge{Kind: stint.FromInput, Delimiter: `\q`})}},
		{"delimiter of 65", []stint.Stage{stage("map", stint.Edge{Kind: stint.FromInput, Delimiter: strings.Repeat("x", 65)})}},
		{"are for stages that read the input", []stint.Stage{stage("map", input), stage("b", stint.Edge{Kind: stint.Shuffle, From: "map", Split: stint.SplitFiles})}},
		{"unknown_reference: stage \"map\": reads input \"left\"; the inputs", []stint.Stage{stage("map", stint.Edge{Kind: stint.FromInput, From: "left"})}},

		{"memory", []stint.Stage{changed(input, func(s *stint.Stage) { s.Resources.Memory = -1 })}},
		{"slots", []stint.Stage{changed(input, func(s *stint.Stage) { s.Resources.Slots = -1 })}},
		{"slots", []stint.Stage{changed(input, func(s *stint.Stage) { s.Resources.Slots = maxSlots + 1 })}},
		{"streaming mode \"c\"", []stint.Stage{changed(input, func(s *stint.Stage) { s.Streaming = &stint.Streaming{Mode: "c"} })}},
		{"-1 key fields", []stint.Stage{changed(input, func(s *stint.Stage) { s.Streaming = &stint.Streaming{KeyFields: -1} })}},
		{"separator", []stint.Stage{changed(input, func(s *stint.Stage) { s.Streaming = &stint.Streaming{Separator: "\n"} })}},
		{"offsets", []stint.Stage{stage("a", input), changed(shuffleOf("a"), func(s *stint.Stage) { s.Streaming = &stint.Streaming{Offsets: true} })}},
		{"unknown_reference: stage \"map\": uses file \"rnu.sh\"", []stint.Stage{changed(input, func(s *stint.Stage) { s.Files = []string{"rnu.sh"} })}},
	} {
		refused(t, stint.Program{Stages: c.stages}, c.says)
	}
}

func TestWhatAProgramSaysOfItselfIsChecked(t *testing.T) {
	t.Parallel()
	one := []stint.Stage{stage("map", input)}
	named := func(input string) []stint.Stage {
		return []stint.Stage{stage("map", stint.Edge{Kind: stint.FromInput, From: input})}
	}
	file := func(names ...string) (out []stint.ProgramFile) {
		for _, name := range names {
			out = append(out, stint.ProgramFile{Name: name})
		}
		return out
	}
	beside := []stint.Stage{stage("table", input), with(stage("map", input), broadcastOf("table"))}
	for says, p := range map[string]stint.Program{
		"-1 attempts":                       {Stages: one, OnError: stint.ErrorPolicy{Attempts: -1}},
		"101 attempts":                      {Stages: one, OnError: stint.ErrorPolicy{Attempts: 101}},
		"back-off":                          {Stages: one, OnError: stint.ErrorPolicy{Backoff: MaxBackoff + 1}},
		"share of 1.5":                      {Stages: one, OnError: stint.ErrorPolicy{SkipBadRecords: 1.5}},
		"share of -0.5":                     {Stages: one, OnError: stint.ErrorPolicy{SkipBadRecords: -0.5}},
		"share of NaN":                      {Stages: one, OnError: stint.ErrorPolicy{SkipBadRecords: math.NaN()}},
		"input 0: name \"A\"":               {Stages: named("A"), Inputs: []string{"A"}},
		"input 1: name \"a\" is taken":      {Stages: named("a"), Inputs: []string{"a", "a"}},
		"unused: input \"b\"":               {Stages: named("a"), Inputs: []string{"a", "b"}},
		"did you mean \"left\"":             {Stages: append(named("left"), stage("b", stint.Edge{Kind: stint.FromInput, From: "lfet"})), Inputs: []string{"left"}},
		"101 inputs":                        {Stages: one, Inputs: make([]string, 101)},
		"program file \"\"":                 {Stages: one, Files: file("")},
		"program file \"/a\"":               {Stages: one, Files: file("/a")},
		"program file \"a/../b\"":           {Stages: one, Files: file("a/../b")},
		"program file \"..\"":               {Stages: one, Files: file("..")},
		"program file \"a//b\"":             {Stages: one, Files: file("a//b")},
		"program file \".\"":                {Stages: one, Files: file(".")},
		"program file \"a\\\\b\"":           {Stages: one, Files: file(`a\b`)},
		"at most 4096 bytes":                {Stages: one, Files: file(strings.Repeat("a", 4097))},
		"it is there twice":                 {Stages: one, Files: file("a", "b", "a")},
		"also a folder":                     {Stages: one, Files: file("a", "a/b/c")},
		"would be where the output of stag": {Stages: beside, Files: file("table/x")},
	} {
		refused(t, p, says)
	}
}

func TestProgramsThatMakeSense(t *testing.T) {
	t.Parallel()
	ranges := &stint.Partitioner{Kind: stint.RangePartition, From: "sample"}
	fields := &stint.Partitioner{Kind: stint.FieldPartition}
	for name, p := range map[string]stint.Program{
		"a join of two inputs": {Inputs: []string{"left", "right"}, Stages: []stint.Stage{
			stage("l", stint.Edge{Kind: stint.FromInput, From: "left"}), stage("r", stint.Edge{Kind: stint.FromInput, From: "right"}),
			with(stage("join", stint.Edge{Kind: stint.Shuffle, From: "l", Partitions: 4}), shuffleOf("r")),
		}},
		"a sort by ranges": {Stages: []stint.Stage{
			stage("look", input), stage("sample", gatherOf("look")), with(stage("map", input), broadcastOf("sample")),
			stage("sort", stint.Edge{Kind: stint.Shuffle, From: "map", Partitioner: ranges}),
		}},
		"a diamond": {Stages: []stint.Stage{
			stage("a", input), stage("b", shuffleOf("a")), stage("c", shuffleOf("a")), with(stage("d", shuffleOf("b")), shuffleOf("c")),
		}},
		"what may be left out and what is spelled out": {Stages: []stint.Stage{
			stage("a", input), stage("b", stint.Edge{Kind: stint.Shuffle, From: "a", Partitioner: &stint.Partitioner{Kind: stint.FieldPartition, Separator: "\t"}}),
			with(stage("c", stint.Edge{Kind: stint.Shuffle, From: "a", Partitioner: fields}), broadcastOf("b")),
		}},
		"one-to-one and a broadcast of the same": {Stages: []stint.Stage{stage("a", input), with(stage("b", oneToOneOf("a")), broadcastOf("a"))}},
		"files in folders": {Files: []stint.ProgramFile{{Name: "lib/a.py"}, {Name: "lib/b.py"}, {Name: "run.sh"}}, Stages: []stint.Stage{{
			Name: "map", Action: stint.Action{SDK: []string{"run.sh"}}, Input: input, Files: []string{"run.sh", "lib/b.py"}, Resources: oneSlot,
		}}},
	} {
		if err := CheckProgram(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
