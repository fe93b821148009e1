package api

import (
	"context"

	"stint"
)

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

type programsOutput struct {
	Body page[stint.Program]
}

func (h *Handler) programs(context.Context, *struct{}) (*programsOutput, error) {
	out := &programsOutput{Body: page[stint.Program]{Items: h.config.Service.Programs()}}
	fill(&out.Body)
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
		}
	}
	return &clusterOutput{Body: c}, nil
}
