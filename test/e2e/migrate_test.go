package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

const migratePage = "docs/migrate.md"

// migration is a node where another program masquerades. It follows the steps of a section
// of docs/migrate.md, in both directions. The section's commands run unchanged.
type migration struct {
	*docNode
	way  way
	pods []*pod
	o    *ongoing
	// The containers of the old and the new DaemonSet.
	ours, theirs []*nstest.Command
}

// way is a section of the page.
type way struct {
	name    string
	from    string // the name in its headings
	network string // its conflist
	file    string // its name
	// begin starts the old masquerade, remove removes it.
	begin, remove func(m *migration)
	// skip lists commands of the page for another variant.
	skip func(command string) bool
	// stands maps commands for a cluster to their effect on a node. test/kube checks the
	// manifests in a real cluster.
	stands map[string]func(m *migration)
	// Functions that run before and after a command.
	first, then map[string]func(m *migration)
	gone        string // command that succeeds when nothing of the old masquerade remains
}

func newMigration(t *testing.T, x way) *migration {
	t.Helper()
	m := &migration{docNode: newDocNode(t), way: x}
	// Otherwise ptp waits for IPv6 addresses.
	assert.NoError(t, m.Node.Sysctl("net/ipv6/conf/default/accept_dad", "0"))
	assert.NoError(t, m.Node.Forward()) // as flannel, kube-router and the kubelet's host do
	m.must("cp $MASQ_BIN/masq-cni /usr/local/bin")
	m.write("/etc/cni/net.d/"+x.file, x.network)
	x.begin(m)
	return m
}

// run starts a container by cnitool on the node's network.
func (m *migration) run(name string) *pod {
	m.t.Helper()
	ns := assert.Must(m.lab.Namespace(name))(m.t)
	assert.NoError(m.t, ns.Sysctl("net/ipv6/conf/default/accept_dad", "0"))
	p := &pod{NS: ns, w: m.world, runtime: &libcni.RuntimeConf{ContainerID: name, NetNS: ns.Path(), IfName: "eth0"}}
	out, err := m.shell(m.cnitool("add", p)).CombinedOutput()
	if err != nil {
		m.t.Fatalf("ADD %s: %v\n%s", name, err, out)
	}
	r := assert.Must(types100.NewResult(out[strings.IndexByte(string(out), '{'):]))(m.t)
	p.result = assert.Must(types100.GetResult(r))(m.t)
	m.pods = append(m.pods, p)
	return p
}

// stop ends a container by cnitool on the node's network.
func (m *migration) stop(p *pod) {
	m.t.Helper()
	m.must(m.cnitool("del", p))
	m.pods = slices.DeleteFunc(m.pods, func(q *pod) bool { return q == p })
}

// cnitool returns the command line that calls a verb. The node has a private /run, so the namespace is named by a path of
// this process.
func (m *migration) cnitool(verb string, p *pod) string {
	name := regexp.MustCompile(`"name": *"([^"]+)"`).FindStringSubmatch(m.way.network)[1]
	return fmt.Sprintf("CNI_PATH=/opt/cni/bin cnitool %s %s /proc/%d/root%s", verb, name, os.Getpid(), p.Path())
}

// seen checks that in each family the far end sees new flows with the node's address.
func (m *migration) seen() {
	m.t.Helper()
	for _, p := range m.pods {
		for _, plan := range m.Plans()[:len(p.result.IPs)] {
			m.seenAs(p, plan, plan.Node)
		}
	}
}

// exposed checks that the far end sees the container's own address.
func (m *migration) exposed(p *pod) {
	m.t.Helper()
	m.seenAs(p, m.V4, p.addr(m.V4.Server))
}

// talk begins traffic of all containers, quiet ends it.
func (m *migration) talk() { m.t.Helper(); m.o = m.begin([]netip.Addr{m.V4.Node}, m.pods...) }

func (m *migration) quiet() {
	m.t.Helper()
	wantNone(m.t, m.o.end())
	if m.t.Failed() {
		m.t.Log(m.o)
	}
}

// section returns the commands below a heading of the page.
func (m *migration) section(heading string) (out []docCommand) {
	m.t.Helper()
	from, to := 0, 0
	for i, line := range strings.Split(textOf(migratePage), "\n") {
		switch {
		case line == heading:
			from, to = i+1, 1<<30
		case strings.HasPrefix(line, "##") && from > 0 && to == 1<<30:
			to = i + 1
		}
	}
	for _, c := range commandsOf(m.t.(*testing.T), migratePage) {
		if c.line > from && c.line < to && (m.way.skip == nil || !m.way.skip(c.text)) {
			out = append(out, c)
		}
	}
	if out == nil {
		m.t.Fatalf("%s has no commands below %q", migratePage, heading)
	}
	return out
}

// goes follows the steps below a heading. After each step, new connections of the containers
// arrive with the node's address.
func (m *migration) goes(heading string) {
	m.t.Helper()
	for _, c := range m.section(heading) {
		if first := m.way.first[c.text]; first != nil {
			first(m)
		}
		if stand, is := m.way.stands[c.text]; is {
			stand(m)
		} else if u, is := proofs[c.text].(unit); is {
			assert.NoError(m.t, u.prove(m.docNode, c))
		} else if err := (runs{}).prove(m.docNode, c); err != nil {
			m.t.Fatalf("%s:%d: %s: %v", migratePage, c.line, c.text, err)
		}
		if then := m.way.then[c.text]; then != nil {
			then(m)
		}
		before := m.o.count("connections")
		until(m.t, "connections begin after "+c.text, func() bool { return m.o.count("connections") > before+1 })
		m.seen()
	}
}

// masqueraded returns how many connections the old rules have translated.
func (m *migration) masqueraded() (n int) {
	m.t.Helper()
	for _, program := range []string{"iptables", "ip6tables"} {
		for line := range strings.Lines(m.nodeRun(program, "-t", "nat", "-vxnL")) {
			if f := strings.Fields(line); len(f) > 2 && f[2] == "MASQUERADE" {
				n += assert.Must(strconv.Atoi(f[0]))(m.t)
			}
		}
	}
	return n
}

// TestMigration follows each way of docs/migrate.md in both directions under traffic: a
// stream, pings and new connections. None is lost, and none arrives with a container's own
// address. The control removes the old masquerade without masq.
func TestMigration(t *testing.T) {
	for _, x := range theWays() {
		t.Run(x.name, func(t *testing.T) {
			m := newMigration(t, x)
			m.run("old")
			m.seen()
			before := m.others()

			m.talk()
			m.goes("### Steps from " + x.from)
			m.quiet()
			m.must(x.gone)
			m.must("masq-cni inspect drift")

			m.talk()
			m.goes("### Back to " + x.from)
			m.quiet()
			m.must("! nft list table inet masq && ! ls -d /run/masq-cni && ! grep masq /etc/cni/net.d/" + x.file)
			if after := m.others(); after != before && x.then == nil {
				t.Errorf("the rules of others were\n%s\nand are\n%s", before, after)
			}

			m.end(&m.theirs)
			x.remove(m)
			for _, p := range m.pods {
				m.exposed(p)
			}
			for _, p := range slices.Clone(m.pods) {
				m.stop(p)
			}
		})
	}
}

// others returns the rules of other programs, without order and counters.
func (m *migration) others() string {
	lines := strings.Split(regexp.MustCompile(`packets \d+ bytes \d+`).ReplaceAllString(m.nodeRun("nft", "list", "ruleset"), ""), "\n")
	slices.Sort(lines)
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// TestMigrationWithoutSources shows why the page's order matters: without sourceCIDRs, an
// existing container is exposed when the old rules are removed.
func TestMigrationWithoutSources(t *testing.T) {
	x := fromAgent()
	x.stands["kubectl -n kube-system edit configmap ip-masq-agent"] = func(m *migration) {
		m.write("/etc/config/ip-masq-agent", regexp.MustCompile(`(?m)^sourceCIDRs.*\n`).ReplaceAllString(migrateText(x.from, "yaml"), ""))
	}
	m := newMigration(t, x)
	old := m.run("old")
	for _, c := range m.section("### Steps from ip-masq-agent") {
		stand := x.stands[c.text]
		switch {
		case strings.Contains(c.text, "rollout"):
			assert.NoError(t, m.soon(`curl -s http://127.0.0.1:9468/readyz | grep '"ready":true' && grep '"masq"' /etc/cni/net.d/10-pods.conflist`))
		case stand != nil:
			stand(m)
		default:
			m.must(c.text)
		}
	}
	young := m.run("new")
	m.exposed(old)
	m.seenAs(young, m.V4, m.V4.Node)
	undeploy(m)
	m.stop(old)
	m.stop(young)
}

// TestMigrationFlannelPlugin: unless the network says otherwise, flannel's plugin masquerades
// each container when the daemon no longer does.
func TestMigrationFlannelPlugin(t *testing.T) {
	x := fromFlannel()[0]
	m := newMigration(t, x)
	m.stop(m.run("old"))
	m.must("! iptables -t nat -S POSTROUTING | grep CNI-[0-9a-f]")
	m.must("sed -i s/FLANNEL_IPMASQ=true/FLANNEL_IPMASQ=false/ /run/flannel/subnet.env")
	p := m.run("new")
	m.must("iptables -t nat -S POSTROUTING | grep CNI-[0-9a-f]")
	m.stop(p)
}

// TestMigrationLeavesRules shows why the rules of ptp and bridge are removed by hand: after
// ipMasq has become false, DEL leaves them, and they still translate.
func TestMigrationLeavesRules(t *testing.T) {
	for _, x := range fromIPMasq() {
		t.Run(x.name, func(t *testing.T) {
			m := newMigration(t, x)
			p := m.run("old")
			there := `nft list ruleset | grep -e CNI-[0-9a-f] -e 'net: pods'`
			m.must(there)
			m.must(`sed -i 's/"ipMasq": *true/"ipMasq": false/' /etc/cni/net.d/10-pods.conflist`)
			m.stop(p)
			m.must(there)
			// CRI-O and podman pass the configuration of the ADD to DEL: it finds no rules and succeeds.
			m.must(`sed -i 's/"ipMasq": *false/"ipMasq": true/' /etc/cni/net.d/10-pods.conflist`)
			p = m.run("remembered")
			for _, c := range m.section("### Steps from ipMasq") {
				if strings.Contains(c.text, "tables-restore") || strings.HasPrefix(c.text, "nft ") {
					m.must(c.text)
				}
			}
			m.must("! " + there)
			m.stop(p)
		})
	}
}
