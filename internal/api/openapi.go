package api

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

type documentOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func documentOperation() huma.Operation {
	return huma.Operation{
		Method: http.MethodGet, Path: "/v1/openapi.json", OperationID: "openapi",
		Summary: "This document",
		Responses: map[string]*huma.Response{"200": {
			Description: "OpenAPI 3.1",
			Content:     map[string]*huma.MediaType{jsonType: {Schema: &huma.Schema{Type: huma.TypeObject}}},
		}},
	}
}

func (h *Handler) document(context.Context, *struct{}) (*documentOutput, error) {
	return &documentOutput{ContentType: jsonType, Body: h.openAPI}, nil
}

// mend makes the schemas say what is really sent: lists are never null (see
// [fill]), objects behind pointers may be, and documents may gain fields.
func (b *builder) mend() {
	registry := b.api.OpenAPI().Components.Schemas
	schemas := registry.Map()
	for _, unused := range []string{"ErrorModel", "ErrorDetail"} {
		delete(schemas, unused) // the library's own errors
	}
	for name, s := range schemas {
		if !slices.Contains(b.request, name) && s.Type == huma.TypeObject {
			s.AdditionalProperties = nil
		}
		t := registry.TypeFromRef("#/components/schemas/" + name)
		for _, f := range reflect.VisibleFields(t) {
			property, omitted := jsonName(f)
			p := s.Properties[property]
			if p == nil {
				continue
			}
			if p.Type == huma.TypeArray {
				p.Nullable = false
			}
			if f.Type.Kind() == reflect.Pointer && p.Ref != "" && !omitted {
				s.Properties[property] = &huma.Schema{AnyOf: []*huma.Schema{p, {Type: "null"}}}
			}
		}
	}
}

func jsonName(f reflect.StructField) (name string, omitted bool) {
	name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name, strings.Contains(options, "omitempty")
}

// fill gives every list and map in a document that is nil, and is sent
// nevertheless, a value: clients get [] and {}, never null.
func fill(document any) { fillValue(reflect.ValueOf(document).Elem()) }

func fillValue(v reflect.Value) {
	switch k := v.Kind(); {
	case k == reflect.Pointer && !v.IsNil():
		fillValue(v.Elem())
	case k == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			fillValue(v.Index(i))
		}
	case k == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for i := range v.NumField() {
			fillField(v.Type().Field(i), v.Field(i))
		}
	}
}

func fillField(f reflect.StructField, v reflect.Value) {
	if _, omitted := jsonName(f); !f.IsExported() || omitted {
		return
	}
	switch {
	case v.Kind() == reflect.Slice && v.IsNil():
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	case v.Kind() == reflect.Map && v.IsNil():
		v.Set(reflect.MakeMap(v.Type()))
	default:
		fillValue(v)
	}
}
