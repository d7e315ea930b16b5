package hostlocal

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// plan is a network of both programs, with addresses to request.
type plan struct {
	name, ipam, runtime string
	ask                 []string
}

var plans = []plan{
	{"v4", `"subnet": "10.1.0.0/28", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.1.0.3", "mtu": 1400}]`, "", nil},
	{"v6", `"ranges": [[{"subnet": "fd00:1::/124"}]], "routes": []`, "", []string{"fd00:1::5", "fd00:1::f", "fd00:1::1", "fd00:1:0::0:7/64"}},
	{"v6 of 64 bits", `"ranges": [[{"subnet": "2001:db8::/64", "rangeStart": "2001:db8::ffff:fffa", "rangeEnd": "2001:db8::1:0:4"}]]`, "", nil},
	{"dual", `"ranges": [[{"subnet": "10.2.0.0/28"}], [{"subnet": "fd00:2::/125"}]]`, "", []string{"10.2.0.9", "fd00:2::4", "10.2.0.1", "10.3.0.1"}},
	{"old style before ranges", `"subnet": "10.3.0.0/28", "rangeStart": "10.3.0.4", "rangeEnd": "10.3.0.15", "gateway": "10.3.0.9", "ranges": [[{"subnet": "fd00:3::/124"}]]`, "", []string{"10.3.0.15", "10.3.0.2"}},
	{
		"several ranges in a set", `"ranges": [[
			{"subnet": "10.4.0.0/28", "rangeStart": "10.4.0.12"},
			{"subnet": "10.4.1.0/29", "gateway": "10.4.1.6"},
			{"subnet": "10.4.0.0/28", "rangeStart": "10.4.0.0", "rangeEnd": "10.4.0.3", "gateway": "10.4.0.14"}]]`, "",
		[]string{"10.4.0.12", "10.4.1.1", "10.4.1.6", "10.4.0.0", "10.4.0.5", "::ffff:10.4.1.4"},
	},
	{"two sets of a family", `"ranges": [[{"subnet": "10.5.0.0/29"}], [{"subnet": "10.5.1.0/28"}]]`, "", []string{"10.5.0.4", "10.5.1.8"}},
	{"ranges of the runtime", `"subnet": "10.6.1.0/28"`, `"ipRanges": [[{"subnet": "fd00:6::/125", "gateway": "fe80::1"}]]`, []string{"10.6.1.9"}},
	{"one address", `"ranges": [[{"subnet": "10.7.0.0/24", "rangeStart": "10.7.0.7", "rangeEnd": "10.7.0.7"}]]`, "", nil},
	{"the gateway alone", `"ranges": [[{"subnet": "10.8.0.0/24", "rangeEnd": "10.8.0.1"}]]`, "", []string{"10.8.0.1"}},
	{"gateway of the other family", `"ranges": [[{"SUBNET": "10.9.0.0/029", "gateway": "fd00::1", "rangeStart": "::ffff:10.9.0.2", "rangeEnd": ""}]], "rangeStart": "1.2.3.4"`, "", nil},
	{"the whole of IPv4", `"subnet": "0.0.0.0/0", "rangeStart": "255.255.255.250", "rangeEnd": "255.255.255.255"`, "", []string{"255.255.255.255"}},
}

// conf returns the configuration of the network, with requested addresses.
func (p plan) conf(dataDir, runtimeIPs, argsIPs string) []byte {
	runtime := fmt.Sprintf(`"ips": [%s]`, runtimeIPs)
	if p.runtime != "" {
		runtime += ", " + p.runtime
	}
	return fmt.Appendf(nil, `{"cniVersion": "1.1.0", "name": "net", "type": "masq", "runtimeConfig": {%s}, "args": {"cni": {"ips": [%s]}},
		"ipam": {"type": "host-local", "dataDir": %q, "resolvConf": %q, %s}}`,
		runtime, argsIPs, dataDir, filepath.Join(dataDir, "resolv.conf"), p.ipam)
}

// TestInterchange lets the program host-local and this package take turns on one directory,
// while host-local alone works on another. After each step, results and files are the same.
func TestInterchange(t *testing.T) {
	bin := hostLocal(t)
	for i, p := range plans {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			const steps = 250
			w := newTwins(t, bin, p, rand.New(rand.NewPCG(1, uint64(i))))
			for range steps {
				w.step()
			}
			if w.leased == 0 || w.refused == 0 || w.released == 0 {
				if p.name != "the gateway alone" {
					t.Errorf("%d leased, %d refused, %d released: the steps prove nothing", w.leased, w.refused, w.released)
				}
			}
		})
	}
}

// twins are the directory of both programs and the directory of host-local alone.
type twins struct {
	*testing.T
	bin                       binary
	plan                      plan
	rand                      *rand.Rand
	both, alone               string
	held                      map[holder][]netip.Addr
	next                      int
	leased, refused, released int
}

func newTwins(t *testing.T, bin binary, p plan, r *rand.Rand) *twins {
	w := &twins{T: t, bin: bin, plan: p, rand: r, both: t.TempDir(), alone: t.TempDir(), held: map[holder][]netip.Addr{}}
	conf := p.conf(w.both, "", "")
	l, err := Open(conf, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{w.both, w.alone} {
		if err := os.Mkdir(filepath.Join(dir, "net"), 0o755); err != nil {
			t.Fatal(err)
		}
		write := func(name, content string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("resolv.conf", "# comment\n; another\n domain example.org\r\nnameserver 10.0.0.53\nnameserver fd00::53 x\nsearch a b\nsearch c\noptions ndots:5\nnameserver\n")
		// Leases of versions before 0.7, and a last address outside the ranges.
		n := 0
		for a := range l.sets[0].candidates(netip.Addr{}) {
			if n++; n%3 == 0 {
				write("net/"+a.String(), fmt.Sprintf("old%d\n", n))
			}
			if n > 8 {
				break
			}
		}
		write("net/last_reserved_ip.0", "192.0.2.1")
	}
	return w
}

func (w *twins) step() {
	w.Helper()
	switch n := w.rand.IntN(10); {
	case n < 5:
		w.next++
		w.add(holder{"c" + strconv.Itoa(w.next/2), "eth" + strconv.Itoa(w.next%2)}, true)
	case n < 6:
		h := w.any()
		w.add(h, w.held[h] == nil && !strings.HasPrefix(h.containerID, "old"))
	default:
		w.del(w.any())
	}
	if both, alone := files(w.T, filepath.Join(w.both, "net")), files(w.T, filepath.Join(w.alone, "net")); both != alone {
		w.Fatalf("files of both programs:\n%s\nfiles of host-local alone:\n%s", both, alone)
	}
}

// any returns an attachment, in most cases an attachment with leases.
func (w *twins) any() holder {
	all := []holder{{"nobody", "eth0"}, {"old3", "eth0"}, {"old6", "eth0"}, {"old9", "eth1"}}
	if w.rand.IntN(5) > 0 && len(w.held) > 0 {
		all = nil
		for h := range w.held {
			all = append(all, h)
		}
		slices.SortFunc(all, func(a, b holder) int { return strings.Compare(a.String(), b.String()) })
	}
	return all[w.rand.IntN(len(all))]
}

// add leases addresses. Only an attachment without leases requests addresses: host-local
// releases all its leases if a second lease fails.
func (w *twins) add(h holder, fresh bool) {
	w.Helper()
	var args, runtimeIPs, argsIPs string
	if fresh && len(w.plan.ask) > 0 && w.rand.IntN(2) > 0 {
		a := w.plan.ask[w.rand.IntN(len(w.plan.ask))]
		b := w.plan.ask[w.rand.IntN(len(w.plan.ask))]
		args = "IgnoreUnknown=1;K8S_POD_NAME=x;IP="
		switch w.rand.IntN(4) {
		case 0:
			args += a
		case 1:
			runtimeIPs = strconv.Quote(a)
		case 2:
			argsIPs = strconv.Quote(a)
		case 3:
			// If one set has two requests, host-local takes either.
			runtimeIPs = strconv.Quote(a)
			if strings.HasPrefix(a, "fd00:") != strings.HasPrefix(b, "fd00:") {
				argsIPs = strconv.Quote(b)
			}
		}
	}
	want, wantErr := w.bin.add(w.plan.conf(w.alone, runtimeIPs, argsIPs), args, h)
	var got *types100.Result
	var err error
	by := "host-local"
	conf := w.plan.conf(w.both, runtimeIPs, argsIPs)
	if w.rand.IntN(2) > 0 {
		got, err = w.bin.add(conf, args, h)
	} else {
		by = "this package"
		l, openErr := Open(conf, args)
		if openErr != nil {
			w.Fatal(openErr)
		}
		got, err = l.Lease(h.containerID, h.ifname, fresh && w.rand.IntN(2) > 0)
	}
	if (err == nil) != (wantErr == nil) {
		w.Fatalf("ADD %v by %s, %s %s %s: %v; host-local alone: %v", h, by, args, runtimeIPs, argsIPs, err, wantErr)
	}
	if err != nil {
		w.refused++
		return
	}
	if text(w.T, got) != text(w.T, want) {
		w.Fatalf("ADD %v by %s:\n%s\nhost-local alone:\n%s", h, by, text(w.T, got), text(w.T, want))
	}
	w.leased++
	for _, ip := range got.IPs {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		w.held[h] = append(w.held[h], a)
	}
}

func (w *twins) del(h holder) {
	w.Helper()
	if err := w.bin.del(w.plan.conf(w.alone, "", ""), "", h); err != nil {
		w.Fatal(err)
	}
	conf := w.plan.conf(w.both, "", "")
	var err error
	if w.rand.IntN(2) > 0 {
		err = w.bin.del(conf, "", h)
	} else {
		var l *Leases
		if l, err = Open(conf, ""); err != nil {
			w.Fatal(err)
		}
		known := w.held[h]
		if w.rand.IntN(2) > 0 {
			known = nil
		}
		err = l.Release(h.containerID, h.ifname, known)
	}
	if err != nil {
		w.Fatal(err)
	}
	delete(w.held, h)
	w.released++
}
