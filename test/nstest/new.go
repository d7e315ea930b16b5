package nstest

// TB is the part of testing.TB that New needs. Programs that import this package do not import
// package testing.
type TB interface {
	Helper()
	TempDir() string
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// testPrefix is the prefix of the labs of tests.
const testPrefix = "nt"

// New makes a Lab that ends with the test, after removing what killed tests have left. The test
// fails if the lab cannot be made or removed; it is never skipped.
func New(t TB) *Lab {
	t.Helper()
	// The first TempDir of a test registers the removal of all its directories, and cleanups run
	// in reverse order. Registered before Close, the removal comes after it. Otherwise a program
	// of the lab that still runs would write its files again after they were removed.
	t.TempDir()
	if err := Sweep(testPrefix); err != nil {
		t.Fatalf("sweep: %v", err)
	}
	lab, err := Make(testPrefix)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	return lab
}
