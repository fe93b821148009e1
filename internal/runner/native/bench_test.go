package native_test

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"stint"
	"stint/internal/runner/native"
	"stint/internal/shuffle"
)

// sources returns the text of the Go distribution's sources.
func sources(b *testing.B) []byte {
	b.Helper()
	var text bytes.Buffer
	err := filepath.WalkDir("/usr/local/go/src", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		data, err := os.ReadFile(path)
		text.Write(data)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return text.Bytes()
}

func benchmark(b *testing.B, name string, params map[string]string) {
	b.Helper()
	text := sources(b)
	a := &stint.Attempt{Action: stint.Action{Native: name}, Params: params}
	runner := native.New()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := runner.Perform(b.Context(), a, bytes.NewReader(text), io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWordcount(b *testing.B) { benchmark(b, "wordcount", nil) }

func BenchmarkWordcountMawk(b *testing.B) {
	text := sources(b)
	file := filepath.Join(b.TempDir(), "text")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := exec.CommandContext(b.Context(), "mawk", `{for(i=1;i<=NF;i++)c[$i]++} END{for(w in c)print w"\t"c[w]}`, file).Run(); err != nil {
			b.Skip(err)
		}
	}
}

func BenchmarkGrep(b *testing.B) {
	for name, params := range map[string]map[string]string{
		"rare literal":          {"pattern": "zyzzyva", "fixed": "true"},
		"frequent literal":      {"pattern": "err", "fixed": "true"},
		"ignoring case":         {"pattern": "zyzzyva", "ignore_case": "true"},
		"regexp with literal":   {"pattern": "func.*Zyzz[a-z]+"},
		"regexp without":        {"pattern": "[0-9]{9}"},
		"count of rare literal": {"pattern": "zyzzyva", "count": "true"},
	} {
		b.Run(name, func(b *testing.B) { benchmark(b, "grep", params) })
	}
}

// BenchmarkOrder sorts lines in memory, in eight ranges.
func BenchmarkOrder(b *testing.B) {
	text := sources(b)
	var splitters [][]byte
	for _, key := range []string{"\t", "\t\t", "\t\tx", "\tx", "//", "f", "m"} {
		splitters = append(splitters, []byte(key))
	}
	w, err := shuffle.NewWriter(shuffle.Config{Partitions: 8, Budget: 1 << 30, Partition: shuffle.RangePartitioner(splitters), Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close() //nolint:errcheck // spill files have no name
	sink := struct {
		io.Writer
		shuffle.Sink
	}{Sink: w}
	a := &stint.Attempt{Action: stint.Action{Native: "order"}}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := w.Reset(); err != nil {
			b.Fatal(err)
		}
		if err := native.New().Perform(b.Context(), a, bytes.NewReader(text), sink); err != nil {
			b.Fatal(err)
		}
		if err := w.Visit(func(_ uint32, records shuffle.Source) error {
			return native.New().Perform(b.Context(), &stint.Attempt{Action: stint.Action{Native: "sorted"}}, struct {
				io.Reader
				shuffle.Source
			}{Source: records}, io.Discard)
		}); err != nil {
			b.Fatal(err)
		}
	}
}
