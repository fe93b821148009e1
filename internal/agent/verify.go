package agent

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"

	"stint"
	"stint/internal/object"
	"stint/internal/wire"
)

const (
	maxTold     = 1000 // changes and faults in one result
	packsAtOnce = 8    // looked at
)

// verify looks whether everything that an execution resumes from is there, and
// its input what it was. It changes nothing.
func (s *site) verify(ctx context.Context, e stint.Errand, result *stint.ErrandResult) error {
	storage, err := s.storages.open(ctx, e.Storage)
	if err != nil {
		return err
	}
	f := faults{result: result}
	if err := f.input(ctx, s.agent.Access, storage, e, result); err != nil {
		return err
	}
	if err := f.saved(ctx, storage, e); err != nil {
		return err
	}
	if len(e.Parts) == 0 {
		return nil
	}
	return s.agent.Access.CheckStaged(ctx, e.Output, e.Execution, e.Parts, func(p stint.Part, err error) {
		f.add(err.Error())
		result.Parts = append(result.Parts, p)
	})
}

// faults enter in a result what is missing or altered.
type faults struct {
	mu     sync.Mutex
	result *stint.ErrandResult
}

func (f *faults) add(text string) {
	if len(f.result.Faults) < maxTold {
		f.result.Faults = append(f.result.Faults, text)
	}
}

// input compares the inputs with what they were.
func (f *faults) input(ctx context.Context, access *object.Access, storage *object.Storage, e stint.Errand, result *stint.ErrandResult) error {
	if len(e.Inputs)+len(e.NamedInputs) == 0 {
		return nil
	}
	key := listings + "/" + e.Listing.String()
	was, err := loadListing(ctx, storage, e.Listing, key)
	switch code := stint.CodeOf(err); {
	case code == stint.NotFound:
		f.add(fmt.Sprintf("the listing of the input is missing: %s", key))
		return nil
	case code == stint.Invalid:
		f.add(fmt.Sprintf("listing %s: %v", key, err))
		return nil
	case err != nil:
		return err
	}
	now, err := listWhatIsThere(ctx, access, inputsOf(e))
	if err != nil {
		return err
	}
	compareListings(was, now, result)
	return nil
}

func loadListing(ctx context.Context, storage *object.Storage, digest stint.Digest, key string) (stint.Listing, error) {
	f, err := storage.Get(ctx, key)
	if err != nil {
		return stint.Listing{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, maxListing))
	if err != nil {
		return stint.Listing{}, err
	}
	if got := blake3.Sum256(b); got != digest {
		return stint.Listing{}, stint.Errorf(stint.Invalid, "it was altered: its digest is %s", stint.Digest(got))
	}
	var l stint.Listing
	if err := wire.Unmarshal(b, &l); err != nil {
		return stint.Listing{}, stint.Errorf(stint.Invalid, "decode listing: %w", err)
	}
	return l, nil
}

// listWhatIsThere lists the inputs; one that names nothing any more has nothing.
func listWhatIsThere(ctx context.Context, access *object.Access, in object.Inputs) (stint.Listing, error) {
	in.Lines = nil // where it may be cut says nothing that its versions do not
	listing, err := access.List(ctx, in)
	if stint.CodeOf(err) != stint.NotFound {
		return listing, err
	}
	left := object.Inputs{Named: make(map[string][]string)}
	if left.Locations, err = thoseThere(ctx, access, in.Locations); err != nil {
		return stint.Listing{}, err
	}
	for name, locations := range in.Named {
		if left.Named[name], err = thoseThere(ctx, access, locations); err != nil {
			return stint.Listing{}, err
		}
	}
	return access.List(ctx, left)
}

// thoseThere returns the locations that name something.
func thoseThere(ctx context.Context, access *object.Access, locations []string) ([]string, error) {
	var left []string
	for _, location := range locations {
		_, err := access.List(ctx, object.Inputs{Locations: []string{location}})
		switch {
		case err == nil:
			left = append(left, location)
		case stint.CodeOf(err) != stint.NotFound:
			return nil, err
		}
	}
	return left, nil
}

// compareListings enters how the second differs from the first; both are sorted.
func compareListings(was, now stint.Listing, result *stint.ErrandResult) {
	change := func(kind stint.ChangeKind, url string) {
		if result.Changed++; result.Changed <= maxTold {
			result.Changes = append(result.Changes, stint.Change{Kind: kind, URL: url})
		}
	}
	a, b := was.Objects, now.Objects
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && object.Compare(a[0], b[0]) < 0:
			change(stint.ObjectMissing, a[0].URL)
			a = a[1:]
		case len(a) == 0 || object.Compare(a[0], b[0]) > 0:
			change(stint.ObjectAdded, b[0].URL)
			b = b[1:]
		default:
			if a[0] != b[0] {
				change(stint.ObjectChanged, a[0].URL)
			}
			a, b = a[1:], b[1:]
		}
	}
}

// saved looks at packs and checkpoints.
func (f *faults) saved(ctx context.Context, storage *object.Storage, e stint.Errand) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(packsAtOnce)
	for _, pack := range e.Packs {
		g.Go(func() error {
			return f.enter(checkPack(gctx, storage, pack), func() { f.result.Bad = append(f.result.Bad, stint.BadCopy{Pack: pack.Key, Stage: pack.Stage}) })
		})
	}
	for _, c := range e.Checkpoints {
		g.Go(func() error {
			return f.enter(checkCheckpoint(gctx, storage, c), func() { f.result.Checkpoints = append(f.result.Checkpoints, c.Key) })
		})
	}
	return g.Wait()
}

// enter makes an error a fault if it says that something is missing or altered,
// and has it named; other errors it returns.
func (f *faults) enter(err error, name func()) error {
	if code := stint.CodeOf(err); err == nil || code != stint.NotFound && code != stint.Lost {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.add(err.Error())
	name()
	return nil
}

func checkPack(ctx context.Context, storage *object.Storage, pack stint.Pack) error {
	f, err := storage.Get(ctx, pack.Key)
	if stint.CodeOf(err) == stint.NotFound {
		return stint.Errorf(stint.NotFound, "pack %s is missing", pack.Key)
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	index, err := readPack(f, pack)
	if err != nil {
		return err
	}
	if absent := without(pack.Ops, index.Ops()); len(absent) > 0 {
		return stint.Errorf(stint.Lost, "pack %s does not have operation %d, as its record says", pack.Key, absent[0].From)
	}
	return nil
}

func checkCheckpoint(ctx context.Context, storage *object.Storage, c stint.Checkpoint) error {
	found, err := storage.Stat(ctx, c.Key)
	switch {
	case stint.CodeOf(err) == stint.NotFound:
		return stint.Errorf(stint.NotFound, "checkpoint %s is missing", c.Key)
	case err == nil && found.Size != c.Bytes:
		return stint.Errorf(stint.Lost, "checkpoint %s has %d bytes, was written with %d", c.Key, found.Size, c.Bytes)
	}
	return err
}

// inventory says which output of an execution is still kept on this node.
func (s *site) inventory(x stint.ExecutionID, result *stint.ErrandResult) {
	s.cache.touch(x, time.Now())
	for _, stage := range s.store.Stages(x) {
		if ops := s.store.Completed(x, stage); len(ops) > 0 {
			result.Held = append(result.Held, stint.StageOps{Stage: stage, Ops: ops})
		}
	}
}

// adopt stages parts of an earlier output that are still what they were.
func adopt(ctx context.Context, access *object.Access, e stint.Errand, result *stint.ErrandResult) error {
	for _, part := range e.Parts {
		staged, err := access.Adopt(ctx, e.From, e.Output, e.Execution, part)
		if code := stint.CodeOf(err); code == stint.NotFound || code == stint.Lost {
			continue // it is not what it was: its operation is performed again
		}
		if err != nil {
			return err
		}
		result.Parts = append(result.Parts, staged)
	}
	return nil
}
