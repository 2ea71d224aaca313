package api

import (
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/fault"
)

// refused is what every answer to a request with wrong fields says in general.
const refused = "the request was refused; nothing was changed"

// humaError turns what huma finds wrong with a request into a problem. The values
// that were sent are not repeated: they may be secrets.
func humaError(status int, message string, errs ...error) huma.StatusError {
	return humaErrorOf(nil, status, message, errs...)
}

// humaErrorOf does so where it is known which operation was asked for.
func humaErrorOf(in huma.Context, status int, message string, errs ...error) huma.StatusError {
	details := make([]huma.ErrorDetail, len(errs))
	for i, err := range errs {
		details[i] = detailOf(err)
	}
	switch {
	case status == http.StatusBadRequest:
		return newProblem(status, httpCodes[status], whyMalformed(message, details))
	case status == http.StatusUnprocessableEntity && anyOf(details, notAnObject):
		return newProblem(http.StatusBadRequest, httpCodes[http.StatusBadRequest], "the body must be a JSON object")
	case status == http.StatusUnprocessableEntity && anyOf(details, emptyInPath):
		return newProblem(http.StatusNotFound, fault.CodeNotFound, "a segment of the path is empty; /docs lists all endpoints")
	case status == http.StatusUnprocessableEntity:
		p := newProblem(status, fault.CodeInvalid, refused)
		for _, d := range details {
			if name, ok := missing(d); ok {
				p.Errors = append(p.Errors, problemField{Field: name, Message: "is required"})
				continue
			}
			p.Errors = append(p.Errors, problemField{Field: fieldName(d.Location), Message: fieldMessage(d, operationOf(in))})
		}
		return p
	case status == http.StatusRequestEntityTooLarge:
		return newProblem(status, httpCodes[status], "the body is larger than 1 MiB")
	case status == http.StatusUnsupportedMediaType:
		return newProblem(status, httpCodes[status], "the body must be JSON; send `Content-Type: application/json`")
	}
	code, ok := httpCodes[status]
	if !ok {
		code = fault.CodeInternal
	}
	return newProblem(status, code, message)
}

func detailOf(err error) huma.ErrorDetail {
	var d huma.ErrorDetailer
	if errors.As(err, &d) {
		return *d.ErrorDetail()
	}
	return huma.ErrorDetail{Message: err.Error()}
}

func anyOf(details []huma.ErrorDetail, is func(huma.ErrorDetail) bool) bool {
	for _, d := range details {
		if is(d) {
			return true
		}
	}
	return false
}

func notAnObject(d huma.ErrorDetail) bool {
	return d.Location == "body" && d.Message == "expected object"
}

func emptyInPath(d huma.ErrorDetail) bool { return strings.HasPrefix(d.Location, "path.") }

// whyMalformed says what is wrong with a body that could not be read at all.
func whyMalformed(message string, details []huma.ErrorDetail) string {
	if len(details) == 0 {
		return message
	}
	if strings.Contains(details[0].Message, "cannot unmarshal number") {
		return "the body has a number that is too large"
	}
	return "the body is not valid JSON: " + details[0].Message
}

// missing gives the field that must be there and is not; huma names what it is missing
// from.
func missing(d huma.ErrorDetail) (string, bool) {
	name, ok := strings.CutPrefix(d.Message, "expected required property ")
	return strings.TrimSuffix(name, " to be present"), ok
}

// fieldName gives a field as the client wrote it: without "body." in front.
func fieldName(location string) string {
	for _, in := range []string{"body.", "query.", "path.", "header."} {
		if name, ok := strings.CutPrefix(location, in); ok {
			return name
		}
	}
	return location
}

func operationOf(in huma.Context) string {
	if in == nil || in.Operation() == nil {
		return ""
	}
	return in.Operation().OperationID
}

// bodies has the fields of an operation's body.
var bodies = map[string]func() string{
	"create-instance": fieldsOf[createBody], "create-webhook": fieldsOf[createWebhookBody], "change-webhook": fieldsOf[changeWebhookBody],
	"rotate-webhook": fieldsOf[rotateBody],
}

func fieldMessage(d huma.ErrorDetail, operation string) string {
	switch {
	case d.Message == "unexpected property" && strings.HasPrefix(d.Location, "body.resources."):
		return "unknown field; known fields: " + fieldsOf[resourcesBody]()
	case d.Message == "unexpected property":
		if fields := bodies[operation]; fields != nil {
			return "unknown field; known fields: " + fields()
		}
		return "unknown field"
	case strings.HasPrefix(d.Message, "expected value to match exactly one schema"): // only amounts have two
		return `must be a number of bytes, or a string such as "512mb"`
	}
	return d.Message
}

// fieldsOf lists the JSON names of a type's fields.
func fieldsOf[T any]() string {
	var names []string
	for f := range reflect.TypeFor[T]().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
