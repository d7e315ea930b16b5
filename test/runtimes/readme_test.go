package runtimes

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

const readme = "../../README.md"

// internet is the address that the README pings.
var internet = netip.MustParseAddr("9.9.9.9")

// freshDebian turns the node into a new Debian 12 installation: it has no CNI directories,
// and a package's files appear when apt-get installs it. The machine has these packages
// already, so apt-get is replaced by a script that uncovers them, and refuses packages that
// the machine lacks. make is replaced too: the programs are built already, and its target
// must exist in the Makefile. Debian installs netavark with podman; podman uses it instead of
// CNI once it has run with it.
const freshDebian = `set -eu
rm -rf /opt/cni /etc/cni
mkdir -p /run/bin
mount -t tmpfs tmpfs /usr/lib/cni
mount -t tmpfs tmpfs /usr/local/lib
mount --bind /dev/null "$(realpath /usr/bin/podman)"
mount --bind /dev/null "$(realpath /bin/busybox)"
mkdir -p /usr/local/lib/podman
printf '#!/bin/sh\nexit 1\n' >/usr/local/lib/podman/netavark
mkdir -p /var/lib/containers/storage
printf netavark >/var/lib/containers/storage/defaultNetworkBackend
cat >/run/bin/apt-get <<'END'
#!/bin/bash
set -eu
case $1 in
update) exit ;;
install) shift ;;
*) exit 1 ;;
esac
for package; do
	case $package in
	-y) continue ;;
	podman) umount "$(realpath /usr/bin/podman)" ;;
	busybox-static) umount "$(realpath /bin/busybox)" ;;
	containernetworking-plugins) umount /usr/lib/cni ;;
	esac
	grep -x "$package" /run/packages
done
END
cat >/run/bin/make <<'END'
#!/bin/bash
set -eu
/usr/bin/make --dry-run "$@" >/dev/null
if [ "$*" = build ]; then
	mkdir bin
	ln -s "$MASQ_BIN"/* bin
fi
END
chmod 755 /run/bin/* /usr/local/lib/podman/netavark
mkdir /run/checkout
ln -s "$(realpath ../..)"/* /run/checkout
rm -f /run/checkout/bin
`

// readmeBlocks returns the commands of the README, block by block.
func readmeBlocks(t *testing.T) (out []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(assert.Must(os.ReadFile(readme))(t)), -1) {
		out = append(out, m[1])
	}
	return out
}

// paste runs the blocks of a page in a new Debian, each in a shell that ends at the first
// command that fails. It returns the output of the block that failed.
func paste(t *testing.T, n *node, blocks []string) (failed string, err error) {
	t.Helper()
	n.path = "/run/bin:" + os.Getenv("PATH")
	n.write("/run/fresh", freshDebian)
	n.write("/run/packages", string(assert.Must(exec.CommandContext(t.Context(), "dpkg-query", "--show", "--showformat", "${Package}\n").Output())(t)))
	here := assert.Must(filepath.Abs("."))(t)
	n.must("cd %s && bash /run/fresh", here)
	n.write("/etc/containers/containers.conf", podmanMachineConf)
	for _, block := range blocks {
		n.write("/run/block", block)
		out, err := n.shell(t.Context(), "cd /run/checkout && bash -euo pipefail /run/block 2>&1").Output()
		if err != nil {
			return block + "\n" + string(out), err
		}
		t.Logf("%s", out)
	}
	return "", nil
}

// connect gives the server the address that the README pings.
func connect(t *testing.T, n *node) {
	t.Helper()
	only := netip.PrefixFrom(internet, internet.BitLen())
	assert.NoError(t, n.Server.AddAddress("eth0", only))
	assert.NoError(t, n.Router.Route(only, n.V4.Server))
}

// The README's commands, run in order on a new Debian 12, give a container that reaches the
// internet with the node's address. Afterwards nothing remains of it.
func TestReadme(t *testing.T) {
	n := newNode(t)
	connect(t, n)
	seen := assert.Must(n.Server.Capture("eth0", func(p nstest.Packet) bool { return !p.Outgoing && p.Dst == internet && p.Proto == unix.IPPROTO_ICMP }))(t)
	defer seen.Close()
	blocks := readmeBlocks(t)
	ci := string(assert.Must(os.ReadFile("../../.ci/run"))(t))
	for _, m := range regexp.MustCompile(`(?m)^make (demo|test)\b`).FindAllStringSubmatch(strings.Join(blocks, ""), -1) {
		if !strings.Contains(ci, "step \"make "+m[1]+"\" ") {
			t.Errorf("neither the replacement of make nor .ci/run runs make %s", m[1])
		}
	}
	if out, err := paste(t, n, blocks); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if p := assert.Must(seen.WaitFor(soon(t), func(nstest.Packet) bool { return true }))(t); p.Src != n.V4.Node {
		t.Errorf("%s sees the container as %s, not by the node's address %s", internet, p.Src, n.V4.Node)
	}
	if left := n.traces(); strings.Contains(left, "table inet masq") || strings.Contains(left, "/run/masq-cni/") {
		t.Errorf("remaining:\n%s", left)
	}
}

// TestReadmeFaults is the negative control of TestReadme: with an error that the README once
// had, it fails.
func TestReadmeFaults(t *testing.T) {
	text := strings.Join(readmeBlocks(t), "\x00")
	for name, change := range map[string][2]string{
		"cniVersion":   {`"cniVersion": "0.4.0"`, `"cniVersion": "1.1.0"`},
		"portmap":      {"    }\n  ]\n", "    },\n    {\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}}\n  ]\n"},
		"no plugin":    {"install -D -m 755 -t /opt/cni/bin bin/masq\n", ""},
		"no package":   {"podman busybox-static", "podman"},
		"netavark":     {`network_backend = "cni"`, ``},
		"no target":    {"make build", "make binaries"},
		"no masq":      {`"type": "masq"`, `"type": "bridge"`},
		"no directory": {"mkdir -p /etc/cni/net.d\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(text, change[0], change[1], 1)
			if changed == text {
				t.Fatalf("the README does not have %q", change[0])
			}
			n := newNode(t)
			connect(t, n)
			out, err := paste(t, n, strings.Split(changed, "\x00"))
			if err == nil {
				t.Error("its commands succeed")
			}
			t.Log(out)
		})
	}
}

// containerd 1.6 accepts the README's network too.
func TestReadmeContainerd(t *testing.T) {
	n := newNode(t)
	c := n.containerd(releases(t)[0])
	m := regexp.MustCompile(`(?s)<<'END'\n(\{.*?\n)END\n`).FindStringSubmatch(strings.Join(readmeBlocks(t), ""))
	if m == nil {
		t.Fatal("the README has no network")
	}
	c.write(conflist, m[1])
	c.reads(m[1])
	s := c.sandbox("web")
	if from := n.source(s, n.V4.Server, "hello"); from != n.V4.Node {
		t.Errorf("the server sees %s", from)
	}
	n.sound("the README's network", s.id)
	s.remove()
}
