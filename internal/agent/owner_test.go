package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stint"
	"stint/internal/object"
)

// claimed makes the saved state of an execution that services have claimed one
// after the other, and stages for it.
func claimed(t *testing.T, services ...string) (p *peer, saved, output string) {
	t.Helper()
	s := newService(t)
	saved = filepath.Join(must(object.Path(s.storage))(t), "saved", string(execX))
	if err := os.MkdirAll(saved, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, name := range services {
		writeText(t, filepath.Join(saved, fmt.Sprintf("owner-%06d", i+1)), fmt.Sprintf(`{"generation":%d,"service":%q,"address":"at-%s"}`, i+1, name, name))
	}
	writeText(t, filepath.Join(saved, "pack-1"), "")
	p, _ = s.start(t, nodeA, t.TempDir(), 1)
	output = filepath.Join(t.TempDir(), "out")
	if r := p.errand(t, stint.Errand{ID: "p", Kind: stint.ErrandProbe, Execution: execX, Output: output}); r.Error != nil {
		t.Fatal(r.Error)
	}
	return p, saved, output
}

func names(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return "nothing"
	}
	if err != nil {
		t.Fatal(err)
	}
	all := make([]string, len(list))
	for i, e := range list {
		all[i] = e.Name()
	}
	return strings.Join(all, " ")
}

func TestAWordOfTheEndStaysForOtherServicesOnly(t *testing.T) {
	t.Parallel()
	for _, kind := range []stint.ErrandKind{stint.ErrandCommit, stint.ErrandClear} {
		for want, services := range map[string][]string{"nothing": {"a", "a"}, "ended": {"a", "b"}} {
			p, saved, output := claimed(t, services...)
			e := stint.Errand{ID: "e", Kind: kind, Execution: execX, Output: output, Generation: 2, Ended: stint.Terminated, Keep: 1 << 20}
			for range 2 { // it may be asked for again
				if r := p.errand(t, e); r.Error != nil || names(t, saved) != want {
					t.Errorf("%s by %v: %v, left is %s", kind, services, r.Error, names(t, saved))
				}
			}
			if want == "nothing" {
				continue
			}
			writeText(t, filepath.Join(saved, "pack-2"), "")
			p.errand(t, e)
			if left := names(t, saved); left != "ended" {
				t.Errorf("an end that was cut short left %s", left)
			}
			var ended stint.Ended
			if err := json.Unmarshal(must(os.ReadFile(filepath.Join(saved, "ended")))(t), &ended); err != nil {
				t.Fatal(err)
			}
			if ended.Status != e.Ended || ended.Service != "b" || ended.Address != "at-b" || ended.Generation != 2 || ended.Output != output || ended.Until.Sub(ended.At) != (1<<20)*time.Second {
				t.Errorf("it says %+v", ended)
			}
		}
	}
}

func TestWhatHasEndedIsNeitherCommittedNorClearedByOthers(t *testing.T) {
	t.Parallel()
	p, saved, output := claimed(t, "a", "b")
	writeText(t, filepath.Join(saved, "ended"), `{"status":"terminated","generation":2,"service":"b","address":"at-b"}`)
	for _, generation := range []uint64{0, 1, 3} {
		r := p.errand(t, stint.Errand{ID: "c", Kind: stint.ErrandCommit, Execution: execX, Output: output, Generation: generation})
		if r.Error == nil || r.Error.Code != stint.Conflict || !strings.Contains(r.Error.Message, "was terminated by service b on at-b") {
			t.Errorf("commit in generation %d: %v", generation, r.Error)
		}
		r = p.errand(t, stint.Errand{ID: "r", Kind: stint.ErrandClear, Execution: execX, Output: output, Generation: generation})
		if _, err := os.Stat(filepath.Join(output, "_stint", string(execX))); r.Error != nil || err != nil || !strings.HasPrefix(names(t, saved), "ended") {
			t.Errorf("clear in generation %d: %v, staged: %v, left is %s", generation, r.Error, err, names(t, saved))
		}
	}
}

func TestAClearWaitsForAStorageThatCannotBeRead(t *testing.T) {
	t.Parallel()
	p, saved, output := claimed(t, "a")
	root := filepath.Dir(saved)
	if err := os.Rename(root, root+"-away"); err != nil {
		t.Fatal(err)
	}
	writeText(t, root, "a file")
	if r := p.errand(t, stint.Errand{ID: "r", Kind: stint.ErrandClear, Execution: execX, Output: output, Generation: 1}); r.Error == nil || r.Error.Code != stint.Unavailable {
		t.Errorf("clear: %v", r.Error)
	}
}

// An execution is terminated while, or after, a commit of it is done at a node: when
// that is cleared, it has no output, and others are told how it has ended.
// What a word about the end says decides what is done: one that cannot be read is not
// taken for another's.
func TestAnEndThatCannotBeReadIsWaitedFor(t *testing.T) {
	t.Parallel()
	p, saved, output := claimed(t, "a", "b")
	commit := stint.Errand{ID: "c", Kind: stint.ErrandCommit, Execution: execX, Output: output, Generation: 2, Stint: 3, Ended: stint.Completed}
	if r := p.errand(t, commit); r.Error != nil || names(t, saved) != "ended" {
		t.Fatalf("commit: %v, saved %s", r.Error, names(t, saved))
	}
	word := must(os.ReadFile(filepath.Join(saved, "ended")))(t)
	writeText(t, filepath.Join(saved, "ended"), "")
	clearing := stint.Errand{ID: "r", Kind: stint.ErrandClear, Execution: execX, Output: output, Generation: 2, Stint: 3, Ended: stint.Terminated}
	if r := p.errand(t, clearing); r.Error == nil || r.Error.Code != stint.Unavailable || names(t, output) == "nothing" {
		t.Errorf("clear: %v, there is %s", r.Error, names(t, output))
	}
	writeText(t, filepath.Join(saved, "ended"), string(word))
	if r := p.errand(t, clearing); r.Error != nil || names(t, output) != "nothing" {
		t.Errorf("clear, when it can be read: %v, there is %s", r.Error, names(t, output))
	}
}

func TestAClearTakesBackWhatACommitOfItsStintHasDone(t *testing.T) {
	t.Parallel()
	for want, services := range map[string][]string{"nothing": {"a", "a"}, "ended": {"a", "b"}} {
		p, saved, output := claimed(t, services...)
		commit := stint.Errand{ID: "c", Kind: stint.ErrandCommit, Execution: execX, Output: output, Generation: 2, Stint: 3, Ended: stint.Completed}
		if r := p.errand(t, commit); r.Error != nil || names(t, output) != "_SUCCESS _manifest.json" || names(t, saved) != want {
			t.Errorf("by %v: commit: %v, there is %s, saved %s", services, r.Error, names(t, output), names(t, saved))
		}
		clearing := stint.Errand{ID: "r", Kind: stint.ErrandClear, Execution: execX, Output: output, Generation: 2, Stint: 3, Ended: stint.Terminated}
		for range 2 {
			if r := p.errand(t, clearing); r.Error != nil || names(t, output) != "nothing" || names(t, saved) != want {
				t.Errorf("by %v: clear: %v, there is %s, saved %s", services, r.Error, names(t, output), names(t, saved))
			}
			if r := p.errand(t, commit); r.Error == nil || names(t, output) != "nothing" {
				t.Errorf("by %v: a commit that came late: %v, there is %s", services, r.Error, names(t, output))
			}
		}
		if want == "nothing" {
			continue
		}
		var ended stint.Ended
		if err := json.Unmarshal(must(os.ReadFile(filepath.Join(saved, "ended")))(t), &ended); err != nil || ended.Status != stint.Terminated || ended.Service != "b" {
			t.Errorf("it says %+v, %v", ended, err)
		}
	}
}
