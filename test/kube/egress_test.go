package kube

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// egress checks the source of pods' packets outside: the node's address, to which answers are
// sent, and the pod's own for direct destinations. The bare pods, which were attached before
// masq, are the control: outside receives their own addresses.
func (c *cluster) egress(t *testing.T, pods, bare []*pod) {
	for i, dst := range outsideAddrs {
		for _, p := range pods {
			c.seenAs(t, p, dst, p.node.addrs[i])
			own := p.addr(t, dst)
			if src := p.leavesAs(t, insideAddrs[i]); src != own {
				t.Errorf("%s in direct %s: the source is %s, want its own, %s", p.name, insideAddrs[i], src, own)
			}
		}
		for _, p := range bare {
			own := p.addr(t, dst)
			if src := p.leavesAs(t, dst); src != own {
				t.Errorf("%s, without masq: the source is %s, want its own, %s", p.name, src, own)
			}
		}
	}
	for _, p := range bare {
		srv := assert.Must(c.outside.ServeTCP(at(outsideAddrs[0], 0)))(t)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if out, err := p.try(ctx, "who", "tcp", srv.Addr().String()); err == nil {
			t.Errorf("%s, without masq, was answered: %s", p.name, out)
		}
		cancel()
		assert.NoError(t, srv.Close())
	}
}

// seenAs connects and compares the source that outside sees.
func (c *cluster) seenAs(t *testing.T, p *pod, dst, want netip.Addr) {
	t.Helper()
	srv := assert.Must(c.outside.ServeTCP(at(dst, 0)))(t)
	defer srv.Close()
	got := netip.MustParseAddrPort(p.run(t, "who", "tcp", srv.Addr().String()))
	seen := srv.Sources()
	if got.Addr() != want || len(seen) != 1 || seen[0] != got {
		t.Errorf("%s to %s: the server sees %v and says %s, want %s", p.name, dst, seen, got, want)
	}
}

// annotated checks that a pod may opt out.
func (c *cluster) annotated(t *testing.T) {
	p := c.nodes[1].pod(t, "direct", object{"annotations": object{"masq-cni.dev/egress": "direct"}}, nil)
	c.running(t, p)
	for _, dst := range outsideAddrs {
		own := p.addr(t, dst)
		if src := p.leavesAs(t, dst); src != own {
			t.Errorf("to %s: the source is %s, want its own, %s", dst, src, own)
		}
	}
	c.do(t, "delete", "pod", p.name)
}

// narrow downloads through a link that is narrower than both ends believe. The control is a
// bare pod, masqueraded as other plugins do it.
func (c *cluster) narrow(t *testing.T, pods, bare []*pod) {
	const size = "300000"
	srv := assert.Must(c.far.ServeTCP(at(farAddr, 0)))(t)
	defer srv.Close()
	before := assert.Must(c.router.PMTUDropped())(t)
	for _, p := range pods {
		p.run(t, "get", srv.Addr().String(), size)
		if seen := srv.Sources(); seen[len(seen)-1].Addr() != p.node.wan {
			t.Errorf("%s: far sees %s, want %s", p.name, seen[len(seen)-1], p.node.wan)
		}
	}
	if n := assert.Must(c.router.PMTUDropped())(t); n != before {
		t.Errorf("the router sent %d ICMP errors about segments that are too big", n-before)
	}
	if len(bare) == 0 {
		return
	}
	p := bare[0]
	p.node.output(t, "nft", fmt.Sprintf(
		"table ip control { chain c { type nat hook postrouting priority srcnat; ip saddr %s masquerade; }; }", p.addr(t, farAddr)))
	defer p.node.output(t, "nft", "delete table ip control")
	if got, err := p.try(soon(t), "get", srv.Addr().String(), size); err == nil || got != "0" {
		t.Errorf("%s, masqueraded without masq: %s bytes, %v; it should have frozen", p.name, got, err)
	}
	if assert.Must(c.router.PMTUDropped())(t) == before {
		t.Error("the router dropped no ICMP error")
	}
}

// ftp fetches a file from vsftpd in active mode: only a helper translates the address that the
// pod announces to its node's. The control is another port, without a helper.
func (c *cluster) ftp(t *testing.T, pods []*pod) {
	helped, bare := c.vsftpd(t, 21), c.vsftpd(t, 2121)
	for i, dst := range outsideAddrs {
		for _, p := range pods {
			if got := p.run(t, "ftp", "active", at(dst, 21).String(), "file"); got != helped.content {
				t.Errorf("%s from %s: %q, want %q", p.name, dst, got, helped.content)
			}
			verb, own, node := announcements(p.addr(t, dst), p.node.addrs[i])
			if log := helped.newLog(t); !strings.Contains(log, node) || strings.Contains(log, own) {
				t.Errorf("%s from %s: vsftpd should have read %s, not %s:\n%s", p.name, dst, node, own, log)
			}
			if got, err := p.try(soon(t), "ftp", "active", at(dst, 2121).String(), "file"); err == nil || !strings.Contains(err.Error(), "Illegal "+verb) {
				t.Errorf("%s from %s without a helper: %q, %v; want Illegal %s", p.name, dst, got, err, verb)
			}
			if log := bare.newLog(t); !strings.Contains(log, own) {
				t.Errorf("%s from %s without a helper: vsftpd should have read %s:\n%s", p.name, dst, own, log)
			}
			if got := p.run(t, "ftp", "passive", at(dst, 2121).String(), "file"); got != bare.content {
				t.Errorf("%s from %s, passive: %q, want %q", p.name, dst, got, bare.content)
			}
		}
	}
}
