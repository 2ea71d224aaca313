package api

import (
	"net/http"
	"net/url"
	"strings"
)

// decodePath has a path mean the same however it is encoded, as RFC 3986, 6.2.2.2,
// says: echo takes the encoded path for routing, and hands its segments on as they are.
// A segment with a slash in it stays encoded: it is part of a name, never a separator,
// and no name of Berth's has one.
func decodePath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawPath != "" {
			decoded := *r.URL
			decoded.RawPath = routed(r.URL.EscapedPath())
			if decoded.RawPath == decoded.Path {
				decoded.RawPath = ""
			}
			r = r.WithContext(r.Context())
			r.URL = &decoded
		}
		next.ServeHTTP(w, r)
	})
}

func routed(escaped string) string {
	segments := strings.Split(escaped, "/")
	for i, s := range segments {
		if plain, err := url.PathUnescape(s); err == nil && !strings.Contains(plain, "/") {
			segments[i] = plain
		}
	}
	return strings.Join(segments, "/")
}
