package worker

// DecodeRecord is decodeRecord.
func DecodeRecord(b []byte) (Record, error) { return decodeRecord(b) }

// Tail returns what is kept of writes.
func Tail(writes ...string) string {
	var t tail
	for _, w := range writes {
		t.Write([]byte(w)) //nolint:errcheck // it cannot fail
	}
	return t.String()
}
