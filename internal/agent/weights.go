package agent

// Operations of a stage may take more of the node than a slot's share. What is in
// hand weighs no more than there are slots, but one operation may always be
// performed alone.

// weight returns how many slots an operation of a stage takes here.
func (l *loop) weight(e *execution, stage int) int {
	return e.spec.Stages[stage].Resources.Weight(len(l.slots), l.hello.Memory)
}

// weightNext is weight for the operation of an execution that comes next.
func (l *loop) weightNext(e *execution) int {
	if len(e.ready) > 0 {
		return l.weight(e, e.ready[0].grant.Stage)
	}
	if g, ok := l.ledger.Front(e.id); ok {
		return l.weight(e, g.Stage)
	}
	return 1
}

// admit reports whether a slot with nothing in hand may begin with an operation of
// a stage. If there is no room for it, and nothing of its execution is in hand, the
// slots are emptied: an execution of light operations would keep one of heavy
// operations out for ever.
func (l *loop) admit(e *execution, stage int) bool {
	inHand, own := 0, false
	for _, s := range l.slots {
		if len(s.queue) > 0 {
			inHand += s.weight
			own = own || s.execution == e.id
		}
	}
	if inHand == 0 || inHand+l.weight(e, stage) <= len(l.slots) {
		l.reserved = ""
		return true
	}
	if !own {
		l.reserved = e.id
	}
	return false
}

// checkReserved ends a reservation that is of no use any more.
func (l *loop) checkReserved() {
	e := l.executions[l.reserved]
	for _, s := range l.slots {
		if e != nil && len(e.ready) > 0 && s.execution == e.id && s.ready && !s.drain && len(s.queue) == 0 {
			return
		}
	}
	l.reserved = ""
}
