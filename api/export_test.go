package api

import (
	"strings"

	"github.com/berth-project/berth/internal/tenant"
)

// Routes gives every route of the API, as "GET /path", and the right that each operation of
// the document declares.
func Routes(cfg Config) (all []string, declared map[string]tenant.Right) {
	s := newServer(cfg)
	e := s.echo()
	for _, r := range e.Routes() {
		all = append(all, r.Method+" "+r.Path)
	}
	declared = map[string]tenant.Right{}
	for path, item := range s.document.Paths {
		for _, op := range operationsOf(item) {
			declared[op.Method+" "+strings.NewReplacer("{", ":", "}", "").Replace(path)] = rightOf(op)
		}
	}
	return all, declared
}
