package fsck

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"stint"
	"stint/internal/auth"
	"stint/internal/object"
	"stint/internal/store"
)

// Check is what is to be looked at. The exported fields are its configuration.
type Check struct {
	Data       string              // data folder of a service; empty: there is none here
	Agents     []string            // folders of agents, beside those in the data folder
	Storage    string              // URL of system storage; empty: where the service has used one
	Executions []stint.ExecutionID // only these; none: all
	Access     *object.Access      // to storage and outputs; gets the sets of credentials of the record
	Scratch    string              // folder for a copy of the record; empty: that of the operating system
	Running    func() bool         // whether the service, or one of the agents, runs
	Progress   func(Looked)        // called often while something is looked at; nil: nobody listens
}

// looks is how often what seems wrong is looked at while the service runs, and
// lookPause is between two of them.
const (
	looks     = 3
	lookPause = time.Second
)

// Run looks at everything once, and at what seems wrong again if the service runs.
// The error says why nothing could be looked at: [stint.NotFound] if there is no
// service and no agent, [stint.Invalid] if the record is of a newer version.
func (c *Check) Run(ctx context.Context) (*Report, error) {
	began := time.Now()
	running := c.Running()
	l, err := c.look(ctx, c.Executions, nil)
	if err != nil {
		return nil, err
	}
	running = running || c.Running()
	report := &Report{Data: c.Data, Storage: l.location, Running: running, Looked: l.looked, Unlooked: l.unlooked, Findings: l.findings}
	for again := 1; running && again < looks && len(report.Findings) > 0; again++ {
		if err := wait(ctx, lookPause); err != nil {
			return nil, err
		}
		l, err = c.look(ctx, c.Executions, report.Findings)
		if err != nil {
			return nil, err
		}
		report.Findings = slices.DeleteFunc(report.Findings, func(f Finding) bool { return !l.seen[f.spot()] })
	}
	report.Findings = withoutDoubtful(report.Findings)
	report.finish(time.Since(began))
	return report, nil
}

func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish sorts and counts.
func (r *Report) finish(took time.Duration) {
	r.Seconds = took.Seconds()
	sortFindings(r.Findings)
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	if r.Unlooked == nil {
		r.Unlooked = []Unlooked{}
	}
	for _, f := range r.Findings {
		switch f.Severity {
		case Lost:
			r.Lost++
		case Repairable:
			r.Repairable++
		case Leftover:
			r.Leftovers++
		}
	}
}

// look is one look at everything, or at what an earlier one found wrong.
type look struct {
	notes
	check   *Check
	only    map[stint.ExecutionID]bool // nil: all executions, and what is of none
	running bool

	agents   []string
	folders  []*folder
	db       *store.DB // nil: there is no record that can be read
	outlines []store.Outline
	service  int64
	seal     *auth.Seal

	storage  *object.Storage // nil: it cannot be looked at
	location string
	homes    map[string]*object.Storage
	reused   map[stint.ExecutionID]bool // executions whose blocks others stand on
	blobs    map[string]bool            // keys of listings and files that something refers to
	known    map[stint.ExecutionID]bool // executions of the record
	judged   map[stint.ExecutionID]bool // whose saved state was looked at
	drafts   map[stint.ExecutionID]bool // submissions that were being prepared
	staging  map[string]bool            // locations whose staging folder was looked at
}

func (c *Check) look(ctx context.Context, ids []stint.ExecutionID, again []Finding) (*look, error) {
	l := &look{
		check: c, running: c.Running(), homes: make(map[string]*object.Storage), reused: make(map[stint.ExecutionID]bool),
		blobs: make(map[string]bool), known: make(map[stint.ExecutionID]bool), judged: make(map[stint.ExecutionID]bool),
		drafts: make(map[stint.ExecutionID]bool), staging: make(map[string]bool),
	}
	l.tell = c.Progress
	if len(ids) > 0 {
		l.only = make(map[stint.ExecutionID]bool)
		for _, x := range ids {
			l.only[x] = true
		}
	}
	l.narrow(again)
	scratch, err := os.MkdirTemp(c.Scratch, "stint-fsck-")
	if err != nil {
		return nil, &stint.Error{Code: stint.Unavailable, Message: "make a folder for a copy of the record where TMPDIR says", Err: err}
	}
	err = l.run(ctx, scratch)
	if l.db != nil {
		err = errors.Join(err, l.db.Close())
	}
	return l, errors.Join(err, os.RemoveAll(scratch))
}

// narrow restricts a look to executions in which an earlier one found something, if
// all that it found is found again by looking at these alone.
func (l *look) narrow(again []Finding) {
	if again == nil || l.only != nil {
		return
	}
	ids := make(map[stint.ExecutionID]bool)
	for _, f := range again {
		if f.Execution == "" || f.wide {
			return
		}
		ids[f.Execution] = true
	}
	l.only = ids
}

// concerns reports whether an execution is to be looked at.
func (l *look) concerns(x stint.ExecutionID) bool { return l.only == nil || l.only[x] }

func (l *look) run(ctx context.Context, scratch string) error {
	if err := l.findAgents(); err != nil {
		return err
	}
	if err := l.openRecord(ctx, scratch); err != nil {
		return err
	}
	l.openKeys()
	if err := l.lookAtRecord(ctx); err != nil {
		return err
	}
	if l.check.Data != "" {
		if err := l.openStorage(ctx); err != nil {
			return err
		}
	}
	if err := l.planReuse(ctx); err != nil {
		return err
	}
	if err := l.lookAtFolders(ctx); err != nil {
		return err
	}
	if err := l.lookAtDrafts(ctx); err != nil {
		return err
	}
	if err := l.lookAtExecutions(ctx); err != nil {
		return err
	}
	return l.lookAtStorage(ctx)
}

// Removing ends the name of what was the folder of an agent and is being removed:
// what is left in it is nobody's.
const Removing = ".removing"

// findAgents lists the agents' folders: those of "stint up" and those that were named.
func (l *look) findAgents() error {
	l.agents = slices.Clone(l.check.Agents)
	for _, dir := range l.agents {
		if !anyThere(dir, "node.json", "node.pem", "blocks") {
			return stint.Errorf(stint.NotFound, "no agent has used folder %s: it has neither node.json nor blocks", dir)
		}
	}
	if l.check.Data == "" {
		return nil
	}
	own, err := filepath.Glob(filepath.Join(globEscaped(l.check.Data), "agents", "*"))
	if err != nil {
		return err
	}
	for _, dir := range own {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && !strings.HasSuffix(dir, Removing) && !slices.Contains(l.agents, dir) {
			l.agents = append(l.agents, dir)
		}
	}
	return nil
}

// anyThere reports whether a folder has something of one of some names, or says of one
// other than that it is not there.
func anyThere(dir string, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil || errors.Is(err, fs.ErrPermission)
	})
}

// globEscaped escapes a path for filepath.Glob.
func globEscaped(path string) string {
	var b []byte
	for i := range len(path) {
		if c := path[i]; c == '*' || c == '?' || c == '[' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, path[i])
	}
	return string(b)
}

func (l *look) recordPath() string { return filepath.Join(l.check.Data, "server", "store.db") }

// openRecord copies and opens the record. A record that cannot be opened is a finding;
// one of a newer version is refused.
func (l *look) openRecord(ctx context.Context, scratch string) error {
	if l.check.Data == "" {
		return nil
	}
	path := l.recordPath()
	db, err := store.OpenCopy(ctx, path, scratch)
	switch {
	case err == nil:
		l.db = db
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, store.ErrNewer):
		return stint.Errorf(stint.Invalid, "record %s has a schema that this version of Stint does not know: use a newer one", path)
	case errors.Is(err, fs.ErrNotExist):
		return l.withoutRecord(path)
	case errors.Is(err, store.ErrTorn):
		l.find(RecordTorn, "", path, "record %s was not closed, and the log with its latest changes is gone, or is not the one that was open last", path)
	case errors.Is(err, store.ErrDamaged):
		l.find(RecordDamaged, "", path, "SQLite cannot read record %s: %s", path, cause(err))
	default:
		return &stint.Error{Code: stint.Unavailable, Message: "look at record " + path, Err: err}
	}
	return nil
}

// cause returns the innermost text of an error, which names no copy.
func cause(err error) string {
	for {
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			list := many.Unwrap()
			err = list[len(list)-1]
			continue
		}
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}

// withoutRecord tells a folder that was never a service's from one that has lost its record.
func (l *look) withoutRecord(path string) error {
	for _, sign := range []string{"server/ca.key", "server/keyring.json", "credentials", "storage/stint-storage.json"} {
		if _, err := os.Stat(filepath.Join(l.check.Data, sign)); err == nil {
			l.find(RecordMissing, "", path, "there is no %s, and the folder has %s", path, sign)
			return nil
		}
	}
	return stint.Errorf(stint.NotFound, "no service has used data folder %s: it has no server/store.db; name one with --data", l.check.Data)
}

// lookAtRecord reads what of the record is of no single execution.
func (l *look) lookAtRecord(ctx context.Context) error {
	if l.db == nil {
		return nil
	}
	err := l.db.CheckIntegrity(ctx)
	if err == nil {
		l.outlines, err = l.db.Outlines(ctx)
	}
	if err == nil {
		l.service, err = l.db.Service(ctx)
	}
	if err != nil {
		return l.badRecord(ctx, err)
	}
	for _, o := range l.outlines {
		l.known[o.ID] = true
	}
	for x := range l.only {
		if !l.known[x] && len(l.check.Executions) > 0 {
			return stint.Errorf(stint.NotFound, "no execution %s in record %s", x, l.recordPath())
		}
	}
	strays, err := l.db.Strays(ctx)
	if err != nil {
		return l.badRecord(ctx, err)
	}
	for _, x := range strays {
		l.find(RecordStray, x, l.recordPath(), "the journal or a snapshot of %s is there, and the execution is not listed", x)
	}
	return l.badRecord(ctx, l.lookAtCredentials(ctx))
}

// badRecord makes a finding of an error of reading the record.
func (l *look) badRecord(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	l.find(RecordDamaged, "", l.recordPath(), "record %s cannot be read: %s", l.recordPath(), cause(err))
	return nil
}

// lookAtCredentials decrypts the sets of credentials, and lets what is looked at use
// them.
func (l *look) lookAtCredentials(ctx context.Context) error {
	list, err := l.db.Credentials(ctx)
	if err != nil {
		return err
	}
	var sets []stint.CredentialSet
	for _, c := range list {
		if l.seal == nil {
			if _, err := os.Stat(l.sealPath()); errors.Is(err, fs.ErrNotExist) { // else it was said what is wrong with it
				l.find(KeyMissing, "", l.sealPath(), "the record has credentials, and their key is not there: %s", l.sealPath())
			}
			return nil
		}
		var set stint.CredentialSet
		b, err := l.seal.Open(c.Sealed)
		if err != nil || json.Unmarshal(b, &set) != nil || set.Name != c.Name { // no text of an error: it may hold a part of the secret
			l.find(CredentialsUnreadable, "", "credentials "+c.Name, "the set of credentials %s cannot be decrypted with %s", c.Name, l.sealPath())
			continue
		}
		sets = append(sets, set)
	}
	if len(sets) > 0 {
		l.check.Access.SetCredentials(sets)
	}
	return nil
}
