package api

import (
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

// plainEncoding has what a client takes said in one word. Whoever serves something
// compressed looks for the word only, and so takes a refusal ("gzip;q=0") for a wish.
func plainEncoding(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		header := c.Request().Header
		wish := "identity"
		if takesGzip(header.Values(echo.HeaderAcceptEncoding)) {
			wish = "gzip"
		}
		header.Set(echo.HeaderAcceptEncoding, wish)
		return next(c)
	}
}

// compress compresses answers for those who take it.
func compress() echo.MiddlewareFunc {
	return middleware.GzipWithConfig(middleware.GzipConfig{MinLength: 1024, Skipper: func(c echo.Context) bool {
		return isStream(c) || isDocsFile(c.Request().URL.Path)
	}})
}

// takesGzip reports whether an Accept-Encoding allows gzip (RFC 9110, 12.5.3). Who only
// says that anything will do is not meant: that is no wish.
func takesGzip(accept []string) bool {
	for _, element := range listOf(accept) {
		coding, parameters, _ := strings.Cut(element, ";")
		coding = strings.ToLower(strings.TrimSpace(coding))
		if coding == "gzip" || coding == "x-gzip" {
			return weight(parameters) > 0
		}
	}
	return false
}

// weight gives the q of a preference: 1 where there is none, 0 where it is no number.
func weight(parameters string) float64 {
	for part := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(part, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil || q > 1 {
				return 0
			}
			return q
		}
	}
	return 1
}
