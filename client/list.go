package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"

	"stint"
)

// pageSize is how many items are asked for at once.
const pageSize = 500

type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next_cursor"`
}

// List yields executions, newest first: those in whose id, name or program
// search occurs, with the given status; empty means all. It asks for pages as
// they are needed and ends after an error.
func (c *Client) List(ctx context.Context, search string, status stint.ExecutionStatus) iter.Seq2[stint.Execution, error] {
	query := make(url.Values)
	setIfAny(query, "search", search)
	setIfAny(query, "status", string(status))
	return pages[stint.Execution](ctx, c, get("v1", "executions"), query)
}

// Operations yields the operations of an execution, in the order of its stages:
// those of the named stage with the given status; empty means all. It asks for
// pages as they are needed and ends after an error.
func (c *Client) Operations(ctx context.Context, id stint.ExecutionID, stage string, status stint.OperationStatus) iter.Seq2[stint.Operation, error] {
	query := make(url.Values)
	setIfAny(query, "stage", stage)
	setIfAny(query, "status", string(status))
	return pages[stint.Operation](ctx, c, get("v1", "executions", string(id), "operations"), query)
}

func setIfAny(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

func pages[T any](ctx context.Context, c *Client, k call, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		k.query = query
		k.query.Set("limit", strconv.Itoa(pageSize))
		k.query.Del("cursor")
		for {
			var p page[T]
			if err := c.fetch(ctx, k, &p); err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range p.Items {
				if !yield(item, nil) {
					return
				}
			}
			if p.Next == "" {
				return
			}
			k.query.Set("cursor", p.Next)
		}
	}
}
