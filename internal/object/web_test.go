package object

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"stint"
)

const webContent = "first line\nsecond line\nthird line\n"

// web starts a server of the web, and returns what reaches it.
func web(t *testing.T, handler http.HandlerFunc) (*Access, string) {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return &Access{Addresses: Addresses{Private: true}, slowAfter: time.Minute}, s.URL
}

func readRange(ctx context.Context, a *Access, o stint.Object, offset, length int64) (string, error) {
	r, err := a.OpenRange(ctx, o, offset, length)
	if err != nil {
		return "", err
	}
	defer r.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(r)
	return string(b), err
}

// serving serves one content as net/http does, with an ETag.
func serving(w http.ResponseWriter, r *http.Request, etag string) {
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	http.ServeContent(w, r, "", time.Unix(1e9, 0), strings.NewReader(webContent))
}

func TestWebObjectsAreListedAndRead(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"with an ETag":      func(w http.ResponseWriter, r *http.Request) { serving(w, r, `"v1"`) },
		"with a weak ETag":  func(w http.ResponseWriter, r *http.Request) { serving(w, r, `W/"v1"`) },
		"with a time alone": func(w http.ResponseWriter, r *http.Request) { serving(w, r, "") },
		"of unknown length": func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, webContent)
		}, // it is one
		"that refuses HEAD": func(w http.ResponseWriter, r *http.Request) { refusingHead(w, r) },
		"whose HEAD says nothing is there": func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Length", "0")
				return
			}
			serving(w, r, `"v1"`)
		},
		"behind five redirects": func(w http.ResponseWriter, r *http.Request) { redirecting(w, r, 5) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, url := web(t, handler)
			l, err := a.List(t.Context(), Inputs{Locations: []string{strings.Replace(url, "http:", "HTTP:", 1) + "/a b?x=1", url + "/a%20b?x=1"}})
			check(t, err)
			if len(l.Objects) != 1 || l.Objects[0].URL != url+"/a%20b?x=1" || l.Objects[0].Size != int64(len(webContent)) {
				t.Fatalf("%+v", l)
			}
			for _, c := range [][2]int64{{0, 34}, {3, 10}, {33, 1}, {0, 5}, {34, 0}} {
				got, err := readRange(t.Context(), a, l.Objects[0], c[0], c[1])
				if err != nil || got != webContent[c[0]:c[0]+c[1]] {
					t.Errorf("%v: %q %v", c, got, err)
				}
			}
		})
	}
}

func refusingHead(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	serving(w, r, `"v1"`)
}

func redirecting(w http.ResponseWriter, r *http.Request, times int) {
	n := strings.Count(r.URL.Path, "/hop")
	if n < times {
		http.Redirect(w, r, r.URL.Path+"/hop", http.StatusFound)
		return
	}
	serving(w, r, `"v1"`)
}

func TestWebServersThatCannotBeReliedOnAreFoundOut(t *testing.T) {
	t.Parallel()
	object := stint.Object{Size: int64(len(webContent)), Version: `"v1"`}
	ranged := func(header, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Range", header)
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"ignores ranges": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			_, _ = io.WriteString(w, webContent)
		}, "range_ignored"},
		"sends more than it says":  {ranged("bytes 3-12/34", webContent[3:20]), "too_much_data"},
		"says more than was asked": {ranged("bytes 3-20/34", webContent[3:21]), "too_much_data"},
		"sends another range":      {ranged("bytes 4-12/34", webContent[4:13]), "bad_range_answer"},
		"negative total":           {ranged("bytes 3-12/-5", webContent[3:13]), "bad_range_answer"},
		"endless total":            {ranged("bytes 3-12/99999999999999999999", webContent[3:13]), "bad_range_answer"},
		"says no range":            {ranged("", webContent[3:13]), "bad_range_answer"},
		"total is another":         {ranged("bytes 3-12/35", webContent[3:13]), "input changed"},
		"has another version":      {func(w http.ResponseWriter, r *http.Request) { serving(w, r, `"v2"`) }, "input changed"},
		"has it no more":           {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }, "input changed"},
		"wants a password":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, "input_forbidden"},
		"compresses": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusPartialContent)
		}, "unexpected_encoding"},
		"redirects for ever": {func(w http.ResponseWriter, r *http.Request) { redirecting(w, r, 1000) }, "too_many_redirects"},
		"redirects to a file": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, "leads to scheme"},
		"redirects to a link-local address": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		}, "redirect 1: resolved to 169.254.169.254"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, url := web(t, c.handler)
			o := object
			o.URL = url + "/x"
			got, err := readRange(t.Context(), a, o, 3, 10)
			code := stint.Invalid
			if c.want == "input_forbidden" { // it could be listed
				code = stint.Denied
			}
			if stint.CodeOf(err) != code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q, %s %v, want %s", got, stint.CodeOf(err), err, c.want)
			}
		})
	}
}

func TestAWebAnswerThatBreaksOffIsAskedForAgain(t *testing.T) {
	t.Parallel()
	var tries atomic.Int64
	a, url := web(t, func(w http.ResponseWriter, r *http.Request) {
		n := tries.Load()
		if r.Method == http.MethodGet {
			n = tries.Add(1)
		}
		if n == 1 || r.Method != http.MethodGet {
			serving(w, r, `"v1"`)
			return
		}
		if n < 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if n == 4 {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(webContent)))
			_, _ = io.WriteString(w, webContent[:15])
			panic(http.ErrAbortHandler)
		}
		serving(w, r, `"v1"`)
	})
	l, err := a.List(t.Context(), Inputs{Locations: []string{url}})
	check(t, err)
	tries.Store(1)
	if got, err := readRange(t.Context(), a, l.Objects[0], 0, l.Objects[0].Size); err != nil || got != webContent || tries.Load() != 5 {
		t.Errorf("%q %v after %d tries", got, err, tries.Load())
	}
}

func TestAnAnswerThatDripsIsTooSlow(t *testing.T) {
	t.Parallel()
	a, url := web(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", "1000000")
		_, _ = io.WriteString(w, "x")
		w.(http.Flusher).Flush() // it is one
		<-r.Context().Done()
	})
	a.slowAfter = time.Millisecond
	_, err := readRange(t.Context(), a, stint.Object{URL: url + "/x", Size: 1e6, Version: `"v1"`}, 0, 1e6)
	wantCode(t, err, stint.Unavailable, "input_too_slow")
	a, url = web(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.(http.Flusher).Flush() // it is one
		<-r.Context().Done()
	})
	a.slowAfter = time.Millisecond
	_, err = a.List(t.Context(), Inputs{Locations: []string{url}})
	wantCode(t, err, stint.Unavailable, "input_too_slow")
	_, err = readRange(t.Context(), a, stint.Object{URL: url + "/x", Size: 1e6, Version: measuredVersion + " 1000000"}, 1000, 1000)
	wantCode(t, err, stint.Unavailable, "input_too_slow")
}

func TestCanceledReadingSaysSo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	a, url := web(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", "1000000")
		_, _ = io.WriteString(w, "x")
		w.(http.Flusher).Flush() // it is one
		cancel()
		<-r.Context().Done()
	})
	_, err := readRange(ctx, a, stint.Object{URL: url + "/x", Size: 1e6, Version: `"v1"`}, 0, 1e6)
	wantCode(t, err, stint.Canceled, "")
}

func TestAddressesThatMustNotBeReached(t *testing.T) {
	t.Parallel()
	lab := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fe80::/10")}
	for _, c := range []struct {
		policy Addresses
		ip     string
		want   string
	}{
		{Addresses{}, "93.184.216.34", ""},
		{Addresses{}, "2606:2800:220:1::1", ""},
		{Addresses{}, "127.0.0.1", "of this machine"},
		{Addresses{}, "::1", "of this machine"},
		{Addresses{}, "0.0.0.0", "of this machine"},
		{Addresses{}, "::ffff:127.0.0.1", "of this machine"},
		{Addresses{}, "10.0.0.5", "private"},
		{Addresses{}, "192.168.1.1", "private"},
		{Addresses{}, "100.64.0.1", "private"},
		{Addresses{}, "fd00::1", "private"},
		{Addresses{}, "64:ff9b::10.0.0.5", "private"},
		{Addresses{}, "64:ff9b:1::a00:5", "private"},
		{Addresses{}, "2002:a00:5::1", "private"},
		{Addresses{}, "2002:5db8:d822::1", ""},
		{Addresses{}, "::10.0.0.5", "private"},
		{Addresses{}, "::ffff:0:10.0.0.5", "private"},
		{Addresses{}, "2001:0:5db8:d822:0:0:f5ff:fffa", "private"},
		{Addresses{}, "fec0::1", "private"},
		{Addresses{}, "192.0.0.192", "link-local"},
		{Addresses{}, "198.18.0.1", "private"},
		{Addresses{}, "0.1.2.3", "of this machine"},
		{Addresses{Private: true}, "2002:a9fe:a9fe::1", "link-local"},
		{Addresses{Private: true}, "100.100.100.200", "link-local"},
		{Addresses{Private: true}, "168.63.129.16", "link-local"},
		{Addresses{Allowed: lab}, "10.1.2.3", ""},
		{Addresses{Allowed: lab}, "10.2.2.3", "private"},
		{Addresses{Private: true}, "10.2.2.3", ""},
		{Addresses{Private: true}, "127.0.0.1", ""},
		{Addresses{Private: true}, "169.254.169.254", "link-local"},
		{Addresses{Private: true}, "::ffff:169.254.169.254", "link-local"},
		{Addresses{Private: true}, "64:ff9b::169.254.169.254", "link-local"},
		{Addresses{Private: true}, "fd00:ec2::254", "link-local"},
		{Addresses{Allowed: lab}, "fe80::1%eth0", "link-local"},
	} {
		got := c.policy.forbidden(netip.MustParseAddr(c.ip))
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v %s: %q, want %q", c.policy, c.ip, got, c.want)
		}
	}
}

func TestALocalServerIsForbiddenWhereItsAddressIs(t *testing.T) {
	t.Parallel()
	asked := false
	_, url := web(t, func(http.ResponseWriter, *http.Request) { asked = true })
	_, err := new(Access).List(t.Context(), Inputs{Locations: []string{url}})
	wantCode(t, err, stint.Invalid, "forbidden_address: ")
	if asked {
		t.Error("it was asked")
	}
	_, err = FromEnvironment().List(t.Context(), Inputs{Locations: []string{"http://169.254.169.254/latest/"}})
	wantCode(t, err, stint.Invalid, "link-local")
}

func TestRemoteLocations(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"s3://bucket/a b/":           "s3://bucket/a%20b",
		"S3://set_1@bucket":          "s3://set_1@bucket",
		"s3://bucket//a//b?*":        "s3://bucket//a//b?*",
		"s3://bucket/a%3Fb":          "s3://bucket/a%3Fb",
		"HTTPS://Host.example/A b?q": "https://host.example/A%20b?q",
		"http://h":                   "http://h/",
	} {
		if got, err := ParseLocation(in); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"s3://user:secret@bucket/a":             "credentials_in_url",
		"http://user:secret@host/a":             "credentials_in_url",
		"https://user@host/a":                   "credentials_in_url",
		"http://host/a#b":                       "bad_url",
		"http://user:secret@host/a#b":           "bad_url",
		"http://user:secret@host/a\nb":          "control character",
		"s3://user:secret@bucket/a\nb":          "control character",
		"s3://user:secret/x@bucket/a":           "credentials_in_url",
		"s3://host:9000/bucket/a":               "credentials_in_url",
		"http://host/a%2Fb":                     "bad_url",
		"http://host/a%5Cb":                     "bad_url",
		"http:///a":                             "bad_url",
		"http:a":                                "bad_url",
		"http://user:sec ret@[::1":              "bad_url",
		"s3://bucket/a#b":                       "bad_url",
		"s3://bucket/a%2Fb":                     "bad_url",
		"s3://bucket/a/../b":                    "bad_url",
		"s3://bucket/%ff":                       "bad_url",
		"s3://Bucket/a":                         "is not 3 to 63",
		"s3:/bucket/a":                          "expected s3://",
		"s3://a b@bucket/x":                     "not the name of a set",
		"s3://bucket/a\nb":                      "control character",
		"http://host/a\nb":                      "control character",
		"http://h/" + strings.Repeat("x", 9000): "bad_url",
	} {
		_, err := ParseLocation(in)
		if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "sec ret") || len(err.Error()) > 400 {
			t.Errorf("%.100s: %v, want %s", in, err, want)
		}
	}
}
