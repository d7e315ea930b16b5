package e2e

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/store"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// TestInotifyOverflow writes and removes more record files than inotify can queue while
// masqd is stopped. After SIGCONT, masqd's records and the kernel's elements match the
// disk, without a resync.
func TestInotifyOverflow(t *testing.T) {
	w := newWorld(t, nstest.Uplink{})
	live := w.attach("live", w.conflist("1.1.0", w.masq()))
	w.record(live, 2) // 10.99.0.0 and 10.99.0.1
	d := w.daemon("--resync-interval", "1h")
	until(t, "the recorded attachments have their elements", func() bool { return w.hasElement("10.99.0.0") && w.hasElement("10.99.0.1") })
	lost := d.metric("masq_events_lost_total")
	room := assert.Must(strconv.Atoi(strings.TrimSpace(string(assert.Must(os.ReadFile("/proc/sys/fs/inotify/max_queued_events"))(t)))))(t)

	assert.NoError(t, d.Suspend())
	assert.NoError(t, w.Node.Do(func() error {
		records, err := store.Open(filepath.Join(w.dir, "state"))
		if err != nil {
			return err
		}
		key := masq.Key{Network: live.list.Name, ContainerID: "recorded-0", Interface: "eth0"}
		r, found, err := records.Get(key)
		if err != nil || !found {
			return fmt.Errorf("the record of %s: found %t, %w", key, found, err)
		}
		put := func(id, address string) error {
			r.ContainerID, r.Addresses = id, []netip.Addr{netip.MustParseAddr(address)}
			return records.Put(r)
		}
		// Each write and removal causes several different events, so the kernel merges none.
		for range room / 2 {
			if err := put("noise", "10.99.1.1"); err != nil {
				return err
			}
			if err := records.Delete(r.Key); err != nil {
				return err
			}
		}
		// The events of these records are lost.
		if err := put("recorded-1", "10.99.2.1"); err != nil {
			return err
		}
		if err := put("new", "10.99.2.2"); err != nil {
			return err
		}
		return records.Delete(key)
	}))
	if !w.hasElement("10.99.0.0") || w.hasElement("10.99.2.2") {
		t.Fatal("the elements changed while masqd was stopped, so the test proves nothing")
	}
	assert.NoError(t, d.Resume())
	for address, want := range map[string]bool{
		live.addr(w.V4.Server).String(): true, "10.99.2.1": true, "10.99.2.2": true,
		"10.99.0.0": false, "10.99.0.1": false, "10.99.1.1": false,
	} {
		until(t, fmt.Sprintf("element %s: %t", address, want), func() bool { return w.hasElement(address) == want })
	}
	until(t, "masqd has noticed the overflow", func() bool { now := d.metric("masq_events_lost_total"); return now != "" && now != lost })
	until(t, "masqd has the records of the disk", func() bool { return d.metric("masq_attachments") == "3" })
	until(t, "masqd is ready", func() bool { code, _ := d.get("/readyz"); return code == http.StatusOK })
	assert.NoError(t, w.command(w.Node, "inspect", "drift").Run())

	// Events are read again after the overflow.
	w.record(live, 1)
	until(t, "a record that is written afterwards has its element", func() bool { return w.hasElement("10.99.0.0") })
	d.end()
}
