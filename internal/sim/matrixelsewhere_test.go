package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// standIn is a test of the real thing that covers cells which the simulation does not, or
// why there is nothing to cover.
type standIn struct {
	title string
	codes string
	test  string // DIRECTORY.Test; empty: there is no such feature
	none  string // what there is not
}

// standIns lists them. Of a cell that is neither in the simulation nor here, nothing
// covers that very phase and fault together.
func standIns() []standIn {
	const migration = "there is no migration of a record: one of a newer schema is refused (`internal/store.TestARecordOfANewerSchemaIsRefused`), and an upgrade is a restart"
	const once = "test/chaos.TestEachRequestFailsOnceAfterItWasDone"
	const full = "test/e2e.TestServerWhoseDiskIsFullStaysReadableAndGoesOnWhenThereIsRoom"
	const tokens = "internal/auth.TestRefusedTokensSayWhyExceptForJoining"
	const part = "internal/object.TestPartDamagedInABegunCommitIsLost"
	return []standIn{
		{title: "upload program", codes: "SK", test: "test/chaos.TestAProcessDiesAtEveryFailpoint"},
		{title: "upload program", codes: "BR", test: "internal/server.TestAnAlteredProgramFileOfAnotherStorageHarmsNoFileHere"},
		{title: "upload program", codes: "CR", test: tokens},
		{title: "submit", codes: "NS", test: full},
		{title: "submit", codes: "CR", test: tokens},
		{title: "plan and split", codes: "OU", test: once},
		{title: "plan and split", codes: "OD", test: "internal/object.TestBucketsInTrouble"},
		{title: "fetch input", codes: "OU", test: once},
		{title: "fetch input", codes: "OD", test: "test/chaos.TestStorageThatMakesAllKindsOfMischief"},
		{title: "write block", codes: "FE", test: "internal/worker.TestAnErrorOfTheLogEndsTheWorker"},
		{title: "journal and ack", codes: "BR", test: "internal/store.TestARecordThatIsNotWholeIsRefusedAndLeftAsItIs"},
		{title: "stage output", codes: "BR", test: part},
		{title: "stage output", codes: "OU", test: once},
		{title: "stage output", codes: "OD", test: "test/chaos.TestStorageThatMakesAllKindsOfMischief"},
		{title: "commit output", codes: "BR", test: part},
		{title: "cancel", codes: "CR", test: tokens},
		{title: "node join and leave", codes: "CR", test: "internal/auth.TestAnExpiredNodeIsToldSo"},
		{title: "upgrade and migrate", codes: "SK SP LC DU DD AK AP AD NS FE BR PS P1 MD CJ OC CR", none: migration},
		{title: "backup and restore", codes: "SK", test: "internal/store.TestACopyOfTheFilesHoldsWhatWasAcknowledged"},
		{title: "backup and restore", codes: "BR", test: "internal/store.TestACopyThatWasRestoredIsTakenForWhatItIs"},
	}
}

// notes number what stands in for the simulation, as the document has it.
type notes struct{ texts []string }

// of returns the number of what covers a cell, empty if nothing does.
func (n *notes) of(title, code string) string {
	for _, s := range standIns() {
		if s.title != title || !strings.Contains(" "+s.codes+" ", " "+code+" ") {
			continue
		}
		text := "`" + s.test + "`"
		if s.test == "" {
			text = s.none
		}
		for i, known := range n.texts {
			if known == text {
				return fmt.Sprint(i + 1)
			}
		}
		n.texts = append(n.texts, text)
		return fmt.Sprint(len(n.texts))
	}
	return ""
}

// TestStandInsExist looks for the tests that are named for what the simulation does not
// cover.
func TestStandInsExist(t *testing.T) {
	t.Parallel()
	for _, s := range standIns() {
		if s.test == "" {
			continue
		}
		dir, name, _ := strings.Cut(s.test, ".")
		paths, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(dir), "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			found = found || regexp.MustCompile(`(?m)^func `+name+`\(t \*testing\.T\)`).Match(text)
		}
		if !found {
			t.Errorf("%s: there is no %s in %s", s.title, name, dir)
		}
	}
}
