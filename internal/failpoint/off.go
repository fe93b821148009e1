//go:build !failpoint

package failpoint

// Reach does nothing.
func Reach(string) {}

// Error is no error.
func Error(string) error { return nil }
