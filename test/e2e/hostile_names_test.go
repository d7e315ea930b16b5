package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestHostileNames calls the plugin with names that a tenant may choose. A name that would
// break a listing of the rules, or a terminal, is refused without a trace. With every
// other name, the listing of the node's ruleset can be loaded again unchanged.
func TestHostileNames(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	ptp := w.masq().With(keys{"type": "ptp", "stateDir": nil})
	long := strings.Repeat("n", 100)
	for mode, plugins := range map[string][]keys{"main": {w.masq()}, "chained": {ptp, w.behind()}} {
		t.Run(mode, func(t *testing.T) {
			w := w.in(t)
			list := w.namedConflist(long, "1.1.0", plugins...)
			before := w.traces()
			for i, name := range []string{"a\"b", "a\\b", "a\x1b[2J", "a\u202eb", "a\xffb", "a\x01b"} {
				p := w.pod(fmt.Sprintf("refused-%s-%d", mode, i))
				p.runtime.IfName = name
				err := p.tryAdd(list)
				var failed *types.Error
				if !errors.As(err, &failed) || failed.Code != types.ErrInvalidEnvironmentVariables && mode == "main" {
					t.Errorf("CNI_IFNAME %q: %v", name, err)
				}
				assert.NoError(t, p.tryDel(list)) // DEL must accept names that an earlier version admitted
			}
			if after := w.traces(); after != before {
				t.Errorf("before the refused ADDs:\n%s\nafter:\n%s", before, after)
			}
			for i, name := range []string{"eth0", "x;{}#$*", "ethé", "a'b", "@set", "0x1", "counter"} {
				p := w.pod(fmt.Sprintf("%s-%d", mode, i))
				p.runtime.IfName = name
				p.runtime.ContainerID += strings.Repeat("c", 40*(i%2))
				p.runtime.Args = [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "a\"b"}, {"K8S_POD_NAME", `c"}\ # '`}}
				p.attach(list)
			}
			dump := w.nodeRun("nft", "list", "ruleset")
			other := assert.Must(w.lab.Namespace("loaded-" + mode))(t)
			load := other.Command(soon(t), "nft", "-f", "-")
			load.Stdin = strings.NewReader(dump)
			if out, err := load.CombinedOutput(); err != nil {
				t.Fatalf("the listing cannot be loaded: %v\n%s\n%s", err, out, dump)
			}
			again := assert.Must(other.Command(soon(t), "nft", "list", "ruleset").Output())(t)
			if !sameRules(string(again), dump) {
				t.Errorf("loaded:\n%s\nlisted before:\n%s", again, dump)
			}
		})
	}
}
