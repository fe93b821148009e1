package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"stint"
)

// page is a part of a list.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next_cursor,omitempty" doc:"Send it as cursor to get the page that follows; absent on the last page."`
}

type executionOutput struct {
	Body stint.Execution
}

func answer(x stint.Execution, err error) (*executionOutput, error) {
	if err != nil {
		return nil, err
	}
	fill(&x)
	return &executionOutput{Body: x}, nil
}

type submitInput struct {
	Key string `header:"Idempotency-Key" doc:"The same key gives the same execution; with another body it is refused."`
	exchange
}

type submitOutput struct {
	Location string `header:"Location"`
	Body     stint.Execution
}

func submitOperation() huma.Operation {
	return huma.Operation{
		Method: http.MethodPost, Path: "/v1/executions", OperationID: "submit",
		Summary:       "Execute a program",
		Description:   "When it answers, the execution is recorded and will not be lost.",
		DefaultStatus: http.StatusCreated,
	}
}

func (h *Handler) submit(ctx context.Context, in *submitInput) (*submitOutput, error) {
	var request stint.Request
	if err := in.decode(&request); err != nil {
		return nil, err
	}
	if err := setKey(&request, in.Key); err != nil {
		return nil, err
	}
	x, err := h.config.Service.Submit(ctx, request)
	if err != nil {
		return nil, err
	}
	fill(&x)
	return &submitOutput{Location: "/v1/executions/" + string(x.ID), Body: x}, nil
}

// setKey puts the key of the header into the request.
func setKey(r *stint.Request, header string) error {
	if header != "" && r.Key != "" && header != r.Key {
		return refuse(http.StatusUnprocessableEntity, "conflict", "the header Idempotency-Key and /key differ: give one")
	}
	if r.Key == "" {
		r.Key = header
	}
	return nil
}

type listInput struct {
	Search string          `query:"search" doc:"Occurs in the id, the name or the program."`
	Status executionStatus `query:"status"`
	Cursor string          `query:"cursor" doc:"The next_cursor of the page before, with the same search and status."`
	Limit  pageLimit       `query:"limit"`
}

type listOutput struct {
	Body page[stint.Execution]
}

func (h *Handler) list(ctx context.Context, in *listInput) (*listOutput, error) {
	status, err := oneOf("status", string(in.Status), stint.ExecutionStatuses())
	if err != nil {
		return nil, err
	}
	if err := checkSearch(in.Search); err != nil {
		return nil, err
	}
	limit, err := in.Limit.number()
	if err != nil {
		return nil, err
	}
	position, err := h.cursors.open(in.Cursor, "executions", in.Search, string(status))
	if err != nil {
		return nil, err
	}
	filter := stint.ExecutionFilter{Search: in.Search, Status: status, Cursor: position, Limit: limit}
	items, next, err := h.config.Service.List(ctx, filter)
	if err != nil {
		return nil, err
	}
	body := page[stint.Execution]{Items: items, Next: h.cursors.seal(next, "executions", in.Search, string(status))}
	fill(&body)
	return &listOutput{Body: body}, nil
}

type executionInput struct {
	ID string `path:"id"`
}

func (h *Handler) show(ctx context.Context, in *executionInput) (*executionOutput, error) {
	id, err := executionID(in.ID)
	if err != nil {
		return nil, err
	}
	return answer(h.config.Service.Show(ctx, id))
}

type requestOutput struct {
	Body stint.Request
}

func (h *Handler) request(ctx context.Context, in *executionInput) (*requestOutput, error) {
	id, err := executionID(in.ID)
	if err != nil {
		return nil, err
	}
	r, err := h.config.Service.Request(ctx, id)
	if err != nil {
		return nil, err
	}
	fill(&r)
	return &requestOutput{Body: r}, nil
}

func (h *Handler) terminate(ctx context.Context, in *executionInput) (*executionOutput, error) {
	id, err := executionID(in.ID)
	if err != nil {
		return nil, err
	}
	return answer(h.config.Service.Terminate(ctx, id))
}

type operationsInput struct {
	ID     string          `path:"id"`
	Stage  string          `query:"stage" doc:"Name of a stage."`
	Status operationStatus `query:"status"`
	Cursor string          `query:"cursor" doc:"The next_cursor of the page before, with the same stage and status."`
	Limit  pageLimit       `query:"limit"`
}

type operationsOutput struct {
	Body page[stint.Operation]
}

func (h *Handler) operations(ctx context.Context, in *operationsInput) (*operationsOutput, error) {
	id, err := executionID(in.ID)
	if err != nil {
		return nil, err
	}
	status, err := oneOf("status", string(in.Status), stint.OperationStatuses())
	if err != nil {
		return nil, err
	}
	limit, err := in.Limit.number()
	if err != nil {
		return nil, err
	}
	query := []string{"operations", string(id), in.Stage, string(status)}
	position, err := h.cursors.open(in.Cursor, query...)
	if err != nil {
		return nil, err
	}
	filter := stint.OperationFilter{Stage: in.Stage, Status: status, Cursor: position, Limit: limit}
	items, next, err := h.config.Service.Operations(ctx, id, filter)
	if err != nil {
		return nil, err
	}
	body := page[stint.Operation]{Items: items, Next: h.cursors.seal(next, query...)}
	fill(&body)
	return &operationsOutput{Body: body}, nil
}
