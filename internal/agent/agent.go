package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"stint"
	"stint/internal/block"
	"stint/internal/failpoint"
	"stint/internal/link"
	"stint/internal/object"
	"stint/internal/transfer"
)

// Agent is the node manager of one computing node. Its fields are its
// configuration and must not be changed once Run was called.
type Agent struct {
	Dir           string   // data folder; made if it is missing
	Name          string   // of the node, for people: 1 to 80 printable characters
	Version       string   // of the program, for people
	Slots         int      // operations at once, at least 1
	Memory        int64    // bytes with which each slot sorts and merges; 0: the worker's default
	ServerURL     string   // https://HOST:PORT
	Listen        string   // HOST:PORT where peers fetch blocks; port 0: any free one
	WorkerCommand []string // argument vector of "stint worker"
	Sole          bool     // nothing else in this process starts processes: kill what workers leave behind
	Logger        *slog.Logger
	Access        *object.Access // what it may reach: files, buckets, addresses

	// Identify returns who this node is. It is called once, with the data folder
	// locked: it reads the node's certificate from there, or joins and keeps it there.
	Identify func(ctx context.Context, dir string) (Identity, error)

	network network
}

// network is how a node reaches others and is reached. Where a field is nil, it is
// the machine's.
type network struct {
	listen func(ctx context.Context, network, address string) (net.Listener, error)
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

// Identity is who a node is, and how it proves that.
type Identity struct {
	Node  stint.NodeID
	Link  *tls.Config // to dial the server
	Serve *tls.Config // of the node's own port
	Peer  *tls.Config // to dial the ports of other nodes
}

// Run is the node: from reading its folder to the end of ctx, when its workers
// have ended. What it has written stays, and is found by the next Run on the
// same folder. Errors: [stint.Conflict] if another process holds the folder;
// [*stint.StaleIncarnation] if a later start of the node is known than this one: the
// next Run is the latest; what Identify returns; what keeps the folder from being read
// or the port from being opened, [stint.Unavailable] where that is a full disk;
// [*Refused] when the node was removed from its service.
// A server that is not there is no error.
func (a *Agent) Run(ctx context.Context) (err error) {
	if a.Slots < 1 || len(a.WorkerCommand) == 0 {
		return stint.Errorf(stint.Invalid, "agent with %d slots and worker command %q: expected at least one slot and a command", a.Slots, a.WorkerCommand)
	}
	defer func() { err = a.noSpace(err) }()
	f, err := openFolder(a.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	identity, err := a.Identify(ctx, a.Dir)
	if err != nil {
		return fmt.Errorf("identify node: %w", err)
	}
	logger := a.Logger.With("component", "agent", "node", identity.Node)
	if err := a.begin(ctx, f, identity.Node, logger); err != nil {
		return err
	}
	failpoint.Reach("incarnation.after-save")
	kept, ledger, boot, err := a.restore(ctx, f, logger)
	if err != nil {
		return err
	}
	store := kept.store
	defer func() { err = errors.Join(err, store.Close()) }()
	if a.network.listen == nil {
		a.network.listen = (&net.ListenConfig{}).Listen
	}
	listener, err := a.network.listen(ctx, "tcp", a.Listen)
	if err != nil {
		return fmt.Errorf("listen for peers: %w", err)
	}
	hello := link.Hello{
		Version: a.Version, Node: identity.Node, Name: a.Name, Incarnation: f.node.Incarnation, BootID: boot,
		Slots: a.Slots, Cores: runtime.NumCPU(), Memory: memoryBytes("/proc", "/sys/fs/cgroup"), Address: listener.Addr().String(),
	}
	peers := transfer.NewClient(identity.Peer)
	defer peers.CloseIdleConnections()
	known := &storages{access: a.Access}
	packs := newPacks(known)
	defer packs.close()
	free, err := f.vacancy()
	if err != nil {
		return err
	}
	copier := newCopier(identity.Node, store, peers, packs)
	defer copier.close()
	s := site{
		agent: a, folder: f, store: store, hello: hello, logger: logger, spawner: newSpawner(a.Sole), storages: known, cache: kept, copier: copier,
		preparer: &preparer{node: identity.Node, incarnation: f.node.Incarnation, folder: f, store: store, peers: peers, packs: packs, broadcasts: newBroadcasts(), courier: newCourier(a.Access.OpenRange, a.Slots, free.bytes)},
	}
	return s.run(ctx, ledger, identity, listener)
}

// begin starts a new incarnation. Where the disk is full its cache gives way first.
func (a *Agent) begin(ctx context.Context, f *folder, node stint.NodeID, logger *slog.Logger) error {
	begin := func() error { return f.begin(node, a.Name) }
	err := begin()
	if isFull(err) {
		logger.WarnContext(ctx, "disk full at start, cache gives way", "path", a.Dir, "err", err)
		err = giveWay(ctx, f, logger, begin)
	}
	return err
}

// restore opens the block store and enters what earlier incarnations have
// written there.
func (a *Agent) restore(ctx context.Context, f *folder, logger *slog.Logger) (*cache, *Ledger, string, error) {
	boot, err := readBootID()
	if err != nil {
		return nil, nil, "", err
	}
	store, err := block.Open(f.at("blocks"))
	if err != nil {
		return nil, nil, "", fmt.Errorf("open blocks: %w", err)
	}
	if err := store.RemoveLeftovers(); err != nil {
		logger.WarnContext(ctx, "removed executions not removed to their end", "err", err) // they take room, and are nobody's
	}
	ledger := NewLedger(f.node.Node, f.node.Incarnation, maxUnacked)
	start := time.Now()
	kept := newCache(store, f, logger)
	err = recoverAll(ctx, kept, ledger, boot != f.node.BootID, logger)
	failpoint.Reach("recovery.before-verified")
	if err == nil {
		err = f.verified(boot)
	}
	if err != nil {
		return nil, nil, "", errors.Join(err, store.Close())
	}
	logger.InfoContext(ctx, "folder read", "path", a.Dir, "incarnation", f.node.Incarnation, "count", len(store.Executions()), "bytes", store.Bytes(), "took", time.Since(start))
	return kept, ledger, boot, nil
}

// dataPlane is the server of the node's own port.
func (s *site) dataPlane(config *tls.Config) *http.Server {
	mux := http.NewServeMux()
	mux.Handle(transfer.Path, &transfer.Handler{
		Open: func(_ context.Context, x stint.ExecutionID, stage int, op, partition uint32) (*io.SectionReader, int64, uint64, error) {
			section, records, sum, err := s.store.Open(x, stage, op, partition)
			if stint.CodeOf(err) == stint.NotFound {
				s.preparer.missed(x, stage, []stint.Range{{From: op, To: op + 1}})
			}
			return section, records, sum, err
		},
		OpenWhole: func(_ context.Context, x stint.ExecutionID, stage int, op uint32) (*io.SectionReader, []transfer.Part, error) {
			section, parts, err := openWhole(s.store, x, stage, op)
			if stint.CodeOf(err) == stint.NotFound {
				s.preparer.missed(x, stage, []stint.Range{{From: op, To: op + 1}})
			}
			return section, parts, err
		},
	})
	return &http.Server{
		Handler: mux, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
}

// removeAll removes what an execution left here, but for blocks that are to be
// kept as cache. The errors are of its blocks and of its work folder.
func (s *site) removeAll(x stint.ExecutionID) (blocks, work error) {
	failpoint.Reach("forget.before-blocks")
	s.copier.forget(x)
	s.preparer.packs.forget(x)
	s.preparer.broadcasts.forget(x)
	blocks = s.cache.settle(x, time.Now())
	failpoint.Reach("forget.after-blocks")
	return blocks, removeTree(s.folder.work(x))
}

func slotName(i int) string { return "slot-" + strconv.Itoa(i) }
