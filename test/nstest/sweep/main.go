// Sweep removes the namespaces, programs and cgroups that killed tests, benchmarks and
// demonstrations left on this machine. It does not touch those of running ones. It needs root.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/masq-cni/masq-cni/test/nstest"
)

func main() {
	var errs []error
	for _, prefix := range []string{"nt", "mbench", "masqdemo"} { // of tests, benchmarks, demonstrations
		errs = append(errs, nstest.Sweep(prefix))
	}
	if err := errors.Join(append(errs, nstest.SweepCgroups())...); err != nil {
		fmt.Fprintln(os.Stderr, "sweep:", err)
		os.Exit(1)
	}
}
