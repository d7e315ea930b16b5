package node

import (
	"strings"
	"testing"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/report"
	"github.com/masq-cni/masq-cni/pkg/store"
)

// TestFind checks that the name of a pod is enough if it is unique, and that the error
// otherwise names all candidates.
func TestFind(t *testing.T) {
	record := func(id, namespace, name string) store.Record {
		return store.Record{Attachment: masq.Attachment{Key: masq.Key{Network: "net", ContainerID: id, Interface: "eth0"}, Pod: masq.Pod{Namespace: namespace, Name: name}}}
	}
	s := Snapshot{Owners: report.OwnersOf([]store.Record{
		record("aaaa1", "shop", "web"), record("bbbb1", "test", "web"), record("cccc1", "shop", "db"), record("dddd1", "", ""), record("dddd2", "", ""), record("dbdb", "shop", "cache"),
	})}
	for name, want := range map[string]int{"shop/web": 0, "test/web": 1, "db": 2, "shop/db": 2, "dddd1": 3, "dddd2": 4, "dbd": 5, "cache": 5} {
		if got, err := s.Find(name); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, want := range map[string]string{
		"web":      `"web" matches shop/web, test/web; give one of them in full`,
		"dddd":     `"dddd" matches container dddd1, container dddd2; give one of them in full`,
		"none":     `no attachment belongs to pod or container "none"`,
		"shop/we":  `no attachment belongs to pod or container "shop/we"`,
		"x\x1b[2J": `no attachment belongs to pod or container "x\x1b[2J"`,
	} {
		if got, err := s.Find(name); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
