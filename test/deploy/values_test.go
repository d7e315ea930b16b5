package deploy

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	core "k8s.io/api/core/v1"

	"github.com/masq-cni/masq-cni/pkg/nodeconf"
	"github.com/masq-cni/masq-cni/test/assert"
)

// leaf is a value that users can set.
type leaf struct {
	name    string // name for helm's --set
	comment string // comment above the value
	json    string // default
}

// leaves returns the values of the chart.
func leaves(t *testing.T) (out []leaf) {
	t.Helper()
	var doc yaml.Node
	assert.NoError(t, yaml.Unmarshal(assert.Must(os.ReadFile(chart+"/values.yaml"))(t), &doc))
	var walk func(prefix string, n *yaml.Node)
	walk = func(prefix string, n *yaml.Node) {
		for i := 0; i < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.HeadComment == "" && value.Kind == yaml.MappingNode && len(value.Content) > 0 {
				walk(prefix+key.Value+".", value)
				continue
			}
			var v any
			assert.NoError(t, value.Decode(&v))
			out = append(out, leaf{prefix + key.Value, key.HeadComment, string(assert.Must(json.Marshal(v))(t))})
		}
	}
	walk("", doc.Content[0])
	return out
}

// others has another value for each leaf, and the values that must be set with it to have an
// effect.
var others = map[string][]string{
	"image.repository":        {"image.repository=example.org/masq"},
	"image.tag":               {"image.tag=9.9.9"},
	"image.digest":            {"image.digest=sha256:" + strings.Repeat("0", 64)},
	"image.pullPolicy":        {"image.pullPolicy=Always"},
	"imagePullSecrets":        {`imagePullSecrets=[{"name":"registry"}]`},
	"mode":                    {"mode=none"},
	"podCIDRs":                {"podCIDRs={10.1.0.0/24,fd00:1::/64}", "mode=network"},
	"pluginConfig":            {`pluginConfig={"toPorts":"20000-29999"}`},
	"cniBinDir":               {"cniBinDir=/var/lib/bin"},
	"cniConfDir":              {"cniConfDir=/var/lib/rancher/k3s/agent/etc/cni/net.d"},
	"configMap":               {"configMap=ip-masq-agent"},
	"config":                  {`config={"nonMasqueradeCIDRs":["10.0.0.0/8"],"helpers":{"ftp":[]}}`},
	"args":                    {"args={--attachment-metrics=20}"},
	"metrics.exposed":         {"metrics.exposed=true"},
	"metrics.port":            {"metrics.port=9999"},
	"natLog.enabled":          {"natLog.enabled=true"},
	"podMonitor.endpoint":     {"podMonitor.endpoint.scheme=https", "podMonitor.enabled=true", "metrics.exposed=true"},
	"metrics.webConfigSecret": {"metrics.webConfigSecret=masqd-web"},
	"metrics.healthPort":      {"metrics.healthPort=9999", "metrics.webConfigSecret=masqd-web"},
	"natLog.dir":              {"natLog.dir=/srv/log", "natLog.enabled=true"},
	"natLog.size":             {"natLog.size=10737418240", "natLog.enabled=true"},
	"natLog.age":              {"natLog.age=2160h", "natLog.enabled=true"},
	"prepare.enabled":         {"prepare.enabled=true"},
	"prepare.sysctls":         {`prepare.sysctls={"net.ipv6.conf.all.forwarding":1}`, "prepare.enabled=true"},
	"prepare.modules":         {"prepare.modules={nf_nat_sip}", "prepare.enabled=true"},
	"nodeSelector":            {"nodeSelector.pool=blue"},
	"maxUnavailable":          {"maxUnavailable=10%"},
	"resources.masqd":         {"resources.masqd.limits.memory=1Gi"},
	"resources.install":       {"resources.install.requests.cpu=7m"},
	"uninstall":               {"uninstall=true"},

	"nameOverride":       {"nameOverride=egress"},
	"fullnameOverride":   {"fullnameOverride=egress"},
	"extraEnv":           {`extraEnv=[{"name":"MASQD_LOG_FORMAT","value":"json"}]`},
	"podMonitor.enabled": {"podMonitor.enabled=true", "metrics.exposed=true"},
	"podMonitor.labels":  {"podMonitor.labels.release=prometheus", "podMonitor.enabled=true", "metrics.exposed=true"},
	"tolerations":        {`tolerations=[{"key":"dedicated","operator":"Exists","effect":"NoSchedule"}]`},
	"affinity":           {`affinity={"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"virtual","operator":"DoesNotExist"}]}]}}}`},
	"priorityClassName":  {"priorityClassName=high"},
	"podAnnotations":     {`podAnnotations={"example.org/team":"net"}`},
	"podLabels":          {`podLabels={"team":"net"}`},
}

// Each value has a comment and changes the rendered objects.
func TestValues(t *testing.T) {
	all := leaves(t)
	for _, v := range all {
		if v.comment == "" {
			t.Errorf("values.yaml: %s has no comment", v.name)
		}
		set, known := others[v.name]
		if !known {
			t.Errorf("no test shows the effect of %s", v.name)
			continue
		}
		if text(t, helm(t, set...)) == text(t, helm(t, set[1:]...)) {
			t.Errorf("%s changes nothing", set[0])
		}
	}
	if len(all) != len(others) {
		t.Errorf("%d values, want %d: %v", len(all), len(others), all)
	}
}

// The values have their documented effects.
func TestValuesMean(t *testing.T) {
	all := helm(t, others["config"]...)
	config := all[slices.IndexFunc(all, func(o object) bool { return o.id == "ConfigMap masq-cni-config" })].any.(*core.ConfigMap)
	node := assert.Must(nodeconf.Parse("config", []byte(config.Data["config"])))(t)
	if got := node.Policy.NonMasquerade; len(got) != 1 || got[0].String() != "10.0.0.0/8" || len(node.Policy.Helpers) != 1 {
		t.Errorf("the configuration is %s, which means %+v", config.Data, node.Policy)
	}

	container := func(name string, set ...string) core.Container {
		pod := daemonSet(t, helm(t, set...)).Spec.Template.Spec
		list := slices.Concat(pod.InitContainers, pod.Containers)
		return list[slices.IndexFunc(list, func(c core.Container) bool { return c.Name == name })]
	}
	for _, c := range []struct {
		name string
		set  []string
		want string
	}{
		{"install", others["podCIDRs"], "--pod-cidr=10.1.0.0/24,fd00:1::/64"},
		{"install", others["pluginConfig"], `--plugin-config={"toPorts":"20000-29999"}`},
		{"install", []string{"mode=network"}, "--node-name=$(NODE_NAME)"},
		{"install", others["metrics.port"], "--ready-url=http://127.0.0.1:9999/readyz"},
		{"install", others["metrics.healthPort"], "--ready-url=http://127.0.0.1:9999/readyz"},
		{"install", []string{"metrics.healthPort=9999"}, "--ready-url=http://127.0.0.1:9468/readyz"},
		{"masqd", others["args"], "--attachment-metrics=20"},
		{"prepare", others["prepare.sysctls"], "--sysctl=net.ipv6.conf.all.forwarding=1"},
	} {
		if args := container(c.name, c.set...).Args; !slices.Contains(args, c.want) {
			t.Errorf("%v: %s has %q", c.set, c.name, args)
		}
	}
	if c := container("prepare", "prepare.enabled=true", "prepare.modules=[]"); !slices.Equal(c.SecurityContext.Capabilities.Add, []core.Capability{"NET_ADMIN"}) {
		t.Errorf("without modules prepare has %v", c.SecurityContext.Capabilities.Add)
	}
	masqd := container("masqd", others["metrics.healthPort"]...)
	if masqd.LivenessProbe.HTTPGet.Port.IntValue() != 9999 || masqd.ReadinessProbe.HTTPGet.Port.IntValue() != 9999 ||
		!slices.Contains(masqd.Env, core.EnvVar{Name: "MASQD_HEALTH_LISTEN", Value: "127.0.0.1:9999"}) ||
		!slices.Contains(masqd.Env, core.EnvVar{Name: "MASQD_WEB_CONFIG_FILE", Value: "/etc/masqd-web/web-config.yml"}) ||
		!slices.ContainsFunc(masqd.VolumeMounts, func(m core.VolumeMount) bool { return m.MountPath == "/etc/masqd-web" && m.ReadOnly }) {
		t.Errorf("with a web configuration masqd is %+v", masqd)
	}
	if image := container("masqd", others["image.digest"]...).Image; image != "ghcr.io/masq-cni/masq-cni@sha256:"+strings.Repeat("0", 64) {
		t.Errorf("the image is %s", image)
	}
}

// The schema refuses invalid values and names them.
func TestSchemaRefuses(t *testing.T) {
	for set, want := range map[string]string{
		"mode=chained":                             "at '/mode': value must be one of 'chain', 'network', 'none'",
		"podCIDRs={10.1.0.0/24}":                   "at '/mode': value must be 'network'",
		"podCIDRs={here}":                          "at '/podCIDRs/0': 'here' does not match",
		"metrics.port=99999":                       "at '/metrics/port': maximum: got 99,999, want 65,535",
		"metrics.exposed=yes":                      "at '/metrics/exposed': got string, want boolean",
		"metric.port=1":                            "additional properties 'metric' not allowed",
		`config={"mssClamp":1}`:                    "at '/config/mssClamp'",
		`config={"nonMasqueradeCIDR":[]}`:          "at '/config': additional properties 'nonMasqueradeCIDR' not allowed",
		"config=text":                              "at '/config': got string, want null or object",
		"maxUnavailable=0":                         "at '/maxUnavailable': minimum: got 0, want 1",
		"maxUnavailable=half":                      "at '/maxUnavailable': 'half' does not match",
		"natLog.dir=log":                           "at '/natLog/dir': 'log' does not match",
		"natLog.size=0":                            "at '/natLog/size': minimum",
		"natLog.age=90d":                           "at '/natLog/age': '90d' does not match",
		"prepare.modules={nf_conntrack_snmp}":      "at '/prepare/modules/0': 'nf_conntrack_snmp' does not match",
		`prepare.sysctls={"vm.swappiness":1}`:      "invalid propertyName 'vm.swappiness'",
		"resources.masqd.limits.memory=many":       "at '/resources/masqd/limits/memory': 'many' does not match",
		"image.digest=sha256:0":                    "at '/image/digest': 'sha256:0' does not match",
		"image.pullPolicy=always":                  "at '/image/pullPolicy': value must be one of",
		"args={source-cidrs=10.0.0.0/8}":           "at '/args/0'",
		"uninstall=1":                              "at '/uninstall': got number, want boolean",
		"nameOverride=Egress":                      "at '/nameOverride': 'Egress' does not match",
		"podMonitor.enabled=true":                  "at '/metrics/exposed': value must be true",
		`extraEnv=[{"value":"x"}]`:                 "missing property 'name'",
		`tolerations=[{"operator":"Is"}]`:          "at '/tolerations/0/operator'",
		`affinity={"node":{}}`:                     "additional properties 'node' not allowed",
		`podLabels={"app.kubernetes.io/name":"x"}`: "invalid propertyName 'app.kubernetes.io/name'",
		"configMap=IP_MASQ":                        "at '/configMap': 'IP_MASQ' does not match",
	} {
		if _, err := rendered(set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is answered with %v, not with %q", set, err, want)
		}
	}
}

func TestLint(t *testing.T) {
	assert.Must(tool("helm", "lint", "--strict", chart))(t)
}

// NOTES.txt gives the next steps for the chosen values.
func TestNotes(t *testing.T) {
	for set, want := range map[string][]string{
		"mode=chain":           {"masq in its existing network", "kubectl -n kube-system rollout status daemonset/masq-cni", "the ConfigMap masq-cni-config"},
		"mode=network":         {"masq as its network"},
		"mode=none":            {"List them in the ConfigMap"},
		"metrics.exposed=true": {"port 9468 on each address of each node. Any client"},
		"metrics.exposed=true,metrics.webConfigSecret=masqd-web": {"of each node, with the web configuration of the Secret masqd-web."},
		"uninstall=true": {"is being removed from each node", "helm -n kube-system uninstall masq-cni"},
	} {
		out := string(assert.Must(tool("helm", "install", "masq-cni", chart, "--namespace", "kube-system", "--dry-run=client", "--set", set))(t))
		_, notes, _ := strings.Cut(out, "NOTES:")
		for _, w := range want {
			if !strings.Contains(notes, w) {
				t.Errorf("%s: the notes lack %q:\n%s", set, w, notes)
			}
		}
		if strings.Contains(notes, "\n\n\n") || strings.Contains(notes, "<no value>") {
			t.Errorf("%s: the notes are\n%s", set, notes)
		}
	}
}
