package masq

import (
	"slices"
	"strings"
	"testing"
)

// TestHelperKinds: a helper is either of the kernel or of masqd.
func TestHelperKinds(t *testing.T) {
	if !slices.IsSortedFunc(HelperKinds, func(a, b HelperKind) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("not in alphabetical order: %v", HelperNames())
	}
	if len(KernelHelperKinds())+len(DaemonHelperKinds()) != len(HelperKinds) {
		t.Error("a helper is missing")
	}
	for _, k := range HelperKinds {
		if k.Daemon != (k.Module == "") || k.Daemon && k.NAT != "" || len(k.Assign) == 0 {
			t.Errorf("%+v", k)
		}
		for _, a := range k.Assign {
			if k.Daemon != (a.Kernel == "") || !slices.Contains(k.Protocols(), a.Protocol) || a.IPv4Only != k.Assign[0].IPv4Only && k.Daemon {
				t.Errorf("%s: %+v", k.Name, a)
			}
		}
	}
}

func TestPolicyHelpers(t *testing.T) {
	names := func(all []Helper) (out []string) {
		for _, h := range all {
			out = append(out, h.Name)
		}
		return out
	}
	p := Policy{Helpers: []Helper{{Name: "ftp"}, {Name: "pna"}, {Name: "rtsp"}, {Name: "sip"}, {Name: "talk"}, {Name: "telepathy"}}}
	if got := names(p.KernelHelpers()); !slices.Equal(got, []string{"ftp", "sip"}) {
		t.Errorf("of the kernel: %q", got)
	}
	if got := names(p.DaemonHelpers()); !slices.Equal(got, []string{"pna", "rtsp", "talk"}) {
		t.Errorf("of masqd: %q", got)
	}
}
