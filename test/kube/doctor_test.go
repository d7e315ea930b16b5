package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/masq-cni/masq-cni/test/assert"
)

// diagnosis is what the tests use of the answer of doctor.
type diagnosis struct {
	Verdict  string
	Findings []struct {
		Check, Object, Message string
	}
	NotChecked []struct{ Check, Reason string }
	Checks     []string
}

func (d diagnosis) has(check string) bool {
	for _, f := range d.Findings {
		if f.Check == check {
			return true
		}
	}
	return false
}

// doctor examines the healthy cluster and pods of it, and then a node whose rules drop the
// packets of pods: from masqd's pod, and from a privileged pod.
func (c *cluster) doctor(t *testing.T, pods []*pod) {
	c.healthy(t)
	for _, p := range pods {
		for _, dst := range outsideAddrs {
			srv := assert.Must(c.outside.ServeTCP(at(dst, 0)))(t)
			to := []string{"doctor", "pod", "default/" + p.name, "--to", srv.Addr().String()}
			// masqd's pod cannot enter the container. The answer says what can.
			d, code := c.diagnose(t, to...)
			if code != 0 || len(d.Findings) != 0 || !slices.Contains(notChecked(d), "probe-unanswered") {
				t.Errorf("%q: exit code %d, %+v", to, code, d)
			}
			for _, x := range d.NotChecked {
				if x.Check == "probe-unanswered" && !strings.Contains(x.Reason, "kubectl masq --privileged doctor") {
					t.Errorf("%q: %s", to, x.Reason)
				}
			}
			d, code = c.diagnose(t, append([]string{"--privileged"}, to...)...)
			// The server sends nothing that is large.
			if code != 0 || len(d.Findings) != 0 || !slices.Equal(notChecked(d), []string{"path-mtu-in"}) {
				t.Errorf("%q: exit code %d, %+v", to, code, d)
			}
			// The probe came from the pod, through the node.
			if seen := srv.Sources(); len(seen) == 0 || seen[0].Addr() != p.node.addrs[slices.Index(outsideAddrs, dst)] {
				t.Errorf("%q: the server sees %v", to, seen)
			}
			assert.NoError(t, srv.Close())
		}
	}
	web := assert.Must(c.outside.ServeHTTP(at(outsideAddrs[0], 80)))(t)
	d, code := c.diagnose(t, "--privileged", "doctor", "pod", "default/"+pods[0].name, "--to", web.Addr().String())
	if code != 0 || len(d.Findings) != 0 || len(d.NotChecked) != 0 {
		t.Errorf("to a web server: exit code %d, %+v", code, d)
	}
	assert.NoError(t, web.Close())
	c.dropped(t, pods[0], outsideAddrs[0])
	c.interrupted(t, pods[0], outsideAddrs[0])
	c.unprivileged(t)
}

// healthy checks that doctor has no finding on any node. It asserts what masqd's pod cannot
// see, and that a privileged pod sees everything.
func (c *cluster) healthy(t *testing.T) {
	t.Helper()
	for _, privileged := range []bool{false, true} {
		args := []string{"doctor", "-o", "json"}
		if privileged {
			args = append(args, "--privileged")
		}
		answer, err := c.masq(t, args...)
		if err != nil {
			t.Errorf("%q: %v\n%s", args, err, answer)
			continue
		}
		all := map[string]diagnosis{}
		assert.NoError(t, json.Unmarshal([]byte(answer), &all))
		for _, n := range c.nodes {
			d, ok := all[n.name]
			if !ok || len(d.Findings) != 0 || len(d.Checks) == 0 {
				t.Errorf("%q on %s: %+v", args, n.name, d)
			}
			for _, x := range d.NotChecked {
				if privileged || !slices.Contains(unseen, x.Check) || !strings.Contains(x.Reason, "kubectl masq --privileged doctor") {
					t.Errorf("%q on %s: %s is not checked: %s", args, n.name, x.Check, x.Reason)
				}
			}
		}
	}
	c.unprivileged(t)
}

// unseen are the checks that need more than masqd's pod has: the directory of networks, and the
// network namespaces of containers.
var unseen = []string{
	"conflist-invalid", "conflist-order", "conflist-shadowed", "conflist-without-masq",
	"container-default-route", "container-mtu", "path-mtu-black-hole", "syn-unanswered", "connections-stuck",
	"link-drift",
}

// dropped drops the packets of a pod to dst in a table of the node.
func (c *cluster) dropped(t *testing.T, p *pod, dst netip.Addr) {
	srv := assert.Must(c.outside.ServeTCP(at(dst, 0)))(t)
	defer srv.Close()
	lift := p.node.drop(t)
	defer lift()
	d, code := c.diagnose(t, "doctor", "--node", p.node.name)
	if code != 1 || len(d.Findings) != 1 || !strings.Contains(fmt.Sprint(d.Findings), "fault") {
		t.Errorf("doctor on %s, which drops: exit code %d, %+v", p.node.name, code, d)
	}
	if d, code := c.diagnose(t, "doctor", "--node", other(c.nodes, p.node).name); code != 0 || len(d.Findings) != 0 {
		t.Errorf("doctor on the other node: exit code %d, %+v", code, d)
	}
	d, code = c.diagnose(t, "--privileged", "doctor", "pod", "default/"+p.name, "--to", srv.Addr().String())
	if code != 1 || !d.has("packet-dropped") {
		t.Errorf("doctor pod %s: exit code %d, %+v", p.name, code, d)
	}
	if seen := srv.Sources(); len(seen) != 0 {
		t.Errorf("the server sees %v", seen)
	}
}

// interrupted presses Ctrl-C during a probe: the privileged pod is deleted.
func (c *cluster) interrupted(t *testing.T, p *pod, dst netip.Addr) {
	lift := p.node.drop(t)
	defer lift()
	k := c.masqCommand(soon(t), t, "--privileged", "doctor", "pod", "default/"+p.name, "--to", at(dst, 9).String())
	assert.NoError(t, k.Start())
	until(t, patience, "the privileged pod runs", func() error {
		phase, err := c.privilegedPods()
		if err == nil && phase != "Running" {
			err = fmt.Errorf("its phase is %q", phase)
		}
		return err
	})
	// Like a terminal, to all processes of the group.
	assert.NoError(t, syscall.Kill(-k.Process.Pid, syscall.SIGINT))
	if err := k.Wait(); err == nil {
		t.Error("doctor ended without an error, although it was interrupted")
	}
	c.unprivileged(t)
}

// unprivileged waits until no privileged pod is left.
func (c *cluster) unprivileged(t *testing.T) {
	t.Helper()
	until(t, patience, "the privileged pods are deleted", func() error {
		phase, err := c.privilegedPods()
		if err == nil && phase != "" {
			err = fmt.Errorf("their phase is %q", phase)
		}
		return err
	})
}

// privilegedPods returns the phases of the pods that kubectl masq started.
func (c *cluster) privilegedPods() (string, error) {
	return c.try("get", "pods", "--namespace=kube-system", "--selector=app.kubernetes.io/name=kubectl-masq", "-o", "jsonpath={.items[*].status.phase}")
}

// drop drops all forwarded packets of the node until lift.
func (n *node) drop(t *testing.T) (lift func()) {
	n.output(t, "nft", "add table inet fault; add chain inet fault forward { type filter hook forward priority 0; policy drop; }")
	return func() { n.output(t, "nft", "delete table inet fault") }
}

// diagnose returns the answer of doctor for one node, and its exit code.
func (c *cluster) diagnose(t *testing.T, args ...string) (d diagnosis, code int) {
	t.Helper()
	answer, err := c.masq(t, append(args, "-o", "json")...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	}
	if e := json.Unmarshal([]byte(answer), &d); e != nil {
		t.Fatalf("%q: %v, %v\n%s", args, err, e, answer)
	}
	return d, code
}

// notChecked returns the names of the checks that could not be made.
func notChecked(d diagnosis) (out []string) {
	for _, x := range d.NotChecked {
		out = append(out, x.Check)
	}
	return out
}
