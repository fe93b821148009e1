package server

import (
	"sync"
	"time"

	"stint/internal/coord"
)

// steady is the time that states are driven by: that of the wall clock, but it never
// stands still nor goes back when that is set back. What is waited for would not come
// for as long. Safe for concurrent use: who has read its clocks before another and
// comes after it is told the time that the other was told.
type steady struct {
	mu   sync.Mutex
	ran  time.Duration // of the process, when the time was read last
	read int64         // the time then, in ms since 1970
}

// millis returns the time, in ms since 1970: wall is what the wall clock says when the
// process has run for so long.
func (c *steady) millis(wall int64, ran time.Duration) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	ran = max(ran, c.ran)
	passed := (ran - c.ran).Truncate(time.Millisecond) // the rest counts later
	c.ran, c.read = c.ran+passed, c.read+passed.Milliseconds()
	if wall > c.read {
		c.ran, c.read = ran, wall
	}
	return c.read
}

// millis is the time of this server, for all that states say and are told.
func (s *Server) millis() int64 {
	now := time.Now()
	return s.clock.millis(now.UnixMilli(), now.Sub(s.began))
}

// millis is the time as a drive's state sees it: it goes on from its latest record.
func (d *drive) millis() int64 { return d.server.millis() + d.ahead }

// millisOf is the time as a state sees it that no drive has: it is not before its
// latest record.
func (s *Server) millisOf(st *coord.State) int64 { return max(s.millis(), st.Latest()) }
