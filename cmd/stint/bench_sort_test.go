package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBenchRecordsAreOfOneLengthAndTheSameEveryTime(t *testing.T) {
	t.Parallel()
	var texts [2][]byte
	for i := range texts {
		b := &bench{dir: t.TempDir()}
		path, err := b.makeRecords(100_050)
		if err != nil {
			t.Fatal(err)
		}
		if texts[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("the records are not the same every time")
	}
	keys := make(map[string]bool)
	n := 0
	for line := range bytes.Lines(texts[0]) {
		if len(line) != benchRecord || bytes.ContainsFunc(line[:benchRecord-1], func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("record %d: %q", n, line)
		}
		keys[string(line[:benchKey])] = true
		n++
	}
	if n != 1000 || len(keys) != n {
		t.Errorf("%d records with %d keys", n, len(keys))
	}
}

func TestASortThatIsWrongIsNoMeasurement(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		parts []string
		want  string // in the error; empty: none
	}{
		{[]string{"a\nb\n", "", "c\n"}, ""},
		{[]string{"a\nb\n", "", "d\n"}, "part-00002 differs"},
		{[]string{"c\n", "a\nb\n"}, "part-00000 differs"},
		{[]string{"a\nb\nc\n", "c\n"}, "part-00001 differs"},
		{[]string{"a\nb\n"}, "end at byte 4"},
	} {
		dir := t.TempDir()
		expected := filepath.Join(dir, "expected")
		if err := os.WriteFile(expected, []byte("a\nb\nc\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for i, text := range c.parts {
			if err := os.WriteFile(filepath.Join(dir, "part-0000"+string(rune('0'+i))), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := sameContent(dir, expected)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("parts %q: %v, want %q", c.parts, err, c.want)
		}
	}
}
