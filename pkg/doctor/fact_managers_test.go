package doctor

import "testing"

func TestNetworkManagerConf(t *testing.T) {
	const link = "veth1a2b3c4d5e6"
	for _, c := range []struct {
		name  string
		files []string // in the order in which NetworkManager reads them
		want  bool
	}{
		{"default", []string{"[main]\nplugins=keyfile\n"}, false},
		{"managed by driver", []string{"[device-x]\nmatch-device=driver:veth\nmanaged=1\n"}, true},
		{"managed by name", []string{"[device]\nmatch-device=interface-name:veth*\nmanaged=true\n"}, true},
		{"managed by a literal name", []string{"[device]\nmatch-device=interface-name:=veth*\nmanaged=true\n"}, false},
		{"managed by type", []string{"[device]\nmatch-device=type:ethernet,type:veth\nmanaged=yes\n"}, true},
		{"another type", []string{"[device]\nmatch-device=type:ethernet\nmanaged=1\n"}, false},
		{"all but veth", []string{"[device]\nmatch-device=*,except:interface-name:veth*\nmanaged=1\n"}, false},
		{"all", []string{"[device]\nmanaged=1\n"}, true},
		{"a later file says no", []string{"[device]\nmanaged=1\n", "[device]\nmanaged=0\n"}, false},
		{"another section says no", []string{"[device-a]\nmanaged=1\n", "[device-b]\nmatch-device=driver:veth\nmanaged=0\n"}, false},
		{"unmanaged", []string{"[device]\nmanaged=1\n[keyfile]\nunmanaged-devices=interface-name:veth*\n"}, false},
		{"unmanaged, added", []string{"[keyfile]\nunmanaged-devices=interface-name:docker0\n", "[device]\nmanaged=1\n[keyfile]\nunmanaged-devices+=interface-name:veth*;interface-name:br0\n"}, false},
		{"unmanaged, replaced", []string{"[keyfile]\nunmanaged-devices=interface-name:veth*\n", "[device]\nmanaged=1\n[keyfile]\nunmanaged-devices=interface-name:docker0\n"}, true},
		{"comments", []string{"# [device]\n; managed=1\n\n[device]\n#managed=1\n"}, false},
	} {
		var conf nmConf
		for _, text := range c.files {
			conf.add("file", parseINI([]byte(text)))
		}
		if _, got := conf.manages(link); got != c.want {
			t.Errorf("%s: managed: %t", c.name, got)
		}
	}
}

func TestNetworkFile(t *testing.T) {
	const link = "veth1a2b3c4d5e6"
	for text, want := range map[string]bool{
		"[Match]\nName=veth*\n":                       true,
		"[Match]\nName=eth0 veth*\n":                  true,
		"[Match]\nName=!veth* docker*\n":              false,
		"[Match]\nName=!eth*\n":                       true,
		"[Match]\nName=ve-*\nKind=veth\n":             false, // 80-container-ve.network
		"[Match]\nKind=veth\n":                        true,
		"[Match]\nKind=!*\nType=ether\n":              false, // 89-ethernet.network
		"[Match]\nDriver=veth\n":                      true,
		"[Match]\nType=ether\n":                       true,
		"[Match]\nType=wlan\n":                        false,
		"[Match]\nType=ether\nName=eth0\n":            false,
		"[Match]\nName=eth0\nName=\nName=veth*\n":     true,
		"[Match]\nMACAddress=02:00:00:00:00:01\n":     false,
		"[Match]\nName=*\nVirtualization=container\n": false,
		"[Match]\n":             false,
		"[Network]\nDHCP=yes\n": false,
		"[Match]\nName=veth[\n": false,
		"[Match]\nName=*\n[Link]\nMACAddress=02::1\n":     true,
		"[Match]\nOriginalName=veth*\n[Network]\nDHCP=no": false,
	} {
		var f networkFile
		f.add(parseINI([]byte(text)))
		if got := f.matches(link); got != want {
			t.Errorf("%q matches: %t", text, got)
		}
	}
	var f networkFile
	f.add(parseINI([]byte("[Match]\nName=veth*\n[Link]\nUnmanaged=yes\n")))
	if !f.unmanaged {
		t.Error("Unmanaged=yes has no effect")
	}
}
