package sim

import (
	"container/heap"
	"errors"
	"fmt"
	"math/bits"
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

// event is something that happens at a time; ties are broken by its id.
type event struct {
	at   int64
	id   uint64 // made of the id of what brought it about
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
	if q[i].id != q[j].id {
		return q[i].id < q[j].id
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
//
// Every event draws from a stream of its own, made of the seed and of what brought
// the event about. So what is left out of a run changes nothing but what would
// have come of it.
type clock struct {
	seed   uint64
	rng    *rand.Rand // of the event that happens now
	stream *rand.PCG  // behind rng
	cause  uint64     // id of the event that happens now
	brings uint64     // events that it has brought about
	now    int64      // microseconds
	queue  eventQueue
	seq    uint64
	events int
	trace  uint64 // hash of all that happened
}

func newClock(seed uint64) clock {
	c := clock{seed: seed, stream: rand.NewPCG(seed, 0)}
	c.rng = rand.New(c.stream)
	c.enter(0)
	return c
}

// enter begins the event of an id.
func (c *clock) enter(id uint64) {
	c.cause, c.brings = id, 0
	c.stream.Seed(c.seed, id)
}

// apart has something done whose draws are its own, made of id: it takes nothing from
// the event that happens now.
func (c *clock) apart(id uint64, do func()) {
	stream, cause, brings := *c.stream, c.cause, c.brings
	c.enter(id)
	do()
	*c.stream, c.cause, c.brings = stream, cause, brings
}

// mix makes one number of two, each bit of which depends on all of theirs.
func mix(a, b uint64) uint64 {
	z := (a ^ bits.RotateLeft64(b*0x9e3779b97f4a7c15, 31)) + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// after has something happen d microseconds from now.
func (c *clock) after(d int64, name string, do func()) {
	c.seq++
	c.brings++
	heap.Push(&c.queue, &event{at: c.now + max(d, 0), id: mix(c.cause, c.brings), seq: c.seq, name: name, do: do})
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
	c.enter(e.id)
	e.do()
	return true
}

// anyBefore reports whether anything happens before a time.
func (c *clock) anyBefore(at int64) bool { return len(c.queue) > 0 && c.queue[0].at < at }

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
	healAt   int64 // when faults end
	healed   bool
	saves    int // errands that saved, so far
	indexes  int // of machines, so far
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

// result is what became of one run.
type result struct {
	events   int
	ended    int64  // microseconds
	trace    uint64 // equal for equal schedules
	counters counters
	happened []instance // faults, in the order of time
	passed   map[phase]int
	placed   int // faults that were placed and came
	scene    ending
	err      error // the law that was broken, and how
}

// law is the name of the law that was broken, empty if none was.
func (r *result) law() string {
	if v := (*violation)(nil); errors.As(r.err, &v) {
		return v.law
	}
	return ""
}

// simulate runs a schedule to its end, or to the first law that is broken.
func simulate(s schedule) result {
	w := newWorld(s)
	if s.scene != "" {
		return w.perform(s.scene)
	}
	w.begin()
	return w.run()
}

func newWorld(s schedule) *world {
	w := &world{clock: newClock(s.seed), healAt: faultTime}
	if s.heal > 0 {
		w.healAt = min(s.heal, faultTime)
	}
	w.faults.draw(w, s)
	if len(s.at) > 0 || s.scene != "" {
		w.faults.passed = make(map[phase]int)
	}
	w.books.world, w.storage.world = w, w
	w.storage.objects, w.storage.taken = make(map[string]any), make(map[string]bool)
	return w
}

// run lets everything happen: first with faults, in which no law may be broken, and then
// without those that end, when all must come to rest.
func (w *world) run() result {
	for w.broken == nil && w.anyBefore(w.healAt) && w.next() {
	}
	if w.broken == nil {
		w.now = w.healAt
		w.heal()
	}
	for w.broken == nil && !w.over() && w.now < w.healAt+w.patience() && w.next() {
	}
	for quiet := w.now + quietTime; w.broken == nil && w.now < quiet && w.next(); {
	}
	if w.events > mostEvents {
		w.breaks("live", "it does not come to rest: %d events", w.events)
	}
	if w.broken == nil {
		w.checkEnd()
	}
	return result{
		events: w.events, ended: w.now, trace: w.trace, counters: w.faults.counters, happened: w.faults.happened, passed: w.faults.passed, placed: w.faults.placed, err: w.broken,
	}
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

// heal ends all faults but those that are to remain: what is down comes up, what is
// cut off is joined.
func (w *world) heal() {
	w.healed = true
	w.note("heal")
	w.enter(saltOf("heal"))
	w.remain()
	w.storage.refuses, w.storage.denies, w.storage.fixed = 0, 0, 0
	for _, s := range w.services {
		s.killing, s.store.full = false, 0
		if s.server != nil {
			s.server.paused, s.server.slow = 0, 0
		}
		s.start()
	}
	for _, m := range w.machines {
		m.heal()
	}
}

// ask has a person look at an execution, now and then.
func (w *world) ask() {
	if !w.healed {
		w.after(w.between(50*millisecond, 2*second), "ask", w.ask)
	}
	if s := w.anyServer(); s != nil && len(s.drives) > 0 {
		s.drives[w.rng.IntN(len(s.drives))].ask()
	}
}

func (w *world) nodeID() stint.NodeID {
	var b [12]byte
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	return stint.MakeNodeID(b[:])
}
