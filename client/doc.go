// Package client is the Go SDK of Stint's HTTP API. It speaks in the types of
// package stint and returns the service's refusals as [stint.Error], with the
// code that says what can be done about them:
//
//	c, err := client.New(client.Config{URL: address, Token: token, CA: ca})
//	…
//	x, err := c.Submit(ctx, stint.Request{Program: program, Inputs: []string{"/data/*.txt"}})
//	…
//	for x, err = range c.Watch(ctx, x.ID, 0) {
//		…
//	}
//
// A call that reached nobody fails with [stint.Unavailable]; one that may have
// reached the service and got no answer with [stint.Unknown].
package client
