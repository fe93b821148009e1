package object

import (
	"cmp"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"stint"
)

// Access is what a process may reach: files, buckets with the credentials it was
// given, and addresses of the network. The exported fields are its configuration
// and do not change once it is used; the zero value reaches files, and what is
// public in the network. Safe for concurrent use.
type Access struct {
	Environment func(name string) string // where the credentials of locations without a set come from; nil: there are none
	Addresses   Addresses                // where http and https may lead
	Scratch     string                   // folder for bytes on their way to a bucket; empty: that of the operating system

	slowAfter time.Duration // how long a little of an input may take; 0: a minute

	mu      sync.Mutex
	dialer  *http.Transport // of the web
	sets    map[string]stint.CredentialSet
	clients map[stint.CredentialSet]*minio.Core
}

// FromEnvironment reaches what the environment of this process has credentials
// for, and every address that is not link-local.
func FromEnvironment() *Access {
	return &Access{Environment: os.Getenv, Addresses: Addresses{Private: true}}
}

// SetCredentials replaces all named sets. What is in progress goes on with the
// new ones from its next request.
func (a *Access) SetCredentials(sets []stint.CredentialSet) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sets = make(map[string]stint.CredentialSet, len(sets))
	for _, s := range sets {
		a.sets[s.Name] = s
	}
	a.clients = nil
}

// credentials returns the set of a name; without a name, that of the environment.
func (a *Access) credentials(name string) (stint.CredentialSet, error) {
	if name == "" {
		return a.fromEnvironment(), nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	set, ok := a.sets[name]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(a.sets)), ", ")
		return set, stint.Errorf(stint.Denied, "unknown_credentials: there is no set of credentials %q here; known: %s", name, known)
	}
	return set, nil
}

func (a *Access) fromEnvironment() stint.CredentialSet {
	if a.Environment == nil {
		return stint.CredentialSet{}
	}
	set := stint.CredentialSet{
		Endpoint: a.Environment("AWS_ENDPOINT_URL_S3"), Region: a.Environment("AWS_REGION"),
		AccessKey: a.Environment("AWS_ACCESS_KEY_ID"), SecretKey: a.Environment("AWS_SECRET_ACCESS_KEY"), SessionToken: a.Environment("AWS_SESSION_TOKEN"),
	}
	if set.Endpoint == "" {
		set.Endpoint = a.Environment("AWS_ENDPOINT_URL")
	}
	return set
}

// web returns the transport of http and https.
func (a *Access) web() *http.Transport {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dialer == nil {
		a.dialer = newTransport(a.Addresses, nil)
	}
	return a.dialer
}

func (a *Access) slow() time.Duration { return cmp.Or(a.slowAfter, slowLimit) }
