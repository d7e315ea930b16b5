// Package assert has the checks that tests of several packages share. Each of them ends the
// test at the first failure.
package assert

import (
	"testing"
	"time"
)

// Must returns a function that fails the test if err is not nil, and returns v otherwise:
//
//	f := assert.Must(os.Open(path))(t)
func Must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		NoError(t, err)
		return v
	}
}

// NoError fails the test if err is not nil.
func NoError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// timeout is the time that Until waits. It is long, since a loaded machine is no fault.
const timeout = 5 * time.Minute

// Until calls f until it returns true. what describes the condition: "the record is removed".
func Until(t testing.TB, what string, f func() bool) {
	t.Helper()
	end := time.After(timeout)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-end:
			t.Fatalf("timeout: waited %s until %s", timeout, what)
		case <-tick.C:
		}
	}
}
