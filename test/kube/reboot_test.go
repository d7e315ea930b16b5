package kube

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// rebooted takes a node's power: all its processes, namespaces, links, rules and /run are lost.
// The pods restart. Afterwards masq and the IPAM plugin have the state of these pods only.
func (c *cluster) rebooted(t *testing.T, p *pod) {
	n := p.node
	before := p.restarts(t)
	n.reboot(t)
	n.routes(t)
	until(t, time.Minute, p.name+" is restarted", func() error {
		if p.restarts(t) == before {
			return fmt.Errorf("it was restarted %d times before", before)
		}
		return nil
	})
	c.ready(t, "nodes", n.name)
	c.ready(t, "pods", "--all", "--all-namespaces", "--field-selector=spec.nodeName="+n.name)
	c.installed(t)
	for i, dst := range outsideAddrs {
		c.seenAs(t, p, dst, n.addrs[i])
	}
	want := c.podAddrs(t, n)
	until(t, time.Minute, "records, rules and leases belong to the pods", func() error {
		for what, got := range map[string][]string{"records": n.recorded(t), "leases": n.leased(t), "rules": n.ruled(t)} {
			if !slices.Equal(got, want) {
				return fmt.Errorf("%s are of %s, pods have %s", what, got, want)
			}
		}
		return nil
	})
}

// restarts returns how often the pod's container was restarted.
func (p *pod) restarts(t testing.TB) int {
	t.Helper()
	return assert.Must(strconv.Atoi(p.c.get(t, ".status.containerStatuses[0].restartCount", "pod", p.name)))(t)
}

// podAddrs returns the IPv4 addresses of the node's pods.
func (c *cluster) podAddrs(t testing.TB, n *node) []string {
	t.Helper()
	all := strings.Fields(c.do(t, "get", "pods", "--field-selector=spec.nodeName="+n.name, "-o", "jsonpath={.items[*].status.podIP}"))
	slices.Sort(all)
	return all
}

// leased returns the addresses that host-local has leased.
func (n *node) leased(t testing.TB) (all []string) {
	t.Helper()
	for _, f := range assert.Must(filepath.Glob(n.path("/var/lib/cni/networks/pods/*.*.*.*")))(t) {
		all = append(all, filepath.Base(f))
	}
	slices.Sort(all)
	return all
}

// recorded returns the IPv4 addresses of masq's records.
func (n *node) recorded(t testing.TB) (all []string) {
	t.Helper()
	for _, f := range assert.Must(filepath.Glob(n.path("/run/masq-cni/attachments/*.json")))(t) {
		var record struct {
			Addresses []netip.Addr `json:"addresses"`
		}
		assert.NoError(t, json.Unmarshal(assert.Must(os.ReadFile(f))(t), &record))
		for _, a := range record.Addresses {
			if a.Is4() {
				all = append(all, a.String())
			}
		}
	}
	slices.Sort(all)
	return all
}

// ruled returns the IPv4 addresses that map policy4 contains.
func (n *node) ruled(t testing.TB) []string {
	t.Helper()
	all := element.FindAllString(n.output(t, "nft", "list", "map", "inet", "masq", "policy4"), -1)
	slices.Sort(all)
	return all
}

// element matches the key of a map's element.
var element = regexp.MustCompile(`\b10\.244\.\d+\.\d+\b`)
