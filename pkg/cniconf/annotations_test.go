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

// A network allows the annotations of its list. Without a list, its egress addresses decide.
func TestAllowAnnotations(t *testing.T) {
	const egress, snat = `{"masq-cni.dev/egress": "direct"}`, `{"masq-cni.dev/snat-addresses": "192.0.2.2"}`
	list := func(l string) string { return allowed + `, "allowAnnotations": ` + l }
	for _, members := range []string{
		annotated(egress), `"allowAnnotations": ["egress"],` + annotated(egress), list(`["masq-cni.dev/egress"]`) + "," + annotated(egress),
		list(`["egress", "snat-addresses"]`) + "," + annotated(egress),
	} {
		if p := load(t, members).Policy; !p.EgressDirect || p.SNATAddresses != nil {
			t.Errorf("%s: direct %v, %v", members, p.EgressDirect, p.SNATAddresses)
		}
	}
	for _, members := range []string{allowed + "," + annotated(snat), list(`["snat-addresses"]`) + "," + annotated(snat)} {
		if p := load(t, members).Policy; p.EgressDirect || !reflect.DeepEqual(p.SNATAddresses, addrs("192.0.2.2", "2001:db8::1", "2001:db8::2")) {
			t.Errorf("%s: direct %v, %v", members, p.EgressDirect, p.SNATAddresses)
		}
	}
	if load(t, `"allowAnnotations": []`).PolicyNamed {
		t.Error("a network that gives only allowAnnotations has the node's policy")
	}
	const byDefault = `masq-cni.dev/egress: "direct" is not allowed by default where the network has snatAddresses; remove the annotation, or list "masq-cni.dev/egress" in allowAnnotations of the network`
	notListed := func(name string) string {
		return " is not allowed: allowAnnotations of the network does not list this annotation; remove the annotation, or list \"" + name + "\" in allowAnnotations of the network"
	}
	checkFaults(t, []faulty{
		{"default", allowed + "," + annotated(egress), byDefault},
		{"none", `"allowAnnotations": [],` + annotated(egress), `masq-cni.dev/egress: "direct"` + notListed("masq-cni.dev/egress")},
		{"another", list(`["snat-addresses"]`) + "," + annotated(egress), `masq-cni.dev/egress: "direct"` + notListed("masq-cni.dev/egress")},
		{"snat", list(`["egress"]`) + "," + annotated(snat), `masq-cni.dev/snat-addresses: "192.0.2.2"` + notListed("masq-cni.dev/snat-addresses")},
		{"unknown", `"allowAnnotations": ["egres"]`, `allowAnnotations: "egres" is not an annotation of masq; give "masq-cni.dev/egress" or "masq-cni.dev/snat-addresses"`},
		{"twice", `"allowAnnotations": ["egress", "masq-cni.dev/egress"]`, `allowAnnotations: "masq-cni.dev/egress" is given twice; keep one of them`},
		{"null", `"allowAnnotations": null`, `allowAnnotations: null is not allowed here; give a list of annotations such as ["masq-cni.dev/egress"]`},
		{"text", `"allowAnnotations": "egress"`, `allowAnnotations: "egress" is a string; give a list of annotations such as ["masq-cni.dev/egress"]`},
		{"number", `"allowAnnotations": [5]`, `allowAnnotations: 5 is a number; give a list of annotations such as ["masq-cni.dev/egress"]`},
	})
}

func TestAnnotationFaults(t *testing.T) {
	const snat = "masq-cni.dev/snat-addresses"
	const remedy = `; give addresses of the network's snatAddresses`
	in := func(annotations string) string { return allowed + "," + annotated(annotations) }
	checkFaults(t, []faulty{
		{"egress", in(`{"masq-cni.dev/egress": "nat\u001b"}`), `masq-cni.dev/egress: "nat\x1b" is not a kind of egress; give "direct", or remove the annotation`},
		{"egress type", in(`{"masq-cni.dev/egress": true}`), `masq-cni.dev/egress: true is not a string; give a string`},
		{
			"unknown", in(`{"masq-cni.dev/z": "1", "masq-cni.dev/": "2"}`),
			`annotation "masq-cni.dev/" is unknown; use "masq-cni.dev/egress" or "masq-cni.dev/snat-addresses"` + "\n" +
				`annotation "masq-cni.dev/z" is unknown; use "masq-cni.dev/egress" or "masq-cni.dev/snat-addresses"`,
		},
		{"not allowed", in(`{"` + snat + `": "192.0.2.1,192.0.2.9"}`), snat + `: "192.0.2.9" is not an address that the network allows` + remedy},
		{"no address", in(`{"` + snat + `": "192.0.2.1,"}`), snat + `: "" is not an address` + remedy},
		{"twice", in(`{"` + snat + `": "192.0.2.1, 192.0.2.1"}`), snat + `: "192.0.2.1" is given twice; keep one of them`},
		{
			"many", in(`{"` + snat + `": "` + strings.Repeat(",", 64) + `"}`),
			snat + `: "` + strings.Repeat(",", 64) + `" has 65 entries; give at most 64`,
		},
		{
			"both", in(`{"` + snat + `": "192.0.2.1", "masq-cni.dev/egress": "direct"}`),
			snat + `: "192.0.2.1" conflicts with "masq-cni.dev/egress": a direct pod leaves with its own address; keep one of the two annotations`,
		},
		{
			"again", `"allowAnnotations": ["egress"], ` + in(`{"masq-cni.dev/egress": "nat", "masq-cni.dev/egress": "direct", "x": 1, "x": 2}`),
			"masq-cni.dev/egress is given twice; keep one of them\nmasq-cni.dev/egress: \"nat\" is not a kind of egress; give \"direct\", or remove the annotation",
		},
		{"list", in(`["x"]`), `runtimeConfig.io.kubernetes.cri.pod-annotations: "[\"x\"]" is a list; give an object of strings`},
		{"runtimeConfig", `"runtimeConfig": "x"`, `runtimeConfig: "x" is a string; give an object`},
		{
			"network without", annotated(`{"` + snat + `": "192.0.2.1"}`),
			snat + `: "192.0.2.1" is not an address that the network allows` + remedy,
		},
	})
}
