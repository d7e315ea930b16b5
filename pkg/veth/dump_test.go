package veth

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/netlink/netlinktest"
)

// scripted returns a Conn with a kernel that gives these answers.
func scripted(answer func(*netlinktest.Request)) *Conn {
	return &Conn{host: &socket{c: netlink.NewConn(netlinktest.New(answer), netlink.DumpBuffer)}}
}

// linkAnswer is the body of an RTM_NEWLINK.
func linkAnswer(index int, name, alias string, group uint32) []byte {
	e := netlink.Encoder(encodeHeader(unix.IfInfomsg{Index: int32(index)}))
	e.Text(unix.IFLA_IFNAME, name)
	e.Text(unix.IFLA_IFALIAS, alias)
	e.NativeUint32(unix.IFLA_GROUP, group)
	return e
}

func addressAnswer(a string, index int) []byte {
	return addAddress(netip.MustParsePrefix(a), 0, index, "").Encoder
}

// lists are the functions that read lists, each with an object of its list. read returns the
// number of objects.
var lists = map[string]struct {
	object []byte
	read   func(w *Conn) (found int, err error)
}{
	"links of ours": {linkAnswer(7, "masq0", "net/id/eth0", masq.CheckedGroup), func(w *Conn) (int, error) {
		all, err := w.ManagedLinks()
		return len(all), err
	}},
	"aliases": {linkAnswer(7, "masq0", "net/id/eth0", masq.CheckedGroup), func(w *Conn) (int, error) {
		all, err := w.Aliases()
		return len(all), err
	}},
	"addresses": {addressAnswer("192.0.2.1/24", 7), func(w *Conn) (int, error) {
		all, err := w.host.addresses(0)
		return len(all), err
	}},
	"routes": {route{dst: netip.MustParsePrefix("192.0.2.0/24"), index: 7}.addRoute("", 0).Encoder, func(w *Conn) (int, error) {
		all, err := w.host.routes(7)
		return len(all) / len(masq.Families), err // the script gives each family the same
	}},
	"rules": {encodeHeader(ruleHeader{unix.AF_INET, 4: 100, 7: frActToTable}), func(w *Conn) (int, error) {
		all, err := w.tables(masq.IPv4)
		return len(all) - 1, err // without main
	}},
	"default routes": {route{dst: DefaultRoute(masq.IPv4), index: 7}.addRoute("", 0).Encoder, func(w *Conn) (int, error) {
		all, _, err := w.host.defaultsOf(masq.IPv4, 0)
		return len(all), err
	}},
	"the state of a Watcher": {addressAnswer("192.0.2.1/24", 7), func(w *Conn) (int, error) {
		k, err := observe(w.host)
		return len(k.addresses), err
	}},
}

// A list that changed while it was read is read again, and returns each object once.
func TestInterruptedListIsReadAgain(t *testing.T) {
	for name, list := range lists {
		interrupted := map[uint16]bool{}
		w := scripted(func(r *netlinktest.Request) {
			flags := uint16(0)
			if !interrupted[r.Type] {
				flags, interrupted[r.Type] = unix.NLM_F_DUMP_INTR, true
			}
			r.Reply(0, flags, list.object)
			r.Done(0)
		})
		found, err := list.read(w)
		if found != 1 || err != nil || len(interrupted) == 0 {
			t.Errorf("%s: %d, %v", name, found, err)
		}
	}
}

// A list that is not read to its end is an error.
func TestIncompleteListIsReported(t *testing.T) {
	for name, list := range lists {
		for what, tt := range map[string]struct {
			answer func(*netlinktest.Request)
			err    error
		}{
			"interrupted each time": {func(r *netlinktest.Request) {
				r.Reply(0, unix.NLM_F_DUMP_INTR, list.object)
				r.Done(0)
			}, netlink.ErrInterrupted},
			"an errno at its end": {func(r *netlinktest.Request) {
				r.Reply(0, 0, list.object)
				r.Done(unix.ENOMEM)
			}, unix.ENOMEM},
			"lost": {func(r *netlinktest.Request) {
				r.Reply(0, 0, list.object)
				r.Fail(unix.ENOBUFS)
			}, netlink.ErrOverrun},
			"no end":    {func(r *netlinktest.Request) { r.Reply(0, 0, list.object) }, netlink.ErrNoAnswer},
			"truncated": {func(r *netlinktest.Request) { r.Datagram(r.Message(0, 0, list.object)[:20]) }, netlink.ErrMalformed},
		} {
			want := tt.err
			if name == "the state of a Watcher" && what == "interrupted each time" {
				want = nil // attempts add up
			}
			if _, err := list.read(scripted(tt.answer)); !errors.Is(err, want) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

// Links that an interrupted list lacks are looked up.
func TestInterruptedListOfEnds(t *testing.T) {
	pairs := make([]Pair, listThreshold)
	for i := range pairs {
		pairs[i].HostName, pairs[i].Identity = hostName(i), "net/id/eth0"
	}
	looked := map[string]bool{}
	w := scripted(func(r *netlinktest.Request) {
		if r.Flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP {
			r.Reply(unix.RTM_NEWLINK, unix.NLM_F_DUMP_INTR, linkAnswer(1, hostName(0), "", 0))
			r.Done(0)
			return
		}
		for kind, v := range netlink.All(netlink.After(r.Body, unix.SizeofIfInfomsg)) {
			if kind == unix.IFLA_IFNAME {
				looked[netlink.Text(v)] = true
			}
		}
		if r.Flags&unix.NLM_F_ACK != 0 {
			defer r.Errno(0)
		}
		r.Reply(unix.RTM_NEWLINK, 0, linkAnswer(9, "any", "", 0))
	})
	ends, err := w.ends(pairs)
	if err != nil {
		t.Fatal(err)
	}
	if len(looked) != listThreshold-1 || looked[hostName(0)] {
		t.Errorf("%d of %d links were looked up", len(looked), listThreshold-1)
	}
	if i := slices.IndexFunc(ends, func(e end) bool { return e.index == 0 }); i >= 0 {
		t.Errorf("%s was not found", ends[i].pair.HostName)
	}
}

func hostName(i int) string { return "masq" + string(rune('A'+i/26)) + string(rune('a'+i%26)) }
