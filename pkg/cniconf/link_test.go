package cniconf

import "testing"

func TestMTU(t *testing.T) {
	for members, want := range map[string]int{
		`"mtu": 0`: 0, `"mtu": 68`: 68, `"mtu": 65535`: 65535,
		`"mtu": 1280, "ipam": {"type": "host-local", "subnet": "fd00::/64"}`:      1280,
		`"mtu": 0, "ipam": {"type": "host-local", "subnet": "fd00::/64"}`:         0,
		`"mtu": 576, "ipam": {"type": "host-local", "subnet": "10.88.0.0/16"}`:    576,
		`"mtu": 576, "ipam": {"type": "other", "subnet": ["fd00::/64"]}`:          576,
		`"mtu": 1300, "ipam": {"type": "other", "ranges": [[{"subnet": "::1"}]]}`: 1300,
	} {
		if got := load(t, members).MTU; got != want {
			t.Errorf("%s: got MTU %d, want %d", members, got, want)
		}
	}
	const v4, v6 = "; give 0 (the MTU of the uplink) or 68-65535", "; give 0 (the MTU of the uplink) or 1280-65535"
	checkFaults(t, []faulty{
		{"negative", `"mtu": -1`, "mtu: -1 is negative" + v4},
		{"small", `"mtu": 67`, "mtu: 67 is below 68, the minimum of IPv4" + v4},
		{"large", `"mtu": 65536`, "mtu: 65536 is above 65535" + v4},
		{"fraction", `"mtu": 1500.5`, "mtu: 1500.5 is not a whole number of bytes" + v4},
		{"huge", `"mtu": 1e999`, "mtu: 1e999 is not a whole number of bytes" + v4},
		{"text", `"mtu": "1500"`, `mtu: "1500" is a string` + v4},
		{"null", `"mtu": null`, `mtu: null is not allowed here` + v4},
		{
			"IPv6", `"mtu": 1279, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00::/64"}]]}`,
			"mtu: 1279 is below 1280, the minimum of IPv6" + v6,
		},
	})
}

func TestStateDir(t *testing.T) {
	const remedy = `; give an absolute path such as "/run/masq-cni", or remove the key`
	checkFaults(t, []faulty{
		{"relative", `"stateDir": "run/masq"`, `stateDir: "run/masq" is not an absolute path` + remedy},
		{"empty", `"stateDir": ""`, `stateDir: "" is not an absolute path` + remedy},
		{"upwards", `"stateDir": "/run/../etc"`, `stateDir: "/run/../etc" is not a clean path` + remedy},
		{"slash", `"stateDir": "/run/masq/"`, `stateDir: "/run/masq/" is not a clean path; write "/run/masq"`},
		{"dot", `"stateDir": "/run/./masq"`, `stateDir: "/run/./masq" is not a clean path; write "/run/masq"`},
		{"root", `"stateDir": "/"`, `stateDir: "/" is the root directory` + remedy},
		{"NUL", `"stateDir": "/run/\u0000"`, `stateDir: "/run/\x00" has characters that cannot be printed` + remedy},
		{"type", `"stateDir": true`, `stateDir: true is a boolean` + remedy},
	})
}

func TestBackend(t *testing.T) {
	const remedy = `; remove the key, or give "nftables"`
	checkFaults(t, []faulty{
		{"iptables", `"ipMasqBackend": "iptables"`, `ipMasqBackend: "iptables" is not supported: masq uses nftables only` + remedy},
		{"other", `"ipMasqBackend": "ebpf"`, `ipMasqBackend: "ebpf" is not supported: masq uses nftables only` + remedy},
		{"case", `"ipMasqBackend": "NFTables"`, `ipMasqBackend: "NFTables" is not supported: masq uses nftables only` + remedy},
		{"null", `"ipMasqBackend": null`, `ipMasqBackend: null is not allowed here` + remedy},
	})
}
