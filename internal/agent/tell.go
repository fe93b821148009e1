package agent

import (
	"time"

	"stint/internal/link"
)

// sendBeat says that this node lives, and looks at the room on its disk.
func (l *loop) sendBeat(now time.Time) {
	if now.Sub(l.beat) < link.BeatInterval {
		return
	}
	l.beat = now
	free, err := l.folder.freeBytes()
	if full := err != nil || free < minFree; full != l.full {
		l.full = full
		l.logger.Warn("room on disk changed", "path", l.folder.dir, "bytes", free, "err", err)
	}
	busy := 0
	for _, s := range l.slots {
		if len(s.queue) > 0 {
			busy++
		}
	}
	l.say(link.AgentMessage{Beat: &link.Beat{Time: now.UnixMilli(), Free: free, Busy: busy}})
}

// say sends a message if there is a session with room for it.
func (l *loop) say(m link.AgentMessage) bool {
	if l.session.out == nil {
		return false
	}
	select {
	case l.session.out <- m:
		return true
	default:
		return false
	}
}

// tell sends reports: all that are not acknowledged, then new ones, of which at
// most one per execution and reportEvery. It returns when to try again.
func (l *loop) tell(now time.Time) time.Duration {
	next := idleWake
	for _, x := range l.ledger.Executions() {
		e := l.execution(x)
		open := l.ledger.Unacked(x, 0)
		if l.session.out != nil && l.ledger.Pending(x) && len(open) < maxReports && (len(open) == 0 || now.Sub(e.told.at) >= reportEvery) {
			l.ledger.Report(x)
			e.told.at = now
		}
		for _, r := range l.ledger.Unacked(x, e.told.seq) {
			if !l.say(link.AgentMessage{Report: r}) {
				break
			}
			e.told.seq = r.Seq
		}
		if l.session.out != nil && l.ledger.Pending(x) {
			next = reportEvery
		}
	}
	return next
}
