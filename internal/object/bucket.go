package object

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"stint"
	"stint/internal/failpoint"
)

const (
	requestTries   = 8                // of one request, with pauses of up to a second
	answerWait     = 60 * time.Second // for the head of an answer
	workWait       = 10 * time.Minute // for that to a request that copies or joins up to 5 GiB
	partBytes      = 16 << 20         // of an upload in parts, at least
	maxUploadParts = 9000             // the protocol has 10,000
	partsAtOnce    = 3
	maxCopy        = 5 << 30 // bytes that one request copies
	maxControl     = 64 << 20
	writerKey      = "Stint-Writer"
)

// bucket is a bucket as a set of credentials reaches it.
type bucket struct {
	access *Access
	set    string
	name   string
}

// prefix is a place in a bucket: what lies below a key.
type prefix struct {
	bucket
	key string // without a final slash; empty: the whole bucket
}

// prefix returns the place that an s3 location names; glob characters stand for
// themselves.
func (a *Access) prefix(location string) (prefix, error) {
	l, err := parseBucketLocation(location)
	if err != nil {
		return prefix{}, err
	}
	key, err := l.tidyKey(location)
	return prefix{bucket{a, l.set, l.bucket}, literal(key)}, err
}

// url returns the canonical URL of a key.
func (b bucket) url(key string) string {
	out := []byte(bucketLocation{set: b.set, bucket: b.name}.root())
	for i := range len(key) {
		out = appendEscaped(out, key[i])
	}
	return string(out)
}

// String returns the URL of the place.
func (p prefix) String() string { return strings.TrimSuffix(p.url(p.key), "/") }

// at returns the key of a name below the place.
func (p prefix) at(name string) string {
	if p.key == "" {
		return name
	}
	return p.key + "/" + name
}

// client returns the client for the bucket's set, as the set is at this moment.
func (b bucket) client() (*minio.Core, error) {
	set, err := b.access.credentials(b.set)
	if err != nil {
		return nil, err
	}
	b.access.mu.Lock()
	defer b.access.mu.Unlock()
	if c := b.access.clients[set]; c != nil {
		return c, nil
	}
	c, err := newClient(set)
	if err != nil {
		return nil, err
	}
	if b.access.clients == nil {
		b.access.clients = make(map[stint.CredentialSet]*minio.Core)
	}
	b.access.clients[set] = c
	return c, nil
}

// versionToDelete is the key of a context's value: the ETag without which nothing is
// deleted. The client has no option for that, and signs no such header; none has to be.
type versionToDelete struct{}

// bucketTransport gives requests for which a server copies or joins what it has
// more time to answer: it may do all of the work before it says anything.
type bucketTransport struct{ others, working *http.Transport }

func newBucketTransport() bucketTransport {
	t := newTransport(Addresses{Private: true}, http.ProxyFromEnvironment)
	working := t.Clone()
	working.ResponseHeaderTimeout = workWait
	return bucketTransport{others: t, working: working}
}

// RoundTrip implements [http.RoundTripper].
func (t bucketTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if version, ok := r.Context().Value(versionToDelete{}).(string); ok && r.Method == http.MethodDelete {
		r = r.Clone(r.Context())
		r.Header.Set("If-Match", `"`+version+`"`)
	}
	if r.Method == http.MethodPost || r.Header.Get("X-Amz-Copy-Source") != "" {
		return t.working.RoundTrip(r)
	}
	return t.others.RoundTrip(r)
}

func newClient(set stint.CredentialSet) (*minio.Core, error) {
	options := minio.Options{
		Creds:      credentials.NewStaticV4(set.AccessKey, set.SecretKey, set.SessionToken),
		Secure:     true,
		Region:     set.Region,
		Transport:  newBucketTransport(),
		MaxRetries: requestTries,
	}
	host := "s3.amazonaws.com"
	if set.Endpoint != "" {
		u, err := url.Parse(set.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" {
			return nil, stint.Errorf(stint.Invalid, "endpoint %.200q: expected https://HOST[:PORT] or http://HOST[:PORT]", set.Endpoint)
		}
		host, options.Secure, options.BucketLookup = u.Host, u.Scheme == "https", minio.BucketLookupPath
		if options.Region == "" {
			options.Region = "us-east-1"
		}
	}
	c, err := minio.NewCore(host, &options)
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "endpoint %.200q: %w", set.Endpoint, err)
	}
	return c, nil
}

// bucketFailure gives an error of a request the code that says what can be done
// about it.
func bucketFailure(err error, format string, args ...any) error {
	return &stint.Error{Code: bucketCode(err), Message: fmt.Sprintf(format, args...), Err: err}
}

func bucketCode(err error) stint.Code {
	if known, ok := errors.AsType[*stint.Error](err); ok {
		return known.Code
	}
	if errors.Is(err, context.Canceled) {
		return stint.Canceled
	}
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok {
		return stint.Unavailable // of the connection
	}
	switch answer.Code {
	case "ExpiredToken", "ExpiredTokenException", "RequestTimeTooSkewed", "SlowDown", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted":
		return stint.Unavailable
	case "NoSuchKey": // of one of several keys, which has no status of its own
		return stint.NotFound
	case "AccessDenied":
		return stint.Denied
	}
	return statusCode(answer.StatusCode)
}

// statusCode is what the status of an answer means.
func statusCode(status int) stint.Code {
	switch {
	case status == http.StatusNotFound, status == http.StatusGone:
		return stint.NotFound
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return stint.Denied
	case status == http.StatusPreconditionFailed:
		return stint.Conflict
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status == http.StatusConflict:
		return stint.Unavailable
	case status >= http.StatusInternalServerError, status == 0:
		return stint.Unavailable
	}
	return stint.Invalid
}

// noBucket reports whether an error says that the bucket itself is not there.
func noBucket(err error) bool {
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	return ok && answer.Code == minio.NoSuchBucket
}

// stat returns what is known of a key.
func (b bucket) stat(ctx context.Context, key string) (minio.ObjectInfo, error) {
	c, err := b.client()
	if err != nil {
		return minio.ObjectInfo{}, err
	}
	for try := 1; ; try++ {
		info, err := c.StatObject(ctx, b.name, key, minio.StatObjectOptions{})
		if err == nil && info.Size >= 0 {
			return info, nil
		}
		unclear := stint.Errorf(stint.Unavailable, "the answer does not say how long it is")
		if err != nil {
			unclear = stint.Errorf(stint.Unavailable, "it is refused, and allowed a moment later: %w", err)
			err = b.refusal(ctx, c, key, err)
		}
		if err == nil && try == bodyTries {
			err = unclear
		}
		if err != nil {
			return info, bucketFailure(err, "look at %s", b.url(key))
		}
	}
}

// refusal finds out why a key may not be looked at; nil: it may. The answer to that
// has no body and cannot say whether credentials have expired, which passes; that to
// a read can.
func (b bucket) refusal(ctx context.Context, c *minio.Core, key string, err error) error {
	if code := bucketCode(err); code != stint.Denied && code != stint.Invalid {
		return err
	}
	body, _, _, err := c.GetObject(ctx, b.name, key, minio.GetObjectOptions{})
	if err == nil {
		_ = body.Close() // nothing is to be read
	}
	return err
}

// exists reports whether a key has something.
func (b bucket) exists(ctx context.Context, key string) (bool, error) {
	_, err := b.stat(ctx, key)
	if stint.CodeOf(err) == stint.NotFound {
		return false, nil
	}
	return err == nil, err
}

// read returns a small object and its ETag. A missing bucket is Unavailable.
func (b bucket) read(ctx context.Context, key string, limit int64) ([]byte, string, error) {
	for try := 1; ; try++ {
		data, etag, err := b.readOnce(ctx, key, limit)
		if stint.CodeOf(err) != stint.Unavailable || noBucket(err) || try == bodyTries {
			return data, etag, err
		}
	}
}

func (b bucket) readOnce(ctx context.Context, key string, limit int64) ([]byte, string, error) {
	c, err := b.client()
	if err != nil {
		return nil, "", err
	}
	body, info, _, err := c.GetObject(ctx, b.name, key, minio.GetObjectOptions{})
	if noBucket(err) {
		return nil, "", &stint.Error{Code: stint.Unavailable, Message: "bucket " + b.name + " is not there", Err: err}
	}
	if err != nil {
		return nil, "", bucketFailure(err, "read %s", b.url(key))
	}
	defer body.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	switch {
	case err != nil:
		return nil, "", bucketFailure(err, "read %s", b.url(key))
	case int64(len(data)) > limit:
		return nil, "", stint.Errorf(stint.Invalid, "%s is longer than %d bytes", b.url(key), limit)
	case int64(len(data)) != info.Size:
		return nil, "", stint.Errorf(stint.Unavailable, "read %s: %d of %d bytes came", b.url(key), len(data), info.Size)
	}
	return data, info.ETag, nil
}

// condition is what must be so for an object to be written.
type condition struct {
	absent bool   // nothing is there
	etag   string // this is there
}

// write puts a small object under a condition; none replaces what is there. Whose
// object is there when the outcome is not known, or when a repeated request finds
// its own, is read from it: every one carries who wrote it. It returns its ETag.
func (b bucket) write(ctx context.Context, key string, data []byte, when condition) (string, error) {
	c, err := b.client()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	writer := rand.Text()
	options := minio.PutObjectOptions{UserMetadata: map[string]string{writerKey: writer}}
	if when.absent {
		options.SetMatchETagExcept("*")
	}
	if when.etag != "" {
		options.SetMatchETag(when.etag)
	}
	failpoint.Reach("bucket.before-write")
	info, err := c.PutObject(ctx, b.name, key, bytes.NewReader(data), int64(len(data)), "", hex.EncodeToString(sum[:]), options)
	failpoint.Reach("bucket.after-write")
	if err == nil {
		return info.ETag, nil
	}
	if errors.Is(err, context.Canceled) {
		return "", bucketFailure(err, "write %s", b.url(key))
	}
	there, statErr := b.stat(ctx, key)
	if statErr == nil && there.UserMetadata[writerKey] == writer {
		return there.ETag, nil
	}
	if statErr != nil && bucketCode(statErr) != stint.NotFound && bucketCode(err) == stint.Conflict {
		// It may be its own object that a repeated request has found there.
		return "", &stint.Error{Code: stint.Unavailable, Message: "write " + b.url(key) + ": whose object is there is not known", Err: statErr}
	}
	if when.etag != "" && bucketCode(err) == stint.NotFound { // there is nothing to match
		return "", stint.Errorf(stint.Conflict, "write %s: what was to be replaced is gone", b.url(key))
	}
	return "", bucketFailure(err, "write %s", b.url(key))
}

// upload stores what is read at any offset, in parts if it is long, and sees that
// it is there with its size.
func (b bucket) upload(ctx context.Context, key string, from io.ReaderAt, size int64) error {
	c, err := b.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the uploads of parts that go on when another has failed
	part := max(partBytes, (size/maxUploadParts+1<<20)&^(1<<20-1))
	body := io.NewSectionReader(from, 0, size)
	failpoint.Reach("bucket.before-upload")
	if _, err = c.Client.PutObject(ctx, b.name, key, body, size, minio.PutObjectOptions{PartSize: uint64(part), NumThreads: partsAtOnce}); err != nil {
		if answer, ok := errors.AsType[minio.ErrorResponse](err); ok && answer.Code == minio.NoSuchUpload {
			// It was joined by a request that was not heard of, or given up by somebody.
			return &stint.Error{Code: stint.Unavailable, Message: "write " + b.url(key), Err: err}
		}
		return bucketFailure(err, "write %s", b.url(key))
	}
	failpoint.Reach("bucket.after-upload")
	info, err := b.stat(ctx, key)
	if stint.CodeOf(err) == stint.NotFound || err == nil && info.Size != size {
		return stint.Errorf(stint.Unavailable, "write %s: %d bytes were accepted and %d are there: %v", b.url(key), size, info.Size, err)
	}
	return err
}

// copy gives what is under a key of from, in the version of an ETag, a further key
// here, without moving the bytes through this machine.
func (b bucket) copy(ctx context.Context, from bucket, theirs, etag string, size int64, key string) error {
	c, err := b.client()
	if err != nil {
		return err
	}
	failpoint.Reach("bucket.before-copy")
	source := minio.CopySrcOptions{Bucket: from.name, Object: theirs, MatchETag: etag}
	if size <= maxCopy {
		_, err = c.Client.CopyObject(ctx, minio.CopyDestOptions{Bucket: b.name, Object: key}, source)
	} else {
		_, err = c.ComposeObject(ctx, minio.CopyDestOptions{Bucket: b.name, Object: key, NumThreads: partsAtOnce}, source)
	}
	failpoint.Reach("bucket.after-copy")
	if err != nil {
		return bucketFailure(err, "copy %s to %s", from.url(theirs), b.url(key))
	}
	return nil
}

// remove deletes keys; those that have nothing are no error.
func (b bucket) remove(ctx context.Context, keys ...string) error {
	c, err := b.client()
	if err != nil {
		return err
	}
	failpoint.Reach("bucket.before-removing")
	if len(keys) == 1 {
		if err := c.RemoveObject(ctx, b.name, keys[0], minio.RemoveObjectOptions{}); err != nil && bucketCode(err) != stint.NotFound {
			return bucketFailure(err, "delete %s", b.url(keys[0]))
		}
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results, err := c.RemoveObjectsWithIter(ctx, b.name, func(yield func(minio.ObjectInfo) bool) {
		for _, key := range keys {
			if !yield(minio.ObjectInfo{Key: key}) {
				return
			}
		}
	}, minio.RemoveObjectsOptions{})
	if err != nil {
		return bucketFailure(err, "delete objects of %s", b.name)
	}
	for r := range results {
		if r.Err != nil && bucketCode(r.Err) != stint.NotFound {
			return bucketFailure(r.Err, "delete %s", b.url(r.ObjectName))
		}
	}
	return nil
}

// removeVersion deletes a key while it has a version; if it has another, that is a
// Conflict. A server that does not know the condition deletes what is there: it
// ignores it, or refuses it and is asked without.
func (b bucket) removeVersion(ctx context.Context, key, etag string) error {
	err := b.remove(context.WithValue(ctx, versionToDelete{}, etag), key)
	if answer, ok := errors.AsType[minio.ErrorResponse](err); ok && (answer.StatusCode == http.StatusNotImplemented || answer.StatusCode == http.StatusBadRequest) {
		return b.remove(ctx, key)
	}
	return err
}

// abortUploads gives up uploads below a prefix that nobody has ended.
func (b bucket) abortUploads(ctx context.Context, below string, olderThan time.Duration) error {
	c, err := b.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	now := time.Now()
	for u := range c.ListIncompleteUploads(ctx, b.name, below, true) {
		if u.Err != nil {
			return bucketFailure(u.Err, "list uploads below %s", b.url(below))
		}
		if now.Sub(u.Initiated) < olderThan {
			continue
		}
		failpoint.Reach("bucket.before-aborting-upload")
		if err := c.AbortMultipartUpload(ctx, b.name, u.Key, u.UploadID); err != nil && bucketCode(err) != stint.NotFound {
			return bucketFailure(err, "give up an upload of %s", b.url(u.Key))
		}
	}
	return nil
}
