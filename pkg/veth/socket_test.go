package veth

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// The kernel processes the messages after one that fails. exchange returns the first error
// with what its message does, and stores the answers to the others.
func TestBatchReportsTheFirstFailure(t *testing.T) {
	w := newSpace(t).open()
	ms := []*message{getByName("lo"), getByName("none1"), getByName("lo"), getByName("none2"), getByName("lo")}
	err := w.host.exchange(ms...)
	if !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "look up interface none1: ") {
		t.Errorf("got %v", err)
	}
	for i, m := range ms {
		d, err := m.device()
		if missing := i%2 == 1; missing != (err != nil) || !missing && d.name != "lo" {
			t.Errorf("message %d: %+v, %v", i, d, err)
		}
	}
}

// The last message is the one that asks for an acknowledgement, and gets either
// that or its error.
func TestBatchEndsWithAFailure(t *testing.T) {
	w := newSpace(t).open()
	for range 3 { // what one exchange leaves in the socket, the next would find
		ms := []*message{getByName("lo"), getByName("none")}
		if err := w.host.exchange(ms...); !errors.Is(err, unix.ENODEV) {
			t.Errorf("got %v", err)
		}
		if _, err := ms[0].device(); err != nil {
			t.Error(err)
		}
	}
}

func TestBatchOfAnySize(t *testing.T) {
	w := newSpace(t).open()
	for _, size := range []int{1, maxBatch - 1, maxBatch, maxBatch + 1, 10 * maxBatch} {
		var ms []*message
		for range size {
			ms = append(ms, getByName("lo"))
		}
		if err := w.host.exchange(ms...); err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			if d, err := m.device(); err != nil || d.index != 1 {
				t.Fatalf("of %d: %+v, %v", size, d, err)
			}
		}
	}
}

// The error has the text of the kernel's extended acknowledgement.
func TestBatchReturnsExtendedAck(t *testing.T) {
	s := newSpace(t)
	w := s.open()
	s.must(w.host.exchange(bringUp(1, "lo"))) // harmless
	m := newMessage(unix.RTM_NEWADDR, 0, "add nonsense", unix.NdMsg{Family: unix.AF_INET, Ifindex: 1})
	err := w.host.exchange(m)
	var k *netlink.Error
	if !errors.As(err, &k) || k.Text == "" {
		t.Errorf("got %v", err)
	}
	if !strings.HasPrefix(fmt.Sprint(err), "add nonsense: ") {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	w, err := Open() // reads only
	if err != nil {
		f.Fatal(err)
	}
	defer w.Close()
	m := getByName("lo")
	if err := w.host.exchange(m); err != nil {
		f.Fatal(err)
	}
	f.Add(m.reply)
	f.Add([]byte{8, 0, 1, 0, 1, 2, 3, 4, 3, 0, 1, 0})
	f.Fuzz(func(_ *testing.T, b []byte) {
		m := &message{reply: b, what: "test"}
		d, _ := m.device()
		d.setting4(conf4Forwarding.index)
		d.setting6(devconf6ForceForwarding)
		_, _, _ = m.path()
		_, _, _ = m.mac()
		readRoute(b)
		readAddress(b)
	})
}
