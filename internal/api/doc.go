// Package api serves the public HTTP API: JSON in and out, server-sent events
// for watching, and the OpenAPI document that is made from the same code.
//
// Every route is registered together with the permission it needs (routes.go);
// a route without one does not exist. Authentication happens before: the
// handler of this package is put behind a middleware that knows tokens, and
// asks [Config.Allow] about permissions.
//
// # The way of a request
//
//	Handler.ServeHTTP   request id, security headers, exact path, panics
//	mux                 method and path
//	guard               permission, then the names of the query parameters
//	handler             reads the body strictly, asks the service
//	Problem             every refusal, as application/problem+json
//
// Bodies are read within limits on bytes (before and after decompression),
// depth, number of values and time, and strictly: unknown, repeated or
// differently cased keys and trailing data are refused, all errors of a
// document at once. Nothing reaches the service before its request is whole.
//
// # Watching
//
// An event stream carries the document of one execution whenever it changed:
//
//	retry: 2000
//
//	id: 17
//	event: execution
//	data: {"id":"x-…","version":17,…}
//
// The id is the document's version. A client that comes back sends it as
// Last-Event-ID and gets what is newer; documents in between may be left out,
// the last one never is. After a final document the stream ends, and a client
// that has it already gets 204, which tells browsers to stay away. A comment
// every 15 seconds keeps silent streams apart from dead ones. An error after the
// beginning is an event "error" whose data is a [Problem].
package api
