package server

import (
	"context"
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/sched"
)

// idleRound is how often the scheduler looks without being asked: retries come
// due and cool-downs end without an event.
const idleRound = 250 * time.Millisecond

// decided is what the scheduler decided for one drive so far.
type decided struct {
	version uint64 // of the demands that it was decided on last
	posted  int    // decisions
}

// place runs the scheduler's rounds. A demand that was acted on is not acted on
// again before the drive has published a newer one that takes into account all
// that was decided.
func (s *Server) place(ctx context.Context) error {
	acted := make(map[*drive]decided)
	tick := time.NewTicker(idleRound)
	defer tick.Stop()
	for round := uint64(0); ; round++ {
		select {
		case <-s.wanted:
		case <-tick.C:
			for _, d := range s.fleet.liveDrives() {
				if d.public.current() != stint.Suspended {
					d.refresh()
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		s.placeOnce(round, acted)
	}
}

func (s *Server) placeOnce(round uint64, acted map[*drive]decided) {
	drives := make(map[stint.ExecutionID]*drive)
	versions := make(map[stint.ExecutionID]uint64)
	snap := sched.Snapshot{Round: round, Nodes: s.fleet.readyNodes()}
	for _, d := range s.fleet.liveDrives() {
		demands, version, taken := d.public.read()
		drives[d.id], versions[d.id] = d, version
		if was := acted[d]; version == was.version || taken < was.posted {
			demands = withoutReady(demands)
		}
		snap.Demands = append(snap.Demands, demands...)
	}
	for d := range acted {
		if drives[d.id] != d {
			delete(acted, d)
		}
	}
	for _, decision := range sched.Place(snap) {
		d := drives[decision.Execution]
		in := input{event: &coord.Event{Assign: decision.Assign, Retract: decision.Retract}, placed: true}
		select {
		case d.inbox <- in:
			acted[d] = decided{version: versions[d.id], posted: acted[d].posted + 1}
		default: // it has enough to do; the next round sees what is left
		}
	}
}

// withoutReady keeps the loads of a demand that was acted on, and nothing to
// act on.
func withoutReady(demands []coord.Demand) []coord.Demand {
	out := make([]coord.Demand, len(demands))
	for i, d := range demands {
		d.Ready, d.Retracting = 0, true
		out[i] = d
	}
	return out
}

func (p *published) read() (demands []coord.Demand, version uint64, taken int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.demands, p.version, p.taken
}

// refresh makes a drive publish anew, if it has room to be told.
func (d *drive) refresh() {
	select {
	case d.inbox <- input{event: &coord.Event{}}:
	default:
	}
}
