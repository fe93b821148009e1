package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"stint"
)

// schema is a node of a JSON schema, as it stands in the document.
type schema = map[string]any

// document fetches the OpenAPI document.
func document(t *testing.T) schema {
	t.Helper()
	server := serve(t, config(newService()))
	response, body := ask(t, request(t, http.MethodGet, server.URL+"/v1/openapi.json", ""))
	if ct := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || ct != "application/json" {
		t.Fatalf("%d %s", response.StatusCode, ct)
	}
	var doc schema
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func at(t *testing.T, v any, path ...string) any {
	t.Helper()
	for _, p := range path {
		m, ok := v.(schema)
		if !ok || m[p] == nil {
			t.Fatalf("nothing at %s of %v", p, path)
		}
		v = m[p]
	}
	return v
}

func TestTheDocumentNamesEveryRouteWithItsPermissionAndItsRefusals(t *testing.T) {
	t.Parallel()
	doc := document(t)
	if at(t, doc, "openapi") != "3.1.0" || at(t, doc, "info", "version") != "1.2.3" {
		t.Errorf("%v %v", doc["openapi"], doc["info"])
	}
	documented := 0
	for _, item := range at(t, doc, "paths").(schema) {
		documented += len(item.(schema))
	}
	routes := newHandler(t, config(newService())).Routes()
	if documented != len(routes) {
		t.Errorf("%d routes in the document, %d in the table", documented, len(routes))
	}
	for _, r := range routes {
		method := strings.ToLower(r.Method)
		if got := at(t, doc, "paths", r.Path, method, "x-permission"); got != string(r.Permission) {
			t.Errorf("%s %s: permission %v", r.Method, r.Path, got)
		}
		at(t, doc, "paths", r.Path, method, "operationId")
		at(t, doc, "paths", r.Path, method, "responses", "default", "content", "application/problem+json")
		bodiless := slices.Contains([]string{"terminate", "retry"}, path.Base(r.Path))
		if r.Method == http.MethodPut || r.Method == http.MethodPost && !bodiless {
			body := at(t, doc, "paths", r.Path, method, "requestBody").(schema)
			at(t, body, "content")
			mayBeLeftOut := slices.Contains([]string{"suspend", "resume", "drain"}, path.Base(r.Path))
			if required, _ := body["required"].(bool); required == mayBeLeftOut {
				t.Errorf("%s %s: body required is %v", r.Method, r.Path, required)
			}
		}
	}
	at(t, doc, "paths", "/v1/executions", "post", "responses", "201", "content", "application/json", "schema")
	at(t, doc, "paths", "/v1/executions/{id}/events", "get", "responses", "200", "content", "text/event-stream")
	at(t, doc, "paths", "/v1/files/{digest}", "put", "responses", "204")
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, alien := range []string{"$schema", "ErrorModel"} {
		if strings.Contains(string(text), alien) {
			t.Errorf("the document speaks of %s", alien)
		}
	}
}

// mismatches checks a JSON value against a schema, as far as ours go.
func mismatches(doc, s schema, v any, where string) (found []string) {
	if ref, ok := s["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		target, ok := doc["components"].(schema)["schemas"].(schema)[name].(schema)
		if !ok {
			return []string{where + ": no schema " + ref}
		}
		return mismatches(doc, target, v, where)
	}
	if any, ok := s["anyOf"].([]any); ok {
		for _, one := range any {
			if found = mismatches(doc, one.(schema), v, where); len(found) == 0 {
				return nil
			}
		}
		return found
	}
	kind := map[string]string{"<nil>": "null", "bool": "boolean", "float64": "number", "string": "string", "[]interface {}": "array", "map[string]interface {}": "object"}[fmt.Sprintf("%T", v)]
	types, ok := s["type"].([]any)
	if !ok {
		types = []any{s["type"]}
	}
	if !slices.Contains(types, any(kind)) && (kind != "number" || !slices.Contains(types, any("integer"))) {
		return []string{fmt.Sprintf("%s: %s, not %v", where, kind, types)}
	}
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			found = append(found, mismatches(doc, s["items"].(schema), item, fmt.Sprintf("%s/%d", where, i))...)
		}
	case schema:
		properties, _ := s["properties"].(schema)
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, there := v[name.(string)]; !there {
				found = append(found, fmt.Sprintf("%s/%s: is not there", where, name))
			}
		}
		for name, member := range v {
			inner, known := properties[name].(schema)
			if !known {
				inner, known = s["additionalProperties"].(schema)
			}
			if !known {
				found = append(found, fmt.Sprintf("%s/%s: is not in the schema", where, name))
				continue
			}
			found = append(found, mismatches(doc, inner, member, where+"/"+name)...)
		}
	}
	return found
}

func TestAnswersAreWhatTheDocumentSays(t *testing.T) {
	t.Parallel()
	doc := document(t)
	now := time.Unix(1, 0).UTC()
	refusal := stint.Errorf(stint.Failed, "exit 3")
	full := execution(2, stint.CompletedErrors)
	full.Stints = []stint.Stint{{Start: now, End: &now}, {Start: now}}
	full.Expected = &now
	full.Stages = []stint.StageReport{{Name: "map"}}
	full.Counters = map[string]map[string]int64{"g": {"n": 1}}
	full.Missing = []stint.Missing{{Operation: "map/1", Error: refusal}}
	full.Failures = []stint.Failure{{Op: 1, Error: refusal, Sources: []stint.NodeID{"n-1"}}}
	full.Error = refusal
	s := newService(execution(1, stint.Queued), full)
	s.nodeList = []stint.Node{{ID: "n-1", Status: stint.NodeReady, Since: now}}
	server := serve(t, config(s))
	for path, template := range map[string]string{
		"/healthz":  "",
		"/v1/saved": "",
		"/v1/executions/" + known + "/durability": "/v1/executions/{id}/durability",
		"/v1/executions/" + known + "/request":    "/v1/executions/{id}/request",
		"/v1/executions":                          "",
		"/v1/executions/" + known:                 "/v1/executions/{id}",
		"/v1/nodes":                               "",
		"/v1/cluster":                             "",
		"/v1/programs":                            "",
		"/v1/programs/p?version=ab":               "/v1/programs/{name}",
		"/v1/executions/" + string(full.ID):       "/v1/executions/{id}",
		"/v1/executions/" + string(full.ID) + "/operations?limit=2": "/v1/executions/{id}/operations",
	} {
		if template == "" {
			template = path
		}
		want := at(t, doc, "paths", template, "get", "responses", "200", "content", "application/json", "schema").(schema)
		_, body := ask(t, request(t, http.MethodGet, server.URL+path, ""))
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatal(err)
		}
		for _, m := range mismatches(doc, want, v, path) {
			t.Error(m)
		}
	}
	for path, template := range map[string]string{
		"/v1/executions/" + known + "/suspend": "/v1/executions/{id}/suspend",
		"/v1/executions/" + known + "/resume":  "/v1/executions/{id}/resume",
		"/v1/nodes/" + aNode + "/drain":        "/v1/nodes/{id}/drain",
		"/v1/plan":                             "/v1/plan",
	} {
		want := at(t, doc, "paths", template, "post", "responses", "200", "content", "application/json", "schema").(schema)
		_, body := ask(t, request(t, http.MethodPost, server.URL+path, `{}`, "Content-Type", "application/json"))
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatal(err)
		}
		for _, m := range mismatches(doc, want, v, path) {
			t.Error(m)
		}
	}
	_, body := ask(t, request(t, http.MethodPost, server.URL+"/v1/executions", `{"a":1,"b":2}`))
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	for _, m := range mismatches(doc, schema{"$ref": "#/components/schemas/Problem"}, v, "problem") {
		t.Error(m)
	}
}

func TestRequestsAreClosedAndDocumentsMayGrow(t *testing.T) {
	t.Parallel()
	schemas := at(t, document(t), "components", "schemas").(schema)
	if len(schemas) == 0 {
		t.Fatal("no schemas")
	}
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		closed := schemas[name].(schema)["additionalProperties"] == false
		request := slices.Contains([]string{"Request", "Program", "Stage", "Action", "Edge", "ProgramFile", "SuspendRequest", "ResumeRequest", "MoveRequest", "DrainRequest", "CredentialSet", "ErrorPolicy", "Param", "Partitioner", "Resources", "Streaming"}, name)
		if closed != request {
			t.Errorf("%s: closed is %v", name, closed)
		}
		for property, s := range schemas[name].(schema)["properties"].(schema) {
			if types, ok := s.(schema)["type"].([]any); ok && slices.Contains(types, any("array")) {
				t.Errorf("%s: the list %s may be null", name, property)
			}
		}
	}
}
