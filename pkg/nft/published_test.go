package nft

import (
	"os/exec"
	"slices"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// TestPublished reads ports from rules that nft and iptables wrote.
func TestPublished(t *testing.T) {
	c := kernel(t)
	if got, err := c.Published(); err != nil || len(got) != 0 {
		t.Fatalf("%v, %v", got, err)
	}
	nftables(t, `
		add table ip cni_hostport
		add chain ip cni_hostport hostports
		add chain ip cni_hostport hostip_hostports
		add rule ip cni_hostport hostports tcp dport 8080 dnat to 10.1.1.1:80
		add rule ip cni_hostport hostip_hostports ip daddr 192.0.2.1 udp dport 8081 dnat to 10.1.1.1:80
		add table ip6 cni_hostport
		add chain ip6 cni_hostport hostports
		add rule ip6 cni_hostport hostports tcp dport 8082-8083 dnat to [fd00::1]:80
		add table ip kube-proxy
		add map ip kube-proxy service-nodeports { type inet_proto . inet_service : verdict; }
		add element ip kube-proxy service-nodeports { tcp . 30081 : drop }
		add table ip other
		add chain ip other hostports
		add rule ip other hostports tcp dport 9999 accept
	`, "-f", "-")
	for _, rule := range [][]string{
		{"-N", "CNI-HOSTPORT-DNAT"},
		{"-N", "DOCKER"},
		{"-N", "KUBE-NODEPORTS"},
		{"-A", "CNI-HOSTPORT-DNAT", "-p", "tcp", "-m", "multiport", "--destination-ports", "8090,8092:8094,8096", "-j", "ACCEPT"},
		{"-A", "CNI-HOSTPORT-DNAT", "-p", "tcp", "-m", "multiport", "!", "--destination-ports", "9990", "-j", "ACCEPT"},
		{"-A", "CNI-HOSTPORT-DNAT", "-p", "tcp", "-m", "multiport", "--source-ports", "9991", "-j", "ACCEPT"},
		{"-A", "DOCKER", "!", "-i", "docker0", "-p", "udp", "--dport", "8097", "-j", "DNAT", "--to-destination", "10.1.1.1:80"},
		{"-A", "DOCKER", "-p", "tcp", "!", "--dport", "9992", "-j", "ACCEPT"},
		{"-A", "KUBE-NODEPORTS", "-p", "tcp", "-m", "comment", "--comment", "x", "--dport", "30080", "-j", "ACCEPT"},
	} {
		if out, err := exec.Command("iptables-nft", append([]string{"-t", "nat"}, rule...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", rule, err, out)
		}
	}
	got, err := c.Published()
	if err != nil {
		t.Fatal(err)
	}
	want := []masq.PortRange{{First: 8080, Last: 8083}, {First: 8090, Last: 8090}, {First: 8092, Last: 8094}, {First: 8096, Last: 8097}, {First: 30080, Last: 30081}}
	if merged := ruleset.MergePorts(got); !slices.Equal(merged, want) {
		t.Errorf("%v, want %v", merged, want)
	}
}

// TestMatchedPorts reads the structs of older iptables, which matched ports without
// nf_tables' own expressions.
func TestMatchedPorts(t *testing.T) {
	tcp := []byte{0, 0, 255, 255, 0x90, 0x1f, 0x91, 0x1f, 0, 0, 0, 0}
	for _, c := range []struct {
		name string
		info []byte
		want []masq.PortRange
	}{
		{"tcp", tcp, []masq.PortRange{{First: 8080, Last: 8081}}},
		{"udp", tcp[:10], []masq.PortRange{{First: 8080, Last: 8081}}},
		{"tcp", []byte{0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 0, 0}, nil},
		{"tcp", tcp[:7], nil},
		{"multiport", make([]byte, 48), nil},
		{"multiport", []byte{1, 15}, nil},
		{"comment", tcp, nil},
	} {
		if got := matchedPorts(c.name, c.info); !slices.Equal(got, c.want) {
			t.Errorf("%s %v: %v, want %v", c.name, c.info, got, c.want)
		}
	}
}
