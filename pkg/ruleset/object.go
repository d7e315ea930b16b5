package ruleset

import (
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// Object is a conntrack helper: an nftables object that rules assign to flows.
type Object struct {
	Name     string // in the table
	Kernel   string // the helper's name in the kernel
	Protocol string // "tcp" or "udp"
	IPv4Only bool
	Module   string // the kernel module that provides the helper
}

// HelperObject returns the object of a helper for one of its protocols.
func HelperObject(kind masq.HelperKind, a masq.Assignment) Object {
	return Object{Name: kind.Name + "-" + a.Protocol, Kernel: a.Kernel, Protocol: a.Protocol, IPv4Only: a.IPv4Only, Module: kind.Module}
}

// Helper returns the name of the object's helper in the configuration.
func (o Object) Helper() string { return strings.TrimSuffix(o.Name, "-"+o.Protocol) }
