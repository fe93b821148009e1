package server

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"stint"
	"stint/internal/failpoint"
	"stint/internal/link"
	"stint/internal/store"
)

// Limits of sets of credentials.
const (
	maxCredentialSets  = 1000
	maxCredentialField = 4096                // bytes
	maxCredentialBytes = link.MaxMessage / 2 // of all sets together, which nodes are told in one message
)

// Sealing encrypts what is kept in the record and must not be read there.
type Sealing struct {
	Close func(secret []byte) ([]byte, error)
	Open  func(sealed []byte) ([]byte, error)
}

// credentials are the sets of credentials that nodes are told. They change one at
// a time; the mutex guards what is told.
type credentials struct {
	changes sync.Mutex // held while one is made

	mu         sync.Mutex
	version    uint64
	sets       []stint.CredentialSet // by name; replaced, never changed
	unreadable []string              // names of those that cannot be decrypted
}

// message is what nodes are told.
func (c *credentials) message() *link.Credentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &link.Credentials{Version: c.version, Sets: c.sets}
}

// put replaces what nodes are told.
func (c *credentials) put(sets []stint.CredentialSet, unreadable []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	c.sets, c.unreadable = sets, unreadable
}

// loadCredentials reads the sets of the record. One that cannot be decrypted is
// left out: whoever uses it is told that there is none.
func (s *Server) loadCredentials(ctx context.Context) error {
	list, err := s.DB.Credentials(ctx)
	if err != nil || len(list) == 0 {
		return err
	}
	var sets []stint.CredentialSet
	var unreadable []string
	for _, sealed := range list {
		set, err := s.unseal(sealed)
		if err != nil {
			unreadable = append(unreadable, sealed.Name)
			s.Logger.WarnContext(ctx, "credentials not readable", "name", sealed.Name, "err", err)
			continue
		}
		sets = append(sets, set)
	}
	s.credentials.put(sets, unreadable)
	s.Access.SetCredentials(sets)
	return nil
}

func (s *Server) unseal(c store.SealedCredentials) (stint.CredentialSet, error) {
	var set stint.CredentialSet
	if s.Sealing.Open == nil {
		return set, errNoSealing()
	}
	b, err := s.Sealing.Open(c.Sealed)
	if err != nil {
		return set, err
	}
	if json.Unmarshal(b, &set) != nil || set.Name != c.Name { // the error's text may hold a part of the secret
		return set, stint.Errorf(stint.Invalid, "credentials %s are not what they were", c.Name)
	}
	return set, nil
}

func errNoSealing() error {
	return stint.Errorf(stint.Unavailable, "this service has no key to keep credentials with")
}

// Credentials returns the sets of credentials, without their secrets.
func (s *Server) Credentials(context.Context) []stint.CredentialReport {
	s.credentials.mu.Lock()
	defer s.credentials.mu.Unlock()
	var out []stint.CredentialReport
	for _, c := range s.credentials.sets {
		out = append(out, c.Report())
	}
	for _, name := range s.credentials.unreadable {
		out = append(out, stint.CredentialReport{Name: name, Unreadable: true})
	}
	slices.SortFunc(out, func(a, b stint.CredentialReport) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// SetCredentials keeps a set of credentials, in place of one of its name, and tells
// every node.
func (s *Server) SetCredentials(ctx context.Context, c stint.CredentialSet) (stint.CredentialReport, error) {
	if err := checkCredentials(c); err != nil {
		return stint.CredentialReport{}, err
	}
	if s.Sealing.Close == nil {
		return stint.CredentialReport{}, errNoSealing()
	}
	b, err := json.Marshal(c)
	if err != nil {
		return stint.CredentialReport{}, err
	}
	sealed, err := s.Sealing.Close(b)
	if err != nil {
		return stint.CredentialReport{}, err
	}
	err = s.changeCredentials(c.Name, func(others []stint.CredentialSet) ([]stint.CredentialSet, error) {
		if len(others) >= maxCredentialSets {
			return nil, stint.Errorf(stint.Invalid, "too_many: there are %d sets of credentials; the limit is %d", len(others), maxCredentialSets)
		}
		all, err := json.Marshal(append(others, c))
		if err == nil && len(all) > maxCredentialBytes {
			err = stint.Errorf(stint.Invalid, "too_many: all sets of credentials together are %d bytes long; the limit is %d", len(all), maxCredentialBytes)
		}
		if err != nil {
			return nil, err
		}
		return append(others, c), s.DB.SaveCredentials(ctx, s.epoch, store.SealedCredentials{Name: c.Name, Sealed: sealed})
	})
	return c.Report(), err
}

func checkCredentials(c stint.CredentialSet) error {
	if err := c.Check(); err != nil {
		return err
	}
	if c.AccessKey == "" {
		return stint.Errorf(stint.Invalid, "credentials %s: expected an access key and a secret key", c.Name)
	}
	for _, field := range []string{c.Endpoint, c.Region, c.AccessKey, c.SecretKey, c.SessionToken} {
		if len(field) > maxCredentialField || strings.ContainsFunc(field, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return stint.Errorf(stint.Invalid, "credentials %s: expected fields of at most %d characters without spaces", c.Name, maxCredentialField)
		}
	}
	return nil
}

// RemoveCredentials removes a set of credentials and tells every node.
func (s *Server) RemoveCredentials(ctx context.Context, name string) error {
	return s.changeCredentials(name, func(others []stint.CredentialSet) ([]stint.CredentialSet, error) {
		return others, s.DB.RemoveCredentials(ctx, s.epoch, name)
	})
}

// changeCredentials has change record what becomes of the set of a name, and tells
// every node. change is given all other sets and returns all that there are.
func (s *Server) changeCredentials(name string, change func(others []stint.CredentialSet) ([]stint.CredentialSet, error)) error {
	c := &s.credentials
	c.changes.Lock()
	defer c.changes.Unlock()
	c.mu.Lock()
	others := slices.DeleteFunc(slices.Clone(c.sets), func(o stint.CredentialSet) bool { return o.Name == name })
	unreadable := slices.DeleteFunc(slices.Clone(c.unreadable), func(o string) bool { return o == name })
	c.mu.Unlock()
	sets, err := change(others)
	if err != nil {
		return err
	}
	slices.SortFunc(sets, func(a, b stint.CredentialSet) int { return cmp.Compare(a.Name, b.Name) })
	failpoint.Reach("credentials.before-telling")
	c.put(sets, unreadable)
	s.Access.SetCredentials(sets)
	s.fleet.tellAll(link.ServerMessage{Credentials: c.message()})
	failpoint.Reach("credentials.before-answer")
	return nil
}

// tellAll sends a message to every node that has a session. One whose session ends
// is told when it attaches.
func (f *fleet) tellAll(m link.ServerMessage) {
	f.mu.Lock()
	var sessions []*link.Session
	for _, node := range f.sorted() {
		if node.session != nil {
			sessions = append(sessions, node.session)
		}
	}
	f.mu.Unlock()
	for _, session := range sessions {
		_ = session.Send(m) // it has ended
	}
}
