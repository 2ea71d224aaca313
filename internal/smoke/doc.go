// Package smoke holds the tests that use Berth as its users do: the real program in
// processes of its own, a real Docker engine, real clients, a real browser. It owns no
// code of the product, and knows the product by its public API, its command line and
// its settings; the one look behind the scenes is at what must not be there: secrets
// in the clear, and rows that outlive their instance.
//
// A missing part fails the tests with how to get it. The settings of these tests:
//
//	BERTH_BIN       the program; built from this checkout if not set
//	BERTH_URL       a server that runs already, for TestSmoke alone; with BERTH_API_KEY
package smoke
