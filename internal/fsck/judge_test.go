package fsck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/block"
	"stint/internal/object"
	"stint/internal/worker"
)

const someone = stint.ExecutionID("x-aaaaaaaaaaaaaaaa")

func TestClaimsAreJudgedByWhoOwnsWhat(t *testing.T) {
	t.Parallel()
	some := []object.Entry{{Key: "saved/x/pack"}}
	state := func(last claim, records ...uint64) savedState {
		s := savedState{keys: some, last: last, claims: map[uint64]bool{}, records: map[uint64]bool{}}
		for g := range last.generation {
			s.claims[g+1] = true
		}
		for _, r := range records {
			s.records[r] = true
		}
		return s
	}
	ended := state(claim{})
	ended.ended = true
	for _, c := range []struct {
		name  string
		want  claims
		saved savedState
		code  Code
		ours  bool
	}{
		{"in progress, never suspended", claims{stint.InProgress, 0}, savedState{}, "", true},
		{"suspended, all there", claims{stint.Suspended, 2}, state(claim{2, true}, 1, 2), "", true},
		{"suspended, taken up elsewhere", claims{stint.Suspended, 2}, state(claim{3, false}, 1, 2), "", false},
		{"suspended, ended elsewhere", claims{stint.Suspended, 2}, ended, "", false},
		{"suspended, all gone", claims{stint.Suspended, 2}, savedState{}, SavedStateGone, false},
		{"suspended, no claim", claims{stint.Suspended, 1}, state(claim{}, 1), ClaimMissing, true},
		{"suspended, no record", claims{stint.Suspended, 2}, state(claim{2, true}, 1), SavedRecordMissing, true},
		{"in progress after a resume, claimed", claims{stint.InProgress, 2}, state(claim{2, true}, 1), "", true},
		{"in progress after a resume, not claimed", claims{stint.InProgress, 3}, state(claim{2, true}, 1), ClaimMissing, true},
		{"in progress, claimed by another", claims{stint.InProgress, 2}, state(claim{3, false}, 1), "", false},
	} {
		v := judgeClaims(someone, c.want, c.saved)
		if v.code != c.code || v.ours != c.ours || (v.text == "") != (c.code == "") {
			t.Errorf("%s: %+v, want %q, ours %t", c.name, v, c.code, c.ours)
		}
	}
}

func TestABlockIsFoundBesideALaterOneThatIsCondemned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := block.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	id, data, log, err := store.CreateSegment(someone)
	if err != nil {
		t.Fatal(err)
	}
	w := block.NewWriter(data, id, 0)
	var list []worker.DoneRecord // the later one first, as in another segment
	for _, end := range []int64{9, 7} {
		idx, err := w.Copy([]block.PartIndex{{Length: 4, Sum: xxh3.HashString("done")}}, strings.NewReader("done"))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, worker.DoneRecord{Op: stint.OpDone{Op: 3, End: end}, Block: &idx})
	}
	bad := []stint.StageOps{{Ops: []stint.Range{{From: 3, To: 4}}}}
	err = errors.Join(store.Add(someone, 0, 3, *list[0].Block), store.Condemn(someone, bad), data.Close(), log.Close(), store.Close())
	if err != nil {
		t.Fatal(err)
	}
	if store, err = block.Open(dir); err == nil {
		err = store.ForgetCondemned(someone)
	}
	ended := make(map[int]map[uint32]int64)
	for i := range list {
		err = errors.Join(err, enter(store, someone, &list[i], ended))
	}
	got, missing := store.Index(someone, 0, 3)
	if err = errors.Join(err, missing, store.Close()); err != nil || got.Offset != list[1].Block.Offset {
		t.Errorf("%+v %v", got, err)
	}
}

func TestOutputsAreJudgedByWhatWasWritten(t *testing.T) {
	t.Parallel()
	parts := []stint.Part{{Op: 0, Name: "part-00000.1", Bytes: 3, Sum: 5}, {Op: 1, Name: "part-00001.1", Bytes: 4, Sum: 6}}
	manifest := func(change func(*object.Manifest)) *object.Manifest {
		m := &object.Manifest{Execution: someone, Parts: []object.ManifestPart{object.PartOf(parts[0]), object.PartOf(parts[1])}}
		if change != nil {
			change(m)
		}
		return m
	}
	lacks := func(m *object.Manifest) { m.Missing = []object.ManifestMissing{{Reason: "it failed"}} }
	for _, c := range []struct {
		name   string
		status stint.ExecutionStatus
		found  object.Found
		own    bool
		code   Code
		look   bool
	}{
		{"whole", stint.Completed, object.Found{Manifest: manifest(nil), Success: true, Parts: 2}, false, "", true},
		{"moved away", stint.Completed, object.Found{}, false, "", false},
		{"gone from storage", stint.Completed, object.Found{}, true, OutputMissing, false},
		{"parts alone", stint.Completed, object.Found{Parts: 2}, false, ManifestDamaged, false},
		{"no manifest to be read", stint.Completed, object.Found{Bad: errors.New("cut"), Parts: 2}, false, ManifestDamaged, false},
		{"of another", stint.Completed, object.Found{Manifest: manifest(func(m *object.Manifest) { m.Execution = "x-b" })}, false, "", false},
		{"about to be of another", stint.Completed, object.Found{Taken: true, Parts: 1}, false, "", false},
		{"whole, with its own mark left", stint.Completed, object.Found{Manifest: manifest(nil), Success: true, Parts: 2, Begun: true}, false, "", true},
		{"altered, with its own mark left", stint.Completed, object.Found{Manifest: manifest(func(m *object.Manifest) { m.Parts = m.Parts[:1] }), Success: true, Begun: true}, false, ManifestAltered, true},
		{"gone from storage, with its own mark left", stint.Completed, object.Found{Begun: true}, true, OutputMissing, false},
		{"with another sum", stint.Completed, object.Found{Manifest: manifest(func(m *object.Manifest) { m.Parts[1].Sum = "0000000000000007" }), Success: true}, false, ManifestAltered, true},
		{"with a part less", stint.Completed, object.Found{Manifest: manifest(func(m *object.Manifest) { m.Parts = m.Parts[:1] }), Success: true}, false, ManifestAltered, true},
		{"complete and says that it lacks something", stint.Completed, object.Found{Manifest: manifest(lacks), Success: true}, false, ManifestAltered, true},
		{"without _SUCCESS", stint.Completed, object.Found{Manifest: manifest(nil)}, false, SuccessMissing, true},
		{"with errors", stint.CompletedErrors, object.Found{Manifest: manifest(lacks), Staging: true}, false, "", true},
		{"with errors and _SUCCESS", stint.CompletedErrors, object.Found{Manifest: manifest(lacks), Success: true}, false, SuccessUnfounded, true},
	} {
		code, text, look := judgeOutput(someone, c.status, c.found, parts, c.own)
		if code != c.code || look != c.look || code != "" && text == "" {
			t.Errorf("%s: %q (%s), look %t; want %q, %t", c.name, code, text, look, c.code, c.look)
		}
	}
}

func TestALogMayEndInARecordThatIsCutShortAndInNothingElse(t *testing.T) {
	t.Parallel()
	frame := func(length uint32, bytes int) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, length), make([]byte, 4+bytes)...)
	}
	for _, c := range []struct {
		name    string
		tail    []byte
		altered bool
	}{
		{"nothing", nil, false},
		{"the beginning of a header", []byte{1, 2, 3}, false},
		{"a record cut short", frame(100, 40), false},
		{"a record without its checksum", frame(100, 100), true},
		{"no length", frame(0, 100), true},
		{"more than a record may have", frame(1<<31, 100), true},
	} {
		path := filepath.Join(t.TempDir(), "1.log")
		if err := os.WriteFile(path, append([]byte("title\n"), c.tail...), 0o600); err != nil {
			t.Fatal(err)
		}
		why, err := restOf(path, int64(len(c.tail)), 0)
		if err != nil || (why != "") != c.altered {
			t.Errorf("%s: %q, %v", c.name, why, err)
		}
	}
}

func TestPiecesAreAllOfARangeAndNoLongerThanAsked(t *testing.T) {
	t.Parallel()
	got := pieces([]stint.Range{{From: 0, To: 5}, {From: 7, To: 8}, {From: 10, To: 14}}, 4)
	want := [][]stint.Range{{{From: 0, To: 4}}, {{From: 4, To: 5}, {From: 7, To: 8}, {From: 10, To: 12}}, {{From: 12, To: 14}}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b stint.Range) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsFoundTwiceIsToldOnceAndTheWorstFirst(t *testing.T) {
	t.Parallel()
	var n notes
	n.find(TempLeft, "", "a", "one")
	n.find(PackDamaged, someone, "b", "one")
	n.find(PackDamaged, someone, "b", "two")
	n.findAs(Repairable, PackMissing, someone, "c", "one")
	r := Report{Findings: n.findings}
	r.finish(0)
	var order bytes.Buffer
	for _, f := range r.Findings {
		order.WriteString(string(f.Code) + " ")
	}
	if got := order.String(); got != "pack_damaged pack_missing temp_left " || r.Lost != 1 || r.Repairable != 1 || r.Leftovers != 1 || r.Worst() != Lost {
		t.Errorf("%s: %+v", got, r)
	}
	if a := r.Findings[1].Advice; a != nothing {
		t.Errorf("what the service sees to by itself has the advice %q", a)
	}
}
