package e2e

import (
	"fmt"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/assert"
)

func theWays() []way {
	out := []way{fromAgent()}
	out = append(out, fromIPMasq()...)
	out = append(out, fromFlannel()...)
	return append(out, fromKubeRouter())
}

// agentComment is the comment of ip-masq-agent's jump, with quotes
// (postroutingJumpComment of cmd/ip-masq-agent/ip-masq-agent.go).
const agentComment = `"ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ-AGENT chain"`

// unmasqueraded is a network of ptp that does not masquerade.
const unmasqueraded = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "ptp",
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00:88::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
      }
    }
  ]
}
`

// fromAgent has the rules of ip-masq-agent, written again each second.
func fromAgent() way {
	remove := func(m *migration) {
		for _, program := range []string{"iptables", "ip6tables"} {
			m.must(program + " -t nat -F IP-MASQ-AGENT")
		}
	}
	return way{
		name: "ip-masq-agent", from: "ip-masq-agent", network: unmasqueraded, file: "10-pods.conflist",
		begin: beginAgent, remove: remove,
		stands: inCluster(map[string]func(*migration){
			"kubectl -n kube-system edit configmap ip-masq-agent":           policy,
			"kubectl apply -k deploy/kustomize/overlays/ip-masq-agent":      deploy,
			"kubectl -n kube-system delete daemonset ip-masq-agent":         func(m *migration) { m.end(&m.theirs) },
			"kubectl apply -f ip-masq-agent.yaml":                           beginAgent,
			"kubectl -n kube-system rollout status daemonset/ip-masq-agent": elsewhere,
			"kubectl apply -k deploy/kustomize/overlays/uninstall":          undeploy,
			"kubectl delete -k deploy/kustomize/overlays/uninstall":         elsewhere,
		}),
		gone: "! iptables-save | grep -i ip-masq && ! ip6tables-save | grep -i ip-masq",
	}
}

// beginAgent starts a program that writes rules each second as ip-masq-agent does:
// syncMasqRules and ensurePostroutingJump of cmd/ip-masq-agent/ip-masq-agent.go.
func beginAgent(m *migration) {
	m.t.Helper()
	d := decision{direct: []string{"10.0.0.0/8"}}
	script := "trap 'exit 0' TERM\nwhile :; do\n"
	for program, f := range map[string]masq.Family{"iptables": masq.IPv4, "ip6tables": masq.IPv6} {
		var chain []string
		for line := range strings.Lines(d.rules(f)) {
			if !strings.HasPrefix(line, "-A POSTROUTING") {
				chain = append(chain, line)
			}
		}
		rule := "POSTROUTING -m comment --comment '" + agentComment + "' -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT"
		script += fmt.Sprintf("%[1]s-restore -w --noflush <<'end'\n%[3]send\n%[1]s -w -t nat -C %[2]s 2>/dev/null || %[1]s -w -t nat -A %[2]s\n", program, rule, strings.Join(chain, ""))
	}
	m.theirs = append(m.theirs, m.stay(script+"sleep 1 & wait $!\ndone"))
	assert.NoError(m.t, m.soon("iptables -t nat -S POSTROUTING | grep -e '-j IP-MASQ-AGENT' && ip6tables -t nat -S POSTROUTING | grep -e '-j IP-MASQ-AGENT'"))
}

// fromIPMasq has ptp and bridge masquerade each container, by iptables and by nftables.
func fromIPMasq() (out []way) {
	ptp := strings.Replace(unmasqueraded, `"type": "ptp",`, `"type": "ptp", "ipMasq": true,`, 1)
	bridge := strings.Replace(unmasqueraded, `"type": "ptp",`, `"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,`, 1)
	inIPTables := func(command string) bool { return strings.HasPrefix(command, "nft ") }
	inNFTables := func(command string) bool { return strings.Contains(command, "tables-restore") }
	tables := func(m *migration) {
		m.must(`for p in iptables ip6tables; do $p -t nat -F POSTROUTING; done`)
	}
	table := func(m *migration) { m.must("nft flush chain inet cni_plugins_masquerade masq_checks") }
	for _, c := range []struct {
		name, network string
		skip          func(string) bool
		remove        func(*migration)
	}{
		{"ptp", ptp, inIPTables, tables},
		{"bridge", bridge, inIPTables, tables},
		{"ptp with nftables", strings.Replace(ptp, `"ipMasq": true,`, `"ipMasq": true, "ipMasqBackend": "nftables",`, 1), inNFTables, table},
	} {
		out = append(out, way{
			name: c.name, from: "ipMasq", network: c.network, file: "10-pods.conflist",
			begin: policy, remove: c.remove, skip: c.skip,
			first: map[string]func(*migration){
				// The old container is removed.
				`sed -i '/^sourceCIDRs/d' /etc/config/ip-masq-agent`: func(m *migration) {
					m.quiet()
					m.stop(m.pods[0])
					m.talk()
				},
			},
			then: map[string]func(*migration){
				"masq-cni install": func(m *migration) {
					if len(m.pods) == 1 {
						m.run("both")
					}
				},
				`sed -i 's/"ipMasq": *true/"ipMasq": false/' /etc/cni/net.d/10-pods.conflist`: func(m *migration) { m.run("new") },
				// As the page says, each container is restarted.
				`sed -i 's/"ipMasq": *false/"ipMasq": true/' /etc/cni/net.d/10-pods.conflist`: func(m *migration) {
					m.quiet()
					for i, p := range slices.Clone(m.pods) {
						m.run(fmt.Sprintf("again%d", i))
						m.stop(p)
					}
					m.talk()
				},
			},
			gone: `! nft list ruleset | grep -e CNI-[0-9a-f] -e cni_plugins_masquerade`,
		})
	}
	return out
}

// flannelPlugin calls bridge as flannel's plugin does (getDelegateIPAM and doCmdAdd of
// flannel_linux.go): by default it masquerades if the daemon does not.
const flannelPlugin = `#!/usr/bin/python3
import ipaddress, json, os, sys
conf = json.load(sys.stdin)
env = dict(line.strip().split("=") for line in open("/run/flannel/subnet.env"))
subnet = str(ipaddress.ip_interface(env["FLANNEL_SUBNET"]).network)
to = conf["delegate"]
to.setdefault("type", "bridge")
to.setdefault("ipMasq", env["FLANNEL_IPMASQ"] != "true")
to.setdefault("isGateway", True)
to.update(name=conf["name"], cniVersion=conf["cniVersion"])
to["ipam"] = {"type": "host-local", "ranges": [[{"subnet": subnet}]], "routes": [{"dst": env["FLANNEL_NETWORK"]}]}
if "prevResult" in conf:
    to["prevResult"] = conf["prevResult"]
os.dup2(os.memfd_create("conf"), 0)
os.write(0, json.dumps(to).encode())
os.lseek(0, 0, 0)
os.execv("/opt/cni/bin/bridge", ["bridge"])
`

// flannelRules are the rules of version 0.28.10: masqRules of pkg/trafficmngr/
// iptables/iptables.go, and addMasqRules and SetupAndEnsureForwardRules of
// pkg/trafficmngr/nftables/nftables.go.
var flannelRules = map[string]string{
	"iptables": `iptables -t nat -N FLANNEL-POSTRTG
iptables -t nat -A POSTROUTING -m comment --comment 'flanneld masq' -j FLANNEL-POSTRTG
iptables -t nat -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment 'flanneld masq' -j RETURN
iptables -t nat -A FLANNEL-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 -m comment --comment 'flanneld masq' -j RETURN
iptables -t nat -A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment 'flanneld masq' -j RETURN
iptables -t nat -A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment 'flanneld masq' -j RETURN
iptables -t nat -A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment 'flanneld masq' -j MASQUERADE --random-fully
iptables -t nat -A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment 'flanneld masq' -j MASQUERADE --random-fully
`,
	"nftables": `nft -f - <<'end'
table ip flannel-ipv4 { chain postrtg { type nat hook postrouting priority srcnat; }; chain forward { type filter hook forward priority filter; }; }
flush table ip flannel-ipv4
table ip flannel-ipv4 {
	comment "rules for flannel-ipv4"
	chain postrtg {
		type nat hook postrouting priority srcnat
		meta mark 0x4000 return
		ip saddr 10.244.1.0/24 ip daddr 10.244.0.0/16 return
		ip saddr 10.244.0.0/16 ip daddr 10.244.1.0/24 return
		ip saddr != 10.244.1.0/24 ip daddr 10.244.0.0/16 return
		ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random
		ip saddr != 10.244.0.0/16 ip daddr 10.244.0.0/16 masquerade fully-random
	}
	chain forward {
		type filter hook forward priority filter
		ip saddr 10.244.0.0/16 accept
		ip daddr 10.244.0.0/16 accept
	}
}
end
`,
}

// flannelRemoval is what versions of 2024 do at exit: cleanUp of
// pkg/trafficmngr/iptables/iptables.go. Later versions leave the rules in place.
const flannelRemoval = `iptables -t nat -D POSTROUTING -m comment --comment 'flanneld masq' -j FLANNEL-POSTRTG
iptables -t nat -F FLANNEL-POSTRTG
iptables -t nat -X FLANNEL-POSTRTG
`

// fromFlannel has flannel with both backends, with and without removal of rules at exit.
func fromFlannel() (out []way) {
	for _, c := range []struct {
		name, rules, ends, remove, gone string
		skip                            func(string) bool
	}{
		{
			"flannel", "iptables", "", flannelRemoval, "! iptables-save | grep FLANNEL-POSTRTG",
			func(command string) bool { return strings.HasPrefix(command, "nft ") },
		},
		{
			"flannel that removes its rules", "iptables", flannelRemoval, flannelRemoval, "! iptables-save | grep FLANNEL-POSTRTG",
			func(command string) bool { return strings.HasPrefix(command, "nft ") },
		},
		{
			"flannel with nftables", "nftables", "", "nft flush chain ip flannel-ipv4 postrtg",
			"! nft list ruleset | grep postrtg && nft list chain ip flannel-ipv4 forward",
			func(command string) bool { return strings.Contains(command, "iptables ") },
		},
	} {
		// flanneld starts: it writes its network and the file that its plugin reads.
		start := func(m *migration, masquerades bool, network string) {
			m.must("mkdir -p /run/flannel")
			m.write("/run/flannel/subnet.env", fmt.Sprintf("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=%v\n", masquerades))
			if masquerades {
				m.must(flannelRules[c.rules])
			}
			m.write("/etc/cni/net.d/10-flannel.conflist", network)
		}
		network := migrateText("flannel", "json")
		before := strings.Replace(network, "        \"ipMasq\": false,\n", "", 1)
		out = append(out, way{
			name: c.name, from: "flannel", network: before, file: "10-flannel.conflist", skip: c.skip, gone: c.gone,
			begin: func(m *migration) {
				m.write("/opt/cni/bin/flannel", flannelPlugin)
				m.must("chmod 755 /opt/cni/bin/flannel")
				start(m, true, before)
			},
			remove: func(m *migration) { m.must(c.remove) },
			stands: inCluster(map[string]func(*migration){
				"kubectl -n kube-flannel edit configmap kube-flannel-cfg": elsewhere,
				"kubectl -n kube-flannel edit daemonset kube-flannel-ds": func(m *migration) {
					masquerades := m.ok("grep FLANNEL_IPMASQ=true /run/flannel/subnet.env")
					if masquerades {
						m.must("set -e\n" + c.ends)
					}
					start(m, !masquerades, network)
				},
				"kubectl -n kube-flannel rollout status daemonset/kube-flannel-ds": func(m *migration) {
					assert.NoError(m.t, m.soon(`grep '"masq"' /etc/cni/net.d/10-flannel.conflist`))
					m.run(fmt.Sprintf("rolled%d", len(m.pods)))
					m.must("! iptables -t nat -S POSTROUTING | grep CNI-[0-9a-f]")
				},
			}),
		})
	}
	return out
}

// fromKubeRouter has the rule of podMasqueradeEgressArgs4, in pkg/controllers/routing/
// pod_egress.go of kube-router 2, and the sets that syncNodeIPSets fills. With
// --enable-pod-egress=false deletePodEgressRules removes the rule at the start.
func fromKubeRouter() way {
	const rule = "POSTROUTING -m set --match-set kube-router-pod-subnets src -m set ! --match-set kube-router-pod-subnets dst " +
		"-m set ! --match-set kube-router-node-ips dst -j MASQUERADE --random-fully"
	remove := func(m *migration) { m.must("iptables -t nat -D " + rule) }
	return way{
		name: "kube-router", from: "kube-router", file: "10-kuberouter.conflist", gone: "! iptables-save | grep kube-router",
		network: `{
  "cniVersion": "1.0.0",
  "name": "mynet",
  "plugins": [
    {
      "name": "kubernetes",
      "type": "bridge",
      "bridge": "kube-bridge",
      "isDefaultGateway": true,
      "ipam": {"type": "host-local", "subnet": "10.244.1.0/24"}
    }
  ]
}
`,
		begin: func(m *migration) {
			m.must("ipset create kube-router-pod-subnets hash:net timeout 0 && ipset add kube-router-pod-subnets 10.244.1.0/24 && ipset add kube-router-pod-subnets 10.244.2.0/24")
			m.must("ipset create kube-router-node-ips hash:ip timeout 0 && ipset add kube-router-node-ips " + m.V4.Node.String())
			m.must("iptables -t nat -A " + rule)
		},
		remove: remove,
		stands: inCluster(map[string]func(*migration){
			"kubectl -n kube-system edit daemonset kube-router": func(m *migration) {
				m.must("iptables -t nat -D " + rule + " || iptables -t nat -A " + rule)
			},
			"kubectl -n kube-system rollout status daemonset/kube-router": elsewhere,
		}),
	}
}
