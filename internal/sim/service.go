package sim

import (
	"fmt"
	"slices"

	"stint"
)

// service is one service: its record, the server that owns it now, its nodes.
// Two services share long-term storage, and nothing else.
type service struct {
	world    *world
	index    int
	store    store
	server   *server   // nil: down
	former   []*server // that have not noticed that another has taken over
	skew     int64     // of its clock, in milliseconds
	killing  bool      // the server is killed while its next commit is under way
	machines []*machine
}

// newService starts a service with so many nodes.
func (w *world) newService(nodes int) {
	v := &service{world: w, index: len(w.services)}
	v.store.world = w
	v.store.snapshot = 3 + w.rng.IntN(60)
	w.services = append(w.services, v)
	v.start()
	for range nodes {
		i := w.index()
		m := &machine{world: w, service: v, index: i, name: fmt.Sprintf("node%d", i), slots: 1 + w.rng.IntN(3), slow: 1}
		w.befalls(slowNode, func() { m.slow = 2 + 6*w.rng.Float64() })
		m.replaceFolder()
		v.machines = append(v.machines, m)
		w.machines = append(w.machines, m)
		w.after(w.between(0, 100*millisecond), "boot", m.start)
	}
}

func (w *world) anyService() *service {
	if len(w.services) == 1 {
		return w.services[0]
	}
	return w.services[w.rng.IntN(len(w.services))]
}

// bookOf returns the book of an execution in the service that the agent works for.
func (a *agentProcess) bookOf(x stint.ExecutionID) *book { return a.machine.service.store.of(x).book }

// machineOf finds the machine of the service whose folder is a node's, or nil.
func (v *service) machineOf(id stint.NodeID) *machine {
	if i := slices.IndexFunc(v.machines, func(m *machine) bool { return m.folder.node == id }); i >= 0 {
		return v.machines[i]
	}
	return nil
}
