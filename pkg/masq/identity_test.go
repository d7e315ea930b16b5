package masq

import (
	"strings"
	"testing"
)

// An identity says which record is the attachment's, however long its names are; no
// other text does.
func TestDigestOfIdentity(t *testing.T) {
	long := strings.Repeat("c", 64)
	for _, k := range []Key{
		{"n", "c", "eth0"},
		{"net-1.example", long, "eth0"},
		{strings.Repeat("n", 63), long, "eth0"},
		{strings.Repeat("n~", 63), long + "~", "eth0"},
	} {
		if got, ok := DigestOf(k.Identity()); !ok || got != k.Digest() {
			t.Errorf("the digest of %q is %q, %t, not %q", k.Identity(), got, ok, k.Digest())
		}
	}
	shortened := Key{strings.Repeat("n", 63), long, "eth0"}.Identity()
	for _, s := range []string{
		"", "/", "//", "a/b/", "a//c", "a/b/c/d", "a/b", shortened[:126], shortened + "x",
		strings.Replace(shortened, "~", "-", 1), shortened[:61] + "g" + shortened[62:], strings.Repeat("~", 127),
	} {
		if got, ok := DigestOf(s); ok {
			t.Errorf("%q passes for the identity of %q", s, got)
		}
	}
}
