package fsck

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestAFolderThatIsBeingRemovedIsNoAgents(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	agent := filepath.Join(data, "agents", "1")
	for _, dir := range []string{agent, agent + Removing} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l := &look{check: &Check{Data: data}}
	if err := l.findAgents(); err != nil || !slices.Equal(l.agents, []string{agent}) {
		t.Errorf("%v, %v; want %s alone", l.agents, err, agent)
	}
}
