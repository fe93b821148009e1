package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"stint"
)

// Programs returns the programs that the service knows by name: those that ship
// with it, and the newest version of each that was uploaded.
func (c *Client) Programs(ctx context.Context) ([]stint.RegisteredProgram, error) {
	var p page[stint.RegisteredProgram]
	err := c.fetch(ctx, get("v1", "programs"), &p)
	return p.Items, err
}

// Program returns a version of a program, with its manifest: the newest, or the
// one whose digest begins with version.
func (c *Client) Program(ctx context.Context, name, version string) (stint.RegisteredProgram, error) {
	k := get("v1", "programs", name)
	k.query = make(url.Values)
	setIfAny(k.query, "version", version)
	var p stint.RegisteredProgram
	err := c.fetch(ctx, k, &p)
	return p, err
}

// UploadProgram registers a program: an archive of size bytes with a manifest, or
// a manifest alone; name is what to call it, empty as the manifest does. Uploading
// the same content again is harmless.
func (c *Client) UploadProgram(ctx context.Context, name string, size int64, r io.Reader) (stint.RegisteredProgram, error) {
	body := io.NopCloser(r) // the caller closes what it opened
	if size == 0 {
		body = http.NoBody
	}
	k := call{
		method: http.MethodPost, path: []string{"v1", "programs"}, query: make(url.Values),
		header: http.Header{"Content-Type": {"application/octet-stream"}, "Expect": {"100-continue"}},
		body:   body, length: size,
	}
	setIfAny(k.query, "name", name)
	var p stint.RegisteredProgram
	err := c.fetch(ctx, k, &p)
	return p, err
}

// RemoveProgram has the service forget the version of a program whose digest begins
// with version, or all of them if that is empty.
func (c *Client) RemoveProgram(ctx context.Context, name, version string) error {
	k := call{method: http.MethodDelete, path: []string{"v1", "programs", name}, query: make(url.Values)}
	setIfAny(k.query, "version", version)
	response, err := c.do(ctx, k)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
