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

// removeStale has masqd remove the rules and records of attachments without a DEL. There must be
// some.
func (n *node) removeStale() {
	n.t.Helper()
	left := func() bool {
		return n.must("nft list tables inet; find /run/masq-cni/attachments -name '*.json'") != ""
	}
	if !left() {
		n.t.Error("there are no stale attachments")
	}
	d := n.masqd("--resync-interval", "1s", "--sweep-grace", "1s")
	until(n.t, "masqd has removed the stale attachments", func() bool { return !left() })
	d.end(n.t, syscall.SIGTERM)
}

// collect calls GC of a network without containers, with libcni's cached results. It releases
// leases. None of the tested runtimes calls GC.
func (n *node) collect(list network) {
	n.t.Helper()
	n.must("CNI_PATH=/opt/cni/bin cnitool gc %s /proc/self/ns/net", list.name)
}
