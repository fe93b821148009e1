package client

import (
	"context"
	"net/http"

	"stint"
)

// Credentials returns the sets of credentials for object storage that the service
// keeps, without their secrets.
func (c *Client) Credentials(ctx context.Context) ([]stint.CredentialReport, error) {
	var p page[stint.CredentialReport]
	err := c.fetch(ctx, get("v1", "credentials"), &p)
	return p.Items, err
}

// SetCredentials has the service keep a set of credentials, in place of one of its name.
func (c *Client) SetCredentials(ctx context.Context, set stint.CredentialSet) (stint.CredentialReport, error) {
	var r stint.CredentialReport
	k, err := post(set, "v1", "credentials", set.Name)
	if err == nil {
		k.method = http.MethodPut
		err = c.fetch(ctx, k, &r)
	}
	return r, err
}

// RemoveCredentials has the service remove a set of credentials.
func (c *Client) RemoveCredentials(ctx context.Context, name string) error {
	response, err := c.do(ctx, call{method: http.MethodDelete, path: []string{"v1", "credentials", name}})
	if err != nil {
		return err
	}
	return response.Body.Close()
}
