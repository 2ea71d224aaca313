// Package clients holds the tests of what others make for Berth's users: clients that
// generators write from the OpenAPI document, linters of that document, Node's drivers of
// MySQL and Redis, and other projects' test suites. All run against a real `berth dev`.
//
// generators is a Go module of its own, and js a folder of npm packages: nothing of
// either gets into Berth. What generators write is made anew by each run and not kept.
//
// A missing part fails the tests with how to get it. BERTH_BIN is the program, built from
// this checkout if not set.
package clients
