package native

import (
	"bytes"
	"context"
	"io"
	"math/big"
	"slices"
	"strconv"

	"stint"
	"stint/internal/shuffle"
)

// The sections of what logstats counts. A key is a section, a space and a name;
// its value how many requests and bytes, as columns has them.
const (
	sectionBad      = "bad"
	sectionHour     = "hour"
	sectionLatency  = "latency" // the name is a bucket
	sectionMethod   = "method"
	sectionPath     = "path"
	sectionRequests = "requests"
	sectionStatus   = "status"
)

// logstats counts the requests of a log. It writes records for [logTotals].
func logstats(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	s, err := settle("logstats", logParams(), a.Params)
	if err != nil {
		return err
	}
	format, err := newLogFormat(s)
	if err != nil {
		return err
	}
	return emitTo(out, func(sink shuffle.Sink) error {
		t := tally{counts: make(map[string]*[2]int64), sink: sink}
		err := eachLine(ctx, in, func(line []byte) error {
			r, why := format.parse(line)
			if why == nil {
				return t.request(&r)
			}
			if s["bad"] == "fail" {
				return a.Bad(line, stint.Errorf(stint.Failed, "line %.200q: %w", line, why))
			}
			return t.add(sectionBad, []byte("lines"), int64(len(line)))
		})
		if err != nil {
			return err
		}
		return t.flush()
	})
}

// maxTally is how many keys are counted before what was counted is written.
const maxTally = 1 << 17

// tally counts requests and bytes by key.
type tally struct {
	counts map[string]*[2]int64
	key    []byte
	sink   shuffle.Sink
}

func (t *tally) request(r *request) error {
	if r.latency >= 0 {
		var number [20]byte
		if err := t.add(sectionLatency, strconv.AppendInt(number[:0], bucketOf(r.latency), 10), 0); err != nil {
			return err
		}
	}
	if r.hour != nil {
		if err := t.add(sectionHour, r.hour, r.bytes); err != nil {
			return err
		}
	}
	for _, k := range []struct {
		section string
		name    []byte
	}{{sectionRequests, []byte("all")}, {sectionStatus, r.status}, {sectionMethod, r.method}, {sectionPath, r.path}} {
		if err := t.add(k.section, k.name, r.bytes); err != nil {
			return err
		}
	}
	return nil
}

func (t *tally) add(section string, name []byte, n int64) error {
	t.key = append(append(append(t.key[:0], section...), ' '), name...)
	count := t.counts[string(t.key)]
	if count == nil {
		if len(t.counts) >= maxTally {
			if err := t.flush(); err != nil {
				return err
			}
		}
		count = new([2]int64)
		t.counts[string(t.key)] = count
	}
	count[0]++
	count[1] += n
	return nil
}

// flush writes what was counted and begins again. The order does not matter: what
// follows sorts.
func (t *tally) flush() error {
	var value []byte
	for key, n := range t.counts {
		value = strconv.AppendInt(value[:0], n[0], 10)
		value = strconv.AppendInt(append(value, ' '), n[1], 10)
		if err := t.sink.Emit([]byte(key), value); err != nil {
			return err
		}
	}
	clear(t.counts)
	return nil
}

// logTotals adds what logstats counted and keeps of the paths only those that may
// be among the first: a path is in one partition with all that was counted of it.
func logTotals(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	s, err := settle("logstats", logParams(), a.Params)
	if err != nil {
		return err
	}
	paths := ranking{limit: int(min(s.integer("top"), maxTop))}
	return emitTo(out, func(sink shuffle.Sink) error {
		var sums columns
		var value []byte
		err := eachGroup(ctx, in, func(key []byte, values *shuffle.Groups) error {
			var err error
			if value, err = sums.add(value[:0], key, values); err != nil {
				return err
			}
			if bytes.HasPrefix(key, []byte(sectionPath+" ")) {
				paths.offer(key, value)
				return nil
			}
			return sink.Emit(key, value)
		})
		if err != nil {
			return err
		}
		for _, p := range paths.sorted() {
			if err := sink.Emit(p.key, p.value); err != nil {
				return err
			}
		}
		return nil
	})
}

// logReport writes the totals as a report, section by section.
func logReport(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	s, err := settle("logstats", logParams(), a.Params)
	if err != nil {
		return err
	}
	report := logTable{paths: ranking{limit: int(min(s.integer("top"), maxTop))}}
	src := sourceOf(stopReader{ctx, in})
	for {
		key, value, err := src.Next()
		if err == io.EOF { //nolint:errorlint // a Source returns io.EOF itself
			break
		}
		if err != nil {
			return err
		}
		report.take(key, value)
	}
	_, err = out.Write(report.text())
	return err
}

// logTable is what a report is made of.
type logTable struct {
	rows    []logRow
	paths   ranking
	buckets []bucketCount
}

type logRow struct {
	section, name string
	count, bytes  *big.Int
}

func (t *logTable) take(key, value []byte) {
	section, name, _ := bytes.Cut(key, []byte{' '})
	count, size, _ := bytes.Cut(value, []byte{' '})
	switch string(section) {
	case sectionPath:
		t.paths.offer(key, value)
	case sectionLatency:
		b, _ := strconv.ParseInt(string(name), 10, 64) // written by tally
		n, _ := strconv.ParseInt(string(count), 10, 64)
		t.buckets = append(t.buckets, bucketCount{b, n})
	default:
		t.rows = append(t.rows, logRow{string(section), string(name), bigOf(count), bigOf(size)})
	}
}

// text writes the report: requests, bytes and bad lines first.
func (t *logTable) text() []byte {
	slices.SortFunc(t.rows, func(a, b logRow) int {
		return bytes.Compare([]byte(a.section+" "+a.name), []byte(b.section+" "+b.name))
	})
	var total, size, bad big.Int
	var rest []byte
	for _, r := range t.rows {
		switch r.section {
		case sectionRequests:
			total, size = *r.count, *r.bytes
		case sectionBad:
			bad = *r.count
		default:
			rest = appendRow(rest, r.section, r.name, r.count.String(), r.bytes.String())
		}
	}
	text := appendRow(nil, "requests", total.String())
	text = appendRow(text, "bytes", size.String())
	text = appendRow(text, "bad_lines", bad.String())
	text = append(text, rest...)
	for _, p := range t.paths.sorted() {
		_, name, _ := bytes.Cut(p.key, []byte{' '})
		count, size, _ := bytes.Cut(p.value, []byte{' '})
		text = appendRow(text, sectionPath, string(name), string(count), string(size))
	}
	return t.appendLatency(text)
}

// appendLatency writes the percentiles in seconds, and how far they may be off.
func (t *logTable) appendLatency(text []byte) []byte {
	if len(t.buckets) == 0 {
		return text
	}
	slices.SortFunc(t.buckets, func(a, b bucketCount) int { return int(a.bucket - b.bucket) })
	for _, p := range []struct {
		name     string
		perMille int64
	}{{"p50", 500}, {"p90", 900}, {"p95", 950}, {"p99", 990}, {"p99.9", 999}, {"max", 1000}} {
		micros := percentile(t.buckets, p.perMille)
		text = appendRow(text, sectionLatency, p.name, strconv.FormatFloat(float64(micros)/1e6, 'f', 6, 64))
	}
	return appendRow(text, sectionLatency, "error", histogramError)
}

// appendRow appends fields with a TAB between.
func appendRow(dst []byte, fields ...string) []byte {
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, '\t')
		}
		dst = append(dst, f...)
	}
	return append(dst, '\n')
}

func checkLogstats(params map[string]string) error {
	s, err := settle("logstats", logParams(), params)
	if err == nil {
		err = s.atLeast("top", 1)
	}
	if err == nil {
		_, err = newLogFormat(s)
	}
	return err
}

func logstatsProgram(map[string]string) stint.Program {
	return stint.Program{
		Name: "logstats", Type: stint.LogAnalysis, Params: logParams(),
		Description: "requests of web and server logs by status, method, hour and path, bytes, and percentiles of the latency",
		Stages: []stint.Stage{
			{
				Name: "parse", Action: stint.Action{Native: "logstats"}, Combine: &stint.Action{Native: "sums"},
				Input: stint.Edge{Kind: stint.FromInput},
			},
			{Name: "total", Action: stint.Action{Native: "log-totals"}, Input: stint.Edge{Kind: stint.Shuffle, From: "parse"}},
			{Name: "report", Action: stint.Action{Native: "log-report"}, Input: stint.Edge{Kind: stint.Gather, From: "total"}},
		},
	}
}
