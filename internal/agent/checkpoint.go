package agent

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"stint"
	"stint/internal/failpoint"
	"stint/internal/object"
	"stint/internal/worker"
)

// A checkpoint is the folder in which the program of an interrupted operation
// saved itself, archived as a tar file (POSIX.1-2001) in long-term storage: files,
// folders, and symbolic links that stay inside.
const (
	maxCheckpoint      = 1 << 30 // bytes of its files
	maxCheckpointFiles = 100_000 // files, folders and links
)

// checkpointKey returns the key of the checkpoint that an attempt leaves.
func checkpointKey(x stint.ExecutionID, stage int, op uint32, job stint.JobID, incarnation stint.Incarnation) string {
	return fmt.Sprintf("saved/%s/checkpoint-%d-%d-%d-%d", x, stage, op, job, incarnation)
}

// archive stores a checkpoint folder under a key, durably. It returns nil if the
// folder is empty or not there; note says what was left out.
func archive(ctx context.Context, storage *object.Storage, key, dir string) (c *stint.Checkpoint, note string, err error) {
	entries, note, err := survey(dir)
	if err != nil || len(entries) == 0 {
		return nil, note, err
	}
	r, w := io.Pipe()
	hash := xxh3.New()
	written := &counter{w: io.MultiWriter(w, hash)}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := writeArchive(written, dir, entries)
		return errors.Join(err, w.CloseWithError(err))
	})
	g.Go(func() error {
		err := storage.Put(gctx, key, r)
		return errors.Join(err, r.CloseWithError(err))
	})
	if err := g.Wait(); err != nil {
		return nil, note, err
	}
	return &stint.Checkpoint{Key: key, Bytes: written.n, Sum: hash.Sum64()}, note, nil
}

type counter struct {
	w io.Writer
	n int64
}

// Write writes and counts.
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// entry is one thing to be archived.
type entry struct {
	name string // below the folder
	info fs.FileInfo
	link string
}

// survey lists what is in a folder, and notes what has no place in an archive.
func survey(dir string) (list []entry, note string, err error) {
	if info, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, "", nil
	}
	var bytes int64
	left := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		e := entry{name: path[len(dir)+1:]}
		if e.info, err = d.Info(); err != nil {
			return err
		}
		switch mode := e.info.Mode(); {
		case mode.IsRegular():
			bytes += e.info.Size()
		case mode.Type() == fs.ModeSymlink:
			if e.link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		if !fits(&e) {
			left++
			note = fmt.Sprintf("left out of the checkpoint: %d that are no files, folders or links inside, as %.200q", left, e.name)
			return nil
		}
		if list = append(list, e); bytes > maxCheckpoint || len(list) > maxCheckpointFiles {
			return stint.Errorf(stint.Invalid, "it holds more than %d MiB or %d files", maxCheckpoint>>20, maxCheckpointFiles)
		}
		return nil
	})
	return list, note, err
}

// fits reports whether something has a place in an archive.
func fits(e *entry) bool {
	switch mode := e.info.Mode(); {
	case mode.IsRegular(), mode.IsDir():
		return true
	case mode.Type() == fs.ModeSymlink:
		return staysInside(e.name, e.link)
	}
	return false
}

// staysInside reports whether a link leads nowhere outside, whatever other links
// of that kind it leads through: its steps up come first, and are not too many.
func staysInside(name, target string) bool {
	if target == "" || filepath.IsAbs(target) {
		return false
	}
	depth, down := strings.Count(name, "/"), false
	for step := range strings.SplitSeq(target, "/") {
		switch step {
		case "", ".":
		case "..":
			if depth--; down || depth < 0 {
				return false
			}
		default:
			down = true
		}
	}
	return true
}

// writeArchive writes what survey found. Nobody changes it meanwhile.
func writeArchive(w io.Writer, dir string, entries []entry) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		h, err := tar.FileInfoHeader(e.info, e.link)
		if err != nil {
			return err
		}
		h.Name, h.Format = filepath.ToSlash(e.name), tar.FormatPAX
		h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if e.info.Mode().IsRegular() {
			if err := copyFile(t, filepath.Join(dir, e.name), e.info.Size()); err != nil {
				return err
			}
		}
	}
	return t.Close()
}

func copyFile(w io.Writer, path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(w, f, size)
	return errors.Join(err, f.Close())
}

// restoreCheckpoint puts the checkpoint of an operation into its folder, which
// has nothing else in it then, unless the folder is there and was restored from the same
// archive before: then an attempt on this node may have gone on from there. The
// error is [stint.Lost] if the archive is not there or not what it was.
func restoreCheckpoint(ctx context.Context, storage *object.Storage, dir string, c *stint.Checkpoint) error {
	origin := worker.CheckpointOrigin(dir)
	if b, err := os.ReadFile(origin); err == nil && string(b) == c.Key && isFolder(dir) {
		return nil
	}
	f, err := storage.Get(ctx, c.Key)
	if stint.CodeOf(err) == stint.NotFound {
		return stint.Errorf(stint.Lost, "checkpoint %s is not in storage", c.Key)
	}
	if err != nil {
		return err
	}
	fresh := dir + ".new"
	err = errors.Join(unpackInto(ctx, fresh, f, c), f.Close())
	failpoint.Reach("checkpoint.after-unpacking")
	var older string
	if err == nil {
		older, err = worker.RetireCheckpoint(dir)
	}
	failpoint.Reach("checkpoint.before-rename")
	if err == nil {
		err = os.Rename(fresh, dir)
	}
	failpoint.Reach("checkpoint.before-origin")
	if err == nil {
		err = os.WriteFile(origin, []byte(c.Key), 0o600)
	}
	if older != "" {
		_ = removeTree(older) // nobody finds what is left of it
	}
	if err != nil {
		return errors.Join(err, removeTree(fresh))
	}
	return nil
}

func isFolder(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// unpackInto makes a folder of an archive, which it verifies before.
func unpackInto(ctx context.Context, dir string, archive io.ReadSeeker, c *stint.Checkpoint) error {
	hash := xxh3.New()
	n, err := io.Copy(hash, &canceledReader{canceled: ctx.Err, r: archive})
	if err != nil {
		return err
	}
	if n != c.Bytes || hash.Sum64() != c.Sum {
		return stint.Errorf(stint.Lost, "checkpoint %s was altered: it has %d bytes and sum %016x, not %d and %016x", c.Key, n, hash.Sum64(), c.Bytes, c.Sum)
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := errors.Join(removeTree(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return errors.Join(unpack(root, &canceledReader{canceled: ctx.Err, r: archive}), root.Close())
}

// canceledReader stops when what it reads is not wanted any more.
type canceledReader struct {
	canceled func() error
	r        io.Reader
}

// Read reads on.
func (c *canceledReader) Read(b []byte) (int, error) {
	if err := c.canceled(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

// unpack writes what an archive holds below root, and nothing elsewhere.
// Anything but what [archive] writes is refused as [stint.Lost].
func unpack(root *os.Root, r io.Reader) error {
	t := tar.NewReader(r)
	var bytes int64
	var folders []*tar.Header
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return protect(root, folders)
		}
		if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
			return stint.Errorf(stint.Lost, "checkpoint is no archive: %w", err)
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			bytes += h.Size
		}
		if bytes > maxCheckpoint || n >= maxCheckpointFiles {
			return stint.Errorf(stint.Lost, "checkpoint holds more than %d MiB or %d files", maxCheckpoint>>20, maxCheckpointFiles)
		}
		h.Name = strings.TrimSuffix(h.Name, "/")
		if err := unpackOne(root, h, t); err != nil {
			return fmt.Errorf("unpack %.200q: %w", h.Name, err)
		}
		if h.Typeflag == tar.TypeDir {
			folders = append(folders, h)
		}
	}
}

func unpackOne(root *os.Root, h *tar.Header, content io.Reader) error {
	mode := h.FileInfo().Mode()
	switch {
	case !filepath.IsLocal(h.Name):
		return stint.Errorf(stint.Lost, "the name leads out of the checkpoint")
	case h.Typeflag == tar.TypeDir:
		return root.Mkdir(h.Name, 0o700)
	case h.Typeflag == tar.TypeSymlink && staysInside(h.Name, h.Linkname):
		return root.Symlink(h.Linkname, h.Name)
	case h.Typeflag != tar.TypeReg || h.PAXRecords["GNU.sparse.major"] != "" || h.PAXRecords["GNU.sparse.map"] != "":
		return stint.Errorf(stint.Lost, "type %q of an entry of a checkpoint", h.Typeflag)
	}
	f, err := root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Chmod(mode.Perm()), f.Close(), root.Chtimes(h.Name, h.ModTime, h.ModTime))
}

// protect gives folders their rights and times, once there is nothing more to be
// written into them: those within others first.
func protect(root *os.Root, folders []*tar.Header) error {
	for _, h := range slices.Backward(folders) {
		err := errors.Join(root.Chtimes(h.Name, h.ModTime, h.ModTime), root.Chmod(h.Name, h.FileInfo().Mode().Perm()))
		if err != nil {
			return err
		}
	}
	return nil
}

// removeTree removes a folder in which a program may have taken rights away.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	walk := filepath.WalkDir(path, func(p string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return nil
	})
	return errors.Join(walk, os.RemoveAll(path))
}
