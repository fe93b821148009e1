package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"stint/internal/frame"
	"stint/internal/shuffle"
)

// Test performs a program in this process, as Stint does: for tests of its functions.
type Test struct {
	Stages     Stages
	Order      []string          // of the stages; each reads the output of the one before. Empty: there is one
	Params     map[string]string // of the execution
	Subsets    int               // into which the lines are separated; 0: 1
	Partitions int               // of each shuffle; 0: 1

	gather int64 // bytes of its output that an operation combines early; 0: gatherBudget
}

// gatherBudget is what a worker has a program gather.
const gatherBudget = 32 << 20

// Result is what came of a [Test].
type Result struct {
	Lines    []string // of the output: a key, TAB, and a value if it is not absent
	Counters map[string]map[string]int64
	Bad      []BadRecord
}

// BadRecord is a record that was left out.
type BadRecord struct {
	Stage  string
	Number int64 // in its operation, from 0
	Record string
	Reason string
}

// record is one record, apart from its frame.
type record struct{ key, value []byte }

// Run performs the stages: the first, which has to map, over the lines; one that
// reduces over the sorted output of the one before; and one that maps over the lines
// of it. A stage's combiner is performed for each operation and partition. The error is the first of an operation.
func (t Test) Run(lines ...string) (*Result, error) {
	r := &Result{Counters: make(map[string]map[string]int64)}
	order := t.Order
	if len(order) == 0 && len(t.Stages) == 1 {
		order = names(t.Stages)
	}
	if len(order) == 0 {
		return nil, errors.New("test a program: the order of its stages is not given")
	}
	parts := cut(linesOf(lines), max(t.Subsets, 1))
	for i, name := range order {
		role := frame.Reduce
		if t.Stages[name].Map.run != nil {
			role = frame.Map
		}
		out, err := t.stage(r, frame.Begin{Stage: name, Role: role, Gather: t.gathers(order[i:])}, parts)
		if err != nil {
			return nil, err
		}
		switch {
		case i+1 == len(order):
			parts = out
		case t.Stages[order[i+1]].Map.run != nil:
			parts = asLines(out)
		default:
			if parts, err = t.shuffle(r, name, out); err != nil {
				return nil, err
			}
		}
	}
	for _, p := range parts {
		for _, rec := range p {
			r.Lines = append(r.Lines, strings.TrimSuffix(string(shuffle.AppendText(nil, rec.key, rec.value)), "\n"))
		}
	}
	return r, nil
}

// gathers returns how much of its output the first of some stages combines early.
func (t Test) gathers(order []string) int64 {
	if len(order) == 1 || t.Stages[order[1]].Map.run != nil {
		return 0
	}
	if t.gather != 0 {
		return t.gather
	}
	return gatherBudget
}

func linesOf(lines []string) []record {
	records := make([]record, len(lines))
	for i, l := range lines {
		records[i].value = []byte(l)
	}
	return records
}

// cut separates records into n parts of about the same length.
func cut(records []record, n int) [][]record {
	parts := make([][]record, n)
	for i := range parts {
		parts[i] = records[i*len(records)/n : (i+1)*len(records)/n]
	}
	return parts
}

func asLines(parts [][]record) [][]record {
	out := make([][]record, len(parts))
	for i, p := range parts {
		for _, rec := range p {
			out[i] = append(out[i], record{value: bytes.TrimSuffix(shuffle.AppendText(nil, rec.key, rec.value), []byte{'\n'})})
		}
	}
	return out
}

// stage performs the operations of a stage and returns what each has written.
func (t Test) stage(r *Result, begin frame.Begin, parts [][]record) ([][]record, error) {
	out := make([][]record, len(parts))
	for i, part := range parts {
		var err error
		begin.Operation, begin.Partition = fmt.Sprintf("%s/%d", begin.Stage, i), uint32(i)
		if out[i], err = t.operation(r, begin, part); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// shuffle returns the partitions of what operations have written.
func (t Test) shuffle(r *Result, name string, out [][]record) ([][]record, error) {
	partitions := make([][]record, max(t.Partitions, 1))
	for _, written := range out {
		if err := t.spread(r, name, written, partitions); err != nil {
			return nil, err
		}
	}
	for _, p := range partitions {
		sortByKey(p)
	}
	return partitions, nil
}

func sortByKey(records []record) {
	slices.SortStableFunc(records, func(a, b record) int { return bytes.Compare(a.key, b.key) })
}

// spread adds what an operation wrote to the partitions, combined.
func (t Test) spread(r *Result, name string, written []record, partitions [][]record) error {
	mine := make([][]record, len(partitions))
	for _, rec := range written {
		p := shuffle.HashPartition(rec.key, uint32(len(partitions)))
		mine[p] = append(mine[p], rec)
	}
	for p := range mine {
		sortByKey(mine[p])
		if t.Stages[name].Combine.run != nil && len(mine[p]) > 0 {
			combined, err := t.operation(r, frame.Begin{Stage: name, Role: frame.Combine, Partition: uint32(p)}, mine[p])
			if err != nil {
				return err
			}
			mine[p] = combined
		}
		partitions[p] = append(partitions[p], mine[p]...)
	}
	return nil
}

// operation performs one operation over the frames that a worker would send.
func (t Test) operation(r *Result, begin frame.Begin, records []record) ([]record, error) {
	begin.Number, begin.Attempt, begin.Params, begin.Partitions = 1, 1, t.Params, uint32(max(t.Partitions, 1))
	in, err := frame.AppendBegin(nil, &begin)
	if err != nil {
		return nil, err
	}
	var batch frame.Batch
	for i, rec := range records {
		if err := batch.Add(int64(i), rec.key, rec.value); err != nil {
			return nil, err
		}
		if batch.Full() || i == len(records)-1 {
			in = batch.AppendFrame(in)
		}
	}
	in = frame.AppendEnd(in, int64(len(records)))
	var out bytes.Buffer
	if err := serve(context.Background(), t.Stages, bytes.NewReader(in), &out); err != nil { //nolint:forbidigo // nobody asks a test to end early
		return nil, err
	}
	return r.take(&out, begin.Stage)
}

// take reads what an operation has said.
func (r *Result) take(said io.Reader, stage string) ([]record, error) {
	var out []record
	frames := frame.NewReader(said)
	for {
		t, payload, err := frames.Next()
		if err != nil {
			return nil, err
		}
		switch t {
		case frame.RecordBatch:
			records, err := frame.ParseRecords(payload, int64(len(out)))
			if err != nil {
				return nil, err
			}
			for key, value, _, ok := records.Next(); ok; key, value, _, ok = records.Next() {
				out = append(out, record{key: bytes.Clone(key), value: bytes.Clone(value)})
			}
		case frame.CounterUpdate:
			c, err := frame.ParseCounter(payload)
			if err != nil {
				return nil, err
			}
			r.count(c)
		case frame.BadRecord:
			b, err := frame.ParseBad(payload)
			if err != nil {
				return nil, err
			}
			r.Bad = append(r.Bad, BadRecord{Stage: stage, Number: b.Number, Record: string(b.Record), Reason: b.Reason})
		case frame.Failed:
			_, reason, err := frame.ParseFailed(payload)
			return nil, errors.Join(err, fmt.Errorf("stage %s: %s", stage, reason))
		case frame.Done:
			return out, nil
		case frame.BeginOperation, frame.EndOfInput, frame.StatusText:
		}
	}
}

func (r *Result) count(c frame.Counter) {
	if r.Counters[c.Group] == nil {
		r.Counters[c.Group] = make(map[string]int64)
	}
	r.Counters[c.Group][c.Name] += c.Add
}
