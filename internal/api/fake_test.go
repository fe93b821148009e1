package api_test

import (
	"cmp"
	"context"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"stint"
	"stint/internal/api"
	"stint/internal/server"
)

var _ api.Service = (*server.Server)(nil)

// service keeps executions in memory. The error err, if set, is what it says to everything.
type service struct {
	mu         sync.Mutex
	executions []stint.Execution
	changed    chan struct{} // closed and replaced at every change
	watchers   int
	requests   []stint.Request
	files      map[stint.Digest]string
	filters    []stint.OperationFilter
	asked      []any // what else was asked, in order
	nodeList   []stint.Node
	sets       []stint.CredentialSet
	err        error
	crash      bool
	work       time.Duration // that a submission and a file take
	uploading  chan struct{} // is told of uploads that begin, if it is there
}

func newService(executions ...stint.Execution) *service {
	return &service{executions: executions, changed: make(chan struct{}), files: make(map[stint.Digest]string)}
}

func (s *service) set(x stint.Execution) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.executions {
		if s.executions[i].ID == x.ID {
			s.executions[i] = x
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *service) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	close(s.changed)
	s.changed = make(chan struct{})
}

// breakDown has the service panic at the next question.
func (s *service) breakDown() {
	s.mu.Lock()
	s.crash = true
	s.mu.Unlock()
	s.fail(nil)
}

func (s *service) find(id stint.ExecutionID) (stint.Execution, chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crash {
		panic("secret crash")
	}
	if s.err != nil {
		return stint.Execution{}, s.changed, s.err
	}
	for _, x := range s.executions {
		if x.ID == id {
			return x, s.changed, nil
		}
	}
	return stint.Execution{}, s.changed, stint.Errorf(stint.NotFound, "execution %q: not found", string(id))
}

// toil takes time, and fails if ctx ends meanwhile.
func (s *service) toil(ctx context.Context) error {
	if s.work == 0 {
		return nil
	}
	select {
	case <-time.After(s.work):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *service) Credentials(context.Context) []stint.CredentialReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []stint.CredentialReport
	for _, c := range s.sets {
		out = append(out, c.Report())
	}
	return out
}

func (s *service) SetCredentials(_ context.Context, c stint.CredentialSet) (stint.CredentialReport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sets = append(s.sets, c)
	return c.Report(), s.err
}

func (s *service) RemoveCredentials(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sets = slices.DeleteFunc(s.sets, func(c stint.CredentialSet) bool { return c.Name == name })
	return s.err
}

func (s *service) Submit(ctx context.Context, r stint.Request) (stint.Execution, error) {
	if err := s.toil(ctx); err != nil {
		return stint.Execution{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return stint.Execution{}, s.err
	}
	s.requests = append(s.requests, r)
	x := execution(len(s.executions)+1, stint.Queued)
	x.Name = r.Name
	s.executions = append(s.executions, x)
	return x, nil
}

func (s *service) List(_ context.Context, f stint.ExecutionFilter) (page []stint.Execution, next uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := f.Cursor; i < uint64(len(s.executions)); i++ {
		x := s.executions[i]
		if !strings.Contains(x.Name, f.Search) || (f.Status != "" && x.Status != f.Status) {
			continue
		}
		if len(page) == f.Limit {
			return page, i, s.err
		}
		page = append(page, x)
	}
	return page, 0, s.err
}

func (s *service) Show(_ context.Context, id stint.ExecutionID) (stint.Execution, error) {
	x, _, err := s.find(id)
	return x, err
}

func (s *service) Request(_ context.Context, id stint.ExecutionID) (stint.Request, error) {
	x, _, err := s.find(id)
	return stint.Request{
		Name: x.Name, Inputs: []string{"/in"}, Environment: map[string]string{"A": "b"},
		Program: stint.Program{Name: "p", Stages: []stint.Stage{{Name: "map", Action: stint.Action{Command: []string{"cat"}}}}},
	}, err
}

func (s *service) Operations(_ context.Context, id stint.ExecutionID, f stint.OperationFilter) (page []stint.Operation, next uint64, err error) {
	if _, _, err := s.find(id); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	s.filters = append(s.filters, f)
	s.mu.Unlock()
	for i := f.Cursor; i < 1203; i++ {
		if len(page) == f.Limit {
			return page, i, nil
		}
		page = append(page, stint.Operation{ID: stint.MakeOperationID("map", uint32(i)), Stage: "map", Status: stint.OpWaiting})
	}
	return page, 0, nil
}

func (s *service) Watch(ctx context.Context, id stint.ExecutionID, after uint64) iter.Seq2[stint.Execution, error] {
	return func(yield func(stint.Execution, error) bool) {
		s.count(1)
		defer s.count(-1)
		for {
			x, changed, err := s.find(id)
			if err != nil {
				yield(x, err)
				return
			}
			if x.Version > after && !yield(x, nil) {
				return
			}
			if after = x.Version; x.Status.Final() {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (s *service) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers += n
}

func (s *service) Terminate(_ context.Context, id stint.ExecutionID) (stint.Execution, error) {
	x, _, err := s.find(id)
	x.Status = stint.Terminating
	return x, err
}

func (s *service) Logs(_ context.Context, id stint.ExecutionID, q stint.LogQuery) (stint.Logs, error) {
	if _, _, err := s.find(id); err != nil {
		return stint.Logs{}, err
	}
	return stint.Logs{Entries: []stint.LogEntry{{
		Operation: cmp.Or(q.Operation, "map/0"), Node: "n-1", Status: stint.OpFailed, Error: stint.Errorf(stint.Failed, "exit 3"),
		Text: "log of " + q.Search + "\xff", Bad: []stint.BadRecord{{Number: 7, Text: "a\tb", Error: "no number"}},
	}}, More: q.Failed}, nil
}

func (s *service) Explain(_ context.Context, id stint.ExecutionID) (stint.Explanation, error) {
	_, _, err := s.find(id)
	return stint.Explanation{Execution: id, Summary: "it waits: for a slot"}, err
}

func (s *service) PutFile(ctx context.Context, digest stint.Digest, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return stint.Errorf(stint.Unavailable, "keep a file: %w", err)
	}
	if err := s.toil(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[digest] = string(b)
	return s.err
}

// ask records what was asked of an execution.
func (s *service) ask(id stint.ExecutionID, what any, status stint.ExecutionStatus) (stint.Execution, error) {
	x, _, err := s.find(id)
	if err != nil {
		return x, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, what)
	x.Status = status
	return x, nil
}

func (s *service) Suspend(_ context.Context, id stint.ExecutionID, r stint.SuspendRequest) (stint.Execution, error) {
	return s.ask(id, r, stint.Suspending)
}

func (s *service) Resume(_ context.Context, id stint.ExecutionID, r stint.ResumeRequest) (stint.Resumption, error) {
	x, err := s.ask(id, r, stint.Resuming)
	return stint.Resumption{
		Execution: x, Reused: 7, Redone: []stint.Redone{{Stage: "map", Operations: 1, Reason: "why"}},
		Changes: []stint.Change{{Kind: stint.ObjectAdded, URL: "file:///a"}}, Changed: 1,
	}, err
}

func (s *service) Move(_ context.Context, id stint.ExecutionID, r stint.MoveRequest) (stint.Execution, error) {
	return s.ask(id, r, stint.InProgress)
}

func (s *service) Retry(_ context.Context, id stint.ExecutionID) (stint.Execution, error) {
	return s.ask(id, "retry", stint.InProgress)
}

func (s *service) Durability(_ context.Context, id stint.ExecutionID) (stint.Durability, error) {
	x, _, err := s.find(id)
	return stint.Durability{Execution: x.ID, Replication: 2, Nodes: []stint.NodeRisk{{Node: "n-1", Operations: 3, CoreSeconds: 1.5}}}, err
}

func (s *service) Saved(_ context.Context, from string) ([]stint.SavedExecution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	owner := &stint.Owner{Generation: 3, Service: "other"}
	return []stint.SavedExecution{{ID: known, Name: from, Generation: 2, Owner: owner}, {Error: stint.Errorf(stint.Invalid, "cut off")}}, s.err
}

func (s *service) Plan(_ context.Context, r stint.Request) (stint.PlanReport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return stint.PlanReport{Objects: int64(len(r.Inputs)), Stages: []stint.StagePlan{{Name: "map", Operations: 2}}}, s.err
}

func (s *service) Drain(_ context.Context, node stint.NodeID, r stint.DrainRequest) (stint.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r)
	return stint.Node{ID: node, Status: stint.NodeDraining}, s.err
}

func (s *service) RemoveNode(_ context.Context, node stint.NodeID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, node)
	return s.err
}

func (s *service) Nodes(context.Context) []stint.Node { return s.nodeList }

func (*service) Programs(context.Context) ([]stint.RegisteredProgram, error) {
	noop := stint.Program{Name: "noop", Stages: []stint.Stage{{Name: "map", Action: stint.Action{Native: "noop"}}}}
	return []stint.RegisteredProgram{{Program: noop, Shipped: true}}, nil
}

func (s *service) UploadProgram(ctx context.Context, u stint.ProgramUpload) (stint.RegisteredProgram, error) {
	if s.uploading != nil {
		s.uploading <- struct{}{}
	}
	b, err := io.ReadAll(u.Body)
	if err != nil {
		return stint.RegisteredProgram{}, stint.Errorf(stint.Unavailable, "receive: %w", err)
	}
	if err := s.toil(ctx); err != nil {
		return stint.RegisteredProgram{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return stint.RegisteredProgram{}, s.err
	}
	s.asked = append(s.asked, u.Name+" "+string(b))
	return stint.RegisteredProgram{Program: stint.Program{Name: "up", Stages: []stint.Stage{{Name: "map"}}}, Version: strings.Repeat("ab", 32), Bytes: int64(len(b)), Warnings: []string{"odd"}}, nil
}

func (s *service) Program(_ context.Context, name, version string) (stint.RegisteredProgram, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return stint.RegisteredProgram{Program: stint.Program{Name: name}, Version: version, Manifest: "name: " + name + "\n"}, s.err
}

func (s *service) RemoveProgram(_ context.Context, name, version string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, "remove "+name+"@"+version)
	return s.err
}

// untouched fails the test if anything was asked to change.
func (s *service) untouched(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests)+len(s.files)+len(s.asked) > 0 {
		t.Errorf("a refusal left something behind: %v %v %v", s.requests, s.files, s.asked)
	}
}

// faults collects what operators are told.
type faults struct {
	mu   sync.Mutex
	told map[string]string // by request id
}

func (f *faults) add(_ context.Context, request string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.told == nil {
		f.told = make(map[string]string)
	}
	f.told[request] = err.Error()
}

func (f *faults) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.told)
}

func config(s api.Service) api.Config {
	return api.Config{
		Service:   s,
		Allow:     func(context.Context, api.Permission) bool { return true },
		Fault:     (&faults{}).add,
		Version:   "1.2.3",
		CursorKey: []byte("0123456789abcdef0123456789abcdef"),
	}
}

func newHandler(t *testing.T, c api.Config) *api.Handler {
	t.Helper()
	h, err := api.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// execution is document number n.
func execution(n int, status stint.ExecutionStatus) stint.Execution {
	random := make([]byte, 16)
	random[0] = byte(n)
	random[1] = byte(n / 32)
	return stint.Execution{ID: stint.MakeExecutionID(random), Name: "test", Status: status, Version: 1}
}
