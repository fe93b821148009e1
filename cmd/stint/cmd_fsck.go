package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"stint"
	"stint/internal/fsck"
	"stint/internal/object"
)

// fsckFlags are the flags of fsck.
type fsckFlags struct {
	storage string
	agents  []string
	asJSON  bool
}

func (a *app) fsckCommand() *cobra.Command {
	var flags fsckFlags
	c := &cobra.Command{
		Use:   "fsck [ID…]",
		Short: "Look at everything a service has written, and say what is wrong",
		Long: `Look at everything that a service has written (its record, the folders of its agents
on this machine, storage, outputs and keys), compare all of it with its checksums and
with each other, and say what is wrong. Nothing is changed. The service may run or not;
while it runs, what seems wrong is looked at three times.

Exit codes:
  0  nothing is wrong; what is merely left over counts as nothing
  1  something that was acknowledged is lost or wrong
  2  usage, no such folder or execution, or a record of a newer version of Stint
  3  something costs work or copies, and the service sees to it by itself
  5  something could not be looked at`,
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("server") {
				return stint.Errorf(stint.Invalid, "--server: fsck looks at a data folder: run it on the machine of the service, with --data")
			}
			return a.fsck(c.Context(), &flags, args)
		},
	}
	c.Flags().StringVar(&flags.storage, "storage", "", "URL of system storage (default: the one the service has used)")
	c.Flags().StringArrayVar(&flags.agents, "agent", nil, "folder of an agent outside the data folder; may be given several times")
	c.Flags().BoolVar(&flags.asJSON, "json", false, "print one document")
	return c
}

func (a *app) fsck(ctx context.Context, flags *fsckFlags, args []string) error {
	check, err := a.fsckOf(flags, args)
	if err != nil {
		return err
	}
	done := a.showLooking(check)
	ctx, stop := interrupted(ctx)
	defer stop()
	report, err := check.Run(ctx)
	done()
	if ctx.Err() != nil {
		return outcome(exitInterrupted)
	}
	if err != nil {
		return err
	}
	if flags.asJSON {
		err = a.printJSON(report)
	} else {
		err = a.printReport(report)
	}
	if err != nil {
		return err
	}
	return fsckOutcome(report)
}

// fsckOutcome returns how the command ends; nil: well.
func fsckOutcome(r *fsck.Report) error {
	switch {
	case r.Worst() == fsck.Lost:
		return outcome(exitFailed)
	case r.Blind():
		return outcome(exitUnreachable)
	case r.Worst() == fsck.Repairable:
		return outcome(exitIncomplete)
	}
	return nil
}

// fsckOf says what is to be looked at.
func (a *app) fsckOf(flags *fsckFlags, args []string) (*fsck.Check, error) {
	check := &fsck.Check{Storage: flags.storage, Access: object.FromEnvironment()}
	for _, arg := range args {
		id, err := stint.ParseExecutionID(arg)
		if err != nil {
			return nil, err
		}
		check.Executions = append(check.Executions, id)
	}
	f, err := a.folder()
	if err != nil {
		return nil, err
	}
	for _, dir := range flags.agents {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return nil, stint.Errorf(stint.Invalid, "--agent: %w", err)
		}
		check.Agents = append(check.Agents, dir)
	}
	if info, err := os.Stat(string(f)); err != nil || !info.IsDir() {
		return nil, stint.Errorf(stint.NotFound, "data folder %s is not there: name one with --data", f)
	}
	if f.isAgents() {
		if len(args) > 0 {
			return nil, stint.Errorf(stint.Invalid, "folder %s is an agent's: it has no record that lists executions", f)
		}
		check.Agents = append(check.Agents, string(f))
	} else {
		check.Data = string(f)
	}
	check.Running = func() bool {
		return check.Data != "" && (f.held() || folder(f.serverDir()).held()) || anyFlocked(check.Agents)
	}
	return check, nil
}

// anyFlocked reports whether the lock of one of some agents' folders is held, as the
// system's list of locks says: to try would keep an agent from taking it.
func anyFlocked(dirs []string) bool {
	list, err := os.ReadFile("/proc/locks")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(dirs, func(dir string) bool { return flockedIn(string(list), filepath.Join(dir, "lock")) })
}

// flockedIn reports whether a list of locks has one of a file.
func flockedIn(list, path string) bool {
	name, err := lockedName(path)
	if err != nil {
		return false
	}
	for line := range strings.Lines(list) {
		const file = 5 // the field that says which
		if fields := strings.Fields(line); len(fields) > file && fields[1] == "FLOCK" && fields[file] == name {
			return true
		}
	}
	return false
}

// lockedName returns how the list of locks names a file. The device is that of its
// mount: on some file systems (btrfs) a file says of itself that it lies on another.
func lockedName(path string) (string, error) {
	var info unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_MNT_ID, &info); err != nil {
		return "", err
	}
	major, minor := info.Dev_major, info.Dev_minor
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		const device = 2 // the field of MAJOR:MINOR, in decimal
		if fields := strings.Fields(line); len(fields) > device && fields[0] == strconv.FormatUint(info.Mnt_id, 10) {
			if _, err := fmt.Sscanf(fields[device], "%d:%d", &major, &minor); err != nil {
				return "", err
			}
		}
	}
	return fmt.Sprintf("%02x:%02x:%d", major, minor, info.Ino), nil
}

// lookingEvery is the least time between two drawings of how far a look has come.
const lookingEvery = 200 * time.Millisecond

// showLooking draws on a terminal how far a look has come, until done is called.
func (a *app) showLooking(check *fsck.Check) (done func()) {
	if file, ok := a.errs.(*os.File); !ok || !term.IsTerminal(int(file.Fd())) {
		return func() {}
	}
	var mu sync.Mutex
	began, last := time.Now(), time.Time{}
	check.Progress = func(l fsck.Looked) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(last) >= lookingEvery {
			last = now
			a.say("\r\x1b[K%s, %s/s", lookedText(&l), sizeText(float64(l.Bytes)/max(now.Sub(began).Seconds(), 0.001)))
		}
	}
	return func() { a.say("\r\x1b[K") }
}

func lookedText(l *fsck.Looked) string {
	return fmt.Sprintf("%d executions, %d operations, %d blocks, %d packs, %d parts of outputs, %s", l.Executions, l.Operations, l.Blocks, l.Packs, l.Parts, sizeText(float64(l.Bytes)))
}

// printReport writes what was found, the worst first, and a line about what was looked at.
func (a *app) printReport(r *fsck.Report) error {
	var b strings.Builder
	if r.Running {
		b.WriteString("The service runs: what it has written meanwhile was not looked at.\n")
	}
	code := fsck.Code("")
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Code != code {
			code = f.Code
			fmt.Fprintf(&b, "\n%s: %s: %s\n", f.Severity, f.Code, fsck.MeaningOf(f.Code).Says)
		}
		fmt.Fprintf(&b, "  %s\n    %s\n    do: %s\n", printable(f.Place), printable(f.Text), f.Advice)
	}
	if len(r.Unlooked) > 0 {
		b.WriteString("\nnot looked at\n")
	}
	for _, u := range r.Unlooked {
		fmt.Fprintf(&b, "  %s: %s\n", printable(u.Place), printable(u.Why))
	}
	if len(r.Findings)+len(r.Unlooked) > 0 {
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "looked at %s in %.1f s: %s\n", lookedText(&r.Looked), r.Seconds, verdictText(r))
	_, err := a.out.Write([]byte(b.String()))
	return err
}

func verdictText(r *fsck.Report) string {
	if len(r.Findings) == 0 {
		return "nothing is wrong"
	}
	return fmt.Sprintf("%d lost, %d repairable, %d left over", r.Lost, r.Repairable, r.Leftovers)
}
