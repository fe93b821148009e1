package program_test

import (
	"os/exec"
	"testing"
)

// The SDK for Python speaks the same frames as this package.
func TestThePythonSDK(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "python3", "stint_test.py")
	cmd.Dir = "../sdk/python"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
