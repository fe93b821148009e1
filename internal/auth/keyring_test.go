package auth

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"stint"
)

func newKeyring(t *testing.T) *Keyring {
	t.Helper()
	k, err := OpenKeyring(filepath.Join(t.TempDir(), "keyring.json"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func create(t *testing.T, k *Keyring, kind Kind, lifetime time.Duration) (string, Identity) {
	t.Helper()
	text, who, err := k.Create(kind, "ann", lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return text, who
}

func wantError(t *testing.T, err error, code stint.Code, text string) {
	t.Helper()
	if err == nil || stint.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		t.Fatalf("got %v with code %q; want code %q and %q", err, stint.CodeOf(err), code, text)
	}
}

func TestTokensSurviveARestartAndTheirTextIsNotKept(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	text, want := create(t, k, User, time.Hour)
	b, err := os.ReadFile(k.path)
	if err != nil {
		t.Fatal(err)
	}
	if secret := strings.Split(text, "_")[2]; bytes.Contains(b, []byte(secret)) {
		t.Error("the file holds the secret")
	}
	fi, err := os.Stat(k.path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Error(fi.Mode(), err)
	}
	again, err := OpenKeyring(k.path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := again.Verify(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]Identity{want}, again.List()); d != "" {
		t.Error(d)
	}
}

func TestOnlyTheExactTextOfATokenIsGood(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	text, _ := create(t, k, User, 0)
	parts := strings.Split(text, "_")
	wrongs := []string{
		"", "stint", "stint_user_", strings.ToUpper(text), text + " ", " " + text, text + "_", text[:len(text)-1],
		strings.Replace(text, "user", "join", 1), strings.Replace(text, "user", "admin", 1),
		"stint_user_" + parts[2] + "_aaaaaaa", tokenText(User, make([]byte, secretBytes)), tokenText(Join, make([]byte, secretBytes)),
	}
	for i := range len(text) {
		b := []byte(text)
		b[i] ^= 1
		wrongs = append(wrongs, string(b))
	}
	for _, wrong := range wrongs {
		if who, err := k.Verify(wrong); err == nil || stint.CodeOf(err) != stint.Denied {
			t.Errorf("%q: %v %v", wrong, who, err)
		}
	}
	if _, err := k.Verify(text); err != nil {
		t.Error(err)
	}
}

func TestRefusedTokensSayWhyExceptForJoining(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKeyring(t)
		expiring, _ := create(t, k, User, time.Hour)
		revoked, who := create(t, k, User, 0)
		if err := k.Revoke(who.ID); err != nil {
			t.Fatal(err)
		}
		joinExpiring, _ := create(t, k, Join, time.Hour)
		joinUsed, _ := create(t, k, Join, 0)
		if _, err := k.Redeem(joinUsed); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Nanosecond)
		if _, err := k.Verify(expiring); err != nil {
			t.Error("expired early:", err)
		}
		time.Sleep(time.Nanosecond)
		tests := []struct{ token, text string }{
			{expiring, "token_expired: this token expired at 2000-01-01T01:00:00Z"},
			{revoked, "token_revoked: this token was revoked at 2000-01-01T00:00:00Z"},
			{tokenText(User, make([]byte, secretBytes)), "token_unknown"},
			{joinExpiring, "join_token_invalid"},
			{joinUsed, "join_token_invalid"},
			{tokenText(Join, make([]byte, secretBytes)), "join_token_invalid"},
		}
		for _, test := range tests {
			_, err := k.Verify(test.token)
			wantError(t, err, stint.Denied, test.text)
		}
		if n := len(k.List()); n != 0 {
			t.Errorf("%d tokens are listed as good", n)
		}
		wantError(t, k.Revoke("t-none"), stint.NotFound, "t-none")
		if err := k.Revoke(who.ID); err != nil {
			t.Error("revoked twice:", err)
		}
	})
}

func TestAJoinTokenIsGoodForOneOfMany(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	text, _ := create(t, k, Join, 0)
	var good atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := k.Redeem(text); err == nil {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	if good.Load() != 1 {
		t.Errorf("%d redeemed it", good.Load())
	}
	again, err := OpenKeyring(k.path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = again.Redeem(text)
	wantError(t, err, stint.Denied, "join_token_invalid")
	user, _ := create(t, k, User, 0)
	_, err = k.Redeem(user)
	wantError(t, err, stint.Denied, "not for joining")
}

func TestVoidTokensAreForgottenAfterNinetyDays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKeyring(t)
		_, who := create(t, k, User, 0)
		create(t, k, User, time.Hour)
		if err := k.Revoke(who.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keepVoid + 2*time.Hour)
		create(t, k, User, 0)
		if len(k.tokens) != 1 {
			t.Errorf("%d tokens are kept", len(k.tokens))
		}
	})
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	tests := []struct {
		kind     Kind
		name     string
		lifetime time.Duration
		text     string
	}{
		{"admin", "ann", 0, `kind "admin"`},
		{User, "", 0, "name"},
		{User, "a\nb", 0, "name"},
		{User, strings.Repeat("x", 81), 0, "name"},
		{User, "ann", -1, "lifetime"},
	}
	for _, test := range tests {
		_, _, err := k.Create(test.kind, test.name, test.lifetime)
		wantError(t, err, stint.Invalid, test.text)
	}
	if _, err := os.Stat(k.path); !os.IsNotExist(err) {
		t.Error("a refusal left a file:", err)
	}
}

func TestKeyringFileIsRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, content string
		mode          os.FileMode
		text          string
	}{
		{"readable by others", `{"format":1,"tokens":[]}`, 0o640, "chmod 600"},
		{"newer", `{"format":2,"tokens":[]}`, 0o600, "format 2"},
		{"torn", `{"format":1,"tok`, 0o600, "not a keyring"},
		{"hash", `{"format":1,"tokens":[{"id":"t","kind":"user","name":"n","created":"2000-01-01T00:00:00Z","sha256":"00"}]}`, 0o600, "sha256"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "k")
			if err := os.WriteFile(path, []byte(test.content), test.mode); err != nil {
				t.Fatal(err)
			}
			_, err := OpenKeyring(path)
			wantError(t, err, stint.Invalid, test.text)
		})
	}
}

func TestAKeyringThatCannotBeWrittenChangesNothing(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	text, who := create(t, k, User, 0)
	k.path = filepath.Join(filepath.Dir(k.path), "gone", "keyring.json")
	if err := k.Revoke(who.ID); err == nil {
		t.Error("revoked without a file")
	}
	if _, err := k.Verify(text); err != nil {
		t.Error(err)
	}
	if _, _, err := k.Create(User, "bob", 0); err == nil || len(k.List()) != 1 {
		t.Error("created without a file:", err, k.List())
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(tokenText(User, make([]byte, secretBytes)))
	f.Add("stint_user__aaaaaaa")
	f.Add("stint_join_a=b_c")
	f.Fuzz(func(t *testing.T, text string) {
		kind, _, ok := parseToken(text)
		if ok && (!strings.HasPrefix(text, "stint_"+string(kind)+"_") || len(text) != len(tokenText(kind, make([]byte, secretBytes)))) {
			t.Errorf("%q is taken for a token", text)
		}
	})
}

func FuzzParseKeyring(f *testing.F) {
	f.Add([]byte(`{"format":1,"tokens":[{"id":"t-1","kind":"user","name":"n","created":"2000-01-01T00:00:00Z","sha256":"00"}]}`))
	f.Add([]byte(`{"format":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if f, err := parseKeyring(b); err == nil && f.Format != keyringFormat {
			t.Error(f)
		}
	})
}

func FuzzParseCredentials(f *testing.F) {
	f.Add([]byte(`{"address":"https://127.0.0.1:1","token":"t","ca_pem":"c"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseCredentials(b); err == nil && (c.Token == "" || !strings.HasPrefix(strings.ToLower(c.Address), "https:")) {
			t.Error(c)
		}
	})
}

func TestCredentialsRoundTrip(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "credentials.json")
	if _, err := ReadCredentials(path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	want := Credentials{Address: "https://127.0.0.1:7400", Token: "stint_user_x_y", CA: "pem\n"}
	for range 2 { // the second replaces
		if err := want.Write(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadCredentials(path)
	if err != nil || got != want {
		t.Error(got, err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Error(entries, err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = ReadCredentials(path)
	wantError(t, err, stint.Invalid, "chmod 600")
	for _, bad := range []Credentials{{}, {Address: "http://h:1", Token: "t"}, {Address: "https://h:1"}} {
		if err := bad.Write(path); err != nil {
			t.Fatal(err)
		}
		_, err := ReadCredentials(path)
		wantError(t, err, stint.Invalid, "")
	}
	_, err = Credentials{CA: "no pem"}.TLS()
	wantError(t, err, stint.Invalid, "CA")
}
