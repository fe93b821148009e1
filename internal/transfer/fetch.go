package transfer

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/wire"
)

const (
	maxConns    = 8 // idle, kept per peer
	dialTimeout = 10 * time.Second
	busyTimeout = 30 * time.Second // how long 503 is taken for an answer
	maxRetry    = 5 * time.Second  // between two attempts at a node that is busy
)

// NewClient returns a client for [Fetch]: HTTP/1.1 over TLS, which moves bulk
// faster than HTTP/2; no redirects, no proxies, no compression. config has the
// node's certificate and verifies that a peer is a node of the cluster.
func NewClient(config *tls.Config) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:     config,
			TLSHandshakeTimeout: dialTimeout,
			Protocols:           protocols,
			DisableCompression:  true,
			MaxIdleConnsPerHost: maxConns,
			IdleConnTimeout:     time.Minute,
			ReadBufferSize:      copyBuffer,
			WriteBufferSize:     4 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Fetch asks the node at addr (host:port) for blocks and writes their bytes to w,
// one after the other in ascending order of operations. It returns where the
// bytes of each operation lie, for those that have bytes in the partition. The
// bytes are verified.
//
// Errors have codes: Lost with a [MissingError] (the others were written, and are
// returned) or a [ChecksumError]; Unavailable for a peer that cannot be reached,
// is busy, stops in between or is silent for 30 s; Denied when another node than
// req.Node answers; Invalid for a bad request. An error of w is returned wrapped.
// With an error, bytes in w beyond those that are returned are rubbish.
func Fetch(ctx context.Context, client *http.Client, addr string, req Request, w io.Writer) ([]Fetched, error) {
	f := &fetch{req: req, w: w}
	err := f.run(ctx, client, addr)
	return f.done, err
}

// FetchWhole asks the node at addr for whole blocks and hands each to keep: its
// partitions, and their bytes one after the other. It returns the operations that
// keep has taken. keep is called in the caller's goroutine, reads all there is,
// and answers with an error of code Lost if the bytes are not those that the
// partitions' checksums are of; req.Whole is set by FetchWhole.
//
// Errors as of [Fetch], but for blocks that keep refuses: Lost with a
// [DamagedError]. Blocks behind such a one are not asked for.
func FetchWhole(ctx context.Context, client *http.Client, addr string, req Request, keep func(op uint32, parts []Part, r io.Reader) error) ([]stint.Range, error) {
	req.Whole = true
	f := &fetch{req: req, keep: keep}
	err := f.run(ctx, client, addr)
	var kept []stint.Range
	for _, d := range f.done {
		kept = stint.AddToRanges(kept, d.Op)
	}
	if err == nil || isMissing(err) {
		err = errors.Join(err, f.keepEmpty(&kept))
	}
	return kept, err
}

func isMissing(err error) bool {
	_, ok := errors.AsType[*MissingError](err)
	return ok
}

// keepEmpty hands over the blocks that are there and have no bytes.
func (f *fetch) keepEmpty(kept *[]stint.Range) error {
	for _, r := range f.present {
		for op := r.From; op < r.To; op++ {
			if stint.RangesContain(*kept, op) {
				continue
			}
			if err := f.keep(op, nil, bytes.NewReader(nil)); err != nil {
				return fmt.Errorf("keep block of operation %d: %w", op, err)
			}
			*kept = stint.AddToRanges(*kept, op)
		}
	}
	return nil
}

// run makes the request and reads the answer.
func (f *fetch) run(ctx context.Context, client *http.Client, addr string) error {
	if err := f.req.check(); err != nil {
		return fmt.Errorf("fetch blocks: %w", err)
	}
	body, err := wire.Marshal(f.req)
	if err != nil {
		return fmt.Errorf("fetch blocks: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f.stall = time.AfterFunc(stallTimeout, func() {
		cancel(stint.Errorf(stint.Unavailable, "no byte for %v", stallTimeout))
	})
	defer f.stall.Stop()
	err = f.ask(ctx, client, addr, body)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return fetchError(addr, f.req, err)
	}
	return nil
}

// fetchError says where and what, and gives errors of the network their code.
func fetchError(addr string, req Request, err error) error {
	code := stint.CodeOf(err)
	switch {
	case errors.Is(err, context.Canceled):
		code = stint.Canceled
	case isWriteError(err):
		return fmt.Errorf("keep blocks of %s from %s: %w", req.Execution, addr, err)
	case code == stint.Internal:
		code = stint.Unavailable
	}
	return &stint.Error{Code: code, Err: fmt.Errorf("fetch blocks of %s stage %d partition %d from %s: %w",
		req.Execution, req.Stage, req.Partition, addr, err)}
}

// writeError marks an error of the caller's writer, which says nothing of the peer.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

func isWriteError(err error) bool {
	_, ok := errors.AsType[*writeError](err)
	return ok
}

// fetch is one call of Fetch or FetchWhole.
type fetch struct {
	req     Request
	w       io.Writer                                        // of Fetch
	keep    func(op uint32, parts []Part, r io.Reader) error // of FetchWhole
	stall   *time.Timer                                      // runs while bytes of the peer are waited for
	offset  int64
	done    []Fetched
	present []stint.Range // once the answer has ended
}

// ask sends the request, again while the peer is busy, and reads the answer.
func (f *fetch) ask(ctx context.Context, client *http.Client, addr string, body []byte) error {
	until := time.Now().Add(busyTimeout)
	for {
		f.stall.Reset(stallTimeout)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+Path, bytes.NewReader(body))
		if err != nil {
			return stint.Errorf(stint.Invalid, "address %.80q: expected HOST:PORT: %w", addr, err)
		}
		resp, err := client.Do(r)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusServiceUnavailable {
			return errors.Join(f.answer(resp), resp.Body.Close())
		}
		if err := f.rest(ctx, resp, until); err != nil {
			return err
		}
	}
}

// rest waits as long as a busy peer asks for.
func (f *fetch) rest(ctx context.Context, resp *http.Response, until time.Time) error {
	f.stall.Stop()
	if err := resp.Body.Close(); err != nil {
		return err
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		seconds = 1
	}
	wait := time.NewTimer(min(time.Duration(seconds)*time.Second, maxRetry))
	defer wait.Stop()
	if time.Now().After(until) {
		return stint.Errorf(stint.Unavailable, "the node is busy for %v", busyTimeout)
	}
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// timedReader lets the stall timer run while it reads.
type timedReader struct {
	r     io.Reader
	stall *time.Timer
}

func (t *timedReader) Read(p []byte) (int, error) {
	t.stall.Reset(stallTimeout)
	defer t.stall.Stop() // what follows is the caller's time
	return t.r.Read(p)
}

func (f *fetch) answer(resp *http.Response) error {
	if err := checkPeer(resp.TLS, f.req.Node); err != nil {
		return err
	}
	body := bufio.NewReaderSize(&timedReader{resp.Body, f.stall}, copyBuffer)
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, 200)) // a text for people; none is fine
		return stint.Errorf(stint.Unavailable, "status %d: %q", resp.StatusCode, bytes.TrimSpace(text))
	}
	for {
		var h header
		if _, err := wire.ReadFrame(body, &h); err != nil {
			return fmt.Errorf("answer is not whole: %w", unexpectedEOF(err))
		}
		if h.End {
			return f.end(h)
		}
		if err := f.checkHeader(h); err != nil {
			return err
		}
		if err := f.block(h, body); err != nil {
			return err
		}
	}
}

// checkPeer refuses an answer of another node than the one that was asked.
func checkPeer(cs *tls.ConnectionState, node stint.NodeID) error {
	if node == "" {
		return nil
	}
	if cs != nil && len(cs.PeerCertificates) > 0 {
		for _, u := range cs.PeerCertificates[0].URIs {
			if u.String() == "stint://node/"+string(node) {
				return nil
			}
		}
	}
	return stint.Errorf(stint.Denied, "identity_mismatch: the certificate is not of node %s", node)
}

func (f *fetch) checkHeader(h header) error {
	if n := len(f.done); n > 0 && h.Op <= f.done[n-1].Op {
		return stint.Errorf(stint.Unavailable, "answer out of order: operation %d after %d", h.Op, f.done[n-1].Op)
	}
	if !stint.RangesContain(f.req.Ops, h.Op) {
		return stint.Errorf(stint.Unavailable, "answer holds operation %d, which was not asked for", h.Op)
	}
	if h.Length <= 0 || h.Records < 0 {
		return stint.Errorf(stint.Unavailable, "answer says that operation %d has %d bytes and %d records", h.Op, h.Length, h.Records)
	}
	if !f.req.Whole {
		return nil
	}
	left := h.Length
	for i, p := range h.Parts {
		if p.Length <= 0 || p.Length > left || p.Records < 0 || i > 0 && p.Partition <= h.Parts[i-1].Partition {
			return stint.Errorf(stint.Unavailable, "answer says that partition %d of operation %d has %d bytes and %d records", p.Partition, h.Op, p.Length, p.Records)
		}
		left -= p.Length
	}
	if left != 0 {
		return stint.Errorf(stint.Unavailable, "answer says that the partitions of operation %d have %d bytes of %d", h.Op, h.Length-left, h.Length)
	}
	return nil
}

// wholeBlock has one block kept.
func (f *fetch) wholeBlock(h header, body *bufio.Reader) error {
	r := &watchedReader{r: io.LimitReader(body, h.Length)}
	err := f.keep(h.Op, h.Parts, r)
	switch {
	case r.n < h.Length && (err == nil || r.err != nil):
		return fmt.Errorf("operation %d: %d bytes of %d: %w", h.Op, r.n, h.Length, unexpectedEOF(cmp.Or(r.err, io.EOF)))
	case stint.CodeOf(err) == stint.Lost:
		return &stint.Error{Code: stint.Lost, Err: &DamagedError{Op: h.Op, Err: err}}
	case err != nil:
		return &writeError{err}
	}
	f.done = append(f.done, Fetched{Op: h.Op, Length: h.Length})
	return nil
}

// watchedReader knows how much was read from it, and what went wrong: errors of
// the peer are told from those of who keeps the bytes.
type watchedReader struct {
	r   io.Reader
	n   int64
	err error
}

func (w *watchedReader) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	w.n += int64(n)
	if err != nil {
		w.err = err
	}
	return n, err
}

// block copies the bytes of one block and verifies them.
func (f *fetch) block(h header, body *bufio.Reader) error {
	if f.req.Whole {
		return f.wholeBlock(h, body)
	}
	sum := xxh3.New()
	n, err := io.CopyN(&keeper{f.w, sum}, body, h.Length)
	f.offset += n
	if err != nil {
		return fmt.Errorf("operation %d: %d bytes of %d: %w", h.Op, n, h.Length, unexpectedEOF(err))
	}
	if got := sum.Sum64(); got != h.Sum {
		return &stint.Error{Code: stint.Lost, Err: &ChecksumError{Op: h.Op, Want: h.Sum, Got: got}}
	}
	f.done = append(f.done, Fetched{Op: h.Op, Offset: f.offset - n, Length: n, Records: h.Records, Sum: h.Sum})
	return nil
}

// keeper hands bytes to the caller's writer and to the sum.
type keeper struct {
	w   io.Writer
	sum *xxh3.Hasher
}

func (k *keeper) Write(p []byte) (int, error) {
	n, err := k.w.Write(p)
	if err != nil {
		return n, &writeError{err}
	}
	return k.sum.Write(p)
}

// end checks that nothing that was asked for is left out.
func (f *fetch) end(h header) error {
	if errors.Join(checkRanges(h.Present), checkRanges(h.Missing)) != nil {
		return stint.Errorf(stint.Unavailable, "answer ends with ranges in disorder")
	}
	all := slices.Clone(h.Present)
	for _, r := range h.Missing {
		all = stint.UnionRange(all, r)
	}
	if !slices.Equal(all, f.req.Ops) || stint.CountRanges(h.Present)+stint.CountRanges(h.Missing) != stint.CountRanges(all) {
		return stint.Errorf(stint.Unavailable, "answer does not account for the operations that were asked for, each once")
	}
	for _, d := range f.done {
		if !stint.RangesContain(h.Present, d.Op) {
			return stint.Errorf(stint.Unavailable, "answer says that operation %d is missing, after its bytes", d.Op)
		}
	}
	f.present = h.Present
	if len(h.Missing) > 0 {
		return &stint.Error{Code: stint.Lost, Err: &MissingError{Ops: h.Missing}}
	}
	return nil
}

// unexpectedEOF keeps an early end from being mistaken for a regular one.
func unexpectedEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
