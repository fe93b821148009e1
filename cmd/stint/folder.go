package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"stint"
	"stint/internal/failpoint"
)

// folder is a data folder. In it lie
//
//	lock          held by the process that owns the folder; says who that is
//	credentials   address, token and certificate of the running service
//	join          the token with which its agents join
//	server/       the record, the certificate authority, the keys
//	storage/      system storage, unless --storage says otherwise
//	agents/1 …    one folder per local agent; nothing that must survive without it;
//	              1.removing: the rest of one that is gone
//	logs/         what the children of "stint up" print
type folder string

func (f folder) at(name string) string { return filepath.Join(string(f), name) }

func (f folder) lockFile() string    { return f.at("lock") }
func (f folder) credentials() string { return f.at("credentials") }
func (f folder) joinToken() string   { return f.at("join") }
func (f folder) serverDir() string   { return f.at("server") }
func (f folder) storage() string     { return f.at("storage") }
func (f folder) agents() string      { return f.at("agents") }
func (f folder) agent(n int) string  { return filepath.Join(f.agents(), strconv.Itoa(n)) }
func (f folder) caFile() string      { return filepath.Join(f.serverDir(), "ca.pem") }
func (f folder) logs() string        { return f.at("logs") }

// defaultData returns the data folder of a user who names none, or "" where
// the environment says nothing of a home.
func defaultData(environ []string) string {
	home := ""
	for _, v := range environ {
		switch name, value, _ := strings.Cut(v, "="); name {
		case "XDG_DATA_HOME":
			if filepath.IsAbs(value) {
				return filepath.Join(value, "stint")
			}
		case "HOME":
			home = value
		}
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".local", "share", "stint")
}

// openFolder returns the data folder with its subfolders made. A folder that
// was named must have a parent; the default one is made whole.
func (a *app) openFolder() (folder, error) {
	f, err := a.folder()
	if err != nil {
		return "", err
	}
	if f.isAgents() {
		return "", stint.Errorf(stint.Invalid, "data folder %s belongs to an agent: name another", f)
	}
	if string(f) == defaultData(os.Environ()) {
		err = os.MkdirAll(string(f), 0o700)
	} else if err = os.Mkdir(string(f), 0o700); errors.Is(err, os.ErrExist) {
		err = nil
	}
	for _, dir := range []string{f.serverDir(), f.agents(), f.logs(), f.storage()} {
		if err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
	}
	if err != nil {
		return "", stint.Errorf(stint.Invalid, "data folder %s: %w", f, err)
	}
	return f, nil
}

func (a *app) folder() (folder, error) {
	if a.data == "" {
		return "", stint.Errorf(stint.Invalid, "no data folder: neither HOME nor XDG_DATA_HOME is set; name one with --data")
	}
	path, err := filepath.Abs(a.data)
	if err != nil {
		return "", stint.Errorf(stint.Invalid, "data folder %s: %w", a.data, err)
	}
	return folder(path), nil
}

func (f folder) isAgents() bool {
	_, err := os.Stat(f.at("node.json"))
	return err == nil
}

// holder is what the lock says of the process that holds it.
type holder struct {
	PID     int       `json:"pid"`
	Address string    `json:"address"`
	Since   time.Time `json:"since"`
}

// String returns the holder as people are told of it.
func (h holder) String() string {
	if h.PID == 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d at %s since %s", h.PID, h.Address, h.Since.Local().Format(time.RFC3339))
}

// hadPort reports whether the holder listened at the port of an address.
func (h holder) hadPort(address string) bool {
	had, err := url.Parse(h.Address)
	_, port, wrong := net.SplitHostPort(address)
	return err == nil && wrong == nil && port == had.Port()
}

// lock is a data folder that this process owns until it ends or calls release.
type lock struct{ file *os.File }

// take makes this process the owner of the folder, or says who is. The lock
// belongs to the open file, so it ends with the process, however that ends, and
// can be asked about without being taken.
func (f folder) take() (*lock, error) {
	file, err := os.OpenFile(f.lockFile(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "lock data folder: %w", err)
	}
	whole := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &whole); err != nil {
		defer file.Close() //nolint:errcheck // nothing was written
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, stint.Errorf(stint.Conflict, "data folder %s is in use by %s: stop that, or name another folder with --data", f, readHolder(file))
		}
		return nil, stint.Errorf(stint.Invalid, "lock data folder %s: %w", f, err)
	}
	return &lock{file: file}, nil
}

// takeSoon is take, with patience for an owner that is about to end.
func (f folder) takeSoon(patience time.Duration) (*lock, error) {
	for deadline := time.Now().Add(patience); ; {
		l, err := f.take()
		if stint.CodeOf(err) != stint.Conflict || time.Now().After(deadline) {
			return l, err
		}
		time.Sleep(reachPoll)
	}
}

// held reports whether some process owns the folder.
func (f folder) held() bool {
	file, err := os.OpenFile(f.lockFile(), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer file.Close() //nolint:errcheck // read only
	asked := unix.Flock_t{Type: unix.F_WRLCK}
	err = unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &asked)
	return err == nil && asked.Type != unix.F_UNLCK
}

func readHolder(file *os.File) holder {
	var h holder
	b, err := io.ReadAll(io.NewSectionReader(file, 0, 4096))
	if err != nil || json.Unmarshal(b, &h) != nil {
		return holder{}
	}
	return h
}

// name writes into the lock who holds it.
func (l *lock) name(h holder) error {
	b, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode lock: %w", err)
	}
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	failpoint.Reach("lock.after-emptying")
	if _, err := l.file.WriteAt(append(b, '\n'), 0); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return nil
}

// release gives the folder up, also for a process that is just being started and has
// not closed what it inherited.
func (l *lock) release() {
	_ = unix.FcntlFlock(l.file.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK})
	_ = l.file.Close()
}
