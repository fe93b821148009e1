package chaos

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespacePrefix begins the names of all network namespaces of these tests. The
// number of the process follows, so that what a killed one has left is found.
const namespacePrefix = "stint-chaos-"

// networks numbers those of this process.
var networks atomic.Int64

// network is hosts with network namespaces and addresses of their own. They are
// joined by a switch that has a namespace too: nothing of it is seen outside.
type network struct {
	t     *testing.T
	name  string
	began time.Time
	hosts []*host
}

// host is one of them.
type host struct {
	network   *network
	number    int
	namespace string
	address   string
	drops     map[string]int // percent of what comes from an address that does not arrive
}

// newNetwork makes hosts, each of which reaches the others. When the test ends,
// they and all that runs on them are gone.
func newNetwork(t *testing.T, hosts int) *network {
	t.Helper()
	requires(t, superuser)
	requires(t, hostNetworks)
	n := &network{t: t, name: fmt.Sprintf("%s%d-%d", namespacePrefix, os.Getpid(), networks.Add(1)), began: time.Now()}
	t.Cleanup(func() { removeNetwork(n.name) })
	n.must("ip", "netns", "add", n.name)
	n.must("ip", "-n", n.name, "link", "add", "switch", "type", "bridge")
	n.must("ip", "-n", n.name, "link", "set", "switch", "up")
	for i := range hosts {
		n.addHost(i + 1)
	}
	return n
}

func (n *network) addHost(number int) {
	h := &host{
		network: n, number: number, namespace: fmt.Sprintf("%s-h%d", n.name, number),
		address: fmt.Sprintf("198.18.7.%d", number), drops: make(map[string]int),
	}
	n.must("ip", "netns", "add", h.namespace)
	n.must("ip", "link", "add", h.port(), "netns", n.name, "type", "veth", "peer", "name", "eth0", "netns", h.namespace)
	n.must("ip", "-n", n.name, "link", "set", h.port(), "master", "switch", "up")
	n.must("ip", "-n", h.namespace, "addr", "add", h.address+"/24", "dev", "eth0")
	n.must("ip", "-n", h.namespace, "link", "set", "eth0", "up")
	n.must("ip", "-n", h.namespace, "link", "set", "lo", "up")
	n.hosts = append(n.hosts, h)
}

// port is the name of the host's link at the switch.
func (h *host) port() string { return "p" + strconv.Itoa(h.number) }

// within goes before a command that is to run on the host. The command takes the
// place of what is named here, and only its network is the host's.
func (h *host) within() []string { return []string{"nsenter", "--net=/run/netns/" + h.namespace} }

// namespaceID is what a process of the host finds as /proc/self/ns/net.
func (h *host) namespaceID() string {
	var stat unix.Stat_t
	if err := unix.Stat("/run/netns/"+h.namespace, &stat); err != nil {
		h.network.t.Fatal(err)
	}
	return fmt.Sprintf("net:[%d]", stat.Ino)
}

func (n *network) must(args ...string) {
	n.t.Helper()
	if err := perform("", args...); err != nil {
		n.t.Fatal(err)
	}
}

// perform runs a tool with a text as its input.
func perform(input string, args ...string) error {
	c := exec.Command(args[0], args[1:]...)
	c.Stdin = strings.NewReader(input)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// removeNetwork kills what runs on the hosts of a network and removes them.
func removeNetwork(name string) {
	paths, _ := filepath.Glob("/run/netns/" + name + "*")
	for _, path := range paths {
		if namespace := filepath.Base(path); namespace == name || strings.HasPrefix(namespace, name+"-") {
			killIn(namespace)
			_ = perform("", "ip", "netns", "del", namespace) // may be gone
		}
	}
}

// killIn kills all processes of a namespace.
func killIn(namespace string) {
	out, err := exec.Command("ip", "netns", "pids", namespace).Output()
	if err != nil {
		return
	}
	for field := range strings.FieldsSeq(string(out)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// removeLeftNetworks removes what test processes have left that were killed.
func removeLeftNetworks() {
	paths, _ := filepath.Glob("/run/netns/" + namespacePrefix + "*")
	for _, path := range paths {
		name := filepath.Base(path)
		number, _, _ := strings.Cut(strings.TrimPrefix(name, namespacePrefix), "-")
		if pid, err := strconv.Atoi(number); err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			removeNetwork(name)
		}
	}
}

// drop lets so many percent of what one host sends another not arrive, all at
// first; the other direction is as it was.
func (n *network) drop(from, to *host, percent int) {
	n.t.Helper()
	to.drops[from.address] = percent
	to.apply()
}

// cut separates each of some hosts from each of others, in both directions.
func (n *network) cut(some, others []*host) {
	n.t.Helper()
	n.say("cut", some, others)
	for _, a := range some {
		for _, b := range others {
			if a != b {
				n.drop(a, b, 100)
				n.drop(b, a, 100)
			}
		}
	}
}

// join takes back what was cut or dropped between each of some hosts and each of others.
func (n *network) join(some, others []*host) {
	n.t.Helper()
	n.say("join", some, others)
	for _, a := range some {
		for _, b := range others {
			delete(a.drops, b.address)
			delete(b.drops, a.address)
			a.apply()
			b.apply()
		}
	}
}

// say says what happens, and when, for who reads the log of a test that failed.
func (n *network) say(what string, hosts ...[]*host) {
	n.t.Helper()
	var numbers []int
	for _, h := range slices.Concat(hosts...) {
		numbers = append(numbers, h.number)
	}
	n.t.Logf("%.1f s: %s %v", time.Since(n.began).Seconds(), what, numbers)
}

// apply makes the host's rules those of its drops, all at once.
func (h *host) apply() {
	h.network.t.Helper()
	var rules strings.Builder
	rules.WriteString("add table inet faults\ndelete table inet faults\ntable inet faults {\n chain in {\n  type filter hook input priority 0; policy accept;\n")
	for _, from := range slices.Sorted(func(yield func(string) bool) {
		for address := range h.drops {
			if !yield(address) {
				return
			}
		}
	}) {
		chance := ""
		if percent := h.drops[from]; percent < 100 {
			chance = fmt.Sprintf(" numgen random mod 100 < %d", percent)
		}
		fmt.Fprintf(&rules, "  ip saddr %s%s drop\n", netip.MustParseAddr(from), chance)
	}
	rules.WriteString(" }\n}\n")
	if err := perform(rules.String(), append(h.within(), "nft", "-f", "-")...); err != nil {
		h.network.t.Fatal(err)
	}
}

// limit lets a host send no more than a rate, as 1mbit; "" is as fast as it can.
func (h *host) limit(rate string) {
	h.network.t.Helper()
	if rate == "" {
		h.network.must(append(h.within(), "tc", "qdisc", "del", "dev", "eth0", "root")...)
		return
	}
	h.network.must(append(h.within(), "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "16kb", "latency", "500ms")...)
}

// off pulls the host's plug: all that runs on it is gone at once, and nobody is
// told. What it has written stays.
func (h *host) off() {
	h.network.t.Helper()
	h.network.say("off", []*host{h})
	h.network.must("ip", "-n", h.network.name, "link", "set", h.port(), "down")
	killIn(h.namespace)
}

// on puts the plug back in.
func (h *host) on() {
	h.network.t.Helper()
	h.network.say("on", []*host{h})
	h.network.must("ip", "-n", h.network.name, "link", "set", h.port(), "up")
}
