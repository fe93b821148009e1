package object

import (
	"context"
	"io"
	"strings"

	"stint"
)

const (
	tempFolder   = "tmp"
	maxKey       = 1024
	maxKeyPart   = 255
	copyBuffered = 256 << 10
)

// Storage is system storage: listings, program files, outputs that were given no
// location. Safe for concurrent use, also by several processes.
type Storage struct {
	backing
	id uint64
}

// backing keeps what a [Storage] is given, under keys that were checked: a folder,
// or a prefix of a bucket.
type backing interface {
	String() string // what people call it
	url(key string) string
	mark(ctx context.Context) error
	marker(ctx context.Context) (uint64, error)
	put(ctx context.Context, key string, r io.Reader) error
	putBlob(ctx context.Context, prefix string, r io.Reader, limit int64) (stint.Digest, int64, error)
	create(ctx context.Context, key string, r io.Reader) error
	get(ctx context.Context, key string) (Stored, error)
	remove(ctx context.Context, key string) error
	stat(ctx context.Context, key string) (Entry, error)
	list(ctx context.Context, folder string) ([]Entry, error)
	folders(ctx context.Context, folder string) ([]string, error)
	removeBelow(ctx context.Context, folder, but string) error
	link(ctx context.Context, from *Storage, theirs, key string) (bool, error) // without moving the bytes, if that can be
	tidy(ctx context.Context, prefix string) error                             // part of [Storage.SelfTest]
}

// Stored is what is stored under a key, as it was when it was opened.
type Stored interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64
}

// Entry is a key that has something.
type Entry struct {
	Key  string
	Size int64 // bytes
}

// OpenStorage opens the storage at a location, a folder or s3://[SET@]bucket/prefix,
// and makes it one, for its owner alone, if it is not. Who knows that it has been a
// storage calls [Access.FindStorage].
func (a *Access) OpenStorage(ctx context.Context, location string) (*Storage, error) {
	b, err := a.backing(location)
	if err != nil {
		return nil, err
	}
	if err := b.mark(ctx); err != nil {
		return nil, err
	}
	return a.FindStorage(ctx, location)
}

// FindStorage opens the storage at a location, which must be one already:
// [stint.NotFound] if there is no such folder or bucket, [stint.Invalid] if it is
// something else, or the place where a file system is not mounted.
func (a *Access) FindStorage(ctx context.Context, location string) (*Storage, error) {
	b, err := a.backing(location)
	if err != nil {
		return nil, err
	}
	id, err := b.marker(ctx)
	if err != nil {
		return nil, err
	}
	return &Storage{backing: b, id: id}, nil
}

func (a *Access) backing(location string) (backing, error) {
	if isBucketLocation(location) {
		p, err := a.prefix(location)
		if err != nil {
			return nil, err
		}
		return bucketStorage{p}, nil
	}
	dir, err := Path(location)
	return folderStorage{dir}, err
}

// ID returns the number by which the storage is told from others.
func (s *Storage) ID() uint64 { return s.id }

// Location returns the URL of what has, or could have, this key.
func (s *Storage) Location(key string) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	return s.url(key), nil
}

// checkKey checks a key: segments of letters that a file may have, separated by
// slashes, none of them empty or hidden or the folder of temporary files.
func checkKey(key string) error {
	if key == "" || len(key) > maxKey {
		return stint.Errorf(stint.Invalid, "key %.80q: expected 1 to %d bytes", key, maxKey)
	}
	for i, part := range strings.Split(key, "/") {
		if part == "" || part[0] == '.' || len(part) > maxKeyPart || (i == 0 && (part == tempFolder || part == markerName)) {
			return stint.Errorf(stint.Invalid, "key %.80q: segment %.80q is empty, begins with a dot, is reserved, or is longer than %d bytes", key, part, maxKeyPart)
		}
	}
	for i := range len(key) {
		if key[i] < 0x20 || key[i] == 0x7f || key[i] == '\\' {
			return stint.Errorf(stint.Invalid, "key %.80q: byte %d is a control character or a backslash", key, i+1)
		}
	}
	return nil
}

// checkWanted refuses a key that cannot be, and what nobody waits for any more.
func checkWanted(ctx context.Context, what, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return &stint.Error{Code: stint.Canceled, Message: what + " " + key, Err: err}
	}
	return nil
}

// checkFolder checks a prefix, which ends with a slash, and returns it without.
func checkFolder(prefix string) (string, error) {
	key, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return "", stint.Errorf(stint.Invalid, "prefix %.80q: does not end with a slash", prefix)
	}
	return key, checkKey(key)
}

// Put stores all that r has under a key, in place of what was there. It is
// durable when Put returns; after an error the key has what it had.
func (s *Storage) Put(ctx context.Context, key string, r io.Reader) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return s.put(ctx, key, r)
}

// PutBlob stores all that r has under its own digest, as prefix/<BLAKE3 in
// hexadecimal>, and returns digest and length. What is there already is not
// written again. More than limit bytes are [stint.Invalid] and leave nothing.
func (s *Storage) PutBlob(ctx context.Context, prefix string, r io.Reader, limit int64) (stint.Digest, int64, error) {
	if err := checkKey(prefix + "/" + stint.Digest{}.String()); err != nil {
		return stint.Digest{}, 0, err
	}
	return s.putBlob(ctx, prefix, r, limit)
}

// Create stores all that r has under a key that has nothing. Of several that
// create one key at the same time, one succeeds; the error of the others is
// [stint.Conflict]. It is durable when Create returns.
func (s *Storage) Create(ctx context.Context, key string, r io.Reader) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return s.create(ctx, key, r)
}

// Get opens what is stored under a key, at the state it has now. The error is
// [stint.NotFound] if there is nothing.
func (s *Storage) Get(ctx context.Context, key string) (Stored, error) {
	if err := checkWanted(ctx, "get", key); err != nil {
		return nil, err
	}
	return s.get(ctx, key)
}

// Delete removes what is stored under a key, durably. Nothing there is no error.
func (s *Storage) Delete(ctx context.Context, key string) error {
	if err := checkWanted(ctx, "delete", key); err != nil {
		return err
	}
	return s.remove(ctx, key)
}

// Stat returns what is known of a key. The error is [stint.NotFound] if it has nothing.
func (s *Storage) Stat(ctx context.Context, key string) (Entry, error) {
	if err := checkWanted(ctx, "look at", key); err != nil {
		return Entry{}, err
	}
	return s.stat(ctx, key)
}

// List returns the keys below a prefix, which ends with a slash, in byte order.
// None is no error.
func (s *Storage) List(ctx context.Context, prefix string) ([]Entry, error) {
	folder, err := checkFolder(prefix)
	if err != nil {
		return nil, err
	}
	return s.list(ctx, folder)
}

// Folders returns the names of what lies below a prefix, which ends with a slash,
// up to the next slash, sorted: one level of the keys, without walking the rest.
func (s *Storage) Folders(ctx context.Context, prefix string) ([]string, error) {
	folder, err := checkFolder(prefix)
	if err != nil {
		return nil, err
	}
	return s.folders(ctx, folder)
}

// DeleteAll removes all keys below a prefix, which ends with a slash, durably, the
// last in byte order first. It may be repeated; nothing there is no error.
func (s *Storage) DeleteAll(ctx context.Context, prefix string) error {
	folder, err := checkFolder(prefix)
	if err != nil {
		return err
	}
	return s.removeBelow(ctx, folder, "")
}

// DeleteAllBut is as [Storage.DeleteAll], but one key directly below the prefix
// stays, which must be there.
func (s *Storage) DeleteAllBut(ctx context.Context, prefix, name string) error {
	folder, err := checkFolder(prefix)
	if err != nil {
		return err
	}
	return s.removeBelow(ctx, folder, prefix+name)
}

// Take stores under a key what from, which may be this storage, has under another:
// without moving its bytes where that can be, as what is stored is never changed,
// and a copy of it elsewhere. It is durable when Take returns. The error is
// [stint.NotFound] if from has nothing there.
func (s *Storage) Take(ctx context.Context, from *Storage, theirs, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := checkWanted(ctx, "take", theirs); err != nil {
		return err
	}
	linked, err := s.link(ctx, from, theirs, key)
	if err != nil || linked {
		return err
	}
	source, err := from.Get(ctx, theirs)
	if err != nil {
		return err
	}
	defer source.Close() //nolint:errcheck // only read
	return s.Put(ctx, key, source)
}
