package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// exactly compares everything outside the rules with the live attachments.
func (w *world) exactly(alive []*pod) {
	w.t.Helper()
	want := map[string]bool{"link lo": true, "link uplink": true}
	for _, n := range []*nstest.NS{w.Node, w.Router, w.Server} {
		want["namespace "+n.Name()] = true
	}
	for _, p := range alive {
		want["link "+p.host()] = true
		want["namespace "+p.Name()] = true
		want["record of "+p.list.Name+"/"+p.runtime.ContainerID] = true
		a := p.addr(w.V4.Node)
		want["route to "+a.String()] = true
		want["lease "+p.list.Name+"/"+a.String()+" of "+p.runtime.ContainerID] = true
		want["element "+a.String()+" of "+p.list.Name+"/"+p.runtime.ContainerID+"/eth0"] = true
		if links := assert.Must(p.LinkNames())(w.t); !slices.Equal(links, []string{"lo", "eth0"}) {
			w.t.Errorf("%s has the links %v", p.runtime.ContainerID, links)
		}
	}
	have := map[string]bool{}
	for _, name := range assert.Must(w.Node.LinkNames())(w.t) {
		have["link "+name] = true
	}
	prefix, _, _ := strings.Cut(w.Node.Name(), "node")
	for _, path := range assert.Must(filepath.Glob(filepath.Join(filepath.Dir(w.Node.Path()), prefix+"*")))(w.t) {
		have["namespace "+filepath.Base(path)] = true
	}
	for line := range strings.Lines(w.nodeRun("ip", "route")) {
		if dst := strings.Fields(line)[0]; dst != "default" && dst != w.V4.UplinkNet.String() {
			have["route to "+dst] = true
		}
	}
	if len(alive) > 0 {
		var listing struct {
			Nftables []struct {
				Map *struct {
					Elem [][]json.RawMessage
				}
			}
		}
		assert.NoError(w.t, json.Unmarshal([]byte(w.nodeRun("nft", "-j", "list", "map", "inet", "masq", "policy4")), &listing))
		for _, o := range listing.Nftables {
			if o.Map == nil {
				continue
			}
			for _, pair := range o.Map.Elem {
				var e struct{ Elem struct{ Val, Comment string } }
				assert.NoError(w.t, json.Unmarshal(pair[0], &e))
				have["element "+e.Elem.Val+" of "+e.Elem.Comment] = true
			}
		}
	}
	maps.Copy(have, w.files())
	for name := range have {
		if !want[name] {
			w.t.Errorf("left: %s", name)
		}
	}
	for name := range want {
		if !have[name] {
			w.t.Errorf("lost: %s", name)
		}
	}
}

// files returns the records and leases, and other files that are not always there.
func (w *world) files() map[string]bool {
	w.t.Helper()
	have := map[string]bool{}
	for _, sub := range []string{"state", "leases"} {
		assert.NoError(w.t, filepath.WalkDir(filepath.Join(w.dir, sub), func(path string, e fs.DirEntry, err error) error {
			name := filepath.Base(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it was removed concurrently
			}
			if err != nil || e.IsDir() || name == "masqd.lock" || name == "lock" || strings.HasPrefix(name, "last_reserved_ip") {
				return err
			}
			text, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			var record struct {
				Network, ContainerID string
				Ready                bool
			}
			id, _, _ := strings.Cut(string(text), "\r\n")
			switch _, bad := netip.ParseAddr(name); {
			case sub == "leases" && bad == nil:
				have["lease "+filepath.Base(filepath.Dir(path))+"/"+name+" of "+id] = true
			case strings.HasSuffix(name, ".json") && json.Unmarshal(text, &record) == nil && record.Ready:
				have["record of "+record.Network+"/"+record.ContainerID] = true
			default:
				have[fmt.Sprintf("file %s: %s", path, text)] = true
			}
			return nil
		}))
	}
	entries := assert.Must(os.ReadDir(w.dir))(w.t)
	for _, e := range entries {
		if !slices.Contains([]string{"state", "leases", "masqd.log"}, e.Name()) {
			have["file "+e.Name()] = true
		}
	}
	return have
}

// dead returns how many records exceed the given number, without the records that masqd
// leaves to GC, plus the files without a record.
func (w *world) dead(records int) (n int) {
	w.t.Helper()
	for name := range w.files() {
		if strings.HasPrefix(name, "record of ") {
			n++
		}
	}
	for _, path := range assert.Must(filepath.Glob(filepath.Join(w.dir, "state", "attachments", "*.tmp")))(w.t) {
		if _, err := os.Lstat(strings.TrimSuffix(path, ".tmp") + ".json"); errors.Is(err, fs.ErrNotExist) {
			n++
		}
	}
	return n - records
}
