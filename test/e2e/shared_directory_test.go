package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/veth"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// shared is several nodes with one state directory.
type shared struct {
	*world
	node *nstest.NS // the node of masqd
}

// on makes n containers on a node. Their names begin with prefix.
func (s *shared) on(node *nstest.NS, prefix string, n int) (out []*pod) {
	s.t.Helper()
	s.Node = node
	defer func() { s.Node = s.node }()
	list := s.conflist("1.0.0", s.masq().With(keys{"mtu": 1400}))
	for i := range n {
		p := s.pod(fmt.Sprintf("%s%d", prefix, i))
		if err := p.tryAdd(list); err != nil {
			s.t.Fatalf("ADD %s: %v", p.runtime.ContainerID, describe(err))
		}
		out = append(out, p)
	}
	return out
}

// records returns the number of records of containers whose names begin with prefix.
func (s *shared) records(prefix string) (n int) {
	s.t.Helper()
	for _, path := range assert.Must(filepath.Glob(filepath.Join(s.dir, "state", "attachments", "*.json")))(s.t) {
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue
		}
		assert.NoError(s.t, err)
		if strings.Contains(string(b), `"containerID":"`+prefix) {
			n++
		}
	}
	return n
}

// has compares the number of records with the expected number.
func (s *shared) has(when string, want map[string]int) {
	s.t.Helper()
	for prefix, n := range want {
		if got := s.records(prefix); got != n {
			s.t.Errorf("%s: %d records of %s, not %d", when, got, prefix, n)
		}
	}
}

// TestRecordsOfDeletedNamespace: masqd removes the records of an earlier network
// namespace of the node. Records of a live neighbor stay, whatever its containers do.
func TestRecordsOfDeletedNamespace(t *testing.T) {
	if veth.OwnNetNS() == nil {
		t.Skip("needs Linux 6.18: namespaces have no file handles")
	}
	w := newWorld(t, nstest.Uplink{})
	s := &shared{w, w.Node}
	earlier, neighbor := assert.Must(w.lab.Namespace("earlier"))(t), assert.Must(w.lab.Namespace("neighbor"))(t)
	dying := s.on(earlier, "earlier", 20)
	living := s.on(neighbor, "living", 2)
	dead := s.on(neighbor, "dead", 2)
	own := w.attach("own", w.conflist("1.0.0", w.masq()))
	for _, p := range append(dying[:10:10], dead...) {
		assert.NoError(t, p.Close())
	}
	state := filepath.Join(w.dir, "state")
	all := map[string]int{"earlier": 20, "living": 2, "dead": 2, "own": 1}
	flags := []string{"--sweep-grace", "0s", "--resync-interval", "1s", "--config", filepath.Join(w.dir, "none")}

	// The control: while the namespace exists, all records stay. masqd has checked it before
	// it is ready.
	d := w.daemon(flags...)
	s.has("while the namespace lives", all)
	d.end()

	// The record of an earlier version names no namespace.
	old := filepath.Join(state, "attachments", filepath.Base(w.recordPath("earlier3")))
	var rec map[string]any
	assert.NoError(t, json.Unmarshal(assert.Must(os.ReadFile(old))(t), &rec))
	delete(rec["evidence"].(map[string]any), "node")
	assert.NoError(t, os.WriteFile(old, assert.Must(json.Marshal(rec))(t), 0o600))

	var gone masq.NodeNetNS
	assert.NoError(t, earlier.Do(func() error { gone = *veth.OwnNetNS(); return nil }))
	assert.NoError(t, earlier.Close())
	until(t, "the namespace is deleted", func() bool { return veth.NodeNetNSState(gone) == masq.NetNSRemoved })

	// Another control: a masqd without this evidence from the kernel removes nothing.
	log := filepath.Join(w.dir, "masqd.log")
	d = &daemon{w: w, log: log, Command: w.confined(context.WithoutCancel(t.Context()), "-all,+net_admin", flags...)}
	d.Stderr = assert.Must(os.Create(log))(t)
	assert.NoError(t, d.Start())
	until(t, "masqd is ready", func() bool { code, _ := d.get("/readyz"); return code == http.StatusOK })
	s.has("with CAP_NET_ADMIN alone", all)
	d.end()

	d = w.daemon(flags...)
	until(t, "the records of the namespace are removed", func() bool { return s.records("earlier") == 1 })
	w.cleansUp() // several resyncs
	s.has("at the end", map[string]int{"earlier": 1, "living": 2, "dead": 2, "own": 1})
	if _, err := os.Stat(old); err != nil {
		t.Errorf("the record that names no namespace: %v", err)
	}
	w.seenAs(own, w.V4, w.V4.Node)
	d.end()

	// The neighbor has lost nothing: its DEL finds each record.
	leases := func(id string) (n int) {
		for _, path := range assert.Must(filepath.Glob(filepath.Join(w.dir, "leases", "net", "*.*")))(t) {
			if strings.HasPrefix(string(assert.Must(os.ReadFile(path))(t)), id+"\n") || strings.HasPrefix(string(assert.Must(os.ReadFile(path))(t)), id+"\r\n") {
				n++
			}
		}
		return n
	}
	// The lease of a container whose node's namespace is deleted stays until DEL.
	if p := dying[15]; leases("earlier15") != 1 {
		t.Errorf("%d leases of earlier15, not 1", leases("earlier15"))
	} else if err := p.tryDel(p.list); err != nil || leases("earlier15") != 0 {
		t.Errorf("after DEL (%v) there are %d leases of earlier15", describe(err), leases("earlier15"))
	}
	s.Node = neighbor
	for _, p := range append(living, dead...) {
		if err := p.tryDel(p.list); err != nil {
			t.Errorf("DEL %s: %v", p.runtime.ContainerID, describe(err))
		}
	}
	s.Node = s.node
	s.has("after DEL", map[string]int{"living": 0, "dead": 0, "own": 1})
}
