package coord

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"stint"
)

// ask makes an event of "suspend grace=10 jobs=1,2", "resume gen=2", "schedule
// 500", "move jobs=1 grace=10" or "drain n1 by=500" and says if it is refused.
func (s *script) ask(name string, args []string) {
	s.t.Helper()
	ev := Event{At: s.now}
	values := make(map[string]string)
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		values[key] = value
	}
	number := func(key string) int64 {
		if values[key] == "" {
			return 0
		}
		return s.number(values[key])
	}
	var jobs []stint.JobID
	if values["jobs"] != "" {
		for _, r := range s.ranges(values["jobs"]) {
			for id := r.From; id < r.To; id++ {
				jobs = append(jobs, stint.JobID(id))
			}
		}
	}
	switch name {
	case "suspend":
		ev.Suspend = &SuspendAsk{Grace: number("grace"), Jobs: jobs}
	case "resume":
		ev.Resume = &ResumeAsk{Generation: uint64(number("gen")), Nodes: int(number("nodes")), Slots: int(number("slots")), Jobs: jobs}
		if values["bad"] != "" {
			ev.Resume.Bad = []stint.BadCopy{s.bad(values["bad"])}
		}
		if values["part"] != "" {
			ev.Resume.LostParts = []uint32{uint32(number("part"))}
		}
		if values["checkpoint"] != "" {
			ev.Resume.LostCheckpoints = []string{values["checkpoint"]}
		}
	case "schedule":
		ev.Schedule = &ScheduleAsk{At: 1000 + s.number(args[0]), Generation: uint64(number("gen"))}
	case "move":
		ev.Move = &MoveAsk{Jobs: jobs, Grace: number("grace")}
	case "drain":
		_, undo := values["undo"]
		ev.Drain = &DrainAsk{Node: nodeID(args[0]), Undo: undo}
		if values["by"] != "" {
			ev.Drain.By = 1000 + number("by")
		}
	}
	if err := s.state.Refusal(ev); err != nil {
		s.printf("refused: %s(%s)", stint.CodeOf(err), err)
	}
	s.step(ev)
}

// bad reads "n1:map:0-1" or, of a pack, "pack-1-1000-1-0:map:0-1"; a whole one is
// "pack-1-1000-1-0:map".
func (s *script) bad(text string) stint.BadCopy {
	s.t.Helper()
	where, ops, _ := strings.Cut(text, ":")
	of := stint.StageOps{}
	if stage, some, given := strings.Cut(ops, ":"); given {
		of = s.stageOps(stage + ":" + some)
	} else {
		of.Stage = s.stageOf(stage)
	}
	b := stint.BadCopy{Stage: of.Stage, Ops: of.Ops}
	if strings.HasPrefix(where, "pack-") {
		b.Pack = fmt.Sprintf("saved/%s/%s", scriptExecution, where)
	} else {
		b.Node = nodeID(where)
	}
	return b
}

// landed brings the result of the oldest errand with which a node saves or copies:
// all that was asked for but what "lost=0-1" says, in as many packs as "packs=2"
// says, or "error=unavailable". "bad=n1:map:0" tells of a copy found altered.
func (s *script) landed(name string, args []string) {
	s.t.Helper()
	kind := map[string]stint.ErrandKind{"saved": stint.ErrandSave, "copied": stint.ErrandCopy}[name]
	at := slices.IndexFunc(s.state.flights, func(f flight) bool {
		return f.kind == kind && s.state.nodes[f.node].id == nodeID(args[0])
	})
	if at < 0 {
		s.printf("no such errand is under way")
		return
	}
	f := s.state.flights[at]
	r := &stint.ErrandResult{ID: f.id}
	ops, packs := f.ops, 1
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "lost":
			r.Lost = s.ranges(value)
			ops = without(ops, r.Lost)
		case "packs":
			packs = int(s.number(value))
		case "bad":
			r.Bad = append(r.Bad, s.bad(value))
		case "error":
			r.Error = stint.Errorf(stint.Code(value), "%s", "it is "+value)
		default:
			s.t.Fatalf("%s: %q", name, arg)
		}
	}
	switch {
	case r.Error != nil:
	case name == "copied":
		r.Ops = ops
	case len(ops) > 0:
		key := strings.Replace(f.id, string(scriptExecution)+"/save-", "saved/"+string(scriptExecution)+"/pack-", 1)
		for i := range packs {
			list := ops
			if packs > 1 {
				list = []stint.Range{ops[i]}
			}
			r.Packs = append(r.Packs, stint.Pack{Key: fmt.Sprintf("%s-%d", key, i), Bytes: 100, Stage: f.stage, Ops: list})
		}
	}
	s.step(Event{Result: r})
}

// kept prints what is known of suspends and of where output lies.
func (s *script) kept() {
	x := s.state.Document(s.now)
	s.printf("%s waiting=%q generation=%d completed=%d reused=%d saved=%d operations %d bytes jobs=%v stints=%d", x.Status, x.Waiting, x.Generation,
		x.Operations.Completed, x.Operations.Reused, x.Saved.Operations, x.Saved.Bytes, x.Held, len(x.Stints))
	if x.ResumeAt != nil {
		s.printf("resumes at %d", x.ResumeAt.UnixMilli()-1000)
	}
	for _, m := range x.Missing {
		s.printf("without %s: %s", m.Operation, errorText(m.Error))
	}
	for _, r := range x.Receipts {
		s.printf("receipt %s at %d: %d kept, %d bytes, %.3f s lost", r.Kind, r.At.UnixMilli()-1000, r.OperationsKept, r.SavedBytes, r.WorkLost)
	}
	d := s.state.Durability(s.now)
	s.printf("replication %d, %d saved", d.Replication, d.Saved)
	for _, n := range d.Nodes {
		s.printf("with %s: %d operations, %.3f s", n.Node, n.Operations, n.CoreSeconds)
	}
	var keys []string
	for _, p := range s.state.Packs() {
		keys = append(keys, p.Key[strings.LastIndex(p.Key, "/")+1:])
	}
	for _, c := range s.state.Checkpoints() {
		keys = append(keys, c.Key)
	}
	for _, p := range s.state.StagedParts() {
		keys = append(keys, p.Name)
	}
	s.printf("from %v", keys)
}

func errandText(d Dispatch) string {
	e := d.Errand
	id := strings.TrimPrefix(e.ID, string(scriptExecution)+"/")
	if e.Kind == stint.ErrandSave {
		return fmt.Sprintf("%s: errand %s stage %d %s to %s", d.Node, id, e.Stage, rangesText(e.Ops), e.Prefix)
	}
	if e.Kind == stint.ErrandCopy {
		return fmt.Sprintf("%s: errand %s stage %d %s sources=%s", d.Node, id, e.Stage, rangesText(e.Ops), sourcesText(e.Sources))
	}
	if e.Kind == stint.ErrandRecord {
		return fmt.Sprintf("errand %s generation=%d", id, e.Generation)
	}
	text := fmt.Sprintf("errand %s parts=%v", e.ID, partNames(e.Parts))
	for _, m := range e.Missing {
		text += " without " + cmp.Or(string(m.Operation), m.Error.Message)
	}
	if e.Generation > 0 {
		text += fmt.Sprintf(" generation=%d", e.Generation)
	}
	if e.Kind == stint.ErrandClear && e.Stint > 0 {
		text += fmt.Sprintf(" takes back stint=%d", e.Stint)
	}
	return text
}

func badText(list []stint.BadCopy) string {
	words := make([]string, 0, len(list))
	for _, b := range list {
		words = append(words, fmt.Sprintf("%s%s stage %d %s", b.Node, b.Pack[strings.LastIndex(b.Pack, "/")+1:], b.Stage, rangesText(b.Ops)))
	}
	return "(" + strings.Join(words, ", ") + ")"
}
