package api

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"stint"
)

// registerCredentials registers the routes about named sets of credentials.
func (h *Handler) registerCredentials(b *builder) {
	register(b, ClusterRead, huma.Operation{
		Method: http.MethodGet, Path: "/v1/credentials", OperationID: "credentials",
		Summary: "The sets of credentials for object storage, without their secrets",
	}, h.credentials)
	register(b, ClusterControl, huma.Operation{
		Method: http.MethodPut, Path: "/v1/credentials/{name}", OperationID: "set-credentials",
		Summary:     "Keep a set of credentials for object storage",
		Description: "It takes the place of one of its name. Locations name it as s3://NAME@bucket/key. It is kept encrypted and never shown.",
	}, h.setCredentials)
	b.takes("/v1/credentials/{name}", jsonType, b.schema(reflect.TypeFor[stint.CredentialSet]()))
	register(b, ClusterControl, huma.Operation{
		Method: http.MethodDelete, Path: "/v1/credentials/{name}", OperationID: "remove-credentials",
		Summary:       "Remove a set of credentials",
		DefaultStatus: http.StatusNoContent,
	}, h.removeCredentials)
}

type credentialsOutput struct {
	Body page[stint.CredentialReport]
}

func (h *Handler) credentials(ctx context.Context, _ *struct{}) (*credentialsOutput, error) {
	out := &credentialsOutput{Body: page[stint.CredentialReport]{Items: h.config.Service.Credentials(ctx)}}
	fill(&out.Body)
	return out, nil
}

type credentialInput struct {
	Name string `path:"name"`
	exchange
}

type credentialOutput struct {
	Body stint.CredentialReport
}

func (h *Handler) setCredentials(ctx context.Context, in *credentialInput) (*credentialOutput, error) {
	var set stint.CredentialSet
	if err := in.decode(&set); err != nil {
		return nil, err
	}
	if set.Name == "" {
		set.Name = in.Name
	}
	if set.Name != in.Name {
		return nil, refuse(http.StatusUnprocessableEntity, "name_mismatch", "/name differs from the name in the path")
	}
	report, err := h.config.Service.SetCredentials(ctx, set)
	if err != nil {
		return nil, err
	}
	return &credentialOutput{Body: report}, nil
}

func (h *Handler) removeCredentials(ctx context.Context, in *struct {
	Name string `path:"name"`
},
) (*struct{}, error) {
	return nil, h.config.Service.RemoveCredentials(ctx, in.Name)
}
