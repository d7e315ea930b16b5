package deploy

import (
	"maps"
	"strings"
	"testing"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/masq-cni/masq-cni/test/assert"
)

// Every object of the chart has the standard labels. Selectors have only labels that do not
// change with the version: a DaemonSet's selector is immutable.
func TestLabels(t *testing.T) {
	v := currentVersion(t)
	for _, set := range [][]string{
		nil,
		{"uninstall=true"},
		{"nameOverride=egress"},
		{"fullnameOverride=egress"},
		{"mode=network", "podMonitor.enabled=true", "metrics.exposed=true", `config={"helpers":{"ftp":[]}}`, `podLabels={"team":"net"}`},
	} {
		name := "masq-cni"
		if len(set) > 0 && strings.HasPrefix(set[0], "nameOverride") {
			name = "egress"
		}
		selector := map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/instance": "masq-cni"}
		all := helm(t, set...)
		for _, o := range all {
			want := maps.Clone(selector)
			want["app.kubernetes.io/version"], want["app.kubernetes.io/managed-by"], want["helm.sh/chart"] = v, "Helm", "masq-cni-"+v
			if got := o.any.(meta.Object).GetLabels(); !maps.Equal(got, want) {
				t.Errorf("%v: %s has the labels %v, not %v", set, o.id, got, want)
			}
		}
		ds := daemonSet(t, all)
		if got := ds.Spec.Selector.MatchLabels; !maps.Equal(got, selector) {
			t.Errorf("%v: the selector is %v", set, got)
		}
		pod := ds.Spec.Template.Labels
		if pod["app.kubernetes.io/name"] != name || pod["app.kubernetes.io/instance"] != "masq-cni" || pod["app.kubernetes.io/version"] != v {
			t.Errorf("%v: the pods have the labels %v", set, pod)
		}
		if strings.Contains(strings.Join(set, " "), "podLabels") != (pod["team"] == "net") {
			t.Errorf("%v: the pods have the labels %v", set, pod)
		}
	}
}

// Objects are named after the release and the chart, unless a value overrides it. References
// to an object use its name.
func TestNames(t *testing.T) {
	for set, want := range map[string]string{
		"mode=network": "masq-cni", "nameOverride=egress": "masq-cni-egress", "fullnameOverride=egress": "egress",
	} {
		ds := daemonSet(t, helm(t, set, "mode=network"))
		if ds.Name != want || ds.Spec.Template.Spec.ServiceAccountName != want {
			t.Errorf("%s: the DaemonSet is %s with the ServiceAccount %s, not %s", set, ds.Name, ds.Spec.Template.Spec.ServiceAccountName, want)
		}
		for _, o := range helm(t, set, "mode=network") {
			if o.name != want {
				t.Errorf("%s: there is %s, not %s", set, o.id, want)
			}
		}
	}
	out := string(assert.Must(tool("helm", "template", "blue", chart, "--namespace", "kube-system"))(t))
	if ds := daemonSet(t, assert.Must(parse([]byte(out)))(t)); ds.Name != "blue-masq-cni" {
		t.Errorf("release blue has the DaemonSet %s", ds.Name)
	}
}
