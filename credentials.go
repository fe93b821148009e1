package stint

import "strings"

// CredentialSet is a name under which object storage is reached: s3://NAME@bucket/…
// stands for a bucket of its endpoint, asked with its keys.
type CredentialSet struct {
	Name         string `json:"name"`
	Endpoint     string `json:"endpoint,omitempty"` // https://HOST[:PORT], or http; empty: Amazon's
	Region       string `json:"region,omitempty"`
	AccessKey    string `json:"access_key"`
	SecretKey    string `json:"secret_key"`
	SessionToken string `json:"session_token,omitempty"`
}

const maxSetName = 64

// Check refuses a set that cannot be named in a location, or has half a key.
func (c CredentialSet) Check() error {
	if !IsCredentialSetName(c.Name) {
		return Errorf(Invalid, "credentials %.80q: expected a name of 1 to %d letters, digits, - and _", c.Name, maxSetName)
	}
	scheme, host, ok := strings.Cut(c.Endpoint, "://")
	if c.Endpoint != "" && (!ok || scheme != "https" && scheme != "http" || strings.Trim(host, "/") == "" || strings.ContainsAny(strings.TrimSuffix(host, "/"), "/@?# ")) {
		return Errorf(Invalid, "credentials %s: endpoint %.200q: expected https://HOST[:PORT] or http://HOST[:PORT]", c.Name, c.Endpoint[strings.LastIndexByte(c.Endpoint, '@')+1:]) // not a password
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		return Errorf(Invalid, "credentials %s: expected an access key and a secret key, or neither for public buckets", c.Name)
	}
	return nil
}

// IsCredentialSetName reports whether a set of credentials can have this name.
func IsCredentialSetName(s string) bool {
	if s == "" || len(s) > maxSetName {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// CredentialReport is what is shown of a [CredentialSet].
type CredentialReport struct {
	Name       string `json:"name"`
	Endpoint   string `json:"endpoint,omitempty"`
	Region     string `json:"region,omitempty"`
	AccessKey  string `json:"access_key"`           // its end, behind an ellipsis
	Unreadable bool   `json:"unreadable,omitempty"` // it cannot be decrypted, and is used by nobody: set it again
}

// Report returns what is shown of the set.
func (c CredentialSet) Report() CredentialReport {
	const shown = 4
	r := CredentialReport{Name: c.Name, Endpoint: c.Endpoint, Region: c.Region, AccessKey: "…"}
	if len(c.AccessKey) > 2*shown {
		r.AccessKey += c.AccessKey[len(c.AccessKey)-shown:]
	}
	return r
}

// String returns the name alone: a set that is printed tells no secret.
func (c CredentialSet) String() string { return "credentials " + c.Name }

// GoString is String for %#v.
func (c CredentialSet) GoString() string { return c.String() }
