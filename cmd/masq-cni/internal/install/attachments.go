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

// checkRemoval returns an error if the rules of the node must not be removed: live
// attachments depend on them, or the state directory that was given does not exist. A node
// may have no state directory yet if hasInstallation is true.
func checkRemoval(n *node.Node, hasInstallation bool) error {
	missing := n.StateDirMissing()
	if missing && n.StateDirGiven && !hasInstallation {
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
		return fmt.Errorf("the state directory %s does not exist, but table inet masq has the rules of %s; give the stateDir of the network configuration, or --force to remove the rules without it",
			n.StateDir, report.Plural(len(live), "attachment"))
	}
	subject, first := "1 live attachment depends", report.CleanText(live[0])
	if len(live) > 1 {
		subject, first = fmt.Sprintf("%d live attachments depend", len(live)), "the first is "+first
	}
	return fmt.Errorf("%s on table inet masq (%s); without the table their traffic leaves untranslated; remove their containers first, or give --force", subject, first)
}

// liveAttachments returns the identities of attachments that need the table: they have
// elements in it, or a record with a policy, and no proof that their container was removed.
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
	q := store.ContainerCheck{Probes: store.Probes{HasLink: links.HasLink, Aliases: links.Aliases, NetNS: veth.NetNSState}}
	if q.Boot, err = veth.BootID(); err != nil {
		return nil, err
	}
	for _, r := range kept {
		v, err := q.Check(&r)
		switch {
		case err != nil:
			return nil, err
		case v.GoneReason != "":
			delete(live, r.Identity())
		case r.Policy != nil:
			live[r.Identity()] = true
		}
	}
	return slices.Sorted(maps.Keys(live)), nil
}
