package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stint"
)

func TestNoTwoStartsHaveOneNumber(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what        string
		before      stint.Incarnation
		now         int64
		chance      uint64
		least, most stint.Incarnation
	}{
		{"by the clock", 5, 1_700_000_000_000, 7, 1_700_000_000_000, 1_700_000_000_000},
		{"the clock has not moved", 1_700_000_000_000, 1_700_000_000_000, 0, 1_700_000_000_001, 1_700_000_000_001},
		{"the clock is behind", 1_700_000_000_000, 9, 3, 1_700_000_000_004, 1_700_000_000_004},
		{"the clock is before 1970", 0, -9, 0, 1, 1},
	} {
		if got := nextIncarnation(c.before, c.now, c.chance); got < c.least || got > c.most {
			t.Errorf("%s: %d, want %d to %d", c.what, got, c.least, c.most)
		}
	}
}

// A start that is refused, since the clock of one before it was ahead, is the last that is.
func TestTheNextStartOutrunsTheOneThatIsKnown(t *testing.T) {
	t.Parallel()
	const node = oneNode
	dir := t.TempDir()
	f, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.begin(node, "a"), f.close()); err != nil {
		t.Fatal(err)
	}
	own := f.node.Incarnation
	known := own + 1<<40
	if err := f.outrun(known); err != nil || f.node.Incarnation != own {
		t.Fatalf("%v; this start is number %d, was %d", err, f.node.Incarnation, own)
	}
	again, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again.begin(node, "a"), again.close()); err != nil || again.node.Incarnation <= known {
		t.Errorf("%v; the next start is number %d, known is %d", err, again.node.Incarnation, known)
	}
}

// The next start may come while a process that inherited the lock is being started.
func TestAFolderThatIsGivenUpCanBeTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := must(openFolder(dir))(t)
	if _, err := openFolder(dir); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("taken twice: %v", err)
	}
	inherited := must(unix.Dup(int(f.lock.Fd())))(t)
	defer unix.Close(inherited) //nolint:errcheck // nothing is written
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	if err := must(openFolder(dir))(t).close(); err != nil {
		t.Error(err)
	}
}

func TestBubbleARefusedStartIsToldWhichOneIsKnown(t *testing.T) {
	t.Parallel()
	const ahead = 1 << 40
	for name, told := range map[string]bool{"a later start is known": true, "another conflict": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubbles(t, 1, func(b *bubble) {
				t := b.t
				dir := t.TempDir()
				b.up()
				stop := b.nodeOn(dir)
				first := b.next(t).hello.Incarnation
				pass(time.Second) // it is told that it is welcome
				stale := &stint.StaleIncarnation{Node: oneNode, Known: first + ahead, Own: first}
				refusal := stint.Errorf(stint.Conflict, "%s", stale.Error())
				if told {
					refusal = stint.Errorf(stint.Conflict, "%w", stale)
				}
				b.refusal.Store(refusal)
				b.down()
				b.up()
				pass(time.Minute)
				stop()
				b.refusal.Store(nil)
				b.nodeOn(dir)
				if again := b.next(t).hello.Incarnation; again <= first || again > first+ahead != told {
					t.Errorf("the starts were numbers %d and %d, known was %d", first, again, first+ahead)
				}
			})
		})
	}
}

// A start that is refused at once is not welcome before the next one on its folder:
// whoever started the agent starts it again.
func TestBubbleAStartThatIsRefusedAtOnceEnds(t *testing.T) {
	t.Parallel()
	bubbles(t, 1, func(b *bubble) {
		t := b.t
		dir := t.TempDir()
		b.up()
		known := stint.Incarnation(time.Now().UnixMicro()) + 1<<40
		b.refusal.Store(stint.Errorf(stint.Conflict, "%w", &stint.StaleIncarnation{Node: oneNode, Known: known, Own: 1}))
		err := b.agentOn(dir).Run(t.Context())
		if stale, ok := errors.AsType[*stint.StaleIncarnation](err); !ok || stale.Known != known || stint.CodeOf(err) != stint.Unavailable { // with a conflict it would not be started again
			t.Fatal(err)
		}
		b.refusal.Store(nil)
		b.nodeOn(dir)
		if again := b.next(t).hello.Incarnation; again <= known {
			t.Errorf("the next start was number %d, known was %d", again, known)
		}
	})
}

// Of two agents on copies of one folder one gives way: both would take turns for ever.
func TestBubbleOfTwoAgentsOnCopiesOfAFolderOneGivesWay(t *testing.T) {
	t.Parallel()
	bubbles(t, 1, func(b *bubble) {
		t := b.t
		b.up()
		first := b.agentOn(t.TempDir())
		var said bytes.Buffer // written by the agent, and read when it has ended
		first.Logger = slog.New(slog.NewTextHandler(&said, nil))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- first.Run(ctx) }()
		own := b.next(t).hello.Incarnation
		pass(time.Second) // it is told that it is welcome
		b.refusal.Store(stint.Errorf(stint.Conflict, "%w", &stint.StaleIncarnation{Node: oneNode, Known: own + 1, Own: own}))
		b.down()
		b.up()
		pass(time.Hour)
		if len(ended) > 0 {
			t.Error("it ended by itself")
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := strings.Count(said.String(), "copies of one data folder"); n != 1 || !strings.Contains(said.String(), "stale_incarnation") {
			t.Errorf("said %d times in\n%s", n, said.String())
		}
	})
}
