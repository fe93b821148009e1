package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"

	"github.com/danielgtaylor/huma/v2"

	"stint"
	"stint/internal/auth"
)

const (
	// MaxUpload is the longest archive of a program, in bytes.
	MaxUpload = 1 << 30

	// maxUploads is how many may be on their way at once.
	maxUploads = 8
)

// registerPrograms registers the routes about programs that have names.
func (h *Handler) registerPrograms(b *builder) {
	register(b, ProgramRead, huma.Operation{
		Method: http.MethodGet, Path: "/v1/programs", OperationID: "programs",
		Summary: "The programs that the service knows by name, in their newest versions",
	}, h.programs)
	register(b, ProgramWrite, huma.Operation{
		Method: http.MethodPost, Path: "/v1/programs", OperationID: "upload-program",
		Summary:       "Register a program",
		Description:   "The body is an archive (zip, jar, tar, tar.gz, tar.zst) with program.yaml at its top, or such a manifest alone; at most 1 GiB. The same content again is the same version, and is the newest again.",
		DefaultStatus: http.StatusCreated,
	}, h.uploadProgram)
	b.takes("/v1/programs", fileType, &huma.Schema{Type: huma.TypeString, Format: "binary"})
	register(b, ProgramRead, huma.Operation{
		Method: http.MethodGet, Path: "/v1/programs/{name}", OperationID: "show-program",
		Summary: "A version of a program, with its manifest",
	}, h.program)
	register(b, ProgramWrite, huma.Operation{
		Method: http.MethodDelete, Path: "/v1/programs/{name}", OperationID: "remove-program",
		Summary:       "Forget a program, or one version of it",
		Description:   "It is refused while an execution has it that is not over. Executions that are keep what they were made of.",
		DefaultStatus: http.StatusNoContent,
	}, h.removeProgram)
}

type programsOutput struct {
	Body page[stint.RegisteredProgram]
}

func (h *Handler) programs(ctx context.Context, _ *struct{}) (*programsOutput, error) {
	items, err := h.config.Service.Programs(ctx)
	if err != nil {
		return nil, err
	}
	out := &programsOutput{Body: page[stint.RegisteredProgram]{Items: items}}
	fill(&out.Body)
	return out, nil
}

type programInput struct {
	Name    string `path:"name"`
	Version string `query:"version" doc:"The first digits of a version; without it the newest, or, to remove, all of them."`
}

type programOutput struct {
	Body stint.RegisteredProgram
}

func (in *programInput) check() error {
	_, _, err := stint.SplitProgramName(in.Name + "@" + in.Version)
	if in.Version != "" && err != nil {
		return refuse(http.StatusBadRequest, "bad_version", "version: %.80q; the first digits of a version, 0-9 and a-f", in.Version)
	}
	return nil
}

func (h *Handler) program(ctx context.Context, in *programInput) (*programOutput, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	p, err := h.config.Service.Program(ctx, in.Name, in.Version)
	if err != nil {
		return nil, err
	}
	fill(&p)
	return &programOutput{Body: p}, nil
}

func (h *Handler) removeProgram(ctx context.Context, in *programInput) (*struct{}, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	return nil, h.config.Service.RemoveProgram(ctx, in.Name, in.Version)
}

type uploadInput struct {
	Name string `query:"name" doc:"What to call the program, if not as the manifest does."`
	exchange
}

func (h *Handler) uploadProgram(ctx context.Context, in *uploadInput) (*programOutput, error) {
	if err := checkMediaType(in.r, fileType); err != nil {
		return nil, err
	}
	if e := in.r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, refuse(http.StatusUnsupportedMediaType, "unsupported_encoding", "Content-Encoding %.80q: archives are sent as they are", e)
	}
	if in.r.ContentLength > MaxUpload {
		return nil, uploadTooLarge()
	}
	if h.uploads.Add(1) > maxUploads {
		h.uploads.Add(-1)
		p := refuseLimit(http.StatusTooManyRequests, "too_many_uploads", maxUploads, "limit %d uploads at once: try again", maxUploads)
		p.retryAfter = 1
		return nil, p
	}
	defer h.uploads.Add(-1)
	upload := stint.ProgramUpload{Name: in.Name, Body: &restless{r: http.MaxBytesReader(in.w, in.r.Body, MaxUpload), w: in.w}}
	if who, ok := auth.IdentityOf(ctx); ok {
		upload.By = who.Name
	}
	p, err := h.config.Service.UploadProgram(ctx, upload)
	if err != nil {
		return nil, uploadRefusal(err)
	}
	fill(&p)
	return &programOutput{Body: p}, nil
}

// restless reads a body that may not rest for long.
type restless struct {
	r io.Reader
	w http.ResponseWriter
}

// Read reads on.
func (s *restless) Read(b []byte) (int, error) {
	defer limitTime(s.w, fileSilence)()
	n, err := s.r.Read(b)
	if errors.Is(err, io.EOF) {
		return n, io.EOF
	}
	if long := (*http.MaxBytesError)(nil); errors.As(err, &long) {
		return n, uploadTooLarge()
	}
	return n, bodyError(err)
}

func uploadTooLarge() *Problem {
	return refuseLimit(http.StatusRequestEntityTooLarge, "upload_too_large", MaxUpload, "the upload is too long: the limit is 1 GiB")
}

// uploadRefusal gives each line of a refusal, as manifests get them, a detail of
// its own. The word that a line begins with is for the client: nothing here depends
// on it.
func uploadRefusal(err error) error {
	code := stint.CodeOf(err)
	if p := (*Problem)(nil); errors.As(err, &p) || code != stint.Invalid && code != stint.Unavailable && code != stint.Conflict {
		return err
	}
	var details []Detail
	for line := range strings.SplitSeq(err.Error(), "\n") {
		word, _, found := strings.Cut(line, ": ")
		if !found || word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_") != "" {
			word = string(code)
		}
		details = append(details, Detail{Code: word, Message: printable(line)})
	}
	status := statusOf(code)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		status = http.StatusInsufficientStorage
	}
	if long, ok := errors.AsType[*stint.TooLarge](err); ok {
		status, details[0].Limit = http.StatusRequestEntityTooLarge, long.Limit
	}
	return refuseAll(status, details)
}
