package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"

	"stint"
)

// Times of the simulated world, in microseconds.
const (
	millisecond = int64(1000)
	second      = 1000 * millisecond

	mostEvents  = 400_000      // of one seed: more, and it does not come to rest
	faultTime   = 30 * second  // faults happen
	healTime    = 240 * second // after which all must be over
	quietTime   = 12 * second  // for nodes to hear of the end
	silence     = 1500 * millisecond
	awayAfter   = 3 * second
	lostAfter   = 20 * second
	epochMillis = int64(1_700_000_000_000) // of the simulated clock's zero
)

// event is something that happens at a time; ties are broken by the seed.
type event struct {
	at   int64
	tie  uint32
	seq  uint64
	name string
	do   func()
}

type eventQueue []*event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	if q[i].tie != q[j].tie {
		return q[i].tie < q[j].tie
	}
	return q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(*event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// clock is the seed's own time, chance and order of events.
type clock struct {
	rng    *rand.Rand
	now    int64 // microseconds
	queue  eventQueue
	seq    uint64
	events int
	trace  uint64 // hash of all that happened
}

// after has something happen d microseconds from now.
func (c *clock) after(d int64, name string, do func()) {
	c.seq++
	heap.Push(&c.queue, &event{at: c.now + max(d, 0), tie: c.rng.Uint32(), seq: c.seq, name: name, do: do})
}

// next lets the next event happen; false if there is none.
func (c *clock) next() bool {
	if len(c.queue) == 0 {
		return false
	}
	e := heap.Pop(&c.queue).(*event)
	c.now = e.at
	c.events++
	if c.events > mostEvents {
		return false
	}
	c.note(e.name, uint64(e.at))
	e.do()
	return true
}

// note adds something that happened to the trace.
func (c *clock) note(what string, values ...uint64) {
	const prime = 1099511628211
	for i := range len(what) {
		c.trace = (c.trace ^ uint64(what[i])) * prime
	}
	for _, v := range values {
		c.trace = (c.trace ^ v) * prime
	}
}

// millis is the time as the cores see it.
func (c *clock) millis() int64 { return epochMillis + c.now/millisecond }

// between draws a duration.
func (c *clock) between(least, most int64) int64 {
	if most <= least {
		return least
	}
	return least + c.rng.Int64N(most-least)
}

func (c *clock) chance(p float64) bool { return p > 0 && c.rng.Float64() < p }

// world is everything there is.
type world struct {
	clock
	faults   faults
	services []*service
	machines []*machine // of all services
	storage  storage
	runs     []*run
	books    books
	broken   error // the first law that was broken
	healed   bool
	saves    int // errands that saved, so far
}

// violation says which law was broken, and how.
type violation struct {
	law  string
	text string
}

func (v *violation) Error() string { return v.law + ": " + v.text }

// breaks notes that a law is broken; the run ends.
func (w *world) breaks(law, format string, args ...any) {
	if w.broken == nil {
		w.broken = &violation{law: law, text: fmt.Sprintf("at %d ms: ", w.now/millisecond) + fmt.Sprintf(format, args...)}
	}
}

// result is what became of one seed.
type result struct {
	events   int
	trace    uint64 // equal for equal seeds
	counters counters
	err      error // the law that was broken, and how
}

// simulate runs one seed to its end, or to the first law that is broken.
func simulate(seed uint64) result {
	w := &world{clock: clock{rng: rand.New(rand.NewPCG(seed, 0x57131))}}
	w.faults.draw(w.rng)
	w.books.world, w.storage.world = w, w
	w.storage.objects, w.storage.taken = make(map[string]any), make(map[string]bool)
	w.begin()
	for w.broken == nil && w.now < faultTime && w.next() {
	}
	w.heal()
	for w.broken == nil && !w.over() && w.now < faultTime+healTime && w.next() {
	}
	for quiet := w.now + quietTime; w.broken == nil && w.now < quiet && w.next(); {
	}
	if w.events > mostEvents {
		w.breaks("live", "it does not come to rest: %d events", w.events)
	}
	if w.broken == nil {
		w.checkEnd()
	}
	return result{events: w.events, trace: w.trace, counters: w.faults.counters, err: w.broken}
}

// begin makes machines and executions and starts the server.
func (w *world) begin() {
	w.newService(2 + w.rng.IntN(4))
	for i := range 1 + w.rng.IntN(3) {
		w.after(w.between(0, 15*second), "submit", func() { w.submit(i) })
	}
	w.faults.schedule(w)
	w.after(w.between(0, second), "ask", w.ask)
}

// heal ends all faults: what is down comes up, what is cut off is joined.
func (w *world) heal() {
	w.healed = true
	w.note("heal")
	for _, s := range w.services {
		s.killing = false
		s.start()
	}
	for _, m := range w.machines {
		m.heal()
	}
}

// ask has a person look at an execution, now and then.
func (w *world) ask() {
	if s := w.anyService().server; s != nil && len(s.drives) > 0 {
		s.drives[w.rng.IntN(len(s.drives))].ask()
	}
	if !w.healed {
		w.after(w.between(50*millisecond, 2*second), "ask", w.ask)
	}
}

func (w *world) nodeID() stint.NodeID {
	var b [12]byte
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	return stint.MakeNodeID(b[:])
}
