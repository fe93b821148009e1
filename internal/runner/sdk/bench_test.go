package sdk_test

import (
	"io"
	"os"
	"strings"
	"testing"

	"stint"
	"stint/internal/runner/command"
	"stint/internal/runner/sdk"
)

// discard takes records.
type discard struct{ io.Writer }

func (discard) Emit(_, _ []byte) error { return nil }

func BenchmarkLinesThroughAProgram(b *testing.B) {
	text := strings.Repeat("ten words of some letters each make up one line\n", 20000)
	b.SetBytes(int64(len(text)))
	benchmark(b, text)
}

func BenchmarkAnOperationOfOneLine(b *testing.B) { benchmark(b, "one line\n") }

func benchmark(b *testing.B, text string) {
	b.Helper()
	one.Lock()
	defer one.Unlock()
	r := &sdk.Runner{Processes: &command.Runner{}}
	defer r.Close() //nolint:errcheck // nothing is lost
	a := stint.Attempt{
		Execution: "x-abc", Stage: "words", First: true, Action: stint.Action{SDK: []string{os.Args[0], "program"}},
		Dir: b.TempDir(), Stderr: io.Discard, Counters: &stint.Counters{},
	}
	for b.Loop() {
		if err := r.Perform(b.Context(), &a, strings.NewReader(text), discard{}); err != nil {
			b.Fatal(err)
		}
	}
}
