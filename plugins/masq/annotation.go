package main

import (
	"fmt"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/pkg/cniconf"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// loadToAdd is cniconf.Load for ADD. If it refuses the annotations of a pod, it records the
// refusal, which masq-cni inspect shows.
func loadToAdd(args *skel.CmdArgs) (*cniconf.Conf, error) {
	conf, err := cniconf.Load(args.StdinData, args.Args)
	if err == nil {
		return conf, nil
	}
	if x, is := cniconf.LoadRefusal(args.StdinData, args.Args); is {
		if records, errOpen := store.Open(x.StateDir); errOpen == nil {
			recordRefusal(records, x.Network, x.Pod, args, x.Faults...)
		}
	}
	return nil, err
}

// recordRefusal records why annotations were refused. It ignores containers without a pod:
// only pods have annotations.
func recordRefusal(records *store.Records, network string, pod masq.Pod, args *skel.CmdArgs, faults ...string) {
	if pod.Name == "" {
		return
	}
	key := masq.Key{Network: network, ContainerID: args.ContainerID, Interface: args.IfName}
	if err := records.PutRefusal(store.Refusal{Key: key, Pod: pod, Faults: faults, Time: time.Now().UTC()}); err != nil {
		warn("ADD: %s: masq-cni inspect will not show that its annotations are refused: %s", key, err)
	}
}

// allowsEgress returns an error for a pod that opts out of translation if the node does not
// allow that. cniconf.Load has checked the network's configuration. p is the attachment's
// policy.
func (n *node) allowsEgress(conf *cniconf.Conf, p *masq.Policy, args *skel.CmdArgs) error {
	if p == nil || !conf.Policy.EgressDirect {
		return nil
	}
	wrong, remedy := "", ""
	switch listed, err := n.listsAnnotations(p); {
	case err != nil:
		return err
	case !p.EgressDirect && listed:
		wrong, remedy = "is not allowed: allowAnnotations of the node's policy does not list this annotation", "remove the annotation, or list it there"
	case !p.EgressDirect:
		wrong = "is not allowed by default where the node's policy has snatAddresses"
	case !listed:
		kept, err := n.records.HasNATLog()
		if err != nil {
			return failed(codeState, "cannot tell whether masqd keeps a NAT log", err)
		}
		if !kept {
			return nil
		}
		wrong = "is not allowed by default where masqd keeps a NAT log"
	default:
		return nil
	}
	if remedy == "" {
		remedy = fmt.Sprintf("remove the annotation, or list %q in allowAnnotations of the network", masq.EgressAnnotation)
	}
	fault := masq.EgressAnnotation + ": \"direct\" " + wrong + "; " + remedy
	recordRefusal(n.records, conf.Name, conf.Pod, args, fault)
	return types.NewError(types.ErrInvalidNetworkConfig, "the node refuses an annotation of the pod on network "+masq.Quote(conf.Name), fault)
}

// listsAnnotations reports whether the network, or the node where its policy applies,
// lists the annotations that it allows.
func (n *node) listsAnnotations(p *masq.Policy) (bool, error) {
	if p.AllowAnnotations != nil || !p.Node {
		return p.AllowAnnotations != nil, nil
	}
	policy, err := n.records.Node()
	return policy != nil && policy.AllowAnnotations != nil, failed(codeState, "cannot read the node's policy", err)
}
