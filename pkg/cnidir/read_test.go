package cnidir

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestReadNetworks(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"05-broken.conflist":  `{"name": "broken"`,
		"10-list.conflist":    `{"cniVersion": "1.0.0", "name": "list", "plugins": [{"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "masq"}]}`,
		"20-made.conflist":    `{"name": "made", "masq-cni.dev/made-from": "pod ranges", "plugins": [{"type": "masq", "ipam": {"type": "host-local"}}]}`,
		"30-single.conf":      `{"name": "single", "cniVersion": "0.4.0", "type": "ptp"}`,
		"40-apart.conflist":   `{"name": "apart", "plugins": [{"type": "ptp", "ipam": {"type": "dhcp"}}]}`,
		"apart/1.conf":        `{"type": "masq"}`,
		"50-readme.txt":       "not read",
		"60-directory.conf/x": "not read",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := ReadNetworks(dir)
	if err != nil {
		t.Fatal(err)
	}
	type plugins = []NetworkPlugin
	want := []struct {
		file, name, version string
		made, fault         bool
		plugins
		masq int
	}{
		{"05-broken.conflist", "", "", false, true, nil, -1},
		{"10-list.conflist", "list", "1.0.0", false, false, plugins{{Type: "bridge", IPAM: true}, {Type: "masq", IPAM: false}}, 1},
		{"20-made.conflist", "made", "", true, false, plugins{{Type: "masq", IPAM: true}}, 0},
		{"30-single.conf", "single", "0.4.0", false, false, plugins{{Type: "ptp", IPAM: false}}, -1},
		{"40-apart.conflist", "apart", "", false, false, plugins{{Type: "ptp", IPAM: true}, {Type: "masq", IPAM: false}}, 1},
	}
	if len(files) != len(want) {
		t.Fatalf("%d files, want %d", len(files), len(want))
	}
	for i, w := range want {
		f := files[i]
		if f.Path != filepath.Join(dir, w.file) || f.Name != w.name || f.CNIVersion != w.version || f.Made != w.made || (f.Fault != nil) != w.fault || f.Find() != w.masq {
			t.Errorf("%s: %+v", w.file, f)
		}
		for j, p := range f.Plugins {
			var has struct{ Type string }
			if p.To > 0 && (json.Unmarshal(f.Text[p.From:p.To], &has) != nil || has.Type != p.Type) {
				t.Errorf("%s: the text of %s is %q", w.file, p.Type, f.Text[p.From:p.To])
			}
			f.Plugins[j].From, f.Plugins[j].To = 0, 0
		}
		if !reflect.DeepEqual(f.Plugins, w.plugins) {
			t.Errorf("%s: plugins %+v, want %+v", w.file, f.Plugins, w.plugins)
		}
		if f.Changed.IsZero() || f.Modified.IsZero() {
			t.Errorf("%s has no time", w.file)
		}
	}
}

func TestIsOlder(t *testing.T) {
	for _, x := range []struct {
		a, b string
		want bool
	}{
		{"0.1.0", "0.2.0", true},
		{"0.2.0", "0.1.0", false},
		{"0.1.0-dev", "0.1.0", true},
		{"0.1.0", "0.1.0", false},
		{"0.1.0-3-gabcdef", "0.1.0-12-gabcdef", true},
		{"dev", "0.1.0", false},
		{"0.1.0", "dev", false},
	} {
		if got := IsOlder(x.a, x.b); got != x.want {
			t.Errorf("%s is older than %s: %v", x.a, x.b, got)
		}
	}
}
