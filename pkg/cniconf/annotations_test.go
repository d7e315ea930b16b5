package cniconf

import (
	"reflect"
	"strings"
	"testing"
)

const allowed = `"snatAddresses": ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"]`

func annotated(annotations string) string {
	return `"runtimeConfig": {"portMappings": 5, "io.kubernetes.cri.pod-annotations": ` + annotations + `}`
}

func TestAnnotations(t *testing.T) {
	for _, tt := range []struct {
		name, annotations string
		direct            bool
		want              []string
	}{
		{"none", `{}`, false, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"}},
		{"null", `null`, false, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"}},
		{"others'", `{"other.dev/egress": "x", "masq-cni.development/x": 5}`, false, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"}},
		{"direct", `{"masq-cni.dev/egress": "direct"}`, true, nil},
		{"one", `{"masq-cni.dev/snat-addresses": "192.0.2.2"}`, false, []string{"192.0.2.2", "2001:db8::1", "2001:db8::2"}},
		{"of each family", `{"masq-cni.dev/snat-addresses": " 2001:db8::2,192.0.2.3 , 192.0.2.1"}`, false, []string{"192.0.2.1", "192.0.2.3", "2001:db8::2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, allowed+","+annotated(tt.annotations)).Policy
			if p.EgressDirect != tt.direct || !reflect.DeepEqual(p.SNATAddresses, addrs(tt.want...)) {
				t.Errorf("got direct %v, %v; want %v, %v", p.EgressDirect, p.SNATAddresses, tt.direct, tt.want)
			}
		})
	}
}

func TestAnnotationFaults(t *testing.T) {
	const snat = "masq-cni.dev/snat-addresses"
	const mend = `; give addresses of the network's snatAddresses`
	in := func(annotations string) string { return allowed + "," + annotated(annotations) }
	checkFaults(t, []faulty{
		{"egress", in(`{"masq-cni.dev/egress": "nat\u001b"}`), `masq-cni.dev/egress: "nat\x1b": unknown egress; give "direct", or remove the annotation`},
		{"egress type", in(`{"masq-cni.dev/egress": true}`), `masq-cni.dev/egress: true: is a boolean; give a string`},
		{
			"unknown", in(`{"masq-cni.dev/z": "1", "masq-cni.dev/": "2"}`),
			`annotation "masq-cni.dev/": "2": unknown annotation; use "masq-cni.dev/egress" or "masq-cni.dev/snat-addresses"` + "\n" +
				`annotation "masq-cni.dev/z": "1": unknown annotation; use "masq-cni.dev/egress" or "masq-cni.dev/snat-addresses"`,
		},
		{"not allowed", in(`{"` + snat + `": "192.0.2.1,192.0.2.9"}`), snat + `: "192.0.2.9": the network does not allow this address` + mend},
		{"no address", in(`{"` + snat + `": "192.0.2.1,"}`), snat + `: "": is not an address` + mend},
		{"twice", in(`{"` + snat + `": "192.0.2.1, 192.0.2.1"}`), snat + `: "192.0.2.1": given twice; keep one`},
		{
			"many", in(`{"` + snat + `": "` + strings.Repeat(",", 64) + `"}`),
			snat + `: "` + strings.Repeat(",", 64) + `": has 65 entries; give at most 64`,
		},
		{
			"both", in(`{"` + snat + `": "192.0.2.1", "masq-cni.dev/egress": "direct"}`),
			snat + `: "192.0.2.1": the pod is direct, so it leaves with its own address; keep this or "masq-cni.dev/egress"`,
		},
		{
			"again", in(`{"masq-cni.dev/egress": "nat", "masq-cni.dev/egress": "direct", "x": 1, "x": 2}`),
			`annotation: "masq-cni.dev/egress": "direct": given twice, before as "nat"; keep one`,
		},
		{"list", in(`["x"]`), `runtimeConfig.io.kubernetes.cri.pod-annotations: "[\"x\"]": is a list; give an object of strings`},
		{"runtimeConfig", `"runtimeConfig": "x"`, `runtimeConfig: "x": is a string; give an object`},
		{
			"network without", annotated(`{"` + snat + `": "192.0.2.1"}`),
			snat + `: "192.0.2.1": the network does not allow this address` + mend,
		},
	})
}
