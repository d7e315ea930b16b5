package masq

import (
	"strings"
	"testing"
)

func TestParseIdentity(t *testing.T) {
	k := Key{Network: "net", ContainerID: strings.Repeat("c", 64), Interface: "eth0"}
	if got, ok := ParseIdentity(k.Identity()); !ok || got != k {
		t.Errorf("%+v, %t", got, ok)
	}
	long := Key{Network: strings.Repeat("n", 63), ContainerID: strings.Repeat("c", 64), Interface: "eth0"}
	for _, s := range []string{"", "a/b", "a/b/c/d", "//", "a//c", long.Identity()} {
		if got, ok := ParseIdentity(s); ok {
			t.Errorf("%q is %+v", s, got)
		}
	}
}
