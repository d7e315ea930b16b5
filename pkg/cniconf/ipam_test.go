package cniconf

import (
	"reflect"
	"testing"
)

func TestIPAM(t *testing.T) {
	in := func(object string) string { return `"ipam": ` + object }
	const sets = `; give a list of lists such as [[{"subnet": "10.88.0.0/16"}]]`
	checkFaults(t, []faulty{
		{"text", in(`"host-local"`), `ipam: "host-local" is a string; give an object such as {"type": "host-local"}, or remove the key`},
		{"type", in(`{"type": 5}`), `ipam.type: 5 is a number; give the name of an IPAM plugin such as "host-local"`},
		{"path", in(`{"type": "../sh"}`), `ipam.type: "../sh" is not the name of a program; give the name of an IPAM plugin such as "host-local"`},
		{"escape", in(`{"type": "a\u001b"}`), `ipam.type: "a\x1b" is not the name of a program; give the name of an IPAM plugin such as "host-local"`},
		{"subnet type", in(`{"type": "host-local", "subnet": 10}`), `ipam.subnet: 10 is a number; give a prefix such as "10.88.0.0/16"`},
		{"subnet misaligned", in(`{"type": "host-local", "subnet": "10.88.0.1/16"}`), `ipam.subnet: "10.88.0.1/16" has bits beyond its length; write "10.88.0.0/16"`},
		{"subnet of all", in(`{"type": "host-local", "subnet": "0.0.0.0/0"}`), `ipam.subnet: "0.0.0.0/0" makes every destination one of the network's own; give the network's own prefix`},
		{"ranges", in(`{"type": "host-local", "ranges": {}}`), `ipam.ranges: "{}" is an object` + sets},
		{"set", in(`{"type": "host-local", "ranges": [{}]}`), `ipam.ranges[0]: "{}" is an object` + sets},
		{"range", in(`{"type": "host-local", "ranges": [[], ["10.88.0.0/16"]]}`), `ipam.ranges[1][0]: "10.88.0.0/16" is a string` + sets},
		{
			"range subnets", in(`{"type": "host-local", "ranges": [[{"subnet": null}], [{"subnet": "x"}]]}`),
			`ipam.ranges[0][0].subnet: null is not allowed here; give a prefix such as "10.88.0.0/16"` + "\n" +
				`ipam.ranges[1][0].subnet: "x" is not a prefix; give one such as "10.0.0.0/8" or "fd00::/8"`,
		},
		{
			"twice", in(`{"type": "host-local", "subnet": "10.1.0.0/16", "subnet": "10.2.0.0/16", "dataDir": 1, "dataDir": 2}`),
			`ipam.subnet is given twice; keep one of them`,
		},
		{
			"of the runtime", in(`{"type": "host-local"}, "runtimeConfig": {"ipRanges": [[{"subnet": "10.88.0.1/16"}]]}`),
			`runtimeConfig.ipRanges[0][0].subnet: "10.88.0.1/16" has bits beyond its length; write "10.88.0.0/16"`,
		},
	})
}

func TestIPAMSubnets(t *testing.T) {
	for _, tt := range []struct {
		members string
		kind    string
		want    []string
	}{
		{`"ipam": {}`, "", nil},
		{`"ipam": {"type": null}`, "", nil},
		{`"ipam": {"type": "dhcp"}`, "dhcp", nil},
		{`"ipam": {"type": "host-local", "routes": 5, "gateway": []}`, "host-local", nil},
		{
			`"ipam": {"type": "host-local", "subnet": "10.1.0.0/16", "ranges": [[{"subnet": "10.2.0.0/16"}, {"subnet": "10.2.0.0/16", "rangeStart": "10.2.1.0"}, {}], [{"subnet": "fd00::/64"}]]}`,
			"host-local",
			[]string{"10.1.0.0/16", "10.2.0.0/16", "fd00::/64"},
		},
		{
			`"ipam": {"type": "host-local", "subnet": "10.1.0.0/16"}, "runtimeConfig": {"ipRanges": [[{"subnet": "fd00::/64"}]]}`,
			"host-local",
			[]string{"10.1.0.0/16", "fd00::/64"},
		},
		{`"ipam": {"type": "other", "subnet": "10.1.0.0/16"}`, "other", []string{"10.1.0.0/16"}},
		{`"ipam": {"type": "other", "subnet": "10.1.0.0/32"}`, "other", nil},
		// Another plugin may give a key another meaning. Its subnets are then unknown.
		{`"ipam": {"type": "other", "subnet": "10.1.0.0/16", "ranges": "all"}`, "other", nil},
		{`"ipam": {"type": "other", "subnet": "10.1.0.0/16"}, "runtimeConfig": {"ipRanges": 5}`, "other", []string{"10.1.0.0/16"}},
	} {
		c := load(t, tt.members)
		if c.IPAMType != tt.kind || !reflect.DeepEqual(c.IPAMSubnets, prefixes(tt.want...)) {
			t.Errorf("%s: got %q %v, want %q %v", tt.members, c.IPAMType, c.IPAMSubnets, tt.kind, tt.want)
		}
	}
}
