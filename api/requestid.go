package api

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/requestid"
	"github.com/berth-project/berth/internal/tenant"
)

// named gives each request an id, which the answer, the log and the request's context
// (requestid.Of) have. One that the client or a proxy has made is taken over where it is
// harmless in a log, and does not look like a token.
func named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requestid.Of(r.Context()) == "" {
			id := r.Header.Get(echo.HeaderXRequestID)
			if !requestid.Safe(id) || strings.Contains(id, tenant.TokenPrefix) {
				id = requestid.New()
			}
			r = r.WithContext(requestid.With(r.Context(), id))
		}
		w.Header().Set(echo.HeaderXRequestID, requestid.Of(r.Context()))
		next.ServeHTTP(w, r)
	})
}
