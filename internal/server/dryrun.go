package server

import (
	"context"

	"stint"
	"stint/internal/coord"
	"stint/internal/object"
	"stint/internal/plan"
)

// Plan says how a request would be executed. It lists the input and leaves
// nothing behind but, in system storage, the listing.
func (s *Server) Plan(ctx context.Context, req stint.Request) (stint.PlanReport, error) {
	if err := s.check(ctx, req); err != nil {
		return stint.PlanReport{}, err
	}
	if err := s.fleet.awaitNode(ctx); err != nil {
		return stint.PlanReport{}, err
	}
	draft, err := s.draft(ctx, newID(), req)
	if err != nil {
		return stint.PlanReport{}, err
	}
	report := reportPlan(draft.plan)
	report.Output = req.Output
	if draft.was != nil {
		err = s.reportReuse(ctx, &report, draft)
	}
	return report, err
}

// reportReuse counts what would be taken over, if the earlier output is what it was.
func (s *Server) reportReuse(ctx context.Context, r *stint.PlanReport, made draft) error {
	old := made.was.state
	content, err := s.content(ctx, old, made.plan)
	if err != nil {
		return err
	}
	kept := coord.Kept{Nodes: s.inventory(ctx, made.was.entry.ID)}
	kept.Packs, err = s.eachPack(ctx, *made.was, coord.AdoptablePacks(old, made.plan, content), func(_ int, from *object.Storage, key string) (string, error) {
		_, err := from.Stat(ctx, key)
		return key, err
	})
	if err != nil {
		return err
	}
	if old.Status().Final() {
		kept.Parts = coord.AdoptableParts(old, made.plan, content)
	}
	_, adoption := coord.Adopt(old, made.plan, made.entry.Request, s.epoch, made.entry.Created, kept, content)
	for k, n := range adoption.Reused {
		r.Stages[k].Reused = n
		r.Reused += n
	}
	return nil
}

// reportPlan counts what a plan has.
func reportPlan(p *plan.Plan) stint.PlanReport {
	r := stint.PlanReport{Objects: int64(len(p.Listing.Objects)), Skipped: p.Listing.Skipped, SubsetSize: p.Choice.SubsetSize, Stages: []stint.StagePlan{}}
	for i, o := range p.Listing.Objects {
		r.Bytes += o.Size
		if stint.CodecOf(o.URL, p.Spec.Compression) != stint.Plain {
			r.Compressed++
		}
		if r.Largest == nil || o.Size > r.Largest.Size {
			r.Largest = &p.Listing.Objects[i]
		}
	}
	if p.Listing.Range != nil {
		r.Values = p.Listing.Range.Count
	}
	for i := range p.Spec.Stages {
		st := &p.Spec.Stages[i]
		r.Operations += int64(st.Operations)
		if st.Input.Kind == stint.FromInput {
			r.Subsets += int64(st.Operations)
		}
		if st.Part {
			r.Parts += int64(st.Operations)
		}
		partitions := int64(st.Partitions)
		if !st.Sorted {
			partitions = 0
		}
		r.Partitions = max(r.Partitions, partitions)
		r.Stages = append(r.Stages, stint.StagePlan{Name: st.Name, Reads: readsOf(st), Operations: int64(st.Operations), Partitions: partitions})
	}
	return r
}

// readsOf says in words what a stage reads.
func readsOf(st *stint.StageSpec) []string {
	var out []string
	for _, e := range st.Edges() {
		switch {
		case e.Kind != stint.FromInput:
			out = append(out, string(e.Kind)+" of "+e.From)
		case e.From != "":
			out = append(out, "input "+e.From)
		default:
			out = append(out, "input")
		}
	}
	return out
}
