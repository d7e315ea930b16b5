package nstest

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// blackhole is the name of the nftables table that DropPMTU makes.
const blackhole = "blackhole"

// DropPMTU makes the namespace drop ICMP "fragmentation needed" and ICMPv6 "packet too big",
// both its own and forwarded ones, like a misconfigured router that breaks path MTU discovery.
// The kernel's rate limits cannot do that: they exempt these two messages (icmpv4_mask_allow,
// icmpv6_mask_allow).
func (n *NS) DropPMTU() error {
	err := n.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: blackhole})
		for name, hook := range map[string]*nftables.ChainHook{
			"output": nftables.ChainHookOutput, "forward": nftables.ChainHookForward,
		} {
			chain := c.AddChain(&nftables.Chain{
				Name: name, Table: table, Type: nftables.ChainTypeFilter,
				Hooknum: hook, Priority: nftables.ChainPriorityFilter,
			})
			c.AddRule(dropICMP(chain, unix.IPPROTO_ICMP, icmpUnreachable, icmpFragNeeded))
			c.AddRule(dropICMP(chain, unix.IPPROTO_ICMPV6, icmp6TooBig))
		}
		return c.Flush()
	})
	return describe(err, "drop path MTU messages in %s", n.Name())
}

// PMTUDropped is the number of messages that DropPMTU has dropped.
func (n *NS) PMTUDropped() (packets uint64, err error) {
	err = n.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := &nftables.Table{Family: nftables.TableFamilyINet, Name: blackhole}
		for _, chain := range []string{"output", "forward"} {
			rules, err := c.GetRules(table, &nftables.Chain{Name: chain, Table: table})
			if err != nil {
				return fmt.Errorf("chain %s: %w", chain, err)
			}
			for _, r := range rules {
				for _, e := range r.Exprs {
					if counter, ok := e.(*expr.Counter); ok {
						packets += counter.Packets
					}
				}
			}
		}
		return nil
	})
	return packets, err
}

// dropICMP returns the rule `meta l4proto P @th,0,N HEAD counter drop`.
func dropICMP(chain *nftables.Chain, proto byte, head ...byte) *nftables.Rule {
	return &nftables.Rule{Table: chain.Table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{
			DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: uint32(len(head)),
		},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: head},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}}
}
