package install

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKeysOfTheEntry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte(" {\"mtu\": 1400}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const capabilities = `{"type":"masq","capabilities":{"io.kubernetes.cri.pod-annotations":true}`
	for _, c := range []struct{ keys, stateDir, want string }{
		{"", "/run/masq-cni", capabilities + "}"},
		{"", "/run/other", capabilities + `,"stateDir":"/run/other"}`},
		{` {"stateDir": "/run/mine"}`, "/run/other", capabilities + `,"stateDir":"/run/mine"}`},
		{file, "/run/masq-cni", capabilities + `,"mtu":1400}`},
	} {
		i := install{keys: c.keys, stateDir: c.stateDir, networkName: "net", cniVersion: "1.0.0"}
		if err := i.readKeys(); err != nil || string(i.entry) != c.want {
			t.Errorf("%s: %s, %v", c.keys, i.entry, err)
		}
	}
}
