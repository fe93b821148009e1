//go:build failpoint

package failpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// variable is what says in the environment what is to happen.
const variable = "FAILPOINT"

// struckName is the file that says who has struck, releasedName the one that lets go
// who is held.
const (
	struckName   = "struck"
	releasedName = "released"
)

// order is what the environment says is to happen.
type order struct {
	point  string
	time   int64
	action string
	folder string
}

// given returns what is to happen in this process. An environment that makes no
// sense ends the process: a test must not pass for it.
//
//nolint:gochecknoglobals // points are everywhere; nobody could hand it to them
var given = sync.OnceValue(func() []order {
	var list []order
	for text := range strings.FieldsSeq(os.Getenv(variable)) {
		fields := strings.SplitN(text, ":", 4)
		if len(fields) != 4 {
			refuse(text, "expected POINT:TIME:ACTION:FOLDER")
		}
		passing, err := strconv.ParseInt(fields[1], 10, 64)
		switch {
		case err != nil:
			refuse(text, err.Error())
		case !slices.Contains([]string{"kill", "stop", "hold", "fail", "count"}, fields[2]):
			refuse(text, "expected kill, stop, hold, fail or count")
		}
		list = append(list, order{point: fields[0], time: passing, action: fields[2], folder: fields[3]})
	}
	return list
})

func refuse(text, why string) {
	fmt.Fprintf(os.Stderr, "%s=%s: %s\n", variable, text, why)
	os.Exit(2)
}

// Reach strikes if the environment says so.
func Reach(name string) {
	if err := strike(name); err != nil {
		refuse(name, "only an Error can fail")
	}
}

// Error strikes if the environment says so: the error is what a disk would say.
func Error(name string) error { return strike(name) }

func strike(name string) (err error) {
	for _, o := range given() {
		if o.point == name || o.point == "*" {
			err = errors.Join(err, o.pass(name))
		}
	}
	return err
}

// pass counts a passing, and does what the order says if it is its turn.
func (o order) pass(name string) error {
	if count(filepath.Join(o.folder, name)) != o.time || o.action == "count" {
		return nil
	}
	note := fmt.Sprintf("%s %d\n", name, os.Getpid())
	if err := os.WriteFile(filepath.Join(o.folder, struckName), []byte(note), 0o600); err != nil {
		refuse(name, err.Error())
	}
	switch o.action {
	case "fail":
		return fmt.Errorf("failpoint %s: %w", name, syscall.EIO)
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) // it never fails
	case "hold":
		o.hold()
	default:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it never fails
		select {}
	}
	return nil
}

// hold returns when it may go on.
func (o order) hold() {
	for {
		if _, err := os.Stat(filepath.Join(o.folder, releasedName)); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// count appends a byte to a file and returns where it lies, counted from 1.
func count(path string) int64 {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		refuse(path, err.Error())
	}
	defer f.Close() //nolint:errcheck // what counts is written
	if _, err := f.Write([]byte{'.'}); err != nil {
		refuse(path, err.Error())
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		refuse(path, err.Error())
	}
	return at
}
