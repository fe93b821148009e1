package command_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/runner/command"
)

// streamingProgram has a map stage, and a reduce stage.
func streamingProgram() stint.Program {
	return stint.Program{Stages: []stint.Stage{
		{Name: "map", Action: stint.Action{Command: []string{"cat"}}, Combine: &stint.Action{Command: []string{"uniq"}}, Input: stint.Edge{Kind: stint.FromInput}},
		{Name: "reduce", Action: stint.Action{Command: []string{"cat"}}, Input: stint.Edge{Kind: stint.Shuffle, From: "map"}},
	}}
}

func TestEveryPropertyIsPutWhereItBelongs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		given string // property=value, separated by blanks
		want  func(p *stint.Program, first, last *stint.Streaming)
	}{
		{"", func(*stint.Program, *stint.Streaming, *stint.Streaming) {}},
		{"stream.map.output.field.separator=;", func(_ *stint.Program, f, _ *stint.Streaming) { f.Separator = ";" }},
		{"stream.map.input.field.separator=;", func(_ *stint.Program, f, _ *stint.Streaming) { f.InputSeparator = ";" }},
		{"stream.num.map.output.key.fields=3", func(_ *stint.Program, f, _ *stint.Streaming) { f.KeyFields = 3 }},
		{"stream.map.input.ignoreKey=false", func(_ *stint.Program, f, _ *stint.Streaming) { f.Offsets = true }},
		{"stream.map.input.ignoreKey=true", func(*stint.Program, *stint.Streaming, *stint.Streaming) {}},
		{"stream.reduce.output.field.separator=;", func(_ *stint.Program, _, l *stint.Streaming) { l.Separator = ";" }},
		{"stream.reduce.input.field.separator=;", func(_ *stint.Program, _, l *stint.Streaming) { l.InputSeparator = ";" }},
		{"stream.num.reduce.output.key.fields=3", func(_ *stint.Program, _, l *stint.Streaming) { l.KeyFields = 3 }},
		{"stream.stderr.reporter.prefix=r:", func(_ *stint.Program, f, l *stint.Streaming) { f.ReporterPrefix, l.ReporterPrefix = "r:", "r:" }},
		{"stream.non.zero.exit.is.failure=false", func(_ *stint.Program, f, l *stint.Streaming) { f.IgnoreExit, l.IgnoreExit = true, true }},
		{"mapreduce.output.textoutputformat.separator=;", func(_ *stint.Program, _, l *stint.Streaming) { l.OutputSeparator = ";" }},
		{"mapred.textoutputformat.separator=;", func(_ *stint.Program, _, l *stint.Streaming) { l.OutputSeparator = ";" }},
		{`textinputformat.record.delimiter=\0`, func(p *stint.Program, _, _ *stint.Streaming) { p.Stages[0].Input.Delimiter = `\\0` }},
		{"textinputformat.record.delimiter=;;", func(p *stint.Program, _, _ *stint.Streaming) { p.Stages[0].Input.Delimiter = ";;" }},
		{"mapred.input.format.class=org.apache.hadoop.mapred.TextInputFormat", func(*stint.Program, *stint.Streaming, *stint.Streaming) {}},
		{"mapred.input.format.class=NLineInputFormat", func(p *stint.Program, f, _ *stint.Streaming) {
			p.Stages[0].Input.Split, p.Stages[0].Input.Count, f.Offsets = stint.SplitCount, 1, true
		}},
		{"mapreduce.job.inputformat.class=org.apache.hadoop.mapred.lib.NLineInputFormat mapred.line.input.format.linespermap=7", func(p *stint.Program, f, _ *stint.Streaming) {
			p.Stages[0].Input.Split, p.Stages[0].Input.Count, f.Offsets = stint.SplitCount, 7, true
		}},
		{"mapred.partitioner.class=HashPartitioner", func(*stint.Program, *stint.Streaming, *stint.Streaming) {}},
		{"mapreduce.job.partitioner.class=KeyFieldBasedPartitioner mapred.text.key.partitioner.options=-k2 map.output.key.field.separator=.", func(p *stint.Program, _, _ *stint.Streaming) {
			p.Stages[1].Input.Partitioner = &stint.Partitioner{Kind: stint.FieldPartition, Fields: "-k2", Separator: "."}
		}},
		{"mapreduce.job.partitioner.class=KeyFieldBasedPartitioner num.key.fields.for.partition=2", func(p *stint.Program, _, _ *stint.Streaming) {
			p.Stages[1].Input.Partitioner = &stint.Partitioner{Kind: stint.FieldPartition, Fields: "-k1,2"}
		}},
		{"mapreduce.job.partitioner.class=KeyFieldBasedPartitioner num.key.fields.for.partition=0", func(p *stint.Program, _, _ *stint.Streaming) {
			p.Stages[1].Input.Partitioner = &stint.Partitioner{Kind: stint.FieldPartition}
		}},
		{"mapred.reduce.tasks=5", func(p *stint.Program, _, _ *stint.Streaming) { p.Stages[1].Input.Partitions = 5 }},
		{"mapreduce.job.reduces=0 stream.reduce.input.field.separator=;", func(p *stint.Program, _, _ *stint.Streaming) {
			p.Stages, p.Stages[0].Combine = p.Stages[:1], nil
		}},
	} {
		for _, mode := range []stint.StreamMode{"", stint.StreamLines, stint.StreamHadoop} {
			given := make(map[string]string)
			for pair := range strings.FieldsSeq(c.given) {
				name, value, _ := strings.Cut(pair, "=")
				given[name] = value
			}
			got, want := streamingProgram(), streamingProgram()
			if err := command.Properties(&got, mode, given); err != nil {
				t.Errorf("%s: %v", c.given, err)
				continue
			}
			streams := [2]stint.Streaming{}
			if mode == stint.StreamHadoop {
				streams = [2]stint.Streaming{{Mode: mode, MustConsume: true}, {Mode: mode, MustConsume: true}}
			}
			c.want(&want, &streams[0], &streams[1])
			for i := range want.Stages {
				if streams[i] != (stint.Streaming{}) {
					want.Stages[i].Streaming = &streams[i]
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s in mode %q:\n%s", c.given, mode, d)
			}
		}
	}
	p := streamingProgram()
	if err := command.Properties(&p, stint.StreamHadoop, map[string]string{"stream.minRecWrittenToEnableSkip_": "0"}); err != nil || p.Stages[0].Streaming.MustConsume {
		t.Errorf("%v, %+v", err, p.Stages[0].Streaming)
	}
}

func TestPropertiesThatMeanNothingAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ given, want string }{
		{"stream.num.map.output.key.field=2", `property "stream.num.map.output.key.field" is not known; did you mean stream.num.map.output.key.fields?`},
		{"mapred.reduce.task=2", "did you mean mapred.reduce.tasks?"},
		{"mapreduce.job.output.key.comparator.class=org.apache.hadoop.mapreduce.lib.partition.KeyFieldBasedComparator", `property "mapreduce.job.output.key.comparator.class": comparators are not supported`},
		{"mapreduce.partition.keycomparator.options=-k2,2nr", "comparators are not supported"},
		{"mapred.output.key.comparator.class=x", "comparators are not supported"},
		{"foo.bar=2", `property "foo.bar" is not known`},
		{"xyz=", `property "xyz" is not known`},
		{"stream.num.map.output.key.fields=two", `property stream.num.map.output.key.fields="two": expected a whole number`},
		{"stream.num.map.output.key.fields=-1", "expected a whole number"},
		{"stream.map.output.field.separator=", "expected at least one character"},
		{"stream.stderr.reporter.prefix=", "expected at least one character"},
		{"stream.non.zero.exit.is.failure=no", "expected true or false"},
		{"mapred.partitioner.class=com.example.Mine", "expected one of HashPartitioner, KeyFieldBasedPartitioner"},
		{"mapred.input.format.class=KeyValueTextInputFormat", "expected one of TextInputFormat, NLineInputFormat"},
		{"mapreduce.partition.keypartitioner.options=-k1", "expected partitioner KeyFieldBasedPartitioner with them"},
		{"mapreduce.input.lineinputformat.linespermap=2", "expected input format NLineInputFormat with them"},
		{"mapred.reduce.tasks=2 mapreduce.job.reduces=3", "properties mapred.reduce.tasks and mapreduce.job.reduces are the same"},
	} {
		given := make(map[string]string)
		for pair := range strings.FieldsSeq(c.given) {
			name, value, _ := strings.Cut(pair, "=")
			given[name] = value
		}
		p := streamingProgram()
		err := command.Properties(&p, "", given)
		if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.given, err, c.want)
		}
	}
}

func TestReducersOfHadoop(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"NONE":      "[] ",
		"none":      "[[none]] ",
		"aggregate": "[aggregate] aggregate-combine",
		"Aggregate": "[aggregate] aggregate-combine",
		"org.apache.hadoop.mapred.lib.IdentityReducer": "[identity] ",
		"sort -u":       "[[sort -u]] ",
		"aggregate all": "[[aggregate all]] ",
	} {
		reduce, combine, err := command.Reducer(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := "[] "
		switch {
		case reduce != nil && reduce.Native != "":
			got = fmt.Sprintf("[%s] ", reduce.Native)
		case reduce != nil:
			got = fmt.Sprintf("[%v] ", reduce.Command)
		}
		if combine != nil {
			got += combine.Native
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if _, _, err := command.Reducer(`"open`); stint.CodeOf(err) != stint.Invalid {
		t.Error(err)
	}
}

func hadoopMode(p *performance) *performance {
	p.attempt.Streaming = &stint.Streaming{Mode: stint.StreamHadoop}
	return p
}

func TestAnExitCodeIsIgnoredWhereTheStageSaysSo(t *testing.T) {
	t.Parallel()
	p := sh("echo out; exit 3")
	p.attempt.Streaming = &stint.Streaming{IgnoreExit: true}
	p.mustPerform(t)
	if p.stdout.String() != "out\n" || p.counters()["stint/exit_ignored"] != 1 {
		t.Errorf("%q %v", p.stdout.String(), p.counters())
	}
	p = sh("kill -KILL $$")
	p.attempt.Streaming = &stint.Streaming{IgnoreExit: true}
	err := p.perform(t.Context(), t)
	if exit, ok := errors.AsType[*stint.ExitError](err); !ok || exit.Signal != "SIGKILL" {
		t.Errorf("%v", err)
	}
}

func TestInputMustBeConsumedWhereTheStageSaysSo(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("x", 99) + "\n"
	for _, c := range []struct {
		script string
		mode   stint.StreamMode
		lines  int
		fails  bool
	}{
		{"cat >/dev/null", stint.StreamLines, 100000, false},
		{"cat >/dev/null", stint.StreamHadoop, 100000, false},
		{"head -c 100 >/dev/null", stint.StreamLines, 2, true}, // what is left in the pipe counts
		{"exec head -c 200 >/dev/null", stint.StreamLines, 2, false},
		{"true", stint.StreamLines, 1, true},
		{"exec <&-; sleep 0.05", stint.StreamLines, 1000, true},
		{"true", stint.StreamHadoop, 1, false},
		{"true", stint.StreamHadoop, 100000, true},
		{"true", stint.StreamLines, 0, false},
	} {
		p := sh(c.script)
		p.attempt.Streaming = &stint.Streaming{Mode: c.mode, MustConsume: true}
		p.in = strings.NewReader(strings.Repeat(line, c.lines))
		err := p.perform(t.Context(), t)
		if c.fails != (stint.CodeOf(err) == stint.Failed) || c.fails && !strings.Contains(err.Error(), "input_not_consumed: ") || !c.fails && err != nil {
			t.Errorf("%s of %d lines in mode %s: %v", c.script, c.lines, c.mode, err)
		}
	}
}

type unwanted struct{ io.Writer }

func (unwanted) Wanted() bool { return false }

func TestAProgramThatClosesItsOutputAndGoesOnFails(t *testing.T) {
	t.Parallel()
	p := sh("exec >&-; sleep 60") // it is killed
	p.runner = &command.Runner{Grace: 20 * time.Millisecond}
	if err := p.perform(t.Context(), t); stint.CodeOf(err) != stint.Failed || !strings.Contains(err.Error(), "stdout_closed: ") {
		t.Error(err)
	}
	const script = "exec >&-; sleep 0.3"
	p = hadoopMode(sh(script))
	p.runner = &command.Runner{Grace: 20 * time.Millisecond}
	p.mustPerform(t)
	p = sh(script)
	p.runner, p.out = &command.Runner{Grace: 20 * time.Millisecond}, unwanted{io.Discard}
	p.mustPerform(t)
}

func TestMessagesInModeHadoop(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prefix, said, log string
		counters          map[string]int64
		status            []string
	}{
		{"", "text\rreporter:counter:g,a,1\r\nreporter:counter:g,b,2\rmore\r\nreporter:status: busy \rend", "text\rmore\r\nend", map[string]int64{"g/a": 1, "g/b": 2}, []string{"busy"}},
		{"", "reporter:counter:g,a,1,\nreporter:counter: h,b,2 \nreporter:counter:i,,3\n", "", map[string]int64{"g/a": 1, "h/b": 2, "i/": 3}, nil},
		{"", "reporter:counter:g,a, 1\nreporter:counter:g,a,1,2\nreporter:counter:g\nreporter:x\n", "reporter:counter:g,a, 1\nreporter:counter:g,a,1,2\nreporter:counter:g\nreporter:x\n", map[string]int64{"stint/reporter_malformed": 4}, nil},
		{"my/", "reporter:counter:g,a,1\nmy/counter:g,b,1\nmy\nm", "reporter:counter:g,a,1\nmy\nm\n", map[string]int64{"g/b": 1}, nil},
	} {
		for n := 1; n <= len(c.said); n++ {
			log, status, deltas := readAsHadoop([]byte(c.said), n, c.prefix)
			counters := make(map[string]int64)
			for _, d := range deltas {
				counters[d.Group+"/"+d.Name] = d.Value
			}
			if log != c.log || !maps.Equal(counters, c.counters) || !cmp.Equal(status, c.status) {
				t.Fatalf("%q in chunks of %d: %q %v %q", c.said, n, log, counters, status)
			}
		}
	}
}

func readAsHadoop(said []byte, n int, prefix string) (string, []string, []stint.CounterDelta) {
	all := command.ReadStderrAs(said, n, &stint.Streaming{Mode: stint.StreamHadoop, ReporterPrefix: prefix})
	return all[0].(string), all[1].([]string), all[2].([]stint.CounterDelta)
}

func TestPropertiesOfTheJobAreInTheEnvironmentInModeHadoop(t *testing.T) {
	t.Parallel()
	names := "stream_map_output_field_separator stream_num_map_output_key_fields stream_map_input_field_separator " +
		"stream_reduce_output_field_separator mapreduce_output_textoutputformat_separator mapred_textoutputformat_separator " +
		"stream_stderr_reporter_prefix stream_non_zero_exit_is_failure mapreduce_job_maps mapred_map_tasks my_own_name job_local_dir"
	look := func(change func(a *stint.Attempt)) string {
		p := sh("for n in " + names + "; do printenv $n || echo -; done")
		p.attempt.Params = map[string]string{"my.own-name": "value"}
		p.attempt.Streaming = &stint.Streaming{Mode: stint.StreamHadoop, Separator: ";", KeyFields: 2, InputSeparator: "=", OutputSeparator: "|", IgnoreExit: true}
		change(&p.attempt)
		if !p.attempt.First {
			p.in = strings.NewReader("x\n")
		}
		p.mustPerform(t)
		return strings.Join(strings.Fields(p.stdout.String()), " ")
	}
	for want, change := range map[string]func(a *stint.Attempt){
		"; 2 = - | | - false 9 9 value " + os.TempDir(): func(*stint.Attempt) {},
		"- - - ; | | - false - - value " + os.TempDir(): func(a *stint.Attempt) { a.First = false },
		"- - - - - - - - - - - -":                       func(a *stint.Attempt) { a.Streaming.Mode = "" },
	} {
		if got := look(change); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
