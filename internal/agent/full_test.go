package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"stint"
)

// smallDisk runs a test again in a mount namespace, as root or where users may make one,
// and returns a folder on a disk of its own there; the first time, "".
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	const where = "STINT_TEST_MOUNTS"
	if os.Getenv(where) == "" {
		args := []string{"--mount", os.Args[0], "-test.run", "^" + t.Name() + "$", "-test.v"}
		if os.Geteuid() != 0 {
			args = append([]string{"--map-root-user"}, args...)
		}
		c := exec.CommandContext(t.Context(), "unshare", args...)
		c.Env = append(os.Environ(), where+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return ""
	}
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	return disk
}

func TestAStartOnAFullDiskLetsTheCacheGiveWay(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "size=2m")
	if disk == "" {
		return
	}
	started := errors.New("it has read its folder")
	start := func(dir string) error {
		a := &Agent{
			Dir: filepath.Join(disk, dir), Name: "a", Slots: 1, WorkerCommand: []string{"none"}, Logger: slog.New(slog.DiscardHandler),
			Identify: func(context.Context, string) (Identity, error) { return Identity{Node: oneNode}, nil },
			network:  network{listen: func(context.Context, string, string) (net.Listener, error) { return nil, started }},
		}
		return a.Run(t.Context())
	}
	if err := start("node"); !errors.Is(err, started) {
		t.Fatalf("with room: %v", err)
	}
	cached, needed := filepath.Join(disk, "node", "blocks", string(execX)), filepath.Join(disk, "node", "blocks", string(execY))
	removed := cached + ".removed" // by a process that was killed then
	for _, dir := range []string{cached, needed} {
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "1.seg"), make([]byte, 512<<10), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, filepath.Join(disk, "filler"))
	for _, dir := range []string{"node", "new"} {
		if err := start(dir); stint.CodeOf(err) != stint.Unavailable || !strings.Contains(err.Error(), "no_space: ") || !strings.Contains(err.Error(), filepath.Join(disk, dir)) {
			t.Errorf("%s, on a full disk: %v", dir, err)
		}
	}

	if err := os.Rename(cached, removed); err != nil {
		t.Fatal(err)
	}
	if err := start("node"); !errors.Is(err, started) {
		t.Errorf("on a full disk with what is left of a removal: %v", err)
	}
	if _, err := os.Stat(removed); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was left of a removal: %v", err)
	}

	if err := errors.Join(os.Mkdir(cached, 0o700), os.WriteFile(filepath.Join(cached, "1.seg"), make([]byte, 400<<10), 0o600)); err != nil {
		t.Fatal(err)
	}
	mark := must(json.Marshal(kept{Until: time.Now().Add(time.Hour).UnixMilli()}))(t)
	if err := os.WriteFile(filepath.Join(cached, keepMark), mark, 0o600); err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(disk, "more"))
	if err := start("node"); !errors.Is(err, started) {
		t.Errorf("on a full disk with cache: %v", err)
	}
	if _, err := os.Stat(cached); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cache: %v", err)
	}
	if _, err := os.Stat(needed); err != nil {
		t.Errorf("what is needed: %v", err)
	}
}

// There is room for bytes, so that the cache is within its bounds.
func TestAStartWithoutRoomForAFileLetsTheOldestOfTheCacheGo(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "size=2m,nr_inodes=100")
	if disk == "" {
		return
	}
	f := must(openFolder(filepath.Join(disk, "node")))(t)
	t.Cleanup(func() { _ = f.close() })
	marks := map[stint.ExecutionID]*kept{"x-aaaaaaaaaaaaaaaa": nil, execX: {Since: 2}, execY: {Since: 1}}
	for x, k := range marks {
		path := f.at("blocks", string(x), keepMark)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if k == nil {
			err = errors.Join(err, os.Mkdir(path, 0o700)) // it cannot be read
		} else {
			k.Until = time.Now().Add(time.Hour).UnixMilli()
			err = errors.Join(err, os.WriteFile(path, must(json.Marshal(k))(t), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	for i := 0; err == nil; i++ {
		err = os.Mkdir(filepath.Join(disk, strconv.Itoa(i)), 0o700)
	}
	if !isFull(err) {
		t.Fatal(err)
	}
	a := &Agent{Dir: f.dir, Name: "a"}
	if err := a.begin(t.Context(), f, oneNode, slog.New(slog.DiscardHandler)); err != nil || f.node.Node != oneNode {
		t.Errorf("%v; %+v", err, f.node)
	}
	for x := range marks {
		if _, err := os.Stat(f.at("blocks", string(x))); (err == nil) != (x != execY) {
			t.Errorf("%s: %v", x, err)
		}
	}
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it is not whole anyhow
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
