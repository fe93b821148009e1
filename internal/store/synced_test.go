package store

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"
)

// pages are the parts of a file that may not be on disk, by where they begin.
type pages map[int64]bool // true: lost, unless it is written again

// synced follows the system calls of a writer with what a power cut would leave of
// them: a write is there once a sync has succeeded; what was written before a sync
// that failed may never be there, whatever later syncs say.
type synced struct {
	t           *testing.T
	record, log pages
	mark        bool // removed, in a folder that is not synced
}

// checkSynced checks the order of writes and syncs:
//
//   - a step is acknowledged when all of the log is synced;
//   - nothing is acknowledged after a sync of the log has failed, until the record
//     is opened again;
//   - the log is emptied or begun anew when all of the record is synced;
//   - nothing is written into the log, nor is it removed, while the removal of the
//     mark of an open record is not synced.
func (w *traced) checkSynced(t *testing.T) {
	t.Helper()
	s := &synced{t: t, record: make(pages), log: make(pages)}
	for i, c := range w.calls {
		switch filepath.Base(c.path) {
		case "record.db":
			s.record.follow(c)
		case "record.db-wal":
			s.followLog(i, c)
		case "record.db" + openSuffix:
			s.mark = s.mark || strings.HasPrefix(c.name, "unlink") && !c.failed
		case filepath.Base(w.folder):
			s.mark = s.mark && (c.name != "fsync" || c.failed)
		}
		if c.acks && len(s.log) > 0 {
			t.Errorf("call %d: a step is acknowledged while %d parts of the log are not on disk", i, len(s.log))
		}
	}
}

func (s *synced) followLog(i int, c call) {
	s.t.Helper()
	over := strings.HasPrefix(c.name, "unlink") || c.name == "ftruncate" || c.name == "pwrite64" && c.offset == 0
	if over && len(s.record) > 0 {
		s.t.Errorf("call %d: %s ends the log while %d parts of the record are not on disk", i, c.name, len(s.record))
	}
	if s.mark && c.name != "fsync" && c.name != "fdatasync" {
		s.t.Errorf("call %d: %s of the log before the mark is surely gone", i, c.name)
	}
	s.log.follow(c)
	if over && !c.failed && c.name != "pwrite64" {
		clear(s.log)
	}
}

// follow follows one call.
func (p pages) follow(c call) {
	switch {
	case c.name == "pwrite64":
		p[c.offset] = false
	case c.name != "fsync" && c.name != "fdatasync":
	case c.failed:
		for at := range p {
			p[at] = true
		}
	default:
		maps.DeleteFunc(p, func(_ int64, lost bool) bool { return !lost })
	}
}

func TestAWriterSyncsBeforeItTells(t *testing.T) {
	t.Parallel()
	w := trace(t, "")
	w.checkSynced(t)
	w.checkKept(t)
	if done, _ := w.steps(); done == 0 {
		t.Errorf("the writer said %q\n%s", w.said, w.errors)
	}
}
