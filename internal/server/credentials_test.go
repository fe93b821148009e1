package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/auth"
	"stint/internal/link"
	"stint/internal/object"
	"stint/internal/server"
)

// sealing gives a server of the site the key that all of its servers have.
func (s *site) sealing(r *server.Server) {
	seal, err := auth.OpenSeal(s.path("secrets.key"))
	check(s.t, err)
	r.Access = object.FromEnvironment()
	r.Sealing = server.Sealing{Close: seal.Close, Open: seal.Open}
}

// welcome attaches as a node does and returns what it is told first.
func (n *node) welcome(r *running) link.Welcome {
	n.t.Helper()
	d := link.Dialer{URL: "https://" + r.address, TLS: n.keys.LinkTLS()}
	session, welcome, err := d.Dial(n.t.Context(), n.hello)
	check(n.t, err)
	session.Close()
	return welcome
}

// told returns the sets of credentials that a node was told last, since it attached.
func (n *node) told() []stint.CredentialSet {
	var sets []stint.CredentialSet
	n.with(func() {
		for _, m := range n.heard {
			if m.Credentials != nil {
				sets = m.Credentials.Sets
			}
		}
	})
	return sets
}

func aSet(name, secret string) stint.CredentialSet {
	return stint.CredentialSet{Name: name, Endpoint: "http://127.0.0.1:9000", AccessKey: "AKIAEXAMPLE1234", SecretKey: secret}
}

func TestNodesAreToldCredentialsWhenTheyAttachAndWhenTheyChange(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(s.sealing)
	n := s.node("a").attach(r)
	for _, set := range []stint.CredentialSet{aSet("b", "first-secret"), aSet("a", "other-secret"), aSet("b", "second-secret")} {
		_, err := r.SetCredentials(t.Context(), set)
		check(t, err)
	}
	want := []stint.CredentialSet{aSet("a", "other-secret"), aSet("b", "second-secret")}
	r.eventually("the node knows both", func() bool { return cmp.Diff(want, n.told()) == "" })
	r.stop()
	r = s.serve(s.sealing)
	if diff := cmp.Diff(want, s.node("c").welcome(r).Credentials.Sets); diff != "" {
		t.Error(diff)
	}
	check(t, r.RemoveCredentials(t.Context(), "a"))
	if diff := cmp.Diff(want[1:], s.node("d").welcome(r).Credentials.Sets); diff != "" {
		t.Error(diff)
	}
	if err := r.RemoveCredentials(t.Context(), "a"); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("removed twice: %v", err)
	}
	if got := r.Credentials(t.Context()); len(got) != 1 || got[0] != want[1].Report() {
		t.Errorf("shown as %+v", got)
	}
}

func TestTheRecordHoldsNoSecretInClear(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(s.sealing)
	_, err := r.SetCredentials(t.Context(), aSet("lab", "a-very-special-secret"))
	check(t, err)
	r.stop()
	files, err := filepath.Glob(s.record + "*")
	check(t, err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		check(t, err)
		if strings.Contains(string(b), "a-very-special-secret") || strings.Contains(string(b), "AKIAEXAMPLE1234") {
			t.Errorf("%s holds the secret", f)
		}
	}
}

func TestCredentialsThatCannotBeDecryptedAreLeftOutAndCanBeReplaced(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(s.sealing)
	_, err := r.SetCredentials(t.Context(), aSet("lab", "lost"))
	check(t, err)
	r.stop()
	check(t, os.Remove(s.path("secrets.key")))
	r = s.serve(s.sealing)
	if got := r.Credentials(t.Context()); len(got) != 1 || !got[0].Unreadable {
		t.Errorf("shown as %+v", got)
	}
	if got := s.node("a").welcome(r).Credentials.Sets; len(got) > 0 {
		t.Errorf("a node is told %v", got)
	}
	_, err = r.SetCredentials(t.Context(), aSet("lab", "found"))
	check(t, err)
	if got := r.Credentials(t.Context()); len(got) != 1 || got[0].Unreadable {
		t.Errorf("set again and shown as %+v", got)
	}
}

func TestCredentialsAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(s.sealing)
	for name, set := range map[string]stint.CredentialSet{
		"no name":            {AccessKey: "a", SecretKey: "b"},
		"bad name":           {Name: "a/b", AccessKey: "a", SecretKey: "b"},
		"no keys":            {Name: "lab"},
		"half a key":         {Name: "lab", AccessKey: "a"},
		"key with newline":   {Name: "lab", AccessKey: "a", SecretKey: "b\nc"},
		"endless key":        {Name: "lab", AccessKey: "a", SecretKey: strings.Repeat("b", 5000)},
		"endpoint, no URL":   {Name: "lab", Endpoint: "localhost", AccessKey: "a", SecretKey: "b"},
		"endpoint, of FTP":   {Name: "lab", Endpoint: "ftp://h", AccessKey: "a", SecretKey: "b"},
		"endpoint, password": {Name: "lab", Endpoint: "https://u:hidden@h", AccessKey: "a", SecretKey: "hidden"},
	} {
		_, err := r.SetCredentials(t.Context(), set)
		if stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && set.SecretKey != "" && len(set.SecretKey) > 1 && strings.Contains(err.Error(), set.SecretKey) {
			t.Errorf("%s: the refusal tells the secret: %v", name, err)
		}
	}
	without := newSite(t).serve(nil)
	if _, err := without.SetCredentials(t.Context(), aSet("lab", "x")); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("of a service without a key: %v", err)
	}
}

func TestCredentialsFitTheMessageThatTellsThem(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(s.sealing)
	const longest = 4096 // of a field
	kept, refused := 0, false
	for ; kept < 1000 && !refused; kept++ {
		set := aSet(fmt.Sprint("set", kept), strings.Repeat("k", longest))
		set.Region, set.AccessKey, set.SessionToken = set.SecretKey, set.SecretKey, set.SecretKey
		_, err := r.SetCredentials(t.Context(), set)
		if refused = stint.CodeOf(err) == stint.Invalid; !refused {
			check(t, err)
		}
	}
	if got := len(s.node("a").welcome(r).Credentials.Sets); got != kept-1 || !refused {
		t.Errorf("of %d sets a node is told %d, refused %t", kept, got, refused)
	}
}
