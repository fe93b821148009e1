package command_test

import (
	"io"
	"os"
	"strings"
	"testing"

	"stint"
	"stint/internal/runner/command"
)

func BenchmarkSpawnBare(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close() //nolint:errcheck // it is /dev/null
	env := []string{"PATH=" + os.Getenv("PATH")}
	for b.Loop() {
		p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{Env: env, Files: []*os.File{null, null, null}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSpawn(b *testing.B) {
	for name, input := range map[string]string{"empty": "", "one line": "one line\n"} {
		b.Run(name, func(b *testing.B) {
			runner := &command.Runner{}
			a := program("/bin/true").attempt
			a.Stderr, a.Counters = io.Discard, &stint.Counters{}
			for b.Loop() {
				if err := runner.Perform(b.Context(), &a, strings.NewReader(input), io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCat(b *testing.B) {
	runner := &command.Runner{}
	a := program("cat").attempt
	a.Stderr, a.Counters = io.Discard, &stint.Counters{}
	text := strings.Repeat("a line of text that is carried through two pipes\n", 1<<20)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := runner.Perform(b.Context(), &a, strings.NewReader(text), io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
