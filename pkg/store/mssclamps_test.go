package store

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
)

// TestMSSClamps: local MSS clamps are in the policies of records and of the node, and not in
// their files.
func TestMSSClamps(t *testing.T) {
	r := open(t, t.TempDir())
	p, q := netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")
	rec := Record{Attachment: masq.Attachment{Key: masq.Key{Network: "n", ContainerID: "c", Interface: "eth0"}, Policy: &masq.Policy{}}}
	if err := errors.Join(r.Put(rec), r.PutNode(&Node{})); err != nil {
		t.Fatal(err)
	}
	if c, err := r.MSSClamps(); c != nil || err != nil {
		t.Errorf("without the file: %v, %v", c, err)
	}
	add := func(p netip.Prefix, mss uint16) error {
		return r.UpdateMSSClamps(func(c masq.MSSClamps) error { c[p] = mss; return nil })
	}
	if err := errors.Join(add(p, 172), add(q, 1220), add(p, 300)); err != nil {
		t.Fatal(err)
	}
	if err := add(netip.MustParsePrefix("10.0.0.0/8"), 47); err == nil {
		t.Error("47 bytes are accepted")
	}
	got, err := r.MSSClamps()
	if err != nil || len(got) != 2 || got[p] != 300 || got[q] != 1220 {
		t.Errorf("%v, %v", got, err)
	}
	all, err := r.All()
	if err != nil || len(all) != 1 || all[0].Policy.LocalMSSClamps[p] != 300 {
		t.Errorf("%+v, %v", all, err)
	}
	one, found, err := r.Get(rec.Key)
	if err != nil || !found || one.Policy.LocalMSSClamps[p] != 300 {
		t.Errorf("%+v, %v", one, err)
	}
	node, err := r.Node()
	if err != nil || node.LocalMSSClamps[p] != 300 {
		t.Errorf("%+v, %v", node, err)
	}
	if err := errors.Join(r.Put(one), r.PutNode(node)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{r.path(rec.Key), r.nodePath()} {
		if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "198.51") {
			t.Errorf("%s, %v", text, err)
		}
	}
	err = r.UpdateMSSClamps(func(c masq.MSSClamps) error { clear(c); return nil })
	if _, missing := os.Stat(r.MSSClampsPath()); err != nil || !errors.Is(missing, os.ErrNotExist) {
		t.Errorf("%v, %v", err, missing)
	}
}

// TestUpdateMSSClampsTogether: no concurrent change is lost.
func TestUpdateMSSClampsTogether(t *testing.T) {
	r := open(t, t.TempDir())
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			err := r.UpdateMSSClamps(func(c masq.MSSClamps) error {
				c[netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16)] = 500
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if c, err := r.MSSClamps(); len(c) != 20 || err != nil {
		t.Errorf("%d entries, %v", len(c), err)
	}
}

// TestDamagedMSSClamps: a damaged file is an error that names it. Records have no clamps then.
func TestDamagedMSSClamps(t *testing.T) {
	for _, text := range []string{"", "{", `{"mssClamps": {"10.0.0.1/8": 500}}`, `{"mssClamps": {"10.0.0.0/8": 70000}}`, `{"mssClamps": {"10.0.0.0/8": 1}}`} {
		r := open(t, t.TempDir())
		if err := r.PutNode(&Node{}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.MSSClampsPath(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := r.MSSClamps(); err == nil || !strings.Contains(err.Error(), r.MSSClampsPath()) {
			t.Errorf("%q: %v, %v", text, c, err)
		}
		if n, err := r.Node(); err != nil || n.LocalMSSClamps != nil {
			t.Errorf("%q: %+v, %v", text, n, err)
		}
	}
}
