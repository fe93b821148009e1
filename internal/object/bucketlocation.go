package object

import (
	"strings"
	"unicode/utf8"

	"stint"
)

const allowedBuckets = "expected s3://[SET@]BUCKET/KEY"

// bucketLocation is what an s3 location says.
type bucketLocation struct {
	set    string // of credentials; empty: the environment's
	bucket string
	key    []symbol // may be empty, and end with a slash
}

func isBucketLocation(s string) bool { return hasScheme(s, "s3") }

func hasScheme(s, scheme string) bool {
	found, _, ok := strings.Cut(s, ":")
	return ok && strings.EqualFold(found, scheme)
}

// Remote reports whether the bytes of an object are not in a file of this machine,
// so that they are had with [Access.OpenRange] alone.
func Remote(url string) bool {
	return hasScheme(url, "s3") || isWebLocation(url)
}

// parseBucketLocation reads a location as it is written in a listing or by people.
func parseBucketLocation(s string) (bucketLocation, error) {
	var l bucketLocation
	if err := checkControl(s); err != nil {
		return l, err
	}
	rest, ok := strings.CutPrefix(s[len("s3:"):], "//")
	if !ok {
		return l, stint.Errorf(stint.Invalid, "location %.80q: %s", s, allowedBuckets)
	}
	host, _, _ := strings.Cut(rest, "/")
	start := len("s3://") + len(host) + 1
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		l.set, host = host[:i], host[i+1:]
		if !stint.IsCredentialSetName(l.set) {
			return l, credentialsInURL(s, l.set)
		}
	}
	if strings.Contains(host, ":") { // a password may have a slash, and end the host
		return l, credentialsInURL(s, host)
	}
	if !isBucketName(host) {
		return l, stint.Errorf(stint.Invalid, "location %.80q: bucket %.80q is not 3 to 63 lower-case letters, digits, dots and hyphens; %s", s, host, allowedBuckets)
	}
	l.bucket = host
	if start >= len(s) {
		return l, nil
	}
	var err error
	if l.key, err = decodeURLPath(s, start); err != nil {
		return l, err
	}
	if key := literal(l.key); !utf8.ValidString(key) || len(key) > maxKey {
		return l, stint.Errorf(stint.Invalid, "bad_url: location %.80q: a key is at most %d bytes of UTF-8", s, maxKey)
	}
	return l, nil
}

// credentialsInURL refuses a password without repeating it.
func credentialsInURL(s, user string) error {
	if strings.Contains(user, ":") {
		scheme, _, _ := strings.Cut(s, ":")
		return stint.Errorf(stint.Invalid, "credentials_in_url: a location of scheme %s has a user and a password, or a port; name a set of credentials, and an endpoint with it, instead", scheme)
	}
	return stint.Errorf(stint.Invalid, "location %.80q: %.80q is not the name of a set of credentials", s, user)
}

func isBucketName(s string) bool {
	if len(s) < 3 || len(s) > 63 || strings.Contains(s, "..") || strings.Trim(s, ".-") != s {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}

// tidyKey refuses what a person cannot mean, and removes a final slash.
func (l bucketLocation) tidyKey(s string) ([]symbol, error) {
	key := l.key
	for len(key) > 0 && key[len(key)-1].b == '/' {
		key = key[:len(key)-1]
	}
	for part := range strings.SplitSeq(literal(key), "/") {
		if part == "." || part == ".." {
			return nil, stint.Errorf(stint.Invalid, "bad_url: location %.80q: %q is no part of a key that is named here", s, part)
		}
	}
	return key, nil
}

// canonical returns the location's URL in one spelling.
func (l bucketLocation) canonical(key []symbol) string {
	b := append(make([]byte, 0, 64+len(key)), l.root()...)
	for _, c := range key {
		if c.glob {
			b = append(b, c.b)
		} else {
			b = appendEscaped(b, c.b)
		}
	}
	return strings.TrimSuffix(string(b), "/")
}

// root returns the URL of the bucket, with a slash behind it.
func (l bucketLocation) root() string {
	if l.set != "" {
		return "s3://" + l.set + "@" + l.bucket + "/"
	}
	return "s3://" + l.bucket + "/"
}
