package main

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

func TestAPortThatAKilledOwnerHadIsWaitedFor(t *testing.T) {
	t.Parallel()
	left, err := listen(t.Context(), "127.77.0.1:0") // where nobody else takes the port when it is free
	if err != nil {
		t.Fatal(err)
	}
	address := left.Addr().String()
	if _, err := listenAfter(t.Context(), address, holder{Address: "https://127.0.0.1:1"}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("another's port: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = left.Close() })
	l, err := listenAfter(t.Context(), address, holder{Address: "https://" + address})
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}
