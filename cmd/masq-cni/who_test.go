package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWhoFaults checks that every fault has exit code 2, since 1 means not found.
func TestWhoFaults(t *testing.T) {
	state := t.TempDir()
	for args, want := range map[string]string{
		"":                                      "masq-cni who needs an argument, ADDRESS:PORT",
		"192.0.2.2:1 192.0.2.3:1":               `masq-cni who takes one argument, ADDRESS:PORT, but got 2: "192.0.2.2:1", "192.0.2.3:1"`,
		"192.0.2.2":                             `"192.0.2.2" has no port; give it as 192.0.2.2:4711, or list all flows of the address: masq-cni inspect flows --src 192.0.2.2`,
		"2001:db8::2":                           `"2001:db8::2" has no port; give it as [2001:db8::2]:4711, or list all flows of the address: masq-cni inspect flows --src 2001:db8::2`,
		"[2001:db8::2]/tcp":                     `"[2001:db8::2]/tcp" has no port`,
		"192.0.2":                               `"192.0.2" is not ADDRESS:PORT[/PROTOCOL]; give it as 192.0.2.2:4711`,
		"192.0.2.2:65536":                       `"192.0.2.2:65536" is not ADDRESS:PORT[/PROTOCOL]`,
		"192.0.2.2:-1":                          `"192.0.2.2:-1" is not ADDRESS:PORT[/PROTOCOL]`,
		"name:80":                               `"name:80" is not ADDRESS:PORT[/PROTOCOL]`,
		":80":                                   `":80" is not ADDRESS:PORT[/PROTOCOL]`,
		"192.0.2.2:80/tpc":                      `"tpc" in "192.0.2.2:80/tpc" is not a protocol; give one of tcp, udp, icmp`,
		"192.0.2.2:80/":                         `"" in "192.0.2.2:80/" is not a protocol`,
		"192.0.2.2:80/256":                      `"256" in "192.0.2.2:80/256" is not a protocol`,
		"192.0.2.2:80 --to name":                `--to "name" is not ADDRESS[:PORT]; give it as 198.51.100.2`,
		"192.0.2.2:80 --to 198.51.100.2:0":      `--to "198.51.100.2:0" is not ADDRESS[:PORT]`,
		"192.0.2.2:80 --to 2001:db8::2":         `--to "2001:db8::2" and 192.0.2.2 are of different families`,
		"192.0.2.2:7/icmp --to 198.51.100.2:80": `--to "198.51.100.2:80" has a port, but icmp has no ports; give only the address`,
		"192.0.2.2:80 -o xml":                   `--output "xml" is not known; give wide, json, yaml`,
		"192.0.2.2:80 --at noon":                `--at: "noon" is not a time`,
		"192.0.2.2:80 --netns no-such-name":     `--netns "no-such-name": there is no`,
	} {
		code, out, diag := command(t, append([]string{"who", "--state-dir", state}, strings.Fields(args)...)...)
		if code != 2 || out != "" || !strings.Contains(diag, want) {
			t.Errorf("%s: %d\n%s%s", args, code, out, diag)
		}
	}
	// All faults are reported at once, without terminal escapes.
	if code, _, diag := command(t, "who", "x\x1b[2J/y", "--to", "z", "--state-dir", state); code != 2 || strings.Count(diag, "\n") != 3 || strings.Contains(diag, "\x1b") {
		t.Errorf("%d\n%q", code, diag)
	}
	file := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, diag := command(t, "who", "192.0.2.2:80", "--state-dir", file); code != 2 || !strings.Contains(diag, "not a directory") {
		t.Errorf("%d\n%s", code, diag)
	}
}

// TestWhoNotFound checks the answer in an empty namespace: a sentence, or an empty list.
func TestWhoNotFound(t *testing.T) {
	for args, want := range map[string]string{
		"192.0.2.2:4711": "no flow leaves as 192.0.2.2:4711 now; the conntrack table has 0 flows\n" +
			"note: 192.0.2.2 is neither an address of the node nor of an attachment\n",
		"[::1]:4711/icmp": "no icmpv6 flow leaves as [::1]:4711 now; the conntrack table has 0 flows\n" +
			"note: ::1 is neither an address of the node nor of an attachment\n",
		"192.0.2.2:1/TCP --to 198.51.100.2":                   "no tcp flow leaves as 192.0.2.2:1 to 198.51.100.2 now; the conntrack table has 0 flows\n",
		"192.0.2.2:1/tcp --to 198.51.100.2:443":               "no tcp flow leaves as 192.0.2.2:1 to 198.51.100.2:443 now; the conntrack table has 0 flows\n",
		"192.0.2.2:1 --to 198.51.100.2:443":                   "no flow leaves as 192.0.2.2:1 to 198.51.100.2:443 now; the conntrack table has 0 flows\n",
		"[2001:db8::2]:1 --to [2001:db8::3]:443":              "no flow leaves as [2001:db8::2]:1 to [2001:db8::3]:443 now; the conntrack table has 0 flows\n",
		"192.0.2.2:1/icmp --to 198.51.100.2":                  "no icmp flow leaves as 192.0.2.2:1 to 198.51.100.2 now; the conntrack table has 0 flows\n",
		"[2001:db8::2]:1/icmpv6 --to [2001:db8::3]":           "no icmpv6 flow leaves as [2001:db8::2]:1 to 2001:db8::3 now; the conntrack table has 0 flows\n",
		"192.0.2.2:1/50 --to 198.51.100.2":                    "no 50 flow leaves as",
		"192.0.2.2:1 -o wide":                                 "no flow leaves as",
		"192.0.2.2:1 -o json":                                 "[]\n",
		"192.0.2.2:1/tcp --to 198.51.100.2:443 --output yaml": "[]\n",
		"[::ffff:192.0.2.2]:1/udp --to ::ffff:198.51.100.2":   "no udp flow leaves as 192.0.2.2:1 to 198.51.100.2 now",
		"[fe80::1%eth0]:1/gre --to [fe80::2%eth0]:7":          "no gre flow leaves as [fe80::1]:1 to [fe80::2]:7 now",
	} {
		code, out, diag := command(t, append([]string{"who", "--state-dir", t.TempDir()}, strings.Fields(args)...)...)
		if code != 1 || diag != "" || !strings.HasPrefix(out, want) {
			t.Errorf("%s: %d\n%s%s", args, code, out, diag)
		}
	}
}

func TestWhoCompletion(t *testing.T) {
	for typed, want := range map[string]string{
		"192.0.2.2:80/":   "192.0.2.2:80/tcp 192.0.2.2:80/udp 192.0.2.2:80/icmp 192.0.2.2:80/icmpv6 192.0.2.2:80/sctp 192.0.2.2:80/udplite 192.0.2.2:80/dccp 192.0.2.2:80/gre :4",
		"192.0.2.2:80/ud": "192.0.2.2:80/udp 192.0.2.2:80/udplite :4",
		"192.0.2":         ":6",
	} {
		code, out, _ := command(t, "__complete", "who", typed)
		if got := strings.Join(strings.Fields(out), " "); code != 0 || got != want {
			t.Errorf("%s: %d, %s", typed, code, got)
		}
	}
	if _, out, _ := command(t, "__complete", "who", "192.0.2.2:80", ""); out != ":4\n" {
		t.Errorf("%q", out)
	}
}
