package runtimes

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"syscall"
)

const masqdAt = "127.0.0.1:9468"

// masqd starts the daemon and waits until it is ready.
func (n *node) masqd(args ...string) *service {
	n.t.Helper()
	s := n.serve("masqd", "masqd"+quoted(args))
	c := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return n.Node.Dial(ctx, network, netip.AddrPort{}, netip.MustParseAddrPort(masqdAt))
		},
	}}
	until(n.t, "masqd is ready", func() bool {
		r, err := c.Get("http://" + masqdAt + "/readyz")
		if err != nil {
			return false
		}
		return r.Body.Close() == nil && r.StatusCode == http.StatusOK
	})
	return s
}

// sweep has masqd take away the rules and the records of attachments that nobody
// called DEL for. There are some.
func (n *node) sweep() {
	n.t.Helper()
	left := func() bool {
		return n.must("nft list tables inet; find /run/masq-cni/attachments -name '*.json'") != ""
	}
	if !left() {
		n.t.Error("there is nothing to sweep")
	}
	d := n.masqd("--resync-interval", "1s", "--sweep-grace", "1s")
	until(n.t, "masqd has swept", func() bool { return !left() })
	d.end(n.t, syscall.SIGTERM)
}

// collect is GC of a network with no container left, by what libcni remembers of
// it: leases are given back. No runtime here calls it.
func (n *node) collect(list network) {
	n.t.Helper()
	n.must("CNI_PATH=/opt/cni/bin cnitool gc %s /proc/self/ns/net", list.name)
}
