package deploy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// alerts returns the rules of deploy/monitoring by name.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	assert.NoError(t, yaml.Unmarshal(read(t, "deploy/monitoring/rules.yaml"), &file))
	out := map[string]string{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			out[r.Alert] = r.Expr
		}
	}
	return out
}

// runbooks returns the pages that the alerts link to.
func runbooks(t *testing.T) map[string]string {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Annotations map[string]string
			}
		}
	}
	assert.NoError(t, yaml.Unmarshal(read(t, "deploy/monitoring/rules.yaml"), &file))
	out := map[string]string{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			out[r.Alert] = r.Annotations["runbook_url"]
		}
	}
	return out
}

// dashboard has the parts of Grafana's model that matter here.
type dashboard struct {
	Title, UID string
	Panels     []struct {
		ID                       int
		Type, Title, Description string
		GridPos                  struct{ H, W, X, Y int }
		Targets                  []struct{ Expr string }
	}
	Templating struct {
		List []struct{ Name, Definition string }
	}
}

func dashboardOf(t *testing.T) (d dashboard) {
	t.Helper()
	assert.NoError(t, json.Unmarshal(read(t, "deploy/monitoring/dashboard.json"), &d))
	return d
}

// exprs returns the queries of the dashboard as Grafana sends them for all nodes.
func (d dashboard) exprs() (out []string) {
	vars := strings.NewReplacer("$instance", ".*", "$__rate_interval", "30s")
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			out = append(out, vars.Replace(target.Expr))
		}
	}
	return out
}

// promtool accepts the rules, and each alert fires in its test.
func TestAlerts(t *testing.T) {
	assert.Must(tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", root+"/deploy/monitoring/rules.yaml"))(t)
	assert.Must(tool("promtool", "test", "rules", "testdata/alerts.yaml"))(t)
	tests := string(read(t, "test/deploy/testdata/alerts.yaml"))
	page := string(read(t, "docs/monitoring.md"))
	for name, url := range runbooks(t) {
		// GitHub's anchor of a one-word heading is the word in lower case.
		if want := "https://github.com/masq-cni/masq-cni/blob/main/docs/monitoring.md#" + strings.ToLower(name); url != want {
			t.Errorf("the runbook of %s is %q, not %q", name, url, want)
		}
	}
	for name := range alerts(t) {
		if n := strings.Count(tests, "alertname: "+name+"\n        exp_alerts"); n == 0 {
			t.Errorf("no test makes %s fire", name)
		}
		if !strings.Contains(page, "\n### "+name+"\n") {
			t.Errorf("docs/monitoring.md does not describe %s", name)
		}
	}
}

// The objects for the Prometheus operator and Grafana contain the tested rules and dashboard.
func TestMonitoringObjects(t *testing.T) {
	all := kustomize(t, root+"/deploy/monitoring")
	if len(all) != 3 {
		t.Fatalf("%d objects", len(all))
	}
	for _, o := range all {
		switch o := o.any.(type) {
		case *core.ConfigMap:
			if o.Data["dashboard.json"] != string(read(t, "deploy/monitoring/dashboard.json")) || o.Labels["grafana_dashboard"] != "1" {
				t.Errorf("the dashboard is %s %v", o.Name, o.Labels)
			}
		case *monitoring.PrometheusRule:
			var file monitoring.PrometheusRuleSpec
			assert.NoError(t, yaml.UnmarshalStrict(read(t, "deploy/monitoring/rules.yaml"), &file))
			if a, b := assert.Must(json.Marshal(o.Spec))(t), assert.Must(json.Marshal(file))(t); string(a) != string(b) {
				t.Errorf("the rules are\n%s\nnot\n%s", a, b)
			}
		case *monitoring.PodMonitor:
			scrapesPods(t, o, "metrics.exposed=true")
		}
	}
}

// scrapesPods checks that a PodMonitor selects the pods of a rendered chart, and keeps the
// labels of attachments.
func scrapesPods(t *testing.T, m *monitoring.PodMonitor, set ...string) {
	t.Helper()
	pod := daemonSet(t, helm(t, set...))
	for key, value := range m.Spec.Selector.MatchLabels {
		if pod.Spec.Template.Labels[key] != value {
			t.Errorf("%v: the PodMonitor selects %s=%s, and the pods have %v", set, key, value, pod.Spec.Template.Labels)
		}
	}
	e := m.Spec.PodMetricsEndpoints[0]
	if port := pod.Spec.Template.Spec.Containers[0].Ports[0].Name; *e.Port != port || m.Namespace != pod.Namespace || len(m.Spec.Selector.MatchLabels) == 0 {
		t.Errorf("%v: it scrapes %+v", set, m.Spec)
	}
	if !e.HonorLabels {
		t.Errorf("%v: the labels pod, namespace and container of attachments would be renamed", set)
	}
	job := pod.Spec.Template.Labels[m.Spec.JobLabel]
	for _, r := range e.RelabelConfigs {
		if r.TargetLabel == "job" {
			job = *r.Replacement
		}
	}
	if job != "masq-cni" {
		t.Errorf("%v: the job is %s", set, job)
	}
}

// On request the chart renders the PodMonitor of deploy/monitoring.
func TestPodMonitor(t *testing.T) {
	for _, more := range [][]string{nil, {"nameOverride=egress"}, {"fullnameOverride=egress"}, {"podMonitor.labels.release=prometheus"}} {
		set := append([]string{"metrics.exposed=true", "podMonitor.enabled=true"}, more...)
		found := 0
		for _, o := range helm(t, set...) {
			if m, ok := o.any.(*monitoring.PodMonitor); ok {
				found++
				scrapesPods(t, m, set...)
				if slices.Contains(more, "podMonitor.labels.release=prometheus") != (m.Labels["release"] == "prometheus") {
					t.Errorf("%v: it has the labels %v", set, m.Labels)
				}
			}
		}
		if found != 1 {
			t.Errorf("%v: there are %d", set, found)
		}
	}
}

// The dashboard's panels do not overlap and leave no gaps.
func TestDashboard(t *testing.T) {
	d := dashboardOf(t)
	ids := map[int]bool{}
	for i, p := range d.Panels {
		if p.Title == "" || ids[p.ID] || p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("panel %d is incomplete: %+v", i, p)
		}
		ids[p.ID] = true
		at := p.GridPos
		if at.X+at.W > 24 {
			t.Errorf("%s is wider than the page", p.Title)
		}
		for _, q := range d.Panels[:i] {
			if o := q.GridPos; at.X < o.X+o.W && o.X < at.X+at.W && at.Y < o.Y+o.H && o.Y < at.Y+at.H {
				t.Errorf("%s lies on %s", p.Title, q.Title)
			}
		}
	}
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
	}
	for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(string(read(t, "deploy/monitoring/dashboard.json")), -1) {
		if !slices.Contains(append(names, "__rate_interval", "__all"), m[1]) {
			t.Errorf("no variable defines $%s", m[1])
		}
	}
}

// mayBeEmpty are queries that may have no answer on a healthy node, with the reason.
var mayBeEmpty = map[string]string{
	`count by (feature) (masq_kernel_feature_available{job="masq-cni",instance=~".*"} == 0)`: "a kernel that lacks nothing",
}

// A Prometheus that scrapes a running masqd can answer every query of dashboard and alerts.
// Conditions that a test can create on a node make the alert's expression true. Otherwise it
// is false.
func TestQueriesAreAnswered(t *testing.T) {
	n := newNode(t)
	prom := scrapes(t, n.Node, served)
	pod := n.attach("web", keys{"toPorts": "20000-20019", "helpers": keys{"ftp": []int{21}}}) // twenty source ports
	echo := assert.Must(n.Server.ServeUDP(netip.AddrPortFrom(n.V4.Server, 7)))(t)
	ftp := assert.Must(n.Server.ServeFTP(netip.AddrPortFrom(n.V4.Server, 21)))(t)
	assert.Must(pod.FTPFetch(t.Context(), ftp.Addr(), nstest.PORT, 1000))(t)

	rules := alerts(t)
	firing := func() (out []string) {
		for name, expr := range rules {
			if prom.answers(expr) {
				out = append(out, name)
			}
		}
		slices.Sort(out)
		return out
	}
	missing := func(exprs []string) func() string {
		return func() string {
			for _, e := range exprs {
				if mayBeEmpty[e] == "" && !prom.answers(e) {
					return "answer to " + e
				}
			}
			return ""
		}
	}
	// The control: on a healthy node no alert fires, and every series exists.
	var looked []string
	for _, expr := range rules {
		looked = append(looked, prom.selectors(expr)...)
	}
	// These series exist only while source ports run out or an egress address is missing.
	later := func(s string) bool {
		return strings.HasPrefix(s, "masq_source_ports_exhausted_seconds") || strings.HasPrefix(s, "masq_egress_address_missing")
	}
	until(t, nil, missing(slices.DeleteFunc(slices.Clone(looked), later)))
	// After a scrape that a busy machine answers too late, masqd looks down until the next
	// scrape.
	fires := func(want ...string) func() string {
		return func() string {
			if now := firing(); !slices.Equal(now, want) {
				return fmt.Sprintf("moment at which %v fire, and nothing else: now %v", want, now)
			}
			return ""
		}
	}
	until(t, nil, fires())

	// The labels of a series name the attachment's pod, not the scraped pod.
	until(t, nil, missing([]string{`masq_attachment_flows{namespace="shop",pod="web"}`}))
	if prom.answers(`{exported_pod!=""}`) {
		t.Errorf("the labels of pods are %v", prom.ask("masq_attachment_flows"))
	}

	// The node has one egress address of another pod's network and lacks the other.
	n.attach("db", keys{"snatAddresses": []netip.Addr{n.V4.Node, netip.MustParseAddr("192.0.2.77")}})

	// One flow after the other uses a source port, and rules are flushed meanwhile.
	n.configure("nonMasqueradeCIDRs: [10.0.0.1/8]\n")
	flows := 0
	trouble := func() {
		if c, err := pod.DialUDP(netip.AddrPort{}, echo.Addr()); err == nil {
			_, _ = c.Write([]byte("hello")) // an error when no port is left
			_ = c.Close()
			flows++
		}
		// A change that masqd repairs together with the new configuration is not counted as a
		// repair, so the rules are flushed again each time that they are back.
		if out, err := n.Node.Command(t.Context(), "nft", "list", "chain", "inet", "masq", "postrouting").Output(); err == nil && strings.Contains(string(out), "postrouting/policy4") {
			n.nft("flush", "chain", "inet", "masq", "postrouting")
		}
	}
	until(t, trouble, missing(append(looked, dashboardOf(t).exprs()...)))
	want := []string{
		"MasqConfigurationInvalid", "MasqEgressAddressMissing", "MasqRepairsFrequent", "MasqSourcePortsNearlyExhausted", "MasqSourcePortsRunOut", "MasqTranslationsFail",
	}
	until(t, trouble, fires(want...))
	if flows == 0 {
		t.Error("no flow was sent, so the test proves nothing")
	}
	assert.NoError(t, n.masqd.Process.Kill())
	_ = n.masqd.Wait() // killed
	until(t, nil, func() string {
		if prom.answers(rules["MasqdDown"]) {
			return ""
		}
		return "cause for MasqdDown"
	})
}
