package nft

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
	"github.com/masq-cni/masq-cni/pkg/netlink/netlinktest"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
)

// scripted returns a Conn whose kernel gives these answers.
func scripted(answer func(*netlinktest.Request)) *Conn {
	return &Conn{nl: netlink.NewConn(netlinktest.New(answer), netlink.DumpBuffer), table: ruleset.Name}
}

// oneRule returns the body of an NFT_MSG_NEWRULE.
func oneRule() []byte {
	a := netlink.Encoder(header(unix.NFPROTO_INET, 0))
	a.Text(unix.NFTA_RULE_TABLE, ruleset.Name)
	a.Text(unix.NFTA_RULE_CHAIN, "forward")
	return a
}

// TestInterruptedDumpIsReadAgain: a dump that changed while it was read is read again, and
// each rule comes once.
func TestInterruptedDumpIsReadAgain(t *testing.T) {
	c := scripted(func(r *netlinktest.Request) {
		flags := uint16(unix.NLM_F_DUMP_INTR)
		if r.Number == 3 {
			flags = 0
		}
		r.Reply(messageType(unix.NFT_MSG_NEWRULE), flags, oneRule())
		r.Done(0)
	})
	if rules, err := c.countedRules(ruleset.Name); len(rules) != 1 || err != nil {
		t.Errorf("%d rules, %v", len(rules), err)
	}
}

// TestObjectsListedTwice: a rule or an element that the kernel lists twice counts once.
func TestObjectsListedTwice(t *testing.T) {
	twice := func(typ int, bodies ...[]byte) *Conn {
		return scripted(func(r *netlinktest.Request) {
			for _, body := range append(bodies, bodies...) {
				r.Reply(messageType(typ), 0, body)
			}
			r.Done(0)
		})
	}
	rule := func(handle uint64) []byte {
		a := netlink.Encoder(oneRule())
		a.Uint64(unix.NFTA_RULE_HANDLE, handle)
		return a
	}
	rules := twice(unix.NFT_MSG_NEWRULE, rule(3), rule(4))
	o := &observed{chains: map[string]*chain{"forward": {}}, handles: map[uint64]bool{}}
	if err := rules.readListing(listing{"rules", unix.NFT_MSG_GETRULE, o.forgetRules, o.takeRule}); err != nil || len(o.chains["forward"].rules) != 2 {
		t.Errorf("%+v, %v", o.chains["forward"].rules, err)
	}
	if counted, err := rules.CountedRules(); err != nil || len(counted) != 2 {
		t.Errorf("%+v, %v", counted, err)
	}

	want := ruleset.Set{Name: "invalid4", Type: "ipv4_addr", Elements: []ruleset.Element{{Key: "10.88.0.5"}, {Key: "10.88.0.6"}}}
	ops, err := addElements(want, want.Elements, false)
	if err != nil {
		t.Fatal(err)
	}
	elements := twice(unix.NFT_MSG_NEWSETELEM, append(header(unix.NFPROTO_INET, 0), ops[0].body...))
	if all, err := elements.counted("invalid4", decodeAddr); err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	var have set
	if err := elements.compareElements(ruleset.Set{Name: "invalid4", Type: "ipv4_addr"}, &have); err != nil || !slices.Equal(have.unexpected, []string{"10.88.0.5", "10.88.0.6"}) {
		t.Errorf("%q, %v", have.unexpected, err)
	}

	ports := ruleset.Set{Name: "reserved", Type: "inet_service", Interval: true, Elements: []ruleset.Element{{Key: "22"}, {Key: "5000-5009"}}}
	bounds, err := boundsOf(ports, ports.Elements)
	if err != nil {
		t.Fatal(err)
	}
	if ops, err = addElements(ports, ports.Elements, false); err != nil {
		t.Fatal(err)
	}
	intervals := twice(unix.NFT_MSG_NEWSETELEM, append(header(unix.NFPROTO_INET, 0), ops[0].body...))
	if err := intervals.ranges("reserved", &have); err != nil || !equalBounds(have.bounds, bounds) {
		t.Errorf("%v, %v", have.bounds, err)
	}
}

// TestIncompleteDumpIsReported: a dump that cannot be read to its end is an error, not a
// short list.
func TestIncompleteDumpIsReported(t *testing.T) {
	rule := func(r *netlinktest.Request, flags uint16) {
		r.Reply(messageType(unix.NFT_MSG_NEWRULE), flags, oneRule())
	}
	for name, tt := range map[string]struct {
		answer func(*netlinktest.Request)
		err    error
	}{
		"interrupted each time": {func(r *netlinktest.Request) { rule(r, unix.NLM_F_DUMP_INTR); r.Done(0) }, errInterrupted},
		"an errno at its end":   {func(r *netlinktest.Request) { rule(r, 0); r.Done(unix.ENOMEM) }, unix.ENOMEM},
		"lost":                  {func(r *netlinktest.Request) { rule(r, 0); r.Fail(unix.ENOBUFS) }, netlink.ErrOverrun},
		"no end":                {func(r *netlinktest.Request) { rule(r, 0) }, netlink.ErrNoAnswer},
		"truncated":             {func(r *netlinktest.Request) { r.Datagram(r.Message(0, 0, oneRule())[:24]) }, netlink.ErrMalformed},
		"a short answer":        {func(r *netlinktest.Request) { r.Reply(0, 0, nil); r.Done(0) }, netlink.ErrMalformed},
	} {
		if _, err := scripted(tt.answer).countedRules(ruleset.Name); !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSetDeletedDuringDump: a set that is deleted while its elements are listed is not an
// empty set. The kernel reports this at the end of the dump.
func TestSetDeletedDuringDump(t *testing.T) {
	c := scripted(func(r *netlinktest.Request) { r.Done(unix.ENOENT) })
	if _, err := c.elements("policy4", "ipv4_addr"); !errors.Is(err, errInterrupted) {
		t.Error(err)
	}
}

// two is a transaction of two messages.
var two = []op{{typ: unix.NFT_MSG_NEWTABLE, what: "add table"}, {typ: unix.NFT_MSG_NEWCHAIN, what: "add chain"}}

// The numbers of the messages of a transaction, for the script.
const (
	begin = 1 + iota
	first
	second
)

func TestAnswersToATransaction(t *testing.T) {
	ack := func(r *netlinktest.Request) {
		if r.Flags&unix.NLM_F_ACK != 0 {
			r.Errno(0)
		}
	}
	for name, tt := range map[string]struct {
		answer func(*netlinktest.Request)
		err    error
		what   string
	}{
		"done":         {ack, nil, ""},
		"no answer":    {func(*netlinktest.Request) {}, netlink.ErrNoAnswer, ""},
		"answers lost": {func(r *netlinktest.Request) { r.Fail(unix.ENOBUFS) }, netlink.ErrOverrun, ""},
		"another generation, without an acknowledgement": {func(r *netlinktest.Request) {
			if r.Number == begin {
				r.Errno(unix.ERESTART)
			}
		}, errStale, ""},
		"no memory": {func(r *netlinktest.Request) {
			if r.Number == begin {
				r.Errno(unix.ENOMEM)
			}
		}, unix.ENOMEM, ""},
		"the first is refused": {func(r *netlinktest.Request) {
			if r.Number == first {
				r.Errno(unix.EEXIST)
			}
			ack(r)
		}, unix.EEXIST, "add table"},
		"the last is refused": {func(r *netlinktest.Request) {
			if r.Number == second {
				r.Errno(unix.EBUSY)
			}
		}, unix.EBUSY, "add chain"},
	} {
		err := scripted(tt.answer).commit(two, 7)
		var failed *opError
		if errors.As(err, &failed) != (tt.what != "") || failed != nil && failed.op.what != tt.what || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestApplyAfterWatcherEnded makes a large change after the Watcher of the Conn has ended.
func TestApplyAfterWatcherEnded(t *testing.T) {
	c := kernel(t)
	w, err := c.Watch()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.events.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(ruleset.For(many(1000), ruleset.Sources{}, everyEgress)); err != nil {
		t.Error(err)
	}
}
