package api

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"stint"
)

// registerControl registers the routes that stop executions, let them go on, and
// say what would be lost or saved.
func (h *Handler) registerControl(b *builder) {
	register(b, ExecutionControl, huma.Operation{
		Method: http.MethodPost, Path: "/v1/executions/{id}/suspend", OperationID: "suspend",
		Summary:     "Suspend an execution, or some of its jobs",
		Description: "It answers when that is recorded, with the status suspending; suspended follows when all that is needed later is saved.",
	}, h.suspend)
	b.mayTake("/v1/executions/{id}/suspend", reflect.TypeFor[stint.SuspendRequest]())
	register(b, ExecutionControl, huma.Operation{
		Method: http.MethodPost, Path: "/v1/executions/{id}/resume", OperationID: "resume",
		Summary:     "Let a suspended execution go on",
		Description: "The saved state is verified first; if it is not whole, or the input has changed, nothing happens unless the request accepts that. With from, the execution may be one that this service never saw.",
	}, h.resume)
	b.mayTake("/v1/executions/{id}/resume", reflect.TypeFor[stint.ResumeRequest]())
	register(b, ExecutionControl, huma.Operation{
		Method: http.MethodPost, Path: "/v1/executions/{id}/move", OperationID: "move",
		Summary: "Stop a job where it is and let it go on on another node",
	}, h.move)
	b.takes("/v1/executions/{id}/move", jsonType, b.schema(reflect.TypeFor[stint.MoveRequest]()))
	register(b, ExecutionControl, huma.Operation{
		Method: http.MethodPost, Path: "/v1/executions/{id}/retry", OperationID: "retry",
		Summary: "Perform the failed operations of an execution that completed with errors once more",
	}, h.retry)
	register(b, ExecutionRead, huma.Operation{
		Method: http.MethodGet, Path: "/v1/executions/{id}/durability", OperationID: "durability",
		Summary: "What would be performed again if a node died now",
	}, h.durability)
	register(b, ExecutionControl, huma.Operation{
		Method: http.MethodGet, Path: "/v1/saved", OperationID: "saved",
		Summary: "The executions that can be resumed from a storage",
	}, h.saved)
	register(b, ExecutionSubmit, huma.Operation{
		Method: http.MethodPost, Path: "/v1/plan", OperationID: "plan",
		Summary: "How a request would be executed; nothing is",
	}, h.plan)
	b.takes("/v1/plan", jsonType, b.schema(reflect.TypeFor[stint.Request]()))
}

// controlInput is an execution and what is asked of it, in the body.
type controlInput struct {
	ID string `path:"id"`
	exchange
}

// read returns the execution's id and reads the body into v; a body that is not
// there asks for the defaults.
func (in *controlInput) read(v any) (stint.ExecutionID, error) {
	id, err := executionID(in.ID)
	if err == nil {
		err = in.decodeAny(v)
	}
	return id, err
}

func (h *Handler) suspend(ctx context.Context, in *controlInput) (*executionOutput, error) {
	var request stint.SuspendRequest
	id, err := in.read(&request)
	if err != nil {
		return nil, err
	}
	return answer(h.config.Service.Suspend(ctx, id, request))
}

type resumptionOutput struct {
	Body stint.Resumption
}

func (h *Handler) resume(ctx context.Context, in *controlInput) (*resumptionOutput, error) {
	var request stint.ResumeRequest
	id, err := in.read(&request)
	if err != nil {
		return nil, err
	}
	r, err := h.config.Service.Resume(ctx, id, request)
	if err != nil {
		return nil, err
	}
	fill(&r)
	return &resumptionOutput{Body: r}, nil
}

func (h *Handler) move(ctx context.Context, in *controlInput) (*executionOutput, error) {
	id, err := executionID(in.ID)
	if err != nil {
		return nil, err
	}
	var request stint.MoveRequest
	if err := in.decode(&request); err != nil {
		return nil, err
	}
	return answer(h.config.Service.Move(ctx, id, request))
}

func (h *Handler) retry(ctx context.Context, in *executionInput) (*executionOutput, error) {
	id, err := executionID(in.ID)
	if err != nil {
		return nil, err
	}
	return answer(h.config.Service.Retry(ctx, id))
}

type durabilityOutput struct {
	Body stint.Durability
}

func (h *Handler) durability(ctx context.Context, in *executionInput) (*durabilityOutput, error) {
	id, err := executionID(in.ID)
	if err != nil {
		return nil, err
	}
	d, err := h.config.Service.Durability(ctx, id)
	if err != nil {
		return nil, err
	}
	fill(&d)
	return &durabilityOutput{Body: d}, nil
}

type savedInput struct {
	From string `query:"from" doc:"URL of the storage; without it the service's own."`
}

type savedOutput struct {
	Body page[stint.SavedExecution]
}

func (h *Handler) saved(ctx context.Context, in *savedInput) (*savedOutput, error) {
	found, err := h.config.Service.Saved(ctx, in.From)
	if err != nil {
		return nil, err
	}
	out := &savedOutput{Body: page[stint.SavedExecution]{Items: found}}
	fill(&out.Body)
	return out, nil
}

type planInput struct{ exchange }

type planOutput struct {
	Body stint.PlanReport
}

func (h *Handler) plan(ctx context.Context, in *planInput) (*planOutput, error) {
	var request stint.Request
	if err := in.decode(&request); err != nil {
		return nil, err
	}
	report, err := h.config.Service.Plan(ctx, request)
	if err != nil {
		return nil, err
	}
	fill(&report)
	return &planOutput{Body: report}, nil
}
