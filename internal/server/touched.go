package server

import (
	"context"
	"fmt"
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/object"
	"stint/internal/plan"
)

// content finds out which objects of a plan's input have the content that they had
// when an earlier execution read them, though not the same version: for
// [coord.Adopt].
func (s *Server) content(ctx context.Context, was *coord.State, now *plan.Plan) (func(before, now stint.Object) bool, error) {
	t := was.Touched(now)
	if err := s.compare(ctx, was.ID(), t); err != nil {
		return nil, fmt.Errorf("compare input of execution %s: %w", was.ID(), err)
	}
	return t.Content(), nil
}

// Bounds of one errand that compares, so that it fits a message and its work can
// be shared among the nodes; one operation may have read more.
const (
	mostCompared     = 1 << 30 // bytes
	mostSubsets      = 50_000
	mostComparedText = 2 << 20 // bytes, of the subsets
	pieceText        = 64      // of a piece beside the names of its object
)

// slowestRead is the rate that input is read with at least, in bytes a second.
const slowestRead = 8 << 20

// compare has nodes read what was touched, and notes what is different.
func (s *Server) compare(ctx context.Context, id stint.ExecutionID, t *coord.Touched) error {
	reply := newMailbox()
	defer s.fleet.cancelAll(reply)
	asked := make(map[string]int) // the place of its first subset, by the errand's id
	lengths := make(map[string]int)
	limit := errandWait
	patience := time.NewTimer(limit)
	defer patience.Stop()
	for next := 0; next < t.Len() || len(asked) > 0; {
		for atOnce := 2 * len(s.fleet.readyNodes()); next < t.Len() && len(asked) < max(atOnce, 1); {
			e, bytes := comparison(t, next)
			e.ID, e.Execution = fmt.Sprintf("%s/compare/%d", newID(), next), id
			asked[e.ID], lengths[e.ID] = next, len(e.Subsets)
			next += len(e.Subsets)
			limit = max(limit, errandWait+time.Duration(bytes/slowestRead)*time.Second)
			s.fleet.submitErrand(e, "", reply)
		}
		patience.Reset(limit)
		select {
		case <-reply.came:
		case <-s.ending:
			return errStopping()
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			return stint.Errorf(stint.Unavailable, "%s: no node answered in time", stint.ErrandCompare)
		}
		for _, r := range reply.take() {
			if r.Error != nil {
				return r.Error
			}
			for i := range lengths[r.ID] {
				if !stint.RangesContain(r.Ops, uint32(i)) {
					t.Different(asked[r.ID] + i)
				}
			}
			delete(asked, r.ID)
		}
	}
	return nil
}

// comparison makes the errand for as many operations as one may compare, and says
// how many bytes it reads.
func comparison(t *coord.Touched, from int) (stint.Errand, int64) {
	e := stint.Errand{Kind: stint.ErrandCompare}
	bytes, text := int64(0), 0
	for i := from; i < t.Len() && len(e.Subsets) < mostSubsets; i++ {
		subset, sum := t.Compare(i)
		bytes += subset.Bytes()
		for _, p := range subset.Pieces {
			text += pieceText + len(p.Object.URL) + len(p.Object.Version)
		}
		if i > from && (bytes > mostCompared || text > mostComparedText) {
			return e, bytes - subset.Bytes()
		}
		e.Subsets, e.Sums = append(e.Subsets, subset), append(e.Sums, sum)
	}
	return e, bytes
}

// mostChanges is how many changes of an input are told one by one.
const mostChanges = 1000

// compare enters how an input has changed, once it is known what was only touched.
func (v *verdict) compare(was, now stint.Listing, content func(before, now stint.Object) bool) {
	v.changes, v.changed, v.touched = nil, 0, 0
	var touched []stint.Change
	a, b := was.Objects, now.Objects
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && object.Compare(a[0], b[0]) < 0:
			v.change(stint.ObjectMissing, a[0])
			a = a[1:]
		case len(a) == 0 || object.Compare(a[0], b[0]) > 0:
			v.change(stint.ObjectAdded, b[0])
			b = b[1:]
		default:
			switch {
			case a[0] == b[0]:
			case !content(a[0], b[0]):
				v.change(stint.ObjectChanged, b[0])
			default:
				v.touched++
				if len(touched) < mostChanges {
					touched = append(touched, stint.Change{Kind: stint.ObjectTouched, URL: b[0].URL})
				}
			}
			a, b = a[1:], b[1:]
		}
	}
	v.changes = append(v.changes, touched[:min(len(touched), mostChanges-len(v.changes))]...)
}

func (v *verdict) change(kind stint.ChangeKind, o stint.Object) {
	if v.changed++; v.changed <= mostChanges {
		v.changes = append(v.changes, stint.Change{Kind: kind, URL: o.URL})
	}
}
