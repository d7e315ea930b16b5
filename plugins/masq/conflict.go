package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// conflicts resolves address conflicts of an ADD with other attachments of the node. It is
// called only if the kernel has a route or an element of another attachment for one of the
// addresses, since it reads all records.
type conflicts interface {
	// resolve makes the addresses of an attachment free, or returns an error. identity names
	// an attachment that has one of the addresses in the kernel. It is empty if only the
	// records show such an attachment.
	resolve(rec *store.Record, identity string) error
}

// keepLive resolves conflicts in main mode: a live attachment keeps its address, and ADD
// fails. A dead attachment is removed.
type keepLive struct {
	*node
	conf *cniconf.Conf
	args *skel.CmdArgs
}

func (c keepLive) resolve(rec *store.Record, identity string) error {
	others, err := c.holders(*rec)
	if err != nil {
		return failed(codeState, "cannot tell which attachment has an address of "+rec.Identity(), err)
	}
	known := false
	for _, o := range others {
		known = known || o.Identity() == identity
		live, err := c.isLive(o)
		if err != nil {
			return failed(codeLink, "cannot tell whether "+o.Identity()+" is live", err)
		}
		if live {
			return refusal(*rec, o)
		}
		var leases ipamPlugin
		if o.Network == rec.Network && o.IPAM != "" && o.IPAM == c.conf.IPAMType {
			leases = ipamFor(o.IPAM, &skel.CmdArgs{
				ContainerID: o.ContainerID, IfName: o.Interface, StdinData: c.args.StdinData, Path: c.args.Path,
			})
		}
		if err := c.release(o, leases); err != nil {
			return err
		}
	}
	if known || identity == "" {
		return nil
	}
	return c.resolveUnrecorded(*rec, identity)
}

// resolveElements resolves conflicts with elements of the policies' maps.
func (c keepLive) resolveElements(rec *store.Record) error {
	identities, err := c.rules.Holders(rec.Attachment)
	if err != nil {
		return failed(codeRules, "cannot read the rules", err)
	}
	for _, identity := range identities {
		if err := c.resolve(rec, identity); err != nil {
			return err
		}
	}
	return nil
}

// resolveUnrecorded resolves the conflict with an attachment without a valid record. With a
// link, or a record that cannot be read, it may be live. Elements alone are no evidence: each
// sync of masqd removes them.
func (c keepLive) resolveUnrecorded(rec store.Record, identity string) error {
	key, ok := masq.ParseIdentity(identity)
	if !ok {
		return nil
	}
	_, _, err := c.records.Get(key)
	if err != nil {
		return failed(codeState, "cannot tell whether "+identity+" is live, which has an address of "+rec.Identity(), err)
	}
	live, err := c.links.Find(masq.Attachment{Key: key}.HostLink(0))
	if err != nil && !errors.Is(err, veth.ErrAliasMismatch) {
		return failed(codeLink, "cannot look up the link of "+identity, err)
	}
	if live != "" {
		return refusal(rec, store.Record{Attachment: masq.Attachment{Key: key, Addresses: rec.Addresses}})
	}
	return nil
}

// isLive reports whether an attachment may have a container. It returns false only with
// proof: during an ADD, the record is not ready and the link may not exist.
func (n *node) isLive(rec store.Record) (bool, error) {
	if !rec.Ready {
		if rec.NetNS == "" {
			return true, nil
		}
		_, err := os.Lstat(rec.NetNS)
		return !errors.Is(err, os.ErrNotExist), nil
	}
	boot, err := veth.BootID()
	if err != nil {
		return true, err
	}
	q := store.ContainerCheck{Probes: store.Probes{Boot: boot, HasLink: n.links.HasLink, Aliases: n.links.Aliases, NetNS: veth.NetNSState}}
	v, err := q.Check(&rec)
	return v.GoneReason == "", err
}

// refusal returns the error of an ADD with an address of a live container.
func refusal(rec, holder store.Record) error {
	var shared []string
	for _, a := range rec.Addresses {
		if slices.Contains(holder.Addresses, a) {
			shared = append(shared, a.String())
		}
	}
	address := strings.Join(shared, ", ")
	holderName := fmt.Sprintf("container %s, interface %s, network %s", holder.ContainerID, holder.Interface, holder.Network)
	if holder.Name != "" {
		holderName = fmt.Sprintf("pod %s/%s, %s", holder.Namespace, holder.Name, holderName)
	}
	if !holder.Chained {
		holderName += ", link " + holder.HostName()
	}
	remedy := fmt.Sprintf("networks %s and %s: give them subnets that do not overlap, or delete that container first", rec.Network, holder.Network)
	if holder.Network == rec.Network {
		remedy = fmt.Sprintf("network %s: the IPAM plugin has lost the lease of that container; ADD again to be given another address, or delete that container first", rec.Network)
	}
	return types.NewError(codeAddress, fmt.Sprintf("%s is the address of a live container: %s", address, holderName), remedy)
}

// takeover resolves conflicts in chained mode: the previous plugin assigned the address, so
// the new attachment gets it. The record lists the attachments that had it (replaced). DEL
// gives the address back to the last of them that still exists.
type takeover struct{ *node }

func (c takeover) resolve(rec *store.Record, _ string) error {
	others, err := c.holders(*rec)
	if err != nil && len(others) == 0 {
		return failed(codeState, "cannot tell which attachment has an address of "+rec.Identity(), err)
	}
	var live []store.Record
	for _, o := range others {
		if is, err := c.isLive(o); err == nil && !is {
			if err := c.release(o, nil); err != nil {
				return err
			}
			continue
		}
		live = append(live, o)
		if !slices.Contains(rec.Replaced, o.Key) {
			rec.Replaced = append(rec.Replaced, o.Key)
		}
	}
	if len(live) == 0 {
		return nil
	}
	warn("ADD: %s", store.Duplicate{Address: commonAddress(*rec, live), Holders: append(live, *rec)})
	return failed(codeState, "cannot write the record", c.records.PutReplacing(*rec))
}

// holders returns the other attachments whose records have an address of rec.
func (n *node) holders(rec store.Record) ([]store.Record, error) {
	all, err := n.records.WithAddresses(rec.Addresses...)
	return slices.DeleteFunc(all, func(o store.Record) bool { return o.Key == rec.Key }), err
}

func shareAddress(a, b masq.Attachment) bool {
	return slices.ContainsFunc(a.Addresses, func(x netip.Addr) bool { return slices.Contains(b.Addresses, x) })
}

// commonAddress returns an address that rec and one of others have.
func commonAddress(rec store.Record, others []store.Record) netip.Addr {
	for _, o := range others {
		for _, a := range o.Addresses {
			if slices.Contains(rec.Addresses, a) {
				return a
			}
		}
	}
	return netip.Addr{}
}

// addLinkResolving makes the link. If the node routes one of its addresses to another link,
// it resolves the conflict and tries again.
func (n *node) addLinkResolving(p veth.Pair, rec *store.Record, c conflicts) (veth.Link, error) {
	for range len(p.Addresses) {
		link, err := n.links.Add(p)
		taken, is := errors.AsType[*veth.AddressInUseError](err)
		if !is {
			return link, err
		}
		if err := c.resolve(rec, taken.Identity); err != nil {
			return veth.Link{}, err
		}
		if taken.Identity == "" {
			return veth.Link{}, err // the route is of another program
		}
	}
	return n.links.Add(p)
}
