package native_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/runner/native"
)

// logReport performs the stages of logstats one after the other, with a shuffle in one
// partition behind the first.
func logReport(t *testing.T, params map[string]string, logs ...string) string {
	t.Helper()
	parsed := &records{}
	for _, log := range logs {
		if err := perform(t, "logstats", params, strings.NewReader(log), parsed); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortStableFunc(parsed.pairs, func(a, b [2][]byte) int { return bytes.Compare(a[0], b[0]) })
	var totals, report bytes.Buffer
	if err := perform(t, "log-totals", params, parsed, &totals); err != nil {
		t.Fatal(err)
	}
	if err := perform(t, "log-report", params, &totals, &report); err != nil {
		t.Fatal(err)
	}
	return report.String()
}

const someLog = `10.0.0.1 - - [01/Mar/2026:17:04:05 +0100] "GET /a?x=1 HTTP/1.1" 200 100 "-" "curl/8" 0.250
10.0.0.1 - alice [01/Mar/2026:17:59:59 +0100] "GET /a HTTP/1.1" 304 - "http://x/\"q\"" "say \"hi\"" 0.5
10.0.0.2 - - [01/Mar/2026:18:00:00 +0100] "POST /b/c d HTTP/2.0" 500 12
host - - [31/Dec/2026:00:00:00 -0700] "\x16\x03" 400 150 "-" "-"
not a line of a log
10.0.0.1 - - [01/Xyz/2026:17:04:05 +0100] "GET / HTTP/1.1" 200 1
10.0.0.1 - - [01/Mar/2026:17:04:05 +0100] "GET / HTTP/1.1 200 1
10.0.0.1 - - [01/Mar/2026:17:04:05 +0100] "GET / HTTP/1.1" 20 1
10.0.0.1 - - [01/Mar/2026:17:04:05 +0100] "GET / HTTP/1.1" 200 1x
` + "10.0.0.2 - - [01/Mar/2026:18:00:00 +0100] \"GET /t\tab HTTP/1.1\" 200 1 \"-\" \"-\" 0.001\r\n"

const someReport = `requests	5
bytes	263
bad_lines	5
hour	2026-03-01T17	2	100
hour	2026-03-01T18	2	13
hour	2026-12-31T00	1	150
method	-	1	150
method	GET	3	101
method	POST	1	12
status	200	2	101
status	304	1	0
status	400	1	150
status	500	1	12
path	/a	2	100
path	/b/c d	1	12
path	/t\x09ab	1	1
latency	p50	0.250368
latency	p90	0.500736
latency	p95	0.500736
latency	p99	0.500736
latency	p99.9	0.500736
latency	max	0.500736
latency	error	0.4%
`

func TestALogIsReported(t *testing.T) {
	t.Parallel()
	got := logReport(t, map[string]string{"top": "3"}, someLog)
	if d := cmp.Diff(someReport, got); d != "" {
		t.Error(d)
	}
	half := strings.Index(someLog, "host - -")
	if d := cmp.Diff(got, logReport(t, map[string]string{"top": "3"}, someLog[half:], someLog[:half])); d != "" {
		t.Error("the report depends on how the log is cut: " + d)
	}
	report := logReport(t, map[string]string{"query": "true", "latency": "none"}, someLog)
	if !strings.Contains(report, "path\t/a?x=1\t1\t100\n") || strings.Contains(report, "latency") {
		t.Errorf("with queries and without latency:\n%s", report)
	}
}

func TestLogsInJSONAreReported(t *testing.T) {
	t.Parallel()
	log := `{"status":200,"path":"/a","method":"GET","bytes":10,"time":"2026-03-01T17:04:05+01:00","latency":12}
{"status":"404","uri":"/b\t?q","size":"-","ts":1772386245.5}
{"status":200,"path":"/a","time":"01/Mar/2026:17:04:05 +0100","latency":null}
{"status":2000,"path":"/a"}
{"status":200}
[1]
`
	got := logReport(t, map[string]string{"format": "json", "latency": "ms"}, log)
	want := `requests	3
bytes	10
bad_lines	3
hour	2026-03-01T17	3	10
method	-	2	0
method	GET	1	10
status	200	2	10
status	404	1	0
path	/a	2	10
path	/b\x09	1	0
latency	p50	0.012000
`
	if d := cmp.Diff(want, got[:min(len(want), len(got))]); d != "" {
		t.Error(d)
	}
	other := logReport(t, map[string]string{"format": "json", "fields": "status=code,path=where"}, `{"code":200,"where":"/x"}`)
	if !strings.Contains(other, "path\t/x\t1\t0\n") {
		t.Error(other)
	}
}

func TestBadLinesOfALogCanBeBadRecords(t *testing.T) {
	t.Parallel()
	var bad []string
	a := &stint.Attempt{
		Action: stint.Action{Native: "logstats"}, Params: map[string]string{"bad": "fail"},
		Bad: func(record []byte, why error) error {
			bad = append(bad, string(record))
			if len(bad) == 3 {
				return fmt.Errorf("too many: %w", why)
			}
			return nil
		},
	}
	err := native.New().Perform(t.Context(), a, strings.NewReader(someLog), io.Discard)
	if len(bad) != 3 || bad[0] != "not a line of a log" || err == nil || !strings.Contains(err.Error(), "closing quote") {
		t.Errorf("%q, %v", bad, err)
	}
}

func TestPercentilesAreWithinTheErrorThatIsTold(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(13, 14))
	for range 20 {
		var log strings.Builder
		values := make([]float64, 1+random.IntN(3000))
		scale := math.Pow(10, float64(random.IntN(6)))
		for i := range values {
			values[i] = math.Round(random.ExpFloat64() * scale)
			fmt.Fprintf(&log, "h - - [01/Mar/2026:17:04:05 +0100] \"GET / HTTP/1.1\" 200 1 %.0f\n", values[i])
		}
		slices.Sort(values)
		report := logReport(t, map[string]string{"latency": "us"}, log.String())
		for line := range strings.Lines(report) {
			var name string
			var got float64
			if n, _ := fmt.Sscanf(line, "latency\t%s\t%f", &name, &got); n < 2 || name == "error" {
				continue
			}
			share, ok := map[string]float64{"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1}[name]
			if !ok {
				t.Errorf("line %q", line)
				continue
			}
			want := values[max(int(math.Ceil(share*float64(len(values))-1e-9)), 1)-1]
			if off := math.Abs(got*1e6 - want); off > 0.004*want+0.001 {
				t.Errorf("%s of %d values is %f, reported %f", name, len(values), want, got*1e6)
			}
		}
	}
}

func TestParametersOfLogstatsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"top": "0", "format": "xml", "fields": "status", "latency": "h", "bad": "skip"} {
		if _, err := native.Program("logstats", map[string]string{name: value}); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	if _, err := native.Program("logstats", map[string]string{"fields": "status=a,path=b"}); err != nil {
		t.Error(err)
	}
	if err := perform(t, "logstats", map[string]string{"fields": "=x"}, errorReader{}, io.Discard); stint.CodeOf(err) != stint.Invalid {
		t.Error(err)
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("was read") }
