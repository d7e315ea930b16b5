package e2e

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v4"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// containers returns the programs of a manifest as command lines for the node.
func (m *migration) containers(file string) (out []string) {
	m.t.Helper()
	type container struct {
		Command, Args []string
		Env           []struct{ Name, Value string }
	}
	var d struct {
		Spec struct {
			Template struct {
				Spec struct {
					Init       []container `yaml:"initContainers"`
					Containers []container
				}
			}
		}
	}
	assert.NoError(m.t, yaml.Unmarshal([]byte(textOf(file)), &d))
	for _, c := range slices.Concat(d.Spec.Template.Spec.Init, d.Spec.Template.Spec.Containers) {
		var words []string
		for _, e := range c.Env {
			words = append(words, e.Name+"="+e.Value)
		}
		words = append(append(append(words, "exec"), c.Command...), c.Args...)
		line := strings.ReplaceAll(strings.Join(words, " "), "/host/", "/")
		out = append(out, regexp.MustCompile(`([ =])/masq`).ReplaceAllString(line, "${1}bin/masq"))
	}
	if len(out) != 2 {
		m.t.Fatalf("%s has the containers %q", file, out)
	}
	return out
}

// stay starts a program that keeps running.
func (m *migration) stay(line string) *nstest.Command {
	m.t.Helper()
	c := m.shell(line)
	assert.NoError(m.t, c.Start())
	return c
}

// end ends programs as the kubelet does.
func (m *migration) end(all *[]*nstest.Command) {
	m.t.Helper()
	for _, c := range *all {
		assert.NoError(m.t, c.Process.Signal(syscall.SIGTERM))
		if err := c.Wait(); err != nil {
			m.t.Errorf("%v: %v", c.Args, err)
		}
	}
	*all = nil
}

// deploy runs on the node what the DaemonSet of masq-cni runs.
func deploy(m *migration) {
	m.t.Helper()
	m.must("mkdir -p /run/masq-cni")
	for _, line := range m.containers("deploy/masq-cni.yaml") {
		m.ours = append(m.ours, m.stay(line))
	}
}

// rolled waits for what kubectl rollout status waits for.
func rolled(m *migration) {
	m.t.Helper()
	if m.ours == nil {
		return // it is uninstalled already
	}
	assert.NoError(m.t, m.soon(`curl -s http://127.0.0.1:9468/readyz | grep '"ready":true'`))
	assert.NoError(m.t, m.soon(`grep '"masq"' /etc/cni/net.d/`+m.way.file))
	m.run("new")
	before := m.masqueraded()
	m.seen()
	if after := m.masqueraded(); after > before {
		m.t.Errorf("the old rules still translate: %d connections, then %d", before, after)
	}
}

// undeploy runs on the node what the uninstall DaemonSet runs.
func undeploy(m *migration) {
	m.t.Helper()
	m.end(&m.ours)
	m.must(m.containers("deploy/uninstall.yaml")[0])
}

// elsewhere is for commands without an effect on the node.
func elsewhere(*migration) {}

// policy writes the ConfigMap of the node's policy as a mounted volume.
func policy(m *migration) {
	m.t.Helper()
	m.write("/etc/config/ip-masq-agent", migrateText(m.way.from, "yaml"))
}

// migrateText returns the first block of a language below the steps of a way.
func migrateText(from, language string) string {
	_, after, _ := strings.Cut(textOf(migratePage), "### Steps from "+from+"\n")
	_, after, _ = strings.Cut(after, "```"+language+"\n")
	text, _, _ := strings.Cut(after, "```")
	return text
}

// inCluster returns the commands that every way runs in a cluster, and more.
func inCluster(more map[string]func(*migration)) map[string]func(*migration) {
	out := map[string]func(*migration){
		"kubectl -n kube-system create configmap masq-cni-config --from-file=config=policy.yaml": policy,
		"kubectl apply -f deploy/masq-cni.yaml":                                                  deploy,
		"kubectl -n kube-system rollout status daemonset/masq-cni":                               rolled,
		"kubectl apply -f deploy/uninstall.yaml":                                                 undeploy,
		"kubectl delete -f deploy/masq-cni.yaml":                                                 elsewhere,
	}
	maps.Copy(out, more)
	return out
}
