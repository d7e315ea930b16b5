package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// created returns the nodes of the pods that were created since the last time.
func (c cluster) created() (nodes []string) {
	c.Helper()
	path := filepath.Join(c.dir, "created")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	_ = os.Remove(path)
	var list struct{ Items []pod }
	if err := json.Unmarshal(b, &list); err != nil {
		c.Fatal(err)
	}
	for _, p := range list.Items {
		nodes = append(nodes, p.Spec.NodeName)
		if a := p.agent(); !p.Spec.HostNetwork || p.Metadata.Namespace != "kube-system" || len(a.pullSecrets) != 1 || p.Spec.Containers[0].Image != "masq-cni:1" {
			c.Errorf("created %+v", p)
		}
	}
	return nodes
}

// hidden replaces the random part of names.
func hidden(s string) string {
	return regexp.MustCompile(`privileged-[0-9a-f]{10}-`).ReplaceAllString(s, "privileged-X-")
}

// TestPrivileged checks that the pods are created on the nodes that are to answer, and deleted
// after the command in every case.
func TestPrivileged(t *testing.T) {
	const command = ": /masq-cni --chroot=/host doctor"
	for _, x := range []struct {
		name, args string
		ends       ends
		fails      string // a command of kubectl
		code       int
		nodes      []string
		out, diag  string
	}{
		{
			name: "one node", args: "--privileged doctor pod web -n shop --to 192.0.2.9:443", nodes: []string{"node-2"},
			out: "masq-cni-privileged-X-0" + command + " pod shop/web --to 192.0.2.9:443\n",
		},
		{
			name: "a pod with findings", args: "doctor pod shop/web --privileged=true", ends: ends{"masq-cni-privileged": 1}, code: 1, nodes: []string{"node-2"},
			out: "masq-cni-privileged-X-0" + command + " pod shop/web\n",
		},
		{
			// On node-3, masqd does not run.
			name: "all nodes", args: "doctor --privileged", nodes: []string{"node-1", "node-2", "node-3"},
			out: "==> node-1 <==\nmasq-cni-privileged-X-0" + command + "\n\n==> node-2 <==\nmasq-cni-privileged-X-1" + command + "\n\n==> node-3 <==\nmasq-cni-privileged-X-2" + command + "\n",
		},
		{name: "it asks", args: "doctor --privileged --fix --node node-1", nodes: []string{"node-1"}, out: "masq-cni-privileged-X-0" + command + " --fix\n"},
		{name: "not ready", args: "doctor --privileged --node node-1", fails: "wait", code: 2, nodes: []string{"node-1"}, diag: "start a privileged pod: kubectl wait: error: wait failed"},
		{
			name: "not deleted", args: "doctor --privileged --node node-1", fails: "delete", code: 2, nodes: []string{"node-1"}, out: "masq-cni-privileged-X-0" + command + "\n",
			diag: "kubectl delete: error: delete failed; the pod ends after 15m0s at the latest, delete it with: kubectl delete pod --namespace=kube-system --ignore-not-found --wait=false masq-cni-privileged-X-0\n",
		},
		{name: "not asked for", args: "doctor --privileged=false --node node-1", out: "masq-cni-a: /masq-cni doctor\n"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newCluster(t)
			c.write("kubectl", strings.ReplaceAll(fakeKubectl, `say "ends/$pod"`, `say "ends/${pod%-*-*}"`))
			c.end(x.ends)
			if x.fails != "" {
				c.write("fails/"+x.fails, "")
			}
			code, out, diag := c.ask(strings.Fields(x.args)...)
			if code != x.code || hidden(out) != x.out || !strings.Contains(hidden(diag), x.diag) {
				t.Errorf("exit code %d\n%s\n%s", code, hidden(out), hidden(diag))
			}
			if nodes := c.created(); !slices.Equal(nodes, x.nodes) {
				t.Errorf("pods on %q, want %q", nodes, x.nodes)
			}
			calls := strings.TrimSpace(hidden(c.calls()))
			last := calls[strings.LastIndex(calls, "\n")+1:]
			want := "delete pod --namespace=kube-system --ignore-not-found --wait=false masq-cni-privileged-X-0"
			if (len(x.nodes) > 0) != strings.HasPrefix(last, want) {
				t.Errorf("calls of kubectl:\n%s", calls)
			}
		})
	}
}

// TestPrivilegedCompletion checks that a completion starts no pod.
func TestPrivilegedCompletion(t *testing.T) {
	c := newCluster(t)
	if code, out, diag := c.ask("__complete", "--privileged", "doctor", "pod", ""); code != 0 || c.created() != nil {
		t.Errorf("exit code %d\n%s%s", code, out, diag)
	}
}
