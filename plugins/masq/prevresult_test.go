package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// Which addresses of a result are the container's, in the shapes that providers'
// plugins write. NETNS stands for the container's namespace.
func TestAddressesOf(t *testing.T) {
	dir := t.TempDir()
	netns, other := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, path := range []string{netns, other} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	alias := filepath.Join(dir, "alias")
	if err := os.Symlink(netns, alias); err != nil {
		t.Fatal(err)
	}
	stand := strings.NewReplacer("NETNS", netns, "OTHER", other, "ALIAS", alias)
	for _, c := range []struct {
		name, result string
		chained      bool
		want         string
		passed       []string // what the error says, where want is empty
	}{
		{"AWS with several interfaces", `{"interfaces":[
			{"name":"eni1"},{"name":"eth0","sandbox":"NETNS"},{"name":"eni2"},{"name":"mNicIf1","sandbox":"NETNS"},{"name":"dummy1","mac":"0","sandbox":"2"}],
			"ips":[{"address":"10.0.0.5/32","interface":1},{"address":"10.0.1.5/32","interface":3}]}`, true, "[10.0.0.5/32 10.0.1.5/32]", nil},
		{"the same in main mode", `{"interfaces":[{"name":"eth0","sandbox":"NETNS"},{"name":"net1","sandbox":"NETNS"}],
			"ips":[{"address":"10.0.0.5/32","interface":0},{"address":"10.0.1.5/32","interface":1}]}`, false, "[10.0.0.5/32]", nil},
		{"no interface is named", `{"ips":[{"address":"10.0.0.5/24"},{"address":"fd00::5/64"}]}`, true, "[10.0.0.5/24 fd00::5/64]", nil},
		{"another interface name", `{"interfaces":[{"name":"ens5","sandbox":"NETNS"}],"ips":[{"address":"10.0.0.5/24","interface":0}]}`, true, "[10.0.0.5/24]", nil},
		{"a sandbox that leads nowhere", `{"interfaces":[{"name":"eth0","sandbox":"/gone"},{"name":"eth1","sandbox":"/gone"}],
			"ips":[{"address":"10.0.0.5/24","interface":0},{"address":"10.0.0.6/24","interface":1}]}`, true, "[10.0.0.5/24]", nil},
		{"the sandbox by another path", `{"interfaces":[{"name":"eth0","sandbox":"ALIAS"}],"ips":[{"address":"10.0.0.5/24","interface":0}]}`, true, "[10.0.0.5/24]", nil},
		{"others' addresses beside", `{"interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"NETNS"},{"name":"eth0","sandbox":"OTHER"}],
			"ips":[{"address":"192.0.2.1/24","interface":0},{"address":"10.0.0.5/24","interface":1},{"address":"10.0.0.6/24","interface":2}]}`, true, "[10.0.0.5/24]", nil},
		{"none of this container", `{"interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"OTHER"},null,{"name":"dummy","sandbox":"42"}],
			"ips":[{"address":"192.0.2.1/24","interface":0},{"address":"10.0.0.6/24","interface":1},{"address":"10.0.0.7/24","interface":2},{"address":"10.0.0.8/24","interface":3}]}`, true, "", []string{
			`192.0.2.1/24: interface "br0" has no sandbox`, `10.0.0.6/24: interface "eth0" is in sandbox "OTHER"`, `10.0.0.7/24: its interface is null`, `10.0.0.8/24: interface "dummy" is in sandbox "42"`,
		}},
		{"nothing", `{"ips":[]}`, true, "", []string{"the result has no addresses"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r types100.Result
			if err := json.Unmarshal([]byte(stand.Replace(c.result)), &r); err != nil {
				t.Fatal(err)
			}
			got, err := addressesOf(&r, &skel.CmdArgs{Netns: netns, IfName: "eth0"}, c.chained)
			if c.want != "" {
				if fmt.Sprint(got) != c.want || err != nil {
					t.Errorf("got %v, %v, want %s", got, err, c.want)
				}
				return
			}
			if err == nil {
				t.Fatalf("got %v", got)
			}
			said := fmt.Sprintf("%+v", err)
			for _, part := range c.passed {
				if part = stand.Replace(part); !strings.Contains(said, part) {
					t.Errorf("%s does not say %q", said, part)
				}
			}
		})
	}
}
