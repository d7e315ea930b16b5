package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// recordPath returns the file of a container's record.
func (p *pod) recordPath() string {
	p.w.t.Helper()
	key := masq.Key{Network: p.list.Name, ContainerID: p.runtime.ContainerID, Interface: p.runtime.IfName}
	all := assert.Must(filepath.Glob(filepath.Join(p.w.dir, "state", "attachments", "*-"+key.Digest()+".json")))(p.w.t)
	if len(all) != 1 {
		p.w.t.Fatalf("records of %s: %q", p.runtime.ContainerID, all)
	}
	return all[0]
}

// isRecord reports whether the file has a complete record.
func isRecord(path string, words ...string) bool {
	b, err := os.ReadFile(path)
	for _, w := range append(words, `"ready":true`) {
		if err != nil || !strings.Contains(string(b), w) {
			return false
		}
	}
	return true
}

// damages are ways to make a record invalid.
var damages = map[string]func(path string) error{
	"empty":     func(path string) error { return os.Truncate(path, 0) },
	"truncated": func(path string) error { return os.Truncate(path, 150) },
	"garbage":   func(path string) error { return os.WriteFile(path, []byte("\x00\xffgarbage"), 0o600) },
	"replaced": func(path string) error {
		return errors.Join(os.WriteFile(path+".new", []byte("[]"), 0o600), os.Rename(path+".new", path))
	},
}

// TestDamagedRecord damages a record, with and without masqd running. The container stays
// masqueraded, and the record is rebuilt from the kernel's state.
func TestDamagedRecord(t *testing.T) {
	for name, damage := range damages {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, masqd at work %t", name, running), func(t *testing.T) {
				w := newWorld(t, nstest.Uplink{})
				named := w.masqOn("10.90.0.0/16").With(keys{"nonMasqueradeCIDRs": []string{"10.0.0.0/8"}})
				lists := []*libcni.NetworkConfigList{
					w.conflist("1.0.0", w.masq()), // the node's policy, with no other attachment
					w.namedConflist("named", "1.0.0", named),
					w.namedConflist("chained", "1.0.0", w.linkByPTP().With(keys{"ipam": w.masqOn("10.89.0.0/16")["ipam"].(keys).With(keys{"routes": []keys{{"dst": "0.0.0.0/0"}}})}), w.behind()),
				}
				var pods []*pod
				for i, list := range lists {
					pods = append(pods, w.attach(fmt.Sprintf("p%d", i), list))
				}
				w.attach("other", lists[1]) // it has the same policy
				var d *daemon
				if running {
					d = w.cleaningDaemon()
				}
				for _, p := range pods {
					assert.NoError(t, damage(p.recordPath()))
				}
				if !running {
					d = w.cleaningDaemon()
				}
				for _, p := range pods {
					path := p.recordPath()
					until(t, "the record is rebuilt", func() bool {
						return isRecord(path, `"containerID":"`+p.runtime.ContainerID+`"`, p.addr(w.V4.Node).String(), `"policy"`)
					})
					until(t, "/readyz names it", func() bool {
						code, text := d.get("/readyz")
						return code == 200 && strings.Contains(text, path)
					})
				}
				until(t, "no record is unreadable", func() bool { return d.metric("masq_unreadable_records") == "0" })
				if n := d.metric("masq_rebuilt_records_total"); n != "3" {
					t.Errorf("%s are rebuilt", n)
				}
				w.nft("flush ruleset") // the rebuilt record must restore the same rules
				w.cleansUp()
				for _, p := range pods {
					w.seenAs(p, w.V4, w.V4.Node)
				}
				if err := pods[0].tryCheck(lists[0]); err != nil {
					t.Error(describe(err))
				}
				bad := strings.TrimSuffix(pods[0].recordPath(), ".json") + ".bad"
				assert.Must(os.Stat(bad))(t)
				pods[0].detach()
				if _, err := os.Stat(bad); err == nil || w.hasElement(pods[0].addr(w.V4.Node).String()) {
					t.Errorf("after DEL: %v", err)
				}
			})
		}
	}
}

// TestUnreadableRecord: a record can be neither read nor rebuilt. The kernel objects of its
// attachment stay until DEL, and /readyz, metrics, inspect and drift name the file.
func TestUnreadableRecord(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"damaged, of a policy that is not known": damages["garbage"],
		"of a newer version": func(path string) error {
			b, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, []byte(strings.Replace(string(b), `"version":1`, `"version":2`, 1)), 0o600))
		},
		"cannot be opened": func(path string) error { return errors.Join(os.Rename(path, path+".aside"), os.Mkdir(path, 0o700)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nstest.Uplink{})
			p := w.attach("p", w.conflist("1.0.0", w.masq().With(keys{"helpers": keys{"ftp": []int{21}}, "mssClamp": 1300, "nonMasqueradeCIDRs": []string{"10.0.0.0/8"}})))
			path := p.recordPath()
			good := assert.Must(os.ReadFile(path))(t)
			assert.NoError(t, spoil(path))
			before := w.nodeRun("nft", "list", "table", "inet", "masq")
			d := w.cleaningDaemon()
			until(t, "/readyz names it", func() bool {
				code, text := d.get("/readyz")
				return code == 200 && strings.Contains(text, path)
			})
			if n := d.metric("masq_unreadable_records"); n != "1" {
				t.Errorf("metric: %s", n)
			}
			w.cleansUp()
			w.nft("add element inet masq invalid4 { 10.1.2.3 }")
			d.syncs() // after a sync that could have removed the element
			if n := d.metric("masq_unreadable_records"); n != "1" {
				t.Errorf("metric after a sync: %s", n)
			}
			if after := w.nodeRun("nft", "list", "table", "inet", "masq"); !strings.Contains(after, p.addr(w.V4.Node).String()) || !strings.Contains(after, "1300") || !strings.Contains(after, "ftp") {
				t.Errorf("%s\nis\n%s", before, after)
			}
			w.seenAs(p, w.V4, w.V4.Node)
			for _, args := range [][]string{{"inspect"}, {"inspect", "drift"}} {
				out, err := w.Node.Command(t.Context(), built("masq-cni"), append(args, "--state-dir", filepath.Join(w.dir, "state"))...).CombinedOutput()
				if err == nil || !strings.Contains(string(out), path) {
					t.Errorf("%q: %v\n%s", args, err, out)
				}
			}
			if name == "cannot be opened" {
				// The record is readable again, and no event reports it.
				assert.NoError(t, errors.Join(os.Remove(path), os.WriteFile(path, good, 0o600)))
				until(t, "it is read again", func() bool { return d.metric("masq_unreadable_records") == "0" })
				return
			}
			p.detach()
			if _, err := os.Stat(path); err == nil {
				t.Error("the record exists after DEL")
			}
			until(t, "no record is unreadable", func() bool { return d.metric("masq_unreadable_records") == "0" })
		})
	}
}
