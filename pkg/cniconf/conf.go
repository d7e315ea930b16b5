package cniconf

import (
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Conf is what a network asks of the plugin, for one call.
type Conf struct {
	// CNIVersion is the one that the result has to be in. A configuration
	// without one is of version 0.1.0.
	CNIVersion string
	// Name is that of the network.
	Name string
	// IPAMType is the plugin that gives out addresses; empty in chained mode.
	IPAMType string
	// IPAMSubnets are the subnets that host-local, or an IPAM plugin that is
	// configured like it, gives out addresses of. Empty when they are unknown.
	IPAMSubnets []netip.Prefix
	// MTU is that of the link, in bytes; 0 is that of the uplink.
	MTU int
	// IPMasq is false where the network asks for the link alone.
	IPMasq bool
	// Policy is complete but for Subnets, which PolicyFor knows.
	Policy masq.Policy
	// PolicyNamed tells that the network names at least one key of a policy
	// itself. Where it does not, a node's own policy may take the place of
	// Policy; what the pod's annotations asked for is in Policy all the same.
	PolicyNamed bool
	// SpoofCheck drops packets of the container with a source not its own.
	SpoofCheck bool
	// StateDir is where attachments are recorded: absolute and clean.
	StateDir string
	// Pod is who the runtime says that the container is, in CNI_ARGS.
	Pod masq.Pod
	// PrevResult is the result of the plugin before in the chain, at ADD, or
	// the one of the whole ADD, at CHECK and DEL. Nil at ADD in main mode.
	// Its lists hold no nil, each address is set, and each index of an
	// interface is within the interfaces.
	PrevResult *types100.Result
	// ValidAttachments are those that GC has to leave. Nil says that the
	// runtime gave no list, which is not the same as an empty one: libcni
	// writes null for a list without entries.
	ValidAttachments []types.GCAttachment
}

// Chained reports whether another plugin made the link. A result from before
// does not tell by itself: CHECK and DEL have one in main mode too.
func (c *Conf) Chained() bool { return c.PrevResult != nil && c.IPAMType == "" }

// Load reads the configuration that a runtime gives on stdin and in CNI_ARGS. An error is
// a *types.Error that lists every fault; the package documentation has its codes.
func Load(stdin []byte, cniArgs string) (*Conf, error) {
	r, err := newReader(stdin)
	if err != nil {
		return nil, err
	}
	r.unknownKeys()
	r.repeatedKeys()
	c := r.conf()
	c.Pod = r.pod(cniArgs)
	if err := r.err(c.Name); err != nil {
		return nil, err
	}
	return c, nil
}

// conf reads every key.
func (r *reader) conf() *Conf {
	c := &Conf{
		CNIVersion: r.version(),
		Name:       r.name(),
		IPMasq:     r.boolean("ipMasq", true),
		SpoofCheck: r.boolean("spoofCheck", true),
		StateDir:   r.stateDir(),
	}
	policy, egress := r.policy()
	r.text("type", "give the name of the plugin, \"masq\"")
	r.backend()
	if ipam, ok := r.ipam(); ok {
		c.IPAMType = r.ipamType(ipam)
		c.IPAMSubnets = r.ipamSubnets(ipam, c.IPAMType)
	}
	c.MTU = r.mtu(c.IPAMSubnets)
	if c.IPAMType == hostLocal { // another plugin may have more subnets under other keys
		r.egressFamilies(egress, c.IPAMSubnets)
	}
	r.annotations(&policy)
	c.Policy = policy
	c.PolicyNamed = slices.ContainsFunc(policyKeys, func(key string) bool {
		_, given := r.value(key)
		return given
	})
	c.PrevResult = r.prevResult(c.CNIVersion)
	c.ValidAttachments = r.validAttachments()
	return c
}
