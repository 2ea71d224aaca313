package api

import (
	"net"

	"github.com/labstack/echo/v4"
)

// clientAddress returns where a request comes from.
func clientAddress(c echo.Context) string {
	address, _, err := net.SplitHostPort(c.Request().RemoteAddr)
	if err != nil {
		return c.Request().RemoteAddr
	}
	return address
}
