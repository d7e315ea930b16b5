package cnidir

import (
	"encoding/json"
	"fmt"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// head has the fields of a list that show whether its network masquerades without masq.
type head struct {
	network  string // the list's name
	Type     string
	Bridge   string
	IPMasq   *bool
	Delegate struct{ IPMasq *bool }
}

// masquerader is a network with a daemon that masquerades. The list does not show that.
type masquerader struct {
	name    string
	matches func(head) bool
	turnOff string
}

func ofType(t string) func(head) bool { return func(h head) bool { return h.Type == t } }

// masqueraders are checked in this order, after the ipMasq of the plugin itself.
var masqueraders = []masquerader{
	{
		// The plugin gives its delegate ipMasq if flanneld runs without --ip-masq
		// (flannel-io/cni-plugin, flannel_linux.go); kube-flannel.yml has --ip-masq.
		"flannel", ofType("flannel"),
		`remove --ip-masq from the arguments of flanneld, and set "ipMasq": false in the delegate, whose default is true`,
	},
	{
		// Chain KIND-MASQ-AGENT. Only kindnet of kindnet.es has the flag.
		"kindnet", func(h head) bool { return h.network == "kindnet" },
		"run kindnetd with --masquerading=false; the kindnetd of kind has no such flag, and the rules of masq come before its rules",
	},
	{
		// docs.cilium.io, Masquerading: enabled unless these options are false.
		"Cilium", ofType("cilium-cni"),
		"set enable-ipv4-masquerade and enable-ipv6-masquerade to false in the ConfigMap cilium-config (enableIPv4Masquerade and enableIPv6Masquerade of its chart)",
	},
	{
		// The IPPool resource; operator and manifest make pools with natOutgoing.
		"Calico", ofType("calico"),
		"set natOutgoing to false in its IPPools",
	},
	{
		// README of aws/amazon-vpc-cni-k8s.
		"the AWS VPC CNI", ofType("aws-cni"),
		"set AWS_VPC_K8S_CNI_EXTERNALSNAT=true in DaemonSet aws-node",
	},
	{
		// docs/user-guide.md of cloudnativelabs/kube-router; its bridge has one name.
		"kube-router", func(h head) bool { return h.Type == "bridge" && h.Bridge == "kube-bridge" },
		"run kube-router with --enable-pod-egress=false",
	},
}

// masqueradeWarning returns a warning if the network of the list masquerades too, and how to
// turn that off. It is empty for an unknown network.
func (l *list) masqueradeWarning() string {
	if len(l.at) == 0 {
		return ""
	}
	h := head{network: l.conf.Name}
	// The plugin itself ignores a value of another type too.
	if json.Unmarshal(l.entryAt(0), &h) != nil || h.Type == Plugin {
		return ""
	}
	if isTrue(h.IPMasq) || isTrue(h.Delegate.IPMasq) {
		return fmt.Sprintf("its plugin %s masquerades too, by \"ipMasq\": true; set it to false, so that only masq masquerades", masq.Quote(h.Type))
	}
	for _, m := range masqueraders {
		if m.matches(h) {
			return fmt.Sprintf("%s masquerades too, unless that is turned off: %s", m.name, m.turnOff)
		}
	}
	return ""
}

func isTrue(b *bool) bool { return b != nil && *b }
