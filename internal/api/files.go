package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/zeebo/blake3"

	"stint"
)

const (
	// MaxFile is the longest program file, in bytes.
	MaxFile = 1 << 30

	// fileSilence is how long an upload may rest.
	fileSilence = 30 * time.Second

	fileType = "application/octet-stream"
)

type putFileInput struct {
	Digest string `path:"digest" doc:"BLAKE3-256 of the bytes: 64 lower-case hexadecimal digits."`
	exchange
}

func putFileOperation() huma.Operation {
	return huma.Operation{
		Method: http.MethodPut, Path: "/v1/files/{digest}", OperationID: "put-file",
		Summary:       "Keep a file for programs",
		Description:   "Sending a file that is there already changes nothing. At most 1 GiB.",
		DefaultStatus: http.StatusNoContent,
	}
}

func (h *Handler) putFile(ctx context.Context, in *putFileInput) (*struct{}, error) {
	digest, err := stint.ParseDigest(in.Digest)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "bad_digest", "%s", printable(err.Error()))
	}
	if err := checkMediaType(in.r, fileType); err != nil {
		return nil, err
	}
	if e := in.r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, refuse(http.StatusUnsupportedMediaType, "unsupported_encoding", "Content-Encoding %.80q: files are sent as they are", e)
	}
	if in.r.ContentLength > MaxFile {
		return nil, tooLarge(MaxFile)
	}
	body := &upload{
		r:    http.MaxBytesReader(in.w, in.r.Body, MaxFile),
		w:    in.w,
		want: digest,
		hash: blake3.New(),
	}
	return nil, h.config.Service.PutFile(ctx, digest, body)
}

// upload reads a file on its way into storage. It fails at its end if the bytes
// have another digest than they should, so that they are not kept.
type upload struct {
	r    io.Reader
	w    http.ResponseWriter // of the request, for the time that a read may take
	want stint.Digest
	hash *blake3.Hasher
}

// Read reads on and checks the digest at the end.
func (u *upload) Read(b []byte) (int, error) {
	defer limitTime(u.w, fileSilence)()
	n, err := u.r.Read(b)
	_, _ = u.hash.Write(b[:n]) // a hash takes everything
	if !errors.Is(err, io.EOF) {
		return n, bodyError(err)
	}
	var got stint.Digest
	u.hash.Sum(got[:0])
	if got != u.want {
		return n, refuse(http.StatusUnprocessableEntity, "digest_mismatch", "the bytes sent have the digest %s, not the one in the path", got)
	}
	return n, io.EOF
}
