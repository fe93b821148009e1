package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hadoopJob is a job and what Hadoop Streaming made of it, see
// docs/streaming.md. Text has one character for each byte. Package worker performs all
// of them; here are some that together use every flag.
type hadoopJob struct {
	Name, Mapper, Combiner, Reducer, Partitioner, InputFormat string
	Reducers                                                  int
	Properties, Files, Input, Parts                           map[string]string
	Cmdenv                                                    []string
	Fails                                                     bool
}

func TestModeHadoopFromTheCommandLine(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../internal/worker/testdata/hadoop.json")
	if err != nil {
		t.Fatal(err)
	}
	var jobs []hadoopJob
	if err := json.Unmarshal(b, &jobs); err != nil {
		t.Fatal(err)
	}
	h := newHome(t)
	h.up(1)
	names := []string{
		"map_only_cat", "map_only_bom", "tool_writes_crlf", "output_separator", "map_two_fields_reduce", "map_separator_reduce_separator",
		"reduce_empty_partitions", "word_count", "combiner_key_fields", "partition_chars", "partition_none", "delimiter",
		"nline_all", "offsets_crlf", "exit_3_ignored", "reads_one_line", "quotes", "environment_map", "aggregate_files", "reduce_identity_separator",
	}
	performed := 0
	for _, job := range jobs {
		if slices.Contains(names, job.Name) {
			job.run(t, h)
			performed++
		}
	}
	if performed != len(names) {
		t.Errorf("%d jobs of %d", performed, len(names))
	}
}

// bytesOf returns text with a byte for each character.
func bytesOf(text string) string {
	var b []byte
	for _, r := range text {
		b = append(b, byte(r))
	}
	return string(b)
}

func (j *hadoopJob) run(t *testing.T, h *home) {
	t.Helper()
	args := []string{"run", "--mode", "hadoop", "--map", j.Mapper, "--input", h.path(j.Name + "/in"), "--output", j.Name + "-out"}
	for name, text := range j.Input {
		h.write(filepath.Join(j.Name, "in", name), bytesOf(text))
	}
	for name, text := range j.Files {
		args = append(args, "--file", h.write(filepath.Join(j.Name, name), bytesOf(text)))
	}
	given := func(flag, value string) {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	if j.Reducers > 0 {
		given("--reduce", j.Reducer)
		given("--combine", j.Combiner)
		given("--partitions", strconv.Itoa(j.Reducers))
		given("--partitioner", j.Partitioner)
	}
	if j.InputFormat != "" {
		given("--stream", "mapred.input.format.class="+j.InputFormat)
	}
	for _, name := range slices.Sorted(maps.Keys(j.Properties)) {
		given("--stream", name+"="+j.Properties[name])
	}
	for _, pair := range j.Cmdenv {
		given("--cmdenv", pair)
	}
	h.ok(args...)
	var want []string
	for _, name := range slices.Sorted(maps.Keys(j.Parts)) {
		want = append(want, bytesOf(j.Parts[name]))
	}
	got := h.parts(h.path(j.Name + "-out"))
	if strings.Contains(j.Name, "two_fields") { // values of one key have no order there
		got, want = []string{sorted(got...)}, []string{sorted(want...)}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s:\n%s", j.Name, d)
	}
}
