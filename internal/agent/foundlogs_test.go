package agent

import (
	"strings"
	"testing"
	"time"

	"stint"
	"stint/internal/link"
	"stint/internal/wire"
)

// A page that is full shows that there are further entries, whether their number
// or their bytes fill it, and fits a message.
func TestAFullPageOfLogsHasOneEntryMore(t *testing.T) {
	t.Parallel()
	const long, filled = 64 << 10, stint.MaxLogBytes / (64<<10 + 256)
	bad := []stint.BadRecord{{Text: strings.Repeat("b", 4<<10), Error: strings.Repeat("e", 28<<10)}, {Text: strings.Repeat("b", 32<<10-512)}}
	for _, c := range []struct {
		entries, bytes int
		bad            []stint.BadRecord
		want           int
	}{
		{stint.MaxLogEntries, 10, nil, stint.MaxLogEntries},
		{stint.MaxLogEntries + 5, 10, nil, stint.MaxLogEntries + 1},
		{filled, long, nil, filled},
		{filled + 5, long, nil, filled + 1},
		{10 * filled, long, nil, filled + 1},
		{10 * filled, 0, bad, filled + 1},
	} {
		found, text := newFoundLogs(), strings.Repeat("x", c.bytes)
		for i := range c.entries {
			found.add(stint.KeptLog{Op: uint32(i), Entry: stint.LogEntry{End: time.UnixMilli(int64(i)), Text: text, Bad: c.bad}})
		}
		got := found.first()
		if len(got) != c.want {
			t.Errorf("of %d entries of %d bytes it has %d, want %d", c.entries, c.bytes, len(got), c.want)
		}
		message, err := wire.Marshal(stint.ErrandResult{Logs: got})
		if err != nil || len(message) > link.MaxMessage*3/4 {
			t.Errorf("of %d entries of %d bytes a message has %d bytes: %v", c.entries, c.bytes, len(message), err)
		}
	}
}
