package fsck

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/block"
	"stint/internal/coord"
	"stint/internal/object"
	"stint/internal/plan"
	"stint/internal/server"
)

// place is a storage and what people call it.
type place struct {
	storage  *object.Storage
	location string
}

// openStorage opens the service's own storage: the one that was named, or that it
// has used.
func (l *look) openStorage(ctx context.Context) error {
	known := make(map[string]uint64)
	if l.db != nil {
		var err error
		if known, err = l.db.KnownStorages(ctx); err != nil {
			return l.badRecord(ctx, err)
		}
	}
	var err error
	if l.location, err = l.chooseStorage(ctx, known); err != nil {
		return err
	}
	storage, err := l.check.Access.FindStorage(ctx, l.location)
	switch code := stint.CodeOf(err); {
	case err == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case code == stint.Invalid:
		l.find(StorageForeign, "", l.location, "%s", err)
		return nil
	default:
		l.blind(l.location, err)
		return nil
	}
	if id := known[l.location]; id != 0 && id != storage.ID() {
		l.find(StorageForeign, "", l.location, "the storage at %s is not the one that this service has used there", l.location)
		return nil
	}
	l.storage = storage
	l.homes[""] = storage
	return nil
}

// chooseStorage returns the location of the service's own storage.
func (l *look) chooseStorage(ctx context.Context, known map[string]uint64) (string, error) {
	if l.check.Storage != "" {
		location, err := object.ParseLocation(l.check.Storage)
		if err != nil {
			return "", fmt.Errorf("--storage: %w", err)
		}
		return location, nil
	}
	own, err := object.ParseLocation(filepath.Join(l.check.Data, "storage"))
	if err != nil {
		return "", err
	}
	_, used := known[own]
	if !used && len(known) > 0 { // the data folder may have been moved or copied, with the storage in it
		there, err := l.check.Access.FindStorage(ctx, own)
		used = err == nil && slices.Contains(slices.Collect(maps.Values(known)), there.ID())
		if used {
			return own, nil
		}
	}
	switch {
	case len(known) == 0, used && len(known) == 1:
		return own, nil
	case len(known) == 1:
		return slices.Collect(maps.Keys(known))[0], nil
	}
	return "", stint.Errorf(stint.Invalid, "the service has used several storages: name the one it uses with --storage: %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
}

// homeOf returns the storage that the saved state of an execution lies in.
func (l *look) homeOf(ctx context.Context, url string) (place, error) {
	if url == "" {
		return place{l.storage, l.location}, nil
	}
	if s := l.homes[url]; s != nil {
		return place{s, url}, nil
	}
	s, err := l.check.Access.FindStorage(ctx, url)
	if err != nil {
		return place{}, err
	}
	l.homes[url] = s
	return place{s, url}, nil
}

// lookAtSaved looks at the saved state of an execution of the record. It returns
// whether a pack is whole.
func (l *look) lookAtSaved(ctx context.Context, s *subject) (whole func(key string) bool, err error) {
	l.judged[s.id] = s.home.storage == l.storage
	whole = func(string) bool { return true }
	saved, err := l.examine(ctx, s.id, s.home)
	if err != nil {
		return whole, err
	}
	status := s.state.Status()
	if s.state.Settled() && status != stint.CompletedErrors {
		if latest, claimed := saved.latest(); len(saved.keys) > 0 && !saved.ended && (latest.ours || !claimed) {
			l.find(SavedLeft, s.id, s.home.at("saved/"+string(s.id)), "%s is over, and %d objects of its saved state are there", s.id, len(saved.keys))
		}
		return whole, nil
	}
	severity := Repairable
	if !s.state.Settled() {
		v := judgeClaims(s.id, claims{status, s.state.Generation()}, saved)
		if v.code != "" {
			l.findAs(v.severity, v.code, s.id, s.home.at("saved/"+string(s.id)), "%s", v.text)
		}
		if !v.ours {
			s.elsewhere = true
			if v.code == "" {
				l.pass(s.home.at("saved/"+string(s.id)), "%s goes on, or has ended, with another service", s.id)
			}
			return whole, nil
		}
	}
	if status == stint.Suspended {
		severity = Lost
		if saved.records[s.state.Generation()] {
			l.lookAtSavedRecord(ctx, s.id, s.home, s.state.Generation(), s.state)
		}
	}
	l.lookForStrayPacks(s.id, s.state, s.home, saved)
	return l.verifySaved(ctx, s.id, s.home, s.state, severity)
}

func (p place) at(key string) string { return p.location + "/" + key }

// examine reads what storage says of an execution.
func (l *look) examine(ctx context.Context, x stint.ExecutionID, at place) (savedState, error) {
	found, err := server.ExamineSaved(ctx, at.storage, x, l.service)
	if err != nil {
		return savedState{}, err
	}
	s := savedState{keys: found.Keys, claims: make(map[uint64]bool), records: make(map[uint64]bool), ended: found.Ended}
	for _, c := range found.Claims {
		s.claims[c.Generation] = true
	}
	for _, r := range found.Records {
		s.records[r] = true
	}
	if c, any := found.Latest(); any {
		s.last = claim{c.Generation, c.Ours || c.Service == ""}
	}
	for _, bad := range found.Bad {
		l.find(ClaimAltered, x, at.at("saved/"+string(x)), "%s", bad)
	}
	return s, nil
}

// lookAtSavedRecord replays the record of a suspended execution, from storage alone,
// and returns its state. here is the state that this service has of it; nil: it has
// none.
func (l *look) lookAtSavedRecord(ctx context.Context, x stint.ExecutionID, at place, generation uint64, here *coord.State) *coord.State {
	where := at.at(server.RecordKey(x, generation))
	e, err := server.ReadSaved(ctx, at.storage, at.location, x, generation)
	if err != nil {
		if code := stint.CodeOf(err); code == stint.Unavailable || code == stint.Denied {
			l.blind(where, err)
			return nil
		}
		l.find(SavedRecordDamaged, x, where, "the record of %s in generation %d cannot be read: %s", x, generation, cause(err))
		return nil
	}
	l.refer(e)
	state, err := l.replay(ctx, e, at, SavedRecordDamaged, where)
	if err != nil || state == nil {
		return nil
	}
	faults := state.Faults()
	if here != nil {
		known := here.AllPacks()
		for _, p := range state.Packs() {
			if !slices.ContainsFunc(known, func(q stint.Pack) bool { return p.Key == q.Key }) {
				faults = append(faults, "it stands on pack "+p.Key+", which this service does not know")
			}
		}
	}
	if len(faults) > 0 {
		l.find(SavedRecordDamaged, x, where, "the record of %s in generation %d makes no sense: %s", x, generation, strings.Join(faults, "; "))
		return nil
	}
	return state
}

// lookForStrayPacks finds packs and checkpoints that a state does not know.
func (l *look) lookForStrayPacks(x stint.ExecutionID, state *coord.State, at place, saved savedState) {
	if l.running && !state.Settled() && state.Status() != stint.Suspended {
		return // they may be on their way into the record
	}
	named := make(map[string]bool)
	for _, p := range state.AllPacks() {
		named[p.Key] = true
	}
	for _, c := range state.Checkpoints() {
		named[c.Key] = true
	}
	n, bytes := 0, int64(0)
	for _, e := range saved.keys {
		name := e.Key[strings.LastIndexByte(e.Key, '/')+1:]
		if (strings.HasPrefix(name, "pack-") || strings.HasPrefix(name, "checkpoint-")) && !named[e.Key] {
			n++
			bytes += e.Size
		}
	}
	if n > 0 {
		l.find(PacksLeft, x, at.at("saved/"+string(x)), "%d packs or checkpoints of %s with %d bytes are referred to by no operation", n, x, bytes)
	}
}

// verifySaved reads the packs and checkpoints that an execution stands on.
func (l *look) verifySaved(ctx context.Context, x stint.ExecutionID, at place, state *coord.State, severity Severity) (whole func(key string) bool, err error) {
	var mu sync.Mutex
	bad := make(map[string]bool)
	err = each(ctx, state.Packs(), func(ctx context.Context, p stint.Pack) error {
		code, text, err := l.verifyPack(ctx, at, p)
		if err != nil || code == "" {
			return err
		}
		mu.Lock()
		bad[p.Key] = true
		mu.Unlock()
		l.findAs(severity, code, x, at.at(p.Key), "%s", text)
		return nil
	})
	if err == nil {
		err = each(ctx, state.Checkpoints(), func(ctx context.Context, c stint.Checkpoint) error {
			code, text, err := l.verifyCheckpoint(ctx, at, c)
			if err == nil && code != "" {
				l.findAs(severity, code, x, at.at(c.Key), "%s", text)
			}
			return err
		})
	}
	return func(key string) bool { return !bad[key] }, err
}

// verifyPack reads a pack and compares all of it with its checksums.
func (l *look) verifyPack(ctx context.Context, at place, p stint.Pack) (Code, string, error) {
	f, err := at.storage.Get(ctx, p.Key)
	if stint.CodeOf(err) == stint.NotFound {
		return PackMissing, fmt.Sprintf("a pack with output of %d operations is not there", stint.CountRanges(p.Ops)), nil
	}
	if err != nil {
		return "", "", err
	}
	defer f.Close() //nolint:errcheck // only read
	l.count(func(c *Looked) { c.Packs++ })
	if f.Size() != p.Bytes {
		return PackDamaged, fmt.Sprintf("the pack has %d bytes, was written with %d", f.Size(), p.Bytes), nil
	}
	index, err := block.ReadPackIndex(f, p)
	var bad []stint.Range
	var bytes int64
	if err == nil {
		bad, bytes, err = index.Verify(f)
		l.count(func(c *Looked) { c.Bytes += bytes })
	}
	switch {
	case stint.CodeOf(err) == stint.Lost:
		return PackDamaged, err.Error(), nil
	case err != nil:
		return "", "", err
	case len(bad) > 0:
		return PackDamaged, fmt.Sprintf("the output of %d operations in the pack, as of operation %d, does not have its checksum", stint.CountRanges(bad), bad[0].From), nil
	}
	there := index.Ops()
	for _, r := range p.Ops {
		if missing := r.Len() - stint.CountRanges(stint.ClipRanges(there, r)); missing > 0 {
			return PackDamaged, fmt.Sprintf("the pack does not have %d of the operations that the record says", missing), nil
		}
	}
	return "", "", nil
}

func (l *look) verifyCheckpoint(ctx context.Context, at place, c stint.Checkpoint) (Code, string, error) {
	f, err := at.storage.Get(ctx, c.Key)
	if stint.CodeOf(err) == stint.NotFound {
		return CheckpointMissing, fmt.Sprintf("the checkpoint of operation %d is not there", c.Op), nil
	}
	if err != nil {
		return "", "", err
	}
	defer f.Close() //nolint:errcheck // only read
	hash := xxh3.New()
	n, err := io.Copy(hash, f)
	if err != nil {
		return "", "", err
	}
	l.count(func(k *Looked) { k.Bytes += n })
	if n != c.Bytes || hash.Sum64() != c.Sum {
		return CheckpointDamaged, fmt.Sprintf("the checkpoint of operation %d has %d bytes with sum %016x, was written with %d and %016x", c.Op, n, hash.Sum64(), c.Bytes, c.Sum), nil
	}
	return "", "", nil
}

// lookAtStorage looks at what is in the service's own storage of no execution of the
// record.
func (l *look) lookAtStorage(ctx context.Context) error {
	if l.storage == nil || l.only != nil {
		return nil
	}
	l.wide = true
	for _, step := range []func(context.Context) error{l.lookAtPrograms, l.lookAtOthers, l.lookAtBlobs, l.lookAtKeptLogs, l.lookAtOwnOutputs, l.lookAtTemporary} {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			l.blind(l.location, err)
		}
	}
	return nil
}

func (l *look) own() place { return place{l.storage, l.location} }

// lookAtPrograms reads the registry.
func (l *look) lookAtPrograms(ctx context.Context) error {
	if l.db == nil {
		return nil
	}
	list, err := l.db.AllPrograms(ctx)
	if err != nil {
		l.find(ProgramUnreadable, "", l.recordPath(), "a registered program cannot be read: %s", cause(err))
		return nil
	}
	for _, v := range list {
		digest, err := plan.DigestOf(v.Program)
		if err != nil || digest.String() != v.Version {
			l.find(ProgramUnreadable, "", l.recordPath()+"#"+v.Program.Name+"@"+v.Version, "program %s in version %s has digest %s", v.Program.Name, v.Version, digest)
			continue
		}
		if err := l.lookForFiles(ctx, v.Program.Files, "", "program "+v.Program.Name); err != nil {
			return err
		}
	}
	return nil
}

// lookForFiles finds files of a program that are not in storage.
func (l *look) lookForFiles(ctx context.Context, files []stint.ProgramFile, x stint.ExecutionID, of string) error {
	for _, f := range files {
		key := "files/" + f.Digest.String()
		l.blobs[key] = true
		found, err := l.storage.Stat(ctx, key)
		switch {
		case stint.CodeOf(err) == stint.NotFound:
			l.find(ProgramFileMissing, x, l.own().at(key), "file %s of %s is not in storage", f.Name, of)
		case err != nil:
			return err
		case found.Size != f.Size:
			l.find(ProgramFileDamaged, "", l.own().at(key), "a program file has %d bytes, was written with %d", found.Size, f.Size)
		}
	}
	return nil
}

// lookAtOthers looks at saved state of executions that the record does not know:
// whether they could be resumed from storage alone.
func (l *look) lookAtOthers(ctx context.Context) error {
	names, err := l.storage.Folders(ctx, "saved/")
	if err != nil {
		return err
	}
	for _, name := range names {
		x, err := stint.ParseExecutionID(name)
		if err != nil || l.judged[x] || l.known[x] && l.db != nil {
			continue
		}
		if err := l.lookAtOther(ctx, x); err != nil {
			return err
		}
	}
	return nil
}

func (l *look) lookAtOther(ctx context.Context, x stint.ExecutionID) error {
	at := l.own()
	saved, err := l.examine(ctx, x, at)
	if err != nil || saved.ended {
		return err
	}
	latest := uint64(0)
	for r := range saved.records {
		latest = max(latest, r)
	}
	if latest == 0 || latest < saved.last.generation {
		return nil // another service performs it
	}
	l.count(func(c *Looked) { c.Executions++ })
	state := l.lookAtSavedRecord(ctx, x, at, latest, nil)
	if state == nil {
		return nil
	}
	l.lookForStrayPacks(x, state, at, saved)
	if _, err := l.verifySaved(ctx, x, at, state, Lost); err != nil {
		return err
	}
	return l.lookAtStaged(ctx, x, state)
}

// lookAtBlobs compares program files and listings with their names.
func (l *look) lookAtBlobs(ctx context.Context) error {
	var mu sync.Mutex
	left, bytes := 0, int64(0)
	for _, kind := range []string{"files", "listings"} {
		list, err := l.storage.List(ctx, kind+"/")
		if err != nil {
			return err
		}
		err = each(ctx, list, func(ctx context.Context, e object.Entry) error {
			digest, err := stint.ParseDigest(strings.TrimPrefix(e.Key, kind+"/"))
			if err != nil {
				return nil //nolint:nilerr // not ours
			}
			if !l.blobs[e.Key] {
				mu.Lock()
				left++
				bytes += e.Size
				mu.Unlock()
				return nil
			}
			if kind == "listings" {
				return nil // it was read
			}
			return l.verifyFile(ctx, e.Key, digest)
		})
		if err != nil {
			return err
		}
	}
	if left > 0 && !l.running && l.db != nil {
		l.find(BlobsLeft, "", l.location, "%d listings and program files with %d bytes are referred to by nothing", left, bytes)
	}
	return nil
}

func (l *look) verifyFile(ctx context.Context, key string, want stint.Digest) error {
	f, err := l.storage.Get(ctx, key)
	if stint.CodeOf(err) == stint.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	n, got, err := digestFrom(f)
	if err != nil {
		return err
	}
	l.count(func(c *Looked) { c.Bytes += n })
	if got != want {
		l.find(ProgramFileDamaged, "", l.own().at(key), "a program file has digest %s", got)
	}
	return nil
}

// lookAtKeptLogs reads the logs of attempts to their ends.
func (l *look) lookAtKeptLogs(ctx context.Context) error {
	list, err := l.storage.List(ctx, "logs/")
	if err != nil {
		return err
	}
	var mu sync.Mutex
	left := make(map[stint.ExecutionID]int)
	err = each(ctx, list, func(ctx context.Context, e object.Entry) error {
		name, _, _ := strings.Cut(strings.TrimPrefix(e.Key, "logs/"), "/")
		x := stint.ExecutionID(name)
		if l.db != nil && !l.known[x] {
			mu.Lock()
			left[x]++
			mu.Unlock()
			return nil
		}
		return l.readKeptLog(ctx, x, e.Key)
	})
	for x, n := range left {
		l.find(LogsLeft, x, l.own().at("logs/"+string(x)), "there are %d files of logs of %s, which the record does not know", n, x)
	}
	return err
}

const maxLogLine = 64 << 20

func (l *look) readKeptLog(ctx context.Context, x stint.ExecutionID, key string) error {
	f, err := l.storage.Get(ctx, key)
	if stint.CodeOf(err) == stint.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	l.count(func(c *Looked) { c.Bytes += f.Size() })
	zip, err := gzip.NewReader(bufio.NewReaderSize(f, 256<<10))
	if err == nil {
		lines := bufio.NewScanner(zip)
		lines.Buffer(make([]byte, 64<<10), maxLogLine)
		for err == nil && lines.Scan() {
			var k stint.KeptLog
			err = json.Unmarshal(lines.Bytes(), &k)
		}
		err = errors.Join(err, lines.Err())
	}
	if code := stint.CodeOf(err); code == stint.Unavailable || code == stint.Denied {
		return err
	}
	if err != nil {
		l.find(KeptLogDamaged, x, l.own().at(key), "logs of %s cannot be read to their end: %s", x, err)
	}
	return nil
}

// lookAtOwnOutputs finds outputs in storage of executions that are not known.
func (l *look) lookAtOwnOutputs(ctx context.Context) error {
	names, err := l.storage.Folders(ctx, "output/")
	if err != nil || l.db == nil {
		return err
	}
	for _, name := range names {
		if x, err := stint.ParseExecutionID(name); err == nil && !l.known[x] && !l.drafts[x] {
			l.find(OutputLeft, x, l.own().at("output/"+name), "there is output of %s, which the record does not know", x)
		}
	}
	return nil
}

// lookAtTemporary finds what writers that died have left in a storage that is a folder.
func (l *look) lookAtTemporary(context.Context) error {
	dir, err := object.Path(l.location)
	if err != nil || l.running {
		return nil //nolint:nilerr // a bucket has none
	}
	left, err := filepath.Glob(filepath.Join(globEscaped(dir), "tmp", "*"))
	if err == nil && len(left) > 0 {
		l.find(TempLeft, "", filepath.Join(dir, "tmp"), "there are %d temporary files", len(left))
	}
	return err
}
