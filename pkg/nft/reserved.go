package nft

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// ReservedPorts returns the ports that the table reserves for the node, or none if the
// table does not exist. The desired rules of policies follow from these ports, not from
// the services that the node has at the moment.
func (c *Conn) ReservedPorts() (out []masq.PortRange, err error) {
	err = retry(func() error {
		var have set
		err := c.dump(func() { have.bounds = nil }, unix.NFT_MSG_GETSETELEM, elementList(string(ruleset.ReservedSet), nil), func(b []byte) error {
			return eachElement(b, have.takeBound)
		})
		if errors.Is(err, unix.ENOENT) {
			err = nil
		}
		out = portsOf(inOrder(have.bounds))
		return err
	})
	return out, explain(err)
}

// reservedPorts is ReservedPorts after the sets have been listed.
func (c *Conn) reservedPorts(have *observed) ([]masq.PortRange, error) {
	want := ruleset.SetName{Kind: ruleset.ReservedSet}.Set()
	sig, err := signatureOf(want)
	x := have.sets[want.Name]
	if err != nil || x == nil || x.signature != sig {
		return nil, err // a table of an earlier version has no such set
	}
	if err := c.ranges(want.Name, x); err != nil {
		return nil, fmt.Errorf("read the reserved ports: %w", err)
	}
	return portsOf(x.bounds), nil
}

// reserve returns the ports to reserve: the table's, and the ports that the node's services
// have now. It only adds ports, because a service may be restarting; masqd removes ports.
// grown says that the policies in the table have to change.
func reserve(have *observed, fresh []masq.PortRange) (ports []masq.PortRange, grown bool) {
	known := ruleset.MergePorts(have.reserved)
	ports = ruleset.MergePorts(slices.Concat(known, fresh))
	return ports, have.exists && len(ports) > 0 && !slices.Equal(ports, known)
}

// withPolicies adds to a table the chains of other policies that exist in the kernel.
func withPolicies(t, others ruleset.Table, have *observed) ruleset.Table {
	known := frameOf(t)
	for _, c := range others.Chains {
		if ruleset.ChainDependsOnPolicies(c.Name) && have.chains[c.Name] != nil && !known[ref{KindChain, "", c.Name}] {
			t.Chains = append(t.Chains, c)
		}
	}
	return t
}
