package sim

import (
	"slices"
	"strconv"
	"strings"

	"stint"
)

// inputs is what the input of executions is now. The version of an object says, for
// those who know the world, which content it has and how often it was touched.
type inputs struct {
	world   *world
	listing stint.Listing
	last    int             // number of the latest content
	listed  []stint.Listing // by number, what errands have listed
}

// list is the input as it is listed now.
func (in *inputs) list() stint.Listing {
	l := in.listing
	l.Objects = slices.Clone(l.Objects)
	return l
}

// contentOf names the content of an object.
func contentOf(o stint.Object) string {
	content, _, _ := strings.Cut(o.Version, ".")
	return o.Input + o.URL + "@" + content
}

func (in *inputs) find(o stint.Object) (stint.Object, bool) {
	at := slices.IndexFunc(in.listing.Objects, func(now stint.Object) bool { return now.Input == o.Input && now.URL == o.URL })
	if at < 0 {
		return stint.Object{}, false
	}
	return in.listing.Objects[at], true
}

// has reports whether what an operation reads of the input is as it was listed.
func (in *inputs) has(o *order) bool {
	if o.plan.Spec.Stages[o.grant.Stage].Input.Kind != stint.FromInput || len(o.grant.Subsets) == 0 {
		return true
	}
	for _, p := range o.grant.Subsets[o.op-o.grant.Ops.From].Pieces {
		if now, there := in.find(p.Object); !there || now != p.Object {
			return false
		}
	}
	return true
}

// differs reports whether the input is not what it was when a plan was made.
func (in *inputs) differs(p *planned) bool {
	return !slices.Equal(in.listing.Objects, p.Listing.Objects)
}

// version makes the version of the next content.
func (in *inputs) version() string {
	in.last++
	return strconv.Itoa(in.last) + ".0"
}

// changeInput has people do something to the input of a suspended execution.
func (w *world) changeInput(r *run) {
	w.befalls(inputChanged, func() {
		for range 1 + w.rng.IntN(2) {
			w.change(r)
		}
	})
}

// change has people do something to an input: an object gets another content, is
// touched, removed or added.
func (w *world) change(r *run) {
	in := r.input
	if in.listing.Range != nil || len(in.listing.Objects) == 0 {
		return
	}
	w.note("input")
	at := w.rng.IntN(len(in.listing.Objects))
	o := &in.listing.Objects[at]
	switch w.rng.IntN(6) {
	case 0:
		if len(in.listing.Objects) == 1 {
			return
		}
		w.count(objectsRemoved)
		in.listing.Objects = slices.Delete(in.listing.Objects, at, at+1)
	case 1:
		w.count(objectsAdded)
		in.add(*o)
	case 2, 3:
		w.count(objectsTouched)
		content, times, _ := strings.Cut(o.Version, ".")
		n, err := strconv.Atoi(times)
		w.must(err)
		o.Version = content + "." + strconv.Itoa(n+1)
	case 4:
		o.Size = max(o.Size+w.rng.Int64N(200)-100, 1)
		fallthrough
	default:
		w.count(objectsChanged)
		o.Version = in.version()
	}
}

// add adds an object before another.
func (in *inputs) add(before stint.Object) {
	n, err := strconv.Atoi(strings.TrimPrefix(before.URL, "file:///in/"))
	in.world.must(err)
	fresh := stint.Object{Input: before.Input, URL: "file:///in/" + strings.Repeat("0", 3-len(strconv.Itoa(max(n-1, 0)))) + strconv.Itoa(max(n-1, 0)), Size: 1 + in.world.rng.Int64N(500), Version: in.version()}
	if _, there := in.find(fresh); there || n == 0 {
		return
	}
	at := slices.IndexFunc(in.listing.Objects, func(o stint.Object) bool { return o.Input == before.Input && o.URL == before.URL })
	in.listing.Objects = slices.Insert(in.listing.Objects, at, fresh)
}
