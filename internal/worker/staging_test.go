package worker_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"stint"
	"stint/internal/worker"
)

// uploaded is an order of an operation that writes a part which the agent is to store.
func (a *agent) uploaded(op uint32) (worker.Order, *os.File) {
	a.t.Helper()
	f, err := os.Create(filepath.Join(a.dir, "scratch"))
	if err != nil {
		a.t.Fatal(err)
	}
	return worker.Order{Op: op, Files: 1, Part: "part-x", Upload: true, Subset: stint.Subset{Values: &stint.Values{First: 7, Count: 2}}}, f
}

func partStage(action stint.Action) stint.StageSpec {
	s := first(action)
	s.Part = true
	return s
}

func TestAnOperationCompletesWhenItsPartIsStored(t *testing.T) {
	a := start(t, partStage(op("identity")))
	order, file := a.uploaded(0)
	var text string
	a.staged = func(p *stint.Part, f *os.File) {
		b := make([]byte, p.Bytes)
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Error(err)
		}
		text = string(b)
		for _, r := range a.told {
			if r.Done != nil {
				t.Error("it was done before its part was stored")
			}
		}
		a.send(worker.Message{Stored: &worker.Stored{Part: "another"}}) // of an earlier operation
		a.send(worker.Message{Stored: &worker.Stored{Part: p.Name}})
	}
	d := a.done(a.perform(0, []worker.Order{order}, file), 0)
	if text != "7\n8\n" || d.Part == nil || d.Part.Name != "part-x" || d.Part.Bytes != 4 {
		t.Errorf("stored %q as %+v", text, d.Part)
	}
}

func TestAnOperationWhosePartCannotBeStoredFailsAsTheAgentSays(t *testing.T) {
	a := start(t, partStage(op("identity")))
	order, file := a.uploaded(0)
	a.staged = func(p *stint.Part, _ *os.File) {
		a.send(worker.Message{Stored: &worker.Stored{Part: p.Name, Error: &stint.Error{Code: stint.Unavailable, Message: "slow down"}}})
	}
	a.failed(a.perform(0, []worker.Order{order}, file), stint.Unavailable, "slow down")
}

func TestAnOperationThatWaitsForItsPartCanBeStopped(t *testing.T) {
	a := start(t, partStage(op("identity")))
	order, file := a.uploaded(0)
	a.staged = func(*stint.Part, *os.File) { a.stop(1, time.Millisecond) }
	if r := a.perform(0, []worker.Order{order}, file)[0]; r.Interrupted == nil {
		t.Errorf("it ended as %+v", r)
	}
}

func TestAFirstStageReadsInItsFormat(t *testing.T) {
	for name, tc := range map[string]struct {
		file, text, want string
		change           func(*stint.StageSpec)
	}{
		"escaped":   {"in", "a\x00b;\x00c", "a\nb;\nc\n", func(s *stint.StageSpec) { s.Input.Delimiter = `\0` }},
		"delimiter": {"in", "a;b;c", "a\nb\nc\n", func(s *stint.StageSpec) { s.Input.Delimiter = ";" }},
		"gzip":      {"in.gz", gzipped(t, "a\nb"), "a\nb\n", func(*stint.StageSpec) {}},
		"Hadoop": {"in", "\ufeffa\r\nb\rc", "a\t\nb\t\nc\t\n", func(s *stint.StageSpec) {
			s.Streaming = &stint.Streaming{Mode: stint.StreamHadoop}
		}},
		"offsets": {"in", "a\nb\n", "0\ta\n2\tb\n", func(s *stint.StageSpec) { s.Streaming = &stint.Streaming{Offsets: true} }},
	} {
		t.Run(name, func(t *testing.T) {
			stage := first(op("identity"))
			tc.change(&stage)
			a := start(t, stage)
			object, f := a.input(tc.file, tc.text)
			order := worker.Order{Files: 1, Subset: stint.Subset{Pieces: []stint.Piece{{Object: object, Length: object.Size}}}}
			d := a.done(a.perform(0, []worker.Order{order}, f), 0)
			if got := a.blockText(0, 0); got != tc.want {
				t.Errorf("read as %q, want %q", got, tc.want)
			}
			if d.Op.RecordsIn != int64(strings.Count(tc.want, "\n")) || d.Op.BytesIn != object.Size || d.Op.InputSum == 0 {
				t.Errorf("%d records of %d bytes with sum %x", d.Op.RecordsIn, d.Op.BytesIn, d.Op.InputSum)
			}
		})
	}
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestInputFromElsewhereIsNotLookedAtAgain(t *testing.T) {
	a := start(t, first(op("identity")))
	object, f := a.input("copy", "a\nb\n")
	object.URL, object.Version = "s3://bucket/key", "etag"
	order := worker.Order{Files: 1, Subset: stint.Subset{Pieces: []stint.Piece{{Object: object, Length: object.Size}}}}
	a.done(a.perform(0, []worker.Order{order}, f), 0)
}
