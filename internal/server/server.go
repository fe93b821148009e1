package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"stint"
	"stint/internal/object"
	"stint/internal/store"
)

// Times and bounds that are not for users to set.
const (
	DefaultAwayAfter = 30 * time.Second
	DefaultLostAfter = 5 * time.Minute
	DefaultAskAfter  = 2 * time.Minute
	DefaultKeep      = 24 * time.Hour   // of blocks, when an execution has ended
	nodeWait         = 30 * time.Second // for a first node, when something is submitted, and between looks whether there still is one
	errandWait       = 10 * time.Minute // for an errand of a submission
	inboxLength      = 1024
	maxLive          = 1000 // executions that are not settled
)

// Server is the system manager. The exported fields are its configuration and
// do not change after Run is called. Methods may be called from any goroutine
// once Ready is closed.
type Server struct {
	DB         *store.DB
	Storage    *object.Storage
	StorageURL string         // location of system storage, as nodes are told
	Access     *object.Access // to long-term storages
	Logger     *slog.Logger
	Version    string
	Shipped    []stint.Program
	Uploads    string // folder for programs that are being received, emptied by Run; empty: the system's
	// Validate refuses a program whose native operators or parameters do not exist.
	Validate  func(p stint.Program, params map[string]string) error
	Sealing   Sealing       // of secrets in the record; empty: none can be kept
	AwayAfter time.Duration // 0: DefaultAwayAfter
	LostAfter time.Duration // 0: DefaultLostAfter
	AskAfter  time.Duration // another node is asked, too, for an errand that one has not answered; 0: DefaultAskAfter

	ready       chan struct{}
	once        sync.Once
	epoch       stint.Epoch
	service     int64 // tells this service from others that share a long-term storage
	fleet       fleet
	credentials credentials
	ending      chan struct{}                    // closed when Run takes no more tasks
	done        chan struct{}                    // closed when Run has ended
	wanted      chan struct{}                    // demands changed; room for one
	noticed     chan struct{}                    // a node is lost; room for one
	tasks       chan func(context.Context) error // that Run is to run
	began       time.Time
	clock       steady
}

// Ready is closed when executions can be accepted.
func (s *Server) Ready() <-chan struct{} {
	s.once.Do(func() {
		s.ready, s.began = make(chan struct{}), time.Now()
		s.ending, s.done = make(chan struct{}), make(chan struct{})
		s.wanted = make(chan struct{}, 1)
		s.noticed = make(chan struct{}, 1)
		s.tasks = make(chan func(context.Context) error)
		s.fleet.init(s.AwayAfter, s.LostAfter)
		s.fleet.askAfter = cmp.Or(s.AskAfter, DefaultAskAfter)
	})
	return s.ready
}

// newID draws the id of an execution.
func newID() stint.ExecutionID {
	var b [16]byte
	rand.Read(b[:])
	return stint.MakeExecutionID(b[:])
}

func nowMillis() int64 { return time.Now().UnixMilli() }
