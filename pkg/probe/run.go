package probe

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Result is what a probe found out.
type Result struct {
	Target     Target
	Route      Route
	Connection Connection
	Hops       Hops
	Outward    Outward
	Inward     Inward
	// Ports are the source ports of the packets that Hops and Outward sent, one packet each.
	// Source is their address.
	Ports  []uint16
	Source netip.Addr
	// Started and Duration are the time of the probe.
	Started  time.Time
	Duration time.Duration
	// RawNotChecked says why neither hops nor the path MTU outward could be measured.
	RawNotChecked string

	sent int // number of packets that were sent
}

// MaxPackets is the number of packets that Run sends at most, those included that the kernel
// sends for it: acknowledgements and RSTs. Retransmissions of a busy server can add a few.
const MaxPackets = 50

// The wait for answers to single packets, which depends on the round-trip time.
const (
	minTimeout     = 200 * time.Millisecond
	defaultTimeout = 300 * time.Millisecond
	maxTimeout     = time.Second
)

// Run connects to the target, and measures the path if there is a connection. If there is
// none, it finds out how far packets get.
func Run(ctx context.Context, t Target) (r Result, err error) {
	r.Target, r.Started = t, time.Now()
	defer func() { r.Duration = time.Since(r.Started) }()
	r.Route, err = LookUp(t.Address.Addr())
	if errors.Is(err, ErrNoRoute) {
		r.Connection = Connection{State: NoRoute, Error: err.Error()}
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if r.Connection, err = Connect(ctx, t); err != nil || r.Connection.State == NoRoute {
		return r, err
	}
	r.sent = r.Connection.sent
	if err := r.raw(ctx); err != nil {
		return r, err
	}
	if r.Connection.State == Connected {
		r.Inward, err = MeasureInward(ctx, t, r.Outward.MTU, MaxPackets-r.sent)
	}
	return r, err
}

// raw makes the measurements that need raw sockets.
func (r *Result) raw(ctx context.Context) error {
	r.Source = r.Route.Source
	if r.Connection.Local.Addr().IsValid() && !r.Connection.Local.Addr().IsUnspecified() {
		r.Source = r.Connection.Local.Addr()
	}
	raw, err := OpenRaw(r.Target, r.Source)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		r.RawNotChecked = "raw sockets require CAP_NET_RAW"
		return nil
	}
	if err != nil {
		return err
	}
	defer raw.Close()
	defer func() {
		r.Ports = raw.number
		r.sent += raw.Sent
	}()
	raw.Limit = MaxPackets - r.sent
	if !r.Target.UDP {
		raw.Limit -= inwardPackets
	}
	if r.Connection.State == Connected {
		raw.Timeout = min(max(3*r.Connection.RTT, minTimeout), maxTimeout)
	}
	r.Hops, err = raw.Hops(ctx)
	if raw.Forbidden && r.Connection.State == Unanswered {
		r.Connection.State = Forbidden
	}
	if err != nil || r.Connection.State != Connected {
		return err
	}
	r.Outward, err = raw.Outward(ctx, r.Hops, r.Route.MTU)
	if errors.Is(err, errSpent) {
		r.Outward.NotChecked, err = err.Error(), nil
	}
	return err
}
