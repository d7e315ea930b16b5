package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/masq-cni/masq-cni/test/nstest"
)

// Tables of one node, of which one is active and the others are dormant. Links, addresses and
// memory stay the same; only the rules that packets pass change.
const (
	tableMasq  = "inet masq"
	tableBare  = "ip bare"  // the fewest rules that masquerade
	tableAlone = "ip alone" // conntrack without translation
)

const otherTables = `
table ip bare {
	chain post {
		type nat hook postrouting priority srcnat
		ip saddr 10.88.0.0/16 masquerade
	}
}
table ip alone {
	chain forward {
		type filter hook forward priority filter
		ct state established accept
	}
}
`

// traffic is a container on a node with many attachments, and the sockets for its packets.
type traffic struct {
	*network
	pod    *attachment // with the default configuration
	plain  *attachment // without spoofCheck and dropInvalid
	tables []string
}

// traffic makes the container that several measurements send from.
func (b *bench) traffic(ctx context.Context) (*traffic, error) {
	l, err := b.crowd(ctx, "crowded", dual, level2)
	if err != nil {
		return nil, err
	}
	pods, err := b.site.pods(2)
	if err != nil {
		return nil, err
	}
	plain := b.network(l.node, "masq", nil, keys{
		"name": "plain", "spoofCheck": false, "dropInvalid": false,
		// Leases belong to a network: the range of this one begins after the other's leases.
		"ipam": keys{"type": "host-local", "dataDir": filepath.Join(l.dir, "leases"), "subnet": single[0], "rangeStart": "10.88.200.1"},
	})
	t := &traffic{l.network, l.attachment(pods[0]), plain.attachment(pods[1]), []string{tableMasq, tableBare, tableAlone}}
	if err := inTurn(ctx, []*attachment{t.pod, t.plain}, "ADD"); err != nil {
		return nil, err
	}
	// nf_conntrack_max is the machine's limit; the flows of a round are far below it.
	err = errors.Join(
		t.far.Sysctl("net.core.somaxconn", "16384"),
		t.pod.pod.Sysctl("net.ipv4.ip_local_port_range", "1024 65535"),
		t.pod.pod.Sysctl("net.ipv4.tcp_syn_retries", "1"),
		// The server answers untranslated packets too, so that conntrack alone can be compared.
		t.far.Route(netip.MustParsePrefix(single[0]), far4.Next()))
	if err != nil {
		return nil, err
	}
	if err := t.nft(ctx, otherTables); err != nil {
		return nil, err
	}
	for name, program := range b.variants {
		if err := t.variant(ctx, name, program); err != nil {
			return nil, fmt.Errorf("variant %s: %w", name, err)
		}
	}
	return t, nil
}

// variant makes a table from masq's: a program that runs in the node edits nft's listing.
func (t *traffic) variant(ctx context.Context, name, program string) error {
	listing, err := t.Command(ctx, "nft", "list", "table", "inet", "masq").Output()
	if err != nil {
		return err
	}
	filter := t.Command(ctx, program)
	filter.Stdin = bytes.NewReader(listing)
	edited, err := filter.Output()
	if err != nil {
		return err
	}
	table := tableMasq + "-" + name // with the prefix the name is no keyword of nft
	t.tables = append(t.tables, table)
	return t.nft(ctx, strings.Replace(string(edited), "table "+tableMasq+" {", "table "+table+" {\n\tflags dormant", 1))
}

// turn is a participant that sends in turn with others.
type turn struct {
	name, table string
	against     string // name of the turn to compare with
	plain       bool   // sends from the container without spoofCheck and dropInvalid
}

// variantTurns are the turns of the variants that were given on the command line.
func (t *traffic) variantTurns(against string) (turns []turn) {
	for _, table := range t.tables {
		if name, ok := strings.CutPrefix(table, tableMasq+"-"); ok {
			turns = append(turns, turn{name: name, table: table, against: against})
		}
	}
	return turns
}

// wake makes one table the only active one, and deletes all flows.
func (t *traffic) wake(ctx context.Context, table string) error {
	var b strings.Builder
	for _, name := range t.tables {
		state := "flags dormant"
		if name == table {
			state = ""
		}
		fmt.Fprintf(&b, "table %s {\n%s\n}\n", name, state)
	}
	if err := t.nft(ctx, b.String()); err != nil {
		return err
	}
	return t.forget()
}

// forget empties the node's conntrack table.
func (t *traffic) forget() error {
	return t.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
}

// pinned calls f on a dedicated thread in the container's namespace.
func (t *traffic) pinned(f func(*meter) error) error {
	return t.pod.pod.Do(func() error {
		runtime.LockOSThread() // never unlocked: the thread ends with its goroutine, since its affinity is changed
		m, err := pin()
		if err != nil {
			return err
		}
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		return f(m)
	})
}

// arrived calls f and returns how many packets the server's link received during the call.
func (t *traffic) arrived(f func() error) (int, error) {
	before, err := received(t.far)
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := received(t.far)
	return int(after - before), err
}

func received(n *nstest.NS) (count uint64, err error) {
	err = n.Do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		count = l.Attrs().Statistics.RxPackets
		return nil
	})
	return count, err
}

// source returns the IPv4 address of an attachment.
func source(a *attachment) (netip.Addr, error) { return a.address(far4) }
