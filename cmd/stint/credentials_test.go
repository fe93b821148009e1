package main

import (
	"strings"
	"testing"

	"stint"
)

func TestTheSecretKeyComesFromTheEnvironmentOrFromStandardInput(t *testing.T) {
	t.Setenv(secretVariable, "")
	for in, want := range map[string]string{"secret\n": "secret", "secret": "secret", "secret\r\nmore\n": "secret"} {
		if got, err := readSecretKey(strings.NewReader(in)); err != nil || got != want {
			t.Errorf("of %q: %q, %v", in, got, err)
		}
	}
	if _, err := readSecretKey(strings.NewReader("\n")); stint.CodeOf(err) != stint.Invalid {
		t.Errorf("of nothing: %v", err)
	}
	t.Setenv(secretVariable, "of the environment")
	if got, err := readSecretKey(strings.NewReader("secret\n")); err != nil || got != "of the environment" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNoFlagTakesASecretKey(t *testing.T) {
	t.Parallel()
	code, _, errs := commandLine(t, nil, "credentials", "set", "lab", "--access-key", "AKIA", "--secret-key", "x")
	if code != exitUsage || !strings.Contains(errs, "unknown flag: --secret-key") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

func TestWhichAddressesAnAgentMayRead(t *testing.T) {
	t.Parallel()
	alone, err := (&agentFlags{allowed: []string{"10.0.0.0/8", "fd00::/8"}}).access("data")
	if err != nil || alone.Addresses.Private || len(alone.Addresses.Allowed) != 2 {
		t.Errorf("an agent alone: %+v, %v", alone, err)
	}
	if local, err := (&agentFlags{supervised: true}).access("data"); err != nil || !local.Addresses.Private {
		t.Errorf("an agent of stint up: %+v, %v", local, err)
	}
	for text, want := range map[string]string{"10.0.0.1/8": "did you mean 10.0.0.0/8", "10.0.0.0": "expected a network", "x": "expected a network"} {
		_, err := (&agentFlags{allowed: []string{text}}).access("data")
		if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), "bad_cidr: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestASessionTokenGoesWithTheSecretKeyOfTheEnvironment(t *testing.T) {
	t.Setenv("AWS_SESSION_TOKEN", "token")
	for secret, want := range map[string]string{"": "", "of the environment": "token"} {
		t.Setenv(secretVariable, secret)
		if got := sessionToken(); got != want {
			t.Errorf("secret key %q: token %q, want %q", secret, got, want)
		}
	}
}
