package transfer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"stint"
	"stint/internal/wire"
)

// Limits of a request.
const (
	MaxRequest = 1 << 20  // bytes of an encoded Request
	maxOps     = 1 << 20  // operations of a Request
	maxReaders = 64       // requests in progress on one node
	copyBuffer = 64 << 10 // bytes
)

const (
	stallTimeout = 30 * time.Second // without a byte read or written
	queueTimeout = 2 * time.Second  // until a request gets 503
)

// Handler serves the blocks of a node to its peers, under [Path]. The fields are
// set before the first request. The TLS configuration of its port lets only
// nodes of the cluster in.
type Handler struct {
	// Open returns the bytes of one operation's partition, the number of their
	// records and their XXH3-64. An empty reader: the block has nothing in that
	// partition. An error: the block is not here, or not readable; one with code
	// Unavailable: it cannot be opened for now, and the answer ends, so that the peer
	// asks again. Called by many goroutines at once.
	Open func(ctx context.Context, x stint.ExecutionID, stage int, op, partition uint32) (*io.SectionReader, int64, uint64, error)

	// OpenWhole returns the bytes of the whole block of an operation and the
	// partitions they consist of. Otherwise as Open.
	OpenWhole func(ctx context.Context, x stint.ExecutionID, stage int, op uint32) (*io.SectionReader, []Part, error)

	once    sync.Once
	readers chan struct{} // a value per request in progress
}

// ServeHTTP answers one [Request].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
		return
	}
	if !h.enter(r.Context()) {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many readers: try again", http.StatusServiceUnavailable)
		return
	}
	defer func() { <-h.readers }()
	req, err := readRequest(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	a := &answer{w: w, control: http.NewResponseController(w), buffer: make([]byte, copyBuffer)}
	// After an error the answer has no end, and that is how the peer learns of it.
	_ = h.serve(r.Context(), a, req)
}

// enter waits a little for one of the places of readers.
func (h *Handler) enter(ctx context.Context) bool {
	h.once.Do(func() { h.readers = make(chan struct{}, maxReaders) })
	wait := time.NewTimer(queueTimeout)
	defer wait.Stop()
	select {
	case h.readers <- struct{}{}:
		return true
	case <-wait.C:
	case <-ctx.Done():
	}
	return false
}

func readRequest(w http.ResponseWriter, r *http.Request) (Request, error) {
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(stallTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return Request{}, err
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest))
	if err != nil {
		return Request{}, err
	}
	var req Request
	if err := wire.Unmarshal(b, &req); err != nil {
		return Request{}, err
	}
	return req, req.check()
}

// check refuses what no agent asks for; it bounds the work of a request.
func (r *Request) check() error {
	if _, err := stint.ParseExecutionID(string(r.Execution)); err != nil {
		return err
	}
	if r.Stage < 0 {
		return stint.Errorf(stint.Invalid, "stage %d: expected 0 or more", r.Stage)
	}
	if len(r.Ops) == 0 {
		return stint.Errorf(stint.Invalid, "ops: empty")
	}
	return checkRanges(r.Ops)
}

// checkRanges refuses lists that are not sorted, overlap, touch, or hold more
// than maxOps operations.
func checkRanges(list []stint.Range) error {
	n := int64(0)
	for i, r := range list {
		if r.From >= r.To || (i > 0 && r.From <= list[i-1].To) {
			return stint.Errorf(stint.Invalid, "ops: %d-%d at %d: expected ranges in ascending order that do not touch", r.From, r.To, i)
		}
		n += int64(r.To) - int64(r.From)
	}
	if n > maxOps {
		return stint.Errorf(stint.Invalid, "ops: %d operations; limit %d", n, maxOps)
	}
	return nil
}

// answer is an answer in the making. What it gathers is sent when there is no
// room for more.
type answer struct {
	w       io.Writer
	control *http.ResponseController
	buffer  []byte
	n       int
}

func (h *Handler) serve(ctx context.Context, a *answer, req Request) error {
	var present, missing []stint.Range
	for _, r := range req.Ops {
		for op := r.From; op < r.To; op++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			head, block, err := h.open(ctx, req, op)
			if stint.CodeOf(err) == stint.Unavailable {
				return err
			}
			if err != nil {
				missing = stint.AddToRanges(missing, op)
				continue
			}
			present = stint.AddToRanges(present, op)
			if block.Size() == 0 {
				continue
			}
			if err := a.block(head, block); err != nil {
				return err
			}
		}
	}
	if err := a.header(header{End: true, Present: present, Missing: missing}); err != nil {
		return err
	}
	return a.flush()
}

// open opens what a request wants of one operation.
func (h *Handler) open(ctx context.Context, req Request, op uint32) (header, *io.SectionReader, error) {
	head := header{Op: op}
	var block *io.SectionReader
	var err error
	if req.Whole {
		block, head.Parts, err = h.OpenWhole(ctx, req.Execution, req.Stage, op)
	} else {
		block, head.Records, head.Sum, err = h.Open(ctx, req.Execution, req.Stage, op, req.Partition)
	}
	if err != nil {
		return header{}, nil, err
	}
	head.Length = block.Size()
	return head, block, nil
}

func (a *answer) header(h header) error {
	b, err := wire.AppendFrame(nil, h)
	if err != nil {
		return err
	}
	for len(b) > 0 {
		if a.n == len(a.buffer) {
			if err := a.flush(); err != nil {
				return err
			}
		}
		n := copy(a.buffer[a.n:], b)
		a.n += n
		b = b[n:]
	}
	return nil
}

// block adds a header and the bytes of a block, which must be as many as the
// header says.
func (a *answer) block(h header, block *io.SectionReader) error {
	if err := a.header(h); err != nil {
		return err
	}
	for left := h.Length; left > 0; {
		if a.n == len(a.buffer) {
			if err := a.flush(); err != nil {
				return err
			}
		}
		room := a.buffer[a.n:]
		n, err := block.Read(room[:min(int64(len(room)), left)])
		a.n += n
		left -= int64(n)
		if err != nil && left > 0 {
			return err
		}
	}
	return nil
}

// flush writes what was gathered; a peer that does not read is given up.
func (a *answer) flush() error {
	if err := a.control.SetWriteDeadline(time.Now().Add(stallTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_, err := a.w.Write(a.buffer[:a.n])
	a.n = 0
	return err
}
