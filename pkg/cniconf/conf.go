package cniconf

import (
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Conf is the configuration of a network for one call of the plugin.
type Conf struct {
	// CNIVersion is the version of the result. Without cniVersion it is 0.1.0.
	CNIVersion string
	// Name is the name of the network.
	Name string
	// IPAMType is the name of the IPAM plugin, empty in chained mode.
	IPAMType string
	// IPAMSubnets are the subnets of host-local, or of an IPAM plugin with the same
	// configuration. They are empty if unknown.
	IPAMSubnets []netip.Prefix
	// MTU is the MTU of the link in bytes. 0 is the MTU of the uplink.
	MTU int
	// MTUProbing is true if TCP in the container finds the segment size that the path can
	// carry (RFC 4821). It is false in chained mode.
	MTUProbing bool
	// IPMasq is false if masq only makes the link, without rules.
	IPMasq bool
	// Policy lacks only Subnets, which PolicyFor adds.
	Policy masq.Policy
	// PolicyNamed is true if the network gives at least one key of a policy. Otherwise the
	// policy of the node applies, changed by the annotations of the pod.
	PolicyNamed bool
	// HelpersRequired is true if ADD must fail while masqd does not serve a helper of Policy.
	// It has no effect on the policy of the node.
	HelpersRequired bool
	// SpoofCheck is true if packets whose source address is not the container's are dropped.
	SpoofCheck bool
	// StateDir is the directory of the records: absolute and clean.
	StateDir string
	// Pod is the pod of the container, from CNI_ARGS.
	Pod masq.Pod
	// PrevResult is the result of the previous plugin of the chain at ADD, and the result of
	// the whole ADD at CHECK and DEL. It is nil at ADD in main mode. Its lists contain no
	// nil, each address is set, and each index of an interface is valid.
	PrevResult *types100.Result
	// ValidAttachments are the attachments that GC must keep. Nil means that the runtime
	// gave no list. An empty list, which libcni writes as null, means that GC keeps no
	// attachment.
	ValidAttachments []types.GCAttachment
}

// Chained reports whether another plugin made the link. PrevResult alone does not show that:
// CHECK and DEL have it in main mode too.
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
		CNIVersion:      r.version(),
		Name:            r.name(),
		IPMasq:          r.boolean("ipMasq", true),
		HelpersRequired: r.boolean("helpersRequired", true),
		SpoofCheck:      r.boolean("spoofCheck", true),
		StateDir:        r.stateDir(),
	}
	policy, egress := r.policy()
	r.text("type", "give the name of the plugin, \"masq\"")
	r.backend()
	if ipam, ok := r.ipam(); ok {
		c.IPAMType = r.ipamType(ipam)
		c.IPAMSubnets = r.ipamSubnets(ipam, c.IPAMType)
	}
	c.MTU = r.mtu(c.IPAMSubnets)
	c.MTUProbing = r.mtuProbing()
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
