package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"stint"
	"stint/internal/api"
	"stint/internal/auth"
	"stint/internal/failpoint"
	"stint/internal/link"
)

// handler serves the one port: the link and joining for nodes, the API for the rest.
func (s *service) handler() (http.Handler, error) {
	key, err := cursorKey(filepath.Join(s.folder.serverDir(), "cursor.key"))
	if err != nil {
		return nil, err
	}
	h, err := api.New(api.Config{
		Service: s.server,
		Allow: func(ctx context.Context, _ api.Permission) bool {
			who, ok := auth.IdentityOf(ctx)
			return ok && who.Kind == auth.User
		},
		Fault: func(ctx context.Context, request string, err error) {
			s.server.Logger.ErrorContext(ctx, "request failed", "request", request, "err", err)
		},
		Version:   version(),
		CursorKey: key,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(link.NewHandler(auth.PeerNode, s.server.Accept))
	mux.Handle(link.NewJoinHandler(s.join))
	mux.Handle("/", auth.Middleware(h, s.keys, s.hosts(), h.Open))
	return mux, nil
}

// cursorKey reads the key of the API's page cursors, or makes one.
func cursorKey(path string) ([]byte, error) {
	const length = 32
	key, err := os.ReadFile(path)
	if err == nil && len(key) == length {
		return key, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read cursor key: %w", err)
	}
	key = make([]byte, length)
	rand.Read(key)
	failpoint.Reach("cursor-key.before-write")
	if err := os.WriteFile(path, key, 0o600); err != nil {
		return nil, fmt.Errorf("write cursor key: %w", err)
	}
	failpoint.Reach("cursor-key.after-write")
	return key, nil
}

// join takes a node in. The token of the data folder is good for every local
// agent; others are used up.
func (s *service) join(_ context.Context, r link.JoinRequest) (link.JoinAnswer, error) {
	who, err := s.keys.Verify(r.Token)
	if err == nil && who.Name != localName {
		who, err = s.keys.Redeem(r.Token)
	}
	if err == nil && who.Kind != auth.Join {
		err = stint.Errorf(stint.Denied, "this token is not for joining")
	}
	if err != nil {
		return link.JoinAnswer{}, err
	}
	var random [12]byte
	rand.Read(random[:])
	id := stint.MakeNodeID(random[:])
	certificate, err := s.ca.SignNode([]byte(r.CSR), id)
	if err != nil {
		return link.JoinAnswer{}, err
	}
	failpoint.Reach("join.before-answer")
	return link.JoinAnswer{Node: id, Certificate: string(certificate), CA: string(s.ca.PEM())}, nil
}
