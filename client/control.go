package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"stint"
)

// post is a call that sends v as JSON.
func post(v any, path ...string) (call, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return call{}, fmt.Errorf("encode request: %w", err)
	}
	return call{
		method: http.MethodPost, path: path,
		header: http.Header{"Content-Type": {"application/json"}},
		body:   bytes.NewReader(body), length: int64(len(body)),
	}, nil
}

// ask posts a request and returns the answer.
func ask[Answer any](ctx context.Context, c *Client, request any, path ...string) (Answer, error) {
	var a Answer
	k, err := post(request, path...)
	if err == nil {
		err = c.fetch(ctx, k, &a)
	}
	return a, err
}

// Suspend asks for an execution, or some of its jobs, to be suspended and
// returns once that is recorded. [Client.Watch] says when it is.
func (c *Client) Suspend(ctx context.Context, id stint.ExecutionID, r stint.SuspendRequest) (stint.Execution, error) {
	return ask[stint.Execution](ctx, c, r, "v1", "executions", string(id), "suspend")
}

// Resume lets a suspended execution go on, one of this service or with r.From
// one from another service's storage, and returns once that is recorded. What is
// saved is verified before; an error means that nothing changed.
func (c *Client) Resume(ctx context.Context, id stint.ExecutionID, r stint.ResumeRequest) (stint.Resumption, error) {
	return ask[stint.Resumption](ctx, c, r, "v1", "executions", string(id), "resume")
}

// Move stops a job where it is, to go on on another node.
func (c *Client) Move(ctx context.Context, id stint.ExecutionID, r stint.MoveRequest) (stint.Execution, error) {
	return ask[stint.Execution](ctx, c, r, "v1", "executions", string(id), "move")
}

// Retry performs the failed operations of an execution that completed with
// errors once more, and those that did without them.
func (c *Client) Retry(ctx context.Context, id stint.ExecutionID) (stint.Execution, error) {
	var x stint.Execution
	err := c.fetch(ctx, call{method: http.MethodPost, path: []string{"v1", "executions", string(id), "retry"}}, &x)
	return x, err
}

// Request returns what an execution was asked for, to be asked for again: an
// output is in it only if one was named.
func (c *Client) Request(ctx context.Context, id stint.ExecutionID) (stint.Request, error) {
	var r stint.Request
	err := c.fetch(ctx, get("v1", "executions", string(id), "request"), &r)
	return r, err
}

// Durability says what of an execution would be performed again if a node died now.
func (c *Client) Durability(ctx context.Context, id stint.ExecutionID) (stint.Durability, error) {
	var d stint.Durability
	err := c.fetch(ctx, get("v1", "executions", string(id), "durability"), &d)
	return d, err
}

// Saved returns the executions that can be resumed from a storage; empty is the
// service's own.
func (c *Client) Saved(ctx context.Context, from string) ([]stint.SavedExecution, error) {
	k := get("v1", "saved")
	k.query = make(url.Values)
	setIfAny(k.query, "from", from)
	var p page[stint.SavedExecution]
	err := c.fetch(ctx, k, &p)
	return p.Items, err
}

// Plan says how a request would be executed. Nothing is.
func (c *Client) Plan(ctx context.Context, r stint.Request) (stint.PlanReport, error) {
	return ask[stint.PlanReport](ctx, c, r, "v1", "plan")
}

// Drain asks for a node to get nothing new and to give away what only it holds,
// and returns once that is recorded. [Client.Nodes] says when it is drained.
func (c *Client) Drain(ctx context.Context, node stint.NodeID, r stint.DrainRequest) (stint.Node, error) {
	return ask[stint.Node](ctx, c, r, "v1", "nodes", string(node), "drain")
}

// RemoveNode lets the service forget a node.
func (c *Client) RemoveNode(ctx context.Context, node stint.NodeID) error {
	response, err := c.do(ctx, call{method: http.MethodDelete, path: []string{"v1", "nodes", string(node)}})
	if err != nil {
		return err
	}
	return response.Body.Close()
}
