package server

import (
	"maps"

	"stint"
	"stint/internal/object"
)

// reserve gives an output location to an execution that is not over, and returns
// who has it: another, if it was given away already.
func (f *fleet) reserve(location string, id stint.ExecutionID) stint.ExecutionID {
	if canonical, err := object.ParseLocation(location); err == nil {
		location = canonical
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if holder, taken := f.outputs[location]; taken {
		return holder
	}
	f.outputs[location] = id
	return id
}

// outputTaken refuses an output location that belongs to another execution.
func (f *fleet) outputTaken(location string, holder stint.ExecutionID) error {
	if d := f.drive(holder); d != nil && d.public.current() == stint.Suspended {
		return stint.Errorf(stint.Conflict, "output %.200q: execution %s, which is suspended, writes there; resume or terminate it, or give another location", location, holder)
	}
	return stint.Errorf(stint.Conflict, "output %.200q: execution %s is writing there; wait for its end, or give another location", location, holder)
}

// free gives back what an execution reserved.
func (f *fleet) free(id stint.ExecutionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.release(id)
}

func (f *fleet) release(id stint.ExecutionID) {
	maps.DeleteFunc(f.outputs, func(_ string, holder stint.ExecutionID) bool { return holder == id })
}
