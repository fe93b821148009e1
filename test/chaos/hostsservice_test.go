package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stint"
)

// spread is a service over hosts: a user, a server and agents, each on its own. All
// share a file system, and with it system storage and the input.
type spread struct {
	*site // of the user, on their host

	network      *network
	user, server *host
	agents       []*host
	running      map[*host]*running
}

const spreadAgents = 3

// newSpread starts a service of which each agent has one slot.
func newSpread(t *testing.T, server ...string) *spread {
	t.Helper()
	s := newServed(t, spreadAgents, server...)
	for _, h := range s.agents {
		s.join(h)
	}
	s.wait("ready nodes", func() bool { return s.readyNodes() == spreadAgents })
	return s
}

// newServed starts a server, with hosts for agents that are to join it.
func newServed(t *testing.T, agents int, server ...string) *spread {
	t.Helper()
	n := newNetwork(t, agents+2)
	s := &spread{site: newSite(t), network: n, user: n.hosts[0], server: n.hosts[1], agents: n.hosts[2:], running: make(map[*host]*running)}
	t.Cleanup(s.stopAll)
	s.within = s.user.within()
	s.serve(server...)
	return s
}

// stopAll ends everything, whatever is cut off from whatever.
func (s *spread) stopAll() {
	for h, r := range s.running {
		if s.t.Failed() {
			s.t.Logf("host %d:\n%s", h.number, r.err.Bytes()[max(0, r.err.Len()-6000):])
		}
		killIn(h.namespace)
		_ = r.cmd.Wait() // it was killed
	}
	left := s.elsewhere("data")
	left.within = nil
	left.checkSound()
}

// on is the same site as seen from a host, with another data folder.
func (s *spread) on(h *host, data string) *site {
	other := s.elsewhere(data)
	other.within = h.within()
	return other
}

// serve starts the server, and lets the user know it.
func (s *spread) serve(args ...string) {
	s.t.Helper()
	on := s.on(s.server, "data")
	url := "https://" + s.server.address + ":7843"
	s.running[s.server] = on.begin(append([]string{"server", "--data", on.data, "--listen", s.server.address + ":7843"}, args...)...)
	s.env = []string{"STINT_SERVER=" + url, "STINT_CA_FILE=" + s.path("data/server/ca.pem")}
	var known struct {
		Token string `json:"token"`
	}
	s.wait("the server's credentials", func() bool {
		b, err := os.ReadFile(s.path("data/credentials"))
		return err == nil && json.Unmarshal(b, &known) == nil && known.Token != ""
	})
	s.env = append(s.env, "STINT_TOKEN="+known.Token)
}

// join starts the agent of a host, with the folder that it had before, if it had one.
func (s *spread) join(h *host) {
	s.t.Helper()
	on := s.on(h, nodeName(h))
	s.running[h] = on.begin("agent", "--data", on.data, "--server", "https://"+s.server.address+":7843", "--ca-file", s.path("data/server/ca.pem"),
		"--join-file", s.path("data/join"), "--name", nodeName(h), "--listen", h.address+":0", "--slots", "1")
}

func nodeName(h *host) string { return fmt.Sprintf("host%d", h.number) }

// pull switches a host off.
func (s *spread) pull(h *host) {
	s.t.Helper()
	h.off()
	_ = s.running[h].cmd.Wait() // it was killed
}

// plug switches a host on again, with its agent.
func (s *spread) plug(h *host) {
	s.t.Helper()
	h.on()
	s.join(h)
}

// nodeStatus returns the status of the latest node of a host, as the server has it;
// "" while there is no answer.
func (s *spread) nodeStatus(h *host) stint.NodeStatus {
	r := s.on(s.server, "data").run("node", "list", "--json")
	var nodes []stint.Node
	if r.code != 0 || json.Unmarshal([]byte(r.out), &nodes) != nil {
		return ""
	}
	status := stint.NodeStatus("")
	for _, n := range nodes {
		if n.Name == nodeName(h) && (status == "" || n.Status != stint.NodeLost) {
			status = n.Status
		}
	}
	return status
}

func (s *spread) awaitStatus(status stint.NodeStatus, hosts ...*host) {
	s.t.Helper()
	for _, h := range hosts {
		s.wait(nodeName(h)+" to be "+string(status), func() bool { return s.nodeStatus(h) == status })
	}
}

const shuffledFiles = 36

// shuffled is an execution with a shuffle, over a service on hosts: map operations
// over one file each, and reduce operations that wait for a file.
type shuffled struct {
	*spread
	id    string
	watch *running
	want  string

	promises *promises
	holders  map[operation]string // where the output of completed operations was made
}

// newShuffled starts it. Each input file has so many lines, and is passed on after
// a moment.
func newShuffled(t *testing.T, s *spread, lines int) *shuffled {
	t.Helper()
	x := &shuffled{spread: s, promises: newPromises(), holders: make(map[operation]string)}
	for i := range shuffledFiles {
		var text strings.Builder
		for l := range lines {
			fmt.Fprintf(&text, "key%03d\t%d %x\n", (i+l)%97, i, l*l*7919)
		}
		s.write(fmt.Sprintf("in/%03d", i), text.String())
	}
	x.want = s.shell(`cat "$1"/* | sort`, s.path("in"))
	note := func(file string) string {
		return `echo "$STINT_OPERATION $(readlink /proc/self/ns/net)" >> '` + s.path(file) + "'\n"
	}
	held := "if [ -e '" + s.path("hold") + "' ]; then\n" + note("held") + "while [ -e '" + s.path("hold") + "' ]; do sleep 0.05; done\n" + note("released") + "fi\n"
	mapper := s.write("map.sh", s.ledger().line()+"\n"+note("where")+held+"sleep 0.15\nexec cat\n")
	reducer := s.write("reduce.sh", s.ledger().line()+"\nuntil [ -e '"+s.path("open")+"' ]; do sleep 0.05; done\nexec cat\n")
	x.id = strings.TrimSpace(s.ok(
		"run", "--map", "sh map.sh", "--reduce", "sh reduce.sh", "--partitions", "3", "--file", mapper, "--file", reducer,
		"--split", "files", "--subset-size", "1", "--input", s.path("in"), "--output", s.path("out"), "--detach",
	))
	x.watch = s.begin("show", x.id, "--watch")
	return x
}

// performedOn counts the map operations that a host has begun.
func (x *shuffled) performedOn(h *host) int { return x.notedOn(h, "where") }

// notedOn counts the map operations of a host that have noted so in a file: where they
// have begun, held while the file hold is there, and released when that has gone.
func (x *shuffled) notedOn(h *host, file string) int {
	b, err := os.ReadFile(x.path(file))
	if err != nil && !os.IsNotExist(err) {
		x.t.Fatal(err)
	}
	return strings.Count(string(b), h.namespaceID())
}

// midway waits until a third of the map operations were begun, some on each host.
func (x *shuffled) midway() {
	x.t.Helper()
	x.wait("a third of the operations", func() bool {
		return x.ledger().performances() >= shuffledFiles/3 && !slices.ContainsFunc(x.agents, func(h *host) bool { return x.performedOn(h) == 0 })
	})
}

// mapped waits until all map operations were shown as completed.
func (x *shuffled) mapped() {
	x.t.Helper()
	x.wait("the map stage", func() bool { return x.atServer().Stages[0].Operations.Completed == shuffledFiles })
}

// atServer returns the document as somebody at the server's host sees it.
func (x *shuffled) atServer() stint.Execution { return x.on(x.server, "data").execution("show", x.id) }

// note notes which operations are shown as completed.
func (x *shuffled) note() {
	x.t.Helper()
	var list []stint.Operation
	x.on(x.server, "data").decode(&list, "show", x.id, "--operations")
	for _, op := range list {
		o := operation{stint.ExecutionID(x.id), op.ID}
		if op.Status == stint.OpCompleted && x.promises.completed[o] == 0 {
			x.promises.completed[o] = op.Attempts
			x.holders[o] = string(op.Node)
		}
	}
}

// forgive takes back what was noted of operations whose output was made on a host.
func (x *shuffled) forgive(h *host, id stint.NodeID) {
	x.t.Helper()
	forgiven := 0
	for o, holder := range x.holders {
		if holder == string(id) {
			delete(x.promises.completed, o)
			forgiven++
		}
	}
	x.t.Logf("%s had made the output of %d operations", nodeName(h), forgiven)
}

// node returns the id of the node that a host has.
func (x *shuffled) node(h *host) stint.NodeID {
	x.t.Helper()
	var nodes []stint.Node
	x.on(x.server, "data").decode(&nodes, "node", "list")
	for _, n := range nodes {
		if n.Name == nodeName(h) && n.Status != stint.NodeLost {
			return n.ID
		}
	}
	x.t.Fatalf("%s is no node", nodeName(h))
	return ""
}

// awaitReason waits until the service says all of these texts of why the execution
// does not go on: in its document, and to who asks for an explanation. Both are
// without a reason while it is tried again.
func (x *shuffled) awaitReason(texts ...string) {
	x.t.Helper()
	lacks := func(said string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(said, text) })
	}
	x.wait(fmt.Sprintf("a reason with %q", texts), func() bool { return !lacks(x.atServer().Waiting) })
	x.wait(fmt.Sprintf("an explanation with %q", texts), func() bool { return !lacks(x.on(x.server, "data").ok("explain", x.id)) })
}

// finish lets the reduce operations go on and checks what became of it all.
func (x *shuffled) finish() {
	x.t.Helper()
	x.write("open", "")
	x.finished()
}

// finished waits for the end that the user's watch sees, and checks the output and
// what was performed again.
func (x *shuffled) finished() {
	x.t.Helper()
	if r := x.spread.finish(x.watch); r.code != 0 {
		x.t.Errorf("the watch ended with exit code %d\n%s%s", r.code, r.out, r.err)
	}
	x.network.say("end", nil)
	x.checkSorted(x.path("out"), x.want)
	for _, text := range x.promises.again(x.ledger()) {
		x.t.Error(text)
	}
	if left, _ := filepath.Glob(x.path("out/_stint/*")); len(left) > 0 {
		x.t.Errorf("staged parts are left: %v", left)
	}
}

// checkOnce checks that each operation was performed once.
func (x *shuffled) checkOnce() {
	x.t.Helper()
	for o, attempts := range x.ledger().attempts() {
		if len(attempts) != 1 {
			x.t.Errorf("%s was performed in attempts %v", o.id, attempts)
		}
	}
}

// sent returns how many bytes hosts have sent.
func (s *spread) sent(hosts []*host) int64 {
	s.t.Helper()
	total := int64(0)
	for _, h := range hosts {
		out, err := exec.Command("ip", "-n", h.namespace, "-s", "-j", "link", "show", "eth0").Output()
		if err != nil {
			s.t.Fatal(err)
		}
		var links []struct {
			Stats struct {
				TX struct {
					Bytes int64 `json:"bytes"`
				} `json:"tx"`
			} `json:"stats64"`
		}
		if err := json.Unmarshal(out, &links); err != nil || len(links) != 1 {
			s.t.Fatalf("%s: %v", out, err)
		}
		total += links[0].Stats.TX.Bytes
	}
	return total
}
