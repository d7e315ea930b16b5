package hostlocal

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// network returns a configuration with keys of ipam, and with more keys before ipam.
func network(ipam, more string) string {
	return `{"cniVersion": "1.1.0", "name": "net", ` + more + `"ipam": {"type": "host-local", "dataDir": "DIR"` + ipam + `}}`
}

var faults = []struct {
	name, stdin, args string
	want              []string
	ours              bool // host-local has no such fault
}{
	{name: "not JSON", stdin: `{`, want: []string{"network configuration cannot be decoded"}},
	{name: "no name", stdin: `{"cniVersion": "1.1.0", "ipam": {"subnet": "10.0.0.0/24"}}`, want: []string{"missing network name"}},
	{name: "name with a path", stdin: `{"cniVersion": "1.1.0", "name": "../x", "ipam": {"subnet": "10.0.0.0/24"}}`, want: []string{"network name"}},
	{name: "no ipam", stdin: `{"cniVersion": "1.1.0", "name": "net"}`, want: []string{"ipam is missing"}},
	{name: "no ranges", stdin: network(``, ``), want: []string{"ipam has no ranges"}},
	{name: "range without subnet", stdin: network(`, "rangeStart": "10.0.0.1"`, ``), want: []string{"ipam has no ranges"}},
	{name: "empty set", stdin: network(`, "ranges": [[]]`, ``), want: []string{"ipam.ranges[0] has no range"}},
	{name: "null set", stdin: network(`, "ranges": [null]`, ``), want: []string{"ipam.ranges[0] has no range"}},
	{name: "empty range", stdin: network(`, "ranges": [[{}]]`, ``), want: []string{"ipam.ranges[0][0].subnet is missing"}},
	{name: "null subnet", stdin: network(`, "subnet": null, "ranges": [[{"subnet": "10.0.0.0/24"}]]`, ``), want: []string{"ipam.subnet"}},
	{name: "subnet without length", stdin: network(`, "subnet": "10.0.0.0"`, ``), want: []string{`ipam.subnet: "10.0.0.0" is not a subnet`}},
	{name: "subnet that is not a string", stdin: network(`, "subnet": 10`, ``), want: []string{"subnet"}},
	{name: "host bits", stdin: network(`, "subnet": "10.0.0.1/24"`, ``), want: []string{"bits beyond its length", `write "10.0.0.0/24"`}},
	{name: "too small", stdin: network(`, "subnet": "10.0.0.0/31"`, ``), want: []string{"too small"}},
	{name: "too small, IPv6", stdin: network(`, "subnet": "fd00::/127"`, ``), want: []string{"too small"}},
	{name: "mapped subnet", stdin: network(`, "subnet": "::ffff:10.0.0.0/112"`, ``), want: []string{"IPv4 address with an IPv6 prefix length"}},
	{name: "subnet with zone", stdin: network(`, "subnet": "fe80::%eth0/64"`, ``), want: []string{"not a subnet"}},
	{name: "start outside", stdin: network(`, "subnet": "10.0.0.0/24", "rangeStart": "10.0.1.1"`, ``), want: []string{"ipam.rangeStart: 10.0.1.1 is not in subnet 10.0.0.0/24"}},
	{name: "end outside", stdin: network(`, "ranges": [[{"subnet": "10.0.0.0/24", "rangeEnd": "10.0.1.1"}]]`, ``), want: []string{"ipam.ranges[0][0].rangeEnd: 10.0.1.1 is not in"}},
	{name: "start of the other family", stdin: network(`, "subnet": "10.0.0.0/24", "rangeStart": "fd00::1"`, ``), want: []string{"ipam.rangeStart"}},
	{name: "end before start", stdin: network(`, "subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.8"`, ``), want: []string{"ends at 10.0.0.8, before its start 10.0.0.9"}},
	{name: "end at the network's address", stdin: network(`, "subnet": "10.0.0.0/24", "rangeEnd": "10.0.0.0"`, ``), want: []string{"ends at 10.0.0.0"}},
	{name: "start at the broadcast address", stdin: network(`, "subnet": "10.0.0.0/24", "rangeStart": "10.0.0.255"`, ``), want: []string{"ends at 10.0.0.254"}, ours: true},
	{name: "start that is not an address", stdin: network(`, "subnet": "10.0.0.0/24", "rangeStart": "x"`, ``), want: []string{`ipam.rangeStart: "x" is not an address`}},
	{name: "start that is not an address, without a subnet", stdin: network(`, "ranges": [[{"subnet": "10.0.0.0/24"}]], "rangeStart": "x"`, ``), want: []string{`ipam.rangeStart: "x" is not an address`}},
	{name: "gateway with length", stdin: network(`, "subnet": "10.0.0.0/24", "gateway": "10.0.0.1/24"`, ``), want: []string{`ipam.gateway: "10.0.0.1/24" is not an address`}},
	{name: "gateway with zone", stdin: network(`, "subnet": "fd00::/64", "gateway": "fe80::1%eth0"`, ``), want: []string{"ipam.gateway"}},
	{name: "mixed families", stdin: network(`, "ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]]`, ``), want: []string{"different families"}},
	{name: "overlap in a set", stdin: network(`, "ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.0.0/16", "rangeEnd": "10.0.0.1"}]]`, ``), want: []string{"ipam.ranges[0][1]: 10.0.0.1-10.0.0.1 overlaps 10.0.0.1-10.0.0.254"}},
	{name: "overlap of sets", stdin: network(`, "subnet": "10.0.0.0/24", "ranges": [[{"subnet": "10.0.0.0/16"}]]`, ``), want: []string{"ipam.ranges[0]: 10.0.0.1-10.0.255.254 overlaps 10.0.0.1-10.0.0.254 of ipam"}},
	{name: "overlap with a range of the runtime", stdin: network(`, "subnet": "10.0.0.0/24"`, `"runtimeConfig": {"ipRanges": [[{"subnet": "10.0.0.0/25"}]]}, `), want: []string{"overlaps", "runtimeConfig.ipRanges[0]"}},
	{name: "two sets for an old result", stdin: strings.Replace(network(`, "ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.0.1.0/24"}]]`, ``), "1.1.0", "0.2.0", 1), want: []string{`cniVersion: "0.2.0"`}},
	{name: "pair without value", stdin: network(`, "subnet": "10.0.0.0/24"`, ``), args: "IP", want: []string{"CNI_ARGS"}},
	{name: "unknown argument", stdin: network(`, "subnet": "10.0.0.0/24"`, ``), args: "X=1", want: []string{"CNI_ARGS"}},
	{name: "IP that is not an address", stdin: network(`, "subnet": "10.0.0.0/24"`, ``), args: "IP=x", want: []string{`CNI_ARGS: IP: "x" is not an address`}},
	{name: "IP with a wrong length", stdin: network(`, "subnet": "10.0.0.0/24"`, ``), args: "IP=10.0.0.9/33", want: []string{"CNI_ARGS: IP"}},
	{name: "empty requested address", stdin: network(`, "subnet": "10.0.0.0/24"`, `"args": {"cni": {"ips": [""]}}, `), want: []string{"args.cni.ips[0] is empty"}},
	{name: "null requested", stdin: network(`, "subnet": "10.0.0.0/24"`, `"runtimeConfig": {"ips": [null]}, `), want: []string{"runtimeConfig.ips[0] is empty"}},
	{name: "route without destination", stdin: network(`, "subnet": "10.0.0.0/24", "routes": [{"dst": "x"}]`, ``), want: []string{"x"}},
	{name: "null route", stdin: network(`, "subnet": "10.0.0.0/24", "routes": [null]`, ``), want: []string{"ipam.routes[0]"}, ours: true},
	{
		name:  "several",
		stdin: network(`, "ranges": [[{"subnet": "10.0.0.1/24", "gateway": "g"}], [], [{"subnet": "fd00::/64", "rangeEnd": "fd01::"}]]`, `"runtimeConfig": {"ips": ["y"]}, `),
		want:  []string{"ipam.ranges[0][0].subnet", "ipam.ranges[0][0].gateway", "ipam.ranges[1]", "ipam.ranges[2][0].rangeEnd", "runtimeConfig.ips[0]"},
	},
}

// TestFaults checks that host-local refuses the same configurations.
func TestFaults(t *testing.T) {
	bin := hostLocal(t)
	for _, c := range faults {
		t.Run(c.name, func(t *testing.T) {
			stdin := []byte(strings.Replace(c.stdin, "DIR", t.TempDir(), 1))
			_, err := Open(stdin, c.args)
			if err == nil {
				t.Fatal("Open accepts it")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not contain %q", err, w)
				}
			}
			if _, err := bin.call("ADD", stdin, c.args, holder{"c", "eth0"}); (err == nil) != c.ours {
				t.Errorf("host-local: %v", err)
			}
		})
	}
}

func TestOpenDir(t *testing.T) {
	for dataDir, want := range map[string]string{"": "/var/lib/cni/networks/a.b-c", "/x/": "/x/a.b-c"} {
		l, err := Open(fmt.Appendf(nil, `{"name": "a.b-c", "ipam": {"subnet": "10.0.0.0/24", "dataDir": %q}}`, dataDir), "")
		if err != nil {
			t.Fatal(err)
		}
		if l.Dir() != want {
			t.Errorf("dataDir %q: directory %s, want %s", dataDir, l.Dir(), want)
		}
	}
}

// FuzzOpen checks that the ranges of an accepted configuration can be leased from.
func FuzzOpen(f *testing.F) {
	for _, c := range faults {
		f.Add([]byte(c.stdin), c.args)
	}
	for _, p := range plans {
		f.Add(p.conf("/x", "", ""), "IgnoreUnknown=1;IP=10.0.0.9/24")
	}
	f.Fuzz(func(t *testing.T, stdin []byte, args string) {
		l, err := Open(stdin, args)
		if err != nil {
			return
		}
		for i, s := range l.sets {
			for _, r := range s.ranges {
				if !r.contains(r.first) || !r.contains(r.last) || !r.gateway.IsValid() {
					t.Fatalf("%+v", r)
				}
				n := 0
				for a, of := range s.candidates(r.last) {
					if !of.contains(a) || a == of.gateway || a.String() != mustParse(t, a.String()).String() {
						t.Fatalf("%s of %+v", a, of)
					}
					if n++; n == 5 {
						break
					}
				}
			}
			for _, other := range l.sets[:i] {
				if s.overlaps(other) {
					t.Fatalf("%s overlaps %s", s, other)
				}
			}
		}
	})
}

func mustParse(t *testing.T, s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
