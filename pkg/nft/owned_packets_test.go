package nft

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/masq"
	"github.com/masq-cni/masq-cni/pkg/ruleset"
	"github.com/masq-cni/masq-cni/test/assert"
	"github.com/masq-cni/masq-cni/test/nstest"
)

// helperCase has the addresses of one family in a traceLab.
type helperCase struct {
	nstest.Plan
	Pod netip.Addr
}

func (x helperCase) at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

const controlPort, listenerTCP, listenerUDP, spokenPort, mediaPort, podPort = 554, 7000, 7001, 50000, 41000, 5000

// spokenPorts are the ports of the policy.
var spokenPorts = masq.PortRange{First: 20000, Last: 20099}

// attached returns the container as an attachment of chained mode.
func attached(addresses ...string) masq.Attachment {
	p := streamed()
	p.ToPorts = []masq.PortRange{spokenPorts}
	a := attachment("a", p, addresses...)
	a.SpoofCheck = false
	return a
}

// table returns a table for the container, with a connection of masqd and an opened port.
func (x helperCase) table() ruleset.Table {
	a := attached(x.Pod.String())
	return ruleset.HelperTable([]masq.Attachment{a}, ruleset.Sources{}, ruleset.Egress{},
		map[masq.Family]ruleset.Listeners{masq.FamilyOf(x.Pod): {TCP: x.at(x.Node, listenerTCP), UDP: x.at(x.Node, listenerUDP)}},
		ruleset.HelperElements{
			Spoken: []ruleset.Spoken{{Identity: a.Identity(), Local: x.at(x.Node, spokenPort), Proto: unix.IPPROTO_TCP}},
			Opened: []ruleset.Opened{{
				Identity: a.Identity(), Egress: x.at(x.Node, mediaPort), Proto: unix.IPPROTO_UDP,
				Peer: x.Server, Client: x.at(x.Pod, podPort), Timeout: time.Hour,
			}},
		})
}

// TestOwnedPackets: while a program has the table, its rules apply to packets. After the
// program is killed the table is gone, and packets pass as without it.
func TestOwnedPackets(t *testing.T) {
	l := newTraceLab(t)
	assert.NoError(t, l.Node.Do(func() error {
		c, err := Open()
		if err != nil {
			return err
		}
		_, err = c.Apply(ruleset.For([]masq.Attachment{attached(podV4.Addr().String(), podV6.Addr().String())}, ruleset.Sources{}, ruleset.Egress{}))
		return errors.Join(err, c.Close())
	}))
	for _, x := range []helperCase{{l.V4, podV4.Addr()}, {l.V6, podV6.Addr()}} {
		t.Run(x.Pod.String(), func(t *testing.T) {
			server := assert.Must(l.Server.ServeTCP(x.at(x.Server, controlPort)))(t)
			listener := assert.Must(l.Node.ServeTCP(x.at(x.Node, listenerTCP)))(t)
			datagrams := assert.Must(l.Node.ServeUDP(x.at(x.Node, listenerUDP)))(t)
			media := assert.Must(l.pod.ServeUDP(x.at(x.Pod, podPort)))(t)
			connect := func(from *nstest.NS, local netip.AddrPort) netip.AddrPort {
				t.Helper()
				return assert.Must(from.Who(t.Context(), local, server.Addr()))(t)
			}
			direct := func(n int) {
				t.Helper()
				if seen := connect(l.pod, netip.AddrPort{}); seen.Addr() != x.Node || len(server.Sources()) != n || len(listener.Sources()) > 1 {
					t.Errorf("seen as %s; the server saw %v, the listener %v", seen, server.Sources(), listener.Sources())
				}
			}
			direct(1)
			refusedUDP(t, l.Server, x.at(x.Server, 6000), x.at(x.Node, mediaPort))

			kill := holdOwned(t, l.Node, x.table())

			// The control connection of the container reaches the listener.
			if seen := connect(l.pod, netip.AddrPort{}); seen.Addr() != x.Pod || len(server.Sources()) != 1 || len(listener.Sources()) != 1 {
				t.Errorf("seen as %s; the server saw %v, the listener %v", seen, server.Sources(), listener.Sources())
			}
			// Connections of masqd leave by the policy of the container, others of the node do not.
			if seen := connect(l.Node, x.at(x.Node, spokenPort)); seen.Port() < spokenPorts.First || seen.Port() > spokenPorts.Last {
				t.Errorf("masqd was seen as %s", seen)
			}
			if seen := connect(l.Node, x.at(x.Node, spokenPort+1)); seen != x.at(x.Node, spokenPort+1) {
				t.Errorf("the node was seen as %s", seen)
			}
			// The peer reaches the container at the opened port, other hosts do not.
			send(t, l.Server, x.at(x.Server, 6001), x.at(x.Node, mediaPort))
			if all := assert.Must(media.WaitSeen(t.Context(), 1))(t); all[0].Source != x.at(x.Server, 6001) {
				t.Errorf("the container saw %v", all)
			}
			refusedUDP(t, l.Router, x.at(x.Router, 6001), x.at(x.Node, mediaPort))
			refusedUDP(t, l.Server, x.at(x.Server, 6001), x.at(x.Node, mediaPort+1))
			// A service of the node takes precedence.
			service := assert.Must(l.Node.ServeUDP(x.at(x.Node, mediaPort)))(t)
			send(t, l.Server, x.at(x.Server, 6002), x.at(x.Node, mediaPort))
			assert.Must(service.WaitSeen(t.Context(), 1))(t)
			assert.NoError(t, service.Close())
			// Nothing reaches the listeners but redirected packets.
			for _, from := range []*nstest.NS{l.pod, l.Server} {
				before := l.dropped(t)
				send(t, from, netip.AddrPort{}, x.at(x.Node, listenerUDP))
				assert.Until(t, "the packet is dropped", func() bool { return l.dropped(t) > before })
			}
			if seen := datagrams.Seen(); len(seen) > 0 {
				t.Errorf("the listener saw %v", seen)
			}

			kill()
			if left := l.ownedTables(t); left != "" { // then nothing below arrives
				t.Fatalf("after the end of the process:\n%s", left)
			}
			direct(4)
			refusedUDP(t, l.Server, x.at(x.Server, 6003), x.at(x.Node, mediaPort))
			send(t, l.pod, netip.AddrPort{}, x.at(x.Node, listenerUDP))
			assert.Must(datagrams.WaitSeen(t.Context(), 1))(t)
			if all := media.Seen(); len(all) != 1 {
				t.Errorf("the container saw %v", all)
			}
		})
	}
}

// dropped counts the packets to listeners.
func (l *traceLab) dropped(t *testing.T) (n uint64) {
	t.Helper()
	out := string(assert.Must(l.Node.Command(t.Context(), "nft", "list", "chain", "inet", ruleset.HelperTableName, "prerouting").Output())(t))
	for line := range strings.Lines(out) {
		if _, counter, ok := strings.Cut(line, " counter packets "); ok {
			var packets uint64
			assert.Must(fmt.Sscan(counter, &packets))(t)
			n += packets
		}
	}
	return n
}

func (l *traceLab) ownedTables(t *testing.T) (found string) {
	t.Helper()
	for line := range strings.Lines(string(assert.Must(l.Node.Command(t.Context(), "nft", "list", "tables").Output())(t))) {
		if strings.Contains(line, ruleset.HelperTableName) {
			found += line
		}
	}
	return found
}

// send sends a datagram.
func send(t *testing.T, from *nstest.NS, local, to netip.AddrPort) {
	t.Helper()
	c := assert.Must(from.DialUDP(local, to))(t)
	assert.Must(c.Write([]byte("datagram")))(t)
	assert.NoError(t, c.Close())
}

// refusedUDP requires that no socket has an address and port.
func refusedUDP(t *testing.T, from *nstest.NS, local, to netip.AddrPort) {
	t.Helper()
	c := assert.Must(from.DialUDP(local, to))(t)
	defer func() { assert.NoError(t, c.Close()) }()
	assert.NoError(t, c.SetDeadline(time.Now().Add(5*time.Minute)))
	assert.Must(c.Write([]byte("datagram")))(t)
	var timeout net.Error
	if n, err := c.Read(make([]byte, 100)); !errors.Is(err, unix.ECONNREFUSED) || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("%s to %s: %d bytes, %v", local, to, n, err)
	}
}

// holdOwnedTable is an environment variable with the table of TestHoldOwned, as JSON.
const holdOwnedTable = "MASQ_TEST_HOLD_OWNED"

// holdOwned starts a process that has a table, and returns a function that kills it.
func holdOwned(t *testing.T, in *nstest.NS, table ruleset.Table) (kill func()) {
	t.Helper()
	holder := in.Command(t.Context(), assert.Must(os.Executable())(t), "-test.run=^TestHoldOwned$")
	holder.Env = append(os.Environ(), holdOwnedTable+"="+string(assert.Must(json.Marshal(table))(t)))
	out := assert.Must(holder.StdoutPipe())(t)
	assert.NoError(t, holder.Start())
	b := make([]byte, 100)
	if n := assert.Must(out.Read(b))(t); string(b[:n]) != "x" {
		t.Fatalf("the process printed %q", b[:n])
	}
	return func() {
		assert.NoError(t, holder.Process.Kill())
		_ = holder.Wait()
	}
}

// TestHoldOwned is the process that holdOwned starts.
func TestHoldOwned(t *testing.T) {
	text := os.Getenv(holdOwnedTable)
	if text == "" {
		return
	}
	var table ruleset.Table
	assert.NoError(t, json.Unmarshal([]byte(text), &table))
	assert.NoError(t, openOwned(t).Replace(table))
	fmt.Print("x")
	time.Sleep(time.Hour) // it is killed
}
