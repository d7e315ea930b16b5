package reconcile

import (
	"net/netip"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// TestLocalMSSClampsApply: all policies have them, shared policies stay shared, and the records
// keep theirs.
func TestLocalMSSClampsApply(t *testing.T) {
	local := masq.MSSClamps{netip.MustParsePrefix("198.51.100.0/24"): 172}
	network, node := masq.Default(), masq.Default()
	node.Node = true
	all := []masq.Attachment{{Policy: &network}, {Policy: &network}, {Policy: &node}, {}}
	NodeConfig{LocalMSSClamps: local}.apply(all)
	if all[0].Policy != all[1].Policy || all[0].Policy == &network || !all[0].Policy.HasMSSClamps() || !all[2].Policy.HasMSSClamps() || all[3].Policy != nil {
		t.Errorf("%+v", all)
	}
	if network.HasMSSClamps() || node.HasMSSClamps() {
		t.Error("the policies of the records have changed")
	}
	all = []masq.Attachment{{Policy: &network}}
	if (NodeConfig{}).apply(all); all[0].Policy != &network {
		t.Error("without local clamps a network's policy is copied")
	}
	if (NodeConfig{LocalMSSClamps: local}).Same(NodeConfig{}) || !(NodeConfig{LocalMSSClamps: local}).Same(NodeConfig{LocalMSSClamps: local}) {
		t.Error("local clamps are not compared")
	}
}

// TestLocalMSSClampsAreLive: when local clamps are added, a sync adds the elements of all
// attachments, and counts no repair.
func TestLocalMSSClampsAreLive(t *testing.T) {
	s := newSyncTest(t, 3)
	config := NodeConfig{Version: 1}
	s.l.deps.Node = func() NodeConfig { return config }
	s.sync()
	elements := func() (n int) {
		for k := range s.k.elements {
			if name, _ := ruleset.ParseSetName(k.set); name.Kind == ruleset.AttachedSet {
				n++
			}
		}
		return n
	}
	if n := elements(); n != 0 {
		t.Errorf("without clamps: %d elements", n)
	}
	config.Version, config.LocalMSSClamps = 2, masq.MSSClamps{netip.MustParsePrefix("198.51.100.0/24"): 172}
	if n := s.sync(); n != 0 {
		t.Errorf("%d repairs", n)
	}
	if n := elements(); n != 3 {
		t.Errorf("%d elements", n)
	}
}

// TestOnce: without Run, one call brings the node into the desired state.
func TestOnce(t *testing.T) {
	k := &fakeKernel{}
	l := newLoop(t, k, numbered(0), numbered(1))
	if err := l.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(k.elements) == 0 || l.Stats().Syncs == 0 {
		t.Errorf("%d elements after %d syncs", len(k.elements), l.Stats().Syncs)
	}
}
