package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"stint"
)

// Permission is a right that an identity may have.
type Permission string

// The permissions that routes need.
const (
	Public           Permission = "public"        // no identity at all
	Authenticated    Permission = "authenticated" // any identity
	ExecutionRead    Permission = "execution:read"
	ExecutionSubmit  Permission = "execution:submit"
	ExecutionControl Permission = "execution:control"
	ProgramRead      Permission = "program:read"
	ProgramWrite     Permission = "program:write"
	ClusterRead      Permission = "cluster:read"
	ClusterControl   Permission = "cluster:control"
)

// Permissions lists every permission.
func Permissions() []Permission {
	return []Permission{Public, Authenticated, ExecutionRead, ExecutionSubmit, ExecutionControl, ProgramRead, ProgramWrite, ClusterRead, ClusterControl}
}

// Route is a method and a path, and what it needs.
type Route struct {
	Method     string
	Path       string
	Permission Permission
}

// permissionKey is where the OpenAPI document says what a route needs.
const permissionKey = "x-permission"

// registerAll is the table of routes.
func (h *Handler) registerAll() error {
	b := newBuilder(h)
	register(b, Public, huma.Operation{
		Method: http.MethodGet, Path: "/healthz", OperationID: "health",
		Summary: "Whether the service answers",
	}, health)
	register(b, Authenticated, documentOperation(), h.document)
	register(b, ExecutionSubmit, submitOperation(), h.submit)
	b.takes("/v1/executions", jsonType, b.schema(reflect.TypeFor[stint.Request]()))
	register(b, ExecutionRead, huma.Operation{
		Method: http.MethodGet, Path: "/v1/executions", OperationID: "list",
		Summary: "Executions, newest first",
	}, h.list)
	register(b, ExecutionRead, huma.Operation{
		Method: http.MethodGet, Path: "/v1/executions/{id}", OperationID: "show",
		Summary: "One execution",
	}, h.show)
	register(b, ExecutionControl, huma.Operation{
		Method: http.MethodGet, Path: "/v1/executions/{id}/request", OperationID: "request",
		Summary:     "What an execution was asked for, to be asked for again",
		Description: "It can be submitted as it is, except that an output that was named is there by now. Its environment may hold secrets, which is why reading executions is not enough.",
	}, h.request)
	register(b, ExecutionRead, huma.Operation{
		Method: http.MethodGet, Path: "/v1/executions/{id}/operations", OperationID: "operations",
		Summary: "The operations of an execution",
	}, h.operations)
	register(b, ExecutionRead, b.eventsOperation(), h.events)
	register(b, ExecutionControl, huma.Operation{
		Method: http.MethodPost, Path: "/v1/executions/{id}/terminate", OperationID: "terminate",
		Summary: "Stop an execution for good",
	}, h.terminate)
	register(b, ExecutionRead, logOperation(), h.log)
	register(b, ExecutionRead, huma.Operation{
		Method: http.MethodGet, Path: "/v1/executions/{id}/logs", OperationID: "logs",
		Summary:     "What is kept of attempts that have ended, in the order in which they ended",
		Description: "At most 1,000 entries and 4 MiB; where there are more, ask again with after, the end of the last.",
	}, h.logs)
	register(b, ExecutionRead, huma.Operation{
		Method: http.MethodGet, Path: "/v1/executions/{id}/explain", OperationID: "explain",
		Summary: "Why an execution waits, is slow, or failed",
	}, h.explain)
	register(b, ProgramWrite, putFileOperation(), h.putFile)
	b.takes("/v1/files/{digest}", fileType, &huma.Schema{Type: huma.TypeString, Format: "binary"})
	h.registerPrograms(b)
	h.registerControl(b)
	h.registerCluster(b)
	h.registerCredentials(b)
	return b.finish()
}

// builder registers routes with the mux and in the OpenAPI document.
type builder struct {
	handler *Handler
	api     huma.API
	request []string // names of the schemas that requests are made of
}

func newBuilder(h *Handler) *builder {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	b := &builder{handler: h}
	b.api = humago.New(h.mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "Stint", Version: h.config.Version, Description: "Executes programs on many nodes."},
			Components: &huma.Components{
				Schemas:         registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}},
			},
		},
		Formats:       map[string]huma.Format{jsonType: huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: jsonType,
	})
	for _, t := range requestTypes() {
		b.schema(t)
	}
	for name := range registry.Map() {
		b.request = append(b.request, name)
	}
	return b
}

// requestTypes are what bodies are read into.
func requestTypes() []reflect.Type {
	return []reflect.Type{
		reflect.TypeFor[stint.Request](), reflect.TypeFor[stint.SuspendRequest](), reflect.TypeFor[stint.ResumeRequest](),
		reflect.TypeFor[stint.MoveRequest](), reflect.TypeFor[stint.DrainRequest](), reflect.TypeFor[stint.CredentialSet](),
	}
}

// schema returns a reference to the schema of a type.
func (b *builder) schema(t reflect.Type) *huma.Schema {
	return b.api.OpenAPI().Components.Schemas.Schema(t, true, t.Name())
}

// register adds a route: what it needs, what it is called, what it does.
func register[I, O any](b *builder, p Permission, op huma.Operation, serve func(context.Context, *I) (*O, error)) {
	h := b.handler
	op.Extensions = map[string]any{permissionKey: p}
	if p != Public {
		op.Security = []map[string][]string{{"token": {}}}
	}
	op.SkipValidateParams = true // handlers read them: the answers name what is allowed
	op.Middlewares = huma.Middlewares{h.guard(p)}
	if op.Responses == nil {
		op.Responses = make(map[string]*huma.Response)
	}
	op.Responses["default"] = &huma.Response{
		Description: "A refusal",
		Content:     map[string]*huma.MediaType{problemType: {Schema: b.schema(reflect.TypeFor[Problem]())}},
	}
	huma.Register(b.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := serve(ctx, in)
		if err != nil {
			return nil, h.problem(ctx, err)
		}
		return out, nil
	})
	h.routes = append(h.routes, Route{Method: op.Method, Path: op.Path, Permission: p})
}

// takes says in the document what body the one route at a path that has a body
// takes. It is said after the registration because the library would otherwise
// read the body itself.
func (b *builder) takes(path, mediaType string, s *huma.Schema) {
	item := b.api.OpenAPI().Paths[path]
	op := item.Post
	if op == nil {
		op = item.Put
	}
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{mediaType: {Schema: s}}}
}

// mayTake says, as takes does, that a route takes a JSON body that may be left out.
func (b *builder) mayTake(path string, t reflect.Type) {
	b.takes(path, jsonType, b.schema(t))
	b.api.OpenAPI().Paths[path].Post.RequestBody.Required = false
}

// guard lets through who has the permission and asks for what there is.
func (h *Handler) guard(p Permission) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if err := h.check(ctx, p); err != nil {
			_, w := humago.Unwrap(ctx)
			h.problem(ctx.Context(), err).write(w)
			return
		}
		next(ctx)
	}
}

func (h *Handler) check(ctx huma.Context, p Permission) error {
	if p != Public && !h.config.Allow(ctx.Context(), p) {
		return refuse(http.StatusForbidden, "missing_permission", "this needs the permission %s", p)
	}
	var names []string
	for _, param := range ctx.Operation().Parameters {
		if param.In == "query" {
			names = append(names, param.Name)
		}
	}
	r, _ := humago.Unwrap(ctx)
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	for name, values := range query {
		if !slices.Contains(names, name) {
			return unknownParameter(name, names)
		}
		if len(values) > 1 {
			return refuse(http.StatusBadRequest, "repeated_parameter", "query parameter %s: given %d times, allowed once", name, len(values))
		}
	}
	return nil
}

func unknownParameter(name string, names []string) error {
	p := refuse(http.StatusBadRequest, "unknown_parameter", "query parameter %.80q: unknown; this path has none", name)
	if len(names) > 0 {
		p.Message = fmt.Sprintf("query parameter %.80q: unknown; one of %s", name, strings.Join(names, ", "))
		p.Hint = stint.Nearest(name, names)
	}
	return p
}

// finish makes the OpenAPI document, once for all.
func (b *builder) finish() error {
	b.mend()
	data, err := json.Marshal(b.api.OpenAPI())
	if err != nil {
		return fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	b.handler.openAPI = data
	return nil
}
