package api

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/tenant"
)

// operations returns what makes the operations of one tag, whose paths begin alike: each with
// the right that it takes, its status where it succeeds, and the errors that are its own.
func operations(tag, under string) func(id, method, path, summary string, right tenant.Right, status int, errors ...int) huma.Operation {
	return func(id, method, path, summary string, right tenant.Right, status int, errors ...int) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: method, Path: under + path, Summary: summary, Tags: []string{tag}, Errors: errors, DefaultStatus: status, Metadata: needs(right),
		}
	}
}
