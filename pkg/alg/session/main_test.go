package session

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain checks that no goroutine of this package is left.
func TestMain(m *testing.M) {
	code := m.Run()
	left := goroutines()
	for deadline := time.Now().Add(5 * time.Minute); len(left) > 0 && time.Now().Before(deadline); left = goroutines() {
		time.Sleep(10 * time.Millisecond)
	}
	if len(left) > 0 && code == 0 {
		fmt.Printf("%d goroutines are left:\n%s\n", len(left), strings.Join(left, "\n\n"))
		code = 1
	}
	os.Exit(code)
}

// goroutines returns the stacks of all others that run code of this package.
func goroutines() []string {
	b := make([]byte, 16<<20)
	all := strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n")
	var out []string
	for _, stack := range all[1:] { // the first is this one
		if strings.Contains(stack, "/pkg/alg/session.") {
			out = append(out, stack)
		}
	}
	return out
}
