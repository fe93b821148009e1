package manifest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/manifest"
)

// design is the example of the documentation, as it stands there.
const design = `name: top-errors
type: log-analysis
stages:
  - name: parse
    command: [python3, parse.py]        # or native: logstats
    combine: {native: sum}
  - name: total
    command: [python3, total.py]
    input: {from: parse, shuffle: key, partitions: auto}
resources: {memory: 256MiB}
on_error: {attempts: 4, skip_bad_records: 0.01%, complete_as_much_as_possible: false}
`

func parse(t *testing.T, text string) stint.Program {
	t.Helper()
	p, _, err := manifest.Parse("program.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTheDocumentedExampleIsRead(t *testing.T) {
	t.Parallel()
	memory := stint.Resources{Memory: 256 << 20}
	want := stint.Program{
		Name: "top-errors", Type: stint.LogAnalysis,
		Stages: []stint.Stage{
			{Name: "parse", Action: stint.Action{Command: []string{"python3", "parse.py"}}, Combine: &stint.Action{Native: "sum"}, Input: stint.Edge{Kind: stint.FromInput}, Resources: memory},
			{Name: "total", Action: stint.Action{Command: []string{"python3", "total.py"}}, Input: stint.Edge{Kind: stint.Shuffle, From: "parse"}, Resources: memory},
		},
		OnError: stint.ErrorPolicy{Attempts: 4, SkipBadRecords: 0.0001},
	}
	if diff := cmp.Diff(want, parse(t, design)); diff != "" {
		t.Error(diff)
	}
}

// everything has every key there is, but those that only other stages may have.
const everything = `version: 1
name: joiner
type: custom
description: "joins left: and right"
inputs: [left, right]
params:
  depth: {type: integer, default: 3, values: [1, 2, 3], description: how deep}
  level: {required: true}
  fold: {type: flag, default: false}
  rate: {type: number, default: 0.5}
  most: {type: size, default: 64MiB}
  quoted: {values: ["no", "012"]}
open_params: true
files: ["*.py", lib]
environment: {LANG: C, EMPTY: ""}
resources: {memory: 1GiB, slots: 2}
on_error: {attempts: 7, backoff: 1500ms, skip_bad_records: 0.5%, complete_as_much_as_possible: true}
stages:
  - name: total
    sdk: [./total, "-n", "10"]
    input: {from: a, shuffle: key, partitions: 5, partitioner: {fields: "-k1,2", separator: "."}}
    with:
      - {from: b, shuffle: key, partitions: 5, partitioner: {fields: "-k1,2", separator: "."}}
    streaming: {separator: ",", key_fields: 2, input_separator: ";", output_separator: "|", reporter_prefix: "r:", ignore_exit: true, must_consume: true}
    resources: {slots: 1}
    environment: {A: b}
    files: [lib]
    no_output: true
  - name: a
    command: [python3, a.py, "", "a b"]
    combine: {command: [sort]}
    input: {input: left, lines: 1000, delimiter: "\0"}
    streaming: {mode: hadoop, offsets: true}
  - name: b
    sdk: ./b
    input: {input: right, split: files}
`

func TestEveryKeyIsReadAndStagesComeIntoOrder(t *testing.T) {
	t.Parallel()
	fields := &stint.Partitioner{Kind: stint.FieldPartition, Fields: "-k1,2", Separator: "."}
	usual := stint.Resources{Memory: 1 << 30, Slots: 2}
	want := stint.Program{
		Name: "joiner", Type: stint.Custom, Description: "joins left: and right", Inputs: []string{"left", "right"}, OpenParams: true,
		Params: []stint.Param{
			{Name: "depth", Type: stint.IntegerParam, Default: "3", Values: []string{"1", "2", "3"}, Description: "how deep"},
			{Name: "level", Required: true},
			{Name: "fold", Type: stint.FlagParam, Default: "false"},
			{Name: "rate", Type: stint.NumberParam, Default: "0.5"},
			{Name: "most", Type: stint.SizeParam, Default: "64MiB"},
			{Name: "quoted", Values: []string{"no", "012"}},
		},
		Files:       []stint.ProgramFile{{Name: "*.py"}, {Name: "lib"}},
		Environment: map[string]string{"LANG": "C", "EMPTY": ""},
		OnError:     stint.ErrorPolicy{Attempts: 7, Backoff: 1500, SkipBadRecords: 0.005, CompleteErrors: true},
		Stages: []stint.Stage{
			{
				Name: "a", Action: stint.Action{Command: []string{"python3", "a.py", "", "a b"}}, Combine: &stint.Action{Command: []string{"sort"}},
				Input: stint.Edge{Kind: stint.FromInput, From: "left", Split: stint.SplitCount, Count: 1000, Delimiter: `\0`}, Resources: usual,
				Streaming: &stint.Streaming{Mode: stint.StreamHadoop, Offsets: true},
			},
			{
				Name: "b", Action: stint.Action{SDK: []string{"./b"}}, Resources: usual,
				Input: stint.Edge{Kind: stint.FromInput, From: "right", Split: stint.SplitFiles},
			},
			{
				Name: "total", Action: stint.Action{SDK: []string{"./total", "-n", "10"}}, Resources: stint.Resources{Slots: 1},
				Input:     stint.Edge{Kind: stint.Shuffle, From: "a", Partitions: 5, Partitioner: fields},
				Beside:    []stint.Edge{{Kind: stint.Shuffle, From: "b", Partitions: 5, Partitioner: fields}},
				Streaming: &stint.Streaming{Separator: ",", KeyFields: 2, InputSeparator: ";", OutputSeparator: "|", ReporterPrefix: "r:", IgnoreExit: true, MustConsume: true},
				NoOutput:  true, Environment: map[string]string{"A": "b"}, Files: []string{"lib"},
			},
		},
	}
	got := parse(t, everything)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	again := parse(t, string(manifest.Render(got)))
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("rendered and read again: %s\n%s", diff, manifest.Render(got))
	}
}

func TestEveryWayToReadAStageIsReadAndRendered(t *testing.T) {
	t.Parallel()
	head := "name: p\nstages:\n  - {name: a, command: [cat]}\n  - {name: b, command: [cat], input: "
	for _, c := range []struct {
		text   string
		input  stint.Edge
		beside []stint.Edge
	}{
		{"{from: a, gather: all}}", stint.Edge{Kind: stint.Gather, From: "a"}, nil},
		{"{from: a, one_to_one: true}}", stint.Edge{Kind: stint.OneToOne, From: "a"}, nil},
		{"{from: a, shuffle: key, partitioner: hash}}", stint.Edge{Kind: stint.Shuffle, From: "a"}, nil},
		{`{split: lines, delimiter: '\0\xff\\'}, with: [{from: a, broadcast: true}]}`, stint.Edge{Kind: stint.FromInput, Delimiter: `\0\xff\\`}, []stint.Edge{{Kind: stint.Broadcast, From: "a"}}},
		{`{split: lines, delimiter: "\x1bé"}, with: [{from: a, broadcast: true}]}`, stint.Edge{Kind: stint.FromInput, Delimiter: `\x1bé`}, []stint.Edge{{Kind: stint.Broadcast, From: "a"}}},
		{`{split: lines, delimiter: '\n'}, with: [{from: a, broadcast: true}]}`, stint.Edge{Kind: stint.FromInput}, []stint.Edge{{Kind: stint.Broadcast, From: "a"}}},
		{"{split: lines, delimiter: \"\\r\\n\"}, with: [{from: a, broadcast: true}]}", stint.Edge{Kind: stint.FromInput, Delimiter: `\r\n`}, []stint.Edge{{Kind: stint.Broadcast, From: "a"}}},
	} {
		p := parse(t, head+c.text)
		last := p.Stages[len(p.Stages)-1]
		if diff := cmp.Diff(c.input, last.Input) + cmp.Diff(c.beside, last.Beside); diff != "" {
			t.Errorf("%s: %s", c.text, diff)
		}
		if diff := cmp.Diff(p, parse(t, string(manifest.Render(p)))); diff != "" {
			t.Errorf("%s rendered: %s", c.text, diff)
		}
	}
}

// stage is a manifest of one stage with more text in it.
func stage(more string) string { return "name: p\nstages:\n  - name: map\n" + more }

// stages is a manifest of stages that cat, with the rest of each.
func stages(rests ...string) string {
	text := "name: p\nstages:\n"
	for _, rest := range rests {
		text += "  - {command: [cat], " + rest + "}\n"
	}
	return text
}

// TestBadManifests has the rows of the list of bad inputs by their numbers. Rows
// about what a manifest does not have (outputs, locations, secrets, networks,
// sandboxes, determinism, encryption) are keys that are not known.
func TestBadManifests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		row, text string
		want      []string // what the refusal says, the first at its beginning
	}{
		{"M1 a picture", "\x89PNG\r\n\x1a\n", []string{"not_a_manifest: program.yaml:1:1: byte 0x89"}},
		{"M1 no YAML", "name: [p\nstages: }", []string{"not_a_manifest: program.yaml:"}},
		{"M1 nothing", "", []string{"not_a_manifest: ", "nothing in it"}},
		{"M1 a comment", "# nothing\n", []string{"not_a_manifest: ", "nothing in it"}},
		{"M1 a list", "- name: p\n", []string{"wrong_type: program.yaml:1:1: manifest: a list"}},
		{"M2 laughs", "a: &a [x]\nb: [*a, *a]\n", []string{"aliases_not_allowed: program.yaml:1:4"}},
		{"M2 alias", "name: *a\n", []string{"aliases_not_allowed: "}},
		{"M2 merge key", "name: p\n<<: {a: b}\n", []string{"aliases_not_allowed: "}},
		{"M2 tag", "name: !!str 1\n", []string{"tags_not_allowed: "}},
		{"M2 deep", "name: " + strings.Repeat("[", 100_000), []string{"too_deep: "}},
		{"M2 deep dashes", strings.Repeat("- ", 100_000), []string{"too_deep: "}},
		{"M4 no", stage("    command: [echo, no]\n"), []string{"wrong_type: program.yaml:4:21: stages[0].command[1]: no ", `quote it: "no"`}},
		{"M4 1e3", stage("    command: [echo, 1e3]\n"), []string{"wrong_type: ", `quote it: "1e3"`}},
		{"M4 012", stage("    command: [echo, 012]\n"), []string{"wrong_type: ", `quote it: "012"`}},
		{"M4 1:30", stage("    command: [echo, 1:30]\n"), []string{"wrong_type: ", `quote it: "1:30"`}},
		{"M4 date", stage("    command: [echo, 2024-01-02]\n"), []string{"wrong_type: ", `quote it: "2024-01-02"`}},
		{"M4 ~", stage("    command: [echo, ~]\n"), []string{"wrong_type: ", `quote it: "~"`}},
		{"M4 environment", stage("    command: [echo]\n    environment: {A: on}\n"), []string{"wrong_type: program.yaml:5:22: ", `quote it: "on"`}},
		{"M4 nothing", "name:\nstages: [{name: a, command: [cat]}]\n", []string{"wrong_type: ", "name: nothing"}},
		{"M5 two documents", design + "---\nname: q\n", []string{"one_document_only: program.yaml:13:"}},
		{"M7 mark", "\ufeffname: p\n", []string{"bad_encoding: ", "ef bb bf"}},
		{"M7 UTF-16", "\xff\xfen\x00a\x00", []string{"bad_encoding: ", "ff fe"}},
		{"M7 UTF-16 without mark", "n\x00a\x00m\x00", []string{"not_a_manifest: program.yaml:1:2: byte 0x00"}},
		{"M7 Latin-1", "name: caf\xe9\n", []string{"not_a_manifest: program.yaml:1:10: byte 0xe9"}},
		{"M8 long", strings.Repeat("# long\n", 800_000), []string{"manifest_too_large: ", "1 MiB"}},
		{"M10 version 99", "version: 99\n" + design, []string{"version_too_new: program.yaml:1:10: ", "reads 1..1", "upgrade"}},
		{"M10 version 0", "version: 0\n" + design, []string{"out_of_range: program.yaml:1:10: "}},
		{"M11 version in quotes", "version: \"1\"\n" + design, []string{"wrong_type: program.yaml:1:10: version: ", "whole number"}},
		{"M13 many stages", "name: p\nstages: [" + strings.Repeat("x, ", 1001) + "]", []string{"too_many: ", "1000"}},
		{"M14 stage twice", stages("name: map", "name: red, input: {from: map, shuffle: key}", "name: map, input: {from: red, shuffle: key}"), []string{"duplicate: program.yaml:5:28: ", `stages[2].name: "map" is the name of stages[0] too`}},
		{"M14 key twice", "name: p\nname: q\n", []string{`duplicate_key: program.yaml:2:1: "name"`, "line 1"}},
		{"M14 input twice", "name: p\ninputs: [a, a]\n", []string{"duplicate: program.yaml:2:13: "}},
		{"M14 parameter twice", "name: p\nparams: {a-b: {}, a_b: {}}\nstages: [{name: a, command: [cat]}]", []string{"bad_value: ", "duplicate: ", "STINT_PARAM_A_B"}},
		{"M16 unknown stage", stages("name: map", "name: red, input: {from: mpa, shuffle: key}"), []string{"unknown_reference: program.yaml:4:47: ", `"mpa"; did you mean "map"?`}},
		{"M16 unknown beside", stages("name: map", "name: red, input: {from: map, shuffle: key}, with: [{from: nowhere, broadcast: true}]"), []string{"unknown_reference: ", "there are map, red"}},
		{"M16 unknown range", stages("name: map", "name: red, input: {from: map, shuffle: key, partitioner: {range: mpa}}"), []string{"unknown_reference: ", `did you mean "map"?`}},
		{"M16 unknown input", "inputs: [left]\n" + stages("name: map, input: {input: lefd}"), []string{"unknown_reference: ", `did you mean "left"?`}},
		{"M16 input without names", stages("name: map, input: {input: left}"), []string{"unknown_reference: ", "inputs: [left]"}},
		{"M16 which input", "inputs: [left]\n" + stages("name: map"), []string{"missing: ", "{input: left}"}},
		{"M17 cycle", stages("name: a, input: {from: c, shuffle: key}", "name: b, input: {from: a, shuffle: key}", "name: c, input: {from: b, shuffle: key}"), []string{"cycle: program.yaml:3:28: ", "a -> b -> c -> a"}},
		{"M17 itself", stages("name: a, input: {from: a, shuffle: key}"), []string{"cycle: ", "a -> a"}},
		{"unread stage", stages("name: a", "name: idle, input: {from: a, shuffle: key}", "name: b, input: {from: a, shuffle: key}"), []string{"unused: program.yaml:4:28: ", `stage "idle": no stage reads it`}},
		{"shuffles that differ", stages("name: a", "name: b, input: {from: a, shuffle: key, partitions: 2}", "name: c, input: {from: a, shuffle: key, partitions: 3}", "name: d, input: {from: b, shuffle: key}, with: [{from: c, shuffle: key}]"), []string{"bad_program: program.yaml:5:28: ", "the same number of partitions: 2 or 3"}},
		{"unread input", "inputs: [left, right]\n" + stages("name: a, input: {input: left}"), []string{"unused: program.yaml:1:1: ", `input "right"`}},
		{"M20 output", "output: /x\n" + design, []string{"unknown_key: program.yaml:1:1: ", `"output"`}},
		{"M25 location as input", "name: p\ninputs: ['/var/log']\n", []string{"bad_name: program.yaml:2:10: ", "when the program is run"}},
		{"M31 secret in a location", "name: p\ninputs: ['s3://user:secret@b/k']\n", []string{"bad_name: "}},
		{"M35 glob", "name: p\nfiles: ['a[b']\nstages: [{name: a, command: [cat]}]", []string{"bad_glob: program.yaml:2:9: ", "bracket"}},
		{"M37 no command", stage("    command: []\n"), []string{"empty: program.yaml:4:14: stages[0].command"}},
		{"M37 spaces", stage("    command: [\"  \"]\n"), []string{"empty: "}},
		{"M37 spaces without list", stage("    command: \"  \"\n"), []string{"empty: "}},
		{"M38 one string", stage("    command: \"sh -c 'x'\"\n"), []string{"wrong_type: program.yaml:4:14: ", "list of arguments", "no shell is used"}},
		{"M40 outside", stage("    command: [../../bin/sh]\n"), []string{"bad_path: ", "../../bin/sh"}},
		{"M40 file outside", "files: [../x]\n" + design, []string{"bad_path: "}},
		{"M40 absolute file", "files: [/etc/passwd]\n" + design, []string{"bad_path: "}},
		{"M40 file in another spelling", "files: [./a//b]\n" + design, []string{"bad_path: ", `"a/b"`}},
		{"M43 name with =", "environment: {\"A=B\": c}\n" + design, []string{"bad_env_name: program.yaml:1:15: "}},
		{"M43 NUL in a name", "environment: {\"A\\0\": c}\n" + design, []string{"bad_env_name: "}},
		{"M43 NUL in a value", "environment: {A: \"\\0\"}\n" + design, []string{"bad_value: ", "NUL"}},
		{"M43 no name", "environment: {\"\": c}\n" + design, []string{"bad_env_name: "}},
		{"M44 large environment", "environment: {A: " + strings.Repeat("x", 200_000) + "}\n" + design, []string{"too_large: ", "128 KiB"}},
		{"M46 secret", stage("    command: [cat]\n    secretRef: s\n"), []string{"unknown_key: program.yaml:5:5: "}},
		{"M47 secret in arguments", stage("    command: [{secretRef: s}]\n"), []string{"wrong_type: ", "expected text"}},
		{"M49 no unit", "resources: {memory: 4}\n" + strings.ReplaceAll(design, "resources: {memory: 256MiB}\n", ""), []string{"needs_unit: program.yaml:1:21: ", "write 4MiB or 4GiB"}},
		{"M49 unit unknown", stage("    command: [cat]\n    resources: {memory: 4furlongs}\n"), []string{"wrong_type: ", "256MiB"}},
		{"M49 none", stage("    command: [cat]\n    resources: {memory: 0MiB}\n"), []string{"wrong_type: "}},
		{"M52 disk", stage("    command: [cat]\n    resources: {disk: 4GiB}\n"), []string{"unknown_key: ", "memory, slots"}},
		{"M53 attempts -1", stage("    command: [cat]\non_error: {attempts: -1}\n"), []string{"out_of_range: program.yaml:5:22: ", "0..100"}},
		{"M53 attempts 10^6", stage("    command: [cat]\non_error: {attempts: 1000000}\n"), []string{"out_of_range: ", "0..100"}},
		{"M53 attempts in text", stage("    command: [cat]\non_error: {attempts: many}\n"), []string{"wrong_type: "}},
		{"M53 share without %", stage("    command: [cat]\non_error: {skip_bad_records: 0.01}\n"), []string{"needs_unit: ", "0.01%"}},
		{"M53 whole share", stage("    command: [cat]\non_error: {skip_bad_records: 5}\n"), []string{"needs_unit: ", "write 5%"}},
		{"M53 share above all", stage("    command: [cat]\non_error: {skip_bad_records: 101%}\n"), []string{"out_of_range: "}},
		{"M53 wait without unit", stage("    command: [cat]\non_error: {backoff: 5}\n"), []string{"wrong_type: ", "200ms"}},
		{"M53 wait below 0", stage("    command: [cat]\non_error: {backoff: -5s}\n"), []string{"out_of_range: "}},
		{"M55 deterministic", "deterministic: maybe\n" + design, []string{"unknown_key: "}},
		{"M55 no flag", stage("    command: [cat]\n    no_output: maybe\n"), []string{"wrong_type: ", "true or false"}},
		{"M56 sandbox", "sandbox: L0\n" + design, []string{"unknown_key: "}},
		{"M58 network", "network: {allow: [\"0.0.0.0/0\"]}\n" + design, []string{"unknown_key: "}},
		{"M61 partitions", stages("name: map", "name: red, input: {from: map, shuffle: key, partitions: 10001}"), []string{"out_of_range: ", "1..10000"}},
		{"M65 encryption", "encryption: {algorithm: rc4}\n" + design, []string{"unknown_key: "}},

		{"not in this version", stage("    wasm: parse.wasm\n"), []string{"unknown_key: program.yaml:4:5: ", "wasm is not in this version"}},
		{"gang", stage("    command: [cat]\n    gang: 4\n"), []string{"unknown_key: ", "not in this version"}},
		{"near key", stage("    comand: [cat]\n"), []string{"unknown_key: program.yaml:4:5: stages[0]: ", `did you mean command?`}},
		{"no action", stage("    no_output: true\n"), []string{"conflict: program.yaml:3:5: ", "exactly one"}},
		{"two actions", stage("    command: [cat]\n    native: sum\n"), []string{"conflict: ", "2 of command"}},
		{"no action to combine", stage("    command: [cat]\n    combine: {}\n"), []string{"conflict: ", "combine"}},
		{"no name", "stages: [{name: a, command: [cat]}]", []string{"missing: ", "no name"}},
		{"no stages", "name: p\nstages: []", []string{"missing: ", "no stages"}},
		{"name in capitals", "name: Top\n", []string{"bad_name: program.yaml:1:7"}},
		{"stage name", "name: p\nstages: [{name: A b, command: [cat]}]", []string{"bad_name: program.yaml:2:17"}},
		{"type", "name: p\ntype: sorting\n", []string{"wrong_type: program.yaml:2:7: ", "did you mean sort?"}},
		{"no input", stages("name: a", "name: b"), []string{"missing: program.yaml:4:5: ", "{from: STAGE, shuffle: key}"}},
		{"no way to read", stages("name: a", "name: b, input: {from: a}"), []string{"conflict: ", "gather: all"}},
		{"two ways to read", stages("name: a", "name: b, input: {from: a, shuffle: key, gather: all}"), []string{"conflict: ", "2 ways"}},
		{"shuffle by value", stages("name: a", "name: b, input: {from: a, shuffle: value}"), []string{"wrong_type: ", "expected key"}},
		{"not one to one", stages("name: a", "name: b, input: {from: a, one_to_one: false}"), []string{"wrong_type: ", "expected true"}},
		{"broadcast alone", stages("name: a", "name: b, input: {from: a, broadcast: true}"), []string{"conflict: ", "with:"}},
		{"gather beside", stages("name: a", "name: b, input: {from: a, shuffle: key}, with: [{from: a, gather: all}]"), []string{"conflict: ", "broadcast: true"}},
		{"input beside", stages("name: a", "name: b, input: {from: a, shuffle: key}, with: [{split: files}]"), []string{"conflict: ", "from: STAGE"}},
		{"shuffle of the input", stages("name: a, input: {shuffle: key}"), []string{"conflict: ", "from: STAGE"}},
		{"split of a stage", stages("name: a", "name: b, input: {from: a, shuffle: key, split: files}"), []string{"conflict: ", "program's input"}},
		{"partitions of a gather", stages("name: a", "name: b, input: {from: a, gather: all, partitions: 3}"), []string{"conflict: ", "shuffle: key"}},
		{"partitions in words", stages("name: a", "name: b, input: {from: a, shuffle: key, partitions: few}"), []string{"wrong_type: ", "auto or a whole number"}},
		{"lines of files", stages("name: a, input: {split: files, lines: 4}"), []string{"conflict: ", "split: files"}},
		{"split of another kind", stages("name: a, input: {split: words}"), []string{"wrong_type: ", "lines, files, range"}},
		{"empty delimiter", stages("name: a, input: {delimiter: \"\"}"), []string{"out_of_range: "}},
		{"delimiter with a bad escape", stages(`name: a, input: {delimiter: '\q'}`), []string{"bad_value: ", `\xNN`}},
		{"delimiter too long", stages(`name: a, input: {delimiter: '` + strings.Repeat(`\0`, 65) + `'}`), []string{"out_of_range: ", "65 bytes"}},
		{"delimiter without quotes", stages("name: a, input: {delimiter: x}"), []string{"wrong_type: ", "in quotes"}},
		{"partitioner", stages("name: a", "name: b, input: {from: a, shuffle: key, partitioner: field}"), []string{"wrong_type: ", "-k1,2"}},
		{"two partitioners", stages("name: a", "name: b, input: {from: a, shuffle: key, partitioner: {fields: \"-k1\", range: a}}"), []string{"conflict: ", "range: STAGE"}},
		{"separator of a range", stages("name: a", "name: b, input: {from: a, shuffle: key, partitioner: {range: a, separator: \",\"}}"), []string{"conflict: ", "separator"}},
		{"separator with LF", stage("    command: [cat]\n    streaming: {separator: \"\\n\"}\n"), []string{"wrong_type: ", "LF"}},
		{"streaming mode", stage("    command: [cat]\n    streaming: {mode: haddop}\n"), []string{"wrong_type: ", "did you mean hadoop?"}},
		{"parameter type", "name: p\nparams: {a: {type: intger}}\n", []string{"wrong_type: ", "did you mean integer?"}},
		{"parameter name", "name: p\nparams: {1a: {}}\n", []string{"bad_value: program.yaml:2:10: ", "bad_name: "}},
		{"parameter default", "name: p\nparams: {a: {type: integer, default: 1.5}}\n", []string{"bad_value: program.yaml:2:10: ", "whole number"}},
		{"parameter default in text", "name: p\nparams: {a: {default: 1.5}}\n", []string{"wrong_type: ", `quote it: "1.5"`}},
		{"parameter default not allowed", "name: p\nparams: {a: {values: [x, y], default: z}}\n", []string{"bad_value: ", "one of x, y"}},
		{"required with a default", "name: p\nparams: {a: {required: true, default: z}}\n", []string{"bad_value: ", "give one"}},
		{"a description of two lines", "name: p\ndescription: \"a\\nb\"\n", []string{"bad_value: ", "one line"}},
	} {
		t.Run(c.row, func(t *testing.T) {
			t.Parallel()
			p, _, err := manifest.Parse("program.yaml", []byte(c.text))
			if stint.CodeOf(err) != stint.Invalid {
				t.Fatalf("%v, program %+v", err, p)
			}
			if !strings.HasPrefix(err.Error(), c.want[0]) {
				t.Errorf("%q does not begin with %q", err, c.want[0])
			}
			for _, want := range c.want[1:] {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestAllThatIsWrongIsToldInTheOrderOfTheText(t *testing.T) {
	t.Parallel()
	_, _, err := manifest.Parse("p.yaml", []byte("version: 2\nname: p\nresource: {}\nstages:\n  - name: a\n    command: cat\n    attempts: 3\n"))
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	want := []string{"version_too_new: p.yaml:1:10: ", "unknown_key: p.yaml:3:1: ", "wrong_type: p.yaml:6:14: ", "unknown_key: p.yaml:7:5: "}
	if len(lines) != len(want) {
		t.Fatalf("%q", lines)
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w) {
			t.Errorf("%q does not begin with %q", lines[i], w)
		}
	}
}

func TestARefusalOfThePlanSaysWhereTheStageStands(t *testing.T) {
	t.Parallel()
	_, _, err := manifest.Parse("p.yaml", []byte(stages("name: map, no_output: true", "name: red, input: {from: map, shuffle: key}")))
	if err == nil || !strings.Contains(err.Error(), "p.yaml:3:28: ") {
		t.Errorf("%v", err)
	}
}

// TestOddTextIsKept is row M62: there is no template language.
func TestOddTextIsKept(t *testing.T) {
	t.Parallel()
	odd := []string{"{{ .Env.HOME }}", "${param.a}", "$(rm -rf /)", "`x`", "a\nb", "\ta", "é\u2028\U0001F600", "#no", " lead", "a: b", "- x", "yes", "012", "'", `"`, `\`, "\x7f", "null", "%a", "@a", "!a", "&a", "*a", "?", "|", ">", "=", "<<", "0x1F", ".5", "+1", "1_000", ".nan"}
	p := stint.Program{Name: "p", Stages: []stint.Stage{{Name: "map", Action: stint.Action{Command: append([]string{"echo"}, odd...)}, Input: stint.Edge{Kind: stint.FromInput}}}}
	if diff := cmp.Diff(p, parse(t, string(manifest.Render(p)))); diff != "" {
		t.Errorf("%s\n%s", diff, manifest.Render(p))
	}
}

// TestSizesInDecimalUnitsAreTold is a part of row M49.
func TestSizesInDecimalUnitsAreTold(t *testing.T) {
	t.Parallel()
	p, warnings, err := manifest.Parse("p.yaml", []byte(stage("    command: [cat]\n    resources: {memory: 4GB}\n")))
	if err != nil || p.Stages[0].Resources.Memory != 4e9 || len(warnings) != 1 || !strings.Contains(warnings[0], "p.yaml:5:25") || !strings.Contains(warnings[0], "4000000000 bytes") {
		t.Errorf("%+v %q %v", p, warnings, err)
	}
	if _, warnings, err := manifest.Parse("p.yaml", []byte(design)); err != nil || len(warnings) > 0 {
		t.Errorf("%q %v", warnings, err)
	}
}

func TestSharesAreReadAndWrittenExactly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{"0.01%": 0.0001, "100%": 1, "0%": 0, "12.5%": 0.125, "0.3%": 0.003, "0.0000001%": 1e-9, "7%": 0.07} {
		p := parse(t, stage("    command: [cat]\non_error: {attempts: 1, skip_bad_records: "+text+"}\n"))
		if p.OnError.SkipBadRecords != want {
			t.Errorf("%s: %v", text, p.OnError.SkipBadRecords)
		}
		if again := parse(t, string(manifest.Render(p))); again.OnError != p.OnError {
			t.Errorf("%s: %v, and rendered %v", text, p.OnError, again.OnError)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{design, everything, "a: &a [x]\nb: *a", "- - - -", "{a: [}", "name: |\n  x\nstages: >-\n y", "? a\n: b", "%YAML 1.2\n---\n", "a:\n\tb", "\"\\x", "'", "a: 'b\n\n c'", "...\n---\n---", "x: !<t> y", "[[[[", "{{{{", "a: b: c", "@", "`", "|", ">", "- |\n -"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, _, err := manifest.Parse("p.yaml", text)
		if err != nil {
			if stint.CodeOf(err) != stint.Invalid {
				t.Fatalf("code %s: %v", stint.CodeOf(err), err)
			}
			return
		}
		rendered := manifest.Render(p)
		again, _, err := manifest.Parse("p.yaml", rendered)
		if err != nil {
			t.Fatalf("rendered: %v\n%s", err, rendered)
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Fatalf("%s\n%s", diff, rendered)
		}
	})
}
