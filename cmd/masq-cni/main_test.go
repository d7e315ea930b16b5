package main

import (
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

func TestRoot(t *testing.T) {
	for _, tt := range []struct {
		args, out, diag string
		code            int
	}{
		{"", "\nAvailable Commands:\n", "", 0},
		{"version", "masq-cni version dev (unknown)\n", "", 0},
		{"--version", "masq-cni version dev (unknown)\n", "", 0},
		{"versionn", "", `masq-cni has no command "versionn"; did you mean version?`, 1},
		{"inspekt flows", "", `masq-cni has no command "inspekt"; did you mean inspect?`, 1},
		{"version now", "", `masq-cni version takes no arguments, and "now" is one`, 1},
		{"config chekc", "", `masq-cni config has no command "chekc"; did you mean check?`, 1},
		{"config check", "", "masq-cni config check needs at least one argument, a file", 1},
	} {
		code, out, diag := command(t, strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(diag, tt.diag) || tt.out == "" && out != "" {
			t.Errorf("%q: %d\n%s%s", tt.args, code, out, diag)
		}
	}
}

// TestFind: the name of a pod is enough if it is the only one, and an error says how each
// of several is written.
func TestFind(t *testing.T) {
	record := func(id, namespace, name string) store.Record {
		return store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "net", ContainerID: id, Interface: "eth0"}, Pod: masq.Pod{Namespace: namespace, Name: name}}}
	}
	v := view{owners: report.OwnersOf([]store.Record{
		record("aaaa1", "shop", "web"), record("bbbb1", "test", "web"), record("cccc1", "shop", "db"), record("dddd1", "", ""), record("dddd2", "", ""), record("dbdb", "shop", "cache"),
	})}
	for name, want := range map[string]int{"shop/web": 0, "test/web": 1, "db": 2, "shop/db": 2, "dddd1": 3, "dddd2": 4, "dbd": 5, "cache": 5} {
		if got, err := v.find(name); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, want := range map[string]string{
		"web":      `"web" may be shop/web, test/web; give one of them in full`,
		"dddd":     `"dddd" may be container dddd1, container dddd2; give one of them in full`,
		"none":     `no attachment belongs to pod or container "none"`,
		"shop/we":  `no attachment belongs to pod or container "shop/we"`,
		"x\x1b[2J": `no attachment belongs to pod or container "x\x1b[2J"`,
	} {
		if got, err := v.find(name); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
