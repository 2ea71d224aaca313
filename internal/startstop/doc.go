// Package startstop holds the tests of how the real program starts and ends: what it
// refuses to start on, that it touches nothing then, and that a signal ends it in order at
// any moment. It owns no code of the product.
//
// BERTH_BIN names the program; it is built from this checkout if that is not set.
package startstop
