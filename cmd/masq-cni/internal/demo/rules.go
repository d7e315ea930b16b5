package demo

import (
	"context"
	"errors"
	"slices"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/nft"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// rules shows the rules, after it has compared the kernel with the desired state.
func rules(_ context.Context, l *lab, s *Step) error {
	return l.Node.Do(func() error {
		records, err := store.Open(l.stateDir())
		if err != nil {
			return err
		}
		all, err := records.All()
		if err != nil {
			return err
		}
		attachments := make([]masq.Attachment, len(all))
		for i, r := range all {
			attachments[i] = r.Attachment
		}
		i := slices.IndexFunc(all, func(r store.Record) bool { return r.ContainerID == l.runtime.ContainerID })
		if i < 0 {
			return errors.New("the container has no record")
		}
		desired := ruleset.For(attachments, ruleset.Sources{}, ruleset.Egress{})
		conn, err := nft.Open()
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		changes, err := conn.Drift(desired, ruleset.Table{})
		if err != nil {
			return err
		}
		l.ruleset = desired.String()
		rules := 0
		for _, c := range desired.Chains {
			rules += len(c.Rules)
		}
		s.say("One table with %d rules; the number does not grow with the number of containers. Each rule has its name as a comment.", rules)
		s.figure("rules", rules)
		s.figure("drift", len(changes))
		s.expect(len(changes) == 0, "the kernel has other rules: %v", changes)
		return nil
	})
}
