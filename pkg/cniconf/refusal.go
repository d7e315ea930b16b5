package cniconf

import (
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Refusal is what Load refuses of the annotations of a pod, where everything that tells
// which pod it is can be read.
type Refusal struct {
	Network  string
	StateDir string
	Pod      masq.Pod
	// Faults has a line for each fault, maxRefusalFaults at most: a pod can have any
	// number of annotations.
	Faults []string
}

const maxRefusalFaults = 8

// LoadRefusal reads the faults of the annotations; found is false where there are none,
// or where it is not known to which network and pod they belong.
func LoadRefusal(stdin []byte, cniArgs string) (x Refusal, found bool) {
	r := newReader(stdin)
	c := r.conf()
	c.Pod = r.pod(cniArgs)
	for _, f := range r.faults {
		switch {
		case slices.Contains([]string{"stdin", "cniVersion", "name", "stateDir", argsPlace}, f.key):
			return Refusal{}, false
		case f.key == "runtimeConfig" && len(x.Faults) < maxRefusalFaults:
			x.Faults = append(x.Faults, f.String())
		}
	}
	x.Network, x.StateDir, x.Pod = c.Name, c.StateDir, c.Pod
	return x, len(x.Faults) > 0
}
