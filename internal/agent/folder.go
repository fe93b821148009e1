package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stint"
	"stint/internal/failpoint"
)

// folder is the data folder of a node, locked.
type folder struct {
	dir  string
	lock *os.File
	node nodeRecord
}

// nodeRecord is node.json.
type nodeRecord struct {
	Node        stint.NodeID      `json:"node"`
	Name        string            `json:"name"`
	Incarnation stint.Incarnation `json:"incarnation"`
	BootID      string            `json:"boot_id"` // of the machine when the segments were last verified
}

const bootIDFile = "/proc/sys/kernel/random/boot_id"

// openFolder locks the folder dir, which it makes if it is missing. The error is
// [stint.Conflict] if another process holds it.
func openFolder(dir string) (*folder, error) {
	for _, sub := range []string{"", "work", "files"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("make data folder: %w", err)
		}
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	f := &folder{dir: dir, lock: lock}
	if err := f.selfTest(); err != nil {
		return nil, errors.Join(stint.Errorf(stint.Invalid, "data folder %q cannot be relied on: %w", dir, err), lock.Close())
	}
	b, err := os.ReadFile(f.at("node.json"))
	if err == nil {
		err = json.Unmarshal(b, &f.node)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("read %s: %w", f.at("node.json"), err), lock.Close())
	}
	return f, nil
}

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		b, _ := os.ReadFile(path) // who holds it is a courtesy
		return nil, errors.Join(stint.Errorf(stint.Conflict, "data folder %q is held by pid %.10s: one agent per folder", filepath.Dir(path), strings.TrimSpace(string(b))), f.Close())
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		if _, err = fmt.Fprintln(f, os.Getpid()); isFull(err) {
			err = nil // a courtesy, as above
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// selfTest finds out whether the folder's file system does what is relied on: a
// lock keeps a second one out, and a file that was synced and given its name has
// its bytes. Work and blocks must lie on it as a whole: a full disk is seen, and
// given room, in one place. Where it is full already no file can be tried, which is
// no refusal: the next one that is written shows whether there is room again.
func (f *folder) selfTest() error {
	second, err := os.OpenFile(f.lock.Name(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = unix.Flock(int(second.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if closed := second.Close(); !errors.Is(err, unix.EWOULDBLOCK) || closed != nil {
		return errors.Join(errors.New("its file system has no locks"), err, closed)
	}
	if err := f.probe(); err != nil && !isFull(err) {
		return err
	}
	return f.isOnOneDisk("work", "blocks")
}

// probe writes a file and reads it.
func (f *folder) probe() error {
	probe, want := f.at("probe"), strconv.Itoa(os.Getpid())
	if err := writeSynced(probe, []byte(want)); err != nil {
		return err
	}
	b, err := os.ReadFile(probe)
	if err == nil && string(b) != want {
		err = fmt.Errorf("%q was written and %q is read", want, b)
	}
	return errors.Join(err, os.Remove(probe))
}

// isOnOneDisk refuses subfolders on other file systems than the folder.
func (f *folder) isOnOneDisk(names ...string) error {
	held, err := f.lock.Stat()
	for _, name := range names {
		if err != nil {
			return err
		}
		var sub os.FileInfo
		if sub, err = os.Stat(f.at(name)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		} else if err == nil && deviceOf(sub) != deviceOf(held) {
			err = fmt.Errorf("%s lies on another file system than the rest of the folder", f.at(name))
		}
	}
	return err
}

func deviceOf(info os.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Dev }

// watchEvery is how often a folder is looked for.
const watchEvery = time.Second

// watch returns when ctx is done, or with an error when the folder is not there
// any more: what is kept in it is gone, and a node without it is another node.
func (f *folder) watch(ctx context.Context) error {
	held, err := f.lock.Stat()
	if err != nil {
		return fmt.Errorf("look at lock: %w", err)
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if now, err := os.Stat(f.at("lock")); errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, held) {
			return stint.Errorf(stint.Lost, "data folder %q was removed or replaced", f.dir)
		}
	}
}

// close releases the lock, also for a process that is just being started and has not
// closed what it inherited.
func (f *folder) close() error {
	return errors.Join(unix.Flock(int(f.lock.Fd()), unix.LOCK_UN), f.lock.Close())
}

func (f *folder) at(names ...string) string {
	return filepath.Join(append([]string{f.dir}, names...)...)
}

// work returns the folder of an execution's operations.
func (f *folder) work(x stint.ExecutionID, names ...string) string {
	return f.at(append([]string{"work", string(x)}, names...)...)
}

// begin starts a new incarnation of the node: its number is on disk before
// anything is said or done in it.
func (f *folder) begin(node stint.NodeID, name string) error {
	if f.node.Node != "" && f.node.Node != node {
		return stint.Errorf(stint.Conflict, "data folder %q belongs to node %s; the certificate in it names %s", f.dir, f.node.Node, node)
	}
	f.node.Node = node
	f.node.Name = name
	f.node.Incarnation = nextIncarnation(f.node.Incarnation, time.Now().UnixMicro(), rand.Uint64N(incarnationGap)) //nolint:gosec // tells starts apart
	return f.save()
}

// incarnationGap is below how much two numbers of starts differ that are not by the clock.
const incarnationGap = 1 << 22

// nextIncarnation numbers a start, higher than the one before. By the clock, in microseconds, and with
// some chance in case that is behind, it is a number that no other start has: none on a
// copy of the folder, and none before an older copy of it was put back.
func nextIncarnation(before stint.Incarnation, now int64, chance uint64) stint.Incarnation {
	return max(before+1+stint.Incarnation(chance), stint.Incarnation(max(now, 0)))
}

// verified enters that all segments were checked since the machine's last start.
func (f *folder) verified(bootID string) error {
	if f.node.BootID == bootID {
		return nil
	}
	f.node.BootID = bootID
	return f.save()
}

// outrun has the next start on the folder be numbered above one that is known of the
// node: its clock was ahead of this one. Of this start nothing changes.
func (f *folder) outrun(known stint.Incarnation) error {
	next := folder{dir: f.dir, node: f.node}
	next.node.Incarnation = max(known, f.node.Incarnation)
	return next.save()
}

func (f *folder) save() error {
	b, err := json.MarshalIndent(f.node, "", "  ")
	if err != nil {
		return fmt.Errorf("encode node: %w", err)
	}
	if err := writeSynced(f.at("node.json"), append(b, '\n')); err != nil {
		return fmt.Errorf("write node: %w", err)
	}
	return nil
}

// writeSynced replaces a file at once or not at all, durably.
func writeSynced(path string, b []byte) error {
	temp, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = temp.Write(b)
	if err == nil {
		err = cmp.Or(failpoint.Error("node-file.before-sync"), temp.Sync())
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	failpoint.Reach("node-file.before-rename")
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	failpoint.Reach("node-file.after-rename")
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// readBootID returns what tells one run of the machine from the next.
func readBootID() (string, error) {
	b, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// vacancy is what is left on a disk for this user.
type vacancy struct {
	bytes int64
	files int64 // that can be made; negative: as many as there are bytes for
}

// short says what there is too little of for further work; empty: nothing.
func (v vacancy) short() string {
	switch {
	case v.bytes < minFree:
		return fmt.Sprintf("less than %d MiB free", minFree>>20)
	case v.files >= 0 && v.files < minFiles:
		return fmt.Sprintf("room for less than %d more files", minFiles)
	}
	return ""
}

// vacancy returns how much room there is in the folder.
func (f *folder) vacancy() (vacancy, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(f.dir, &s); err != nil {
		return vacancy{}, fmt.Errorf("ask for free space in %s: %w", f.dir, err)
	}
	v := vacancy{bytes: int64(s.Bavail) * s.Bsize, files: -1}
	if s.Files > 0 { // it counts them
		v.files = int64(s.Ffree)
	}
	return v, nil
}

// isFull reports whether an error is for want of room.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// noSpace makes an error of a start for want of room one that passes by itself; others
// stay what they are.
func (a *Agent) noSpace(err error) error {
	if !isFull(err) {
		return err
	}
	return stint.Errorf(stint.Unavailable, "no_space: data folder %q: %w", a.Dir, err)
}

// nodeFault turns an error of this node's own means (room, descriptors, disk)
// into an Unavailable one that names the path; others keep their code.
func nodeFault(err error, path string) *stint.Error {
	var e *stint.Error
	if errors.As(err, &e) && e.Code != stint.Internal {
		return stint.AsError(err)
	}
	for _, no := range []syscall.Errno{unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EROFS} {
		if errors.Is(err, no) {
			return &stint.Error{Code: stint.Unavailable, Message: fmt.Sprintf("%s: %v", path, err)}
		}
	}
	if errors.Is(err, context.Canceled) {
		return &stint.Error{Code: stint.Canceled, Message: err.Error()}
	}
	return &stint.Error{Code: stint.Unavailable, Message: err.Error()}
}
