package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"stint"
	"stint/client"
	"stint/internal/auth"
)

// ending is a service on a data folder that ends, and lets go of the folder, while
// somebody watches an execution.
func ending(t *testing.T) folder {
	t.Helper()
	f := testFolder(t)
	held, err := f.take()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := json.Marshal(in(stint.Suspending, 3))
		if strings.HasSuffix(r.URL.Path, "/events") {
			fmt.Fprintf(w, "event: execution\ndata: %s\n\n", data) //nolint:errcheck // a test's own client
			held.release()
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := (auth.Credentials{Address: server.URL, Token: "secret", CA: string(ca)}).Write(f.credentials()); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestNobodyWaitsForAFolderWhoseServiceHasEnded(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"suspend", anExecution}, {"show", anExecution, "--watch"}, {"show", anExecution, "--watch", "--json"}} {
		f := ending(t)
		code, _, errs := commandLine(t, []string{"STINT_DATA=" + string(f)}, args...)
		if code != exitUnreachable {
			t.Errorf("%v: exit code %d", args, code)
		}
		mentions(t, errs, "the service on data folder "+string(f)+" has ended", "stint up")
	}
}

func TestASilenceIsToldOnceAndUntilWhenItIsBorne(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	held, err := f.take()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, data := range []string{string(f), t.TempDir()} {
		var errs bytes.Buffer
		a := &app{errs: &errs, data: data}
		if data != string(f) {
			a.server = "https://127.0.0.1:1"
		}
		hear := a.silent(&progress{out: &errs}, 0)
		until := now.Add(time.Hour)
		for _, since := range []time.Time{now.Add(time.Hour), now.Add(-tellAway), now.Add(-tellAway), now.Add(-2 * tellAway)} {
			if err := hear(client.Silence{Since: since, Until: until}); err != nil {
				t.Error(err)
			}
		}
		line := "stint: the service does not answer; trying again until " + until.Format(time.TimeOnly) + "\n"
		if errs.String() != line+line {
			t.Errorf("of one that may be back soon and of two that are not there it says %q", errs.String())
		}
	}
	held.release()
	hear := (&app{errs: &bytes.Buffer{}, data: string(f)}).silent(&progress{out: &bytes.Buffer{}}, time.Hour)
	if err := hear(client.Silence{Since: now.Add(-time.Minute), Until: now}); err != nil {
		t.Errorf("while another may come: %v", err)
	}
	if err := hear(client.Silence{Since: now.Add(-time.Hour), Until: now}); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("when none has come: %v", err)
	}
}
