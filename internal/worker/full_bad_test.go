package worker

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"stint"
	"stint/internal/block"
)

// TestWhoFilledTheDiskIsToBlame needs a small disk: it runs again where one can be
// mounted.
func TestWhoFilledTheDiskIsToBlame(t *testing.T) { // alone: the workers of other tests kill what else this process starts
	const where, size = "STINT_TEST_MOUNTS", 8 << 20
	if os.Getenv(where) == "" {
		args := []string{"--mount", os.Args[0], "-test.run", "^" + t.Name() + "$"}
		if os.Geteuid() != 0 {
			args = append([]string{"--map-root-user"}, args...)
		}
		c := exec.CommandContext(t.Context(), "unshare", args...)
		c.Env = append(os.Environ(), where+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	for name, c := range map[string]struct {
		filled int64 // by others
		slots  int
		want   stint.Code
	}{
		"it wrote all there is":                       {slots: 1, want: stint.Failed},
		"it wrote more than its slot's share":         {filled: size / 2, slots: 2, want: stint.Failed},
		"others had filled it":                        {filled: size - size/8, slots: 1, want: stint.Unavailable},
		"it wrote little, but for one of many slots":  {filled: size - size/8, slots: 16, want: stint.Failed},
		"nobody knows how many slots, and it did all": {want: stint.Failed},
	} {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(dir, "1.seg"))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "others"), make([]byte, c.filled), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		s := &slot{segment: f, blocks: block.NewWriter(f, 1, 0), setup: &Setup{Slots: c.slots}}
		o := &operation{out: &byteOutput{to: &blockFile{blocks: s.blocks}}}
		for err == nil {
			_, err = o.out.Write(make([]byte, 64<<10))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		it := &item{job: &Perform{}, order: &Order{Op: 1}}
		got := s.failure(t.Context(), it, s.giveUp(o, err))
		if got.Error.Code != c.want || !strings.Contains(got.Error.Error(), "no space left") || !strings.Contains(got.Error.Error(), f.Name()) {
			t.Errorf("%s: %v", name, got.Error)
		}
		if info, err := f.Stat(); err != nil || info.Size() != 0 {
			t.Errorf("%s: the room was not given back: %v %v", name, info, err)
		}
		if err := errors.Join(f.Close(), syscall.Unmount(dir, 0)); err != nil {
			t.Fatal(err)
		}
	}
}
