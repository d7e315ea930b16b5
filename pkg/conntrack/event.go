package conntrack

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/masq-cni/masq-cni/pkg/netlink"
)

// Events is a set of kinds of events.
type Events uint8

// The kinds of events.
const (
	FlowNew            Events = 1 << iota // its first packet left the node
	FlowUpdate                            // its state, status, mark, helper or labels changed
	FlowDestroy                           // it timed out or was deleted, for example to make room
	ExpectationNew                        // a helper found it in a payload
	ExpectationDestroy                    // its connection began, or it timed out
)

var eventNames = [...]string{"flow-new", "flow-update", "flow-destroy", "expectation-new", "expectation-destroy"}

// String returns the kinds, separated by commas: "flow-new,flow-destroy".
func (e Events) String() string {
	var names []string
	for i, name := range eventNames {
		if e&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// groups are the multicast groups of uapi/linux/netfilter/nfnetlink.h.
var groups = [...]int{
	unix.NFNLGRP_CONNTRACK_NEW, unix.NFNLGRP_CONNTRACK_UPDATE, unix.NFNLGRP_CONNTRACK_DESTROY,
	unix.NFNLGRP_CONNTRACK_EXP_NEW, unix.NFNLGRP_CONNTRACK_EXP_DESTROY,
}

// Event is one change of the table.
type Event struct {
	Kind Events // one kind
	// Flow is set for the kinds that begin with Flow. FlowDestroy has counters and times,
	// FlowNew does not.
	Flow Flow
	// Expectation is set for the other kinds.
	Expectation Expectation
	// Time is the Unix time in nanoseconds if net.netfilter.nf_conntrack_timestamp is 1.
	// Requires Linux 6.14 (CTA_TIMESTAMP_EVENT); 0 before.
	Time int64
}

// read reads a message. Kind is 0 if the message is not an event.
func (e *Event) read(m *netlink.Message) (err error) {
	e.Kind, e.Time = 0, 0
	switch m.Type {
	case msgNew:
		// ctnetlink_conntrack_event in net/netfilter/nf_conntrack_netlink.c.
		e.Kind = FlowUpdate
		if m.Flags&unix.NLM_F_CREATE != 0 {
			e.Kind = FlowNew
		}
		e.Time, err = e.Flow.unmarshal(attributes(m))
	case msgDelete:
		e.Kind = FlowDestroy
		e.Time, err = e.Flow.unmarshal(attributes(m))
	case msgExpectNew:
		e.Kind = ExpectationNew
		err = e.Expectation.UnmarshalBinary(attributes(m))
	case msgExpectDelete:
		e.Kind = ExpectationDestroy
		err = e.Expectation.UnmarshalBinary(attributes(m))
	}
	return err
}
