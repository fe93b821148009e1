package command

import (
	"bytes"

	"stint"
)

// ReadStderr returns what comes of data that arrives in chunks of n bytes.
func ReadStderr(data []byte, n int) []any { return ReadStderrAs(data, n, nil) }

// ReadStderrAs does so for a stage with such streams.
func ReadStderrAs(data []byte, n int, s *stint.Streaming) []any {
	var log bytes.Buffer
	var status []string
	a := &stint.Attempt{Streaming: s, Stderr: &log, Counters: &stint.Counters{}, Status: func(s string) { status = append(status, s) }}
	m := messages{a: a}
	for len(data) > 0 {
		n := min(n, len(data))
		m.write(data[:n])
		data = data[n:]
	}
	m.close()
	return []any{log.String(), status, a.Counters.Deltas(0)}
}
