package fsck

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table of codes into the document")

const document = "../../docs/fsck.md"

// table is the table of codes as it stands in the document.
func table() string {
	var b strings.Builder
	b.WriteString("| Code | Severity | What is wrong | What to do |\n| --- | --- | --- | --- |\n")
	for _, m := range Codes() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Code, m.Severity, m.Says, m.Advice)
	}
	return b.String()
}

func TestTheDocumentHasEveryCode(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	text, said, _ := strings.Cut(string(b), "| Code |")
	if *update {
		if err := os.WriteFile(document, []byte(text+table()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table(), "| Code |"+said); diff != "" {
		t.Errorf("docs/fsck.md has other codes; run this test with -update (-want +got):\n%s", diff)
	}
}

func TestEveryCodeIsThereOnceAndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	seen := make(map[Code]bool)
	for _, m := range Codes() {
		if seen[m.Code] || m.Says == "" || m.Advice == "" || m.Severity.rank() < 0 {
			t.Errorf("%+v", m)
		}
		seen[m.Code] = true
	}
}
