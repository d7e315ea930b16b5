package hostlocal

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// childVar is an environment variable that makes the test program lease addresses until it
// is killed. Its value is the data directory.
const childVar = "HOSTLOCAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVar); dir != "" {
		fmt.Println(child(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

var dual = plan{ipam: `"ranges": [[{"subnet": "10.0.0.0/16"}], [{"subnet": "fd00::/64"}]]`}

func (p plan) open(t testing.TB, dir string) *Leases {
	t.Helper()
	l, err := Open(p.bare(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// bare is the configuration without DNS settings.
func (p plan) bare(dir string) []byte {
	return fmt.Appendf(nil, `{"cniVersion": "1.1.0", "name": "net", "ipam": {"dataDir": %q, %s}}`, dir, p.ipam)
}

// TestConcurrent leases and releases concurrently, half of the time by processes of
// host-local. No address is leased twice.
func TestConcurrent(t *testing.T) {
	const workers, rounds = 50, 4
	bin, dir := hostLocal(t), t.TempDir()
	conf := dual.bare(dir)
	var mu sync.Mutex
	owner := map[string]int{}
	claim := func(worker int, r *types100.Result) error {
		mu.Lock()
		defer mu.Unlock()
		if len(r.IPs) != 2 {
			return fmt.Errorf("%d addresses", len(r.IPs))
		}
		for _, ip := range r.IPs {
			a := ip.Address.IP.String()
			if other, taken := owner[a]; taken {
				return fmt.Errorf("worker %d and worker %d have %s", worker, other, a)
			}
			owner[a] = worker
		}
		return nil
	}
	disclaim := func(r *types100.Result) {
		mu.Lock()
		defer mu.Unlock()
		for _, ip := range r.IPs {
			delete(owner, ip.Address.IP.String())
		}
	}
	work := func(worker int) error {
		h := holder{fmt.Sprintf("c%d", worker), "eth0"}
		for round := range rounds {
			l, err := Open(conf, "")
			if err != nil {
				return err
			}
			var r *types100.Result
			if (worker+round)%2 == 0 {
				r, err = bin.add(conf, "", h)
			} else {
				r, err = l.Lease(h.containerID, h.ifname, round%4 == 1)
			}
			if err != nil {
				return err
			}
			if err := claim(worker, r); err != nil {
				return err
			}
			disclaim(r) // before the release, after which another worker may have it
			if (worker+round)%4 < 2 {
				err = bin.del(conf, "", h)
			} else {
				err = l.Release(h.containerID, h.ifname, nil)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() { errs[i] = work(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	left, err := dual.open(t, dir).dir.leases()
	if err != nil || len(left) > 0 {
		t.Errorf("%v, remaining leases: %v", err, left)
	}
}

// child leases addresses until it is killed or a lease fails, and prints each lease.
func child(dir string) error {
	for i := 0; ; i++ {
		l, err := Open(dual.bare(dir), "")
		if err != nil {
			return err
		}
		r, err := l.Lease(fmt.Sprintf("p%d-%d", os.Getpid(), i), "eth0", true)
		if err != nil {
			return err
		}
		fmt.Println("leased", r.IPs[0].Address.IP)
	}
}

// TestKilled kills a process while it leases addresses: every lease is complete, and the
// lock is free.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	l := dual.open(t, dir)
	for n := range 30 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVar+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range n + 1 {
			if !lines.Scan() || !strings.HasPrefix(lines.Text(), "leased ") {
				t.Errorf("the child printed %q", lines.Text())
				break
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended before it was killed")
		}
		all, err := l.dir.leases()
		if err != nil {
			t.Fatal(err)
		}
		for a, h := range all {
			if h.ifname != "eth0" || h.containerID == "" {
				t.Fatalf("%s is leased to %+v", a, h)
			}
		}
		h := fmt.Sprintf("after%d", n)
		r, err := l.Lease(h, "eth0", false)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := netip.AddrFromSlice(r.IPs[0].Address.IP)
		if _, taken := all[a]; taken {
			t.Fatalf("%s is leased twice", a)
		}
	}
	if err := l.Collect(func(string, string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if left := files(t, l.Dir()); strings.Contains(left, "eth0") {
		t.Errorf("leases after Collect:\n%s", left)
	}
}
