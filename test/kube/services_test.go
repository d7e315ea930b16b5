package kube

import (
	"bufio"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/test/assert"
)

// services checks that packets that kube-proxy and portmap translate arrive as without masq. The
// server answers with its name and the client's address. gateways are the addresses that its
// node has towards it.
func (c *cluster) services(t *testing.T, clients []*pod, gateways []netip.Addr) {
	server := c.nodes[1].pod(t, "server", nil, object{
		"ports": []any{object{"containerPort": 8080, "hostPort": 8088}},
	})
	c.running(t, server)
	for _, policy := range []string{"Cluster", "Local"} {
		c.apply(t, text(t, object{
			"apiVersion": "v1", "kind": "Service", "metadata": object{"name": strings.ToLower(policy)},
			"spec": object{
				"type": "NodePort", "selector": object{"app": "server"}, "externalTrafficPolicy": policy,
				"ipFamilyPolicy": "RequireDualStack", "ports": []any{object{"port": 80, "targetPort": 8080}},
			},
		}))
	}
	for i, like := range outsideAddrs {
		family := fmt.Sprintf(".spec.clusterIPs[%d]", i)
		// A Service: the server sees the client's own address on either node.
		vip := netip.MustParseAddr(c.get(t, family, "service", "cluster"))
		for _, p := range clients {
			c.answers(t, "the Service to "+p.name, p.addr(t, like), func() (string, error) {
				return p.try(soon(t), "who", "tcp", at(vip, 80).String())
			})
		}
		outside := func(dst netip.Addr, port uint16) func() (string, error) {
			return func() (string, error) { return c.fromOutside(t, at(dst, port)) }
		}
		with, without := c.nodes[1].addrs[i], c.nodes[0].addrs[i]
		port := func(service string) uint16 {
			n := assert.Must(strconv.ParseUint(c.get(t, ".spec.ports[0].nodePort", "service", service), 10, 16))(t)
			return uint16(n)
		}
		// A NodePort: kube-proxy replaces the client's address by the node's address towards the pod.
		c.answers(t, "a NodePort on the server's node", gateways[i], outside(with, port("cluster")))
		c.answers(t, "a NodePort on another node", without, outside(without, port("cluster")))
		// With policy Local it keeps the client's address, and only the server's node answers.
		c.answers(t, "a NodePort of policy Local", like, outside(with, port("local")))
		if out, err := c.fromOutside(t, at(without, port("local"))); err == nil {
			t.Errorf("a NodePort of policy Local on a node without a server answers: %s", out)
		}
		c.answers(t, "hostPort", like, outside(with, 8088))
	}
}

// answers waits until the server answers, because kube-proxy is slow. What the server sees must
// be right from the first answer on.
func (c *cluster) answers(t *testing.T, what string, want netip.Addr, ask func() (string, error)) {
	t.Helper()
	var said string
	until(t, patience, what+" answers", func() (err error) {
		said, err = ask()
		return err
	})
	name, from, _ := strings.Cut(said, " ")
	seen, err := netip.ParseAddrPort(from)
	if err != nil || name != "server" || seen.Addr().Unmap() != want {
		t.Errorf("%s: %q, want the server's name and %s", what, said, want)
	}
}

// fromOutside sends a request to the pods' server at an address of a node.
func (c *cluster) fromOutside(t *testing.T, server netip.AddrPort) (string, error) {
	t.Helper()
	ctx := within(t, 2*time.Second)
	conn, err := c.outside.Dial(ctx, "tcp", netip.AddrPort{}, server)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(conn, "WHO"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}
