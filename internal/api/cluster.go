package api

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"stint"
)

// registerCluster registers the routes about computing nodes.
func (h *Handler) registerCluster(b *builder) {
	register(b, ClusterRead, huma.Operation{
		Method: http.MethodGet, Path: "/v1/nodes", OperationID: "nodes",
		Summary: "The computing nodes",
	}, h.nodes)
	register(b, ClusterRead, huma.Operation{
		Method: http.MethodGet, Path: "/v1/cluster", OperationID: "cluster",
		Summary: "The computing nodes, taken together",
	}, h.cluster)
	register(b, ClusterControl, huma.Operation{
		Method: http.MethodPost, Path: "/v1/nodes/{id}/drain", OperationID: "drain",
		Summary:     "Give a node nothing new, and copy away what only it holds",
		Description: "The node is draining until nothing is performed there and it holds the only copy of nothing: then it is drained.",
	}, h.drain)
	b.mayTake("/v1/nodes/{id}/drain", reflect.TypeFor[stint.DrainRequest]())
	register(b, ClusterControl, huma.Operation{
		Method: http.MethodDelete, Path: "/v1/nodes/{id}", OperationID: "remove-node",
		Summary:       "Forget a node",
		DefaultStatus: http.StatusNoContent,
	}, h.removeNode)
}

type healthOutput struct {
	Body struct {
		Status string `json:"status" doc:"ok"`
	}
}

func health(context.Context, *struct{}) (*healthOutput, error) {
	out := &healthOutput{}
	out.Body.Status = "ok"
	return out, nil
}

type nodesOutput struct {
	Body page[stint.Node]
}

func (h *Handler) nodes(ctx context.Context, _ *struct{}) (*nodesOutput, error) {
	out := &nodesOutput{Body: page[stint.Node]{Items: h.config.Service.Nodes(ctx)}}
	fill(&out.Body)
	return out, nil
}

type clusterOutput struct {
	Body stint.Cluster
}

func (h *Handler) cluster(ctx context.Context, _ *struct{}) (*clusterOutput, error) {
	c := stint.Cluster{Version: h.config.Version}
	for _, n := range h.config.Service.Nodes(ctx) {
		c.Nodes++
		switch n.Status {
		case stint.NodeReady:
			c.Ready++
			c.Slots += n.Slots
		case stint.NodeAway:
			c.Away++
		case stint.NodeLost:
			c.Lost++
		case stint.NodeDraining, stint.NodeDrained:
			c.Draining++
		}
	}
	return &clusterOutput{Body: c}, nil
}

type nodeInput struct {
	ID string `path:"id"`
	exchange
}

type nodeOutput struct {
	Body stint.Node
}

func (h *Handler) drain(ctx context.Context, in *nodeInput) (*nodeOutput, error) {
	id, err := nodeID(in.ID)
	if err != nil {
		return nil, err
	}
	var request stint.DrainRequest
	if err := in.decodeAny(&request); err != nil {
		return nil, err
	}
	n, err := h.config.Service.Drain(ctx, id, request)
	if err != nil {
		return nil, err
	}
	return &nodeOutput{Body: n}, nil
}

func (h *Handler) removeNode(ctx context.Context, in *struct {
	ID string `path:"id"`
},
) (*struct{}, error) {
	id, err := nodeID(in.ID)
	if err != nil {
		return nil, err
	}
	return nil, h.config.Service.RemoveNode(ctx, id)
}
