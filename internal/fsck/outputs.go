package fsck

import (
	"context"
	"strings"

	"stint"
	"stint/internal/coord"
	"stint/internal/object"
)

// lookAtOutput looks at what an execution has put out: parts that are staged, or
// the output itself.
func (l *look) lookAtOutput(ctx context.Context, s *subject) error {
	status := s.state.Status()
	if !s.state.Settled() {
		if err := l.lookForFiles(ctx, s.state.Files(), s.id, string(s.id)); err != nil {
			return err
		}
		if v := status; v == stint.Terminating || v == stint.ExecutionFailed || s.elsewhere {
			return nil // what is staged goes away, or is another service's
		}
		return l.lookAtStaged(ctx, s.id, s.state)
	}
	location := s.loaded.Request.Output
	if location == "" {
		return nil
	}
	f, err := l.check.Access.Examine(ctx, location, s.id)
	if err != nil {
		return err
	}
	if err := l.lookForStrayStaging(ctx, location); err != nil {
		return err
	}
	if f.Staging && status != stint.CompletedErrors {
		l.find(StagingLeft, s.id, location, "%s is over, and parts of it are still staged", s.id)
	}
	if status != stint.Completed && status != stint.CompletedErrors {
		return nil
	}
	parts := s.state.StagedParts()
	if f.Begun && !f.Taken {
		l.find(CommitLeft, s.id, location, "%s is %s, and the mark of its commit is still there", s.id, status)
	}
	own := strings.HasPrefix(location, l.location+"/")
	code, text, look := judgeOutput(s.id, status, f, parts, own)
	if code != "" {
		l.find(code, s.id, location, "output of %s: %s", s.id, text)
	} else if text != "" {
		l.pass(location, "output of %s: %s", s.id, text)
	}
	if !look {
		return nil
	}
	said := f.Manifest.Parts
	if len(parts) > 0 {
		said = make([]object.ManifestPart, len(parts))
		for i, p := range parts {
			said[i] = object.PartOf(p)
		}
	}
	return l.verifyParts(ctx, s.id, location, said)
}

// verifyParts reads the parts of an output.
func (l *look) verifyParts(ctx context.Context, x stint.ExecutionID, location string, parts []object.ManifestPart) error {
	return each(ctx, parts, func(ctx context.Context, p object.ManifestPart) error {
		n, err := l.check.Access.VerifyPart(ctx, location, p)
		l.count(func(c *Looked) { c.Parts++; c.Bytes += n })
		return l.judgePart(err, PartMissing, PartDamaged, x, location+"/"+p.Name)
	})
}

// judgePart makes a finding of an error that says that a part is not there or not what
// it was; others it returns.
func (l *look) judgePart(err error, missing, damaged Code, x stint.ExecutionID, where string) error {
	code := stint.CodeOf(err)
	if code == stint.NotFound {
		l.find(missing, x, where, "a part of the output of %s is not there", x)
		return nil
	}
	if code == stint.Lost {
		l.find(damaged, x, where, "a part of the output of %s is not what it was: %s", x, err)
		return nil
	}
	return err
}

// lookAtStaged reads the parts that an execution has staged. Those of a commit that has
// begun may have their names already.
func (l *look) lookAtStaged(ctx context.Context, x stint.ExecutionID, state *coord.State) error {
	location := state.Spec().Output
	if location == "" || state.Status() == stint.Queued {
		return nil
	}
	f, err := l.check.Access.Examine(ctx, location, x)
	if err != nil {
		return err
	}
	named := f.Begun || f.Manifest != nil && f.Manifest.Execution == x
	if f.Success && f.Manifest == nil && f.Bad == nil && f.Staging && !f.Begun && !f.Taken && !state.Overwrites() {
		l.find(SuccessUnfounded, x, location, "there is a _SUCCESS, and the output of %s is not committed", x)
	}
	return each(ctx, state.StagedParts(), func(ctx context.Context, p stint.Part) error {
		n, err := l.check.Access.VerifyStaged(ctx, location, x, p)
		if stint.CodeOf(err) == stint.NotFound && named {
			n, err = l.check.Access.VerifyPart(ctx, location, object.PartOf(p))
		}
		l.count(func(c *Looked) { c.Parts++; c.Bytes += n })
		return l.judgePart(err, StagedMissing, StagedDamaged, x, location+"/_stint/"+string(x)+"/"+p.Name)
	})
}
