package sim

import "slices"

// shrinking makes a schedule that breaks a law smaller, as long as it breaks the
// same law.
type shrinking struct {
	run   func(schedule) result
	law   string
	best  schedule
	ended int64 // when the best breaks the law
	tries int   // runs that are left
}

// shrink returns a schedule with as few faults as it finds in so many runs, and as
// short. It first drops runs of instances, half of all at a time, then shorter ones, then
// single ones; and then has the faults end earlier.
func shrink(run func(schedule) result, s schedule, broken *result, tries int) schedule {
	h := &shrinking{run: run, law: broken.law(), best: s, ended: broken.ended, tries: tries}
	if tries == 0 || !h.try(s.exactly(broken.happened)) {
		return s
	}
	for h.drop() && h.tries > 0 {
	}
	h.shorten()
	return h.best
}

// try keeps a schedule if it breaks the law.
func (h *shrinking) try(s schedule) bool {
	if h.tries == 0 {
		return false
	}
	h.tries--
	r := h.run(s)
	if r.law() != h.law {
		return false
	}
	s = s.exactly(r.happened) // what did not come is not of it
	h.best, h.ended = s, r.ended
	return true
}

// drop tries without ever shorter runs of instances, and reports whether that made
// the schedule smaller.
func (h *shrinking) drop() (smaller bool) {
	before := len(h.best.only)
	for length := (before + 1) / 2; length > 0; length /= 2 {
		for at := 0; at < len(h.best.only); {
			s := h.best
			s.only = slices.Delete(slices.Clone(s.only), at, min(at+length, len(s.only)))
			if !h.try(s) {
				at += length
			}
		}
	}
	for _, p := range h.best.at {
		s := h.best
		s.at = slices.DeleteFunc(slices.Clone(s.at), func(o placement) bool { return o == p })
		h.try(s)
	}
	return len(h.best.only) < before
}

// shorten has the faults end earlier, if they have not all happened before.
func (h *shrinking) shorten() {
	least, most := int64(0), faultTime
	if h.best.heal > 0 {
		most = h.best.heal
	}
	if h.ended < most {
		return // the run ends with the law
	}
	for most-least > second {
		s := h.best
		s.heal = (least + most) / 2 / millisecond * millisecond
		if h.try(s) {
			most = s.heal
		} else {
			least = s.heal
		}
	}
}
