package api

import (
	"net"

	"github.com/labstack/echo/v4"

	"github.com/berth-project/berth/internal/tenant"
)

// origin returns where a request comes from, for the record.
func origin(c echo.Context) tenant.Origin {
	return tenant.Origin{Address: clientAddress(c), Request: c.Response().Header().Get(echo.HeaderXRequestID)}
}

// clientAddress returns where a request comes from.
func clientAddress(c echo.Context) string {
	address, _, err := net.SplitHostPort(c.Request().RemoteAddr)
	if err != nil {
		return c.Request().RemoteAddr
	}
	return address
}
