package api

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/berth-project/berth/internal/tenant"
)

// rightName is where an operation declares which right it takes. The rooms enforce it, and
// the document shows it; a test holds the one against the other for every route and role.
const rightName = "right"

// needs declares which right an operation takes. tenant.Anybody opens it to callers that are
// not known.
func needs(right tenant.Right) map[string]any { return map[string]any{rightName: right} }

// rightOf returns the right that an operation declares; empty: none.
func rightOf(op *huma.Operation) tenant.Right {
	right, _ := op.Metadata[rightName].(tenant.Right)
	return right
}
