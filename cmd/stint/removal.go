package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"stint/internal/failpoint"
	"stint/internal/fsck"
)

// removing is where the folder of an agent lies while it is being removed.
func (f folder) removing() string { return string(f) + fsck.Removing }

// remove removes the folder of an agent whose node is gone. Whoever dies meanwhile
// leaves all of it or nothing under its name: on a part of it, an agent would be
// neither the node that it was nor a new one. What else is left, removeRest removes.
func (f folder) remove() error {
	if err := f.removeRest(); err != nil {
		return err
	}
	switch err := os.Rename(string(f), f.removing()); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EXDEV): // a mount point, or of the lower layer of an overlay
		return f.removeByParts()
	case err != nil:
		return err
	}
	if err := syncDir(filepath.Dir(string(f))); err != nil {
		return err
	}
	failpoint.Reach("removal.before-content")
	return f.removeRest()
}

// removeRest removes what is left of an earlier folder of this name.
func (f folder) removeRest() error { return os.RemoveAll(f.removing()) }

// removeRests removes what is left of the folders of agents.
func (f folder) removeRests() error {
	entries, err := os.ReadDir(f.agents())
	for _, e := range entries {
		if name, rest := strings.CutSuffix(e.Name(), fsck.Removing); rest {
			err = errors.Join(err, folder(filepath.Join(f.agents(), name)).removeRest())
		}
	}
	return err
}

// isGone reports whether the folder was removed. A mount point is still there then,
// and empty.
func (f folder) isGone() bool {
	entries, err := os.ReadDir(string(f))
	return errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0
}

// removeByParts removes a folder that cannot lose its name as a whole: what is in it,
// what says who its node is last, and then the folder, unless that is a mount point.
func (f folder) removeByParts() error {
	entries, err := os.ReadDir(string(f))
	if err != nil {
		return err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	for _, name := range identityLast(names) {
		if err := os.RemoveAll(f.at(name)); err != nil {
			return err
		}
	}
	if err := os.Remove(string(f)); !errors.Is(err, unix.EBUSY) {
		return err
	}
	return nil
}

// identityLast sorts the names of what is in the folder of an agent in an order in
// which they can be removed: at every point an agent on the folder is the node that
// it was, which its certificate, its key and the authority say together, or, without
// a certificate and node.json, a new one.
func identityLast(names []string) []string {
	last := []string{"node.json", "node.pem", "node.key", "ca.pem"}
	slices.SortStableFunc(names, func(a, b string) int { return slices.Index(last, a) - slices.Index(last, b) })
	return names
}

// syncDir makes durable what has got or lost its name in a folder.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
