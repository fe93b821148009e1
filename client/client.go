package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"stint"
)

const (
	// maxAnswer is the longest answer that is read, in bytes.
	maxAnswer = 256 << 20

	dialTime = 10 * time.Second
	pingTime = 15 * time.Second // of silence before a peer is asked whether it is there, and to answer that
)

// Config says where a service is and who asks.
type Config struct {
	URL   string // of the service, as https://127.0.0.1:7843
	Token string // the bearer token; empty: none is sent
	CA    []byte // PEM of the authority that signed the service's certificate; empty: the system's
	// Dial makes connections; nil: TCP, for at most 10 seconds each.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client calls one service. Its calls take as long as the service does, or until
// their context ends; a peer that is gone is noticed. Safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New returns a client. It contacts nobody yet.
func New(c Config) (*Client, error) {
	base, err := url.Parse(c.URL)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") || base.RawQuery != "" || base.User != nil {
		return nil, stint.Errorf(stint.Invalid, "server %.80q: expected a URL as https://127.0.0.1:7843", c.URL)
	}
	if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, stint.Errorf(stint.Invalid, "the token holds characters that no token has")
	}
	roots, err := rootsOf(c.CA)
	if err != nil {
		return nil, err
	}
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTime}).DialContext
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dial,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   dialTime,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: pingTime, PingTimeout: pingTime},
	}
	return &Client{base: base, token: c.Token, http: &http.Client{Transport: transport, CheckRedirect: stay}}, nil
}

// stay does not follow redirects: the service sends none, and who does is not
// to see the token.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func rootsOf(ca []byte) (*x509.CertPool, error) {
	if len(ca) == 0 {
		return nil, nil //nolint:nilnil // no pool means the system's authorities
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, stint.Errorf(stint.Invalid, "the certificate authority is not a PEM certificate")
	}
	return roots, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is one request: what is asked of which path.
type call struct {
	method string
	path   []string // segments behind the base, not escaped
	query  url.Values
	header http.Header
	body   io.Reader
	length int64 // of body; 0: unknown, or none
}

// do sends a call and returns the answer if it is a success. The caller closes its body.
func (c *Client) do(ctx context.Context, k call) (*http.Response, error) {
	escaped := make([]string, len(k.path))
	for i, segment := range k.path {
		escaped[i] = url.PathEscape(segment)
	}
	target := strings.TrimSuffix(c.base.String(), "/") + "/" + strings.Join(escaped, "/")
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, k.method, target, k.body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	maps.Copy(request.Header, k.header)
	if k.length > 0 {
		request.ContentLength = k.length
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, transportError(ctx, k.method, err)
	}
	if response.StatusCode/100 == 2 {
		return response, nil
	}
	defer response.Body.Close() //nolint:errcheck // nothing was written
	return nil, refusal(response)
}

// transportError says what is known when there is no answer.
func transportError(ctx context.Context, method string, err error) error {
	if ctx.Err() != nil {
		return &stint.Error{Code: stint.Canceled, Err: fmt.Errorf("call the service: %w", ctx.Err())}
	}
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	code := stint.Unknown
	switch {
	case errors.As(err, &cert):
		code = stint.Denied
	case method == http.MethodGet, errors.As(err, &op) && op.Op == "dial":
		code = stint.Unavailable
	}
	return &stint.Error{Code: code, Err: fmt.Errorf("call the service: %w", err)}
}

// fetch sends a call and reads the JSON of the answer into v.
func (c *Client) fetch(ctx context.Context, k call, v any) error {
	response, err := c.do(ctx, k)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // nothing was written
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return transportError(ctx, k.method, err)
	}
	if len(data) > maxAnswer {
		return stint.Errorf(stint.Internal, "the answer of the service is longer than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return &stint.Error{Code: stint.Internal, Err: fmt.Errorf("read the answer of the service: %w", err)}
	}
	return nil
}

func get(path ...string) call { return call{method: http.MethodGet, path: path} }

// Submit asks for an execution and returns once it is recorded. A request
// without a key gets a random one, so that asking again after a lost answer
// cannot make two: Submit does so itself, up to three times in all.
func (c *Client) Submit(ctx context.Context, r stint.Request) (stint.Execution, error) {
	if r.Key == "" {
		r.Key = rand.Text()
	}
	var x stint.Execution
	var err error
	unsure := false
	for attempt := range 3 {
		if err := pause(ctx, attempt); err != nil {
			return x, err
		}
		x, err = ask[stint.Execution](ctx, c, r, "v1", "executions")
		unsure = unsure || stint.CodeOf(err) == stint.Unknown
		if !unsure || err == nil || !passing(err) {
			return x, err
		}
	}
	return x, &stint.Error{Code: stint.Unknown, Err: fmt.Errorf("submit with key %s, which makes asking again safe: %w", r.Key, err)}
}

// passing reports whether an error may go away by itself.
func passing(err error) bool {
	code := stint.CodeOf(err)
	return code == stint.Unknown || code == stint.Unavailable
}

// Show returns the document of one execution.
func (c *Client) Show(ctx context.Context, id stint.ExecutionID) (stint.Execution, error) {
	var x stint.Execution
	err := c.fetch(ctx, get("v1", "executions", string(id)), &x)
	return x, err
}

// Terminate stops an execution for good.
func (c *Client) Terminate(ctx context.Context, id stint.ExecutionID) (stint.Execution, error) {
	var x stint.Execution
	err := c.fetch(ctx, call{method: http.MethodPost, path: []string{"v1", "executions", string(id), "terminate"}}, &x)
	return x, err
}

// Log returns what the attempts that a query finds wrote to standard error, one
// after the other, with whatever bytes they wrote.
func (c *Client) Log(ctx context.Context, id stint.ExecutionID, q stint.LogQuery) (string, error) {
	k := get("v1", "executions", string(id), "log")
	k.query = logValues(q)
	response, err := c.do(ctx, k)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() //nolint:errcheck // nothing was written
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", transportError(ctx, k.method, err)
	}
	return string(text), nil
}

// Logs returns what is kept of the attempts that a query finds.
func (c *Client) Logs(ctx context.Context, id stint.ExecutionID, q stint.LogQuery) (stint.Logs, error) {
	k := get("v1", "executions", string(id), "logs")
	k.query = logValues(q)
	var l stint.Logs
	err := c.fetch(ctx, k, &l)
	return l, err
}

func logValues(q stint.LogQuery) url.Values {
	v := make(url.Values)
	setIfAny(v, "operation", string(q.Operation))
	setIfAny(v, "search", q.Search)
	for name, on := range map[string]bool{"failed": q.Failed, "bad_records": q.Bad} {
		if on {
			v.Set(name, "true")
		}
	}
	if !q.After.IsZero() {
		v.Set("after", q.After.Format(time.RFC3339Nano))
	}
	return v
}

// Explain says why an execution waits, is slow, or failed.
func (c *Client) Explain(ctx context.Context, id stint.ExecutionID) (stint.Explanation, error) {
	var e stint.Explanation
	err := c.fetch(ctx, get("v1", "executions", string(id), "explain"), &e)
	return e, err
}

// PutFile sends a program file of size bytes, whose BLAKE3 digest the caller
// brings. Sending a file that is there already is harmless.
func (c *Client) PutFile(ctx context.Context, digest stint.Digest, size int64, r io.Reader) error {
	body := io.NopCloser(r) // the caller closes what it opened
	if size == 0 {
		body = http.NoBody
	}
	response, err := c.do(ctx, call{
		method: http.MethodPut, path: []string{"v1", "files", digest.String()},
		header: http.Header{"Content-Type": {"application/octet-stream"}, "Expect": {"100-continue"}},
		body:   body, length: size,
	})
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// Nodes returns the computing nodes.
func (c *Client) Nodes(ctx context.Context) ([]stint.Node, error) {
	var p page[stint.Node]
	err := c.fetch(ctx, get("v1", "nodes"), &p)
	return p.Items, err
}

// Cluster returns the computing nodes, taken together.
func (c *Client) Cluster(ctx context.Context) (stint.Cluster, error) {
	var v stint.Cluster
	err := c.fetch(ctx, get("v1", "cluster"), &v)
	return v, err
}

// Health returns nil if the service answers. It needs no token.
func (c *Client) Health(ctx context.Context) error {
	response, err := c.do(ctx, get("healthz"))
	if err != nil {
		return err
	}
	return response.Body.Close()
}
