package veth

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Kind is the kind of a Difference's object.
type Kind string

// The kinds of objects of a link. The comments give the value of Object.
const (
	KindInterface Kind = "interface" // its name
	KindAlias     Kind = "alias"     // the interface's name, as for the kinds below until KindPeer
	KindState     Kind = "state"     // the administrative state: up or down
	KindMTU       Kind = "mtu"
	KindGroup     Kind = "group"
	KindMAC       Kind = "mac"
	KindPeer      Kind = "peer"      // the other end
	KindAddress   Kind = "address"   // 10.88.0.5/16; on the node the gateway, fe80::…/64
	KindRoute     Kind = "route"     // 10.88.0.5/32; in a container "default via 169.254.1.1"
	KindProxy     Kind = "proxy"     // the address that the host's end answers ARP for
	KindNeighbor  Kind = "neighbor"  // the address whose MAC the container knows
	KindSetting   Kind = "setting"   // net.ipv4.conf.eth0.forwarding
	KindNamespace Kind = "namespace" // path of the container's network namespace
)

// Side is one of the two ends of a link.
type Side uint8

// The sides. A Difference of the node's own settings, such as forwarding of an
// uplink, has NodeSide and no Identity.
const (
	NodeSide Side = iota
	ContainerSide
)

// Difference is one object of a link that differs from what Add made.
type Difference struct {
	// Identity is the attachment's (masq.Key.Identity), and empty for settings of the
	// node's uplinks.
	Identity string
	Side     Side
	Kind     Kind
	Reason   masq.Reason
	// Interface is the name, on its side, of the interface that has the object.
	Interface string
	Object    string
	// Have and Want are the values of a Changed object, as ip(8) and sysctl(8) write
	// them. Both may be empty for a Missing object. Have of a NotChecked object is the
	// cause.
	Have, Want string

	setting setting    // the setting of a KindSetting, which Repair writes
	addr    netip.Addr // the destination of a KindRoute of the node, for Repair
}

// Name returns the object's name, with the interface that has the object.
func (d Difference) Name() string {
	switch d.Kind {
	case KindAddress, KindRoute, KindProxy, KindNeighbor:
		return d.Interface + " " + d.Object
	}
	return d.Object
}

// Found says how the object differs or, if it is NotChecked, why; for output after Name.
func (d Difference) Found() string {
	switch d.Reason {
	case masq.NotChecked:
		return d.Have
	case masq.Changed:
		return fmt.Sprintf("%s instead of %s", d.Have, d.Want)
	}
	return d.Reason.String()
}

// String returns the difference as one line.
func (d Difference) String() string {
	where := "interface " + d.Interface
	if d.Side == ContainerSide {
		where += " of the container"
	}
	switch {
	case d.Reason == masq.NotChecked:
		return fmt.Sprintf("%s %s is not checked: %s", d.Kind, d.Object, d.Have)
	case d.Reason == masq.Missing && d.Kind == KindInterface && d.Side == NodeSide:
		return where + " of the node is missing"
	case d.Reason == masq.Missing && d.Kind == KindInterface:
		return where + " is missing"
	case d.Reason == masq.Missing && d.Kind == KindNamespace:
		return "network namespace " + d.Object + " is missing"
	case d.Reason == masq.Missing && d.Kind == KindRoute && d.Side == NodeSide:
		return fmt.Sprintf("the node has no route to %s through %s", d.Object, where)
	case d.Reason == masq.Missing:
		return fmt.Sprintf("%s %s is missing from %s", d.Kind, d.Object, where)
	case d.Kind == KindRoute && d.Side == NodeSide:
		return fmt.Sprintf("the node's route to %s leads to interface %s instead of %s", d.Object, d.Have, d.Want)
	case d.Kind == KindInterface:
		return fmt.Sprintf("interface %s is called %s", d.Want, d.Have)
	case d.Kind == KindState:
		return fmt.Sprintf("%s is %s", where, d.Have)
	case d.Kind == KindSetting:
		return fmt.Sprintf("%s is %s instead of %s", d.Object, d.Have, d.Want)
	case d.Kind == KindProxy:
		return fmt.Sprintf("%s answers for %s after %s instead of %s", where, d.Object, d.Have, d.Want)
	case d.Kind == KindNeighbor, d.Kind == KindRoute:
		return fmt.Sprintf("%s: %s %s has %s instead of %s", where, d.Kind, d.Object, d.Have, d.Want)
	}
	return fmt.Sprintf("%s has %s %s instead of %s", where, d.Kind.word(), d.Have, d.Want)
}

// word returns the kind as a word within a sentence.
func (k Kind) word() string {
	if k == KindMTU || k == KindMAC {
		return strings.ToUpper(string(k))
	}
	return string(k)
}
