package conntrack

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// line is the flow as conntrack(8) writes it with -o extended,id, but for its
// timeout, which another moment changes, and use, which we do not read.
func line(f *Flow) string {
	var w strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&w, format+" ", args...) }
	if f.Original.Src.Is4() {
		add("ipv4 2")
	} else {
		add("ipv6 10")
	}
	name := protoName(f.Original.Proto)
	add("%s %d", name, f.Original.Proto)
	if f.Has(HasState) {
		add("%s", strings.ToUpper(f.StateName()))
	}
	half := func(t Tuple, c Counters, zone string) {
		add("src=%s dst=%s", t.Src, t.Dst)
		switch t.Proto {
		case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
			add("type=%d code=%d id=%d", t.Type, t.Code, t.ID)
		case unix.IPPROTO_GRE:
			add("srckey=%#x dstkey=%#x", t.SrcPort, t.DstPort)
		default:
			add("sport=%d dport=%d", t.SrcPort, t.DstPort)
		}
		if t.Zone != 0 && f.Original.Zone != f.Reply.Zone {
			add("%s=%d", zone, t.Zone)
		}
		if f.Has(HasCounters) {
			add("packets=%d bytes=%d", c.Packets, c.Bytes)
		}
	}
	half(f.Original, f.OriginalCounters, "zone-orig")
	if f.Status&SeenReply == 0 {
		add("[UNREPLIED]")
	}
	half(f.Reply, f.ReplyCounters, "zone-reply")
	if f.Status&Assured != 0 {
		add("[ASSURED]")
	}
	add("mark=%d", f.Mark)
	if f.Original.Zone == f.Reply.Zone && f.Original.Zone != 0 {
		add("zone=%d", f.Original.Zone)
	}
	if f.Helper != (Helper{}) {
		add("helper=%s", f.Helper)
	}
	add("id=%d", f.ID)
	return strings.TrimSpace(w.String())
}

// theirs are the lines of conntrack(8) by what is before the timeout and after it.
func theirs(t *testing.T, tb *table) map[string]time.Duration {
	t.Helper()
	out := assert.Must(tb.ns.Command(t.Context(), "conntrack", "-L", "-o", "extended,id").Output())(t)
	all := map[string]time.Duration{}
	for text := range strings.Lines(string(out)) {
		words := strings.Fields(text)
		timeout := assert.Must(strconv.Atoi(words[4]))(t)
		words = slices.DeleteFunc(slices.Delete(words, 4, 5), func(w string) bool {
			return strings.HasPrefix(w, "use=") || strings.HasPrefix(w, "delta-time=")
		})
		all[strings.Join(words, " ")] = time.Duration(timeout) * time.Second
	}
	return all
}

func ours(t *testing.T, tb *table) map[string]time.Duration {
	t.Helper()
	all := map[string]time.Duration{}
	for f, err := range tb.Dump(t.Context(), Filter{}) {
		assert.NoError(t, err)
		all[line(f)] = f.Timeout
	}
	return all
}

// rounding is how far two readings of one time-out may be apart.
const rounding = 3 * time.Second

func compare(t *testing.T, tb *table, atLeast int) {
	t.Helper()
	var a, b, after map[string]time.Duration
	// The connections are alive: conntrack reads between two of our readings that
	// have the same flows, and its time-outs are between theirs.
	for range 20 {
		a, b, after = ours(t, tb), theirs(t, tb), ours(t, tb)
		if maps.EqualFunc(a, after, func(_, _ time.Duration) bool { return true }) {
			break
		}
	}
	if len(a) < atLeast {
		t.Errorf("%d flows, not %d", len(a), atLeast)
	}
	for l, timeout := range a {
		other, ok := b[l]
		switch {
		case !ok:
			t.Errorf("only ours: %s", l)
		case other < min(timeout, after[l])-rounding, other > max(timeout, after[l])+rounding:
			t.Errorf("ours for %s and then %s, theirs for %s: %s", timeout, after[l], other, l)
		}
		delete(b, l)
	}
	for l := range b {
		t.Errorf("only theirs: %s", l)
	}
}

func TestSameAsConntrackOnRealTraffic(t *testing.T) {
	l := newLab(t)
	l.traffic(t)
	compare(t, l.table, 12)
}

// Other protocols that conntrack decodes, in raw packets, since not every system has sockets
// for them.
func TestSameAsConntrackOnOtherProtocols(t *testing.T) {
	l := newLab(t)
	// The kernel takes the checksum of UDP-Lite for wrong where it covers all (nf_ip_checksum
	// leaves out the addresses).
	assert.NoError(t, l.ns.Sysctl("net.netfilter.nf_conntrack_checksum", "0"))
	for i, p := range l.Plans() {
		src := podAddresses[i].Addr()
		for proto, message := range otherProtocols() {
			assert.NoError(t, l.pod.SendRaw(nstest.IPPacket(src, p.Server, proto, message, sumAt[proto])))
		}
	}
	var all map[Tuple]Flow
	for ctx := within(t); len(all) < 2*len(otherProtocols()) && ctx.Err() == nil; {
		all = l.collect(Filter{})
	}
	for i, p := range l.Plans() {
		src := podAddresses[i].Addr()
		for proto := range otherProtocols() {
			var found []Flow
			for _, f := range all {
				if f.Original.Proto == proto && f.Original.Src == src {
					found = append(found, f)
				}
			}
			if len(found) != 1 || found[0].Egress().Addr() != p.Node || !found[0].Translated() || found[0].OriginalCounters.Packets != 1 {
				t.Errorf("%s from %s: %+v", protoName(proto), src, found)
				continue
			}
			f := found[0]
			want := [2]uint16{1111, 2222}
			if proto == unix.IPPROTO_GRE {
				want = [2]uint16{0, 7}
			}
			if got := [2]uint16{f.Original.SrcPort, f.Original.DstPort}; got != want && proto != unix.IPPROTO_DCCP {
				t.Errorf("%s: %s", protoName(proto), f.Original)
			}
			// The kernel has no ports of DCCP from 6.17 on.
			if ports := !kernel(t, 6, 17); proto == unix.IPPROTO_DCCP && (f.Original.DstPort == 2222) != ports {
				t.Errorf("dccp: %s", f.Original)
			}
			// After the first packet the state is "closed" in newer kernels, "cookie_wait" in older.
			if f.Has(HasState) != (proto == unix.IPPROTO_SCTP) && proto != unix.IPPROTO_DCCP {
				t.Errorf("%s is %q", protoName(proto), f.StateName())
			}
		}
	}
	compare(t, l.table, 2*len(otherProtocols()))
}

// sumAt is where the messages of a protocol have a checksum like that of UDP.
var sumAt = map[uint8]int{unix.IPPROTO_UDPLITE: 6, unix.IPPROTO_DCCP: 6, unix.IPPROTO_SCTP: -1, unix.IPPROTO_GRE: -1}

// otherProtocols are the first messages of a flow from port 1111 to port 2222.
func otherProtocols() map[uint8][]byte {
	ports := []byte{1111 >> 8, 1111 & 0xff, 2222 >> 8, 2222 & 0xff}
	// A request: header of 24 bytes, X set, a sequence number of 48 bits, a service code.
	dccp := append(slices.Clone(ports), 6, 0, 0, 0, 0<<1|1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)
	// INIT: tag 0, a chunk of 20 bytes with another tag, and a separate checksum.
	sctp := append(slices.Clone(ports), 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1)
	binary.LittleEndian.PutUint32(sctp[8:], crc32.Checksum(sctp, crc32.MakeTable(crc32.Castagnoli)))
	return map[uint8][]byte{
		unix.IPPROTO_UDPLITE: append(slices.Clone(ports), 0, 8, 0, 0),
		unix.IPPROTO_DCCP:    dccp,
		unix.IPPROTO_SCTP:    sctp,
		unix.IPPROTO_GRE:     {0x20, 1, 0x88, 0x0b, 0, 0, 0, 7}, // of PPTP, call 7
	}
}

func TestSameAsConntrackOnAMixture(t *testing.T) {
	tb := newTable(t)
	assert.NoError(t, tb.ns.Sysctl("net.netfilter.nf_conntrack_acct", "1"))
	tb.insert(mixture()...)
	compare(t, tb, len(mixture()))
}

func TestSameAsConntrackOnManyFlows(t *testing.T) {
	tb := newTable(t)
	tb.insert(many(20_000)...)
	compare(t, tb, 20_000)
}

// conntrack -S and -C ask the same of the kernel.
func TestStatistics(t *testing.T) {
	l := newLab(t)
	l.traffic(t)
	l.insert(mixture()...)
	out := string(assert.Must(l.ns.Command(t.Context(), "conntrack", "-S").Output())(t))
	var text strings.Builder
	all := assert.Must(l.Statistics(t.Context()))(t)
	for _, s := range all {
		fmt.Fprintf(&text, "cpu=%d found=%d invalid=%d insert=%d insert_failed=%d drop=%d early_drop=%d error=%d search_restart=%d clash_resolve=%d chaintoolong=%d\n",
			s.CPU, s.Found, s.Invalid, s.Insert, s.InsertFailed, s.Drop, s.EarlyDrop, s.Error, s.SearchRestart, s.ClashResolve, s.ChainTooLong)
	}
	if got, want := strings.Fields(text.String()), strings.Fields(out); !slices.Equal(got, want) {
		t.Errorf("got %s\nnot %s", got, want)
	}
	if sum := Sum(all); sum.Insert != uint64(len(mixture())) {
		t.Errorf("inserted %d: %+v", len(mixture()), sum)
	}
	count := strings.TrimSpace(string(assert.Must(l.ns.Command(t.Context(), "conntrack", "-C").Output())(t)))
	limit := assert.Must(l.ns.ReadSysctl("net.netfilter.nf_conntrack_max"))(t)
	if got := assert.Must(l.Table())(t); fmt.Sprint(got.Entries) != count || fmt.Sprint(got.Limit) != limit {
		t.Errorf("%+v, not %s of %s", got, count, limit)
	}
}
