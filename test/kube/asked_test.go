package kube

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// asked uses kubectl's plugin outside the cluster: for the owner of a connection that a server
// saw, and for the state of a pod. The plugin asks the right node.
func (c *cluster) asked(t *testing.T, pods []*pod) {
	for i, dst := range outsideAddrs {
		for _, p := range pods {
			srv := assert.Must(c.outside.ServeTCP(at(dst, 0)))(t)
			seen := p.run(t, "who", "tcp", srv.Addr().String())
			assert.NoError(t, srv.Close())
			answer, err := c.masq(t, "who", seen)
			if err != nil || !strings.Contains(answer, "default/"+p.name) || strings.Contains(answer, other(pods, p).name) {
				t.Errorf("who %s, which is %s: %v\n%s", seen, p.name, err, answer)
			}
			unused := at(p.node.addrs[i], 1).String()
			if answer, err := c.masq(t, "who", unused); err == nil {
				t.Errorf("who %s, which no pod has:\n%s", unused, answer)
			}
		}
	}
	for _, p := range pods {
		answer, err := c.masq(t, "inspect", "pod", "default/"+p.name)
		if err != nil || !strings.Contains(answer, p.addr(t, outsideAddrs[0]).String()) {
			t.Errorf("inspect pod %s: %v\n%s", p.name, err, answer)
		}
	}
	if answer, err := c.masq(t, "inspect", "pod", "default/nobody"); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("inspect a pod that does not exist: %v\n%s", err, answer)
	}
	answer, err := c.masq(t, "inspect", "pods")
	for _, p := range pods {
		if err != nil || !strings.Contains(answer, p.name) || !strings.Contains(answer, p.node.name) {
			t.Errorf("inspect pods: %v\n%s", err, answer)
		}
	}
}

// masq runs kubectl masq.
func (c *cluster) masq(t testing.TB, args ...string) (string, error) {
	out, err := c.masqCommand(soon(t), t, args...).Output()
	return string(out), err
}

// masqCommand returns the command kubectl masq.
func (c *cluster) masqCommand(ctx context.Context, t testing.TB, args ...string) *nstest.Command {
	k := c.kubectl(ctx, append([]string{"masq"}, args...)...)
	k.Env = append(k.Env, "PATH="+c.bin+":"+needed(t, "MASQ_BIN")+":"+os.Getenv("PATH"))
	return k
}

// other returns a pod or node that is not p.
func other[T any](all []*T, p *T) *T {
	for _, o := range all {
		if o != p {
			return o
		}
	}
	return nil
}
