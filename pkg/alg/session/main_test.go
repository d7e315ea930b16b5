package session

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestMain checks that no goroutine is left.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	deadline := time.Now().Add(5 * time.Minute)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before && code == 0 {
		b := make([]byte, 1<<20)
		fmt.Printf("%d goroutines are left:\n%s\n", n-before, b[:runtime.Stack(b, true)])
		code = 1
	}
	os.Exit(code)
}
