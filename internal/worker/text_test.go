package worker

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"stint"
)

// linesIn cuts text that comes in writes of n bytes.
func linesIn(t *testing.T, s *stint.Streaming, text string, n int) []string {
	t.Helper()
	var got []string
	each := func(line []byte) error { got = append(got, string(line)); return nil }
	lines := textLines{form: formOf(s)}
	for len(text) > 0 {
		n := min(n, len(text))
		if err := lines.write([]byte(text[:n]), each); err != nil {
			t.Fatal(err)
		}
		text = text[n:]
	}
	if err := lines.finish(each); err != nil {
		t.Fatal(err)
	}
	if lines.count != int64(len(got)) {
		t.Errorf("%d lines counted of %d", lines.count, len(got))
	}
	return got
}

func TestLinesEndAsTheModeSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text          string
		lines, hadoop []string
	}{
		{"", nil, nil},
		{"a", []string{"a"}, []string{"a"}},
		{"a\n", []string{"a"}, []string{"a"}},
		{"\n\n", []string{"", ""}, []string{"", ""}},
		{"a\rb", []string{"a\rb"}, []string{"a", "b"}},
		{"a\r\nb\r", []string{"a\r", "b\r"}, []string{"a", "b"}},
		{"\r\r\n\n\r", []string{"\r\r", "", "\r"}, []string{"", "", "", ""}},
		{"a\n\rb", []string{"a", "\rb"}, []string{"a", "", "b"}},
		{"\r\n", []string{"\r"}, []string{""}},
	} {
		for n := 1; n <= max(len(c.text), 1); n++ {
			if got := linesIn(t, nil, c.text, n); !slices.Equal(got, c.lines) {
				t.Errorf("%q in writes of %d: %q, want %q", c.text, n, got, c.lines)
			}
			if got := linesIn(t, &stint.Streaming{Mode: stint.StreamHadoop}, c.text, n); !slices.Equal(got, c.hadoop) {
				t.Errorf("%q in writes of %d as Hadoop: %q, want %q", c.text, n, got, c.hadoop)
			}
		}
	}
}

func FuzzTextLines(f *testing.F) {
	f.Add("a\r\nb\rc\n\n", 2)
	f.Fuzz(func(t *testing.T, text string, n int) {
		n = max(n, 1)
		hadoop := &stint.Streaming{Mode: stint.StreamHadoop}
		if got, want := linesIn(t, hadoop, text, n), naiveLines(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)); !slices.Equal(got, want) {
			t.Fatalf("%q: %q, want %q", text, got, want)
		}
		if got, want := linesIn(t, nil, text, n), naiveLines(text); !slices.Equal(got, want) {
			t.Fatalf("%q: %q, want %q", text, got, want)
		}
	})
}

func naiveLines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		out = append(out, strings.TrimSuffix(line, "\n"))
	}
	return out
}

func TestALineIsSplitAsItsStageSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		separator  string
		fields     int
		line       string
		key, value string
		absent     bool
	}{
		{"", 0, "a\tb\tc", "a", "b\tc", false},
		{"", 1, "a", "a", "", true},
		{"", 1, "a\t", "a", "", false},
		{"", 1, "", "", "", true},
		{"", 2, "a\tb\tc", "a\tb", "c", false},
		{"", 2, "a\tb", "a\tb", "", true},
		{"::", 1, "a:b::c", "a:b", "c", false},
		{"::", 2, "a::::c", "a::", "c", false},
		{"aa", 2, "aaaaa", "aa", "a", false},
		{"é", 1, "a\xc3bé\xa9", "a\xc3b", "\xa9", false},
	} {
		for _, mode := range []stint.StreamMode{stint.StreamLines, stint.StreamHadoop} {
			key, value := formOf(&stint.Streaming{Mode: mode, Separator: c.separator, KeyFields: c.fields}).parse([]byte(c.line))
			absent := c.absent && mode == stint.StreamLines
			if string(key) != c.key || string(value) != c.value || (value == nil) != absent {
				t.Errorf("%q at %q, %d fields, mode %s: %q and %q", c.line, c.separator, c.fields, mode, key, value)
			}
		}
	}
}

func TestARecordIsALineAsItsReaderSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		s          stint.Streaming
		key, value string
		absent     bool
		in, out    string
	}{
		{stint.Streaming{}, "k", "v", false, "k\tv\n", ""},
		{stint.Streaming{}, "k", "", true, "k\n", ""},
		{stint.Streaming{InputSeparator: "=", OutputSeparator: "|"}, "k", "v", false, "k=v\n", "k|v\n"},
		{stint.Streaming{InputSeparator: "=", OutputSeparator: "|"}, "k", "", true, "k\n", "k\n"},
		{stint.Streaming{Mode: stint.StreamHadoop}, "k", "", true, "k\t\n", "k\n"},
		{stint.Streaming{Mode: stint.StreamHadoop, InputSeparator: "=", OutputSeparator: "|"}, "k", "", false, "k=\n", "k|\n"},
	} {
		f := formOf(&c.s)
		value := []byte(c.value)
		if c.absent {
			value = nil
		}
		if got := string(f.appendInput(nil, []byte(c.key), value)); got != c.in {
			t.Errorf("%+v: %q, want %q", c.s, got, c.in)
		}
		if f.output == nil != (c.out == "") {
			t.Errorf("%+v: output %q", c.s, f.output)
		} else if got := string(f.appendOutput(nil, []byte(c.key), value)); c.out != "" && got != c.out {
			t.Errorf("%+v: %q, want %q", c.s, got, c.out)
		}
	}
}

func TestALineThatIsTooLongIsRefused(t *testing.T) {
	t.Parallel()
	part := bytes.Repeat([]byte("x"), maxLine/2+1)
	for _, last := range []string{"", "\n"} {
		lines := textLines{form: formOf(nil)}
		each := func([]byte) error { return nil }
		err := lines.write([]byte("first\n"), each)
		if err == nil {
			err = lines.write(part, each)
		}
		if err != nil {
			t.Fatal(err)
		}
		err = lines.write(append(slices.Clip(part), last...), each)
		if stint.CodeOf(err) != stint.Failed || !strings.HasPrefix(err.Error(), "record_too_long: record 2 of the output: limit 64 MiB") {
			t.Errorf("%q: %v", last, err)
		}
	}
}
