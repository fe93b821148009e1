package fsck

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/zeebo/blake3"

	"stint"
	"stint/internal/block"
	"stint/internal/wire"
	"stint/internal/worker"
)

// holding is what the folder of an agent has of one execution.
type holding struct {
	dir   string // of its blocks
	cache bool   // they are kept for reuse alone
	ops   map[int][]stint.Range
	bad   map[int][]stint.Range // operations whose blocks are not whole
	gone  map[int][]stint.Range // those of the bad ones whose segments are not there
	torn  bool                  // a log cannot be believed to its end
}

// has reports whether the block of an operation is there, and whether it is whole.
func (h *holding) has(stage int, op uint32) (there, whole bool) {
	there = stint.RangesContain(h.ops[stage], op) && !stint.RangesContain(h.gone[stage], op)
	return there, there && !stint.RangesContain(h.bad[stage], op)
}

// folder is the folder of an agent.
type folder struct {
	dir  string
	node stint.NodeID
	held map[stint.ExecutionID]*holding
}

// nodeFile is what of an agent's node.json is read.
type nodeFile struct {
	Node stint.NodeID `json:"node"`
}

// openFolder reads whose folder it is; nil: nobody's yet.
func (l *look) openFolder(dir string) (*folder, error) {
	path := filepath.Join(dir, "node.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // it has not joined yet
	}
	if err != nil {
		return nil, err
	}
	var n nodeFile
	if json.Unmarshal(b, &n) != nil || n.Node == "" {
		l.find(NodeUnreadable, "", path, "%s does not say which node the folder is of", path)
		return nil, nil //nolint:nilnil,nilerr // what is in it is nobody's
	}
	return &folder{dir: dir, node: n.Node, held: make(map[stint.ExecutionID]*holding)}, nil
}

// lookAtFolders reads the agents' folders and verifies what their logs claim.
func (l *look) lookAtFolders(ctx context.Context) error {
	for _, dir := range l.agents {
		f, err := l.openFolder(dir)
		if err != nil {
			l.blind(dir, err)
			continue
		}
		if f == nil {
			continue
		}
		l.count(func(c *Looked) { c.Nodes++ })
		if err := l.lookAtBlocks(ctx, f); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			l.blind(dir, err)
			continue
		}
		if l.only == nil {
			l.lookAtNodeFiles(ctx, f)
		}
		l.folders = append(l.folders, f)
	}
	return nil
}

// lookAtBlocks verifies the blocks in an agent's folder, execution by execution.
func (l *look) lookAtBlocks(ctx context.Context, f *folder) error {
	dir := filepath.Join(f.dir, "blocks")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil // opening would make it
	}
	store, err := block.Open(dir)
	if err != nil {
		return err
	}
	defer store.Close() //nolint:errcheck // only read
	for _, x := range store.Executions() {
		if !l.concerns(x) && !l.reused[x] {
			continue
		}
		h := &holding{dir: filepath.Join(dir, string(x)), ops: make(map[int][]stint.Range), bad: make(map[int][]stint.Range), gone: make(map[int][]stint.Range)}
		_, err := os.Lstat(filepath.Join(h.dir, "keep.json"))
		h.cache = err == nil
		if err := l.readLogs(store, x, h); err != nil {
			return err
		}
		if err := l.verifyBlocks(ctx, store, x, h); err != nil {
			return err
		}
		if err := store.Unload(x); err != nil {
			return err
		}
		f.held[x] = h
	}
	return nil
}

// readLogs enters in the store what the logs of an execution say.
func (l *look) readLogs(store *block.Store, x stint.ExecutionID, h *holding) error {
	if err := store.ForgetCondemned(x); err != nil { // first: what is added then is what is believed
		return err
	}
	logs, err := store.Logs(x)
	if err != nil {
		return err
	}
	ended := make(map[int]map[uint32]int64) // when, by stage and operation
	for _, log := range logs {
		err := l.readLog(x, log.Path, h, func(r io.Reader, at func() int64) (int64, error) {
			end := at()
			err := worker.ReadLog(r, func(rec worker.Record) error {
				end = at()
				return enter(store, x, rec.Done, ended)
			})
			return end, err
		})
		if err != nil {
			return err
		}
	}
	copies, err := filepath.Glob(filepath.Join(globEscaped(h.dir), "*.copies"))
	if err != nil {
		return err
	}
	for _, path := range copies {
		err := l.readLog(x, path, h, func(r io.Reader, at func() int64) (int64, error) { return readCopies(store, x, r, at) })
		if err != nil {
			return err
		}
	}
	return nil
}

// enter enters the block of a completion, of two that are not condemned the later one.
// An index that makes no sense is an error.
func enter(store *block.Store, x stint.ExecutionID, d *worker.DoneRecord, ended map[int]map[uint32]int64) error {
	if d == nil || d.Op.End < ended[d.Stage][d.Op.Op] {
		return nil
	}
	if d.Block != nil && store.Condemned(x, d.Stage, d.Op.Op, *d.Block) {
		return nil // an earlier one may be whole
	}
	if ended[d.Stage] == nil {
		ended[d.Stage] = make(map[uint32]int64)
	}
	ended[d.Stage][d.Op.Op] = d.Op.End
	switch {
	case d.Block != nil:
		return store.Add(x, d.Stage, d.Op.Op, *d.Block)
	case d.Part == nil:
		return store.Add(x, d.Stage, d.Op.Op, block.Index{})
	}
	return nil
}

// readCopies enters the blocks of a log of copies, and returns where it ends.
func readCopies(store *block.Store, x stint.ExecutionID, r io.Reader, at func() int64) (int64, error) {
	for end := at(); ; end = at() {
		var c block.Copied
		_, err := wire.ReadFrame(r, &c)
		if errors.Is(err, io.EOF) || errors.Is(err, wire.ErrTorn) {
			return end, nil
		}
		if err == nil {
			err = store.Add(x, c.Stage, c.Op, c.Block)
		}
		if err != nil {
			return end, err
		}
	}
}

// counted counts what was read.
type counted struct {
	r io.Reader
	n int64
}

// Read reads on and counts.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// readLog reads one log and finds out whether it ends as one of a worker that was
// killed may end.
func (l *look) readLog(x stint.ExecutionID, path string, h *holding, read func(r io.Reader, at func() int64) (int64, error)) error {
	log, err := block.OpenLog(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // removed since it was listed
	case stint.CodeOf(err) == stint.Invalid:
		h.torn = true
		l.find(LogForeign, x, path, "%s", err)
		return nil
	case err != nil:
		return err
	}
	defer log.Close() //nolint:errcheck // only read
	c := &counted{r: log}
	end, err := read(c, func() int64 { return c.n })
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	why, unread := restOf(path, c.n, end)
	if err != nil {
		why, unread = err.Error(), nil
	}
	if unread != nil {
		return unread
	}
	if why != "" {
		h.torn = true
		l.find(LogAltered, x, path, "the log can be read for %d bytes behind its first line: %s", end, why)
	}
	return nil
}

// restOf says why a log was not read behind some byte, other than that its writer was
// killed: then the last record is cut short. read is how far reading has come.
func restOf(path string, read, end int64) (string, error) {
	if read == end {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	title, err := lengthOfTitle(f)
	if err != nil {
		return "", err
	}
	const header = 8
	var h [header]byte
	rest := info.Size() - title - end
	n, err := f.ReadAt(h[:], title+end)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	length := int64(binary.LittleEndian.Uint32(h[:4]))
	switch {
	case n < header || length > 0 && length <= wire.MaxFrame && header+length > rest:
		return "", nil
	case length == 0 || length > wire.MaxFrame:
		return fmt.Sprintf("%d bytes follow that are no record", rest), nil
	}
	return fmt.Sprintf("the record there does not have its checksum, %d bytes follow", rest), nil
}

func lengthOfTitle(f *os.File) (int64, error) {
	const most = 256
	b := make([]byte, most)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return int64(strings.IndexByte(string(b[:n]), '\n') + 1), nil
}

// verifyBlocks compares all blocks of an execution with their checksums.
func (l *look) verifyBlocks(ctx context.Context, store *block.Store, x stint.ExecutionID, h *holding) error {
	type piece struct {
		stage int
		ops   []stint.Range
	}
	var all []piece
	for _, stage := range store.Stages(x) {
		h.ops[stage] = store.Completed(x, stage)
		for _, ops := range pieces(h.ops[stage], chunkOps) {
			all = append(all, piece{stage, ops})
		}
	}
	var mu sync.Mutex
	return each(ctx, all, func(ctx context.Context, p piece) error {
		bad, gone, bytes, err := store.Check(ctx, x, p.stage, p.ops)
		if err != nil {
			return err
		}
		mu.Lock()
		h.bad[p.stage], h.gone[p.stage] = union(h.bad[p.stage], bad), union(h.gone[p.stage], gone)
		mu.Unlock()
		l.count(func(c *Looked) { c.Blocks += int64(stint.CountRanges(p.ops)); c.Bytes += bytes })
		return nil
	})
}

func union(a, b []stint.Range) []stint.Range {
	for _, r := range b {
		a = stint.UnionRange(a, r)
	}
	return a
}

// lookAtNodeFiles compares the program files that a node has fetched with their names.
func (l *look) lookAtNodeFiles(ctx context.Context, f *folder) {
	names, err := filepath.Glob(filepath.Join(globEscaped(f.dir), "files", "*-*"))
	if err == nil {
		err = each(ctx, names, func(_ context.Context, path string) error {
			digest, err := stint.ParseDigest(strings.SplitN(filepath.Base(path), "-", 2)[0])
			if err != nil {
				return nil //nolint:nilerr // one that is being fetched
			}
			n, got, err := digestOf(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && got != digest {
				l.find(NodeFileDamaged, "", path, "a fetched program file has digest %s", got)
			}
			l.count(func(c *Looked) { c.Bytes += n })
			return err
		})
	}
	if err != nil {
		l.blind(filepath.Join(f.dir, "files"), err)
	}
}

func digestOf(path string) (int64, stint.Digest, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, stint.Digest{}, err
	}
	defer file.Close() //nolint:errcheck // only read
	return digestFrom(file)
}

func digestFrom(r io.Reader) (int64, stint.Digest, error) {
	hash := blake3.New()
	n, err := io.Copy(hash, r)
	return n, stint.Digest(hash.Sum(nil)), err
}

// workOf returns the executions that a node has working folders of.
func workOf(f *folder) []stint.ExecutionID {
	entries, err := os.ReadDir(filepath.Join(f.dir, "work"))
	if err != nil {
		return nil
	}
	var out []stint.ExecutionID
	for _, e := range entries {
		if x, err := stint.ParseExecutionID(e.Name()); err == nil {
			out = append(out, x)
		}
	}
	slices.Sort(out)
	return out
}
