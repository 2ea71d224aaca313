package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"

	"github.com/berth-project/berth/internal/tenant"
)

// upload is a file that was sent in the place of a JSON body.
type upload struct {
	name string
	data []byte
}

type uploadKey struct{}

// uploadOf gives the file of a request; nil: it has a JSON body.
func uploadOf(ctx context.Context) *upload {
	up, _ := ctx.Value(uploadKey{}).(*upload)
	return up
}

// uploaded reads the file of a request that has one: as its whole body, or as the field "file" of a
// form. nil: it has none. Only who may use it has it read.
func uploaded(r *http.Request, w http.ResponseWriter) (*upload, *problem) {
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" && kind != csvType && kind != xlsxType {
		return nil, nil
	}
	if err := principalOf(r.Context()).MayAll(tenant.Operate); err != nil {
		return nil, problemOf(err)
	}
	data, p := readBody(r, w)
	if p != nil {
		return nil, p
	}
	if kind != "multipart/form-data" {
		return &upload{data: data}, nil
	}
	malformed := newProblem(http.StatusBadRequest, httpCodes[http.StatusBadRequest], "the form could not be read; send the file as its field `file`")
	form := multipart.NewReader(bytes.NewReader(data), parameters["boundary"])
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) || err != nil {
			return nil, malformed
		}
		if part.FormName() != "file" {
			continue
		}
		file, err := io.ReadAll(part)
		if err != nil {
			return nil, malformed
		}
		return &upload{name: part.FileName(), data: file}, nil
	}
}
