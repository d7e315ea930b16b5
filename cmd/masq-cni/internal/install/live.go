package install

import (
	"fmt"
	"maps"
	"slices"

	"github.com/masq-cni/masq-cni/cmd/masq-cni/internal/node"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// refuse returns why the rules of the node are not to be removed; nil where they are:
// live attachments need them, or the records are not where they are looked for. A node
// on which masq is installed need not have records yet.
func refuse(n *node.Node, installed bool) error {
	missing := n.StateDirMissing()
	if missing && n.StateDirGiven && !installed {
		return fmt.Errorf("the state directory %s does not exist; give the stateDir of the network configuration, or --force to remove the rules without it", n.StateDir)
	}
	records, err := store.Open(n.StateDir)
	if err != nil {
		return err
	}
	live, err := liveAttachments(records)
	if err != nil || len(live) == 0 {
		return err
	}
	if missing {
		return fmt.Errorf("the state directory %s does not exist, and table inet masq has the rules of %s; give the stateDir of the network configuration, or --force to remove the rules without it",
			n.StateDir, report.Plural(len(live), "attachment"))
	}
	return fmt.Errorf("%s depend%s on table inet masq, %s the first; without it their traffic leaves untranslated. Remove their containers first, or give --force",
		report.Plural(len(live), "live attachment"), map[bool]string{true: "s"}[len(live) == 1], report.CleanText(live[0]))
}

// liveAttachments are the identities of attachments that need the table: those with
// elements in it or with a record that has a policy, unless their container is proved
// to be gone.
func liveAttachments(records *store.Records) ([]string, error) {
	known, err := node.QueryRules((*nft.Conn).Identities)
	if err != nil {
		return nil, err
	}
	live := map[string]bool{}
	for _, id := range known {
		live[id] = true
	}
	kept, err := records.All()
	if err != nil && len(kept) == 0 && len(known) == 0 {
		return nil, err
	}
	links, err := veth.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = links.Close() }()
	q := store.Inquiry{Probes: store.Probes{HasLink: links.HasLink, Aliases: links.Aliases, NetNS: veth.NetNSState}}
	if q.Boot, err = veth.BootID(); err != nil {
		return nil, err
	}
	for _, r := range kept {
		v, err := q.Judge(&r)
		switch {
		case err != nil:
			return nil, err
		case v.Gone != "":
			delete(live, r.Identity())
		case r.Policy != nil:
			live[r.Identity()] = true
		}
	}
	return slices.Sorted(maps.Keys(live)), nil
}
