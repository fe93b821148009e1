package server_test

import (
	"testing"

	"go.uber.org/goleak"
)

// A goroutine that is left fails the tests. In a bubble one does so at once.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
