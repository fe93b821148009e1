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
	const migration = "a migration changes the record alone, one transaction for each step, while a server starts and before it listens; a newer schema is refused (`internal/store.TestARecordOfANewerSchemaIsRefused`)"
	const backup = "no command makes a backup: a copy of the server's files is one, whoever makes it (`internal/store.TestACopyOfTheFilesHoldsWhatWasAcknowledged`)"
	const unsynced = "nothing is synced then: blocks, copies of them and what is fetched are looked at when they are read, and a machine that crashes may have lost them"
	const points = "test/chaos.TestAProcessDiesAtEveryFailpoint"
	const once = "test/chaos.TestEachRequestFailsOnceAfterItWasDone"
	const full = "test/e2e.TestServerWhoseDiskIsFullStaysReadableAndGoesOnWhenThereIsRoom"
	const tokens = "internal/auth.TestRefusedTokensSayWhyExceptForJoining"
	const part = "internal/object.TestPartDamagedInABegunCommitIsLost"
	const stops = "test/chaos.TestAnUploadThatStopsInTheMiddleGoesOn"
	const unsure = "test/chaos.TestAnUploadOfWhichTheSyncFailsIsFoundOut"
	const versions = "internal/store.TestVersionsOfProgramsAreKeptInTheOrderOfTheirUploads"
	return []standIn{
		{title: "upload program", codes: "SK", test: points},
		{title: "upload program", codes: "SP PS P1 MD", test: stops},
		{title: "upload program", codes: "LC CJ", test: versions},
		{title: "upload program", codes: "DU FE", test: unsure},
		{title: "upload program", codes: "DD", test: "test/chaos.TestAnUploadWhileTheRecordIsHeld"},
		{title: "upload program", codes: "OU", test: "test/chaos.TestEachRequestOfAnUploadFailsOnceAfterItWasDone"},
		{title: "upload program", codes: "OD", test: "test/chaos.TestAnUploadWhileStorageIsAway"},
		{title: "upload program", codes: "NS", test: "test/chaos.TestDiskOfTheServerIsFull"},
		{title: "upload program", codes: "BR", test: "internal/server.TestAnAlteredProgramFileOfAnotherStorageHarmsNoFileHere"},
		{title: "upload program", codes: "CR", test: tokens},
		{title: "submit", codes: "NS", test: full},
		{title: "submit", codes: "CR", test: tokens},
		{title: "plan and split", codes: "NS", test: full},
		{title: "plan and split", codes: "OU", test: once},
		{title: "plan and split", codes: "OD", test: "internal/object.TestBucketsInTrouble"},
		{title: "plan and split", codes: "CR", test: "test/chaos.TestCredentialsThatExpireWhilePlanningAreWaitedFor"},
		{title: "start", codes: "FE", test: points},
		{title: "fetch input", codes: "FE", none: unsynced},
		{title: "fetch input", codes: "OU", test: once},
		{title: "fetch input", codes: "OD", test: "test/chaos.TestStorageThatMakesAllKindsOfMischief"},
		{title: "write block", codes: "FE", test: "internal/worker.TestAnErrorOfTheLogEndsTheWorker"},
		{title: "replicate", codes: "FE", none: unsynced},
		{title: "serve shuffle", codes: "FE", test: points},
		{title: "journal and ack", codes: "BR", test: "internal/store.TestARecordThatIsNotWholeIsRefusedAndLeftAsItIs"},
		{title: "stage output", codes: "BR", test: part},
		{title: "stage output", codes: "OU", test: once},
		{title: "stage output", codes: "OD", test: "test/chaos.TestStorageThatMakesAllKindsOfMischief"},
		{title: "stage output", codes: "CR", test: "test/chaos.TestStorageThatIsAwayIsWaitedForByName"},
		{title: "commit output", codes: "BR", test: part},
		{title: "cancel", codes: "CR", test: tokens},
		{title: "resume: place", codes: "FE", none: unsynced},
		{title: "resume: place", codes: "OU", none: "nothing is asked of storage then"},
		{title: "node join and leave", codes: "CR", test: "internal/auth.TestAnExpiredNodeIsToldSo"},
		{title: "upgrade and migrate", codes: "SK", test: "internal/store.TestARecordOfEachOlderSchemaKeepsWhatItHas"},
		{title: "upgrade and migrate", codes: "SP LC DU DD AK AP AD NS FE BR PS P1 MD CJ OC CR", none: migration},
		{title: "backup and restore", codes: "SK", test: "internal/store.TestACopyOfTheFilesHoldsWhatWasAcknowledged"},
		{title: "backup and restore", codes: "BR", test: "internal/store.TestACopyThatWasRestoredIsTakenForWhatItIs"},
		{title: "backup and restore", codes: "SP LC DU DD AK AP AD NS FE PS P1 OU OD CJ OC CR", none: backup},
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
