package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// refusedInput is a configuration that ip-masq-agent reports as faulty and does not apply.
type refusedInput struct {
	name  string
	files map[string]string
	names string // text that the fault contains
}

// refusedRuns are the inputs that fail in validateConfigTests and syncConfigTests of
// cmd/ip-masq-agent/ip-masq-agent_test.go of kubernetes-sigs/ip-masq-agent, inputs that
// validate and Duration.UnmarshalJSON of ip-masq-agent.go refuse, and inputs that fail in
// syncConfigTests of cmd/ip-masq-agent-v2/ip-masq-agent_test.go of
// Azure/ip-masq-agent-v2.
var refusedRuns = []struct {
	agentRun
	inputs []refusedInput
}{
	{agentRun{name: "one file", flags: []string{"--enable-ipv6"}}, []refusedInput{
		{"no prefix", one("nonMasqueradeCIDRs: [abcdefg]\n"), `"abcdefg"`},
		{"no prefix, beside one", one("nonMasqueradeCIDRs: [10.0.0.0/8, abcdefg]\n"), `"abcdefg"`},
		{"no address", one("nonMasqueradeCIDRs: [10.256.0.0/16]\n"), `"10.256.0.0/16"`},
		{"not aligned", one("nonMasqueradeCIDRs: [10.0.0.1/8]\n"), `"10.0.0.1/8"`},
		{"no YAML", one("*"), "is not valid YAML"},
		{"no JSON", one("{*"), "is not valid JSON"},
		{"an interval that is a number", one("nonMasqueradeCIDRs: []\nresyncInterval: 60\n"), "resyncInterval: 60"},
		{"an interval without a unit", one("nonMasqueradeCIDRs: []\nresyncInterval: \"60\"\n"), `resyncInterval: "60"`},
		{"more prefixes than 64", one("nonMasqueradeCIDRs: " + list(65) + "\n"), "64"},
		{"more prefixes than the limit", one("nonMasqueradeCIDRs: [10.0.0.0/8, 11.0.0.0/8]\ncidrLimit: 1\n"), "cidrLimit"},
		{"prefixes given as a string", one("nonMasqueradeCIDRs: 10.0.0.0/8\n"), "nonMasqueradeCIDRs"},
		{"a boolean given as a number", one("nonMasqueradeCIDRs: []\nmasqLinkLocal: 1\n"), "masqLinkLocal"},
	}},
	{agentRun{name: "IPv4 only", flags: []string{"--enable-ipv6=false"}}, []refusedInput{
		{"an IPv6 prefix", one("nonMasqueradeCIDRs: [172.16.0.0/12, 10.0.0.0/8, \"fc00::/7\"]\n"), `"fc00::/7"`},
	}},
	{agentRun{name: "several files", flags: []string{"--enable-ipv6"}, merged: true}, []refusedInput{
		{"no JSON", several("{*"), "ip-masq-config-0"},
		{"no YAML", several("*"), "ip-masq-config-0"},
		{"a null entry", several("\nnonMasqueradeCIDRs:\n  - \n"), "null"},
		{"a null entry among prefixes", several("\nnonMasqueradeCIDRs:\n  - 192.168.0.0/24\n  - \n  - fd88:1234::/80\nmasqLinkLocal: true\nmasqLinkLocalIPv6: true\n"), "null"},
		{"an empty entry", several("\nnonMasqueradeCIDRs:\n  - \"\"\n"), `""`},
		{"the first of two", several("\nnonMasqueradeCIDRs:\n  -\n", "\nnonMasqueradeCIDRs:\n  - 192.168.0.0/24\nmasqLinkLocal: true\nmasqLinkLocalIPv6: true\n"), "ip-masq-config-0"},
		{"the second of two", several(
			`{"nonMasqueradeCIDRs": ["111.254.0.0/15", "8.0.0.0/8"], "masqLinkLocal": false, "masqLinkLocalIPv6": false}`,
			`{"nonMasqueradeCIDRs": [null, "172.168.0.0/16"], "masqLinkLocal": true, "masqLinkLocalIPv6": true}`,
		), "ip-masq-config-1"},
	}},
}

// TestRefusalsOfIPMasqAgent gives masqd inputs that ip-masq-agent refuses. The last valid
// configuration stays active, and /readyz names the fault. The control is a valid file:
// it changes the source addresses that arrive.
func TestRefusalsOfIPMasqAgent(t *testing.T) {
	n := newAgentNode(t)
	good := decision{direct: []string{"10.64.0.0/10", "203.0.113.0/24"}, masqLinkLocal4: true}
	const text = "nonMasqueradeCIDRs: [10.64.0.0/10, 203.0.113.0/24]\nmasqLinkLocal: true\n"
	control := decision{direct: []string{"10.0.0.0/8"}, masqLinkLocal4: true}
	destinations := edges([]agentRun{{inputs: []agentInput{{want: good}}}})
	for _, run := range refusedRuns {
		t.Run(run.name, func(t *testing.T) {
			d := n.in(t).masqd(run.agentRun)
			defer d.end()
			good := good
			good.noIPv6 = slices.Contains(run.flags, "--enable-ipv6=false")
			for _, in := range run.inputs {
				t.Run(in.name, func(t *testing.T) {
					n := n.in(t)
					before := maps.Clone(in.files) // under the same names, so that a file always exists
					for name := range before {
						before[name] = text
					}
					n.change(agentInput{files: before}, good)
					if reasons := d.reasons(t); len(reasons) != 0 {
						t.Fatalf("the valid file is reported as faulty: %s", reasons)
					}
					n.give(in.files)
					until(t, "the fault is reported", func() bool { return d.metric("masq_configuration_valid") == "0" })
					if reasons := d.reasons(t); len(reasons) != 1 || !strings.Contains(reasons[0], in.names) {
						t.Errorf("/readyz returned %q, want it to contain %s", reasons, in.names)
					}
					for _, difference := range n.ask(n.pod, destinations).differences(good.answers(n, destinations)) {
						t.Errorf("with the faulty file, to %s", difference)
					}
				})
			}
			n := n.in(t)
			n.change(agentInput{files: one("nonMasqueradeCIDRs: [10.0.0.0/8]\nmasqLinkLocal: true\n")}, control)
			if len(n.ask(n.pod, destinations).differences(good.answers(n, destinations))) == 0 {
				t.Error("a valid file changes nothing either, so the test proves nothing")
			}
		})
	}
}

// reasons returns the reasons that /readyz lists while it reports that masqd is ready.
func (d *daemon) reasons(t testing.TB) []string {
	t.Helper()
	code, text := d.get("/readyz")
	var got struct{ Reasons []string }
	if err := json.Unmarshal([]byte(text), &got); err != nil || code != http.StatusOK {
		t.Errorf("/readyz: %d %s, %v", code, text, err)
	}
	return got.Reasons
}
