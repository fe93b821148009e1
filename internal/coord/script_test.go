package coord

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/plan"
)

var update = flag.Bool("update", false, "write what the scripts print into testdata")

// TestScripts runs every script of testdata. A script is lines of commands; what
// each prints stands below it, indented by a tab. After every command the state
// is compared with the fold of its records and with its own snapshot.
func TestScripts(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(want))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
				t.Errorf("%s (-want +got):\n%s", path, d)
			}
		})
	}
}

// script is a state under a script, with the records that led to it.
type script struct {
	t       *testing.T
	plan    *plan.Plan
	request stint.Request
	state   *State
	records []Record
	now     int64
	leftOut int64
	out     strings.Builder
}

const scriptExecution = stint.ExecutionID("x-aaaaaaaaaaaaaaaa")

func runScript(t *testing.T, text string) string {
	t.Helper()
	s := &script{t: t, now: 1000}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "\t") {
			continue
		}
		s.out.WriteString(line)
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		s.command(words[0], words[1:])
		if s.state != nil {
			checkState(t, s.state, s.plan, s.request, s.records)
			checkInvariants(t, s.state)
		}
		if t.Failed() {
			t.Fatalf("after %q", strings.TrimSpace(line))
		}
	}
	return s.out.String()
}

func loadsText(loads []Load) string {
	words := make([]string, 0, len(loads))
	for _, l := range loads {
		text := fmt.Sprintf("%s %d %d %v %d", l.Node, l.Queued, l.Begun, l.Cool, l.Waits)
		if l.Stuck {
			text += " stuck"
		}
		if l.Avoid > 0 {
			text += fmt.Sprintf(" avoid=%d", l.Avoid)
		}
		words = append(words, "{"+text+"}")
	}
	return strings.Join(words, " ")
}

func (s *script) printf(format string, args ...any) {
	fmt.Fprintf(&s.out, "\t"+format+"\n", args...)
}

func (s *script) command(name string, args []string) {
	s.t.Helper()
	switch name {
	case "execution":
		s.execution(args)
	case "at":
		s.now = 1000 + s.number(args[0])
	case "begin":
		s.step(Event{Begin: true})
	case "attach":
		s.attach(args)
	case "assign":
		s.assign(args)
	case "retract":
		s.step(Event{Retract: &RetractAsk{Node: nodeID(args[0]), Stage: s.stageOf(args[1]), Count: int(s.number(args[2]))}})
	case "report":
		s.report(args)
	case "gone", "lost":
		g := &Gone{Node: nodeID(args[0]), Lost: name == "lost"}
		for _, arg := range args[1:] {
			switch key, value, _ := strings.Cut(arg, "="); key {
			case "session":
				g.Session = uint64(s.number(value))
			case "lost-at":
				g.LostAt = s.number(value)
			}
		}
		s.step(Event{Gone: g})
	case "result":
		s.result(args)
	case "terminate":
		s.step(Event{Terminate: true})
	case "suspend", "resume", "schedule", "move", "drain":
		s.ask(name, args)
	case "retry":
		if err := s.state.Refusal(Event{Retry: true}); err != nil {
			s.printf("refused: %s(%s)", stint.CodeOf(err), err)
		}
		s.step(Event{Retry: true})
	case "saved", "copied":
		s.landed(name, args)
	case "kept":
		s.kept()
	case "causes":
		for _, c := range s.state.Document(s.now).Causes {
			s.printf("%d x %s %s(%s) first %s on %v", c.Attempts, c.Stage, c.Code, c.Message, c.First, c.Nodes)
		}
	case "explain":
		s.explain()
	case "missing":
		x := s.state.Document(s.now)
		s.printf("%s missing=%d error=%s", x.Status, len(x.Missing), errorText(x.Error))
	case "input":
		s.printf("%q", s.state.Operation(s.stageOf(args[0]), uint32(s.number(args[1]))).Input)
	case "operation":
		x := s.state.Operation(s.stageOf(args[0]), uint32(s.number(args[1])))
		s.printf("%s on %s: %s copies=%v", x.ID, x.Node, x.Status, x.Copies)
	case "drained":
		s.printf("%v", s.state.Drained(nodeID(args[0])))
	case "pass":
		s.step(Event{})
	case "reload":
		s.reload(args)
	case "show":
		s.show()
	case "demands":
		for _, d := range s.state.Demands(s.now) {
			s.printf("%s ready=%d mean=%.3f retracting=%v loads=[%s]", s.state.stages[d.Stage].spec.Name, d.Ready, d.MeanMillis, d.Retracting, loadsText(d.Loads))
		}
	case "document":
		x := s.state.Document(s.now)
		s.printf("%s waiting=%q progress=%.2f performed=%d nodes=%v output=%d parts %d bytes error=%s counters=%v", x.Status, x.Waiting, x.Progress,
			x.Operations.Performed, x.Nodes, x.Output.Parts, x.Output.Bytes, errorText(x.Error), x.Counters)
	default:
		s.t.Fatalf("command %q: there is none", name)
	}
}

func (s *script) explain() {
	e := s.state.Explain(s.now)
	s.printf("%s", e.Summary)
	for _, f := range e.Findings {
		s.printf("%s %s %v %s: %s; %s", f.Kind, f.Stage, f.Operations, f.Node, f.Text, f.Advice)
	}
	for _, t := range e.Stages {
		s.printf("%s took %.2f median %.2f longest %.2f %s", t.Stage, t.CoreSeconds, t.Median, t.Longest, t.Slowest)
	}
	for _, b := range e.Balances {
		s.printf("%s of %v: records %d of %d, bytes %d of %d, complete=%v equal=%v", b.Stage, b.From, b.RecordsIn, b.RecordsOut, b.BytesIn, b.BytesOut, b.Complete, b.Equal)
	}
}

// execution makes stages of so many operations: "map=4 reduce=2" is a shuffle,
// "map=4/2" writes two parts of two operations each, "map=2/2" writes a part in
// every operation. "attempts=N" is the request's. What a stage reads may be named:
// "c=one-to-one:a", "c=gather:a", "c=2:a,b" for a join in two partitions, "c=input",
// each with "+t" for a broadcast of t. "commands" has every stage be one.
func (s *script) execution(args []string) {
	s.t.Helper()
	req := stint.Request{Output: "file:///out", Program: stint.Program{Name: "script"}}
	listing := stint.Listing{Range: &stint.Values{}}
	choice := plan.Choice{SubsetSize: 1, Exact: true, Partitions: 1}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		ops, parts, gathered := strings.Cut(value, "/")
		switch {
		case name == "commands":
			continue
		case name == "attempts":
			req.Attempts = int(s.number(value))
			continue
		case name == "replication":
			req.Replication = int(s.number(value))
			continue
		case name == "errors":
			req.CompleteErrors = new(true)
			continue
		case name == "save":
			req.Save = stint.SaveMode(value)
			continue
		case name == "keep":
			req.Keep = s.number(value)
			continue
		case name == "nodes":
			req.Nodes = int(s.number(value))
			continue
		case name == "backoff":
			req.Backoff = s.number(value)
			continue
		case name == "skip":
			req.SkipBadRecords, _ = strconv.ParseFloat(value, 64)
			continue
		case strings.ContainsAny(value, ":+") || value == "input":
			req.Program.Stages = append(req.Program.Stages, s.graphStage(name, value))
			continue
		case gathered:
			choice.SubsetSize = plan.PartValues * s.number(parts) / s.number(ops)
			listing.Range.Count = plan.PartValues * s.number(parts)
		case len(req.Program.Stages) == 0:
			listing.Range.Count = s.number(value)
		}
		stage := stint.Stage{Name: name, Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput}}
		if n := len(req.Program.Stages); n > 0 {
			stage.Input = stint.Edge{Kind: stint.Shuffle, From: req.Program.Stages[n-1].Name, Partitions: int(s.number(value))}
		}
		req.Program.Stages = append(req.Program.Stages, stage)
	}
	if slices.Contains(args, "commands") {
		for i := range req.Program.Stages {
			req.Program.Stages[i].Action = stint.Action{Command: []string{"sh"}}
		}
	}
	p, err := plan.Make(scriptExecution, req, listing, choice)
	if err != nil {
		s.t.Fatal(err)
	}
	s.plan, s.request, s.records = p, req, nil
	s.state = New(p, req, 1, s.now)
	for _, st := range p.Spec.Stages {
		s.printf("stage %s: %d operations, %d partitions, part=%v gather=%v", st.Name, st.Operations, st.Partitions, st.Part, st.Gather)
	}
}

// graphStage makes a stage that says what it reads.
func (s *script) graphStage(name, value string) stint.Stage {
	s.t.Helper()
	words := strings.Split(value, "+")
	kind, from, _ := strings.Cut(words[0], ":")
	var edges []stint.Edge
	for one := range strings.SplitSeq(from, ",") {
		e := stint.Edge{Kind: stint.EdgeKind(kind), From: one}
		if kind != string(stint.FromInput) && kind != string(stint.Gather) && kind != string(stint.OneToOne) {
			e.Kind, e.Partitions = stint.Shuffle, int(s.number(kind))
		}
		edges = append(edges, e)
	}
	for _, one := range words[1:] {
		edges = append(edges, stint.Edge{Kind: stint.Broadcast, From: one})
	}
	return stint.Stage{Name: name, Action: stint.Action{Native: "identity"}, Input: edges[0], Beside: edges[1:]}
}

func (s *script) number(text string) int64 {
	s.t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func nodeID(name string) stint.NodeID { return stint.NodeID(name) }

func (s *script) stageOf(name string) int {
	s.t.Helper()
	i := slices.IndexFunc(s.plan.Spec.Stages, func(st stint.StageSpec) bool { return st.Name == name })
	if i < 0 {
		s.t.Fatalf("stage %q: there is none", name)
	}
	return i
}

// ranges reads "0-2,5": operations 0, 1, 2 and 5.
func (s *script) ranges(text string) []stint.Range {
	s.t.Helper()
	var out []stint.Range
	for one := range strings.SplitSeq(text, ",") {
		from, to, run := strings.Cut(one, "-")
		r := stint.Range{From: uint32(s.number(from)), To: uint32(s.number(from)) + 1}
		if run {
			r.To = uint32(s.number(to)) + 1
		}
		out = stint.UnionRange(out, r)
	}
	return out
}

// stageOps reads "map:0-2,5".
func (s *script) stageOps(text string) stint.StageOps {
	s.t.Helper()
	stage, ops, _ := strings.Cut(text, ":")
	return stint.StageOps{Stage: s.stageOf(stage), Ops: s.ranges(ops)}
}

func (s *script) attach(args []string) {
	s.t.Helper()
	a := &Attach{Node: stint.Node{ID: nodeID(args[0]), Name: args[0], Incarnation: 1, Slots: 2, Address: args[0] + ":1"}, Holding: stint.Holding{Execution: scriptExecution}}
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "inc":
			a.Node.Incarnation = stint.Incarnation(s.number(value))
		case "session":
			a.Session = uint64(s.number(value))
		case "slots":
			a.Node.Slots = int(s.number(value))
		case "addr":
			a.Node.Address = value
		case "jobs":
			for _, r := range s.ranges(value) {
				for id := r.From; id < r.To; id++ {
					a.Holding.Jobs = append(a.Holding.Jobs, stint.JobID(id))
				}
			}
		case "completed":
			a.Holding.Completed = append(a.Holding.Completed, s.stageOps(value))
		case "latest":
			a.Holding.Latest = stint.JobID(s.number(value))
		case "copies":
			a.Holding.Copies = append(a.Holding.Copies, s.stageOps(value))
		case "begun":
			job, ops, _ := strings.Cut(value, ":")
			for _, r := range s.ranges(ops) {
				a.Holding.Begun = append(a.Holding.Begun, stint.Begun{Job: stint.JobID(s.number(job)), Ops: r})
			}
		default:
			s.t.Fatalf("attach: %q", arg)
		}
	}
	s.step(Event{Attach: a})
}

func (s *script) assign(args []string) {
	s.t.Helper()
	a := &Assign{Node: nodeID(args[0]), Incarnation: 1, Stage: s.stageOf(args[1]), Count: int(s.number(args[2]))}
	if len(args) > 3 {
		a.Incarnation = stint.Incarnation(s.number(strings.TrimPrefix(args[3], "inc=")))
	} else if i, known := s.state.nodeIndex(a.Node); known {
		a.Incarnation = s.state.nodes[i].incarnation
	}
	s.step(Event{Assign: a})
}

// report makes a report of words such as begun=1:0-2, done=1:0,1,
// failed=1:3:failed, returned=1:4-5, lost=map:0-1, took=250, count=words:3,
// inc=2, seq=4 (otherwise the next one); jobs go by number.
func (s *script) report(args []string) {
	s.t.Helper()
	r := &stint.Report{Execution: scriptExecution, Node: nodeID(args[0]), Incarnation: 1}
	if i, known := s.state.nodeIndex(r.Node); known {
		r.Incarnation = s.state.nodes[i].incarnation
		r.Seq = s.state.nodes[i].lastSeq + 1
	}
	took, counters := int64(10), []stint.CounterDelta(nil)
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		what, rest, _ := strings.Cut(value, ":")
		switch key {
		case "inc":
			r.Incarnation = stint.Incarnation(s.number(value))
		case "seq":
			r.Seq = uint64(s.number(value))
		case "took":
			took = s.number(value)
		case "left-out": // records of each operation that is done
			s.leftOut = s.number(value)
		case "count":
			counters = append(counters, stint.CounterDelta{Group: "test", Name: what, Value: s.number(rest)})
		case "begun":
			for _, ops := range s.ranges(rest) {
				r.Begun = append(r.Begun, stint.Begun{Job: stint.JobID(s.number(what)), Ops: ops})
			}
		case "done":
			r.Done = append(r.Done, s.done(what, rest, took, counters))
		case "failed":
			ops, code, _ := strings.Cut(rest, ":")
			code, text, said := strings.Cut(code, ":")
			if !said {
				text = "it is " + code
			}
			f := stint.Failure{Job: stint.JobID(s.number(what)), Op: uint32(s.number(ops)), Attempt: 1}
			if code == "silent" { // lost, as long as a node does not answer
				code, f.Silent = string(stint.Lost), []stint.NodeID{"n9"}
			}
			f.Error = stint.Errorf(stint.Code(code), "%s", strings.ReplaceAll(text, "_", " "))
			r.Failures = append(r.Failures, f)
		case "returned":
			back := stint.Returned{Job: stint.JobID(s.number(what))}
			if rest != "" {
				back.Ops = s.ranges(rest)
			}
			r.Returned = append(r.Returned, back)
		case "interrupted": // interrupted=1:3 without, interrupted=1:3:saved with a checkpoint
			ops, saved, _ := strings.Cut(rest, ":")
			in := stint.Interrupted{Job: stint.JobID(s.number(what)), Op: uint32(s.number(ops)), Start: s.now - took, End: s.now}
			if saved != "" {
				in.Checkpoint = &stint.Checkpoint{Op: in.Op, Key: fmt.Sprintf("checkpoint-%s-%d", ops, in.Job), Bytes: 5}
			}
			r.Interrupted = append(r.Interrupted, in)
		case "bad":
			r.Bad = append(r.Bad, s.bad(value))
		case "lost":
			r.Verified = &stint.Verification{Lost: []stint.StageOps{s.stageOps(value)}}
		default:
			s.t.Fatalf("report: %q", arg)
		}
	}
	s.step(Event{Report: r})
}

// done reads "1:0-2" or, of a job that is over, "1:map:0-2".
func (s *script) done(id, rest string, took int64, counters []stint.CounterDelta) stint.Done {
	s.t.Helper()
	d := stint.Done{Job: stint.JobID(s.number(id))}
	if stage, ops, named := strings.Cut(rest, ":"); named {
		d.Stage, rest = s.stageOf(stage), ops
	} else if j := s.state.jobs[d.Job]; j != nil {
		d.Stage = j.stage
	} else {
		s.t.Fatalf("job %s is over: name the stage\n%s", d.Job, s.out.String())
	}
	for _, r := range s.ranges(rest) {
		for n := r.From; n < r.To; n++ {
			d.Ops = append(d.Ops, stint.OpDone{Op: n, Start: s.now - took, End: s.now, BytesIn: 10, BytesOut: 20, RecordsIn: 1, RecordsOut: 2, BadRecords: s.leftOut})
			for _, c := range counters {
				c.Op = n
				d.Counters = append(d.Counters, c)
			}
			if s.plan.Spec.Stages[d.Stage].Part {
				d.Parts = append(d.Parts, stint.Part{Op: n, Name: fmt.Sprintf("p%d.%s", n, d.Job), Bytes: 7})
			}
		}
	}
	return d
}

func (s *script) result(args []string) {
	s.t.Helper()
	r := &stint.ErrandResult{ID: string(scriptExecution) + "/" + args[0], Bytes: 99}
	switch args[0] {
	case "record":
		r.ID = s.state.recorded
	case "commit":
		r.ID = s.state.commitID()
	}
	if len(args) > 1 {
		r.Error = stint.Errorf(stint.Code(args[1]), "%s", "it is "+args[1])
	}
	s.step(Event{Result: r})
}

// reload makes the state anew of its records, or of its snapshot.
func (s *script) reload(args []string) {
	s.t.Helper()
	if len(args) > 0 && args[0] == "snapshot" {
		s.state = restored(s.t, s.state, s.plan, s.request)
		s.printf("version %d", s.state.Version())
	} else {
		s.state = replayed(s.plan, s.request, s.state.base, s.records)
	}
	s.state.epoch++
	s.take(s.state.Resume(s.now))
}

func (s *script) step(ev Event) {
	s.t.Helper()
	ev.At = s.now
	s.take(s.state.Step(ev))
}

// take prints what a step decided.
func (s *script) take(d Delta) {
	s.records = append(s.records, d.Records...)
	for _, r := range d.Records {
		s.printf("record %s", recordText(r))
	}
	for _, m := range d.Messages {
		s.printf("%s: %s", m.Node, messageText(m))
	}
	for _, e := range d.Errands {
		s.printf("%s", errandText(e))
	}
	for _, id := range d.Cancel {
		s.printf("cancel %s", strings.TrimPrefix(id, string(scriptExecution)+"/"))
	}
	if d.Wake > 0 {
		s.printf("wake at %d", d.Wake-1000)
	}
}

func partNames(parts []stint.Part) (names []string) {
	for _, p := range parts {
		names = append(names, p.Name)
	}
	return names
}

func recordText(r Record) string {
	switch {
	case r.Attach != nil:
		return fmt.Sprintf("attach %s inc=%d completed=%s begun=%s", r.Attach.Node.ID, r.Attach.Node.Incarnation, opsText(r.Attach.Holding.Completed), begunText(r.Attach.Holding.Begun))
	case r.Grant != nil:
		return fmt.Sprintf("grant %s of stage %d %s to %s inc=%d attempt=%d", r.Grant.Job, r.Grant.Stage, rangesText([]stint.Range{r.Grant.Ops}), r.Grant.Node, r.Grant.Incarnation, r.Grant.Attempt)
	case r.Report != nil:
		return fmt.Sprintf("report %d of %s", r.Report.Seq, r.Report.Node)
	case r.Gone != nil:
		return fmt.Sprintf("gone %s lost=%v", r.Gone.Node, r.Gone.Lost)
	case r.Saved != nil:
		return fmt.Sprintf("saved %s in %d packs", rangesText(r.Saved.Ops), len(r.Saved.Packs))
	case r.Copied != nil:
		return fmt.Sprintf("copied stage %d %s to %s", r.Copied.Stage, rangesText(r.Copied.Ops), r.Copied.Node)
	case r.Bad != nil:
		return fmt.Sprintf("bad copies=%s checkpoints=%v parts=%v", badText(r.Bad.Copies), r.Bad.Checkpoints, r.Bad.Parts)
	case r.Hold != nil:
		return fmt.Sprintf("hold %v stop by %d move=%v release=%v", r.Hold.Jobs, max(r.Hold.StopBy-1000, 0), r.Hold.Move, r.Hold.Release)
	case r.Void != nil:
		return fmt.Sprintf("void %v of %s", r.Void.Jobs, r.Void.Node)
	case r.Schedule != nil:
		text := fmt.Sprintf("schedule %d", max(r.Schedule.At-1000, 0))
		if r.Schedule.Generation > 0 {
			text += fmt.Sprintf(" generation=%d", r.Schedule.Generation)
		}
		return text
	case r.Status != nil && r.Status.Generation > 0:
		return fmt.Sprintf("status %s generation=%d stop by %d nodes=%d slots=%d", r.Status.Status, r.Status.Generation, max(r.Status.StopBy-1000, 0), r.Status.Nodes, r.Status.Slots)
	case r.Status != nil:
		return fmt.Sprintf("status %s settled=%v error=%s", r.Status.Status, r.Status.Settled, errorText(r.Status.Error))
	}
	return "nothing"
}

func messageText(m Message) string {
	switch {
	case m.Grant != nil:
		text := fmt.Sprintf("grant %s %s sources=%s", m.Grant.Job, rangesText([]stint.Range{m.Grant.Ops}), sourcesText(m.Grant.Sources))
		if len(m.Grant.Missing) > 0 {
			text += " without " + rangesText(m.Grant.Missing)
		}
		for _, r := range m.Grant.Beside {
			text += " beside=" + sourcesText(r.Sources)
			if len(r.Missing) > 0 {
				text += " without " + rangesText(r.Missing)
			}
		}
		for _, c := range m.Grant.Checkpoints {
			text += " from " + c.Key
		}
		return text
	case m.Retract != nil:
		return fmt.Sprintf("retract %s count=%d", m.Retract.Job, m.Retract.Count)
	case m.Resend != nil:
		return "resend " + opsText(m.Resend)
	case m.Ack != nil:
		return fmt.Sprintf("ack %d inc=%d", m.Ack.Seq, m.Ack.Incarnation)
	case m.Forget != nil && m.Forget.Keep > 0:
		return fmt.Sprintf("forget, keep until %d", m.Forget.Keep-1000)
	case m.Forget != nil:
		return "forget"
	case m.Suspend != nil:
		return fmt.Sprintf("suspend %v grace=%d", m.Suspend.Jobs, m.Suspend.Grace)
	case m.Drop != nil:
		return "drop " + opsText(m.Drop)
	case m.Reattach:
		return "reattach"
	}
	return "nothing"
}

func errorText(e *stint.Error) string {
	if e == nil {
		return "none"
	}
	return fmt.Sprintf("%s(%s)", e.Code, e.Error())
}

func rangesText(list []stint.Range) string {
	words := make([]string, 0, len(list))
	for _, r := range list {
		if r.Len() == 1 {
			words = append(words, strconv.Itoa(int(r.From)))
		} else {
			words = append(words, fmt.Sprintf("%d-%d", r.From, r.To-1))
		}
	}
	return "[" + strings.Join(words, " ") + "]"
}

func opsText(list []stint.StageOps) string {
	words := make([]string, 0, len(list))
	for _, s := range list {
		words = append(words, fmt.Sprintf("%d:%s", s.Stage, rangesText(s.Ops)))
	}
	return "(" + strings.Join(words, " ") + ")"
}

func begunText(list []stint.Begun) string {
	words := make([]string, 0, len(list))
	for _, b := range list {
		words = append(words, fmt.Sprintf("%s:%s", b.Job, rangesText([]stint.Range{b.Ops})))
	}
	return "(" + strings.Join(words, " ") + ")"
}

func sourcesText(list []stint.Source) string {
	words := make([]string, 0, len(list))
	for _, s := range list {
		at := string(s.Node)
		if s.Pack != nil {
			at = s.Pack.Key[strings.LastIndex(s.Pack.Key, "/")+1:]
		}
		if s.Origin != nil {
			at += fmt.Sprintf(" as %s %d/%d", s.Origin.Execution, s.Origin.Stage, s.Origin.First)
		}
		words = append(words, fmt.Sprintf("%s@%s", rangesText(s.Ops), at))
	}
	return "(" + strings.Join(words, " ") + ")"
}

// show prints the operations by state, the jobs and the nodes.
func (s *script) show() {
	st := s.state
	s.printf("%s settled=%v version=%d", st.status, st.settled, st.version)
	for k := range st.stages {
		var text []string
		for state := pending; state <= failed; state++ {
			if ops := opsIn(&st.stages[k], state); ops != nil {
				text = append(text, fmt.Sprintf("%s%s", stateName(state), rangesText(ops)))
			}
		}
		s.printf("%s: %s ready=%s performed=%d", st.stages[k].spec.Name, strings.Join(text, " "), rangesText(st.stages[k].ready), st.stages[k].performed)
	}
	for _, key := range sortedKeys(st) {
		e := st.exceptions[key]
		s.printf("exception %s: failed=%d infra=%d not before %d, %s", st.operationID(key), e.failed, e.infra, e.notBefore-1000, errorText(e.err))
	}
	for i := range st.nodes {
		n := &st.nodes[i]
		s.printf("%s inc=%d %s seq=%d jobs=%v queued=%d begun=%d", n.id, n.incarnation, statusName(n.status), n.lastSeq, n.jobs, n.queued, n.begun)
	}
}

func stateName(s opState) string {
	return [...]string{"pending", "granted", "begun", "done", "failed"}[s]
}

func statusName(s nodeStatus) string {
	return [...]string{"unseen", "ready", "away", "lost"}[s]
}

func opsIn(st *stage, state opState) (out []stint.Range) {
	for n := range st.ops {
		if st.ops[n].state == state {
			out = stint.AddToRanges(out, uint32(n))
		}
	}
	return out
}

func sortedKeys(s *State) []opKey {
	keys := make([]opKey, 0, len(s.exceptions))
	for k := range s.exceptions {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, opKey.compare)
	return keys
}
