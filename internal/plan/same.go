package plan

import (
	"cmp"
	"iter"
	"reflect"
	"slices"
	"strings"

	"stint"
)

// Run says that operations of a stage are the same as operations of another plan:
// Ops.From is First there, and so on.
type Run struct {
	Ops   stint.Range `json:"ops"`
	First uint32      `json:"first"`
}

// Same returns which operations of a stage have the same identity as operations
// of the same stage of an earlier plan, in as few runs as there can be. content
// says whether an object has the same content as another of the same URL and size,
// though not the same version; nil: none has. A stage has nothing in common if one
// of those that it is made of is another, or has another place among the stages.
//
// Both plans have their operations in the order of the input, so one pass over
// both finds all, and nothing is kept of a million of them.
func Same(now, before *Plan, stage int, content func(before, now stint.Object) bool) []Run {
	if stage >= len(now.Spec.Stages) || stage >= len(before.Spec.Stages) {
		return nil
	}
	if !slices.Equal(now.Ancestors(stage), before.Ancestors(stage)) {
		return nil
	}
	for _, k := range append(slices.Clone(now.Ancestors(stage)), stage) {
		if now.closures[k] != before.closures[k] {
			return nil
		}
	}
	ids := now.Identities(stage, versions(before, content))
	earlier := before.Identities(stage, nil)
	var out []Run
	for n, m := range aligned(now, before, stage) {
		if ids.Of(n) != earlier.Of(m) {
			continue
		}
		if last := len(out) - 1; last >= 0 && out[last].Ops.To == n && out[last].First+uint32(out[last].Ops.Len()) == m {
			out[last].Ops.To++
			continue
		}
		out = append(out, Run{Ops: stint.Range{From: n, To: n + 1}, First: m})
	}
	return out
}

// versions says which version of an object counts: that of an earlier plan if the
// content is the same.
func versions(before *Plan, content func(before, now stint.Object) bool) func(stint.Object) string {
	if content == nil {
		return nil
	}
	return func(o stint.Object) string {
		was, found := before.object(o)
		if found && was.Version != o.Version && was.Size == o.Size && content(was, o) {
			return was.Version
		}
		return o.Version
	}
}

// object finds an object of the listing by its input and URL.
func (p *Plan) object(o stint.Object) (stint.Object, bool) {
	at, found := slices.BinarySearchFunc(p.Listing.Objects, o, func(a, b stint.Object) int {
		return cmp.Or(strings.Compare(a.Input, b.Input), strings.Compare(a.URL, b.URL))
	})
	if !found {
		return stint.Object{}, false
	}
	return p.Listing.Objects[at], true
}

// aligned yields the operations of two plans that begin at the same place of the
// input, or that read the same partition.
func aligned(now, before *Plan, stage int) iter.Seq2[uint32, uint32] {
	return func(yield func(now, before uint32) bool) {
		ops, others := now.Spec.Stages[stage].Operations, before.Spec.Stages[stage].Operations
		for n, m := uint32(0), uint32(0); n < ops && m < others; {
			order := compareBegin(now, n, before, m, stage)
			if order == 0 && !yield(n, m) {
				return
			}
			if order <= 0 {
				n++
			}
			if order >= 0 {
				m++
			}
		}
	}
}

func compareBegin(now *Plan, n uint32, before *Plan, m uint32, stage int) int {
	url, at := now.begin(stage, n)
	otherURL, otherAt := before.begin(stage, m)
	return cmp.Or(strings.Compare(url, otherURL), cmp.Compare(at, otherAt))
}

// begin returns where an operation begins, in the order of the operations: the
// object and offset of the input, or the first value, that it is made of, if it is
// made of a run of them; the partition otherwise.
func (p *Plan) begin(stage int, op uint32) (url string, at int64) {
	for !p.ReadsInput(stage) {
		if p.Whole(stage, 0) {
			return "", int64(op)
		}
		reads := p.Reads(stage, 0, op)
		if reads.Len() == 0 {
			return "", 0
		}
		stage, op = p.Upstream(stage, 0), reads.From
	}
	if p.Listing.Range != nil {
		return "", p.Spec.Stages[stage].ValuesOf(op).First
	}
	c := p.cuts[stage][op]
	return p.Listing.Objects[c.object].URL, c.offset
}

// Difference says in which way operations of a stage are not those of an earlier
// plan, whatever their input: as "command, params"; empty if there is none, so that
// only the input can make them different. What distinguishes a stage before them
// is named too.
func Difference(now, before *Plan, stage int) string {
	var words []string
	upstream := []int{stage}
	for _, p := range []*Plan{now, before} {
		if stage < len(p.Spec.Stages) {
			upstream = append(slices.Clone(p.Ancestors(stage)), stage)
		}
	}
	for _, k := range upstream {
		if k >= len(now.Spec.Stages) || k >= len(before.Spec.Stages) {
			words = append(words, "stages")
			break
		}
		words = appendDifferences(words, now.closure(k), before.closure(k))
	}
	return strings.Join(words, ", ")
}

func appendDifferences(words []string, now, before closure) []string {
	for _, d := range []struct {
		word string
		same bool
	}{
		{"stages", now.Name == before.Name && slices.EqualFunc(now.Edges, before.Edges, sameKind)},
		{"command", reflect.DeepEqual(now.Action, before.Action) && reflect.DeepEqual(now.Combine, before.Combine)},
		{"streaming", now.Streaming == before.Streaming && reflect.DeepEqual(now.Combining, before.Combining)},
		{"split", slices.EqualFunc(now.Edges, before.Edges, sameSplit)},
		{"skipping of bad records", now.Skip == before.Skip},
		{"files", reflect.DeepEqual(now.Files, before.Files)},
		{"params", reflect.DeepEqual(now.Params, before.Params)},
		{"environment", reflect.DeepEqual(now.Environment, before.Environment)},
		{"compression", now.Compression == before.Compression},
		{"partitions", now.Partitions == before.Partitions && now.Partitioner == before.Partitioner},
		{"form of the output", now.Sorted == before.Sorted && now.Part == before.Part && now.NoOutput == before.NoOutput},
	} {
		if !d.same && !slices.Contains(words, d.word) {
			words = append(words, d.word)
		}
	}
	return words
}

func sameKind(a, b closureEdge) bool { return a.Kind == b.Kind && a.Input == b.Input }

func sameSplit(a, b closureEdge) bool {
	return a.Split == b.Split && a.Count == b.Count && a.Delimiter == b.Delimiter
}
