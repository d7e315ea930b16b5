package conntrack

import (
	"fmt"
	"net/netip"
	"net/textproto"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
)

// An expectation of an FTP session, compared with the output of conntrack(8).
func TestExpectations(t *testing.T) {
	l := newLab(t)
	for e, err := range l.Expectations(t.Context()) {
		t.Fatalf("%v, %v is expected", e, err)
	}
	for i, p := range l.Plans() {
		conn := assert.Must(l.pod.Dial(within(t), "tcp", netip.AddrPort{}, l.ftp[p.Server].Addr()))(t)
		control := textproto.NewConn(conn)
		t.Cleanup(func() { _ = control.Close() })
		assert.Must(control.ReadLine())(t)
		// The helper looks at lines that follow one that it saw the end of.
		assert.NoError(t, control.PrintfLine("USER anonymous"))
		assert.Must(control.ReadLine())(t)
		pod := podAddresses[i].Addr()
		assert.NoError(t, control.PrintfLine("EPRT |%d|%s|51210|", i+1, pod))
		if answer := assert.Must(control.ReadLine())(t); !strings.HasPrefix(answer, "200") {
			t.Fatal(answer)
		}
		n := 0
		for e, err := range l.Expectations(t.Context()) {
			assert.NoError(t, err)
			if e.Tuple.Src != p.Server {
				continue
			}
			n++
			master := assert.Must(l.Get(e.Master))(t)
			if e.Helper.String() != "ftp" || e.Tuple.Dst != p.Node || e.Tuple.DstPort != e.NAT.Port() || e.NAT.Port() != 51210 ||
				e.Tuple.Proto != unix.IPPROTO_TCP || e.Mask.DstPort != 0xffff || e.Mask.SrcPort != 0 || e.Timeout <= 0 ||
				master.Original.Src != pod || master.Helper != e.Helper || e.Flags != 0 {
				t.Errorf("%+v of %+v", *e, master)
			}
			out := string(assert.Must(l.ns.Command(t.Context(), "conntrack", "-L", "expect", "-f", []string{"ipv4", "ipv6"}[i], "-o", "id").Output())(t))
			for _, want := range []string{
				fmt.Sprintf("src=%s dst=%s sport=%d dport=%d", e.Tuple.Src, e.Tuple.Dst, e.Tuple.SrcPort, e.Tuple.DstPort),
				fmt.Sprintf("mask-src=%s mask-dst=%s sport=%d dport=%d", e.Mask.Src, e.Mask.Dst, e.Mask.SrcPort, e.Mask.DstPort),
				fmt.Sprintf("master-src=%s master-dst=%s sport=%d dport=%d", e.Master.Src, e.Master.Dst, e.Master.SrcPort, e.Master.DstPort),
				fmt.Sprintf("class=%d helper=%s", e.Class, e.Helper),
			} {
				if !strings.Contains(out, want) {
					t.Errorf("%s is not in %s", want, out)
				}
			}
		}
		if n != 1 {
			t.Errorf("%d expectations of %s", n, p.Server)
		}
	}
}
