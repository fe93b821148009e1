// Package auth says who is who: tokens of people, certificates of nodes, the
// authority that signs them, and the guard before the API.
//
// # Tokens
//
// A token is the text stint_KIND_SECRET_CHECK: KIND is user or join, SECRET 256
// random bits and CHECK the CRC-32 of what stands before it, both in lower-case
// base32. The checksum lets scanners and people tell a token from a mistyped one;
// it protects nothing. A [Keyring] keeps the SHA-256 of tokens, never their text,
// in one file with mode 0600, which one process at a time owns. A token of a user
// calls the API until it expires or is revoked. A token for joining is used up by
// the first node that joins with it, if the service redeems it.
//
// # Certificates
//
// A [CA] signs with ECDSA P-256. Its key lies in ca.key, mode 0600. It signs
//
//	for      names                       use              lifetime
//	server   host names and addresses    server           90 days, renewed at half while the server runs
//	node     URI stint://node/NODE       client, server   1 year, since nodes of this version join once
//
// and chooses all names and uses itself: of a node's request only the public key
// is taken. A node's certificate names no host, so no node can pass for the
// server; peers look at the URI. What the server presents is followed by the CA's
// certificate, so that a node that has only the [CA.Pin] can verify it before it
// sends its token ([PinnedTLS]).
//
// All connections are TLS 1.3. The server's port takes connections without a
// client certificate, for users with tokens, and verifies those that are given;
// the port of a node takes none but nodes of the same cluster.
//
// # The guard
//
// [Middleware] refuses, in this order: hosts that are not the service's
// (a browser made to reach loopback by DNS sends another name), origins of other
// sites, tokens in URLs, node certificates, and requests without a good bearer
// token. Refusals are problem+json with a stable code.
package auth
