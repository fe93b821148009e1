package api

import (
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	// MaxBody is the longest JSON body, before and after decompression, in bytes.
	MaxBody = 4 << 20

	// bodyTime is how long a JSON body may take to arrive.
	bodyTime = 30 * time.Second
)

// exchange gives the handler of a route that reads its body itself the request.
type exchange struct {
	r *http.Request
	w http.ResponseWriter
}

// Resolve is called when the parameters have been read.
func (e *exchange) Resolve(ctx huma.Context) []error {
	e.r, e.w = humago.Unwrap(ctx)
	return nil
}

// decode reads the JSON body into v, strictly and within limits.
func (e *exchange) decode(v any) error {
	if err := checkMediaType(e.r, jsonType); err != nil {
		return err
	}
	data, err := e.read()
	if err != nil {
		return err
	}
	return decodeStrict(data, v)
}

// decodeAny is decode for a body that may be left out, which changes nothing of v.
func (e *exchange) decodeAny(v any) error {
	if e.r.ContentLength == 0 {
		return nil
	}
	return e.decode(v)
}

func (e *exchange) read() ([]byte, error) {
	zipped, err := isZipped(e.r)
	if err != nil {
		return nil, err
	}
	if e.r.ContentLength > MaxBody {
		return nil, tooLarge(MaxBody)
	}
	defer limitTime(e.w, bodyTime)()
	body := http.MaxBytesReader(e.w, e.r.Body, MaxBody)
	if !zipped {
		data, err := io.ReadAll(body)
		return data, bodyError(err)
	}
	z, err := gzip.NewReader(body)
	if err != nil {
		return nil, bodyError(err)
	}
	data, err := io.ReadAll(io.LimitReader(z, MaxBody+1))
	if err == nil && len(data) > MaxBody {
		return nil, refuseLimit(http.StatusRequestEntityTooLarge, "decompressed_too_large", MaxBody,
			"the body is too long: the limit is 4 MiB after decompression")
	}
	return data, bodyError(err)
}

// checkMediaType refuses every Content-Type but the wanted one in UTF-8.
func checkMediaType(r *http.Request, want string) error {
	header := r.Header.Get("Content-Type")
	got, params, err := mime.ParseMediaType(header)
	charset := params["charset"]
	if err != nil || got != want || (charset != "" && !strings.EqualFold(charset, "utf-8")) {
		return refuse(http.StatusUnsupportedMediaType, "unsupported_media_type", "Content-Type %.80q: expected %s", header, want)
	}
	return nil
}

// isZipped reports whether the body is compressed with gzip, the one encoding there is.
func isZipped(r *http.Request) (bool, error) {
	switch header := strings.Join(r.Header.Values("Content-Encoding"), ", "); strings.ToLower(header) {
	case "", "identity":
		return false, nil
	case "gzip":
		return true, nil
	default:
		return false, refuse(http.StatusUnsupportedMediaType, "unsupported_encoding", "Content-Encoding %.80q: expected gzip or none", header)
	}
}

// limitTime lets reading the body fail after d, and returns what lifts the
// limit again: a limit left behind would end the request while it is served.
func limitTime(w http.ResponseWriter, d time.Duration) (lift func()) {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(d)) // a transport without deadlines has limits of its own
	return func() { _ = c.SetReadDeadline(time.Time{}) }
}

func tooLarge(limit int64) *Problem {
	return refuseLimit(http.StatusRequestEntityTooLarge, "body_too_large", limit, "the body is too long: the limit is %d MiB", limit>>20)
}

// bodyError says in the terms of the API why a body could not be read.
func bodyError(err error) error {
	var long *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &long):
		return tooLarge(long.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "too_slow", "the body did not arrive in time")
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		return refuse(http.StatusBadRequest, "bad_encoding", "the body is not gzip, as Content-Encoding says")
	default:
		return refuse(http.StatusBadRequest, "bad_body", "the body ended before it was whole")
	}
}
