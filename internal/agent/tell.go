package agent

import (
	"time"

	"stint"
	"stint/internal/failpoint"
	"stint/internal/link"
)

// sendBeat says that this node lives, and looks at the room on its disk.
func (l *loop) sendBeat(now time.Time) {
	if now.Sub(l.beat) < link.BeatInterval {
		return
	}
	l.beat = now
	free, err := l.folder.vacancy()
	if full := err != nil || free.short() != ""; full != l.full {
		l.full = full
		l.logger.Warn("room on disk changed", "path", l.folder.dir, "bytes", free.bytes, "count", free.files, "err", err)
	}
	busy := 0
	for _, s := range l.slots {
		if len(s.queue) > 0 {
			busy++
		}
	}
	l.say(link.AgentMessage{Beat: &link.Beat{Time: now.UnixMilli(), Free: free.bytes, Busy: busy}})
}

// refuseWork gives back what no worker has in hand while the disk is full, and
// says why with one operation of each execution: the others are performed
// elsewhere, or here when there is room.
func (l *loop) refuseWork(now time.Time) {
	why := "it cannot be looked at"
	if free, err := l.folder.vacancy(); err == nil {
		if why = free.short(); why == "" {
			why = "there was no room a moment ago"
		}
	}
	for _, e := range l.each() {
		if l.waiting(e) == e.preparing {
			continue
		}
		l.failOne(&slot{}, e, stint.Errorf(stint.Unavailable, "the disk is full: %s at %s", why, l.folder.dir), now)
		l.dropReady(e)
		l.ledger.GiveUp(e.id)
	}
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

// tell sends reports: all that are not acknowledged, then new ones as pause
// allows. It returns when to try again.
func (l *loop) tell(now time.Time) time.Duration {
	next := idleWake
	for _, x := range l.ledger.Executions() {
		e := l.execution(x)
		open := len(l.ledger.Unacked(x, 0))
		due := e.told.at.Add(l.pause(e, open)).Sub(now)
		if l.session.out != nil && l.ledger.Pending(x) && open < maxReports && due <= 0 {
			failpoint.Reach("report.before-sending")
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
			next = min(next, max(due, reportEvery))
		}
	}
	return next
}

// pause returns the least time between two reports of an execution, of which so
// many are not acknowledged. Each costs the server a commit and a sync, and it
// can wait while the slots have enough to do; else the server is to know at
// once, since it has more to give or is waiting for the last operations.
func (l *loop) pause(e *execution, open int) time.Duration {
	switch {
	case l.waiting(e) > 0:
		return reportBusy
	case open > 0:
		return reportEvery
	}
	return 0
}
