package helpers

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/alg/session"
	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/reconcile"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/pkg/veth"
)

// newHelpers returns Helpers of a node without attachments, whose sourceCIDRs have a helper while
// asked is true.
func newHelpers(t *testing.T, f *fakeOwned, asked *bool, uplinks ...veth.Uplink) *Helpers {
	t.Helper()
	sources := ruleset.Sources{Policy: *rtspPolicy(), Prefixes: []netip.Prefix{netip.MustParsePrefix("10.88.0.0/16"), netip.MustParsePrefix("fd00::/64")}}
	h := &Helpers{
		ctx: t.Context(),
		o: Options{
			Records: &reconcile.Cache{},
			Node: func() (c reconcile.NodeConfig) {
				if *asked {
					c.Sources = sources
				}
				return c
			},
			Uplinks: func() ([]veth.Uplink, error) { return uplinks, nil },
			Serving: func([]string) {}, Log: slog.New(slog.DiscardHandler),
		},
		flows: &flows{conn: &fakeConn{}}, wake: make(chan struct{}, 1),
		listeners: map[masq.Family]*listener{}, listened: map[netip.Addr]bool{},
		table: newTable(func() (owned, error) { return f, nil }),
	}
	h.talk = session.NewTalk(session.TalkOptions{Node: h})
	t.Cleanup(func() {
		_ = h.closeListeners()
		h.running.Wait()
	})
	return h
}

// TestListenFails: if masqd cannot listen at the address of a family, the rules do not lead to the
// listener that the family had, and the other family is served.
func TestListenFails(t *testing.T) {
	asked := true
	h := newHelpers(t, &fakeOwned{}, &asked,
		veth.Uplink{Family: masq.IPv4, Source: netip.MustParseAddr("127.0.0.1")},
		veth.Uplink{Family: masq.IPv6, Source: netip.MustParseAddr("ff0e::1")}) // not an address of a host
	before := map[masq.Family]ruleset.Listeners{masq.IPv6: {TCP: netip.MustParseAddrPort("[2001:db8::1]:40554")}}
	if err := h.table.sync(input{sources: h.o.Node().Sources, listeners: before}); err != nil {
		t.Fatal(err)
	}
	has := func(want bool, text string) {
		t.Helper()
		if strings.Contains(fmt.Sprint(h.table.last.Chains), text) != want {
			t.Errorf("%q in the rules: want %t", text, want)
		}
	}
	has(true, "dnat ip6 to [2001:db8::1]")
	if err := h.sync(t.Context()); err == nil {
		t.Error("the address is not reported")
	}
	has(true, "dnat ip to 127.0.0.1")
	has(false, "dnat ip6 to [2001:db8::1]")
}

// TestActiveWithoutHelper: after the last helper has been taken from the configuration, masqd still
// ends what the helper has left open, when its attachment is deleted.
func TestActiveWithoutHelper(t *testing.T) {
	m := session.Media{Identity: "a", Proto: unix.IPPROTO_UDP, Server: netip.MustParseAddrPort("198.51.100.1:6000")}
	for name, leave := range map[string]func(h *Helpers){
		"a session":       func(h *Helpers) { h.sessions.begin(t.Context(), "a") },
		"media":           func(h *Helpers) { h.media.add(m) },
		"inherited media": func(h *Helpers) { h.inherited = map[string][]netip.Addr{"a": nil} },
		"nothing":         func(*Helpers) {},
	} {
		asked := false
		h := newHelpers(t, &fakeOwned{}, &asked)
		leave(h)
		h.report(nil)
		h.Synced(ruleset.Egress{})
		if woken := len(h.wake) == 1; woken != (name != "nothing") {
			t.Errorf("with %s: woken %t", name, woken)
		}
	}
}
