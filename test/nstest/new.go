package nstest

// TB is what New needs of a testing.TB. With it, a program that imports this
// package does not get the testing package.
type TB interface {
	Helper()
	TempDir() string
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// testPrefix is the prefix of the labs of tests.
const testPrefix = "nt"

// New makes a Lab that ends with the test, after it has removed what tests that
// were killed left behind. The test fails where it cannot have one, and when the
// lab cannot be cleared away; it is never skipped.
func New(t TB) *Lab {
	t.Helper()
	// testing removes the directories of a test when it reaches the cleanup that the first
	// TempDir registered, the last cleanup first. Register it before Close: a program of the
	// lab that still runs would write its files again after they were removed.
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
