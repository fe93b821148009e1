// Package memnet is a network in memory for tests in bubbles: connections that
// are like sockets in what counts and let the clock of a testing/synctest bubble
// advance while somebody waits for one.
//
// A connection holds as many bytes on the way as a socket does: who writes to a
// peer that does not read waits, until its deadline. A port at which nobody
// listens refuses; one that is silenced lets who dials wait for ever. A
// connection that is cut swallows what is written and says nothing, to either end.
package memnet
