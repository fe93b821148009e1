package object

import (
	"bytes"
	"path/filepath"
	"testing"

	"stint"
)

// commitIn commits in a turn of ours.
func (g ground) commitIn(t *testing.T, turn Turn, parts []stint.Part, missing ...stint.Missing) error {
	t.Helper()
	turn.Execution = ours
	_, err := g.access.Commit(t.Context(), g.root+"/out", turn, "prog@blake3:00", parts, false, missing...)
	return err
}

// ruleTakenBack: clearing takes back the output of its own turn, and that alone.
func ruleTakenBack(t *testing.T, g ground) {
	t.Helper()
	parts := g.stage(t, "out", ours, "one\n", "two\n")
	made := Turn{Generation: 2, Stint: 3}
	check(t, g.commitIn(t, made, parts))
	for _, other := range []Turn{{}, {Generation: 2}, {Generation: 2, Stint: 2}, {Generation: 2, Stint: 4}, {Generation: 1, Stint: 3}} {
		other.Execution = ours
		check(t, g.access.Clear(t.Context(), g.root+"/out", other))
		g.checkIs(t, "out", ours, "one\n", "two\n")
	}
	check(t, g.access.Clear(t.Context(), g.root+"/out", Turn{Execution: theirs, Generation: 2, Stint: 3}))
	g.checkIs(t, "out", ours, "one\n", "two\n")
	owner := made
	owner.Execution, owner.Generation = ours, 3 // the commit of one that has lost it came late
	for range 2 {
		check(t, g.access.Clear(t.Context(), g.root+"/out", owner))
		if left := g.found(t, ""); len(left) > 0 {
			t.Errorf("left %v", left)
		}
		if err := g.commitIn(t, made, parts); stint.CodeOf(err) != stint.Lost && stint.CodeOf(err) != stint.NotFound { // the folder is gone, too
			t.Errorf("a commit that came late: %v", err)
		}
	}
	if left := g.found(t, ""); len(left) > 0 {
		t.Errorf("a commit that came late left %v", left)
	}
}

// ruleEarlierTurn: what a later commit has done, or has begun to do, stays when an
// earlier one comes.
func ruleEarlierTurn(t *testing.T, g ground) {
	t.Helper()
	early := g.stage(t, "out", ours, "one\n", "three without two\n")
	early[1].Op = 2
	late := []stint.Part{early[0], g.stageOne(t, "out", ours, 1, "op-b-2", "two\n")}
	again := []stint.Part{early[0], g.stageOne(t, "out", ours, 2, "op-c-2", "three without two\n")}
	all := []stint.Part{early[0], g.stageOne(t, "out", ours, 1, "op-b-3", "two\n"), g.stageOne(t, "out", ours, 2, "op-c-3", "three\n")}
	holds := func(turn Turn) {
		t.Helper()
		m, err := g.access.ReadManifest(t.Context(), g.root+"/out")
		if err != nil || m.Stint != turn.Stint || m.Generation != turn.Generation {
			t.Errorf("after the commit of %+v: %+v, %v", turn, m, err)
		}
	}
	first, second, third := Turn{Generation: 1, Stint: 4}, Turn{Generation: 1, Stint: 5}, Turn{Generation: 2, Stint: 5}
	check(t, g.commitIn(t, first, early, lacking("map-1")))
	check(t, g.commitIn(t, second, late, lacking("map-2")))
	holds(second)
	wantCode(t, g.commitIn(t, first, early, lacking("map-1")), stint.Conflict, "stint 5 of "+string(ours))
	holds(second)
	check(t, g.commitIn(t, third, again, lacking("map-1")))
	holds(third)
	wantCode(t, g.commitIn(t, second, late, lacking("map-2")), stint.Conflict, "stint 5 of "+string(ours))
	holds(third)

	in, err := makeIntent(Turn{Execution: ours, Generation: 3, Stint: 6}, "prog@blake3:00", all, nil)
	check(t, err)
	p, err := g.access.placeOf(g.root+"/out", ours)
	check(t, err)
	switch p := p.(type) {
	case outputFolder:
		check(t, p.reopen(t.Context(), in))
		check(t, p.prepare(t.Context(), in, false))
	case outputPrefix:
		was, err := p.readTop(t.Context())
		check(t, err)
		check(t, p.begin(t.Context(), in, was, begun{}, false))
	}
	wantCode(t, g.commitIn(t, second, late, lacking("map-2")), stint.Conflict, string(ours))
	check(t, g.commitIn(t, Turn{Generation: 3, Stint: 6}, all))
	g.checkIs(t, "out", ours, "one\n", "two\n", "three\n")
}

// rulePartialKept: an output that lacks something is taken back by its very turn, not
// by that of a later owner, which numbers its stints alike.
func rulePartialKept(t *testing.T, g ground) {
	t.Helper()
	parts := g.stage(t, "out", ours, "one\n")
	made := Turn{Execution: ours, Generation: 2, Stint: 3}
	check(t, g.commitIn(t, made, parts, lacking("map-1")))
	later := made
	later.Generation = 3
	check(t, g.access.Clear(t.Context(), g.root+"/out", later))
	m, err := g.access.ReadManifest(t.Context(), g.root+"/out")
	if err != nil || m.Generation != 2 || !m.isIncomplete() {
		t.Errorf("after a later owner has cleared: %+v, %v", m, err)
	}
	check(t, g.access.Clear(t.Context(), g.root+"/out", made))
	if left := g.found(t, ""); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestAnOutputThatIsTakenBackIsWholeOrNone(t *testing.T) {
	t.Parallel()
	turn := Turn{Execution: ours, Stint: 1}
	for n, ended := 0, false; !ended; n++ {
		dir := filepath.Join(t.TempDir(), "out")
		parts := stageParts(t, dir, ours, "one\n", "", "three\n")
		if _, err := new(Access).Commit(t.Context(), dir, turn, "prog@blake3:00", parts, false); err != nil {
			t.Fatal(err)
		}
		left := n
		err := new(Access).Clear(dying{t.Context(), &left}, dir, turn)
		if err != nil && stint.CodeOf(err) != stint.Canceled {
			t.Fatalf("step %d: %v", n, err)
		}
		if ended = err == nil; ended && n < 4 {
			t.Errorf("only %d steps", n)
		}
		if _, err := new(Access).ReadManifest(t.Context(), dir); err == nil {
			var all bytes.Buffer
			if _, err := new(Access).Copy(t.Context(), &all, dir, AllParts); err != nil || all.String() != "one\nthree\n" {
				t.Errorf("step %d: an output that is there gives %q, %v", n, all.String(), err)
			}
		} else if exists(filepath.Join(dir, successName)) {
			t.Errorf("step %d: %s without a manifest", n, successName)
		}
		if err := new(Access).Clear(t.Context(), dir, turn); err != nil {
			t.Errorf("step %d: again: %v", n, err)
		}
		if exists(dir) {
			t.Errorf("step %d: left %v", n, files(t, dir))
		}
	}
}
