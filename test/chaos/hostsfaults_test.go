package chaos

import (
	"os"
	"testing"

	"stint"
)

// quick are flags of a server that soon takes a node for away, and gives it up after
// a span of time. The sessions themselves end after 15 seconds without a word.
func quick(lost string) []string { return []string{"--away-after", "2s", "--lost-after", lost} }

const notSoLong = "2h" // a test is over before

func TestHostThatIsCutOffForAMomentIsNotMissed(t *testing.T) {
	t.Parallel()
	s := newSpread(t)
	x := newShuffled(t, s, 3)
	x.midway()
	hold := x.write("hold", "")
	a := s.agents[0]
	s.wait("an operation on the host", func() bool { return x.notedOn(a, "held") > 0 })
	x.note()
	s.network.cut([]*host{a}, []*host{s.server})
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	s.wait("the host to go on", func() bool { return x.notedOn(a, "released") > 0 })
	s.network.join([]*host{a}, []*host{s.server})
	x.mapped()
	x.note()
	x.finish()
	x.checkOnce()
}

func TestHostThatIsAwayIsWaitedForByName(t *testing.T) {
	t.Parallel()
	s := newSpread(t, quick(notSoLong)...)
	x := newShuffled(t, s, 3)
	x.midway()
	x.note()
	a := s.agents[0]
	s.network.cut([]*host{a}, []*host{s.server, s.agents[1], s.agents[2]})
	s.awaitStatus(stint.NodeAway, a)
	x.write("open", "")
	x.awaitReason(nodeName(a), "away", "node remove")
	s.network.join([]*host{a}, []*host{s.server, s.agents[1], s.agents[2]})
	s.awaitStatus(stint.NodeReady, a)
	x.finished()
}

func TestHostThatIsLostCostsOnlyWhatItHeld(t *testing.T) {
	extended(t)
	t.Parallel()
	s := newSpread(t, quick("6s")...)
	x := newShuffled(t, s, 3)
	x.midway()
	x.note()
	a := s.agents[0]
	id := x.node(a)
	s.network.cut([]*host{a}, s.network.hosts)
	s.awaitStatus(stint.NodeLost, a)
	x.forgive(a, id)
	x.finish()
	s.network.join([]*host{a}, s.network.hosts)
	s.awaitStatus(stint.NodeReady, a)
	s.wait("the host to stop what it performs", func() bool { return len(s.processes("map.sh"))+len(s.processes("reduce.sh")) == 0 })
}

// One end hears the other and is not heard.
func TestHostThatIsHeardAndDoesNotHear(t *testing.T) {
	extended(t)
	t.Parallel()
	oneWay(t, func(s *spread, a *host) { s.network.drop(s.server, a, 100) })
}

func TestHostThatHearsAndIsNotHeard(t *testing.T) {
	extended(t)
	t.Parallel()
	oneWay(t, func(s *spread, a *host) { s.network.drop(a, s.server, 100) })
}

func oneWay(t *testing.T, cut func(s *spread, a *host)) {
	t.Helper()
	s := newSpread(t, quick(notSoLong)...)
	x := newShuffled(t, s, 3)
	x.midway()
	x.note()
	a := s.agents[0]
	cut(s, a)
	s.awaitStatus(stint.NodeAway, a)
	x.note()
	s.network.join([]*host{a}, []*host{s.server})
	s.awaitStatus(stint.NodeReady, a)
	x.finish()
}

// Two hosts do not reach each other; the third reaches both, and performs what
// needs the output of all.
func TestHostsThatDoNotReachEachOther(t *testing.T) {
	extended(t)
	t.Parallel()
	s := newSpread(t)
	x := newShuffled(t, s, 3)
	x.midway()
	s.network.cut(s.agents[:1], s.agents[1:2])
	x.mapped()
	x.note()
	x.finish()
}

// No host reaches another: nothing can be shuffled, and that is said, for as long
// as it takes.
func TestHostsOfWhichNoneReachesAnother(t *testing.T) {
	t.Parallel()
	s := newSpread(t)
	x := newShuffled(t, s, 3)
	x.midway()
	s.network.cut(s.agents, s.agents)
	x.mapped()
	x.note()
	x.write("open", "")
	x.awaitReason("fetch from node", "reduce")
	s.network.join(s.agents, s.agents)
	x.finished()
}

// One host is reached by two sides that do not reach each other.
func TestHostsOnBothSidesOfABridge(t *testing.T) {
	extended(t)
	t.Parallel()
	s := newSpread(t, quick(notSoLong)...)
	x := newShuffled(t, s, 3)
	x.midway()
	x.note()
	far, rest := s.agents[2:], []*host{s.server, s.agents[0], s.user}
	s.network.cut(far, rest)
	s.awaitStatus(stint.NodeAway, far[0])
	x.note()
	x.write("open", "")
	x.awaitReason(nodeName(far[0]), "away")
	s.network.join(far, rest)
	x.finished()
}

// Everything is cut, one host after the other, and joined in another order.
func TestEverythingIsCutAndJoinedInAnotherOrder(t *testing.T) {
	extended(t)
	t.Parallel()
	r := random(t)
	s := newSpread(t, quick(notSoLong)...)
	x := newShuffled(t, s, 3)
	x.midway()
	x.note()
	hosts := s.network.hosts
	for _, i := range r.Perm(len(hosts)) {
		s.network.cut(hosts[i:i+1], hosts)
	}
	s.awaitStatus(stint.NodeAway, s.agents...)
	x.note()
	for _, i := range r.Perm(len(hosts)) {
		s.network.join(hosts[i:i+1], hosts)
	}
	x.finish()
}

// Links of a megabit each way carry more than a megabyte.
func TestSlowLinksMakeItSlowAndNoMore(t *testing.T) {
	extended(t)
	t.Parallel()
	s := newSpread(t)
	for _, h := range s.network.hosts {
		h.limit("1mbit")
	}
	x := newShuffled(t, s, 2000)
	x.midway()
	x.mapped()
	x.note()
	x.finish()
	x.checkOnce()
}

func TestAQuarterOfAllPacketsIsLost(t *testing.T) {
	extended(t)
	t.Parallel()
	s := newSpread(t)
	hosts := s.network.hosts
	for _, a := range hosts[1:] {
		for _, b := range hosts[1:] {
			if a != b {
				s.network.drop(a, b, 25)
			}
		}
	}
	x := newShuffled(t, s, 1000)
	x.mapped()
	x.note()
	x.finish()
}

// The hosts lose each other in the middle of a transfer, and no packet says so.
func TestTransfersThatAreCutInTheMiddleGoOn(t *testing.T) {
	extended(t)
	t.Parallel()
	s := newSpread(t)
	for _, h := range s.agents {
		h.limit("1mbit")
	}
	x := newShuffled(t, s, 2000)
	x.mapped()
	x.note()
	before := s.sent(s.agents)
	s.wait("the middle of the transfers", func() bool { return s.sent(s.agents) > before+200_000 })
	s.network.cut(s.agents, s.agents)
	x.write("open", "")
	x.awaitReason("fetch from node", "reduce")
	s.network.join(s.agents, s.agents)
	x.finished()
}

func TestHostThatWasOffComesBackWithItsFolder(t *testing.T) {
	extended(t)
	t.Parallel()
	s := newSpread(t, quick(notSoLong)...)
	x := newShuffled(t, s, 3)
	x.midway()
	x.note()
	a := s.agents[0]
	s.pull(a)
	s.awaitStatus(stint.NodeAway, a)
	x.note()
	s.plug(a)
	s.awaitStatus(stint.NodeReady, a)
	x.finish()
}

func TestHostThatWasOffComesBackWithNothing(t *testing.T) {
	t.Parallel()
	s := newSpread(t, quick(notSoLong)...)
	x := newShuffled(t, s, 3)
	x.midway()
	x.note()
	a := s.agents[0]
	id := x.node(a)
	s.pull(a)
	if err := os.RemoveAll(s.path(nodeName(a))); err != nil {
		t.Fatal(err)
	}
	x.forgive(a, id)
	s.plug(a)
	s.awaitStatus(stint.NodeReady, a)
	x.finish()
}
