package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"stint"
	"stint/internal/block"
	"stint/internal/object"
)

// packs are the packs that operations here read from, opened once for each
// execution and kept open until it is forgotten. Safe for concurrent use.
type packs struct {
	storages *storages
	mu       sync.Mutex
	open     map[stint.ExecutionID]map[string]*openPack // by storage and key
}

func newPacks(known *storages) *packs {
	return &packs{storages: known, open: make(map[stint.ExecutionID]map[string]*openPack)}
}

// openPack is a pack that was found to be whole as far as its index says. The
// files belong to packs: local may be passed to another process and is not closed.
type openPack struct {
	file  object.Stored
	local *os.File // the same, if it is a file of this machine; otherwise nil
	index *block.PackIndex
}

// close closes the pack, which was only read.
func (o *openPack) close() error {
	err := o.file.Close()
	if o.local != nil {
		err = errors.Join(err, o.local.Close())
	}
	return err
}

// localFile returns another descriptor of what is stored, nil if it has none.
func localFile(stored object.Stored, name string) (*os.File, error) {
	f, ok := stored.(interface{ Fd() uintptr })
	if !ok {
		return nil, nil //nolint:nilnil // it lies elsewhere
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s once more: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// get opens a pack for an execution. Errors: [stint.NotFound] if the pack is not
// in its storage, [stint.Lost] if it is damaged; [stint.Unavailable] if the
// storage cannot be reached, which says nothing of the pack.
func (p *packs) get(ctx context.Context, x stint.ExecutionID, storage string, pack stint.Pack) (*openPack, error) {
	name := storage + " " + pack.Key
	if found := p.find(x, name); found != nil {
		return found, nil
	}
	opened, err := p.read(ctx, storage, pack)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if first := p.open[x][name]; first != nil {
		return first, opened.close() // opened twice at the same time
	}
	if p.open[x] == nil {
		p.open[x] = make(map[string]*openPack)
	}
	p.open[x][name] = opened
	return opened, nil
}

func (p *packs) find(x stint.ExecutionID, name string) *openPack {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open[x][name]
}

func (p *packs) read(ctx context.Context, storage string, pack stint.Pack) (*openPack, error) {
	from, err := p.storages.open(ctx, storage)
	if err != nil {
		return nil, stint.Errorf(stint.Unavailable, "open pack %s: %w", pack.Key, err)
	}
	f, err := from.Get(ctx, pack.Key)
	if err != nil {
		return nil, err
	}
	index, err := readPack(f, pack)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	local, err := localFile(f, pack.Key)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &openPack{file: f, local: local, index: index}, nil
}

// readPack reads the index of a pack, which must have its size.
func readPack(f object.Stored, pack stint.Pack) (*block.PackIndex, error) {
	if f.Size() != pack.Bytes {
		return nil, stint.Errorf(stint.Lost, "pack %s has %d bytes, was written with %d", pack.Key, f.Size(), pack.Bytes)
	}
	return block.ReadPackIndex(f, pack)
}

// section returns a range of the pack.
func (o *openPack) section(offset, length int64) *io.SectionReader {
	return io.NewSectionReader(o.file, offset, length)
}

// forget closes the packs of an execution.
func (p *packs) forget(x stint.ExecutionID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.open[x] {
		_ = o.close() // only read
	}
	delete(p.open, x)
}

// close closes all packs.
func (p *packs) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.open {
		for _, o := range list {
			_ = o.close() // only read
		}
	}
	clear(p.open)
}
