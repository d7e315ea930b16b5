package cniconf

import (
	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Refusal is a pod with annotations that the network does not allow or that are faulty.
type Refusal struct {
	Network  string
	StateDir string
	Pod      masq.Pod
	// Faults has one line for each fault, maxRefusalFaults at most: a pod can have any
	// number of annotations.
	Faults []string
}

const maxRefusalFaults = 8

// LoadRefusal returns the faults of the annotations. found is false without a fault, and if
// the network or the pod is unknown.
func LoadRefusal(stdin []byte, cniArgs string) (x Refusal, found bool) {
	r, err := newReader(stdin)
	if err != nil {
		return Refusal{}, false
	}
	r.repeatedKeys("cniVersion", "name", "stateDir")
	r.version()
	x = Refusal{Network: r.name(), StateDir: r.stateDir(), Pod: r.pod(cniArgs)}
	if r.IsFaulty() || r.unsupported.IsFaulty() || r.args.IsFaulty() {
		return Refusal{}, false
	}
	policy, _ := r.policy()
	annotations := &reader{top: r.top}
	annotations.annotations(&policy)
	for _, f := range annotations.Faults() {
		if len(x.Faults) < maxRefusalFaults {
			x.Faults = append(x.Faults, f.Error())
		}
	}
	return x, len(x.Faults) > 0
}
