package server

import (
	"context"
	"strings"
	"testing"
	"time"

	"stint"
)

func TestWhatSaysThatAnExecutionHasEndedIsRemovedAfterItsTime(t *testing.T) {
	t.Parallel()
	list, h, _ := services(t, 1)
	s, now := list[0], time.Now()
	const late, early = someID, stint.ExecutionID("x-bbbbbbbbbbbbbbbb")
	for id, until := range map[stint.ExecutionID]string{late: now.Add(-time.Second).UTC().Format(time.RFC3339Nano), early: now.Add(time.Hour).UTC().Format(time.RFC3339Nano)} {
		if err := h.storage.Put(t.Context(), endedKey(id), strings.NewReader(`{"status":"completed","until":"`+until+`"}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.sweepEnded(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if e, err := h.ended(t.Context(), late); e != nil || err != nil {
		t.Errorf("left: %+v, %v", e, err)
	}
	if e, err := h.ended(t.Context(), early); e == nil || err != nil {
		t.Errorf("removed early: %v", err)
	}
}

func TestARecordOfWhatHasEndedIsRefusedByItsEnd(t *testing.T) {
	t.Parallel()
	list, h, _ := services(t, 1)
	s := list[0]
	if err := h.storage.Put(t.Context(), endedKey(someID), strings.NewReader(`{"status":"completed","service":"b"}`)); err != nil {
		t.Fatal(err)
	}
	e := stint.Errand{ID: "r", Kind: stint.ErrandRecord, Execution: someID, Generation: 1}
	r := s.writeRecord(t.Context(), e, savedRecord{summary: summary{Execution: someID, Generation: 1}})
	if over := s.refusedByEnd(context.WithoutCancel(t.Context()), e, r); r.Error == nil || over == nil || over.Service != "b" {
		t.Errorf("%+v, %+v", r, over)
	}
	if over := s.refusedByEnd(t.Context(), e, stint.ErrandResult{}); over != nil {
		t.Errorf("one that was not refused: %+v", over)
	}
}
