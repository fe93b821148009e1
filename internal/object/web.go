package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"stint"
)

const (
	maxRedirects = 5
	maxURL       = 8 << 10
	webTries     = 5
	// measuredVersion begins the versions of objects whose length their server
	// does not say. Such a server makes them as it sends them: ranges of them are
	// what is between in the whole.
	measuredVersion = "measured "
)

func isWebLocation(s string) bool { return hasScheme(s, "http") || hasScheme(s, "https") }

// parseWebLocation returns a URL in one spelling. Characters of a glob stand for
// themselves: a server of the web has no list of what it has.
func parseWebLocation(s string) (string, error) {
	if err := checkControl(s); err != nil {
		return "", err
	}
	if strings.Contains(s, "#") {
		return "", stint.Errorf(stint.Invalid, "bad_url: location %.80q: # begins a fragment, which no server sees; in a path it is written %%23", shown(s))
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", stint.Errorf(stint.Invalid, "bad_url: location %.80q is no URL", shown(s))
	}
	if u.User != nil {
		return "", credentialsInURL(u.Scheme+":", ":")
	}
	escaped := strings.ToLower(u.EscapedPath())
	switch {
	case u.Hostname() == "" || u.Opaque != "":
		return "", stint.Errorf(stint.Invalid, "bad_url: location %.80q has no host; expected %s://HOST/PATH", s, strings.ToLower(u.Scheme))
	case strings.Contains(escaped, "%2f"), strings.Contains(escaped, "%00"), strings.Contains(escaped, "%5c"):
		return "", stint.Errorf(stint.Invalid, "bad_url: location %.80q: an encoded slash, backslash or NUL in a path means one thing here and another there", s)
	case len(s) > maxURL:
		return "", stint.Errorf(stint.Invalid, "bad_url: location %.80q: longer than %d bytes", s, maxURL)
	}
	out := []byte(strings.ToLower(u.Scheme) + "://" + strings.ToLower(u.Host))
	if u.Path == "" {
		out = append(out, '/')
	}
	for i := range len(u.Path) {
		out = appendEscaped(out, u.Path[i])
	}
	if u.RawQuery != "" || u.ForceQuery {
		out = append(append(out, '?'), u.RawQuery...)
	}
	return string(out), nil
}

// webFailure says what an error of a request means: whether asking again may help.
func webFailure(target string, hops int, err error) error {
	if forbidden, ok := errors.AsType[*forbiddenAddress](err); ok {
		by := ""
		if hops > 0 {
			by = fmt.Sprintf("redirect %d: ", hops)
		}
		return stint.Errorf(stint.Invalid, "forbidden_address: %s: %s%s", target, by, forbidden.Error())
	}
	if known, ok := errors.AsType[*stint.Error](err); ok {
		return known
	}
	if errors.Is(err, context.Canceled) {
		return &stint.Error{Code: stint.Canceled, Message: "read " + target, Err: err}
	}
	if named, ok := errors.AsType[*url.Error](err); ok {
		err = named.Err
	}
	return &stint.Error{Code: stint.Unavailable, Message: "read " + target, Err: err}
}

// ask makes one request, as often as it takes, and returns an answer of status 200
// or 206.
func (a *Access) ask(ctx context.Context, method, target string, header map[string]string) (*http.Response, error) {
	for try := 1; ; try++ {
		answer, err := a.askOnce(ctx, method, target, header)
		if err == nil || stint.CodeOf(err) != stint.Unavailable || try == webTries {
			return answer, err
		}
		if err := pause(ctx, backoff(try)); err != nil {
			return nil, &stint.Error{Code: stint.Canceled, Message: "read " + target, Err: err}
		}
	}
}

func (a *Access) askOnce(ctx context.Context, method, target string, header map[string]string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "bad_url: %.80q: %w", target, err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	hops := 0
	client := http.Client{Transport: a.web(), CheckRedirect: func(next *http.Request, via []*http.Request) error {
		hops = len(via)
		return checkRedirect(target, next.URL, hops)
	}}
	answer, err := client.Do(req)
	if err != nil {
		return nil, webFailure(target, hops, err)
	}
	if err := checkAnswer(target, answer); err != nil {
		return nil, errors.Join(err, answer.Body.Close())
	}
	return answer, nil
}

func checkRedirect(target string, next *url.URL, hops int) error {
	switch {
	case hops > maxRedirects:
		return stint.Errorf(stint.Invalid, "too_many_redirects: %s: more than %d", target, maxRedirects)
	case next.Scheme != "http" && next.Scheme != "https":
		return stint.Errorf(stint.Invalid, "bad_url: %s: redirect %d leads to scheme %.20q", target, hops, next.Scheme)
	case next.User != nil:
		return stint.Errorf(stint.Invalid, "credentials_in_url: %s: redirect %d has a user and a password", target, hops)
	}
	return nil
}

func checkAnswer(target string, answer *http.Response) error {
	switch answer.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return &refused{answer.StatusCode}
	default:
		return &stint.Error{Code: statusCode(answer.StatusCode), Message: fmt.Sprintf("read %s: the server answers %.80s", target, answer.Status)}
	}
	if coding := answer.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return stint.Errorf(stint.Invalid, "unexpected_encoding: %s: the server encodes as %.20q what was asked for as it is", target, coding)
	}
	return nil
}

// refused says that a server does not know a method, or does not want it.
type refused struct{ status int }

func (r *refused) Error() string { return "the server answers " + strconv.Itoa(r.status) }

// listWeb returns what a URL of the web names.
func (a *Access) listWeb(ctx context.Context, location string) (stint.Object, error) {
	target, err := parseWebLocation(location)
	if err != nil {
		return stint.Object{}, err
	}
	answer, err := a.ask(ctx, http.MethodHead, target, nil)
	code := stint.CodeOf(err)
	if _, ok := errors.AsType[*refused](err); ok || code == stint.Denied || code == stint.NotFound || err == nil && answer.ContentLength <= 0 { // of nothing, the whole says for sure that it is nothing
		if err == nil {
			answer.Body.Close() //nolint:errcheck,gosec // it has none
		}
		answer, err = a.ask(ctx, http.MethodGet, target, nil)
	}
	if err != nil {
		return stint.Object{}, inputFailure(err, target)
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	o := stint.Object{URL: target, Size: answer.ContentLength}
	if o.Size < 0 {
		if o.Size, err = a.measure(ctx, target, answer); err != nil {
			return o, err
		}
		o.Version = measuredVersion
	}
	o.Version += webVersion(answer, o.Size)
	return o, nil
}

// measure reads an object to its end.
func (a *Access) measure(ctx context.Context, target string, answer *http.Response) (int64, error) {
	return a.pass(ctx, target, answer, math.MaxInt64)
}

// pass reads an answer up to an offset, or to its end if that is before, and
// returns where it is then.
func (a *Access) pass(ctx context.Context, target string, answer *http.Response, to int64) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { answer.Body.Close() }) //nolint:errcheck,gosec // ends the reading
	defer stop()
	s := &stream{body: answer.Body, cancel: cancel, cause: func() error { return context.Cause(ctx) }, name: target, pace: pace{limit: a.slow()}}
	buffer := make([]byte, copyBuffered)
	for n := int64(0); ; {
		read, err := s.readBody(buffer[:min(int64(len(buffer)), to-n)])
		n += int64(read)
		if n == to || errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, webFailure(target, 0, s.reason(err))
		}
	}
}

// webVersion is what the server says of the version of an object.
func webVersion(answer *http.Response, size int64) string {
	if etag := answer.Header.Get("ETag"); etag != "" {
		return etag
	}
	return fmt.Sprintf("%s %d", answer.Header.Get("Last-Modified"), size)
}

// openWeb reads a range of an object of the web, if it is in the version that was
// listed.
func (a *Access) openWeb(ctx context.Context, o stint.Object, offset, length int64) (io.ReadCloser, error) {
	return newStream(ctx, o.URL, offset, length, a.slow(), func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
		if strings.HasPrefix(o.Version, measuredVersion) {
			return a.askWithin(ctx, o, offset, length)
		}
		return a.askRange(ctx, o, offset, length)
	})
}

// askRange asks for a range; for the whole, without saying so.
func (a *Access) askRange(ctx context.Context, o stint.Object, offset, length int64) (io.ReadCloser, error) {
	header := map[string]string{}
	wanted := fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)
	whole := offset == 0 && length == o.Size
	if !whole {
		header["Range"] = wanted
	}
	if strings.HasPrefix(o.Version, `"`) {
		header["If-Match"] = o.Version
	}
	answer, err := a.ask(ctx, http.MethodGet, o.URL, header)
	if err != nil {
		return nil, openFailure(err, o)
	}
	if err := checkRange(o, answer, offset, length, wanted); err != nil {
		return nil, errors.Join(err, answer.Body.Close())
	}
	return answer.Body, nil
}

func checkRange(o stint.Object, answer *http.Response, offset, length int64, wanted string) error {
	if v := webVersion(answer, o.Size); v != o.Version {
		return changed(o, v)
	}
	whole := offset == 0 && length == o.Size
	switch {
	case answer.StatusCode == http.StatusOK && !whole:
		return stint.Errorf(stint.Invalid, "range_ignored: %s: the server sent the whole file for %s", o.URL, wanted)
	case answer.StatusCode == http.StatusOK:
		if answer.ContentLength >= 0 && answer.ContentLength != o.Size {
			return changed(o, fmt.Sprintf("%d bytes long", answer.ContentLength))
		}
		return nil
	}
	text := answer.Header.Get("Content-Range")
	first, last, total, err := parseContentRange(text)
	switch {
	case err != nil || first != offset || last < first || total < -1 || total >= 0 && last >= total:
		return stint.Errorf(stint.Invalid, "bad_range_answer: %s: %.80q for %s", o.URL, text, wanted)
	case last > offset+length-1:
		return stint.Errorf(stint.Invalid, "too_much_data: %s: %.80q for %s", o.URL, text, wanted)
	case total >= 0 && total != o.Size:
		return changed(o, fmt.Sprintf("%d bytes long", total))
	}
	return nil
}

// parseContentRange reads "bytes FIRST-LAST/TOTAL"; an unknown total is -1.
func parseContentRange(s string) (first, last, total int64, err error) {
	s, ok := strings.CutPrefix(s, "bytes ")
	span, length, ok2 := strings.Cut(s, "/")
	from, to, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, 0, strconv.ErrSyntax
	}
	numbers := []*int64{&first, &last, &total}
	for i, text := range []string{from, to, length} {
		if i == 2 && text == "*" {
			total = -1
			continue
		}
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return 0, 0, 0, err
		}
		*numbers[i] = int64(n) //nolint:gosec // 63 bits
	}
	return first, last, total, nil
}

// askWithin asks for the whole of an object and passes over what comes before the
// offset.
func (a *Access) askWithin(ctx context.Context, o stint.Object, offset, length int64) (io.ReadCloser, error) {
	answer, err := a.ask(ctx, http.MethodGet, o.URL, nil)
	if err != nil {
		return nil, openFailure(err, o)
	}
	if v := measuredVersion + webVersion(answer, o.Size); v != o.Version {
		return nil, errors.Join(changed(o, v), answer.Body.Close())
	}
	if at, err := a.pass(ctx, o.URL, answer, offset); err != nil || at < offset {
		return nil, errors.Join(orElse(err, changed(o, fmt.Sprintf("%d bytes long", at))), answer.Body.Close())
	}
	if offset+length == o.Size {
		return answer.Body, nil
	}
	return within{io.LimitReader(answer.Body, length), answer.Body}, nil
}

// within is a part of an answer.
type within struct {
	io.Reader
	io.Closer
}
