package worker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"

	"stint"
	"stint/internal/wire"
)

// rightsPerCall is how many descriptors one sendmsg carries; the kernel refuses
// more than 253.
const rightsPerCall = 250

// Conn is one end of the socket between an agent and a worker. A message is the
// number of its descriptors as little-endian uint32, a zero byte for each 250
// of them, with which they travel, and a frame of package wire.
//
// Send may be called from any goroutine, Receive from one at a time.
type Conn struct {
	socket *net.UnixConn
	mu     sync.Mutex // guards sending

	in    []byte     // received and not yet consumed
	files []*os.File // likewise
	oob   []byte
	buf   []byte // read into
}

// NewConn returns a Conn over a connected stream socket, which it then owns.
func NewConn(socket *net.UnixConn) *Conn {
	return &Conn{socket: socket, oob: make([]byte, syscall.CmsgSpace(4*256)), buf: make([]byte, 64<<10)}
}

// Close closes the socket and the descriptors that were received with no
// message to take them.
func (c *Conn) Close() error {
	return c.socket.Close()
}

// packed is a Message as it crosses the socket: records in the encoding of the
// log, from which they are taken as they are.
type packed struct {
	Setup   *Setup             `json:"a,omitempty"`
	Segment *SegmentFiles      `json:"s,omitempty"`
	Perform *Perform           `json:"p,omitempty"`
	Stop    *Stop              `json:"x,omitempty"`
	Log     []byte             `json:"l,omitempty"`
	Status  []stint.StatusText `json:"t,omitempty"`
	Dropped []stint.Returned   `json:"d,omitempty"`
	Events  bool               `json:"e,omitempty"`
	Staged  *stint.Part        `json:"u,omitempty"`
	Stored  *Stored            `json:"r,omitempty"`
}

// Send sends a message and duplicates of files, which stay the caller's. It
// waits while the other end does not read. An error leaves the stream broken.
func (c *Conn) Send(m Message, files []*os.File) error {
	p := packed{Setup: m.Setup, Segment: m.Segment, Perform: m.Perform, Stop: m.Stop, Stored: m.Stored}
	if m.Events != nil {
		p.Events, p.Status, p.Dropped, p.Staged = true, m.Events.Status, m.Events.Dropped, m.Events.Staged
		var err error
		for _, r := range m.Events.Records {
			if p.Log, err = AppendRecord(p.Log, r); err != nil {
				return err
			}
		}
	}
	return c.send(p, files)
}

func (c *Conn) send(p packed, files []*os.File) error {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(files)))
	chunks := (len(files) + rightsPerCall - 1) / rightsPerCall
	b, err := wire.AppendFrame(append(head, make([]byte, chunks)...), p)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(files) > 0 {
		if err := c.write(b[:len(head)]); err != nil {
			return err
		}
		if err := c.sendFiles(files); err != nil {
			return err
		}
		b = b[len(head)+chunks:]
	}
	return c.write(b)
}

func (c *Conn) write(b []byte) error {
	if _, err := c.socket.Write(b); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

func (c *Conn) sendFiles(files []*os.File) error {
	for len(files) > 0 {
		n := min(len(files), rightsPerCall)
		fds := make([]int, n)
		for i, f := range files[:n] {
			fds[i] = int(f.Fd())
		}
		if _, _, err := c.socket.WriteMsgUnix([]byte{0}, syscall.UnixRights(fds...), nil); err != nil {
			return fmt.Errorf("send %d descriptors: %w", n, err)
		}
		files = files[n:]
	}
	return nil
}

// Receive waits for the next message and returns it with its files, which are
// the caller's to close. The error is io.EOF when the other end has closed.
func (c *Conn) Receive() (Message, []*os.File, error) {
	head, err := c.next(4)
	if err != nil {
		return Message{}, nil, err
	}
	n := int(binary.LittleEndian.Uint32(head))
	if n > 1<<20 {
		return Message{}, nil, fmt.Errorf("receive message: %d descriptors", n)
	}
	var p packed
	err = c.frame((n+rightsPerCall-1)/rightsPerCall, &p)
	if err == nil && len(c.files) < n {
		err = fmt.Errorf("receive message: %d of %d descriptors came", len(c.files), n)
	}
	if err != nil {
		closeAll(c.files)
		return Message{}, nil, err
	}
	files := c.files[:n:n]
	c.files = c.files[n:]
	m, err := p.message()
	if err != nil {
		closeAll(files)
		return Message{}, nil, err
	}
	return m, files, nil
}

// frame reads the bytes that carried descriptors, and the frame behind them.
func (c *Conn) frame(carriers int, p *packed) error {
	if _, err := c.next(carriers); err != nil {
		return unexpected(err)
	}
	head, err := c.next(frameHeader)
	if err != nil {
		return unexpected(err)
	}
	n := binary.LittleEndian.Uint32(head)
	if n > wire.MaxFrame {
		return fmt.Errorf("receive message of %d bytes: at most %d", n, wire.MaxFrame)
	}
	header := [frameHeader]byte(head)
	body, err := c.next(int(n))
	if err != nil {
		return unexpected(err)
	}
	_, err = wire.ReadFrame(io.MultiReader(bytes.NewReader(header[:]), bytes.NewReader(body)), p)
	return unexpected(err)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next returns the next n bytes, valid until the next call.
func (c *Conn) next(n int) ([]byte, error) {
	for len(c.in) < n {
		if err := c.fill(); err != nil {
			if errors.Is(err, io.EOF) && len(c.in) > 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	b := c.in[:n:n]
	c.in = c.in[n:]
	return b, nil
}

func (c *Conn) fill() error {
	n, oobn, flags, _, err := c.socket.ReadMsgUnix(c.buf, c.oob)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return fmt.Errorf("receive message: %w", err)
	}
	if n == 0 {
		return io.EOF
	}
	c.in = append(c.in, c.buf[:n]...)
	if flags&syscall.MSG_CTRUNC != 0 {
		return errors.New("receive message: descriptors did not fit; is the limit of open files reached?")
	}
	return c.takeFiles(c.oob[:oobn])
}

func (c *Conn) takeFiles(oob []byte) error {
	if len(oob) == 0 {
		return nil
	}
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("receive descriptors: %w", err)
	}
	for _, m := range messages {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			return fmt.Errorf("receive descriptors: %w", err)
		}
		for _, fd := range fds {
			c.files = append(c.files, os.NewFile(uintptr(fd), nameOf(fd)))
		}
	}
	return nil
}

// nameOf returns the path of the file that a descriptor came for: errors name it.
func nameOf(fd int) string {
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "received"
	}
	return path
}

func (p *packed) message() (Message, error) {
	m := Message{Setup: p.Setup, Segment: p.Segment, Perform: p.Perform, Stop: p.Stop, Stored: p.Stored}
	if !p.Events {
		return m, nil
	}
	m.Events = &Events{Status: p.Status, Dropped: p.Dropped, Staged: p.Staged}
	r, buf := bytes.NewReader(p.Log), []byte(nil)
	for r.Len() > 0 {
		value, err := readFrame(r, &buf)
		if err != nil {
			return Message{}, fmt.Errorf("receive events: %w", err)
		}
		rec, err := decodeRecord(value)
		if err != nil {
			return Message{}, fmt.Errorf("receive events: %w", err)
		}
		m.Events.Records = append(m.Events.Records, rec)
	}
	return m, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing is written through it here
	}
}
