package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/zeebo/blake3"

	"stint"
	"stint/internal/failpoint"
	"stint/internal/object"
	"stint/internal/worker"
)

// programFiles is the prefix of the keys of program files in system storage.
const programFiles = "files"

// provide puts the files of a program into folder dir under their names, read
// only. Each is fetched from storage once per node and verified. Errors: Invalid
// if bytes do not have their digest or a name leaves the folder; otherwise what
// storage or this node's disk say.
func (f *folder) provide(ctx context.Context, storage *object.Storage, files []stint.ProgramFile, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, file := range files {
		if err := worker.CheckFileName(file.Name); err != nil {
			return err
		}
		kept := f.at("files", fmt.Sprintf("%s-%03o", file.Digest, file.Mode&0o777))
		if err := keep(ctx, storage, file, kept); err != nil {
			return fmt.Errorf("fetch program file %.80q: %w", file.Name, err)
		}
		path := filepath.Join(dir, file.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.Link(kept, path); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// keep fetches a program file into path unless it is there, as it was stored:
// a program that runs as root may have written to its own files.
func keep(ctx context.Context, storage *object.Storage, file stint.ProgramFile, path string) error {
	if unaltered(path, file.Digest) {
		return nil
	}
	if storage == nil {
		return stint.Errorf(stint.Unavailable, "system storage is not known before a server was reached")
	}
	from, err := storage.Get(ctx, programFiles+"/"+file.Digest.String())
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	to, err := os.CreateTemp(filepath.Dir(path), "new-*")
	if err != nil {
		return err
	}
	hash := blake3.New()
	n, err := io.Copy(io.MultiWriter(to, hash), io.LimitReader(from, file.Size+1))
	if err == nil && (n != file.Size || stint.Digest(hash.Sum(nil)) != file.Digest) {
		err = stint.Errorf(stint.Invalid, "digest_mismatch: %d bytes in storage are not the %d bytes of digest %s", n, file.Size, file.Digest)
	}
	if err == nil {
		err = to.Chmod(fs.FileMode(file.Mode) & 0o555)
	}
	if err == nil {
		err = cmp.Or(failpoint.Error("program-file.before-sync"), to.Sync()) // a name with a digest is believed after a crash, too
	}
	failpoint.Reach("program-file.before-rename")
	if err = errors.Join(err, to.Close()); err == nil {
		err = os.Rename(to.Name(), path)
	}
	failpoint.Reach("program-file.after-rename")
	if err != nil {
		return errors.Join(err, os.Remove(to.Name()))
	}
	return nil
}

func unaltered(path string, want stint.Digest) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // read only
	hash := blake3.New()
	_, err = io.Copy(hash, f)
	return err == nil && stint.Digest(hash.Sum(nil)) == want
}
