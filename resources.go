package stint

import "math/bits"

// FitIn reports whether a node with so many slots and so many bytes of memory has
// what one operation takes. Memory of 0 is not known, and enough.
func (r Resources) FitIn(slots int, memory int64) bool {
	return r.Slots <= slots && (memory == 0 || r.Memory <= memory)
}

// Weight returns how many slots of such a node one operation takes, at least 1:
// those that it names, or those whose share of the memory it needs.
func (r Resources) Weight(slots int, memory int64) int {
	weight := max(r.Slots, 1)
	switch {
	case r.Memory <= 0 || memory <= 0:
		return weight
	case r.Memory >= memory:
		return max(weight, slots)
	}
	high, low := bits.Mul64(uint64(r.Memory), uint64(slots))
	share, rest := bits.Div64(high, low, uint64(memory)) // less than slots
	if rest > 0 {
		share++
	}
	return max(weight, int(share))
}
