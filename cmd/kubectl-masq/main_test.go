package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// podObject is a pod of the cluster, as kubectl prints it.
func podObject(namespace, name, node, more string) string {
	return fmt.Sprintf(`{"metadata":{"namespace":%q,"name":%q},"spec":{"nodeName":%q,"containers":[{"name":"install","image":"other:1"},{"name":"masqd","image":"masq-cni:1"}],"imagePullSecrets":[{"name":"registry"}]},"status":{"phase":"Running"%s}}`, namespace, name, node, more)
}

const (
	running = `,"containerStatuses":[{"name":"install","state":{"running":{}}},{"name":"masqd","ready":false,"state":{"running":{}}}]`
	crashed = `,"containerStatuses":[{"name":"masqd","state":{"waiting":{"reason":"CrashLoopBackOff"}}}]`
)

// In the cluster, node-1 and node-2 have masq-cni, on node-3 it does not run, and node-4 has
// none.
var (
	pods = map[string]string{
		"shop/web":     podObject("shop", "web", "node-2", ""),
		"shop/deadbee": podObject("shop", "deadbee", "node-1", ""),
		"default/cart": podObject("default", "cart", "node-1", ""),
		"shop/new":     `{"metadata":{"namespace":"shop","name":"new"},"spec":{},"status":{"phase":"Pending"}}`,
		"shop/host":    `{"metadata":{"namespace":"shop","name":"host"},"spec":{"nodeName":"node-1","hostNetwork":true},"status":{}}`,
		"shop/broken":  podObject("shop", "broken", "node-3", ""),
		"shop/alone":   podObject("shop", "alone", "node-4", ""),
	}
	agentPods = []string{
		podObject("kube-system", "masq-cni-b", "node-2", running), podObject("kube-system", "masq-cni-a0", "node-1", crashed),
		podObject("kube-system", "masq-cni-a", "node-1", running), podObject("kube-system", "masq-cni-c", "node-3", crashed),
	}
	nodes = `{"items":[` +
		`{"metadata":{"name":"node-1"},"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.2"},{"type":"Hostname","address":"node-1"}]}},` +
		`{"metadata":{"name":"node-2"},"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.3"},{"type":"ExternalIP","address":"2001:db8::3"}]}}]}`
)

// fakeKubectl is a script that answers like kubectl, from files in its directory, and logs
// its arguments. In place of masq-cni it prints the pod and the arguments; the exit code is
// in a file with the name of the pod. PATH has no other programs, so the script uses only
// builtins of the shell.
const fakeKubectl = `#!/bin/sh
dir=${0%/*}
echo "$*" >>"$dir/log"
say() { if [ -f "$dir/$1" ]; then read -r line <"$dir/$1"; printf %s "$line"; fi; }
namespace=default selector=
for a; do
	case $a in
	--context=none) echo 'error: context "none" does not exist' >&2; exit 1 ;;
	--namespace=*) namespace=${a#*=} ;;
	--field-selector=*) selector=${a#*=} ;;
	esac
done
while case $1 in -*) ;; *) false ;; esac; do shift; done
case "$1 $5" in
"get pod") say "pods/$namespace/$6" ;;
"get nodes") say nodes ;;
"get pods")
	case $namespace$selector in
	*status.podIP=10.88.0.7) printf '{"items":[%s]}' "$(say pods/shop/web)" ;;
	kube-systemspec.nodeName=*) say "agents/${selector#*=}" ;;
	kube-system) say agents/all ;;
	esac ;;
create*) read -r line; printf %s "$line" >"$dir/created" ;;
wait*|delete*)
	if [ -f "$dir/fails/$1" ]; then echo "error: $1 failed" >&2; exit 1; fi ;;
exec*)
	pod=$3
	while [ "$1" != -- ]; do shift; done
	shift
	end=$(say "ends/$pod")
	for last; do :; done
	case "$end $2 $last" in
	255*) echo 'error: unable to upgrade connection' >&2; exit 1 ;; # from the API server to the node
	*" __complete "*) printf 'both\nof %s\n:4\n' "$pod" ;;
	*json) printf '{"pod":"%s","a<b":[]}' "$pod" ;;
	*yaml) printf 'pod: %s\n\nlist:\n- 1\n' "$pod" ;;
	*) echo "$pod: $*" ;;
	esac
	[ -z "$end" ] || { printf 'masq-cni: it says %s\ncommand terminated with exit code %s\n' "$end" "$end" >&2; exit "$end"; } ;;
esac
`

// cluster runs kubectl-masq with fakeKubectl.
type cluster struct {
	*testing.T
	dir string
}

func newCluster(t *testing.T) cluster {
	t.Helper()
	c := cluster{t, t.TempDir()}
	c.write("kubectl", fakeKubectl)
	c.write("nodes", nodes)
	for name, object := range pods {
		c.write("pods/"+name, object)
	}
	for _, node := range []string{"", "node-1", "node-2", "node-3"} {
		of := slices.DeleteFunc(slices.Clone(agentPods), func(s string) bool { return !strings.Contains(s, node) })
		c.write("agents/"+cmp.Or(node, "all"), `{"items":[`+strings.Join(of, ",")+`]}`)
	}
	t.Setenv("PATH", c.dir)
	return c
}

func (c cluster) write(name, text string) {
	c.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		c.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o700); err != nil {
		c.Fatal(err)
	}
}

// ends are exit codes of masq-cni by pod.
type ends map[string]int

// end sets the exit codes of masq-cni.
func (c cluster) end(codes ends) {
	c.Helper()
	if err := os.RemoveAll(filepath.Join(c.dir, "ends")); err != nil {
		c.Fatal(err)
	}
	for pod, code := range codes {
		c.write("ends/"+pod, strconv.Itoa(code))
	}
}

func (c cluster) ask(args ...string) (code int, out, diag string) {
	c.Helper()
	var o, d bytes.Buffer
	code = run(append([]string{"kubectl-masq"}, args...), strings.NewReader(""), &o, &d)
	return code, o.String(), d.String()
}

// calls returns the calls of kubectl since the last time.
func (c cluster) calls() string {
	c.Helper()
	log := filepath.Join(c.dir, "log")
	b, _ := os.ReadFile(log)
	_ = os.Remove(log)
	return string(b)
}

func TestWhichNode(t *testing.T) {
	c := newCluster(t)
	both := func(words string) string {
		return "==> node-1 <==\nmasq-cni-a: /masq-cni " + words + "\n\n==> node-2 <==\nmasq-cni-b: /masq-cni " + words + "\n"
	}
	for args, want := range map[string]string{
		"inspect pod shop/web":                            "masq-cni-b: /masq-cni inspect pod shop/web\n",
		"inspect pod -o wide shop/web":                    "masq-cni-b: /masq-cni inspect pod -o wide shop/web\n",
		"inspect pod web -n shop":                         "masq-cni-b: /masq-cni inspect pod shop/web\n",
		"-n=shop inspect pod deadbee":                     "masq-cni-a: /masq-cni inspect pod shop/deadbee\n",
		"inspect pod cart":                                "masq-cni-a: /masq-cni inspect pod default/cart\n",
		"inspect pod deadbeef":                            both("inspect pod deadbeef"),
		"doctor pod web -n shop --to 192.0.2.9:443":       "masq-cni-b: /masq-cni doctor pod shop/web --to 192.0.2.9:443\n",
		"doctor pod --to 192.0.2.9:443 shop/web --fix":    "masq-cni-b: /masq-cni doctor pod --to 192.0.2.9:443 shop/web --fix\n",
		"doctor pod --root /node --nat-log /log shop/web": "masq-cni-b: /masq-cni doctor pod --root /node --nat-log /log shop/web\n",
		"doctor": both("doctor"),
		"inspect flows --pod shop/web --sort bytes":     "masq-cni-b: /masq-cni inspect flows --pod shop/web --sort bytes\n",
		"inspect flows --pod=web --namespace shop":      "masq-cni-b: /masq-cni inspect flows --pod=shop/web\n",
		"who 192.0.2.3:51688/tcp --to 198.51.100.2:443": "masq-cni-b: /masq-cni who 192.0.2.3:51688/tcp --to 198.51.100.2:443\n",
		"who [2001:db8:0::3]:4711":                      "masq-cni-b: /masq-cni who [2001:db8:0::3]:4711\n",
		"who 10.88.0.7:80":                              "masq-cni-b: /masq-cni who 10.88.0.7:80\n",
		"who 192.0.2.99:80":                             both("who 192.0.2.99:80"),
		"who 192.0.2.3:80 --all-nodes":                  both("who 192.0.2.3:80"),
		"inspect":                                       both("inspect"),
		"inspect --node node-2":                         "masq-cni-b: /masq-cni inspect\n",
		"inspect pod shop/web --node=node-1":            "masq-cni-a: /masq-cni inspect pod shop/web\n",
		"what is new -x --y=z":                          both("what is new -x --y=z"),
		"inspect -- --node x":                           both("inspect --node x"),
	} {
		code, out, diag := c.ask(strings.Fields(args)...)
		if code != 0 || out != want || diag != "" {
			t.Errorf("%s: exit code %d, %q\n%s", args, code, diag, out)
		}
	}
}

func TestFlagsOfKubectl(t *testing.T) {
	c := newCluster(t)
	c.ask("--context", "other", "inspect", "pod", "shop/web", "--insecure-skip-tls-verify", "-s", "https://x", "--v=6", "--request-timeout=5s")
	flags := "--context=other --insecure-skip-tls-verify --server=https://x --v=6 --request-timeout=5s "
	want := flags + "get -o json --ignore-not-found pod web --namespace=shop\n" +
		flags + "get -o json --ignore-not-found pods --namespace=kube-system --selector=app.kubernetes.io/name=masq-cni --field-selector=spec.nodeName=node-2\n" +
		flags + "exec --namespace=kube-system masq-cni-b --container=masqd -- /masq-cni inspect pod shop/web\n"
	if got := c.calls(); got != want {
		t.Errorf("calls of kubectl:\n%s\nwant\n%s", got, want)
	}
}

func TestFaults(t *testing.T) {
	c := newCluster(t)
	for args, want := range map[string]string{
		"inspect pod shop/none":          "there is no pod shop/none",
		"inspect pod none":               "there is no pod none; if it is in another namespace, give NAMESPACE/NAME",
		"inspect pod shop/host":          "pod shop/host has the network of its node, node-1: its traffic is not masqueraded",
		"inspect pod shop/new":           "pod shop/new is not on a node yet: its phase is Pending",
		"inspect pod shop/broken":        "pod kube-system/masq-cni-c on node node-3: its container masqd is waiting: CrashLoopBackOff",
		"inspect pod shop/alone":         "node node-4 has no pod of masq-cni",
		"inspect --masq-namespace other": "there is no pod of masq-cni (label app.kubernetes.io/name=masq-cni) in namespace other; give the namespace with --masq-namespace",
		"inspect flows --watch":          "--watch shows one node, but the command is for 2 nodes; give --node NAME",
		"doctor --fix":                   "--fix asks on one node, but the command is for 2 nodes; give --node NAME, or --yes",
		"inspect --node a --all-nodes":   "--node a and --all-nodes contradict each other",
		"inspect --node":                 "--node has no value; give one after it",
		"inspect --node=":                "--node is empty",
		"inspect --context=none":         `kubectl get pods --namespace=kube-system --selector=app.kubernetes.io/name=masq-cni: error: context "none" does not exist`,
	} {
		code, out, diag := c.ask(strings.Fields(args)...)
		if code != 2 || out != "" || !strings.HasPrefix(diag, "kubectl-masq: "+want) {
			t.Errorf("%s: exit code %d, %q\n%s", args, code, out, diag)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if code, _, diag := c.ask("inspect"); code != 2 || diag != "kubectl-masq: kubectl is not on PATH; install it, or add its directory to PATH\n" {
		t.Errorf("exit code %d, %s", code, diag)
	}
}

func TestExitCodes(t *testing.T) {
	c := newCluster(t)
	for _, x := range []struct {
		args      string
		ends      ends
		code      int
		out, diag string
	}{
		{"inspect drift --node node-1", ends{"masq-cni-a": 1}, 1, "masq-cni-a: /masq-cni inspect drift\n", "masq-cni: it says 1\n"},
		{"inspect drift --node node-1", ends{"masq-cni-a": 255}, 2, "", "error: unable to upgrade connection\n"},
		{"inspect drift", ends{"masq-cni-b": 1}, 1, "==> node-1 <==\nmasq-cni-a: /masq-cni inspect drift\n\n==> node-2 <==\nmasq-cni-b: /masq-cni inspect drift\n", "node-2: masq-cni: it says 1\n"},
		// who: one node found it; errors of the other nodes are printed.
		{"who 192.0.2.99:1", ends{"masq-cni-a": 1}, 0, "==> node-2 <==\nmasq-cni-b: /masq-cni who 192.0.2.99:1\n", ""},
		{"who 192.0.2.99:1", ends{"masq-cni-a": 2}, 0, "==> node-2 <==\nmasq-cni-b: /masq-cni who 192.0.2.99:1\n", "node-1: masq-cni: it says 2\n"},
		{"who 192.0.2.99:1", ends{"masq-cni-a": 1, "masq-cni-b": 1}, 1, "not found on 2 nodes\n", "node-1: masq-cni: it says 1\nnode-2: masq-cni: it says 1\n"},
		{"who 192.0.2.99:1", ends{"masq-cni-a": 1, "masq-cni-b": 255}, 2, "not found on 2 nodes\n", "node-1: masq-cni: it says 1\nnode-2: error: unable to upgrade connection\n"},
		{"inspect pod deadbeef", ends{"masq-cni-b": 1}, 0, "==> node-1 <==\nmasq-cni-a: /masq-cni inspect pod deadbeef\n", ""},
		// doctor pod: 1 is a container with findings, 2 is another node's container.
		{"doctor pod deadbeef", ends{"masq-cni-a": 2, "masq-cni-b": 1}, 1, "==> node-2 <==\nmasq-cni-b: /masq-cni doctor pod deadbeef\n", "node-2: masq-cni: it says 1\n"},
		{"doctor pod deadbeef", ends{"masq-cni-a": 2, "masq-cni-b": 2}, 2, "not found on 2 nodes\n", "node-1: masq-cni: it says 2\nnode-2: masq-cni: it says 2\n"},
		{"who 192.0.2.99:1 -o json", ends{"masq-cni-a": 1, "masq-cni-b": 1}, 1, "{}\n", "node-1: masq-cni: it says 1\nnode-2: masq-cni: it says 1\n"},
		{"who 192.0.2.99:1 -o yaml", ends{"masq-cni-a": 1, "masq-cni-b": 1}, 1, "{}\n", "node-1: masq-cni: it says 1\nnode-2: masq-cni: it says 1\n"},
	} {
		c.end(x.ends)
		if code, out, diag := c.ask(strings.Fields(x.args)...); code != x.code || out != x.out || diag != x.diag {
			t.Errorf("%s, with the exit codes %v: exit code %d\n%s\n%s", x.args, x.ends, code, out, diag)
		}
	}
}

func TestAllNodesAsOneObject(t *testing.T) {
	c := newCluster(t)
	const asJSON = `{
  "node-1": {
    "pod": "masq-cni-a",
    "a<b": []
  },
  "node-2": {
    "pod": "masq-cni-b",
    "a<b": []
  }
}
`
	for _, args := range []string{"inspect -o json", "inspect --output=json"} {
		if code, out, _ := c.ask(strings.Fields(args)...); code != 0 || out != asJSON {
			t.Errorf("%s: exit code %d\n%s", args, code, out)
		}
	}
	const asYAML = "\"node-1\":\n  pod: masq-cni-a\n\n  list:\n  - 1\n\"node-2\":\n  pod: masq-cni-b\n\n  list:\n  - 1\n"
	if code, out, _ := c.ask("inspect", "-o", "yaml"); code != 0 || out != asYAML {
		t.Errorf("exit code %d\n%s", code, out)
	}
	// The output of one node is unchanged.
	if _, out, _ := c.ask("inspect", "-o", "json", "--node", "node-1"); out != `{"pod":"masq-cni-a","a<b":[]}` {
		t.Errorf("%s", out)
	}
}

// TestKubectlExecFails: if kubectl exec cannot be started, the error has the reason.
func TestKubectlExecFails(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	a := agent{namespace: "kube-system", pod: "masq-cni-a", node: "node-1"}
	_, errRun := kubectl{}.run(t.Context(), a, []string{"inspect"})
	code, errAttach := kubectl{}.attach(t.Context(), a, []string{"inspect", "--watch"}, streams{})
	for _, err := range []error{errRun, errAttach} {
		if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "run kubectl exec in kube-system/masq-cni-a: ") || code != exitQueryFailed {
			t.Errorf("exit code %d, %v", code, err)
		}
	}
}

func TestFormat(t *testing.T) {
	for args, want := range map[string]string{
		"inspect -o json": "json", "inspect -ojson": "json", "inspect -o=yaml": "yaml", "inspect --output yaml": "yaml",
		"inspect": "", "inspect -o": "", "inspect --only": "",
	} {
		q, err := parse(strings.Fields(args))
		if err != nil || q.format() != want {
			t.Errorf("%s: %q, %v", args, q.format(), err)
		}
	}
}

func TestWatch(t *testing.T) {
	c := newCluster(t)
	c.end(ends{"masq-cni-b": 1})
	code, out, _ := c.ask("inspect", "flows", "--pod", "shop/web", "--watch")
	if code != 1 || out != "masq-cni-b: /masq-cni inspect flows --pod shop/web --watch\n" {
		t.Errorf("exit code %d, %s", code, out)
	}
	// The test has no terminal.
	if calls := c.calls(); strings.Contains(calls, "--tty") {
		t.Errorf("calls of kubectl:\n%s", calls)
	}
}

// TestCompletion checks that completions of all nodes are printed, each once.
func TestCompletion(t *testing.T) {
	c := newCluster(t)
	const want = "both\nof masq-cni-a\nof masq-cni-b\n:4\n"
	if code, out, diag := c.ask("__complete", "inspect", "pod", ""); code != 0 || out != want {
		t.Errorf("exit code %d\n%s%s", code, out, diag)
	}
	var out bytes.Buffer
	if code := run([]string{"/usr/local/bin/kubectl_complete-masq", "inspect", "pod", ""}, nil, &out, &out); code != 0 || out.String() != want {
		t.Errorf("exit code %d\n%s", code, &out)
	}
	if calls := c.calls(); !strings.Contains(calls, "-- /masq-cni __complete inspect pod \n") {
		t.Errorf("calls of kubectl:\n%s", calls)
	}
}

func TestHelp(t *testing.T) {
	c := newCluster(t)
	for _, args := range [][]string{nil, {"--help"}, {"help"}} {
		if code, out, _ := c.ask(args...); code != 0 || !strings.Contains(out, "--masq-namespace") {
			t.Errorf("%v: exit code %d\n%s", args, code, out)
		}
	}
	if code, out, _ := c.ask("--version"); code != 0 || out != "kubectl-masq version dev (unknown)\n" {
		t.Errorf("exit code %d, %s", code, out)
	}
	if calls := c.calls(); calls != "" {
		t.Errorf("calls of kubectl:\n%s", calls)
	}
}
