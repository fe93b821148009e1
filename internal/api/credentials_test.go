package api_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

func TestCredentialsAreSetListedWithoutSecretsAndRemoved(t *testing.T) {
	t.Parallel()
	s := newService()
	c, ctx := dial(t, s), t.Context()
	set := stint.CredentialSet{Name: "lab", Endpoint: "https://s3.example:9000", Region: "eu", AccessKey: "AKIAEXAMPLE1234", SecretKey: "very secret", SessionToken: "also secret"}
	shown := stint.CredentialReport{Name: "lab", Endpoint: "https://s3.example:9000", Region: "eu", AccessKey: "…1234"}
	if got, err := c.SetCredentials(ctx, set); err != nil || got != shown {
		t.Errorf("%+v, %v", got, err)
	}
	if diff := cmp.Diff([]stint.CredentialSet{set}, s.sets); diff != "" {
		t.Error(diff)
	}
	if got, err := c.Credentials(ctx); err != nil || cmp.Diff([]stint.CredentialReport{shown}, got) != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := c.RemoveCredentials(ctx, "lab"); err != nil || len(s.sets) != 0 {
		t.Errorf("%v, %v", s.sets, err)
	}
}

func TestCredentialsInTheListHaveNoSecret(t *testing.T) {
	t.Parallel()
	s := newService()
	s.sets = []stint.CredentialSet{{Name: "lab", AccessKey: "AKIAEXAMPLE1234", SecretKey: "very secret"}}
	_, body := ask(t, request(t, "GET", serve(t, config(s)).URL+"/v1/credentials", ""))
	if text := string(body); strings.Contains(text, "secret") || strings.Contains(text, "AKIA") || !strings.Contains(text, "…1234") {
		t.Errorf("the answer is %s", text)
	}
}

func TestBodyAndPathNameTheSameCredentials(t *testing.T) {
	t.Parallel()
	url := serve(t, config(newService())).URL + "/v1/credentials/lab"
	for body, want := range map[string]int{
		`{"name":"other","access_key":"a","secret_key":"b"}`: 422,
		`{"access_key":"a","secret_key":"b"}`:                200,
		`{"access_key":"a","secretkey":"b"}`:                 400,
	} {
		r := request(t, "PUT", url, body)
		r.Header.Set("Content-Type", "application/json")
		if response, text := ask(t, r); response.StatusCode != want {
			t.Errorf("%s: %d %s", body, response.StatusCode, text)
		}
	}
}
