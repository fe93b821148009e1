package fsck

import (
	"context"

	"stint/internal/store"
)

// lookAtDrafts compares what the record has of submissions that were being prepared
// with what it lists and with what is staged. While the service runs, a draft is a
// submission in progress.
func (l *look) lookAtDrafts(ctx context.Context) error {
	if l.db == nil {
		return nil
	}
	drafts, err := l.db.Drafts(ctx)
	if err != nil {
		return l.badRecord(ctx, err)
	}
	for _, d := range drafts {
		l.drafts[d.Execution] = true
		if l.known[d.Execution] {
			if !l.concerns(d.Execution) {
				continue
			}
			l.find(DraftStray, d.Execution, l.recordPath(), "%s is listed, and is a draft as well: a service that starts removes what is staged for it at %s", d.Execution, d.Output)
			continue
		}
		if l.running || l.only != nil {
			continue
		}
		if err := l.lookAtDraft(ctx, d); err != nil {
			if err = l.unreachable(ctx, d.Output, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookAtDraft says what a submission that came to nothing has left. It may have
// ended before it left anything but the draft.
func (l *look) lookAtDraft(ctx context.Context, d store.Draft) error {
	f, err := l.check.Access.Examine(ctx, d.Output, d.Execution)
	if err != nil {
		return err
	}
	left := "nothing is staged"
	if f.Staging {
		left = "a folder is staged"
	}
	l.find(DraftLeft, d.Execution, d.Output, "the submission of %s came to nothing; %s for it", d.Execution, left)
	return nil
}

// lookForStrayStaging finds what is staged at a location for executions that the record
// does not know, once at each location.
func (l *look) lookForStrayStaging(ctx context.Context, location string) error {
	if l.staging[location] || l.running || l.only != nil {
		return nil
	}
	l.staging[location] = true
	list, err := l.check.Access.Stagers(ctx, location)
	if err != nil {
		return err
	}
	for _, x := range list {
		if !l.known[x] && !l.drafts[x] {
			l.find(StagingStray, x, location, "something is staged for %s, which the record does not know", x)
		}
	}
	return nil
}
