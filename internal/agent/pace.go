package agent

import "time"

// A worker is handed as many operations as it performs in aheadTime, so that
// it need not ask between short ones, and none ahead of a long one, which then
// can still go to another slot or back to the server.
const (
	aheadTime = 60 * time.Millisecond
	maxDepth  = 1024
	maxBatch  = 512           // orders in one message
	maxStops  = 16            // messages to stop that a worker has not taken
	longAfter = 5 * aheadTime // that nothing ended, a worker gives back what it has not begun
)

// pace is how fast one worker performs operations of one stage, and how many
// it may have in hand because of that.
type pace struct {
	stage int
	depth int
	each  time.Duration // one operation takes, smoothed; 0: not known yet
	since time.Time     // of the last measurement, or of the end of idleness
}

// begin says that a worker without anything to do is handed operations.
func (p *pace) begin(stage int, now time.Time) {
	if p.stage != stage || p.depth == 0 {
		*p = pace{stage: stage, depth: 1}
	}
	p.since = now
}

// ended says that n operations have ended since the last time.
func (p *pace) ended(n int, now time.Time) {
	each := now.Sub(p.since) / time.Duration(n)
	p.since = now
	if p.each > 0 {
		each = (p.each + each) / 2
	}
	p.each = max(each, 1)
	ahead := int(min(aheadTime/p.each, maxDepth))
	p.depth = min(1+ahead, 2*p.depth+1, maxDepth)
}

// tooLong reports whether a worker that may have several operations in hand is
// busier with one than it was expected to be with all.
func (p *pace) tooLong(now time.Time) bool { return p.depth > 1 && now.Sub(p.since) >= longAfter }

// slowed says that what is in progress takes long: nothing waits behind it.
func (p *pace) slowed(now time.Time) { p.each, p.depth = max(p.each, now.Sub(p.since)), 1 }

// room returns how many more operations a worker that has queued may be handed.
func (p *pace) room(queued int) int { return max(p.depth, 1) - queued }
