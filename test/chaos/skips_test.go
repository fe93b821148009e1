package chaos

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// allFlag adds the scenarios that are not for every change.
var allFlag = flag.Bool("all", false, "all scenarios of hosts and of storage, not only those for every change")

// extended ends a test that is not for every change.
func extended(t *testing.T) {
	t.Helper()
	if !*allFlag {
		t.Skip("not for every change: runs with -all, as in \"make chaos\"")
	}
}

// feature is something of the machine that tests need and that some machines do not
// have. A test names what it needs by [requires]. Where that is missing, the test
// fails, unless the feature is on the list of [maySkip]: so a machine that loses
// one of its abilities is noticed.
type feature struct {
	name  string
	probe func() error
}

// maySkip lists features without which a test is skipped instead of failing, and
// on which machines they are missing.
func maySkip() map[string]string {
	return map[string]string{superuser.name: "who is not root runs the other tests"}
}

// superuser is who may make networks.
var superuser = feature{
	name: "root",
	probe: func() error {
		if os.Getuid() != 0 {
			return errors.New("this process is not root")
		}
		return nil
	},
}

// hostNetworks is what hosts with networks of their own take.
var hostNetworks = feature{
	name: "hosts of their own network (network namespaces, veth, bridge, nftables with random drops, tbf)",
	probe: sync.OnceValue(func() error {
		for _, tool := range []string{"ip", "tc", "nft", "nsenter"} {
			if _, err := exec.LookPath(tool); err != nil {
				return fmt.Errorf("install iproute2, nftables and util-linux: %w", err)
			}
		}
		removeLeftNetworks()
		return probeNetwork(fmt.Sprintf("%s%d-0", namespacePrefix, os.Getpid()))
	}),
}

// probeNetwork tries all that [network] does.
func probeNetwork(name string) error {
	defer removeNetwork(name)
	in := []string{"nsenter", "--net=/run/netns/" + name}
	for _, command := range [][]string{
		{"ip", "netns", "add", name},
		{"ip", "netns", "add", name + "-h"},
		{"ip", "-n", name, "link", "add", "switch", "type", "bridge"},
		{"ip", "link", "add", "p", "netns", name, "type", "veth", "peer", "name", "eth0", "netns", name + "-h"},
		append(in, "tc", "qdisc", "replace", "dev", "p", "root", "tbf", "rate", "1mbit", "burst", "16kb", "latency", "500ms"),
	} {
		if err := perform("", command...); err != nil {
			return err
		}
	}
	return perform("table inet faults { chain in { type filter hook input priority 0; ip saddr 198.18.7.1 numgen random mod 100 < 30 drop; }; }", append(in, "nft", "-f", "-")...)
}

// requires ends a test that cannot run on this machine.
func requires(t *testing.T, f feature) {
	t.Helper()
	err := f.probe()
	if err == nil {
		return
	}
	if where, listed := maySkip()[f.name]; listed {
		t.Skipf("missing here: %s: %v (on the list of skips: %s)", f.name, err, where)
	}
	t.Fatalf("missing here: %s: %v", f.name, err)
}
