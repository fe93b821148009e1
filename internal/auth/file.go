package auth

import (
	"errors"
	"os"
	"path/filepath"

	"stint"
	"stint/internal/failpoint"
)

// writeSecret puts a file with mode 0600 in the place of path, whole or not at all.
func writeSecret(path string, content []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // has mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, failpoint.Error("secret.before-sync"), f.Sync(), f.Close()); err == nil {
		failpoint.Reach("secret.before-rename")
		err = os.Rename(f.Name(), path)
	}
	failpoint.Reach("secret.after-rename")
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readSecret reads a file that nobody but its owner may read.
func readSecret(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return nil, stint.Errorf(stint.Invalid, "%s has mode %04o: others can read it; chmod 600 it", path, fi.Mode().Perm())
	}
	return os.ReadFile(path)
}
