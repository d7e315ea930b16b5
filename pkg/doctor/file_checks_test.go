package doctor

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/masq-cni/masq-cni/pkg/cnidir"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

func TestForeignProgram(t *testing.T) {
	elfOf := func(class, order byte, machine ...byte) []byte {
		b := make([]byte, headSize)
		copy(b, "\x7fELF")
		b[4], b[5] = class, order
		copy(b[18:], machine)
		return b
	}
	for _, x := range []struct {
		name   string
		head   []byte
		arch   string
		accept bool
	}{
		{"the same", elfOf(2, 1, 62, 0), "amd64", true},
		{"32 bits", elfOf(1, 1, 3, 0), "amd64", true},
		{"64 bits on 32", elfOf(2, 1, 62, 0), "386", false},
		{"ARM on x86", elfOf(2, 1, 183, 0), "amd64", false},
		{"ARM", elfOf(2, 1, 183, 0), "arm64", true},
		{"big-endian", elfOf(2, 2, 0, 22), "s390x", true},
		{"little-endian of the same bytes", elfOf(2, 1, 0, 22), "s390x", false},
		{"unknown architecture", elfOf(2, 1, 62, 0), "wasm", true},
		{"script", []byte("#!/bin/sh\nexec true\n"), "amd64", true},
		{"empty", nil, "amd64", false},
		{"truncated", elfOf(2, 1, 62, 0)[:40], "amd64", false},
		{"text", []byte("hello"), "amd64", false},
	} {
		if value, wrong := foreignProgram(x.head, x.arch); (wrong == "") != x.accept || (value == "") != (wrong == "") {
			t.Errorf("%s: %q %q", x.name, value, wrong)
		}
	}
}

func TestWrongPlace(t *testing.T) {
	plugin := func(s string) cnidir.NetworkPlugin {
		t, with, _ := strings.Cut(s, "+")
		return cnidir.NetworkPlugin{Type: t, IPAM: with == "ipam"}
	}
	for list, want := range map[string]string{
		"bridge+ipam":                     "",
		"bridge+ipam masq portmap":        "",
		"bridge+ipam portmap masq":        "",
		"cilium-cni masq":                 "", // has addresses without ipam
		"masq+ipam portmap":               "",
		"masq+ipam":                       "",
		"masq bridge+ipam":                "has masq before bridge, whose addresses it needs",
		"portmap masq ptp+ipam":           "has masq before ptp, whose addresses it needs",
		"masq":                            "has masq as its first plugin without ipam",
		"masq portmap":                    "has masq as its first plugin without ipam",
		"bridge+ipam masq+ipam":           "gives masq ipam although bridge comes before it and makes the link",
		"multus bridge+ipam masq portmap": "",
	} {
		var plugins []cnidir.NetworkPlugin
		for s := range strings.FieldsSeq(list) {
			plugins = append(plugins, plugin(s))
		}
		if got, remedy := wrongPlace(plugins); got != want || (remedy == "") != (want == "") {
			t.Errorf("%s: %q, %q", list, got, remedy)
		}
	}
}

// confNode writes network configurations, and returns a node that reads them. They were
// modified a minute ago.
func confNode(t *testing.T, files map[string]string, records ...store.Record) *Node {
	t.Helper()
	dir, now := t.TempDir(), time.Now()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now.Add(-time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	return &Node{Options: Options{ConfDir: dir}, Now: now, AllRecords: records, Records: records, facts: map[string]any{}}
}

// TestConflistFaultPlaces checks that faults have the line and column of the file.
func TestConflistFaultPlaces(t *testing.T) {
	const list = `{
  "name": "pods", "cniVersion": "1.0.0",
  "plugins": [{"type": "ptp", "ipam": {"type": "host-local"}, "ÄÖ": 1},
    {
      "type": "masq", "mut": 1400,
      "toPorts": "x"
    }
  ]
}
`
	for text, want := range map[string][]string{
		list: {"10-a.conflist:5:23", "10-a.conflist:6:18"},
		strings.Replace(list, "1.0.0\",", "1.0.0\"", 1):                              {"10-a.conflist:3:3"},
		`{"name":"a","cniVersion":"1.0.0","type":"masq","mtu":"1"}`:                  {"10-a.conf:1:54"},
		strings.NewReplacer(`, "mut": 1400`, ``, `"x"`, `"1024-2000"`).Replace(list): nil,
	} {
		name := "10-a.conflist"
		if !strings.Contains(text, "plugins") {
			name = "10-a.conf"
		}
		n := confNode(t, map[string]string{name: text})
		found, err := conflistInvalid.Run(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		var places []string
		for _, f := range found {
			for _, e := range f.Evidence {
				places = append(places, strings.TrimPrefix(e.Source, n.ConfDir+"/"))
			}
		}
		if !slices.Equal(places, want) {
			t.Errorf("%s\nfound %v: %+v", text, places, found)
		}
	}
}

func TestConflistChecks(t *testing.T) {
	const (
		bridge = `{"name":"pods","cniVersion":"1.0.0","plugins":[{"type":"bridge","ipam":{"type":"host-local"}}]}`
		other  = `{"name":"other","cniVersion":"1.0.0","plugins":[{"type":"bridge","ipam":{"type":"host-local"}}]}`
		chain  = `{"name":"pods","cniVersion":"1.0.0","plugins":[{"type":"bridge","ipam":{"type":"host-local"}},{"type":"masq"}]}`
		made   = `{"name":"pods","masq-cni.dev/made-from":"pod ranges","plugins":[{"type":"masq","ipam":{"type":"host-local"}}]}`
		multus = `{"name":"multus-cni-network","type":"multus-shim"}`
		wraps  = `{"name":"genie","type":"meta","networks":["pods"]}`
		broken = `{"name":"pods"`
	)
	record := func(network, pod string, age time.Duration) store.Record {
		return store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: network, ContainerID: "c", Interface: "eth0"}, Pod: masq.Pod{Name: pod}}, Created: time.Now().Add(-age)}
	}
	old, young := record("pods", "web", time.Hour), record("pods", "web", -time.Hour)
	for _, x := range []struct {
		name    string
		files   map[string]string
		records []store.Record
		want    string
	}{
		{"no file", map[string]string{}, []store.Record{old}, ""},
		{"one file", map[string]string{"10.conflist": chain}, []store.Record{old}, ""},
		{"another network of containers", map[string]string{"10.conflist": other}, []store.Record{old}, ""},
		{"masq removed", map[string]string{"10.conflist": bridge}, []store.Record{old}, "conflist-without-masq"},
		{"masq elsewhere", map[string]string{"10.conflist": bridge}, []store.Record{young}, ""},
		{"no attachments", map[string]string{"10.conflist": bridge}, nil, ""},
		{"shadowed", map[string]string{"05.conflist": other, "10.conflist": made}, nil, "conflist-shadowed"},
		{"shadowed, the same name", map[string]string{"05.conflist": bridge, "10.conflist": made}, []store.Record{old}, "conflist-shadowed"},
		{"shadowed, with pods", map[string]string{"05.conflist": other, "10.conflist": chain}, []store.Record{old}, "conflist-shadowed"},
		{"podman's network", map[string]string{"05.conflist": other, "10.conflist": chain}, []store.Record{record("pods", "", time.Hour)}, ""},
		{"still used", map[string]string{"05.conflist": other, "10.conflist": made}, []store.Record{young}, ""},
		{"multus", map[string]string{"00.conf": multus, "10.conflist": made}, []store.Record{old}, ""},
		{"meta-plugin", map[string]string{"00.conf": wraps, "10.conflist": made}, []store.Record{old}, ""},
		{"comes later", map[string]string{"10.conflist": made, "20.conflist": other}, []store.Record{old}, ""},
		{"broken first", map[string]string{"05.conflist": broken, "10.conflist": chain}, nil, "conflist-invalid"},
		{"broken last", map[string]string{"10.conflist": chain, "20.conflist": broken}, nil, ""},
		{"broken, of another program", map[string]string{"05.conflist": broken}, []store.Record{old}, ""},
		{"broken, with masq", map[string]string{"10.conflist": chain[:len(chain)-1]}, nil, "conflist-invalid"},
		{"order", map[string]string{"10.conflist": strings.Replace(chain, `[{"type":"bridge"`, `[{"type":"masq"},{"type":"bridge"`, 1)}, nil, "conflist-order"},
	} {
		n := confNode(t, x.files, x.records...)
		var got []string
		for _, c := range []Check{conflistInvalid, conflistOrder, conflistShadowed, conflistWithoutMasq} {
			found, err := c.Run(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			for range found {
				got = append(got, c.ID)
			}
		}
		if strings.Join(got, " ") != x.want {
			t.Errorf("%s: %v, want %s", x.name, got, x.want)
		}
	}
	// Another program may still be writing the file.
	n := confNode(t, map[string]string{"05.conflist": broken, "10.conflist": chain})
	n.Now = n.Now.Add(-time.Minute)
	if found, err := conflistInvalid.Run(t.Context(), n); err != nil || len(found) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestPluginDirs(t *testing.T) {
	with := func(path string, age time.Duration) store.Record {
		return store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "n", ContainerID: "c", Interface: "eth0"}}, CNIPath: path, Created: time.Unix(1e9, 0).Add(-age)}
	}
	for _, x := range []struct {
		binDir  string
		records []store.Record
		want    []string
	}{
		{"", nil, pluginDirs},
		{cnidir.DefaultBinDir, nil, pluginDirs},
		{"/x", []store.Record{with("/a", 0)}, []string{"/x"}},
		{"", []store.Record{with("/a:/b", 0), with("/c", time.Hour)}, []string{"/a", "/b"}},
		{cnidir.DefaultBinDir, []store.Record{with("/c", time.Hour), with("/a::b", 0)}, []string{"/a"}},
		{"", []store.Record{with("", 0), with("/c", time.Hour)}, pluginDirs},
	} {
		n := &Node{Options: Options{BinDir: x.binDir}, AllRecords: x.records}
		if got, _ := n.pluginDirs(); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%+v: %v", x, got)
		}
	}
}

// TestPluginMissing: in a pod, where no directory of the node is visible, the check is not made.
// Without attachments and without a network of masq, a missing plugin is no fault.
func TestPluginMissing(t *testing.T) {
	dir := t.TempDir()
	record := store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "n", ContainerID: "c", Interface: "eth0"}}, CNIPath: filepath.Join(dir, "bin")}
	run := func(records ...store.Record) ([]Finding, error) {
		n := &Node{Options: Options{ConfDir: filepath.Join(dir, "net.d"), BinDir: filepath.Join(dir, "bin")}, AllRecords: records, facts: map[string]any{}}
		return pluginMissing.Run(t.Context(), n)
	}
	if found, err := run(record); len(found) > 0 || err == nil {
		t.Errorf("no directory: %+v, %v", found, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if found, err := run(record); len(found) != 1 || err != nil || found[0].Severity != report.SeverityError {
		t.Errorf("no plugin: %+v, %v", found, err)
	}
	if found, err := run(); len(found) > 0 || err != nil {
		t.Errorf("no attachment: %+v, %v", found, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", "masq"), bytes.Repeat([]byte{0}, 9), 0o644); err != nil {
		t.Fatal(err)
	}
	if found, err := run(record); len(found) > 0 || err != nil {
		t.Errorf("with the plugin: %+v, %v", found, err)
	}
}
