package agent

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"stint"
	"stint/internal/block"
	"stint/internal/link"
	"stint/internal/object"
)

const (
	lease       = 15 * time.Minute       // work goes on so long without a server
	reportEvery = 5 * time.Millisecond   // between reports of one execution that are not acknowledged
	reportBusy  = 50 * time.Millisecond  // between reports of one execution with operations that wait here
	maxReports  = 64                     // of one execution that are numbered and not acknowledged
	quantum     = 2 * time.Second        // a slot serves one execution, if others have none
	retryAfter  = time.Second            // after a worker could not be started
	minFree     = 64 << 20               // bytes; below, nothing new begins
	minFiles    = 100                    // likewise, that can be made
	maxUnacked  = 200_000                // operations
	maxOpen     = 128                    // operations with descriptors that are ready ahead, per execution
	preparedBy  = 32                     // operations that one task makes ready
	idleWake    = 500 * time.Millisecond // the loop looks at clocks at least so often
)

// notice is something that the loop is told, and what it does then. Notices are
// applied one at a time, in the loop's goroutine.
type notice interface{ apply(l *loop, now time.Time) }

// scope is a group of tasks that are canceled together.
type scope struct {
	start  func(task func(context.Context)) // in a goroutine that Run waits for
	cancel context.CancelCauseFunc
}

// Why the scope of an execution is canceled, other than by the end of Run.
var (
	errForgotten = errors.New("the execution is forgotten")
	errLapsed    = errors.New("no server for " + lease.String())
	errSuspended = errors.New("the job is suspended") // of one preparation
)

// site is what the loop and its tasks share; nothing in it changes.
type site struct {
	agent    *Agent
	folder   *folder
	store    *block.Store
	storages *storages
	cache    *cache
	copier   *copier
	preparer *preparer
	spawner  *spawner
	hello    link.Hello // without holdings
	post     func(notice)
	open     func() scope
	tasks    scope // what belongs to no execution
	logger   *slog.Logger
}

// loop is the state of the node manager.
type loop struct {
	site
	ledger     *Ledger
	executions map[stint.ExecutionID]*execution
	slots      []*slot
	session    session
	errands    errands
	beat       time.Time         // of the last one
	full       bool              // the disk is
	reserved   stint.ExecutionID // whose next operation the slots are being emptied for; empty: nobody's
	storage    *object.Storage
}

// session is what the loop knows of the server.
type session struct {
	out    chan<- link.AgentMessage // nil: there is none
	away   time.Time                // since when there is none
	lapsed bool                     // the lease has ended without one
}

// slot is where at most one operation at a time is performed.
type slot struct {
	execution stint.ExecutionID // that it serves; empty: none
	since     time.Time
	drain     bool     // hand it nothing more
	process   *process // nil: none; perhaps of another execution, and ending
	ready     bool     // process takes orders
	told      int      // records of process
	segment   int      // records in its log
	rotate    bool     // its segment is full
	queue     []handed // in hand, in order
	weight    int      // of what is in hand, see [stint.Resources.Weight]
	pace      pace
	stops     map[stint.JobID]time.Time // what process knows of jobs that are to stop: by when
}

// handed is an operation that a worker has in hand.
type handed struct {
	job stint.JobID
	op  uint32
}

// execution is what the loop knows of an execution, beside the ledger.
type execution struct {
	id           stint.ExecutionID
	spec         *stint.Spec // nil: not told yet in this incarnation
	scope        scope
	tasks        int // of the scope, running
	files        provision
	ready        []*order
	preparing    int            // operations
	fetching     int            // those of them whose input is brought here
	preparations []*preparation // that may have to end before the execution does
	stops        map[stint.JobID]stop
	saving       []handed      // operations whose checkpoint is being archived
	saved        []savedFolder // that stay until the server knows of their archives
	retryAt      time.Time
	seated       time.Time // last given a slot
	told         told
	forgotten    *forgetting
}

// preparation is a task that makes operations of a job ready.
type preparation struct {
	job   stint.JobID
	scope scope
}

// provision says whether the program's files are in their folder.
type provision int

const (
	notProvided provision = iota
	providing
	provided
)

// told is what of an execution's reports the session has.
type told struct {
	seq uint64 // the highest sent in this session
	at  time.Time
}

// forgetting is an execution on its way out: what is said of it meanwhile waits.
type forgetting struct {
	discard  bool // the logs, too
	removing bool
	later    []link.ServerMessage
}

// run applies notices until ctx is done.
func (l *loop) run(ctx context.Context, notices <-chan notice) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			for _, e := range l.executions {
				l.dropReady(e)
			}
			return
		case n := <-notices:
			now := time.Now()
			n.apply(l, now)
			for range min(len(notices), 64) {
				(<-notices).apply(l, now)
			}
		case <-timer.C:
		}
		timer.Reset(l.work(time.Now()))
	}
}

// work does what follows from the state, and returns when to look again.
func (l *loop) work(now time.Time) time.Duration {
	if l.session.out == nil && !l.session.lapsed && now.Sub(l.session.away) >= lease {
		l.lapse()
	}
	l.sendBeat(now)
	l.stopJobs(now)
	switch {
	case l.session.lapsed:
		for _, x := range l.ledger.Executions() {
			l.ledger.GiveUp(x)
		}
	case l.full:
		l.refuseWork(now)
	default:
		l.recall(now)
		l.seat(now)
		l.prepare()
		l.feed(now)
	}
	l.errands.next(l)
	l.remove()
	return l.tell(now)
}

// execution returns the state of an execution, which it makes if there is none.
func (l *loop) execution(x stint.ExecutionID) *execution {
	e := l.executions[x]
	if e == nil {
		e = &execution{id: x, scope: l.open()}
		l.executions[x] = e
	}
	return e
}

// each returns the executions that are known, in the ledger's order.
func (l *loop) each() []*execution {
	var list []*execution
	for _, x := range l.ledger.Executions() {
		if e := l.executions[x]; e != nil && e.forgotten == nil {
			list = append(list, e)
		}
	}
	return list
}

// task runs in the scope of an execution; it posts a notice that counts it off.
func (e *execution) task(run func(context.Context)) {
	e.tasks++
	e.scope.start(run)
}

// cancel ends all tasks of an execution.
func (e *execution) cancel(cause error) {
	e.scope.cancel(cause)
	for _, p := range e.preparations {
		p.scope.cancel(cause)
	}
}

// waiting returns how many operations of an execution no worker has in hand.
func (l *loop) waiting(e *execution) int {
	return l.ledger.Waiting(e.id) + len(e.ready) + e.preparing
}
