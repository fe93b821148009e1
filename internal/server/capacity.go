package server

import (
	"cmp"
	"fmt"

	"stint"
	"stint/internal/plan"
	"stint/internal/sched"
)

// checkPlaceable refuses a program with a stage of which one operation takes more
// than any node has that may come back.
func (f *fleet) checkPlaceable(p stint.Program) error {
	nodes := f.lasting()
	for _, stage := range p.Stages {
		stage.Resources = plan.ResourcesOf(&p, &stage)
		if why := unplaceable(&stage, nodes); why != "" {
			return &stint.Error{Code: stint.Conflict, Message: why}
		}
	}
	return nil
}

// lasting returns the nodes that are not lost or to be drained.
func (f *fleet) lasting() []sched.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []sched.Node
	for _, m := range f.sorted() {
		if m.doc.Status != stint.NodeLost && m.drain == nil {
			out = append(out, sched.Node{ID: m.doc.ID, Slots: m.doc.Slots, Memory: m.doc.Memory})
		}
	}
	return out
}

// waitingForRoom says in words that an execution of which nothing is in progress
// waits for a larger node; otherwise what it is said to wait for.
func (s *Server) waitingForRoom(doc *stint.Execution, stages []stint.StageSpec) string {
	if doc.Status != stint.InProgress || doc.Operations.InProgress > 0 {
		return doc.Waiting
	}
	nodes := s.fleet.readyNodes()
	for k, report := range doc.Stages {
		if c := report.Operations; c.Completed+c.Failed < c.Total {
			if why := unplaceable(&stages[k].Stage, nodes); why != "" {
				return why
			}
		}
	}
	return doc.Waiting
}

// unplaceable says why an operation of a stage can be performed on none of the
// nodes; nothing if it can, or if there are no nodes.
func unplaceable(stage *stint.Stage, nodes []sched.Node) string {
	takes := stage.Resources
	var memory int64
	var slots int
	for _, n := range nodes {
		if takes.FitIn(n.Slots, n.Memory) {
			return ""
		}
		memory, slots = max(memory, n.Memory), max(slots, n.Slots)
	}
	switch {
	case len(nodes) == 0:
		return ""
	case takes.Memory > memory:
		return fmt.Sprintf("cannot_place: stage %s needs %s; largest node %s", stage.Name, formatSize(takes.Memory), formatSize(memory))
	case takes.Slots > slots:
		return fmt.Sprintf("cannot_place: stage %s needs %d slots; largest node %d", stage.Name, takes.Slots, slots)
	}
	return fmt.Sprintf("cannot_place: stage %s needs %s and %d slots; no node has both", stage.Name, formatSize(takes.Memory), cmp.Or(takes.Slots, 1))
}

// formatSize writes a number of bytes in the largest unit in which it is at least
// 1, with one digit behind the point if it is not whole.
func formatSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	size, i := float64(n), 0
	for size >= 1024 && i < len(units)-1 {
		size, i = size/1024, i+1
	}
	if size == float64(int64(size)) {
		return fmt.Sprintf("%d %s", int64(size), units[i])
	}
	return fmt.Sprintf("%.1f %s", size, units[i])
}
