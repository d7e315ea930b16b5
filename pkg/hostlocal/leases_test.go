package hostlocal

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// leaseFiles writes files into the directory of the leases.
func leaseFiles(t testing.TB, l *Leases, contents map[string]string) {
	t.Helper()
	if err := os.MkdirAll(l.Dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range contents {
		if err := os.WriteFile(filepath.Join(l.Dir(), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// names returns the names of the files of the directory, except for the lock.
func names(t testing.TB, l *Leases) string {
	t.Helper()
	entries, err := os.ReadDir(l.Dir())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if e.Name() != lockName {
			all = append(all, e.Name())
		}
	}
	return strings.Join(all, " ")
}

func TestLeaseErrors(t *testing.T) {
	small := plan{ipam: `"ranges": [[{"subnet": "10.0.0.0/30"}], [{"subnet": "fd00::/126", "rangeEnd": "fd00::2"}]]`}
	l := small.open(t, t.TempDir())
	if _, err := l.Lease("a", "eth0", false); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Lease("a", "eth0", false); !errors.Is(err, ErrLeased) || !strings.Contains(err.Error(), "10.0.0.2") {
		t.Errorf("second lease of an attachment: %v", err)
	}
	_, err := l.Lease("b", "eth0", true)
	if !errors.Is(err, ErrExhausted) {
		t.Fatalf("without a free address: %v", err)
	}
	for _, w := range []string{"10.0.0.1-10.0.0.2", "ipam.ranges[0]", "GC", l.Dir()} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not contain %q", err, w)
		}
	}
	for _, h := range []holder{{"", "eth0"}, {"c", ""}, {"c", "a/b"}, {"a\r\nb", "eth0"}} {
		if _, err := l.Lease(h.containerID, h.ifname, true); err == nil {
			t.Errorf("leased to %+v", h)
		}
		if err := l.Release(h.containerID, h.ifname, nil); err == nil {
			t.Errorf("released of %+v", h)
		}
		if err := l.Check(h.containerID, h.ifname, nil); err == nil {
			t.Errorf("%+v has a lease", h)
		}
	}
}

// A Lease that fails at the second set releases the address of the first set, and keeps
// the earlier leases of the attachment.
func TestLeaseAllOrNothing(t *testing.T) {
	p := plan{ipam: `"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/126", "rangeEnd": "fd00::2"}]]`}
	l := p.open(t, t.TempDir())
	leaseFiles(t, l, map[string]string{"fd00::2": "a\r\neth0", "10.0.7.1": "a\r\neth0"})
	if r, err := l.Lease("a", "eth0", false); !errors.Is(err, ErrLeased) || r != nil {
		t.Fatalf("%v, %v", r, err)
	}
	if r, err := l.Lease("b", "eth0", true); !errors.Is(err, ErrExhausted) || r != nil {
		t.Fatalf("%v, %v", r, err)
	}
	if got := names(t, l); got != "10.0.7.1 fd00::2 last_reserved_ip.0" {
		t.Errorf("leases: %s", got)
	}
}

func TestLeaseRequested(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"IP=10.0.0.9", "10.0.0.9/24"},
		{"IP=10.0.0.9/8", "10.0.0.9/24"},
		{"IP=", "10.0.0.2/24"},
		{"IP=10.0.0.1", "gateway"},
		{"IP=10.0.0.5", "already leased"},
		{"IP=10.0.1.5", "[10.0.1.5] cannot be leased"},
	} {
		l, err := Open(fmt.Appendf(nil, `{"name": "net", "ipam": {"subnet": "10.0.0.0/24", "dataDir": %q}}`, t.TempDir()), c.args)
		if err != nil {
			t.Fatal(err)
		}
		leaseFiles(t, l, map[string]string{"10.0.0.5": "b\r\neth0"})
		var got string
		if r, err := l.Lease("a", "eth0", false); err != nil {
			got = err.Error()
		} else {
			got = r.IPs[0].Address.String()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.args, got, c.want)
		}
	}
}

func TestLeaseResolvConfMissing(t *testing.T) {
	l := plan{ipam: `"subnet": "10.0.0.0/24", "resolvConf": "/nonexistent"`}.open(t, t.TempDir())
	if _, err := l.Lease("a", "eth0", true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(l.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory exists: %v", err)
	}
}

func TestRelease(t *testing.T) {
	before := map[string]string{
		"10.0.0.2": "a\r\neth0", "fd00::2": "a\r\neth0", "10.0.0.3": "a\r\neth1", "10.0.0.4": "a\n", "10.0.0.5": "b",
		"10.0.0.6": "", "10.9.0.1": "a\r\neth0", "last_reserved_ip.0": "a",
	}
	for _, c := range []struct {
		name, id, ifname string
		known            []string
		want             string // the remaining leases
	}{
		{"all", "a", "eth0", nil, "10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 last_reserved_ip.0"},
		{"known only", "a", "eth0", []string{"10.0.0.2", "::ffff:10.0.0.3", "10.0.0.77"}, "10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.9.0.1 fd00::2 last_reserved_ip.0"},
		{"mapped", "a", "eth1", []string{"::ffff:10.0.0.3"}, "10.0.0.2 10.0.0.4 10.0.0.5 10.0.0.6 10.9.0.1 fd00::2 last_reserved_ip.0"},
		{"known, old form", "b", "eth0", []string{"10.0.0.5"}, "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.6 10.9.0.1 fd00::2 last_reserved_ip.0"},
		{"old form where no other is", "a", "eth2", nil, "10.0.0.2 10.0.0.3 10.0.0.5 10.0.0.6 10.9.0.1 fd00::2 last_reserved_ip.0"},
		{"nothing", "c", "eth0", nil, "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.9.0.1 fd00::2 last_reserved_ip.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := dual.open(t, t.TempDir())
			leaseFiles(t, l, before)
			var known []netip.Addr
			for _, k := range c.known {
				known = append(known, netip.MustParseAddr(k))
			}
			if err := l.Release(c.id, c.ifname, known); err != nil {
				t.Fatal(err)
			}
			if got := names(t, l); got != c.want {
				t.Errorf("got leases %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	l := dual.open(t, t.TempDir())
	leaseFiles(t, l, map[string]string{"10.0.0.2": "a\r\neth0", "10.0.0.3": "b\n"})
	for h, want := range map[holder]error{{"a", "eth0"}: nil, {"a", "eth1"}: ErrNoLease, {"b", "eth0"}: nil, {"c", "eth0"}: ErrNoLease} {
		if err := l.Check(h.containerID, h.ifname, nil); !errors.Is(err, want) {
			t.Errorf("%v: got %v, want %v", h, err, want)
		}
	}
}

func TestCollect(t *testing.T) {
	l := dual.open(t, t.TempDir())
	leaseFiles(t, l, map[string]string{
		"10.0.0.2": "a\r\neth0", "10.0.0.3": "a\r\neth1", "fd00::2": "b\r\neth0", "10.0.0.4": "a", "10.0.0.5": "b", "10.0.0.6": "",
		"10.9.0.1": "b\r\neth0", "last_reserved_ip.0": "10.0.0.6", newName: "a\r\neth0", "other": "b\r\neth0",
	})
	valid := map[holder]bool{{"a", "eth0"}: true, {"a", ""}: true}
	if err := l.Collect(func(id, ifname string) bool { return !valid[holder{id, ifname}] }); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, l), "10.0.0.2 10.0.0.4 10.9.0.1 last_reserved_ip.0 other"; got != want {
		t.Errorf("got leases %s\nwant %s", got, want)
	}
}

// Without a directory, Release, Check and Collect do nothing and do not make it.
func TestNoDirectory(t *testing.T) {
	l := dual.open(t, t.TempDir())
	if err := l.Release("a", "eth0", nil); err != nil {
		t.Error(err)
	}
	if err := l.Collect(func(string, string) bool { return true }); err != nil {
		t.Error(err)
	}
	if err := l.Check("a", "eth0", nil); !errors.Is(err, ErrNoLease) {
		t.Error(err)
	}
	if _, err := os.Stat(l.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Files of killed processes do not prevent a lease.
func TestLeaseAfterKill(t *testing.T) {
	l := plan{ipam: `"subnet": "10.0.0.0/24"`}.open(t, t.TempDir())
	leaseFiles(t, l, map[string]string{newName: "much longer than what follows\r\neth0", "10.0.0.2": "", "last_reserved_ip.0": ""})
	r, err := l.Lease("a", "eth0", false)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.IPs[0].Address.String(); got != "10.0.0.3/24" {
		t.Errorf("leased %s", got)
	}
	if got := files(t, l.Dir()); !strings.Contains(got, `10.0.0.3: "a\r\neth0"`) {
		t.Error(got)
	}
}

// BenchmarkLease leases to a fresh attachment and releases its known addresses. The time
// does not depend on the number of other leases.
func BenchmarkLease(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("leases=%d", n), func(b *testing.B) {
			l := dual.open(b, b.TempDir())
			for i := range n {
				if _, err := l.Lease(fmt.Sprintf("c%d", i), "eth0", true); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				r, err := l.Lease("x", "eth0", true)
				if err != nil {
					b.Fatal(err)
				}
				var known []netip.Addr
				for _, ip := range r.IPs {
					a, _ := netip.AddrFromSlice(ip.Address.IP)
					known = append(known, a)
				}
				if err := l.Release("x", "eth0", known); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// With known addresses, Check reads only their leases: it does not wait for the lock, and
// unreadable leases of other addresses do not matter.
func TestCheckOfKnownAddresses(t *testing.T) {
	l := dual.open(t, t.TempDir())
	leaseFiles(t, l, map[string]string{"10.0.0.2": "a\r\neth0", "fd00::2": "a\r\neth0", "10.0.0.3": "b", "10.0.0.4": "b\r\neth0"})
	if err := os.Symlink("10.0.0.9", filepath.Join(l.Dir(), "10.0.0.9")); err != nil { // ELOOP
		t.Fatal(err)
	}
	lock, err := l.dir.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for _, c := range []struct {
		id, known string
		want      error
		names     string
	}{
		{"a", "10.0.0.2 fd00::2", nil, ""},
		{"a", "10.0.0.2 fd00::3", ErrNoLease, "fd00::3"},
		{"a", "10.0.0.4", ErrNoLease, `"b"`},
		{"b", "10.0.0.3", nil, ""}, // written by host-local before 0.7
		{"c", "10.0.0.3", ErrNoLease, `"b"`},
		{"a", "10.0.0.9", unix.ELOOP, "10.0.0.9"},
	} {
		var known []netip.Addr
		for text := range strings.FieldsSeq(c.known) {
			known = append(known, netip.MustParseAddr(text))
		}
		err := l.Check(c.id, "eth0", known)
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s, %s: %v, want %v and %s", c.id, c.known, err, c.want, c.names)
		}
	}
}
