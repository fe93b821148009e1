package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// identityKey is under which the identity stands in a request's context.
type identityKey struct{}

// IdentityOf returns who makes the request that ctx belongs to; false for
// requests that need no token.
func IdentityOf(ctx context.Context) (Identity, bool) {
	who, ok := ctx.Value(identityKey{}).(Identity)
	return who, ok
}

// Middleware lets requests to next that carry a bearer token of kind user, or for
// which open says that they need none, and that are meant for this service: for
// loopback or one of hosts (names or addresses, without port), and of no other
// web site.
func Middleware(next http.Handler, keys *Keyring, hosts []string, open func(*http.Request) bool) http.Handler {
	g := &guard{keys: keys, open: open}
	for _, h := range hosts {
		g.hosts = append(g.hosts, canonicalHost(h))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := g.check(r)
		if err != nil {
			err.write(w)
			return
		}
		if who != nil {
			r = r.WithContext(context.WithValue(r.Context(), identityKey{}, *who))
		}
		next.ServeHTTP(w, r)
	})
}

type guard struct {
	keys  *Keyring
	hosts []string
	open  func(*http.Request) bool
}

// check returns the identity of a request, nil if it needs none.
func (g *guard) check(r *http.Request) (*Identity, *refusal) {
	if err := g.checkSite(r); err != nil {
		return nil, err
	}
	if err := g.checkURL(r); err != nil {
		return nil, err
	}
	if g.open(r) {
		return nil, nil
	}
	text, refused := bearer(r)
	if refused != nil {
		return nil, refused
	}
	who, err := g.keys.Verify(text)
	if err != nil {
		return nil, asRefusal(err)
	}
	if who.Kind != User {
		return nil, &refusal{http.StatusForbidden, "wrong_principal", "a token for joining cannot call this"}
	}
	return &who, nil
}

func (g *guard) checkSite(r *http.Request) *refusal {
	if host := canonicalHost(r.Host); !isLoopback(host) && !slices.Contains(g.hosts, host) {
		return &refusal{http.StatusMisdirectedRequest, "wrong_host", fmt.Sprintf("this service does not answer to the host %.80q", r.Host)}
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "https" || !strings.EqualFold(u.Host, r.Host) {
			return &refusal{http.StatusForbidden, "wrong_origin", fmt.Sprintf("pages of %.80q cannot call this service", origin)}
		}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return &refusal{http.StatusForbidden, "wrong_origin", "pages of other sites cannot call this service"}
	}
	return nil
}

// checkURL refuses tokens in URLs, where logs and histories keep them, and
// revokes what it finds.
func (g *guard) checkURL(r *http.Request) *refusal {
	const message = "never put tokens in URLs: send Authorization: Bearer TOKEN"
	found := false
	for name, values := range r.URL.Query() {
		found = found || name == "token" || name == "access_token"
		for _, text := range values {
			if _, _, ok := parseToken(text); !ok {
				continue
			}
			if who, err := g.keys.Verify(text); err == nil && g.keys.Revoke(who.ID) == nil {
				return &refusal{http.StatusBadRequest, "token_in_url", message + "; this one was revoked"}
			}
			found = true
		}
	}
	if found {
		return &refusal{http.StatusBadRequest, "token_in_url", message}
	}
	return nil
}

// bearer returns the token of a request.
func bearer(r *http.Request) (string, *refusal) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return "", &refusal{http.StatusForbidden, "wrong_principal", "node identity cannot call this"}
	}
	if len(headers) == 0 {
		return "", &refusal{http.StatusUnauthorized, "no_credential", "send a token: Authorization: Bearer TOKEN"}
	}
	scheme, text, _ := strings.Cut(headers[0], " ")
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") {
		if len(scheme) > 20 || strings.Contains(scheme, "_") {
			scheme = "this" // it may be a token
		}
		return "", &refusal{http.StatusUnauthorized, "wrong_scheme", fmt.Sprintf("%s is not accepted; use Bearer, once", scheme)}
	}
	return strings.TrimSpace(text), nil
}

// asRefusal returns the refusal in the chain of err.
func asRefusal(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	return &refusal{http.StatusInternalServerError, "internal", "internal error"}
}

func canonicalHost(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// write answers with the refusal (RFC 9457).
func (r *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(r.status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client is gone; nobody is left to tell
		"title": http.StatusText(r.status), "status": r.status, "code": r.code, "message": r.message,
	})
}
