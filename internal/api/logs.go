package api

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"stint"
)

type logInput struct {
	ID        string `path:"id"`
	Operation string `query:"operation" doc:"As map/17; without it those of all operations."`
	Search    string `query:"search" doc:"Occurs in the text, the error or a bad record."`
	Failed    string `query:"failed" enum:"true,false" doc:"Of attempts that failed alone."`
	Bad       string `query:"bad_records" enum:"true,false" doc:"Of attempts that left records out; the text has those records alone."`
	After     string `query:"after" doc:"RFC 3339: of attempts that ended later."`
}

// query reads the parameters.
func (in *logInput) query() (stint.ExecutionID, stint.LogQuery, error) {
	q := stint.LogQuery{Operation: stint.OperationID(in.Operation), Search: in.Search}
	id, err := executionID(in.ID)
	if err != nil {
		return id, q, err
	}
	if q.Operation != "" {
		if _, _, err := q.Operation.Split(); err != nil {
			return id, q, refuse(http.StatusBadRequest, "bad_operation", "operation: %.80q; expected STAGE/NUMBER, as map/17", in.Operation)
		}
	}
	if err := checkSearch(in.Search); err != nil {
		return id, q, err
	}
	if q.Failed, err = flag("failed", in.Failed); err != nil {
		return id, q, err
	}
	if q.Bad, err = flag("bad_records", in.Bad); err != nil {
		return id, q, err
	}
	if in.After != "" {
		if q.After, err = time.Parse(time.RFC3339Nano, in.After); err != nil {
			return id, q, refuse(http.StatusBadRequest, "bad_time", "after: %.80q; expected a time as 2006-01-02T15:04:05Z", in.After)
		}
	}
	return id, q, nil
}

func flag(name, text string) (bool, error) {
	word, err := oneOf(name, text, []string{"true", "false"})
	return word == "true", err
}

type logOutput struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

func logOperation() huma.Operation {
	return huma.Operation{
		Method: http.MethodGet, Path: "/v1/executions/{id}/log", OperationID: "log",
		Summary: "What operations wrote to standard error, as far as it is kept, as text",
		Responses: map[string]*huma.Response{"200": {
			Description: "The text, with whatever bytes the program wrote",
			Content:     map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}
}

func (h *Handler) log(ctx context.Context, in *logInput) (*logOutput, error) {
	id, q, err := in.query()
	if err != nil {
		return nil, err
	}
	l, err := h.config.Service.Logs(ctx, id, q)
	if err != nil {
		return nil, err
	}
	return &logOutput{ContentType: "text/plain; charset=utf-8", Disposition: "attachment", Body: logText(&l, q)}, nil
}

// logText writes entries one after the other, each under a line that says whose
// it is. Who asks for bad records gets those alone.
func logText(l *stint.Logs, q stint.LogQuery) []byte {
	var b []byte
	for i := range l.Entries {
		e := &l.Entries[i]
		b = append(b, "== "+string(e.Operation)+" on "+string(e.Node)+", "+e.End.Format(time.RFC3339)+": "+string(e.Status)...)
		if e.Error != nil {
			b = append(b, ": "+e.Error.Error()...)
		}
		b = append(b, '\n')
		if !q.Bad {
			b = append(b, e.Text...)
		}
		if !bytes.HasSuffix(b, []byte("\n")) {
			b = append(b, '\n')
		}
		for _, r := range e.Bad {
			b = append(b, r.String()+"\n"...)
		}
	}
	if l.More {
		b = append(b, "== there is more, after "+l.Entries[len(l.Entries)-1].End.Format(time.RFC3339Nano)+"\n"...)
	}
	for _, n := range l.Missing {
		b = append(b, "== node "+string(n)+", which performed operations, cannot be asked now\n"...)
	}
	return b
}

type logsOutput struct {
	Body stint.Logs
}

func (h *Handler) logs(ctx context.Context, in *logInput) (*logsOutput, error) {
	id, q, err := in.query()
	if err != nil {
		return nil, err
	}
	l, err := h.config.Service.Logs(ctx, id, q)
	if err != nil {
		return nil, err
	}
	fill(&l)
	return &logsOutput{Body: l}, nil
}

type explainOutput struct {
	Body stint.Explanation
}

func (h *Handler) explain(ctx context.Context, in *executionInput) (*explainOutput, error) {
	id, err := executionID(in.ID)
	if err != nil {
		return nil, err
	}
	e, err := h.config.Service.Explain(ctx, id)
	if err != nil {
		return nil, err
	}
	fill(&e)
	return &explainOutput{Body: e}, nil
}
