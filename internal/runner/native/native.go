package native

import (
	"bufio"
	"context"
	"io"
	"slices"
	"strings"

	"stint"
	"stint/internal/shuffle"
)

// operator performs an attempt that names it.
type operator func(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error

func operators() map[string]operator {
	return map[string]operator{
		"wordcount":         wordcount,
		"grep":              grep,
		"sum":               combining(Combiners()["sum"]),
		"sums":              combining(Combiners()["sums"]),
		"distinct":          combining(Combiners()["distinct"]),
		"count":             count,
		"top":               top,
		"sample":            sampleKeys,
		"splitters":         splitters,
		"order":             order,
		"sorted":            sorted,
		"logstats":          logstats,
		"log-totals":        logTotals,
		"log-report":        logReport,
		"index":             index,
		"postings":          postings,
		"montecarlo":        montecarlo,
		"montecarlo-result": montecarloResult,
		"join-left":         joinLeft,
		"join-right":        joinRight,
		"join":              join,
		"identity":          identity,
		"noop":              noop,
		"aggregate":         aggregate,
		"aggregate-combine": aggregateCombine,
	}
}

// Runner performs attempts whose action is a built-in operator.
type Runner struct {
	operators map[string]operator
}

// New returns a runner that knows all operators.
func New() *Runner { return &Runner{operators: operators()} }

// Perform performs the attempt's operator on in and writes to out. Where in is
// a [shuffle.Source] or out a [shuffle.Sink], records are passed as such and not
// as text. Errors have code [stint.Invalid] for an operator or parameter that
// does not exist, [stint.Failed] for input that the operator cannot take, and
// are otherwise those of in and out, and of ctx, which is looked at between
// pieces of work of a few milliseconds.
func (r *Runner) Perform(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	op, ok := r.operators[a.Action.Native]
	if !ok {
		return unknownOperator(a.Action.Native, r.operators)
	}
	return op(ctx, a, in, out)
}

func unknownOperator(name string, known map[string]operator) error {
	names := make([]string, 0, len(known))
	for n := range known {
		names = append(names, n)
	}
	slices.Sort(names)
	return stint.Errorf(stint.Invalid, "native operator %.80q: expected one of %s", name, strings.Join(names, ", "))
}

// stopped returns the error of an attempt that is to end, nil otherwise.
func stopped(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return stint.Errorf(stint.Canceled, "operation was stopped: %w", context.Cause(ctx))
}

func noop(context.Context, *stint.Attempt, io.Reader, io.Writer) error { return nil }

// stopReader ends when its context does.
type stopReader struct {
	ctx context.Context //nolint:containedctx // lives as long as one call
	r   io.Reader
}

func (s stopReader) Read(b []byte) (int, error) {
	if err := stopped(s.ctx); err != nil {
		return 0, err
	}
	return s.r.Read(b)
}

func identity(ctx context.Context, _ *stint.Attempt, in io.Reader, out io.Writer) error {
	src, fromRecords := in.(shuffle.Source)
	sink, toRecords := out.(shuffle.Sink)
	if !fromRecords || !toRecords {
		_, err := io.CopyBuffer(struct{ io.Writer }{out}, stopReader{ctx, in}, make([]byte, 1<<20))
		return err
	}
	return everyRecord(ctx, src, sink.Emit)
}

// everyRecord calls each with every record of src.
func everyRecord(ctx context.Context, src shuffle.Source, each func(key, value []byte) error) error {
	for n := 0; ; n++ {
		if n%stride == 0 {
			if err := stopped(ctx); err != nil {
				return err
			}
		}
		key, value, err := src.Next()
		if err == io.EOF { //nolint:errorlint // a Source returns io.EOF itself
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(key, value); err != nil {
			return err
		}
	}
}

// stride is how many records are handled between looks at the context.
const stride = 4096

// sourceOf returns in's records: as it has them, or parsed from its lines.
func sourceOf(in io.Reader) shuffle.Source {
	if src, ok := in.(shuffle.Source); ok {
		return src
	}
	return &lineSource{r: bufio.NewReaderSize(in, 256<<10)}
}

type lineSource struct {
	r    *bufio.Reader
	line []byte
}

// Next returns the record of the next line.
func (s *lineSource) Next() (key, value []byte, err error) {
	s.line = s.line[:0]
	for {
		part, err := s.r.ReadSlice('\n')
		s.line = append(s.line, part...)
		switch {
		case err == bufio.ErrBufferFull: //nolint:errorlint // bufio returns it itself
		case err == io.EOF && len(s.line) > 0:
			key, value = shuffle.ParseLine(s.line)
			return key, value, nil
		case err != nil:
			return nil, nil, err
		default:
			key, value = shuffle.ParseLine(s.line[:len(s.line)-1])
			return key, value, nil
		}
	}
}

// textSink writes records as lines.
type textSink struct {
	w    *bufio.Writer
	line []byte
}

// Emit writes a record.
func (s *textSink) Emit(key, value []byte) error {
	s.line = shuffle.AppendText(s.line[:0], key, value)
	_, err := s.w.Write(s.line)
	return err
}

// emitTo calls emit with a sink for out, and flushes what it wrote.
func emitTo(out io.Writer, emit func(shuffle.Sink) error) error {
	if sink, ok := out.(shuffle.Sink); ok {
		return emit(sink)
	}
	text := &textSink{w: bufio.NewWriterSize(out, 64<<10)}
	if err := emit(text); err != nil {
		return err
	}
	return text.w.Flush()
}
